"""What the stack costs at rest: memory in the store for what is open, and the idle processes."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from safeguards.client import AsyncSafeguards
from safeguards_runtime.store import Store
from safeguards_runtime.store.encoding import record_key
from tests.bench.latency import OPENING_AT_ONCE
from tests.bench.measurement import Measurement
from tests.bench.parts import Parts
from tests.bench.plan import Plan
from tests.bench.processes import cpu_seconds, family, resident_bytes
from tests.bench.report import Figure, Goal
from tests.bench.sides import AGENT_ID, TITLE
from tests.bench.work import told

CONTEXT_BYTES = 1024
SETTLING_SECONDS = 5.0
KILOBYTE = 1024
MEGABYTE = 1024 * 1024


def context_of(size: int) -> dict[str, Any]:
    """Return a context whose JSON has `size` bytes, in several fields as real ones have."""
    context = {"action_type": "transaction", "amount": "2500.00", "payee": "ACME Ltd"}
    context |= {f"line_{number}": f"Item {number}: office supplies" for number in range(10)}
    length = len(json.dumps({**context, "note": ""}, separators=(",", ":")))
    return {**context, "note": "n" * (size - length)}


async def _in_store(parts: Parts, plan: Plan) -> list[Figure]:
    """Open approvals as agents do, have people told by the log, and look at the store's memory."""
    store = parts.store()
    key = parts.stack.agent_key.api_key
    slots = asyncio.Semaphore(OPENING_AT_ONCE)
    async with AsyncSafeguards(parts.stack.api, key) as agent:

        async def opened(number: int) -> list[str]:
            async def one() -> str:
                async with slots:
                    asked = await agent.request_approval(AGENT_ID, TITLE, context_of(CONTEXT_BYTES))
                    return asked.id

            ids = await asyncio.gather(*(one() for _ in range(number)))
            await told(store)
            return ids

        # Small lists are packed: they are made large first.
        await opened(plan.kept // 4)
        before = await _used_bytes(store)
        ids = await opened(plan.kept)
        each = (await _used_bytes(store) - before) / plan.kept
    (delivery_id,) = await store.listed(f"deliveries:of:{ids[0]}")
    parts_of_it: dict[str, float] = {
        "its record and history": await store.redis.memory_usage(record_key(ids[0])),
        "its delivery's": await store.redis.memory_usage(record_key(delivery_id)),
    }
    parts_of_it["lists, agenda and idempotency key"] = each - sum(parts_of_it.values())
    await store.close()
    told_of = (f"{what} {size / KILOBYTE:.2f}" for what, size in parts_of_it.items())
    note = f"all that opening one leaves there: {', '.join(told_of)}"
    name = "memory in the store for a pending approval of 1 kB"
    return [Figure(name, "kB", each / KILOBYTE, goal=Goal.at_most(3.0), note=note)]


async def _used_bytes(store: Store) -> int:
    info = await store.redis.info("memory")
    return int(info["used_memory"]) - int(info["mem_clients_normal"]) - int(info["mem_aof_buffer"])


async def _idle(parts: Parts, plan: Plan) -> list[Figure]:
    """Look at every process of `make run` while nothing happens."""
    supervisor = parts.stack.running.process.pid
    await asyncio.sleep(min(SETTLING_SECONDS, plan.idle_seconds))
    processes = family(supervisor)
    before, begun_at = cpu_seconds(processes), time.monotonic()
    await asyncio.sleep(plan.idle_seconds)
    used = (cpu_seconds(processes) - before) / (time.monotonic() - begun_at)
    note = f"{len(processes)} processes, with the supervisor, the Valkey servers and Flower"
    return [
        Figure(
            "idle stack, resident memory", "MB", resident_bytes(processes) / MEGABYTE, note=note
        ),
        Figure("idle stack, share of one core", "%", 100 * used, goal=Goal.at_most(2.0)),
    ]


IN_STORE = Measurement("memory in the store", _in_store)
IDLE = Measurement("idle stack", _idle)
