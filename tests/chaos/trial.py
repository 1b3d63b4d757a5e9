"""One trial: a stack under load, a fault that strikes again and again, and what holds after."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import redis.asyncio

from deploy.valkey import ValkeyServer, free_port
from safeguards_runtime.store.encoding import agenda_key
from safeguards_runtime.topology import Queue, Service
from tests.chaos.chaos_stack import CLOCKS
from tests.chaos.checker import Invariant, check
from tests.chaos.journal import Arrived, Journal
from tests.chaos.load import Load
from tests.chaos.power import TracedStore
from tests.chaos.proxy import Proxy
from tests.chaos.sentinels import SentinelGroup
from tests.chaos.snapshot import take
from tests.receivers import Answer
from tests.stack import Stack

CHANNELS = ("email", "webhook")
ENDED = {
    "Approved": "APPROVED",
    "Approved with changes": "MODIFIED",
    "Rejected": "REJECTED",
    "Timed out": "TIMED_OUT",
    "Withdrawn": "CANCELLED",
}
"""What a mail's subject begins with that tells of an outcome, and the outcome."""

SETTLING_SECONDS = 240.0
SEND_SECONDS = 15
"""After which the notifier takes a receiver for silent."""


@dataclass
class Scene:
    """What a fault may break.

    Attributes:
        stack: the services, and the receivers around them.
        server: the store's server, where there is one.
        group: the store's servers behind sentinels, where the fault wants them.
        broker: the broker's server.
        store_proxy: between the services and the store, where the fault wants one.
        broker_proxy: likewise.
        journal: where each fault is written down.
        chance: the source of all that is random, from the seed.
        kills: how many processes were killed.
    """

    stack: Stack
    server: ValkeyServer
    group: SentinelGroup | None
    broker: ValkeyServer
    store_proxy: Proxy
    broker_proxy: Proxy
    journal: Journal
    chance: random.Random
    kills: int = 0

    @property
    def store(self) -> ValkeyServer:
        """The store's server, or its master at this moment."""
        return self.group.master() if self.group else self.server


Strike = Callable[[Scene], Awaitable[None]]


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        name: for the table.
        strike: breaks something, and mends it.
        strikes: how often in a full run.
        pause_seconds: between two strikes, at random between these.
        is_proxied: whether the services reach store and broker through proxies.
        is_traced: whether the store runs under strace.
        is_replicated: whether the store is a master and two replicas behind three sentinels.
        clocks: how many seconds the clocks of services are ahead, by name.
        around: what goes on beside the load for the whole time.
    """

    name: str
    strike: Strike
    strikes: int
    pause_seconds: tuple[float, float]
    is_proxied: bool = False
    is_traced: bool = False
    is_replicated: bool = False
    clocks: dict[str, int] = field(default_factory=dict)
    around: Callable[[Scene], contextlib.AbstractAsyncContextManager[None]] | None = None


@dataclass(frozen=True)
class Result:
    """What a trial found.

    Attributes:
        actions: how many were accepted under faults.
        seconds: how long the faults went on.
        settled_seconds: how long it then took until nothing was left to do.
        deliveries: how many mails and webhooks were taken.
        violations: of each invariant, in words.
    """

    fault: str
    seed: int
    strikes: int
    kills: int
    actions: int
    seconds: float
    settled_seconds: float
    deliveries: int
    violations: dict[Invariant, list[str]]

    @property
    def load(self) -> float:
        """Actions accepted a second, under faults."""
        return self.actions / self.seconds


async def run(
    fault: Fault, folder: Path, *, seed: int, rate: float, strikes: int | None = None
) -> Result:
    """Run one trial in an empty folder; its journal and the stack's log stay there.

    Args:
        fault: what is broken.
        folder: for everything that is written.
        seed: of the load and of the moments at which the fault strikes.
        rate: actions a second.
        strikes: how often; as the fault says unless given.
    """
    # What blocks, such as publishing to a dead broker, may not hold up what mends it.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(64))
    with Journal(folder / "journal.jsonl") as journal:
        async with _scene(fault, folder, journal, seed) as scene:
            async with Load(scene.stack, journal, seed) as load:
                stop = asyncio.Event()
                started = time.monotonic()
                async with asyncio.TaskGroup() as both:
                    running = both.create_task(load.run(rate, stop))
                    async with _around(fault, scene):
                        await _strike(fault, scene, strikes or fault.strikes)
                    seconds = time.monotonic() - started
                    stop.set()
                accepted = running.result()
            ended = time.monotonic()
            await _settle(scene)
            settled_seconds = time.monotonic() - ended
            await asyncio.to_thread(scene.stack.stop)
            _note_arrivals(scene.stack, journal)
            snapshot = take(scene.store.url, scene.broker.url)
            return Result(
                fault=fault.name,
                seed=seed,
                strikes=strikes or fault.strikes,
                kills=scene.kills,
                actions=accepted,
                seconds=seconds,
                settled_seconds=settled_seconds,
                deliveries=sum(arrived.is_taken for arrived in journal.of(Arrived)),
                violations=check(journal, snapshot),
            )


async def _strike(fault: Fault, scene: Scene, strikes: int) -> None:
    """Strike at random moments."""
    for _ in range(strikes):
        await asyncio.sleep(scene.chance.uniform(*fault.pause_seconds))
        await fault.strike(scene)
    await asyncio.sleep(fault.pause_seconds[1])


@contextlib.asynccontextmanager
async def _around(fault: Fault, scene: Scene) -> AsyncIterator[None]:
    if fault.around is None:
        yield
        return
    async with fault.around(scene):
        yield


@contextlib.asynccontextmanager
async def _scene(fault: Fault, folder: Path, journal: Journal, seed: int) -> AsyncIterator[Scene]:
    with contextlib.ExitStack() as servers:
        group = servers.enter_context(_group(folder)) if fault.is_replicated else None
        kind = TracedStore if fault.is_traced else ValkeyServer
        server = group.master() if group else servers.enter_context(kind.store(folder / "store"))
        broker = servers.enter_context(ValkeyServer.broker(folder / "broker"))
        async with (
            Proxy(server.url, free_port()) as store_proxy,
            Proxy(broker.url, free_port()) as broker_proxy,
        ):
            settings = {
                "SAFEGUARDS_STORE_URL": (store_proxy if fault.is_proxied else server).url,
                "SAFEGUARDS_BROKER_URL": (broker_proxy if fault.is_proxied else broker).url,
                "SAFEGUARDS_ALLOW_PRIVATE_WEBHOOKS": "true",
                CLOCKS: json.dumps(fault.clocks),
            }
            if group:
                # Both, since the sentinels may promote either: with one of two, a failover to the
                # one that lagged lost two accepted actions of 3,600 here.
                settings |= {
                    "SAFEGUARDS_STORE_URL": group.url(),
                    "SAFEGUARDS_STORE_REPLICAS": "2",
                }
            stack = Stack(
                folder,
                channels=CHANNELS,
                timeout_seconds=120,
                settings=settings,
                module="tests.chaos.chaos_stack",
            )
            # The stack's own clients block: they may not hold up the proxies.
            await asyncio.to_thread(stack.__enter__)
            try:
                chance = random.Random(seed)
                servers_and_proxies = (server, group, broker, store_proxy, broker_proxy)
                yield Scene(stack, *servers_and_proxies, journal, chance)
            finally:
                await asyncio.to_thread(stack.__exit__, None, None, None)
                (folder / "stack.log").write_text(stack.running.output)


def _group(folder: Path) -> SentinelGroup:
    """Describe a replicated store that is patient, so that only what is killed fails over, and not
    what is slow on a busy machine."""
    return SentinelGroup(folder, down_after_milliseconds=4000)


async def _settle(scene: Scene) -> None:
    """Wait until nothing is left to do. If it takes too long, the checker says what is left."""
    deadline = time.monotonic() + SETTLING_SECONDS
    async with (
        redis.asyncio.Redis.from_url(scene.store.url) as store,
        redis.asyncio.Redis.from_url(scene.broker.url) as broker,
    ):
        while time.monotonic() < deadline:
            left = [await store.zcard(agenda_key(service)) for service in Service]
            left += [await broker.llen(queue.value) for queue in Queue]
            left.append(await broker.hlen("unacked"))
            if not any(left):
                return
            await asyncio.sleep(0.5)


def _note_arrivals(stack: Stack, journal: Journal) -> None:
    """Write down what came to the receivers."""
    for mail in stack.smtp.mails:
        message_id = re.search(r"dlv_[0-9a-f]{32}", str(mail.message["Message-ID"]))
        found = message_id[0] if message_id else "unknown"
        arrived = Arrived(mail.received_at, "email", found, mail.is_taken)
        begins = mail.subject.partition(":")[0]
        says = ENDED.get(begins, "")
        journal.add(replace(arrived, address=" ".join(mail.recipients), says=says))
    for request in stack.webhook.requests:
        channel = "callback" if request.path.startswith("/callback") else "webhook"
        answer = request.answer
        journal.add(
            Arrived(
                at=request.received_at,
                channel=channel,
                delivery_id=request.headers.get("webhook-id", "unknown"),
                is_taken=_is_taken(answer),
                is_refused=answer.status == 410,
                says=request.json.get("data", {}).get("status", ""),
            )
        )


def _is_taken(answer: Answer) -> bool:
    is_whole = not answer.drop and not answer.cut and answer.delay < SEND_SECONDS
    return is_whole and 200 <= answer.status < 300


def summary(result: Result) -> dict[str, Any]:
    """Return a result as plain JSON types."""
    return {
        "fault": result.fault,
        "seed": result.seed,
        "strikes": result.strikes,
        "kills": result.kills,
        "actions": result.actions,
        "seconds": round(result.seconds, 1),
        "load": round(result.load, 1),
        "settled_seconds": round(result.settled_seconds, 1),
        "deliveries": result.deliveries,
        "violations": {str(name): found for name, found in result.violations.items()},
    }
