"""How cost grows with the number of pending approvals.

Two stacks, one with few and one with many pending, and the same figures of both in turns: decision
latency, and how long the first page of the list takes, over the API and in the console.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial

import httpx2

from safeguards_runtime.store import Store
from safeguards_runtime.store.encoding import index_key
from tests.bench import clones
from tests.bench.clones import Template
from tests.bench.latency import compared, latencies
from tests.bench.measurement import Measurement, in_turns
from tests.bench.parts import Parts
from tests.bench.plan import Plan
from tests.bench.report import Figure, Goal
from tests.bench.sides import AGENT_ID, CONTEXT, TITLE, SafeguardsSide
from tests.bench.work import told
from tests.stack import Stack

PAGE_LENGTH = 50
CONSOLE_PAGE_LENGTH = 30
PENDING = index_key("approvals:status:PENDING")


async def _growth(parts: Parts, plan: Plan) -> list[Figure]:
    few, many = plan.pending
    with parts.another_stack() as crowded:
        stacks = {"ours": crowded, "base": parts.stack}
        await _fill(crowded, many)
        template, ids = await _fill(parts.stack, few)
        try:
            decisions = await _decisions(stacks, plan)
            pages = await _pages(stacks, plan)
            shown = await _console_pages(stacks, plan)
        finally:
            clones.remove(_store_url(parts.stack), template, ids)
    return [
        compared(
            f"growth of {what}, {many:,} pending, p50",
            turns,
            0.5,
            Goal.at_most(1.3),
            base_name=f"that with {few:,} pending",
        )
        for what, turns in (
            ("decision latency", decisions),
            ("the list's first page", pages),
            ("the console's list", shown),
        )
    ]


async def _fill(stack: Stack, number: int) -> tuple[Template, list[str]]:
    """Have `number` approvals pending in a stack, in which hardly any was before."""
    url = _store_url(stack)
    store = Store(url)
    template = await _template(stack, store)
    ids = await asyncio.to_thread(clones.write, url, template, number)
    pending = await store.redis.zcard(PENDING)
    assert pending == number + 1, f"{pending} are pending, not {number} and the original"
    await store.close()
    return template, ids


def _store_url(stack: Stack) -> str:
    return stack.setting("SAFEGUARDS_STORE_URL")


async def _template(stack: Stack, store: Store) -> Template:
    """Have an approval opened and told by the running product, and read what it has written."""
    body = {"agent_id": AGENT_ID, "title": TITLE, "metadata": CONTEXT}
    with stack.http() as agent:
        approval_id = agent.post("/request-approval", json=body).raise_for_status().json()["id"]
    await told(store)
    template = await Template.of(store, approval_id)
    assert template.deliveries, "nobody was told"
    return template


async def _decisions(stacks: dict[str, Stack], plan: Plan) -> dict[str, list[list[float]]]:
    async with SafeguardsSide(stacks["ours"]) as many, SafeguardsSide(stacks["base"]) as few:
        return await latencies({"ours": many, "base": few}, 1, plan)


async def _pages(stacks: dict[str, Stack], plan: Plan) -> dict[str, list[list[float]]]:
    """Return how long a reviewer waits for the first page, turn by turn, in milliseconds."""
    clients = {name: stack.http(stack.reviewer_keys["alex"]) for name, stack in stacks.items()}

    def page(client: httpx2.Client) -> None:
        answer = client.get("/approvals", params={"status": "PENDING"}).raise_for_status()
        assert len(answer.json()["approvals"]) == PAGE_LENGTH

    return await _waited(clients, page, plan)


async def _console_pages(stacks: dict[str, Stack], plan: Plan) -> dict[str, list[list[float]]]:
    """Return how long a reviewer who has signed in waits for the list of required actions."""
    clients = {name: _signed_in(stack) for name, stack in stacks.items()}

    def page(client: httpx2.Client) -> None:
        answer = client.get("/console").raise_for_status()
        assert answer.text.count(" data-row") == CONSOLE_PAGE_LENGTH

    return await _waited(clients, page, plan)


def _signed_in(stack: Stack) -> httpx2.Client:
    """Return a client with the cookie of somebody who has signed in."""
    form = {"name": "alex", "password": stack.passwords["alex"]}
    with httpx2.Client(base_url=stack.url, verify=False) as stranger:
        answer = stranger.post("/sign-in", data=form)
    # A client does not send a secure cookie to loopback, as browsers do.
    cookie = answer.headers["set-cookie"].partition(";")[0]
    return httpx2.Client(base_url=stack.url, headers={"Cookie": cookie}, timeout=30, verify=False)


async def _waited(
    clients: dict[str, httpx2.Client], page: Callable[[httpx2.Client], None], plan: Plan
) -> dict[str, list[list[float]]]:
    """Return how long each client waits for a page, turn by turn, in milliseconds."""

    def timed(client: httpx2.Client) -> float:
        time.sleep(plan.pause_seconds)
        sent_at = time.perf_counter()
        page(client)
        return (time.perf_counter() - sent_at) * 1000

    async def turn(name: str, number: int) -> list[float]:
        return [timed(clients[name]) for _ in range(number)]

    try:
        for name in clients:
            await turn(name, plan.warm_up)
        turns = {name: partial(turn, name, plan.decisions) for name in clients}
        return await in_turns(turns, plan.rounds)
    finally:
        for client in clients.values():
            client.close()


GROWTH = Measurement("growth", _growth)
