"""What is seen: the whole store, and what it says of one approval in the model's words."""

from __future__ import annotations

import functools
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from safeguards.contracts import HistoryView, Outcome, OutcomePage, Question
from safeguards_runtime.records import Action, Approval, Delivery, Record
from safeguards_runtime.store.encoding import (
    COUNTERS,
    FEED,
    NEWS,
    TRAIL,
    agenda_key,
    decode,
    index_key,
    names_key,
    rank_key,
    record_key,
)
from safeguards_runtime.topology import Service
from tests.chaos.approval import model
from tests.chaos.approval.model import BASE, LEASED, Decision, Paper, State, shown_digest
from tests.chaos.approval.product import CLAIM, Case
from tests.runtime.samples import assert_chained

FINAL = ("approved", "modified", "rejected", "timed_out", "cancelled")
"""The last line of a history is one of these."""


@dataclass
class Found:
    """The whole store."""

    records: dict[str, Record] = field(default_factory=dict)
    events: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By id: the history, which has been found whole."""

    agendas: defaultdict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    """By id: the services on whose agendas it stands, and when."""

    indexes: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """By id: the lists it stands in."""

    ranks: defaultdict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    """By id: the lists by a number that it stands in, with those numbers."""

    claims: defaultdict[str, set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))
    """By id: the idempotency keys that were taken for it, and the fingerprints they came with."""

    feed: list[Outcome | Question] = field(default_factory=list)


async def read(redis: Any) -> Found:
    """Read the whole store, in two round trips."""
    found = Found()
    keys = [key for raw in await redis.keys("*") if not _is_passing(key := raw.decode())]
    agendas = {agenda_key(service): service.value for service in Service}
    async with redis.pipeline(transaction=False) as pipe:
        for key in keys:
            if key == FEED:
                pipe.xrange(key)
            elif key in agendas or key.startswith((index_key(""), rank_key(""))):
                pipe.zrange(key, 0, -1, withscores=True)
            elif key.startswith(CLAIM):
                pipe.get(key)
            else:
                pipe.hgetall(key)
        rows = await pipe.execute()
    for key, row in zip(keys, rows, strict=True):
        if key == FEED:
            bodies = b",".join(fields[b"d"] for _, fields in row)
            page = OutcomePage.model_validate_json(b'{"cursor":"","entries":[' + bodies + b"]}")
            found.feed = list(page.entries)
        elif key in agendas:
            for name, score in row:
                found.agendas[name.decode()][agendas[key]] = score
        elif key.startswith(index_key("")):
            for name, _ in row:
                found.indexes[name.decode()].add(key.removeprefix(index_key("")))
        elif key.startswith(rank_key("")):
            for name, rank in row:
                found.ranks[name.decode()][key.removeprefix(rank_key(""))] = int(rank)
        elif key.startswith(CLAIM):
            record_id, fingerprint, _ = row.decode().split(" ")
            found.claims[record_id].add((key.rpartition(":")[2], fingerprint))
        else:
            record_id = key.removeprefix(record_key(""))
            found.records[record_id], found.events[record_id] = parsed(record_id, (*row.items(),))
    return found


def _is_passing(key: str) -> bool:
    """Tell whether a key is neither a record nor leads to one by what is promised of it."""
    return key in (COUNTERS, NEWS, TRAIL) or key.startswith(names_key(""))


@functools.lru_cache(maxsize=1000)
def parsed(record_id: str, row: tuple[tuple[bytes, bytes], ...]) -> tuple[Record, tuple[str, ...]]:
    """Return a record and the events of its history, which is whole."""
    fields = dict(row)
    record = decode(record_id, fields.pop(b"r"), fields.pop(b"b"))
    assert record is not None
    lines = [HistoryView.model_validate_json(line) for line in fields.values()]
    lines.sort(key=lambda line: line.sequence)
    assert_chained(lines, record)
    return record, tuple(line.event for line in lines)


def check_whole(found: Found) -> None:
    """Check that every record stands in its lists and on its agendas, and nothing else does."""
    for record_id, record in found.records.items():
        lists, due = found.indexes[record_id], found.agendas[record_id]
        assert lists == record.indexes(), f"{record} stands in {lists}"
        assert found.ranks[record_id] == record.ranks(), f"{record}: {found.ranks[record_id]}"
        assert set(due) == {service.value for service in record.due()}, f"{record} is due {due}"
    strays = {*found.indexes, *found.agendas, *found.ranks} - set(found.records)
    assert not strays, f"there are no records {strays}"


def seen(found: Found, case: Case) -> State:
    """Return what is seen of one approval."""
    asked = found.records.get(case.approval_id)
    source = found.records.get(case.action_id or "")
    assert isinstance(asked, Approval | None)
    assert isinstance(source, Action | None)
    ids = {case.approval_id, case.action_id} - {None}
    heard = [e for e in found.feed if ids & {e.approval_id, getattr(e, "action_id", None)}]
    outcomes = [entry for entry in heard if isinstance(entry, Outcome)]
    ended = [record.outcome for record in (asked, source) if record and record.outcome]
    assert len(outcomes) == bool(ended), "exactly one outcome is heard if it has ended, else none"
    assert all(outcome == outcomes[0] for outcome in ended)
    state = State(
        case.state.setup,
        action=_paper(found, source),
        action_decision=_decision(source),
        heard=tuple(_entry(entry) for entry in heard),
    )
    if asked is None:
        return state
    finals = [event for event in found.events[asked.id] if event in FINAL]
    assert len(finals) == asked.status.is_final, "one final line if it has ended, else none"
    shown = (asked.context, asked.digest)
    assert shown == (model.CONTEXT, shown_digest(case.state.setup)), "what is shown never changes"
    return replace(
        state,
        approval=_paper(found, asked),
        deadline=asked.expires_at,
        version=asked.version,
        questions=tuple((q.asked_by, q.question, q.answer) for q in asked.questions),
        votes=tuple((vote.reviewer_id, vote.comments) for vote in asked.votes),
        decision=_decision(asked),
        claims=frozenset(found.claims[asked.id]),
    )


def _entry(entry: Outcome | Question) -> tuple[str, ...]:
    if isinstance(entry, Question):
        return ("question", entry.asked_by, entry.question)
    return ("outcome", entry.status.value, entry.decided_by)


def _paper(found: Found, record: Action | Approval | None) -> Paper | None:
    if record is None:
        return None
    deliveries = [
        made
        for made in found.records.values()
        if isinstance(made, Delivery) and made.source_id == record.id
    ]
    # Whatever was leased is due by the store's own clock, years after the machine's.
    soon = (BASE + timedelta(days=365)).timestamp() * 1000
    return Paper(
        history=found.events[record.id],
        owed=tuple((owed.service.value, owed.event, owed.at) for owed in record.outbox),
        timer=record.timers().get(Service.TRACKER),
        agenda=frozenset(
            (service, int(at) if at < soon else LEASED)
            for service, at in found.agendas[record.id].items()
        ),
        told=frozenset((d.event, d.version, d.channel, d.reviewer_id or "") for d in deliveries),
    )


def _decision(record: Action | Approval | None) -> Decision | None:
    if record is None or record.outcome is None:
        assert record is None or not record.status.is_final
        return None
    outcome = record.outcome
    assert outcome.status is record.status
    decision = Decision(
        outcome.status.value,
        outcome.decided_by,
        outcome.decided_at,
        outcome.comments,
        tuple((outcome.modifications or {}).items()),
        outcome.approvers,
    )
    assert outcome.approved_digest == decision.approved_digest, f"{outcome} approves another"
    return decision
