"""Processes that a benchmark starts beside the stack, and what processes cost (Linux)."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from deploy import die_with_parent
from deploy.valkey import ValkeyServer

START_SECONDS = 60.0
POOL = ("--pool", "--concurrency")
_LAUNCHER = Path(die_with_parent.__file__)
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Child:
    """A process of our own, which ends with the `with` block, and with this process in any case.

    Args:
        argv: the command.
        env: its whole environment.
        is_ready: tells whether it can be used; may raise OSError while it cannot.
        log: where its output goes; shown if it does not get ready.
        is_gentle: end it by SIGTERM, for what has something to give back.
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        is_ready: Callable[[], bool],
        log: Path,
        *,
        is_gentle: bool = False,
    ) -> None:
        self._argv = list(argv)
        self._env = dict(env)
        self._is_ready = is_ready
        self._log = log
        self._is_gentle = is_gentle

    @property
    def process_id(self) -> int:
        """Its process id."""
        return self._process.pid

    def __enter__(self) -> Self:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(_LAUNCHER), str(os.getpid()), *self._argv],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._until_ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def _until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                said = self._log.read_text(errors="replace")[-5000:]
                raise TimeoutError(f"not ready: {' '.join(self._argv)}\n{said}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            return self._is_ready()
        except OSError:
            return False

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._is_gentle:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=10)
        self._process.kill()
        self._process.wait()


def python(*arguments: str) -> list[str]:
    """Return the command that runs this Python with `arguments`."""
    return [sys.executable, *arguments]


def stock_worker(app: str, model: int) -> list[str]:
    """Return the command of a stock Celery worker with a pool like that of a running one.

    Args:
        app: what it runs.
        model: the process id of the worker whose kind and size of pool it has.
    """
    command = command_of(model)
    pool = [word for name in POOL for word in (name, command[command.index(name) + 1])]
    # The last two as deploy.local; they also save the second that a worker waits for others.
    options = [*pool, "--hostname", "floor@%h", "--without-gossip", "--without-mingle"]
    return python("-m", "celery", "--quiet", "-A", app, "worker", *options)


def command_of(process_id: int) -> list[str]:
    """Return the command line of a running process."""
    raw = Path(f"/proc/{process_id}/cmdline").read_bytes()
    return [word.decode() for word in raw.rstrip(b"\0").split(b"\0")]


def environment_of(process_id: int) -> dict[str, str]:
    """Return the environment of a running process."""
    raw = Path(f"/proc/{process_id}/environ").read_bytes().decode()
    return dict(line.split("=", 1) for line in raw.split("\0") if "=" in line)


def family(process_id: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [process_id]
    for member in found:
        for task in Path(f"/proc/{member}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def cpu_seconds(process_ids: Iterable[int]) -> float:
    """Return how much processor time processes have used so far."""
    ticks = 0
    for process_id in process_ids:
        fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # utime and stime, proc(5)
    return ticks / _TICKS


def resident_bytes(process_ids: Iterable[int]) -> int:
    """Return the resident memory of processes; what they share is counted in each."""
    pages = (Path(f"/proc/{p}/statm").read_text().split()[1] for p in process_ids)
    return sum(int(number) for number in pages) * _PAGE_BYTES


def busy_seconds() -> float:
    """Return how long the machine's cores have been busy so far, all together."""
    first = Path("/proc/stat").read_text().split("\n", 1)[0]
    user, nice, system, _, _, irq, softirq, steal = map(int, first.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / _TICKS


def server(valkey: ValkeyServer) -> Child:
    """Return the process of a Valkey server."""

    def answers() -> bool:
        try:
            with redis.Redis.from_url(valkey.url, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    return Child(valkey.argv, os.environ, answers, valkey.directory / "server.log")


class Usage:
    """How much of the machine is used from now on, by whomever.

    Attributes:
        cores: the share of all cores that was busy, as of the last `so_far`.

    Args:
        process_ids: processes to be told of one by one, by their names.
    """

    def __init__(self, process_ids: Mapping[str, int]) -> None:
        self._process_ids = process_ids
        self._before = self._read()
        self.cores = 0.0

    def _read(self) -> dict[str, float]:
        own = {name: cpu_seconds([process]) for name, process in self._process_ids.items()}
        return {"time": time.monotonic(), "all": busy_seconds(), **own}

    def so_far(self) -> str:
        """Return the shares in words: of one core each, and of all cores together."""
        now = self._read()
        spent = {name: value - self._before[name] for name, value in now.items()}
        self.cores = spent["all"] / spent["time"] / (os.cpu_count() or 1)
        own = (f"{name} {spent[name] / spent['time']:.0%}" for name in self._process_ids)
        return f"cores {self.cores:.0%} busy; of one core: {', '.join(own)}"
