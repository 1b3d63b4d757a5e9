"""How the store is reached, and how it is made sure that what it says lasts.

The store is one server, or the master that sentinels name. A master may be lost with whatever its
replicas have not got; so, where a setting says so, nothing counts before enough of them have it.
"""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.asyncio.connection import BlockingConnectionPool, ConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection
from redis.backoff import ExponentialBackoff
from redis.exceptions import ResponseError

from safeguards.errors import ConfigurationError, SafeguardsError
from safeguards.sentinel import SCHEME, SentinelUrl
from safeguards_runtime.store.encoding import CONFIRMED

log = structlog.get_logger(__name__)

REPLICATION_MILLISECONDS = 1000
"""How long replicas have to take over what is to be answered."""


class NotReplicatedError(SafeguardsError):
    """Too few replicas have what was written or read: a failover could undo it.

    A write may have come about nevertheless. Try again: what is repeated finds it.
    """


def connect(url: str, max_connections: int) -> Redis:
    """Return a client of the store, which connects when it is used.

    Args:
        url: redis://, rediss://, unix:// or sentinel://.
        max_connections: whoever needs one more waits.

    Raises:
        ConfigurationError, ValueError: the URL is none of these.
    """
    options: dict[str, Any] = {
        "socket_timeout": 10,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 25,
        # For as long as a restart or a failover takes. Reads and commits may be repeated: a
        # commit whose answer was lost finds its record moved on, and looks at it anew.
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.05), 8),
    }
    waiting: dict[str, Any] = {"max_connections": max_connections, "timeout": 10}
    if not url.startswith(SCHEME):
        return Redis.from_pool(BlockingConnectionPool.from_url(url, **waiting, **options))
    told = SentinelUrl.parse(url)
    options |= {"db": told.database, "username": told.username, "password": told.password}
    sentinels: Any = Sentinel  # redis-py has no types for it
    pool = _MasterPool(
        service_name=told.master,
        sentinel_manager=sentinels(told.hosts, sentinel_kwargs=told.sentinel_options),
        connection_class=SentinelManagedConnection,
        **waiting,
        **options,
    )
    return Redis.from_pool(pool)


class _MasterPool(BlockingConnectionPool, SentinelConnectionPool):
    """Connections to the master, found again after a failover; whoever needs one more waits.

    Each base does one of the two by itself, over the same `ConnectionPool`.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._asking = asyncio.Lock()

    async def get_master_address(self) -> Any:
        """Ask the sentinels, one connection at a time: redis-py puts the sentinel that answers
        first in its list, and by two at once loses another one from it."""
        async with self._asking:
            ask: Any = super().get_master_address
            return await ask()

    async def aclose(self) -> None:
        """Close the connections, those to the sentinels too."""
        await ConnectionPool.aclose(self)
        await self.sentinel_manager.aclose()

    async def replicas(self) -> list[Redis]:
        """Return a client of each replica that the sentinels know."""
        known: Any = await self.sentinel_manager.discover_slaves(self.service_name)
        names = ("db", "username", "password", "socket_timeout", "socket_connect_timeout", "retry")
        options = {name: self.connection_kwargs[name] for name in names}
        return [Redis(host=host, port=port, **options) for host, port in known]


async def execute(pipe: Any, replicas: int) -> list[Any]:
    """Run a pipeline, and wait until so many replicas have all that its replies tell of.

    Returns:
        The replies, errors among them.

    Raises:
        NotReplicatedError: fewer have it, in time.
    """
    if not replicas:
        replies: list[Any] = await pipe.execute(raise_on_error=False)
        return replies
    # WAIT asks for what its own connection has written. So that it covers what the pipeline has
    # read, something is written after it; in the same pipeline, since by another connection it
    # could already be another master that confirms.
    pipe.set(CONFIRMED, 1)
    pipe.wait(replicas, REPLICATION_MILLISECONDS)
    *replies, written, having = await pipe.execute(raise_on_error=False)
    failed = next((reply for reply in (written, having) if isinstance(reply, Exception)), None)
    if failed is None and having >= replicas:
        return replies
    # It may have been replaced and not know it yet: whoever connects anew asks the sentinels.
    await pipe.connection_pool.disconnect(inuse_connections=False)
    found = str(failed) if failed else f"{having} replicas have it"
    raise NotReplicatedError(f"{replicas} replicas of the store must have it: {found}") from failed


def raised(replies: list[Any]) -> list[Any]:
    """Return the replies of a pipeline; raise the first that is an error."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


async def check_durability(client: Redis) -> None:
    """Make sure that the server, and each that may take its place, syncs every write before it
    answers.

    Raises:
        ConfigurationError: one does not. (A server that does not tell is believed, with a
            warning.)
    """
    await _check_server(client)
    if isinstance(client.connection_pool, _MasterPool):
        for replica in await client.connection_pool.replicas():
            async with replica:
                await _check_server(replica)


async def _check_server(server: Any) -> None:
    try:
        told = await server.config_get("appendonly", "appendfsync")
    except ResponseError:
        log.warning("the store does not tell whether it syncs every write: see to it")
        return
    found = {_text(name): _text(value) for name, value in told.items()}
    if found != {"appendonly": "yes", "appendfsync": "always"}:
        raise ConfigurationError(
            f"the store must run with `appendonly yes` and `appendfsync always`; it has {found}"
        )


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
