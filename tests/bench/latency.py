"""Decision latency: from a reviewer's response being sent to the waiting agent going on.

The clock starts right before the reviewer's POST and stops in the coroutine that awaited this very
approval; one clock, in the one process that holds both. What follows a decision (telling people,
and opening the next one, so that as many wait as before) happens between measurements, and a pause
lets it come to rest: the figure is that of an answer that comes by itself, as people's do.
"""

from __future__ import annotations

import asyncio
import random
import time
from functools import partial
from typing import Any

from tests.bench.measurement import Measurement, in_turns
from tests.bench.parts import Parts
from tests.bench.plan import Plan
from tests.bench.report import Figure, Goal, percentile
from tests.bench.sides import FloorSide, Question, SafeguardsSide, Side

OPENING_AT_ONCE = 16
ANSWER_SECONDS = 30.0


class Waiters:
    """Agents that wait, always the same number of them.

    Args:
        side: whom they ask.
        seed: of the random order in which they are answered.
    """

    def __init__(self, side: Side, seed: int) -> None:
        self._side = side
        self._random = random.Random(seed)
        self._waiting: list[tuple[Question, asyncio.Task[float]]] = []

    async def fill(self, number: int) -> None:
        """Open as many approvals, and wait for each."""
        slots = asyncio.Semaphore(OPENING_AT_ONCE)

        async def opened() -> None:
            async with slots:
                await self._open()

        await asyncio.gather(*(opened() for _ in range(number)))

    async def _open(self) -> None:
        question = await self._side.open()
        waiting = asyncio.get_running_loop().create_task(self._resumed_at(question))
        self._waiting.append((question, waiting))

    async def _resumed_at(self, question: Question) -> float:
        await self._side.wait(question)
        return time.perf_counter()

    async def decide(self, decisions: int, pause_seconds: float) -> list[float]:
        """Answer one after the other, at random; return the latency of each in milliseconds."""
        latencies = []
        for _ in range(decisions):
            await asyncio.sleep(pause_seconds)
            at = self._random.randrange(len(self._waiting))
            question, waiting = self._waiting.pop(at)
            async with asyncio.timeout(ANSWER_SECONDS):
                sent_at = time.perf_counter()
                await self._side.answer(question)
                resumed_at = await waiting
            latencies.append((resumed_at - sent_at) * 1000)
            await self._open()
        return latencies

    async def cycle(self) -> None:
        """Open one more, answer one of all that are open, and wait until its agent goes on."""
        await self._open()
        question, waiting = self._waiting.pop(self._random.randrange(len(self._waiting)))
        async with asyncio.timeout(ANSWER_SECONDS):
            await self._side.answer(question)
            await waiting

    async def leave(self) -> None:
        """Wait no longer."""
        tasks = [waiting for _, waiting in self._waiting]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _decisions(parts: Parts, plan: Plan) -> list[Figure]:
    """Measure the p50 and p99 for each number waiting, in milliseconds."""
    figures = []
    async with SafeguardsSide(parts.stack) as ours, FloorSide(parts.floor) as floor:
        for waiting in plan.waiting:
            name = f"decision latency, {waiting:,} waiting"
            turns = await latencies({"ours": ours, "base": floor}, waiting, plan)
            figures.append(compared(f"{name}, p50", turns, 0.50, Goal.at_most(1.2)))
            figures.append(compared(f"{name}, p99", turns, 0.99, Goal.at_most(2.0)))
    return figures


async def latencies(
    sides: dict[str, Side], waiting: int, plan: Plan
) -> dict[str, list[list[float]]]:
    """Return the latencies of decisions of each side, turn by turn, in milliseconds."""
    waiters = {name: Waiters(side, seed=waiting) for name, side in sides.items()}
    try:
        for each in waiters.values():
            await each.fill(waiting)
            await each.decide(plan.warm_up, plan.pause_seconds)
        turns = {
            name: partial(each.decide, plan.decisions, plan.pause_seconds)
            for name, each in waiters.items()
        }
        return await in_turns(turns, plan.rounds)
    finally:
        for each in waiters.values():
            await each.leave()


def compared(
    name: str, turns: dict[str, list[list[float]]], share: float, goal: Goal, **options: Any
) -> Figure:
    """Return the row of a percentile (`share` from 0 to 1): over all turns, and of each."""
    return Figure(
        name=name,
        unit="ms",
        ours=percentile([ms for turn in turns["ours"] for ms in turn], share),
        base=percentile([ms for turn in turns["base"] for ms in turn], share),
        goal=goal,
        rounds={
            side: tuple(percentile(turn, share) for turn in each) for side, each in turns.items()
        },
        **options,
    )


DECISIONS = Measurement("decision latency", _decisions)
