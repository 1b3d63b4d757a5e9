"""The store on a real Valkey: what is written together, who wins, what survives."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis.exceptions

from deploy.valkey import ValkeyServer
from safeguards.contracts import (
    ActionSubmission,
    ApprovalSubmission,
    ResponseSubmission,
    Verdict,
)
from safeguards.identifiers import new_id
from safeguards.types import ActionStatus
from safeguards_runtime.records import (
    Action,
    Approval,
    Change,
    Delivery,
    Refusal,
    action,
    waiting,
)
from safeguards_runtime.records import approval as rules
from safeguards_runtime.records import delivery as delivery_rules
from safeguards_runtime.records import opening as opening_rules
from safeguards_runtime.records.events import RESOLVED
from safeguards_runtime.records.rota import ALWAYS
from safeguards_runtime.store import Store
from safeguards_runtime.store.encoding import FEED, agenda_key, claim_key, milliseconds, record_key
from safeguards_runtime.store.store import ClaimedError, Rule
from safeguards_runtime.topology import LEASE_SECONDS, Service
from services.approval_tracker.advancing import advance
from tests.runtime.samples import TERMS, assert_chained, judgement


def opening(now: datetime, *, agent_id: str = "trader", **given: Any) -> Change:
    """Return the change that opens an approval."""
    submission = ApprovalSubmission(agent_id=agent_id, title="Pay", metadata={"amount": "1.00"})
    fixed: dict[str, Any] = {"key_id": new_id("key"), "owner": None, "claims": {}, **given}
    return opening_rules.request(new_id("apr"), submission, TERMS, now=now, **fixed)


async def opened(store: Store, **given: Any) -> Approval:
    """Open an approval in the store."""
    record, created = await store.create(opening(await store.now(), **given))
    assert created
    assert isinstance(record, Approval)
    return record


def answering(response: str, reviewer: str = "alex", **body: Any) -> Rule[Approval]:
    """Return the rule by which a reviewer answers the version that stands."""

    def rule(record: Approval | None, now: datetime) -> Change | None:
        assert record is not None
        shown = {"version": record.version, "response": response}
        return rules.respond(
            record,
            ResponseSubmission.model_validate({**shown, **body}),
            reviewer_id=reviewer,
            groups={"reviewers"},
            via="api",
            now=now,
        )

    return rule


async def agenda(store: Store, service: Service) -> dict[str, float]:
    """Return a service's agenda: ids by milliseconds since the epoch."""
    rows = await store.redis.zrange(agenda_key(service), 0, -1, withscores=True)
    return {row[0].decode(): float(row[1]) for row in rows}


# --- one decision -------------------------------------------------------------------------------


async def test_of_many_responses_at_once_one_decides(store: Store, store_url: str) -> None:
    """Forty reviewers answer in the same instant, through four processes' stores: one decides,
    every other is told who it was, and the history has one decision."""
    approval = await opened(store)
    stores = [store, *(Store(store_url) for _ in range(3))]
    kinds = ("approve", "reject")
    answers = await asyncio.gather(
        *(
            stores[n % 4].apply(approval.id, Approval, answering(kinds[n % 2], f"reviewer{n}"))
            for n in range(40)
        ),
        return_exceptions=True,
    )
    for other in stores[1:]:
        await other.close()
    won = [answer for answer in answers if isinstance(answer, Approval)]
    lost = [answer for answer in answers if isinstance(answer, Refusal)]
    assert (len(won), len(lost)) == (1, 39)
    assert won[0].outcome is not None
    assert {refusal.extra["outcome"]["decided_by"] for refusal in lost} == {
        won[0].outcome.decided_by
    }
    history = await store.history(approval.id)
    assert [line.event for line in history] == ["opened", won[0].status.value.lower()]
    assert await store.redis.xlen(FEED) == 1


async def test_every_change_of_many_at_once_is_kept(store: Store) -> None:
    """Each of many concurrent changes is judged on the one before it: none is overwritten."""
    approval = await opened(store)
    await asyncio.gather(
        *(
            store.apply(approval.id, Approval, answering("ask", f"r{n}", comments=f"why {n}?"))
            for n in range(12)
        )
    )
    standing = await store.get(approval.id, Approval)
    assert standing is not None
    assert {question.question for question in standing.questions} == {
        f"why {n}?" for n in range(12)
    }
    assert_chained(await store.history(approval.id), standing)


async def test_a_refusal_writes_nothing(store: Store) -> None:
    approval = await opened(store)
    before = await store.redis.hgetall(record_key(approval.id))
    with pytest.raises(Refusal):
        await store.apply(approval.id, Approval, answering("modify", modifications={"x": 1}))
    assert await store.redis.hgetall(record_key(approval.id)) == before


async def test_a_record_of_another_kind_is_not_found(store: Store) -> None:
    approval = await opened(store)
    assert await store.get(approval.id, Delivery) is None
    assert await store.get(new_id("apr"), Approval) is None


# --- together or not at all ---------------------------------------------------------------------


async def test_two_records_are_written_together_or_not_at_all(store: Store) -> None:
    """One of two has moved on: neither is written, nor anything that goes with them."""
    first, second = await opened(store), await opened(store)
    await store.apply(second.id, Approval, answering("reject"))
    now = await store.now()
    changes = [rules.cancel(record, now) for record in (first, second)]
    results = await store.commit([[change for change in changes if change]])
    assert results == [None]
    standing = await store.get(first.id, Approval)
    assert standing == first
    assert len(await store.history(first.id)) == 1
    assert await store.redis.xlen(FEED) == 1
    assert first.id in await store.listed("approvals:status:PENDING")


async def test_a_transaction_that_fails_does_not_stop_the_others(store: Store) -> None:
    """Several transactions in one round trip: each is whole or nothing on its own."""
    moved, fine = await opened(store), await opened(store)
    await store.apply(moved.id, Approval, answering("reject"))
    now = await store.now()
    changes = [rules.cancel(record, now) for record in (moved, fine)]
    results = await store.commit([[change] for change in changes if change])
    assert [result is None for result in results] == [True, False]


async def test_creating_again_finds_what_stands(store: Store) -> None:
    """A create whose answer was lost is repeated: the record is there once."""
    change = opening(await store.now())
    record, created = await store.create(change)
    again, created_again = await store.create(change)
    assert (created, created_again) == (True, False)
    assert again == record
    assert len(await store.history(record.id)) == 1


async def test_a_claim_is_held_by_one(store: Store) -> None:
    """Of many at once with the same claim one writes; the others learn what it made."""
    now = await store.now()
    key = claim_key("key", "/actions", "once")
    changes = [opening(now) for _ in range(10)]
    changes = [replace(change, claims={key: change.after.id}) for change in changes]
    results = await asyncio.gather(
        *(store.create(change) for change in changes), return_exceptions=True
    )
    made = [result[0].id for result in results if isinstance(result, tuple)]
    held = [result.holder for result in results if isinstance(result, ClaimedError)]
    assert (len(made), held) == (1, made * 9)
    assert await store.listed("approvals") == made


async def test_a_claim_that_is_held_leaves_the_rest_of_the_batch_written(store: Store) -> None:
    now = await store.now()
    await store.create(opening(now, claims={"sg:claim:x": "first"}))
    held, free = opening(now, claims={"sg:claim:x": "second"}), opening(now)
    with pytest.raises(ClaimedError):
        await store.commit([[held], [free]])
    assert await store.get(held.after.id, Approval) is None
    assert await store.get(free.after.id, Approval) is not None


async def test_a_script_that_the_server_has_forgotten_is_sent_again(store: Store) -> None:
    """A server that was restarted, or flushed its scripts, is given them once more."""
    await opened(store)
    await store.redis.script_flush()
    approval = await opened(store)
    await store.redis.script_flush()
    assert (await store.lease(Service.NOTIFIER, 10))[0] == []
    await store.redis.script_flush()
    decided = await store.apply(approval.id, Approval, answering("approve"))
    assert decided is not None
    assert decided.status is ActionStatus.APPROVED


async def test_hints_follow_only_what_was_written(store_url: str) -> None:
    """A change that did not come about asks nobody to look at it."""
    hints: list[tuple[Service, str]] = []
    store = Store(store_url, on_hint=lambda service, record_id: hints.append((service, record_id)))
    try:
        await store.redis.flushdb()
        approval = await opened(store)
        assert hints == [(Service.NOTIFIER, approval.id)]
        hints.clear()
        stale = rules.cancel(approval, await store.now())
        await store.apply(approval.id, Approval, answering("approve"))
        hints.clear()
        assert stale is not None
        assert await store.commit([[stale]]) == [None]
        assert hints == []
    finally:
        await store.close()


# --- many records -------------------------------------------------------------------------------


async def test_a_record_that_cannot_be_judged_does_not_stop_the_others(store: Store) -> None:
    """The rule raises for one of three: the other two are changed, the one stays as it was, and
    stays on the agenda."""
    records = [await opened(store) for _ in range(3)]
    poison = records[1].id

    def rule(record: Approval, now: datetime) -> Change | None:
        if record.id == poison:
            raise RuntimeError("poison")
        return rules.cancel(record, now)

    ids = [record.id for record in records]
    applied = await store.apply_all(ids, Approval, rule, of=Service.TRACKER)
    assert applied.changed == frozenset(ids) - {poison}
    assert applied.standing[poison].status is ActionStatus.PENDING
    assert set(await agenda(store, Service.TRACKER)) == {poison}


async def test_the_same_id_many_times_is_judged_once(store: Store) -> None:
    approval = await opened(store)
    calls: list[str] = []

    def rule(record: Approval, now: datetime) -> Change | None:
        calls.append(record.id)
        return rules.cancel(record, now)

    await store.apply_all([approval.id] * 5, Approval, rule)
    assert calls == [approval.id]


async def test_what_was_looked_at_in_vain_does_not_spin(store: Store) -> None:
    """An entry that is due, but whose record wants nothing, comes back after a lease, not at
    once."""
    approval = await opened(store)
    await store.redis.zadd(agenda_key(Service.NOTIFIER), {approval.id: 1})
    leased, _ = await store.lease(Service.NOTIFIER, 10)
    assert leased == [approval.id]
    before = await store.now()
    await store.apply_all(leased, Approval, lambda record, now: None, of=Service.NOTIFIER)
    back_at = (await agenda(store, Service.NOTIFIER))[approval.id]
    assert back_at >= milliseconds(before) + 4000
    assert (await store.lease(Service.NOTIFIER, 10))[0] == []


async def test_what_is_not_due_yet_goes_back_to_its_own_time(store: Store) -> None:
    """The tracker looked too early: the deadline stands on its agenda again."""
    approval = await opened(store)
    await store.redis.zadd(agenda_key(Service.TRACKER), {approval.id: 1})
    await store.lease(Service.TRACKER, 10)
    await store.apply_all([approval.id], Approval, waiting.time_out, of=Service.TRACKER)
    due = (await agenda(store, Service.TRACKER))[approval.id]
    assert due == milliseconds(approval.expires_at)


async def test_an_id_without_a_record_is_taken_off_the_agenda(store: Store) -> None:
    ghost = new_id("apr")
    await store.redis.zadd(agenda_key(Service.TRACKER), {ghost: 1})
    leased, _ = await store.lease(Service.TRACKER, 10)
    await store.apply_all(leased, Approval, waiting.time_out, of=Service.TRACKER)
    assert await agenda(store, Service.TRACKER) == {}


async def test_what_has_ended_is_taken_off_the_agenda(store: Store) -> None:
    """A stale entry of a decided approval goes when it is looked at."""
    approval = await opened(store)
    await store.apply(approval.id, Approval, answering("approve"))
    await store.redis.zadd(agenda_key(Service.TRACKER), {approval.id: 1})
    await store.apply_all([approval.id], Approval, waiting.time_out, of=Service.TRACKER)
    assert await agenda(store, Service.TRACKER) == {}


async def test_the_agenda_says_what_the_record_says(store: Store) -> None:
    """Written with each change: the notifier's grace, the deadline; nothing once it is done."""
    approval = await opened(store)
    for service, moment in approval.due().items():
        assert (await agenda(store, service))[approval.id] == milliseconds(moment)
    ended = await store.apply(approval.id, Approval, answering("reject"))
    assert ended is not None
    assert set(await agenda(store, Service.TRACKER)) == set()
    await store.apply_all(
        [approval.id], Approval, lambda a, now: waiting.told(a, (RESOLVED,), 0, now)
    )
    assert await agenda(store, Service.NOTIFIER) == {}


# --- leases -------------------------------------------------------------------------------------


async def test_of_many_clocks_each_entry_is_leased_by_one(store: Store, store_url: str) -> None:
    """Six clocks lease the same agenda at once: every entry goes to exactly one of them."""
    names = {f"id{n:03}" for n in range(300)}
    await store.redis.zadd(agenda_key(Service.TRACKER), dict.fromkeys(names, 1))
    clocks = [Store(store_url) for _ in range(6)]

    async def drain(clock: Store) -> list[str]:
        taken: list[str] = []
        while True:
            ids, _ = await clock.lease(Service.TRACKER, 7)
            if not ids:
                return taken
            taken += ids

    taken = await asyncio.gather(*(drain(clock) for clock in clocks))
    for clock in clocks:
        await clock.close()
    leased = [record_id for ids in taken for record_id in ids]
    assert sorted(leased) == sorted(names)


async def test_a_lease_runs_out(store: Store) -> None:
    """The clock that took an entry died: after the lease another one gets it."""
    key = agenda_key(Service.TRACKER)
    await store.redis.zadd(key, {"id": 1})
    before = milliseconds(await store.now())
    assert (await store.lease(Service.TRACKER, 10))[0] == ["id"]
    until = await store.redis.zscore(key, "id")
    assert before + LEASE_SECONDS * 1000 <= until <= before + LEASE_SECONDS * 1000 + 1000
    assert (await store.lease(Service.TRACKER, 10))[0] == []
    await store.redis.zincrby(key, -LEASE_SECONDS * 1000 - 1000, "id")
    assert (await store.lease(Service.TRACKER, 10))[0] == ["id"]


async def test_a_lease_says_when_to_look_again(store: Store) -> None:
    """Nothing on the agenda: None. Something later: the seconds until then."""
    assert await store.lease(Service.TRACKER, 10) == ([], None)
    later = milliseconds(await store.now()) + 3000
    await store.redis.zadd(agenda_key(Service.TRACKER), {"id": later})
    ids, wait = await store.lease(Service.TRACKER, 10)
    assert ids == []
    assert wait is not None
    assert 2 < wait <= 3


async def test_the_most_overdue_come_first(store: Store) -> None:
    await store.redis.zadd(agenda_key(Service.TRACKER), {"b": 2, "c": 3, "a": 1})
    assert (await store.lease(Service.TRACKER, 2))[0] == ["a", "b"]


# --- lists, history, feed -----------------------------------------------------------------------


async def test_a_list_is_read_in_pages_newest_first(store: Store) -> None:
    """Each id once, whatever the page's length; records made meanwhile do not shift the pages."""
    made = [(await opened(store)).id for _ in range(7)]
    seen: list[str] = []
    before = None
    while page := await store.listed("approvals", before=before, limit=3):
        seen += page
        before = page[-1]
        await opened(store)
    assert seen == made[::-1]


async def test_a_record_moves_between_lists_with_its_status(store: Store) -> None:
    approval = await opened(store)
    await store.apply(approval.id, Approval, answering("approve"))
    for name in ("approvals:status:PENDING", "approvals:status:PENDING:agent:trader"):
        assert await store.listed(name) == []
    for name in ("approvals:status:APPROVED", "approvals:status:APPROVED:agent:trader"):
        assert await store.listed(name) == [approval.id]


async def test_an_agents_name_does_not_lead_into_anothers_list(store: Store) -> None:
    """Names are the agents' own choice, and may look like the name of a list."""
    mine = await opened(store, agent_id="trader")
    await opened(store, agent_id="trader:status:PENDING")
    pending = next(name for name in mine.indexes() if ":status:PENDING" in name)
    listed = [await store.listed(name) for name in mine.indexes() if "agent" in name]
    assert pending
    assert listed == [[mine.id], [mine.id]]


async def test_an_outcome_is_fed_with_what_was_decided(store: Store) -> None:
    """The entry names the agent, and carries the modifications as they are, null included."""
    now = await store.now()
    submission = ApprovalSubmission(
        agent_id="trader", title="Pay", metadata={"items": [1], "note": {"a": "b"}}
    )
    approval, _ = await store.create(
        opening_rules.request(new_id("apr"), submission, TERMS, key_id="k", owner=None, now=now)
    )
    changes = {"items": [None, 1], "note": {"a": None}}
    ended = await store.apply(approval.id, Approval, answering("modify", modifications=changes))
    assert ended is not None
    ((_, fields),) = await store.redis.xrange(FEED)
    assert fields[b"a"] == b"trader"
    assert ended.outcome is not None
    fed = type(ended.outcome).model_validate_json(fields[b"d"])
    assert fed == ended.outcome
    assert fed.modifications == changes


async def test_a_history_read_back_verifies(store: Store) -> None:
    """Also with everything JSON can hold in it."""
    approval = await opened(store)
    comments = '‮\u0000 é ü 🙂 \\ " \n'
    await store.apply(approval.id, Approval, answering("ask", comments=comments))
    ended = await store.apply(approval.id, Approval, answering("reject", comments=comments))
    assert ended is not None
    history = await store.history(approval.id)
    assert_chained(history, ended)
    assert history[-1].detail["comments"] == comments


# --- the tracker's rounds on a real store -------------------------------------------------------


async def test_a_time_out_comes_once_however_many_trackers_look(store: Store) -> None:
    """Ten trackers advance the same overdue approval at once: one outcome, one feed entry."""
    long_ago = await store.now() - timedelta(seconds=TERMS.timeout_seconds)
    approval, _ = await store.create(opening(long_ago))
    await asyncio.gather(*(advance(store, [approval.id], ALWAYS) for _ in range(10)))
    standing = await store.get(approval.id, Approval)
    assert standing is not None
    assert standing.status is ActionStatus.TIMED_OUT
    assert await store.redis.xlen(FEED) == 1


class _Interrupted(Store):
    """A store on which something else happens just before the n-th round of many records."""

    def interrupt(self, number: int, happening: Any) -> None:
        self._rounds, self._number, self._happening = 0, number, happening

    async def apply_all(self, *arguments: Any, **options: Any) -> Any:
        self._rounds += 1
        if self._rounds == self._number:
            await self._happening()
        return await super().apply_all(*arguments, **options)


@pytest.mark.parametrize("round_", [1, 2, 3])
async def test_a_response_between_the_trackers_rounds_still_closes_the_action(
    store: Store, store_url: str, round_: int
) -> None:
    """A stray hint makes the tracker look at an open approval; the response falls in between two
    of its rounds. What the response entails is still owed, or done: never struck undone."""
    approval = await _opened_for_action(store)
    tracker = _Interrupted(store_url)
    tracker.interrupt(round_, lambda: store.apply(approval.id, Approval, answering("approve")))
    try:
        await advance(tracker, [approval.id], ALWAYS)
        await advance(store, [approval.id], ALWAYS)
    finally:
        await tracker.close()
    _, (action,) = await store.load([str(approval.action_id)])
    assert getattr(action, "status", None) is ActionStatus.APPROVED


async def _opened_for_action(store: Store) -> Approval:
    now = await store.now()
    submission = ActionSubmission(agent_id="trader", action_type="pay", context={"amount": "1"})
    made, _ = await store.create(
        action.submit(new_id("act"), submission, key_id="k", owner=None, now=now)
    )
    await store.apply_all(
        [made.id],
        Action,
        lambda record, now: action.judge(record, judgement(Verdict.REQUIRE_APPROVAL), now),
    )
    await advance(store, [made.id], ALWAYS)
    _, (approval,) = await store.load([made.id.replace("act_", "apr_")])
    assert isinstance(approval, Approval)
    return approval


# --- what survives ------------------------------------------------------------------------------


@pytest.fixture
async def mortal(tmp_path: Path) -> AsyncIterator[ValkeyServer]:
    """A store server of the test's own, to be killed."""
    with ValkeyServer.store(tmp_path / "store") as server:
        yield server


async def test_it_is_on_disk_before_it_is_answered(mortal: ValkeyServer) -> None:
    """The store syncs every write; when `create` returns, the file holds the record."""
    store = Store(mortal.url)
    try:
        configured = await store.redis.config_get("appendonly", "appendfsync")
        assert sorted(configured.values()) == ["always", "yes"]
        approval = await opened(store)
        files = list((mortal.directory).rglob("*.aof"))
        assert any(approval.id.encode() in file.read_bytes() for file in files)
    finally:
        await store.close()


async def test_what_was_acknowledged_survives_the_death_of_the_server(
    mortal: ValkeyServer,
) -> None:
    """Killed under load and started again, three times: every acknowledged record is there with
    its whole history, its lists, its agenda, and its feed entry."""
    decided: list[str] = []
    for _ in range(3):
        store = Store(mortal.url)
        killed = asyncio.Event()
        writers = [asyncio.create_task(_write(store, decided, killed)) for _ in range(8)]
        enough = len(decided) + 60
        deadline = time.monotonic() + 20
        while len(decided) < enough:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.002)
        killed.set()
        await asyncio.to_thread(mortal.kill)
        await asyncio.gather(*writers)
        await store.close()
        await asyncio.to_thread(mortal.start)
    store = Store(mortal.url)
    try:
        await _assert_whole(store, decided)
    finally:
        await store.close()


async def _write(store: Store, decided: list[str], killed: asyncio.Event) -> None:
    """Open and decide approvals until the server dies; note each that was acknowledged."""
    with contextlib.suppress(redis.exceptions.RedisError, OSError):
        while not killed.is_set():
            approval = await opened(store)
            await store.apply(approval.id, Approval, answering("approve"))
            decided.append(approval.id)


async def _assert_whole(store: Store, decided: list[str]) -> None:
    _, records = await store.load(decided)
    assert len(set(decided)) == len(decided) >= 180
    for record in records:
        assert isinstance(record, Approval)
        assert record.status is ActionStatus.APPROVED
        assert_chained(await store.history(record.id), record)
    listed = await store.listed("approvals:status:APPROVED", limit=100_000)
    assert set(decided) <= set(listed)
    assert not set(decided) & set(await store.listed("approvals:status:PENDING", limit=100_000))
    fed = [fields[b"d"] for _, fields in await store.redis.xrange(FEED)]
    heard = [record_id for record_id in decided if sum(record_id.encode() in f for f in fed) == 1]
    assert heard == decided
    due = await agenda(store, Service.NOTIFIER)
    assert set(decided) <= set(due)


async def test_a_delivery_is_claimed_by_one_of_many_workers(store: Store) -> None:
    """Twenty workers begin the same delivery at once: one of them sends."""
    now = await store.now()
    delivery = Delivery(
        id=new_id("dlv"),
        source_id=new_id("apr"),
        event="approval.requested",
        channel="email",
        kind="email",
        next_attempt_at=now,
    )
    await store.create(delivery_rules.plan(delivery, now))
    begun = await asyncio.gather(
        *(
            store.apply_all(
                [delivery.id], Delivery, lambda d, now: delivery_rules.start(d, now, None)
            )
            for _ in range(20)
        )
    )
    assert sum(delivery.id in applied.changed for applied in begun) == 1
