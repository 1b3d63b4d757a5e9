"""The instruments of chaos do what they claim: the proxy breaks connections, power cuts lose."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import redis
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from deploy.valkey import ValkeyServer, free_port
from tests.chaos.power import STRACE, TracedStore
from tests.chaos.proxy import Proxy


@pytest.fixture
async def proxy(store_server: ValkeyServer) -> AsyncIterator[Proxy]:
    async with Proxy(store_server.url, free_port()) as running:
        yield running


def _client(proxy: Proxy) -> redis.asyncio.Redis:
    return redis.asyncio.Redis.from_url(
        proxy.url, retry=Retry(NoBackoff(), 0), socket_timeout=1, single_connection_client=True
    )


async def test_a_connection_that_is_cut_is_an_error_and_the_next_one_works(proxy: Proxy) -> None:
    async with _client(proxy) as client:
        assert await client.ping()
        proxy.cut()
        with pytest.raises(redis.ConnectionError):
            await client.ping()
    async with _client(proxy) as client:
        assert await client.ping()


async def test_a_half_open_connection_hangs_and_the_next_one_works(proxy: Proxy) -> None:
    async with _client(proxy) as client:
        assert await client.ping()
        proxy.half_open()
        with pytest.raises(redis.TimeoutError):
            await client.ping()
        assert proxy.connections == 1
    async with _client(proxy) as client:
        assert await client.ping()


async def test_delayed_pieces_come_late_and_whole(proxy: Proxy) -> None:
    async with _client(proxy) as client:
        await client.ping()
        proxy.delay_seconds = 0.2
        started = asyncio.get_running_loop().time()
        assert await client.echo("x" * 1000) == b"x" * 1000
        assert asyncio.get_running_loop().time() - started >= 0.4


def _written_until_cut(store: TracedStore) -> list[str]:
    """Write from several connections until the power is cut; return what was acknowledged."""
    acknowledged: list[str] = []
    enough = threading.Event()

    def write(writer: int) -> None:
        with redis.Redis.from_url(store.url) as client:
            for number in range(1_000_000):
                try:
                    client.set(f"{writer}:{number}", "x" * 100)
                except redis.RedisError:
                    return
                acknowledged.append(f"{writer}:{number}")
                if len(acknowledged) > 1500:
                    enough.set()

    writers = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for writer in writers:
        writer.start()
    assert enough.wait(30)
    store.cut_power()
    for writer in writers:
        writer.join()
    return acknowledged


@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
@pytest.mark.parametrize("appendfsync", ["always", "everysec"])
def test_a_power_cut_takes_what_was_not_synced(tmp_path: Path, appendfsync: str) -> None:
    """With `always`, as the store runs, nothing; with `everysec` something that was confirmed:
    so the cut is one."""
    with TracedStore.store(tmp_path) as store, redis.Redis.from_url(store.url) as client:
        assert isinstance(store, TracedStore)
        client.config_set("appendfsync", appendfsync)
        acknowledged = _written_until_cut(store)
        store.start()
        found = client.exists(*acknowledged)
        assert (found == len(acknowledged)) == (appendfsync == "always")
