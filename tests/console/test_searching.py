"""Searching what agents write: bounded, so that nobody else waits for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from deploy.valkey import ValkeyServer
from safeguards_runtime.records import Approval
from safeguards_runtime.store import Store
from services.gateway.console.listing import (
    PAGE_LENGTH,
    SCAN_SECONDS,
    Wanted,
    find,
    find_among,
)
from services.gateway.console.searching import (
    SEARCHED_CHARACTERS,
    has_words,
    is_searched_in_part,
)
from tests.console.test_inbox_lists import all_pages, opened, reader
from tests.runtime.samples import asked

DATABASE = 9
"""Of this module's tests alone, so that others may use the same server."""

GROWING = "\ufdfa" * 80_000
"""Each of its characters is normalised to 18."""


@pytest.fixture
async def store(store_server: ValkeyServer) -> AsyncIterator[Store]:
    """An empty store."""
    made = Store(f"{store_server.url.rpartition('/')[0]}/{DATABASE}")
    await made.redis.flushdb()
    yield made
    await made.close()


def test_words_are_found_wherever_they_begin() -> None:
    """Also where the text is normalised in several steps, and whatever its letters look like."""
    for length in range(1_990, 2_010):
        request = asked({"text": "a" * (length - 1) + " needle " + "b" * 3_000, "n": 17})
        assert has_words(request, "NEEDLE 17 pay")
        assert not has_words(request, "needles")
    assert has_words(asked({"text": "\ufb01ne \uff21\uff23\uff2d\uff25"}), "fine acme")


def test_the_beginning_of_a_long_request_is_searched() -> None:
    for context in ({"a": "x " * SEARCHED_CHARACTERS}, {f"k{n}": n for n in range(9_000)}):
        request = asked({**context, "last": "needle"})
        assert is_searched_in_part(request)
        assert not has_words(request, "needle")
        assert has_words(asked({"first": "needle", **context}), "needle")
    assert not is_searched_in_part(asked({"a": "x " * 5_000}))


async def test_a_search_of_texts_that_grow_is_short_and_holds_nobody_up(store: Store) -> None:
    """It goes on from where its time was over, and says what it has not searched."""
    now = await store.now()
    for number in range(80):
        opening = opened(now + timedelta(seconds=number), "Pay", "a", blob=GROWING)
        await store.create(opening)
    held_up = asyncio.create_task(_longest_pause())
    began = time.monotonic()
    found = await find(store, Wanted(words="zzzzz"), reader("a"), None)
    took = time.monotonic() - began
    held_up.cancel()
    assert took < SCAN_SECONDS + 3
    assert await held_up < 0.5
    assert found.approvals == ()
    assert found.in_part == found.searched or found.after is None
    assert found.in_part > 0


async def _longest_pause() -> float:
    """Return for how long nothing else ran, until this is cancelled."""
    longest = 0.0
    try:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - before)
    except asyncio.CancelledError:
        return longest


async def test_a_search_that_is_out_of_time_loses_nothing(store: Store) -> None:
    """Page by page all that matches is found, each once."""
    now = await store.now()
    for number in range(3 * PAGE_LENGTH):
        blob = GROWING if number % 3 else "x"
        opening = opened(now + timedelta(seconds=number), f"Pay {number}", "a", blob=blob)
        await store.create(opening)
    pages = await all_pages(store, Wanted(words="pay"), reader("a"))
    titles = [asked.title for page in pages for asked in page.approvals]
    assert titles == [f"Pay {number}" for number in range(3 * PAGE_LENGTH)]


async def test_among_news_what_matches_is_found(store: Store) -> None:
    now = await store.now()
    made = []
    for number in range(25):
        title = "Pay" if number % 2 else "Buy"
        opening = opened(now, title, "a" if number < 20 else "b")
        record, _ = await store.create(opening)
        assert isinstance(record, Approval)
        made.append(record)
    found = await find_among(store, Wanted(words="PAY"), reader("a"), [one.id for one in made])
    assert [one.id for one in found] == [one.id for one in made[1:20:2]]
