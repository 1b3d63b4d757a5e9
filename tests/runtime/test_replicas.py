"""The store and the broker behind sentinels: what a failover takes, and what it does not."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import httpx2
import pytest
import redis
from joserfc.jwk import OKPKey
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from deploy.valkey import free_port
from safeguards.client import Safeguards
from safeguards.errors import ConfigurationError
from safeguards.identifiers import new_id
from safeguards.publisher import QUEUE, ActionPublisher
from safeguards.types import ActionStatus
from safeguards_runtime.messaging import make_app, publisher
from safeguards_runtime.records import ApiKey, Approval, Change, api_key
from safeguards_runtime.records.api_key import Role, api_key_text, hash_secret
from safeguards_runtime.settings import Settings
from safeguards_runtime.store import NotReplicatedError, Store, StoreBusyError
from safeguards_runtime.store.encoding import FEED, record_key
from safeguards_runtime.topology import Queue, Task
from services.gateway.feed import FeedTail
from tests.chaos.sentinels import SentinelGroup
from tests.deploy.running import Running, eventually
from tests.runtime.samples import TERMS, assert_chained
from tests.runtime.test_store import answering, opened, opening

T = TypeVar("T")

MORE_THAN_BUFFERS_HOLD = 64 * 1024 * 1024
"""Bytes that stay behind on the master when a replica takes nothing: what is written after them
has not even left it."""


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelGroup]:
    """A group for the tests that kill nothing."""
    with SentinelGroup(tmp_path_factory.mktemp("group")) as running:
        yield running


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[SentinelGroup]:
    """A group of the test's own, to be killed."""
    with SentinelGroup(tmp_path / "group") as running:
        yield running


@asynccontextmanager
async def store_of(
    group: SentinelGroup, *, replicas: int = 1, max_connections: int = 32
) -> AsyncIterator[Store]:
    """Return the store behind the sentinels."""
    store = Store(group.url(), replicas=replicas, max_connections=max_connections)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def following(store: Store) -> AsyncIterator[FeedTail]:
    """Follow the feed, as a gateway does."""
    tail = FeedTail(store)
    await tail.start()
    try:
        yield tail
    finally:
        await tail.stop()


async def until_done(work: Callable[[], Awaitable[T]]) -> T:
    """Do as clients do that are answered 503: repeat the same until it is done."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return await work()
        except (RedisError, OSError, NotReplicatedError, StoreBusyError):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


async def assert_heard_what_stands(tail: FeedTail, store: Store) -> list[str]:
    """Check that the tail comes to have heard just what the feed holds; return the bodies."""
    feed = await store.redis.xrange(FEED)
    async with asyncio.timeout(20):
        with tail.subscribed(["*"]) as woken:
            while tail.last != feed[-1][0].decode():
                await woken.wait()
                woken.clear()
    entries, _, gap = await tail.after("0-0", ("*",), 100_000)
    assert [entry.cursor for entry in entries] == [cursor.decode() for cursor, _ in feed]
    assert not gap
    return [entry.body for entry in entries]


# --- which servers ------------------------------------------------------------------------------


async def test_a_replica_that_does_not_sync_is_found(group: SentinelGroup) -> None:
    """It would become a master that answers before the write is on disk."""
    async with store_of(group) as store:
        await store.check_durability()
        lax = group.replicas()[1]
        group.ask(lax, "CONFIG SET", "appendfsync", "everysec")
        try:
            with pytest.raises(ConfigurationError, match="everysec"):
                await store.check_durability()
        finally:
            group.ask(lax, "CONFIG SET", "appendfsync", "always")


async def test_whoever_needs_one_more_connection_waits(group: SentinelGroup) -> None:
    """Twenty round trips at once over two connections: none is refused."""
    async with store_of(group, max_connections=2) as store:
        approval = await opened(store)
        found = await asyncio.gather(*(store.get(approval.id, Approval) for _ in range(20)))
        assert found == [approval] * 20


async def test_a_sentinel_that_is_away_is_passed_over_and_none_is_forgotten(
    group: SentinelGroup,
) -> None:
    """Also when many connections ask at once."""
    url = group.url().replace("@", f"@127.0.0.1:{free_port()},")
    store = Store(url, replicas=1)
    try:
        await asyncio.gather(*(store.get(new_id("apr"), Approval) for _ in range(20)))
        sentinels = store.redis.connection_pool.sentinel_manager.sentinels
        assert len({id(sentinel) for sentinel in sentinels}) == 4
    finally:
        await store.close()


# --- confirmed by replicas ----------------------------------------------------------------------


async def test_what_is_acknowledged_is_on_the_replicas(group: SentinelGroup) -> None:
    """When `create` returns, both have it."""
    async with store_of(group, replicas=2) as store:
        for _ in range(20):
            approval = await opened(store)
            key = record_key(approval.id)
            assert [group.ask(replica, "HGET", key, "r") for replica in group.replicas()] == [
                b"1",
                b"1",
            ]


async def test_without_replicas_nothing_is_acknowledged(group: SentinelGroup) -> None:
    """They stand still: a decision is written, but not acknowledged, nor is the same sent again,
    nor is it shown; when they go on, the repeat is acknowledged, and it was decided once."""
    async with store_of(group) as store:
        approval = await opened(store)
        decide = answering("approve")
        change = decide(approval, await store.now())
        assert isinstance(change, Change)
        with group.paused(*group.replicas()):
            with pytest.raises(NotReplicatedError):
                await store.commit([[change]])
            key = record_key(approval.id)
            assert group.ask(group.master(), "HGET", key, "r") == b"2"
            with pytest.raises(NotReplicatedError):
                await store.apply(approval.id, Approval, decide)
            with pytest.raises(NotReplicatedError):
                await store.get(approval.id, Approval)
        decided = await store.apply(approval.id, Approval, decide)
        assert decided is not None
        assert decided.status is ActionStatus.APPROVED
        history = await store.history(approval.id)
        assert [line.event for line in history] == ["opened", "approved"]
        fed = [fields[b"d"].decode() for _, fields in await store.redis.xrange(FEED)]
        assert sum(approval.id in body for body in fed) == 1


async def test_one_replica_of_two_is_enough(group: SentinelGroup) -> None:
    """As many as the setting asks for."""
    async with store_of(group) as store, store_of(group, replicas=2) as stricter:
        with group.paused(group.replicas()[0]):
            approval = await opened(store)
            with pytest.raises(NotReplicatedError, match="1 replicas have it"):
                await stricter.get(approval.id, Approval)


async def test_the_gateway_says_when_to_come_again(group: SentinelGroup, tmp_path: Path) -> None:
    """503 with Retry-After while the replicas are away, also for what would only be read; the same
    request later is taken once."""
    async with store_of(group) as store:
        key = await _agent_key(store)
    port = free_port()
    environment = {**_environment(group), "SAFEGUARDS_GATEWAY_PORT": str(port)}
    command = ["-m", "uvicorn", "services.gateway.app:create_app", "--factory", "--port", str(port)]
    with (
        Running(command, environment) as gateway,
        httpx2.Client(
            base_url=f"http://127.0.0.1:{port}/api/v1",
            headers={"Authorization": f"Bearer {key}", "Idempotency-Key": "once"},
            timeout=30,
            verify=False,
        ) as http,
    ):
        gateway.position("Uvicorn running on")
        body = {"agent_id": "trader", "title": "Pay", "metadata": {"amount": "1.00"}}
        first = http.post("/request-approval", json=body)
        assert first.status_code == 202, first.text
        path = first.headers["Location"].removeprefix("/api/v1")
        with group.paused(*group.replicas()):
            for answer in (http.post("/request-approval", json=body), http.get(path)):
                assert answer.status_code == 503
                assert answer.headers["Retry-After"] == "1"
                assert answer.json()["type"] == "urn:safeguards:problem:store_unavailable"
        again = http.post("/request-approval", json=body)
        assert (again.status_code, again.json()) == (202, first.json())


# --- failover -----------------------------------------------------------------------------------


async def test_a_failover_under_load_loses_nothing_and_doubles_nothing(
    mortal: SentinelGroup,
) -> None:
    """Eight writers go on while one master stalls until it is replaced, and the next is killed:
    each decision that was acknowledged stands as it was acknowledged, was written once, and was
    heard once."""
    acknowledged: dict[str, Approval] = {}
    stop = asyncio.Event()

    async def write(store: Store) -> None:
        while not stop.is_set():
            decided = await _decided(store)
            acknowledged[decided.id] = decided

    async def enough() -> None:
        wanted = len(acknowledged) + 60
        await _eventually(lambda: len(acknowledged) >= wanted)

    async with store_of(mortal, replicas=2) as store, following(store) as tail:
        writers = [asyncio.create_task(write(store)) for _ in range(8)]
        await enough()
        first = mortal.master()
        mortal.pause(first)
        await asyncio.to_thread(mortal.await_promotion, first)
        mortal.resume(first)  # with what it was asked meanwhile, and one replica still
        second = await asyncio.to_thread(mortal.await_failover, first)
        mortal.follow(first, second)
        await enough()
        await asyncio.to_thread(second.kill)
        third = await asyncio.to_thread(mortal.await_failover, second)
        await asyncio.to_thread(mortal.start, second, replica_of=third)
        await enough()
        stop.set()
        await asyncio.gather(*writers)
        _, records = await store.load(list(acknowledged))
        assert records == list(acknowledged.values())
        for record in acknowledged.values():
            assert_chained(await store.history(record.id), record)
        heard = await assert_heard_what_stands(tail, store)
        about = [json.loads(body)["approval_id"] for body in heard]
        assert sorted(about) == sorted(acknowledged)


async def test_what_the_replicas_have_not_got_is_lost_unless_they_are_waited_for(
    mortal: SentinelGroup,
) -> None:
    """The link to the replicas is cut, and the master dies. What was acknowledged without them is
    gone, which shows that the test can fail; with them everything acknowledged stands, what was
    refused is taken when it is repeated, and no agent has heard what is gone."""
    async with (
        store_of(mortal, replicas=0) as hasty,
        store_of(mortal) as store,
        following(store) as tail,
    ):
        safe = await store.apply((await opened(store)).id, Approval, answering("approve"))
        pending = await opened(store)
        assert safe is not None
        master, others = mortal.master(), mortal.replicas()
        mortal.pause(*others)
        await hasty.redis.set("filler", b"x" * MORE_THAN_BUFFERS_HOLD)
        gone = await hasty.apply((await opened(hasty)).id, Approval, answering("approve"))
        assert gone is not None
        with pytest.raises(NotReplicatedError):
            await store.apply(pending.id, Approval, answering("reject"))
        master.kill()
        mortal.resume(*others)
        await asyncio.to_thread(mortal.await_failover, master)
        assert await hasty.get(gone.id, Approval) is None
        assert await store.get(safe.id, Approval) == safe
        assert await store.get(pending.id, Approval) == pending
        rejected = await until_done(lambda: store.apply(pending.id, Approval, answering("reject")))
        assert rejected is not None
        assert_chained(await store.history(pending.id), rejected)
        heard = await assert_heard_what_stands(tail, store)
        assert [json.loads(body)["approval_id"] for body in heard] == [safe.id, pending.id]


async def _decided(store: Store) -> Approval:
    """Open an approval and decide on it, each until it is acknowledged."""
    change = opening(await until_done(store.now))
    record, _ = await until_done(lambda: store.create(change))
    decided = await until_done(lambda: store.apply(record.id, Approval, answering("approve")))
    assert decided is not None
    return decided


# --- the broker ---------------------------------------------------------------------------------


async def test_hints_reach_a_worker_before_and_after_a_failover(mortal: SentinelGroup) -> None:
    """A tracker whose store and broker are behind sentinels carries on with the new master; what
    is none of ours is still set aside, although Kombu has changed to the next sentinel's URL."""
    settings = Settings(store_url=mortal.url(), broker_url=mortal.url(1), store_replicas=1)
    command = ["-m", "celery", "-A", "services.approval_tracker.app:app", "worker"]
    options = ["--pool", "threads", "--concurrency", "2", "-Q", Queue.APPROVALS.value]
    app = make_app(settings)
    key = OKPKey.generate_key("Ed25519", {"kid": new_id("key")}, private=True).as_dict(private=True)
    nobody = Safeguards(f"http://127.0.0.1:{free_port()}/api/v1", api_key_text(new_id("key"), "x"))
    agent = ActionPublisher(mortal.url(1), key, nobody)
    try:
        with Running([*command, *options], _environment(mortal)):
            async with store_of(mortal) as store:
                hint = publisher(app)
                await _timed_out(store, hint)
                master = mortal.master()
                await asyncio.to_thread(master.kill)
                await asyncio.to_thread(mortal.await_failover, master)
                await _timed_out(store, hint)
                with _broker(mortal) as broker:
                    broker.lpush(Queue.APPROVALS.value, b"[]")
                await _eventually(lambda: store.listed("set_aside:HELD"))
        await asyncio.to_thread(
            eventually, lambda: _published(agent, mortal), "an agent publishes to the new master"
        )
    finally:
        agent.close(timeout=0)
        nobody.close()
        app.close()


async def _timed_out(store: Store, hint: Callable[[Task, list[str]], None]) -> None:
    """Open an approval that is overdue, hint at it, and wait until the tracker has ended it."""
    now = await until_done(store.now)
    change = opening(now - timedelta(seconds=TERMS.timeout_seconds))
    record, _ = await until_done(lambda: store.create(change))

    async def is_hinted_at() -> bool:
        try:
            await asyncio.to_thread(hint, Task.ADVANCE, [record.id])
        except (OperationalError, RedisError, OSError):
            return False
        return True

    async def has_ended() -> bool:
        standing = await until_done(lambda: store.get(record.id, Approval))
        return standing is not None and standing.status is ActionStatus.TIMED_OUT

    await _eventually(is_hinted_at)
    await _eventually(has_ended)


async def _eventually(condition: Callable[[], object]) -> None:
    """Wait until a function, which may be a coroutine function, returns something true."""
    deadline = time.monotonic() + 60
    while True:
        found = condition()
        if await found if isinstance(found, Awaitable) else found:
            return
        assert time.monotonic() < deadline, "not within 60 s"
        await asyncio.sleep(0.02)


def _published(agent: ActionPublisher, group: SentinelGroup) -> bool:
    agent.publish("trader", "transaction", {"amount": "1.00"})
    with _broker(group) as broker:
        return bool(broker.llen(QUEUE))


def _broker(group: SentinelGroup) -> redis.Redis:
    """Return a client of the broker's database on the master."""
    return redis.Redis.from_url(f"{group.master().url.rpartition('/')[0]}/1")


def _environment(group: SentinelGroup) -> dict[str, str]:
    return {
        "SAFEGUARDS_STORE_URL": group.url(),
        "SAFEGUARDS_STORE_REPLICAS": "1",
        "SAFEGUARDS_BROKER_URL": group.url(1),
    }


async def _agent_key(store: Store) -> str:
    """Make an API key for any agent; return what is sent with a request."""
    secret, now = secrets.token_urlsafe(32), await store.now()
    key = ApiKey(
        id=new_id("key"),
        name="",
        role=Role.AGENT,
        agent_ids=("*",),
        secret_hash=hash_secret(secret),
        created_at=now,
    )
    await store.create(api_key.create(key, now))
    return api_key_text(key.id, secret)
