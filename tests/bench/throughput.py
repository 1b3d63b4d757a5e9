"""Throughput of one worker process: webhooks, mails, verdicts.

Ours: the work stands in the store, written by the project's own rules, and the real hints go to the
real queue of the worker that `deploy.local` has started. The clock runs from the first hint until
the receiver has got all and every record says so, with its history. The floor: as many stock Celery
tasks, which already wait on the broker when the clock starts.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from safeguards_runtime.messaging import make_app, publisher
from safeguards_runtime.records.delivery import DeliveryStatus
from safeguards_runtime.settings import Settings
from safeguards_runtime.store.encoding import agenda_key, chunked, index_key
from safeguards_runtime.topology import IDS_PER_HINT, Service, Task
from tests.bench import floor_tasks, work
from tests.bench.floor_worker import FloorWorker
from tests.bench.measurement import IsDone, Measurement, in_turns, rates, until
from tests.bench.parts import Parts
from tests.bench.plan import Plan
from tests.bench.processes import Usage
from tests.bench.report import Figure, Goal
from tests.bench.sinks import Sinks

WARM_UP_PARTS = 10
"""Of a turn's work, one part in so many is done before, and thrown away."""

IS_SENT = index_key(f"deliveries:status:{DeliveryStatus.SENT}")
TO_EVALUATE = agenda_key(Service.EVALUATOR)

Turn = Callable[[int], Awaitable[float]]
"""Does so much work; returns how much a second."""


class Ours:
    """The stack at work.

    Attributes:
        usage: how much of the machine was in use during the last turn, in words.
        cores: the share of all cores that was.

    Args:
        parts: the running parts.
    """

    def __init__(self, parts: Parts) -> None:
        self._sinks = parts.sinks
        self._stack = parts.stack
        self._store = parts.store()
        broker_url = parts.stack.setting("SAFEGUARDS_BROKER_URL")
        self._app = make_app(Settings(broker_url=broker_url))
        self._publish = publisher(self._app)
        self.usage = ""
        self.cores = 0.0

    async def webhooks(self, number: int, channel: str = "webhook") -> float:
        """Have webhooks delivered."""
        return await self._delivered(Task.SEND_WEBHOOK, channel, "posts", number)

    async def slack_posts(self, number: int) -> float:
        """Have messages posted to Slack."""
        return await self._delivered(Task.SEND_SLACK, "slack", "posts", number)

    async def mails(self, number: int) -> float:
        """Have mails delivered."""
        return await self._delivered(Task.SEND_EMAIL, "email", "mails", number)

    async def _delivered(self, task: Task, channel: str, counted: str, number: int) -> float:
        await work.told(self._store)
        ids = await work.deliveries(self._store, number, channel)
        received = self._sinks.counts()[counted] + len(ids)
        sent = await self._store.redis.zcard(IS_SENT) + len(ids)

        async def are_sent() -> bool:
            return bool(await self._store.redis.zcard(IS_SENT) >= sent)

        seconds = await self._timed(Service.NOTIFIER, task, ids, are_sent)
        # Each was sent, which needs the receiver's answer; so more are repeats.
        if repeats := self._sinks.counts()[counted] - received:
            self.usage += f"; {repeats} were sent twice"
        return len(ids) / seconds

    async def verdicts(self, number: int) -> float:
        """Have actions judged."""
        ids = await work.actions(self._store, number)

        async def are_judged() -> bool:
            return not await self._store.redis.zcard(TO_EVALUATE)

        seconds = await self._timed(Service.EVALUATOR, Task.EVALUATE, ids, are_judged)
        assert await work.all_allowed(self._store, ids), "not every action was allowed"
        return len(ids) / seconds

    async def _timed(
        self, service: Service, task: Task, ids: Sequence[str], is_done: IsDone
    ) -> float:
        """Send the hints; return the seconds until all is done."""
        processes = {
            service.value: self._stack.process_id(service),
            "receiver": self._sinks.process_id,
        }
        usage = Usage(processes)
        begun_at = time.perf_counter()
        for chunk in chunked(ids, IDS_PER_HINT):
            self._publish(task, chunk)
        await until(is_done, f"{task} of {len(ids)}")
        seconds = time.perf_counter() - begun_at
        self.usage, self.cores = usage.so_far(), usage.cores
        return seconds

    async def aclose(self) -> None:
        """Close the connections."""
        self._app.close()
        await self._store.close()


class Stock:
    """Stock Celery at the same work.

    Args:
        worker: the floor's worker.
        sinks: the receivers.
    """

    def __init__(self, worker: FloorWorker, sinks: Sinks) -> None:
        self._worker = worker
        self._sinks = sinks

    async def webhooks(self, number: int) -> float:
        """Have webhooks posted, of the size of ours."""
        return await self._received(floor_tasks.POST, [floor_tasks.BODY], "posts", number)

    async def slack_posts(self, number: int) -> float:
        """Have messages posted, of the size of ours to Slack."""
        return await self._received(floor_tasks.POST, [floor_tasks.SLACK_BODY], "posts", number)

    async def mails(self, number: int) -> float:
        """Have mails sent, of the size of ours."""
        link = f"http://127.0.0.1:8000/review/{'x' * 75}"
        arguments = ["alex@example.com", "Approval needed: A large transaction", link]
        return await self._received(floor_tasks.MAIL, arguments, "mails", number)

    async def nothing(self, number: int) -> float:
        """Have nothing done."""
        worker = self._worker

        async def are_done() -> bool:
            return worker.is_done()

        return await self._timed(floor_tasks.NOTHING, [], number, are_done)

    async def _received(
        self, task: str, arguments: Sequence[Any], counted: str, number: int
    ) -> float:
        received = self._sinks.counts()[counted] + number

        async def are_received() -> bool:
            return self._sinks.counts()[counted] >= received

        return await self._timed(task, arguments, number, are_received)

    async def _timed(
        self, task: str, arguments: Sequence[Any], number: int, is_done: IsDone
    ) -> float:
        self._worker.hold(task, [arguments] * number)
        begun_at = time.perf_counter()
        self._worker.release()
        await until(is_done, f"{task} of {number}")
        return number / (time.perf_counter() - begun_at)


async def _compared(
    ours: Turn, base: Turn, number: int, rounds: int
) -> dict[str, list[list[float]]]:
    async def turn(side: Turn) -> list[float]:
        return [await side(number)]

    for side in (ours, base):
        await side(max(1, number // WARM_UP_PARTS))
    return await in_turns({"ours": partial(turn, ours), "base": partial(turn, base)}, rounds)


async def _webhooks(parts: Parts, plan: Plan) -> list[Figure]:
    stock = Stock(parts.floor_notifier, parts.sinks)
    async with contextlib.aclosing(Ours(parts)) as ours:
        turns = await _compared(ours.webhooks, stock.webhooks, plan.webhooks, plan.rounds)
    name = "webhooks delivered by one notifier"
    return [rates(name, turns, Goal.at_least(2.0), note=ours.usage)]


async def _slack(parts: Parts, plan: Plan) -> list[Figure]:
    stock = Stock(parts.floor_notifier, parts.sinks)
    async with contextlib.aclosing(Ours(parts)) as ours:
        turns = await _compared(ours.slack_posts, stock.slack_posts, plan.slack, plan.rounds)
    name = "messages posted to Slack by one notifier"
    return [rates(name, turns, Goal.at_least(1.0), note=ours.usage)]


async def _mails(parts: Parts, plan: Plan) -> list[Figure]:
    stock = Stock(parts.floor_notifier, parts.sinks)
    async with contextlib.aclosing(Ours(parts)) as ours:
        turns = await _compared(ours.mails, stock.mails, plan.mails, plan.rounds)
    name = "mails delivered by one notifier"
    return [rates(name, turns, Goal.at_least(3.0), note=ours.usage)]


async def _evaluated(parts: Parts, plan: Plan) -> list[Figure]:
    stock = Stock(parts.floor_evaluator, parts.sinks)
    async with contextlib.aclosing(Ours(parts)) as ours:
        turns = await _compared(ours.verdicts, stock.nothing, plan.actions, plan.rounds)
    name = "actions evaluated by one evaluator"
    return [rates(name, turns, Goal.at_least(1.0), note=ours.usage)]


WEBHOOKS = Measurement("webhooks delivered by one notifier", _webhooks)
SLACK = Measurement("messages posted to Slack by one notifier", _slack)
MAILS = Measurement("mails delivered by one notifier", _mails)
EVALUATED = Measurement("actions evaluated by one evaluator", _evaluated)
