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
from collections.abc import Mapping
from dataclasses import dataclass

from tests.bench.report import Figure, Goal, percentile
from tests.bench.sides import Question, Side

OPENING_AT_ONCE = 16
ANSWER_SECONDS = 30.0


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        waiting: the cases: how many approvals are waited for.
        rounds: how often each side has its turn, one after the other.
        decisions: how many are measured in each turn.
        warm_up: how many are made before, in each case, and thrown away.
        pause_seconds: between two measurements.
    """

    waiting: tuple[int, ...] = (1, 1000)
    rounds: int = 5
    decisions: int = 200
    warm_up: int = 50
    pause_seconds: float = 0.03


QUICK = Plan(waiting=(1, 20), rounds=2, decisions=5, warm_up=2, pause_seconds=0.0)


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

    async def leave(self) -> None:
        """Wait no longer."""
        tasks = [waiting for _, waiting in self._waiting]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def decision_latency(ours: Side, floor: Side, plan: Plan) -> list[Figure]:
    """Measure both sides in turn, so that a noisy moment of the machine hits both.

    Returns:
        The p50 and p99 for each number waiting, in milliseconds.
    """
    figures = []
    for waiting in plan.waiting:
        rounds = await _rounds({"ours": ours, "floor": floor}, waiting, plan)
        for word, goal in (("p50", Goal.at_most(1.2)), ("p99", Goal.at_most(2.0))):
            share = int(word[1:]) / 100
            pooled = {
                side: percentile([ms for turn in turns for ms in turn], share)
                for side, turns in rounds.items()
            }
            figures.append(
                Figure(
                    name=f"decision latency, {waiting:,} waiting, {word}",
                    unit="ms",
                    ours=pooled["ours"],
                    floor=pooled["floor"],
                    goal=goal,
                    rounds={
                        side: tuple(percentile(turn, share) for turn in turns)
                        for side, turns in rounds.items()
                    },
                )
            )
    return figures


async def _rounds(
    sides: Mapping[str, Side], waiting: int, plan: Plan
) -> dict[str, list[list[float]]]:
    """Return the latencies of each side, round by round."""
    waiters = {name: Waiters(side, seed=waiting) for name, side in sides.items()}
    try:
        for each in waiters.values():
            await each.fill(waiting)
            await each.decide(plan.warm_up, plan.pause_seconds)
        measured: dict[str, list[list[float]]] = {name: [] for name in sides}
        for _ in range(plan.rounds):
            for name, each in waiters.items():
                measured[name].append(await each.decide(plan.decisions, plan.pause_seconds))
        return measured
    finally:
        for each in waiters.values():
            await each.leave()
