"""Which requests a list shows, on a real store: merged from the groups' lists, and bounded."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from deploy.valkey import ValkeyServer
from safeguards.contracts import ApprovalSubmission
from safeguards.identifiers import new_id
from safeguards_runtime.records import Approval, Change, opening
from safeguards_runtime.reviewers import Reviewer
from safeguards_runtime.store import Store
from services.gateway.console.listing import (
    PAGE_LENGTH,
    SCAN_LENGTH,
    Found,
    Position,
    Reader,
    View,
    Wanted,
    find,
    position,
)
from tests.runtime.samples import TERMS

DATABASE = 8
"""Of this module's tests alone, so that others may use the same server."""


@pytest.fixture
async def store(store_server: ValkeyServer) -> AsyncIterator[Store]:
    """An empty store."""
    made = Store(f"{store_server.url.rpartition('/')[0]}/{DATABASE}")
    await made.redis.flushdb()
    yield made
    await made.close()


def reader(*groups: str, reads_all: bool = False) -> Reader:
    """Return somebody of these groups."""
    found = Reviewer(id="sam", name="Sam", groups=frozenset(groups))
    return Reader(found, found.groups, (), reads_all)


def opened(now: datetime, title: str, *groups: str, **given: Any) -> Change:
    """Return the change that opens a request to groups."""
    submission = ApprovalSubmission(
        agent_id=given.pop("agent_id", "trader"), title=title, metadata=given
    )
    terms = TERMS.model_copy(update={"groups": groups})
    return opening.request(new_id("apr"), submission, terms, key_id="k", owner=None, now=now)


async def all_pages(store: Store, wanted: Wanted, who: Reader) -> list[Found]:
    """Return every page of a list."""
    pages: list[Found] = []
    after: Position | None = None
    while True:
        pages.append(await find(store, wanted, who, after))
        after = pages[-1].after
        if after is None:
            return pages


async def test_the_lists_of_several_groups_become_one(store: Store) -> None:
    """By the deadline, each request once, also where it is put to two of one's groups; of other
    groups' nothing."""
    now = await store.now()
    shares = [("a",), ("b",), ("a", "b"), ("c",), ("b", "c")]
    changes = [opened(now + timedelta(seconds=n), f"{n}", *shares[n % 5]) for n in range(100)]
    # Written in another order than that of their deadlines.
    await store.commit([[change] for change in changes[::-1]])
    pages = await all_pages(store, Wanted(), reader("a", "b"))
    titles = [int(asked.title) for page in pages for asked in page.approvals]
    assert titles == [n for n in range(100) if n % 5 != 3]
    assert [len(page.approvals) for page in pages] == [PAGE_LENGTH, PAGE_LENGTH, 20]
    everything = await all_pages(store, Wanted(View.ALL), reader("a", reads_all=True))
    assert sum(len(page.approvals) for page in everything) == 100


async def test_many_of_one_deadline_are_all_shown(store: Store) -> None:
    now = await store.now()
    await store.commit([[opened(now, f"{n}", "a")] for n in range(75)])
    pages = await all_pages(store, Wanted(), reader("a"))
    titles = [asked.title for page in pages for asked in page.approvals]
    assert len(titles) == len(set(titles)) == 75


async def test_a_search_looks_so_far_and_says_from_where_it_goes_on(store: Store) -> None:
    """What is sought stands behind more than is looked at for one page."""
    now = await store.now()
    number = SCAN_LENGTH + 150
    changes = [opened(now + timedelta(seconds=n), f"Number {n}", "a") for n in range(number)]
    changes.append(opened(now + timedelta(seconds=number), "The needle", "a"))
    for start in range(0, len(changes), 500):
        await store.commit([[change] for change in changes[start : start + 500]])
    wanted = Wanted(words="NEEDLE")
    pages = await all_pages(store, wanted, reader("a"))
    assert pages[0].approvals == ()
    assert pages[0].searched > 0
    assert pages[0].searched <= SCAN_LENGTH
    assert [asked.title for asked in pages[-1].approvals] == ["The needle"]
    assert wanted.address(pages[0].after).startswith("/console?q=NEEDLE&after=")
    plain = await find(store, Wanted(), reader("a"), None)
    assert len(plain.approvals) == PAGE_LENGTH
    assert not plain.searched


async def test_an_address_says_all_that_is_wanted(store: Store) -> None:
    """It is read back as it was written; what it cannot mean is left out."""
    wanted = Wanted.of(
        {"view": "all", "risk": "error", "agent": "ä&b", "type": "x y", "policy": "p", "q": " a  b"}
    )
    assert wanted.words == "a b"
    at = (1700000000000, new_id("apr"))
    address = wanted.address(at)
    query = dict(parse_qsl(urlsplit(address).query))
    assert Wanted.of(query) == wanted
    assert position(query["after"]) == at
    for text in ("", "1", "x.apr_1", f"-1.{at[1]}", f"{10**20}.{at[1]}", f"1.{at[1]}\n"):
        assert position(text) is None
    assert Wanted.of({"view": "x", "risk": "y", "q": "w" * 5000}) == Wanted(words="w" * 200)
    assert dataclasses.replace(wanted, view=View.WAITING).is_filtered


async def test_a_request_that_ends_meanwhile_is_left_out(store: Store) -> None:
    """A list is a moment old; what it shows is as it stands."""
    now = await store.now()
    made, _ = await store.create(opened(now, "Pay", "a"))
    assert isinstance(made, Approval)
    wanted = Wanted()
    assert wanted.matches(made, reader("a"))
    assert not wanted.matches(made, reader("b"))
    assert not wanted.seen_as(View.ANSWERED).matches(made, reader("a"))
    assert not wanted.seen_as(View.IN_HAND).matches(made, reader("a"))
