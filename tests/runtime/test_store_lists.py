"""The lists of the store on a real Valkey: by rank, by time, of names; and the news."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from safeguards.contracts import ApprovalSubmission, ResponseSubmission
from safeguards.identifiers import earliest_id, made_at, new_id
from safeguards_runtime.records import ApiKey, Approval, Change, api_key
from safeguards_runtime.records import approval as rules
from safeguards_runtime.records import opening as opening_rules
from safeguards_runtime.records.api_key import Role
from safeguards_runtime.store import Store
from safeguards_runtime.store.encoding import NAMES_LENGTH, NEWS, names_key, rank_key
from tests.runtime.samples import TERMS


async def opened(store: Store, *, agent_id: str = "trader", at: datetime | None = None) -> Approval:
    """Open an approval in the store, as of a moment."""
    submission = ApprovalSubmission(agent_id=agent_id, title="Pay", metadata={"amount": "1.00"})
    now = at or await store.now()
    change = opening_rules.request(
        new_id("apr"), submission, TERMS, key_id="k", owner=None, now=now
    )
    record, _ = await store.create(change)
    assert isinstance(record, Approval)
    return record


async def approved(store: Store, approval_id: str) -> None:
    """Approve it as a reviewer."""

    def rule(record: Approval | None, now: datetime) -> Change | None:
        assert record is not None
        response: Any = {"version": record.version, "response": "approve"}
        return rules.respond(
            record,
            ResponseSubmission.model_validate(response),
            reviewer_id="alex",
            groups={"reviewers"},
            via="api",
            now=now,
        )

    await store.apply(approval_id, Approval, rule)


# --- by rank ------------------------------------------------------------------------------------


async def test_what_waits_is_listed_by_its_deadline(store: Store) -> None:
    """In all, and in the list of each group; the soonest deadline first, whenever it was opened."""
    now = await store.now()
    made = [await opened(store, at=now + timedelta(seconds=n)) for n in (3, 1, 2)]
    soonest = [made[1].id, made[2].id, made[0].id]
    for name in (rules.waiting_rank(), rules.waiting_rank("reviewers")):
        assert [record_id for _, record_id in await store.ranked(name)] == soonest
    assert await store.counted_ranks(rules.waiting_rank("others")) == 0


async def test_what_has_ended_moves_to_the_list_of_the_ended(store: Store) -> None:
    first, second = await opened(store), await opened(store)
    await approved(store, second.id)
    await approved(store, first.id)
    assert await store.ranked(rules.waiting_rank()) == []
    for name in (rules.ended_rank(), rules.ended_rank("reviewers")):
        latest = await store.ranked(name, descending=True)
        assert [record_id for _, record_id in latest] == [first.id, second.id]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
async def test_a_ranked_list_is_read_in_pages(store: Store, limit: int, descending: bool) -> None:
    """Each record once, whatever the page's length, also where many share a number; and where
    the one that a page ended with has left the list meanwhile."""
    numbers = {f"id{n:02}": n // 5 for n in range(23)}
    await store.redis.zadd(rank_key("some"), numbers)
    expected = sorted(((n, name) for name, n in numbers.items()), reverse=descending)
    seen: list[tuple[int, str]] = []
    after = None
    while page := await store.ranked("some", after=after, limit=limit, descending=descending):
        seen += page
        after = page[-1]
        await store.redis.zrem(rank_key("some"), after[1])
    assert seen == expected


async def test_a_record_whose_number_changes_is_found_by_the_new_one(store: Store) -> None:
    asked = await opened(store)
    later = asked.expires_at + timedelta(minutes=5)

    def postponed(record: Approval | None, now: datetime) -> Change:
        assert record is not None
        after = record.model_copy(update={"expires_at": later})
        return Change(record, after, "postponed", "test", now)

    await store.apply(asked.id, Approval, postponed)
    assert await store.ranked(rules.waiting_rank()) == [(int(later.timestamp() * 1000), asked.id)]


# --- by time ------------------------------------------------------------------------------------


async def test_records_of_a_list_are_counted_by_when_they_were_made(store: Store) -> None:
    made = [await opened(store) for _ in range(5)]
    index = rules.index("trader", None)
    since = made_at(made[0].id)
    later = since + timedelta(hours=1)
    assert await store.counted_between(index, since) == 5
    assert await store.counted_between(index, since, later) == 5
    assert await store.counted_between(index, later) == 0
    assert await store.counted_between(index, since - timedelta(hours=1), since) == 0


async def test_a_list_is_read_onward_in_pages(store: Store) -> None:
    """From behind one id to before another."""
    ids = sorted([(await opened(store)).id for _ in range(5)])
    index = rules.index("trader", None)
    assert await store.listed_onward(index, limit=3) == ids[:3]
    assert await store.listed_onward(index, after=ids[2], limit=3) == ids[3:]
    assert await store.listed_onward(index, after=ids[0], until=ids[3]) == ids[1:3]
    assert await store.listed_onward(index, after=ids[4]) == []


def test_the_earliest_id_of_a_moment_sorts_between_those_before_and_after() -> None:
    made = new_id("apr")
    moment = made_at(made)
    assert (
        earliest_id("apr", moment) < made < earliest_id("apr", moment + timedelta(milliseconds=1))
    )
    assert earliest_id("apr", moment - timedelta(days=50_000)) < made


# --- names --------------------------------------------------------------------------------------


async def test_agents_are_known_by_when_they_last_asked(store: Store) -> None:
    """Each once, the last one first; a change that is written late makes no name older."""
    now = await store.now()
    for agent_id, seconds in (("a", 1), ("b", 2), ("a", 3), ("a", 0)):
        await opened(store, agent_id=agent_id, at=now + timedelta(seconds=seconds))
    names = await store.names("agents")
    assert [name for name, _ in names] == ["a", "b"]
    assert abs(names[0][1] - (now + timedelta(seconds=3))) < timedelta(milliseconds=1)
    assert [name for name, _ in await store.names("agents", limit=1, offset=1)] == ["b"]
    assert await store.counted_names("agents") == 2


async def test_a_list_of_names_keeps_the_latest(store: Store) -> None:
    """Agents choose their names; a thousand new ones an hour fill no store."""
    await store.redis.zadd(names_key("agents"), {f"n{n}": n for n in range(NAMES_LENGTH + 5)})
    await opened(store, agent_id="trader")
    assert await store.counted_names("agents") == NAMES_LENGTH
    assert (await store.names("agents", limit=1))[0][0] == "trader"


# --- news ---------------------------------------------------------------------------------------


async def test_each_change_of_an_approval_is_news(store: Store) -> None:
    """One entry each, in order, with what the history says of it; a change that was refused is
    none, and other kinds of records make none."""
    asked = await opened(store)
    await approved(store, asked.id)
    change = opening_rules.request(
        asked.id,
        ApprovalSubmission(agent_id="trader", title="Again", metadata={}),
        TERMS,
        key_id="k",
        owner=None,
        now=await store.now(),
    )
    assert (await store.commit([[replace(change)]]))[0] is None
    key = ApiKey(
        id=new_id("key"),
        name="k",
        role=Role.AGENT,
        agent_ids=("*",),
        secret_hash="0" * 64,
        created_at=await store.now(),
    )
    await store.create(api_key.create(key, await store.now()))
    told = [
        (fields[b"i"].decode(), fields[b"e"].decode(), int(fields[b"r"]))
        for _, fields in await store.redis.xrange(NEWS)
    ]
    history = await store.history(asked.id)
    assert told == [(asked.id, line.event, line.sequence) for line in history]
    assert [event for _, event, _ in told] == ["opened", "approved"]
