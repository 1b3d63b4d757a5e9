"""The faults. Each breaks one thing at a moment that the seed chooses, and mends it again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator

import redis
import redis.asyncio

from safeguards_runtime.topology import Queue
from tests.chaos.power import TracedStore
from tests.chaos.trial import Fault, Scene

SERVICES = ("gateway", "safeguard-evaluator", "approval-tracker", "notifier")


async def kill_service(scene: Scene) -> None:
    """Kill one of the services; the supervisor starts it again."""
    victim = SERVICES[scene.kills % len(SERVICES)]
    since = time.monotonic()
    await asyncio.to_thread(scene.stack.kill, victim)
    scene.kills += 1
    scene.journal.struck(f"kill -9 {victim}", since)


async def kill_store(scene: Scene) -> None:
    """Kill the store, and start it again after a while."""
    since = time.monotonic()
    await asyncio.to_thread(scene.store.kill)
    scene.kills += 1
    await asyncio.sleep(scene.chance.uniform(0, 2))
    await asyncio.to_thread(scene.store.start)
    scene.journal.struck("kill -9 store", since)


async def kill_broker(scene: Scene) -> None:
    """Kill the broker, which forgets everything, and start it again after a while."""
    since = time.monotonic()
    await asyncio.to_thread(scene.broker.kill)
    scene.kills += 1
    await asyncio.sleep(scene.chance.uniform(0, 2))
    await asyncio.to_thread(scene.broker.start)
    scene.journal.struck("kill -9 broker", since)


async def cut_power(scene: Scene) -> None:
    """Kill the store and take away what was not synced; then start it again."""
    store = scene.store
    assert isinstance(store, TracedStore)
    since = time.monotonic()
    await asyncio.to_thread(store.cut_power)
    scene.kills += 1
    await asyncio.to_thread(store.start)
    scene.journal.struck("power cut", since)


async def empty_broker(scene: Scene) -> None:
    """Throw away every message."""
    async with redis.asyncio.Redis.from_url(scene.broker.url) as broker:
        since = time.monotonic()
        await broker.flushdb()
        scene.journal.struck("FLUSHDB broker", since)


async def fill_store(scene: Scene) -> None:
    """Give the store no more memory than it has, for a while."""
    since = time.monotonic()
    async with redis.asyncio.Redis.from_url(scene.store.url) as store:
        used = (await store.info("memory"))["used_memory"]
        await store.config_set("maxmemory", int(used * 0.9))
        await asyncio.sleep(scene.chance.uniform(1, 4))
        await store.config_set("maxmemory", 0)
    scene.journal.struck("store full", since)


async def stop_store(scene: Scene) -> None:
    """Let the store do nothing for a while, and then go on."""
    process_id = scene.store.process_id
    assert process_id is not None
    since = time.monotonic()
    os.kill(process_id, signal.SIGSTOP)
    await asyncio.sleep(scene.chance.uniform(0.5, 3))
    os.kill(process_id, signal.SIGCONT)
    scene.journal.struck("store slow", since)


async def fail_over(scene: Scene) -> None:
    """Kill the master, half of the time when its replicas have been standing still for a while;
    another takes its place, and the old one comes back as a replica."""
    group = scene.group
    assert group is not None
    since = time.monotonic()
    old, replicas = group.master(), group.replicas()
    if scene.chance.random() < 0.5:
        await asyncio.to_thread(group.pause, *replicas)
        await asyncio.sleep(scene.chance.uniform(0, 0.4))
    await asyncio.to_thread(old.kill)
    scene.kills += 1
    await asyncio.to_thread(group.resume, *replicas)
    await asyncio.to_thread(group.await_failover, old)
    await asyncio.to_thread(group.start, old)
    await asyncio.to_thread(group.await_replicas, 2)
    scene.journal.struck("failover", since)


async def trouble_network(scene: Scene) -> None:
    """Delay, reset or half-open the connections to the store or to the broker."""
    proxy = scene.chance.choice((scene.store_proxy, scene.broker_proxy))
    since = time.monotonic()
    match scene.chance.choice(("delay", "cut", "half-open")):
        case "delay":
            proxy.delay_seconds = scene.chance.uniform(0.02, 0.3)
            await asyncio.sleep(scene.chance.uniform(1, 3))
            proxy.delay_seconds = 0.0
            scene.journal.struck("connections slow", since)
        case "cut":
            proxy.cut()
            scene.journal.struck("connections cut", since)
        case "half-open":
            proxy.half_open()
            # What hangs is noticed by a time-out; until then more may go wrong.
            await asyncio.sleep(15)
            scene.journal.struck("connections half open", since)


async def trouble_receivers(scene: Scene) -> None:
    """Let the receivers fail a few of the next requests, each in a way of its own."""
    for _ in range(scene.chance.randint(1, 5)):
        match scene.chance.choice(("500", "429", "drop", "cut", "410", "slow", "hang")):
            case "500":
                scene.stack.webhook.answer(500)
            case "429":
                scene.stack.webhook.answer(429, headers={"Retry-After": "2"})
            case "drop":
                scene.stack.webhook.answer(drop=True)
            case "cut":
                scene.stack.webhook.answer(cut=True)
            case "410":
                scene.stack.webhook.answer(410)
            case "slow":
                scene.stack.webhook.answer(delay=3)
            case "hang":
                scene.stack.webhook.answer(delay=20)
    for _ in range(scene.chance.randint(1, 3)):
        match scene.chance.choice(("451", "drop", "hang", "refuse", "half-way")):
            case "451":
                scene.stack.smtp.answer("RCPT", "451 try again later")
            case "drop":
                scene.stack.smtp.answer("DATA", "drop")
            case "hang":
                scene.stack.smtp.answer("MAIL", "hang")
            case "refuse":
                scene.stack.smtp.answer("CONNECT", "drop")
            case "half-way":
                scene.stack.smtp.answer("END", "drop")


async def nothing(scene: Scene) -> None:
    """Let time pass: what is wrong is wrong all the time."""


@contextlib.asynccontextmanager
async def everything_twice(scene: Scene) -> AsyncIterator[None]:
    """Put every message onto its queue a second time, a moment after its sender did."""
    async with redis.asyncio.Redis.from_url(scene.broker.url) as broker:
        doubling = asyncio.create_task(_double(broker))
        try:
            yield
        finally:
            # More than once: redis-py swallows some.
            while not doubling.done():
                doubling.cancel()
                await asyncio.wait([doubling], timeout=0.05)


async def _double(broker: redis.asyncio.Redis) -> None:
    """Watch the broker for ever, also when it has been killed and started again."""
    while True:
        with contextlib.suppress(redis.RedisError, OSError):
            await _double_until_broken(broker)
        await asyncio.sleep(0.1)


async def _double_until_broken(broker: redis.asyncio.Redis) -> None:
    queues = {queue.value for queue in Queue}
    async with broker.monitor() as monitor:
        async for seen in monitor.listen():
            # Senders use LPUSH, and so this uses the other.
            name, _, rest = seen["command"].partition(" ")
            queue, _, item = rest.partition(" ")
            if name.upper() == "LPUSH" and queue in queues:
                await broker.rpush(queue, item)


async def anything(scene: Scene) -> None:
    """One of the faults that need nothing special."""
    strike = scene.chance.choice(
        (kill_service, kill_service, kill_store, kill_broker, empty_broker, trouble_receivers)
    )
    await strike(scene)


FAULTS = (
    Fault("services killed", kill_service, 100, (1.0, 3.0)),
    Fault("store killed", kill_store, 12, (2.0, 5.0)),
    Fault("power cut", cut_power, 12, (2.0, 5.0), is_traced=True),
    Fault("broker killed", kill_broker, 8, (2.0, 5.0)),
    Fault("broker emptied", empty_broker, 30, (0.5, 2.0)),
    Fault("store full", fill_store, 6, (2.0, 4.0)),
    Fault("store slow", stop_store, 8, (1.0, 4.0)),
    Fault("master fails over", fail_over, 8, (2.0, 5.0), is_replicated=True),
    Fault("network", trouble_network, 12, (0.5, 3.0), is_proxied=True),
    Fault("receivers", trouble_receivers, 40, (0.2, 1.0)),
    Fault(
        "clocks apart",
        nothing,
        30,
        (1.0, 1.0),
        clocks={"gateway": 600, "approval-tracker": -600, "notifier": 600},
    ),
    Fault("everything twice", nothing, 30, (1.0, 1.0), around=everything_twice),
)
"""The faults of a full run."""

MIXED = Fault("mixed", anything, 12, (0.5, 2.0), around=everything_twice)
"""Several at once, for the short form."""
