"""A store behind three sentinels: one master and two replicas, to be killed and paused."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from deploy.valkey import ValkeyServer
from tests.deploy.running import eventually

NAME = "store"
"""What the sentinels call the group."""

DOWN_AFTER_MILLISECONDS = 500
"""How long a server may be silent before the sentinels take it for dead."""


REJOINING_SECONDS = 120
"""How long the sentinels may take to make a replica of a master that has come back."""


class SentinelGroup:
    """Three servers with the store's settings and three sentinels, all processes of their own.

        with SentinelGroup(tmp_path) as group:
            store = Store(group.url(), replicas=1)
            master = group.master()
            master.kill()
            group.await_failover(master)

    Attributes:
        servers: the first one is the master at the beginning.
        sentinels: the processes that watch them.
    """

    def __init__(
        self, folder: Path, *, down_after_milliseconds: int = DOWN_AFTER_MILLISECONDS
    ) -> None:
        password, sentinels_password = secrets.token_urlsafe(8), secrets.token_urlsafe(8)
        self.servers = [ValkeyServer.store(folder / f"server{n}", password=password) for n in "123"]
        first, *others = self.servers
        for server in self.servers:
            _configure(server, f"masterauth {password}", "repl-diskless-sync-delay 0")
        for server in others:
            _configure(server, f"replicaof 127.0.0.1 {first.port}")
        self.sentinels = [_sentinel(folder / f"sentinel{n}", sentinels_password) for n in "123"]
        for sentinel in self.sentinels:
            _configure(
                sentinel,
                f"sentinel monitor {NAME} 127.0.0.1 {first.port} 2",
                f"sentinel auth-pass {NAME} {password}",
                f"sentinel down-after-milliseconds {NAME} {down_after_milliseconds}",
                f"sentinel failover-timeout {NAME} 3000",
                f"sentinel parallel-syncs {NAME} 2",
            )
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        self._address = f"sentinel://:{password}@{hosts}"
        self._query = f"master={NAME}&sentinel_password={sentinels_password}"
        self._process_ids: dict[int, int] = {}

    def url(self, database: int = 0) -> str:
        """Return `sentinel://…`, for `SAFEGUARDS_STORE_URL` or `SAFEGUARDS_BROKER_URL`."""
        return f"{self._address}/{database}?{self._query}"

    def __enter__(self) -> Self:
        try:
            for server in (*self.servers, *self.sentinels):
                self.start(server)
            self.await_replicas(2)
            eventually(self._is_agreed, "the sentinels know each other and both replicas")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for server in (*self.sentinels, *self.servers):
            server.kill()  # a server that is paused, too

    def start(self, server: ValkeyServer, *, replica_of: ValkeyServer | None = None) -> None:
        """Start a server, for the first time or after `kill`, on its data.

        Args:
            replica_of: whom it follows; without, it is what it was.
        """
        if replica_of is not None:
            _configure(server, f"replicaof 127.0.0.1 {replica_of.port}")
        server.start()
        information: Any = self.ask(server, "INFO", "server")
        self._process_ids[server.port] = int(information["process_id"])

    @contextlib.contextmanager
    def paused(self, *servers: ValkeyServer) -> Iterator[None]:
        """Have servers stand still meanwhile; then wait until the replicas have caught up."""
        self.pause(*servers)
        try:
            yield
        finally:
            self.resume(*servers)
            self.await_replicas(2)

    def pause(self, *servers: ValkeyServer) -> None:
        """Stop servers where they stand, without their connections breaking."""
        self._signal(servers, signal.SIGSTOP)

    def resume(self, *servers: ValkeyServer) -> None:
        """Let servers go on."""
        self._signal(servers, signal.SIGCONT)

    def _signal(self, servers: tuple[ValkeyServer, ...], number: signal.Signals) -> None:
        for server in servers:
            os.kill(self._process_ids[server.port], number)

    def ask(self, server: ValkeyServer, *command: str | bytes | int) -> Any:
        """Send one command to one server or sentinel; return its answer."""
        # A server that changes its role drops whoever is connected.
        retry = Retry(NoBackoff(), 3)
        with redis.Redis.from_url(server.url, retry=retry, socket_timeout=5) as client:
            answer: Any = client.execute_command(*command)
            return answer

    def master(self) -> ValkeyServer:
        """Return the server that the sentinels name as the master."""
        port = self._master_port(self.sentinels[0])
        return next(server for server in self.servers if server.port == port)

    def replicas(self) -> list[ValkeyServer]:
        """Return the other two."""
        master = self.master()
        return [server for server in self.servers if server is not master]

    def await_promotion(self, old: ValkeyServer) -> None:
        """Wait until another server than `old` takes itself for the master."""
        others = [server for server in self.servers if server is not old]

        def is_promoted() -> bool:
            return any(self.ask(server, "ROLE")[0] == b"master" for server in others)

        eventually(is_promoted, "a replica is promoted")

    def follow(self, server: ValkeyServer, master: ValkeyServer) -> None:
        """Make a server a replica, as the sentinels will, only later."""
        self.ask(server, "REPLICAOF", "127.0.0.1", master.port)

    def await_failover(self, old: ValkeyServer, *, replicas: int = 1) -> ValkeyServer:
        """Wait until all sentinels name another master than `old`, and so many replicas follow it.

        No sentinel is still about it then: one whose new master dies before would name that dead
        one until it comes back.

        Returns:
            The new master.
        """

        def is_over() -> bool:
            states = [self.ask(sentinel, "SENTINEL MASTER", NAME) for sentinel in self.sentinels]
            if any("failover_in_progress" in state["flags"] for state in states):
                return False
            ports = {self._master_port(sentinel) for sentinel in self.sentinels}
            return len(ports) == 1 and old.port not in ports

        eventually(is_over, "the sentinels agree on a new master")
        self.await_replicas(replicas)
        return self.master()

    def await_replicas(self, number: int) -> None:
        """Wait until so many replicas follow the master, up to where it is now."""
        reached = 0

        def do_follow() -> bool:
            nonlocal reached
            role, offset, followers = self.ask(self.master(), "ROLE")
            if role != b"master":
                return False
            reached = reached or offset
            return len([f for f in followers if int(f[2]) >= reached]) >= number

        eventually(do_follow, f"{number} replicas follow the master", REJOINING_SECONDS)

    def _master_port(self, sentinel: ValkeyServer) -> int:
        address = self.ask(sentinel, "SENTINEL GET-MASTER-ADDR-BY-NAME", NAME)
        return int(address[1])

    def _is_agreed(self) -> bool:
        for sentinel in self.sentinels:
            state = self.ask(sentinel, "SENTINEL MASTER", NAME)
            if (int(state["num-other-sentinels"]), int(state["num-slaves"])) != (2, 2):
                return False
        return True


def _configure(server: ValkeyServer, *lines: str) -> None:
    """Add lines to a server's configuration file, which sentinels and servers also write to."""
    with (server.directory / "valkey.conf").open("a") as file:
        file.write("".join(f"{line}\n" for line in lines))


def _sentinel(directory: Path, password: str) -> ValkeyServer:
    """Describe a sentinel: the same binary, in another mode."""
    server = ValkeyServer.broker(directory, password=password)
    server.argv = (*server.argv, "--sentinel")
    return server
