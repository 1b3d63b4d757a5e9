"""Verdict latency: from an agent's submission of an allowed action to its going on.

Ours goes by HTTP to the gateway, through the broker to the evaluator, which applies the shipped
policy with its safeguard, to disk, and back by the agent's one long poll. The floor is Celery's own
question and answer, through a broker without fsync. The clock of both is the agent's.
"""

from __future__ import annotations

import asyncio
import time

from safeguards.client import AsyncSafeguards
from safeguards.types import ActionStatus
from tests.bench import floor_tasks
from tests.bench.floor_worker import FloorWorker
from tests.bench.latency import ANSWER_SECONDS, compared
from tests.bench.measurement import Measurement, in_turns
from tests.bench.parts import Parts
from tests.bench.plan import Plan
from tests.bench.report import Figure, Goal
from tests.bench.sides import AGENT_ID
from tests.bench.work import ALLOWED


async def _verdicts(parts: Parts, plan: Plan) -> list[Figure]:
    """Measure the p50, in milliseconds."""
    key = parts.stack.agent_key.api_key
    async with AsyncSafeguards(parts.stack.api, key) as agent:

        async def ours(number: int = plan.decisions) -> list[float]:
            return [await _submitted(agent, plan.pause_seconds) for _ in range(number)]

        async def base(number: int = plan.decisions) -> list[float]:
            # On the loop's own thread: nothing else is to run meanwhile.
            return [_asked(parts.floor_evaluator, plan.pause_seconds) for _ in range(number)]

        await ours(plan.warm_up)
        await base(plan.warm_up)
        turns = await in_turns({"ours": ours, "base": base}, plan.rounds)
    name = "verdict latency of an allowed action, p50"
    return [compared(name, turns, 0.5, Goal.at_most(1.3))]


async def _submitted(agent: AsyncSafeguards, pause_seconds: float) -> float:
    await asyncio.sleep(pause_seconds)
    async with asyncio.timeout(ANSWER_SECONDS):
        sent_at = time.perf_counter()
        outcome = await agent.wait(await agent.submit(AGENT_ID, "transaction", ALLOWED))
        heard_at = time.perf_counter()
    assert outcome.status is ActionStatus.APPROVED, outcome
    return (heard_at - sent_at) * 1000


def _asked(worker: FloorWorker, pause_seconds: float) -> float:
    time.sleep(pause_seconds)
    sent_at = time.perf_counter()
    verdict = worker.app.send_task(floor_tasks.ANSWER, args=[ALLOWED]).get(timeout=ANSWER_SECONDS)
    heard_at = time.perf_counter()
    assert verdict == "allow", verdict
    return (heard_at - sent_at) * 1000


VERDICTS = Measurement("verdict latency of an allowed action", _verdicts)
