"""The checker can fail: each invariant, broken on purpose in a real run's store, is seen broken."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import redis

from deploy.valkey import ValkeyServer
from safeguards.identifiers import new_id
from safeguards_runtime.records import Action, Approval, Delivery
from safeguards_runtime.store.encoding import FEED, agenda_key, index_key, record_key
from safeguards_runtime.topology import Queue, Service
from tests.chaos.checker import Invariant, check
from tests.chaos.faults import nothing
from tests.chaos.journal import Answered, Arrived, Asked, Entry, Heard, Journal, Struck, read
from tests.chaos.snapshot import Snapshot, take
from tests.chaos.trial import Fault, Result, run

COPY_DATABASE, BROKER_DATABASE = 1, 2


@dataclass
class Run:
    """A run without any fault: its store, and what its journal says."""

    result: Result
    server: ValkeyServer
    entries: list[Entry]


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Let a real stack work for a few seconds, and open its store again."""
    folder = tmp_path_factory.mktemp("healthy")
    calm = Fault("none", nothing, 4, (1.0, 1.0))
    result = asyncio.run(run(calm, folder, seed=3, rate=15))
    with ValkeyServer.store(folder / "store") as server:
        yield Run(result, server, read(folder / "journal.jsonl"))


@pytest.fixture
def copied(healthy: Run) -> Iterator[redis.Redis]:
    """A copy of that store, to be broken."""
    broker = redis.Redis.from_url(_url(healthy, BROKER_DATABASE))
    broker.flushdb()
    broker.close()
    with (
        redis.Redis.from_url(healthy.server.url) as original,
        redis.Redis.from_url(_url(healthy, COPY_DATABASE), decode_responses=True) as copy,
    ):
        copy.flushdb()
        with original.pipeline(transaction=False) as pipe:
            for key in original.scan_iter(count=1000):
                pipe.copy(key, key, destination_db=COPY_DATABASE)
            pipe.execute()
        yield copy


def _url(healthy: Run, database: int) -> str:
    return f"{healthy.server.url.rpartition('/')[0]}/{database}"


class Planted:
    """A copy of the run in which something can be broken.

    Attributes:
        store: the copy of the store.
        broker_url: where the queues would be.
        entries: of the journal; to be changed.
        snapshot: of the store as it was, to find something in.
    """

    def __init__(self, healthy: Run, store: Any, folder: Path) -> None:
        self._folder = folder
        self._store_url = _url(healthy, COPY_DATABASE)
        self.broker_url = _url(healthy, BROKER_DATABASE)
        self.store = store
        self.entries = list(healthy.entries)
        self.snapshot = self._taken()

    def _taken(self) -> Snapshot:
        return take(self._store_url, self.broker_url)

    def violations(self) -> dict[Invariant, list[str]]:
        """Check what has become of it."""
        with Journal(self._folder / "journal.jsonl") as journal:
            for entry in self.entries:
                journal.add(entry)
            return check(journal, self._taken())

    def drop(self, unwanted: Callable[[Entry], bool]) -> None:
        """Take entries out of the journal."""
        self.entries = [entry for entry in self.entries if not unwanted(entry)]

    def rewrite(self, record_id: str, **members: Any) -> None:
        """Change members of a record's body behind everybody's back."""
        body = json.loads(self.store.hget(record_key(record_id), "b"))
        self.store.hset(record_key(record_id), "b", json.dumps({**body, **members}))

    def rewrite_line(self, record_id: str, number: int, **members: Any) -> None:
        """Change a line of a record's history."""
        line = json.loads(self.store.hget(record_key(record_id), f"h{number}"))
        line |= members
        self.store.hset(record_key(record_id), f"h{number}", json.dumps(line))

    @property
    def approval(self) -> Approval:
        """One that a reviewer has approved."""
        return next(
            record
            for record in self.snapshot.asked
            if isinstance(record, Approval) and record.status == "APPROVED" and record.action_id
        )

    @property
    def action(self) -> Action:
        """One that was allowed."""
        return next(
            record
            for record in self.snapshot.asked
            if isinstance(record, Action) and record.approval_id not in self.snapshot.records
        )

    @property
    def delivery(self) -> Delivery:
        """One that was sent by mail."""
        wanted = ("email", "SENT")
        return next(d for d in self.snapshot.deliveries if (d.channel, d.status) == wanted)


@pytest.fixture
def planted(healthy: Run, copied: redis.Redis, tmp_path: Path) -> Planted:
    """The run, whole, in which a test breaks something."""
    return Planted(healthy, copied, tmp_path)


def test_a_run_without_faults_breaks_nothing(healthy: Run, planted: Planted) -> None:
    """And so does the copy that the other tests break."""
    nothing_found: dict[Invariant, list[str]] = {invariant: [] for invariant in Invariant}
    assert healthy.result.violations == nothing_found
    assert planted.violations() == nothing_found
    assert healthy.result.actions >= 30
    assert healthy.result.deliveries >= 60


def accepted_and_gone(run: Planted) -> None:
    run.entries.append(Asked(0.0, new_id("act"), "http"))


def never_ended(run: Planted) -> None:
    run.rewrite(run.approval.id, status="PENDING", outcome=None)


def never_heard(run: Planted) -> None:
    asked = next(entry for entry in run.entries if isinstance(entry, Asked))
    run.drop(lambda entry: isinstance(entry, Heard) and entry.record_id == asked.record_id)


def another_verdict(run: Planted) -> None:
    asked = next(e for e in run.entries if isinstance(e, Asked) and e.is_allowed)
    run.entries.append(dataclasses.replace(asked, is_allowed=False))


def ended_too_late(run: Planted) -> None:
    run.rewrite(run.approval.id, expires_at=run.approval.created_at.isoformat())


def not_carried_over(run: Planted) -> None:
    run.store.delete(record_key(str(run.approval.action_id)))


def made_twice(run: Planted) -> None:
    twice = run.action.id
    run.drop(lambda entry: isinstance(entry, Asked) and entry.record_id == twice)


def amount_changed(run: Planted) -> None:
    run.rewrite(run.action.id, context={**run.action.context, "amount": "9.99"})


def callback_forgotten(run: Planted) -> None:
    asked = next(e for e in run.entries if isinstance(e, Asked) and not e.has_callback)
    run.entries.append(dataclasses.replace(asked, has_callback=True))


def decision_forged(run: Planted) -> None:
    forged = run.approval.id
    run.drop(lambda entry: isinstance(entry, Answered) and entry.approval_id == forged)


def response_refused(run: Planted) -> None:
    decision = (run.approval.id, "approve", "sam", "x", 403)
    run.entries.append(Answered(0.0, *decision))


def response_replaced(run: Planted) -> None:
    decision = (run.approval.id, "approve", "alex", "what nobody else said", 200)
    run.entries.append(Answered(0.0, *decision))


def question_lost(run: Planted) -> None:
    run.entries.append(Answered(0.0, run.approval.id, "ask", "sam", "really?", 200))


def cancellation_lost(run: Planted) -> None:
    run.entries.append(Answered(0.0, run.approval.id, "cancel", "trader", "", 204))


def modification_changed(run: Planted) -> None:
    answered = next(
        e for e in run.entries if isinstance(e, Answered) and e.what == "modify" and e.is_accepted
    )
    record = run.snapshot.records[answered.approval_id]
    assert isinstance(record, Approval)
    assert record.outcome is not None
    outcome = record.outcome.model_copy(update={"modifications": {"amount": "9999.00"}})
    run.rewrite(record.id, outcome=outcome.model_dump(mode="json"))


def resolved_twice(run: Planted) -> None:
    run.rewrite_line(run.approval.id, 1, event="rejected")


def told_twice(run: Planted) -> None:
    (_, fields) = run.store.xrange(FEED, count=1)[0]
    run.store.xadd(FEED, fields)


def heard_twice(run: Planted) -> None:
    heard = next(e for e in run.entries if isinstance(e, Heard) and e.listener == "feed")
    run.entries.append(heard)


def heard_otherwise(run: Planted) -> None:
    heard = next(e for e in run.entries if isinstance(e, Heard))
    outcome = {**heard.outcome, "decided_by": "mallory"}
    run.entries.append(dataclasses.replace(heard, outcome=outcome))


def never_arrived(run: Planted) -> None:
    gone = run.delivery.id
    run.drop(lambda entry: isinstance(entry, Arrived) and entry.delivery_id == gone)


def arrived_and_failed(run: Planted) -> None:
    gone = run.delivery.id
    run.entries = [
        dataclasses.replace(e, is_taken=False)
        if isinstance(e, Arrived) and e.delivery_id == gone
        else e
        for e in run.entries
    ]


def arrived_twice(run: Planted) -> None:
    arrived = next(e for e in run.entries if isinstance(e, Arrived))
    run.entries.append(dataclasses.replace(arrived, at=arrived.at + 20))


def arrived_thrice_in_one_crash(run: Planted) -> None:
    arrived = next(e for e in run.entries if isinstance(e, Arrived))
    run.entries.append(Struck(arrived.at, arrived.at + 1, "kill -9 notifier"))
    run.entries += [dataclasses.replace(arrived, at=arrived.at + n) for n in (2, 4)]


def arrived_from_nowhere(run: Planted) -> None:
    run.entries.append(Arrived(0.0, "email", new_id("dlv")))


def given_up_without_refusal(run: Planted) -> None:
    run.rewrite(run.delivery.id, status="DEAD")


def dropped_while_open(run: Planted) -> None:
    run.rewrite(run.delivery.id, status="MOOT", source_id=new_id("apr"))


def outcome_dropped(run: Planted) -> None:
    gone = next(d for d in run.snapshot.deliveries if d.event == "approval.resolved")
    run.rewrite(gone.id, status="MOOT")


def arrived_at_somebody_else(run: Planted) -> None:
    sent = run.delivery
    run.rewrite(sent.id, reviewer_id="alex" if sent.reviewer_id == "sam" else "sam")


def told_another_outcome(run: Planted) -> None:
    told = next(e for e in run.entries if isinstance(e, Arrived) and e.says)
    run.drop(lambda entry: entry is told)
    run.entries.append(dataclasses.replace(told, says="CANCELLED"))


def nobody_asked(run: Planted) -> None:
    waiting = next(
        record.id
        for record in run.snapshot.asked
        if isinstance(record, Approval) and record.status == "TIMED_OUT"
    )
    for delivery in run.snapshot.deliveries:
        if (delivery.source_id, delivery.event) == (waiting, "approval.requested"):
            run.store.delete(record_key(delivery.id))
    lines = run.snapshot.histories[waiting]
    for number, line in lines.items():
        if "approval.requested" in line.detail.get("events", ()):
            run.rewrite_line(waiting, number, detail={})


def never_planned(run: Planted) -> None:
    gone = next(d for d in run.snapshot.deliveries if d.event == "approval.resolved")
    run.store.delete(record_key(gone.id))
    for name in gone.indexes():
        run.store.zrem(index_key(name), gone.id)


def line_lost(run: Planted) -> None:
    run.store.hdel(record_key(run.approval.id), "h2")


def line_changed(run: Planted) -> None:
    run.rewrite_line(run.approval.id, 2, actor="reviewer:mallory")


def lines_swapped(run: Planted) -> None:
    key = record_key(run.approval.id)
    first, second = run.store.hmget(key, "h1", "h2")
    run.store.hset(key, mapping={"h1": second, "h2": first})


def chain_cut(run: Planted) -> None:
    run.rewrite(run.approval.id, history_hash="0" * 64)


def step_lost_whole(run: Planted) -> None:
    run.store.hincrby(record_key(run.approval.id), "r", 1)


def left_on_agenda(run: Planted) -> None:
    run.store.zadd(agenda_key(Service.NOTIFIER), {run.delivery.id: 1})


def left_in_outbox(run: Planted) -> None:
    entry = {"service": "notifier", "event": "x", "at": run.approval.created_at.isoformat()}
    run.rewrite(run.approval.id, outbox=[entry])


def left_unsent(run: Planted) -> None:
    run.rewrite(run.delivery.id, status="SENDING")


def left_in_list(run: Planted) -> None:
    run.store.zadd(index_key("approvals:status:PENDING"), {run.approval.id: 0})


def missing_in_list(run: Planted) -> None:
    run.store.zrem(index_key("approvals"), run.approval.id)


def stray_key(run: Planted) -> None:
    run.store.set("sg:odd", "1")


def stray_field(run: Planted) -> None:
    run.store.hset(record_key(run.approval.id), "odd", "1")


def orphaned_claim(run: Planted) -> None:
    run.store.set("sg:claim:odd", f"{new_id('act')} digest")


def left_on_queue(run: Planted) -> None:
    with redis.Redis.from_url(run.broker_url) as broker:
        broker.lpush(Queue.NOTIFY.value, "{}")


PLANTED = {
    Invariant.ONE_OUTCOME: (
        *(accepted_and_gone, never_ended, never_heard, another_verdict),
        *(ended_too_late, not_carried_over, made_twice, amount_changed, callback_forgotten),
    ),
    Invariant.NO_RESPONSE_LOST: (
        *(response_replaced, question_lost, cancellation_lost, modification_changed),
        *(decision_forged, response_refused),
    ),
    Invariant.RESOLVED_ONCE: (resolved_twice, told_twice, heard_twice, heard_otherwise),
    Invariant.EVERYBODY_TOLD: (
        *(never_arrived, arrived_and_failed, arrived_twice, arrived_thrice_in_one_crash),
        *(arrived_from_nowhere, given_up_without_refusal, dropped_while_open, never_planned),
        *(outcome_dropped, arrived_at_somebody_else, told_another_outcome, nobody_asked),
    ),
    Invariant.HISTORY_WHOLE: (
        *(line_lost, line_changed, lines_swapped, chain_cut, step_lost_whole),
    ),
    Invariant.NOTHING_LEFT: (
        *(left_on_agenda, left_in_outbox, left_unsent, left_in_list, missing_in_list),
        *(stray_key, stray_field, orphaned_claim, left_on_queue),
    ),
}


@pytest.mark.parametrize(
    ("invariant", "plant"),
    [pytest.param(i, one, id=one.__name__) for i, plants in PLANTED.items() for one in plants],
)
def test_a_planted_violation_is_seen(
    invariant: Invariant, plant: Callable[[Planted], None], planted: Planted
) -> None:
    """Each is found by the invariant that it breaks."""
    plant(planted)
    assert planted.violations()[invariant]


def test_a_repeat_after_a_crash_is_allowed(planted: Planted) -> None:
    """One for each crash: the notifier may have died before it could note that it had sent."""
    arrived = next(e for e in planted.entries if isinstance(e, Arrived))
    planted.entries.append(Struck(arrived.at, arrived.at + 1, "kill -9 notifier"))
    planted.entries.append(dataclasses.replace(arrived, at=arrived.at + 2))
    assert not any(planted.violations().values())
