"""`GET /outcomes`: nothing is lost between polls, nothing is heard that is not one's own."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx2
import pytest

from deploy.valkey import ValkeyServer
from safeguards_runtime.store import Store
from safeguards_runtime.store.encoding import FEED
from services.gateway.feed import FeedTail
from tests.gateway.conftest import Asking
from tests.stack import Stack


def page(client: httpx2.Client, **query: Any) -> dict[str, Any]:
    answer = client.get("/outcomes", params=query)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def heard(client: httpx2.Client, cursor: str, ids: set[str], wait: float = 10) -> list[str]:
    """Return the approvals heard of after a cursor, in order, until all of `ids` have come."""
    found: list[str] = []
    deadline = time.monotonic() + wait
    while not ids <= set(found):
        assert time.monotonic() < deadline, f"heard only {found}"
        got = page(client, after=cursor, wait=wait)
        assert not got["gap"]
        cursor = got["cursor"]
        found += [entry["approval_id"] for entry in got["entries"]]
    return [record_id for record_id in found if record_id in ids]


def test_without_a_cursor_it_begins_here(stack: Stack, agent: httpx2.Client, ask: Asking) -> None:
    """What was before is not told; what comes after is."""
    before, after = ask()["id"], ask()["id"]
    stack.respond(before, response="approve")
    first = page(agent)
    assert first["entries"] == []
    stack.respond(after, response="approve")
    assert heard(agent, first["cursor"], {after}) == [after]


def test_nothing_is_lost_between_polls(stack: Stack, agent: httpx2.Client, ask: Asking) -> None:
    """Polling with the cursor of each page gives every outcome once, in the order of decisions,
    however the pages fall."""
    cursor = page(agent)["cursor"]
    ids = [ask()["id"] for _ in range(12)]
    with ThreadPoolExecutor(1) as pool:
        listening = pool.submit(heard, agent, cursor, set(ids))
        for approval_id in ids:
            stack.respond(approval_id, response="approve")
        assert listening.result() == ids


def test_the_same_cursor_gives_the_same_again(
    stack: Stack, agent: httpx2.Client, ask: Asking
) -> None:
    """A page whose answer was lost is asked for again, also long after."""
    cursor = page(agent)["cursor"]
    approval_id = ask()["id"]
    stack.respond(approval_id, response="approve")
    for _ in range(3):
        assert heard(agent, cursor, {approval_id}) == [approval_id]


def test_a_question_comes_through_the_same_feed(
    stack: Stack, agent: httpx2.Client, ask: Asking
) -> None:
    cursor = page(agent)["cursor"]
    approval_id = ask()["id"]
    stack.respond(approval_id, response="ask", comments="what for?")
    (entry,) = page(agent, after=cursor, wait=10)["entries"]
    assert (entry["type"], entry["question"]) == ("question", "what for?")


def test_only_ones_own_agents_are_heard(
    stack: Stack, agent: httpx2.Client, other: httpx2.Client, ask: Asking
) -> None:
    """A foreign outcome neither appears nor wakes; the cursor moves past it all the same."""
    cursor = page(other)["cursor"]
    foreign = ask()["id"]
    mine = other.post("/request-approval", json={"agent_id": "one-agent", "title": "x"}).json()
    stack.respond(foreign, response="approve")
    stack.respond(mine["id"], response="reject")
    assert heard(other, cursor, {mine["id"]}) == [mine["id"]]
    entries = page(other, after="0-0")["entries"]
    assert {entry["agent_id"] for entry in entries} == {"one-agent"}
    assert set(heard(agent, cursor, {foreign, mine["id"]})) == {foreign, mine["id"]}


def test_a_long_poll_wakes_at_once(stack: Stack, agent: httpx2.Client, ask: Asking) -> None:
    """The answer comes with the decision, not at the end of the wait."""
    cursor, approval_id = page(agent)["cursor"], ask()["id"]
    with ThreadPoolExecutor(1) as pool:
        listening = pool.submit(heard, agent, cursor, {approval_id}, 30)
        assert not listening.done()
        stack.respond(approval_id, response="approve")
        decided_at = time.monotonic()
        listening.result()
    assert time.monotonic() - decided_at < 2


def test_a_long_poll_ends_when_its_time_is_up(other: httpx2.Client) -> None:
    """Empty, with a cursor to go on from, after the seconds asked for: a fraction of one too."""
    cursor = page(other)["cursor"]
    began = time.monotonic()
    got = page(other, after=cursor, wait=0.3)
    assert 0.25 < time.monotonic() - began < 5
    assert (got["entries"], got["gap"]) == ([], False)


@pytest.mark.parametrize("cursor", ["9999999999999-0", "9999999999998-7"])
def test_a_cursor_from_nowhere_is_a_gap(agent: httpx2.Client, cursor: str) -> None:
    """The store was replaced: the client is told at once to look anew, with a cursor that works."""
    began = time.monotonic()
    got = page(agent, after=cursor, wait=20)
    assert time.monotonic() - began < 5
    assert (got["gap"], got["entries"]) == (True, [])
    assert page(agent, after=got["cursor"])["gap"] is False


# --- the feed itself, on a store of its own -----------------------------------------------------


@pytest.fixture
async def store(store_server: ValkeyServer) -> AsyncIterator[Store]:
    """An empty database."""
    made = Store(f"{store_server.url.rpartition('/')[0]}/8")
    await made.redis.flushdb()
    yield made
    await made.close()


async def _fed(store: Store, count: int, agent_id: str = "a", first: int = 0) -> list[str]:
    async with store.redis.pipeline(transaction=False) as pipe:
        for number in range(first, first + count):
            body = f'{{"approval_id":"apr_{number}"}}'
            pipe.xadd(FEED, {"a": agent_id, "t": "outcome", "d": body})
        return [cursor.decode() for cursor in await pipe.execute()]


@asynccontextmanager
async def following(store: Store) -> AsyncIterator[FeedTail]:
    """Follow the feed. That it stops whenever it is told to is a test of its own."""
    tail = FeedTail(store)
    await tail.start()
    try:
        yield tail
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await tail.stop()


@pytest.mark.parametrize("begun", ["before", "after"])
async def test_more_than_a_page_comes_in_pages(store: Store, begun: str) -> None:
    """1,234 entries between those of others, in pages of 500: each once and in order, whether the
    gateway saw them come or was started afterwards."""
    async with AsyncExitStack() as stack:
        if begun == "before":
            tail = await stack.enter_async_context(following(store))
        cursors: list[str] = []
        for number in range(0, 1234, 2):
            cursors += await _fed(store, 2, "a", number)
            (last,) = await _fed(store, 1, "b")
        if begun == "after":
            tail = await stack.enter_async_context(following(store))
        with tail.subscribed(["*"]) as woken:
            while tail.last != last:
                await woken.wait()
                woken.clear()
        seen: list[str] = []
        sizes, cursor = [], "0-0"
        while True:
            entries, cursor, gap = await tail.after(cursor, ("a",), 500)
            assert not gap
            if not entries:
                break
            sizes.append(len(entries))
            seen += [entry.cursor for entry in entries]
        assert (seen, sizes) == (cursors, [500, 500, 234])


@pytest.mark.parametrize("after", ["the first", "the empty feed's"])
async def test_what_was_trimmed_is_a_gap(store: Store, after: str) -> None:
    """Whoever comes too late is told so, and gets what is left; also who began when the feed was
    still empty."""
    first, *_, last = await _fed(store, 30)
    await store.redis.xtrim(FEED, maxlen=10, approximate=False)
    # An empty feed's cursor is 0-0.
    cursor = first if after == "the first" else "0-0"
    async with following(store) as tail:
        entries, next_, gap = await tail.after(cursor, ("a",), 500)
    assert (len(entries), next_, gap) == (10, last, True)


async def test_what_was_not_trimmed_is_no_gap(store: Store) -> None:
    """An old cursor whose successors are all there."""
    first, *rest = await _fed(store, 30)
    async with following(store) as tail:
        entries, _, gap = await tail.after(first, ("a",), 500)
    assert ([entry.cursor for entry in entries], gap) == (rest, False)


@pytest.mark.parametrize("passes", range(6))
async def test_following_stops_whenever_it_is_told_to(store: Store, passes: int) -> None:
    """Also while it is still connecting: a gateway that is stopped as it starts does not hang."""
    tail = FeedTail(store)
    await tail.start()
    for _ in range(passes):
        await asyncio.sleep(0)
    async with asyncio.timeout(1):
        await tail.stop()
