"""Open-and-decide cycles a second, while many approvals are open.

A cycle: an agent asks, an approval that is open is answered, and the agent that waits for that one
goes on. As many clients are at work at once on both sides, in this one process: the agents hear by
one long poll, the reviewer has one client. On our side people are told by the log channel.
"""

from __future__ import annotations

import asyncio
import os
import time
from functools import partial

from tests.bench.latency import Waiters
from tests.bench.measurement import Measurement, in_turns, rates
from tests.bench.parts import Parts
from tests.bench.plan import Plan
from tests.bench.processes import Usage
from tests.bench.report import Figure, Goal
from tests.bench.sides import FloorSide, SafeguardsSide
from tests.bench.work import told


async def _cycles(parts: Parts, plan: Plan) -> list[Figure]:
    store = parts.store()
    servers = {"ours": parts.stack.process_id("gateway"), "base": parts.floor.process_id}
    usage: dict[str, str] = {}
    behind: list[float] = []
    async with SafeguardsSide(parts.stack) as ours, FloorSide(parts.floor) as floor:
        waiters = {"ours": Waiters(ours, seed=plan.open), "base": Waiters(floor, seed=plan.open)}

        async def turn(name: str, cycles: int = plan.cycles) -> list[float]:
            used = Usage({"clients": os.getpid(), "server": servers[name]})
            rate = await _rate(waiters[name], cycles, plan.clients)
            usage[name] = used.so_far()
            # Nobody's figure, but what is left to do must not spoil the other side's.
            behind.append(await told(store))
            return [rate]

        try:
            for name, each in waiters.items():
                await each.fill(plan.open)
                await told(store)
                await turn(name, plan.clients)
            behind.clear()
            turns = await in_turns({name: partial(turn, name) for name in waiters}, plan.rounds)
        finally:
            for each in waiters.values():
                await each.leave()
            await store.close()
    name = f"open-and-decide cycles, {plan.open:,} open"
    note = (
        f"{plan.clients} clients; the notifier was up to {max(behind):.1f} s behind; "
        f"ours: {usage['ours']}; floor: {usage['base']}"
    )
    return [rates(name, turns, Goal.at_least(0.9), note=note)]


async def _rate(waiters: Waiters, cycles: int, clients: int) -> float:
    """Return how many cycles a second `clients` get through."""
    left = iter(range(cycles))

    async def client() -> None:
        for _ in left:
            await waiters.cycle()

    begun_at = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return cycles / (time.perf_counter() - begun_at)


CYCLES = Measurement("open-and-decide cycles", _cycles)
