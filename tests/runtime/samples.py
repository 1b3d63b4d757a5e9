"""Sample records for the tests of their rules, and short ways to apply a rule to one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from safeguards.contracts import (
    ActionSubmission,
    AnswerSubmission,
    ApprovalSubmission,
    HistoryView,
    ResponseSubmission,
    Verdict,
)
from safeguards.identifiers import new_id
from safeguards_runtime.records import Action, Approval, Change, Delivery, Record, opening
from safeguards_runtime.records import action as action_rules
from safeguards_runtime.records import approval as approval_rules
from safeguards_runtime.records import delivery as delivery_rules
from safeguards_runtime.records.judgement import Judgement
from safeguards_runtime.records.record import NO_HASH, history_hash
from safeguards_runtime.records.terms import Terms

R = TypeVar("R", bound=Record)

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
TERMS = Terms(
    groups=("reviewers",),
    channels=("email",),
    timeout_seconds=300,
    on_timeout="reject",
    editable=("*",),
)


def at(seconds: float) -> datetime:
    """Return the time so many seconds after the samples were made."""
    return NOW + timedelta(seconds=seconds)


def done(change: Change | None, kind: type[R]) -> R:
    """Return the record as a change would store it."""
    assert change is not None, "the rule wants no change"
    record, _ = change.sealed()
    assert isinstance(record, kind)
    return record


def asked(
    context: dict[str, Any] | None = None,
    *,
    terms: Terms = TERMS,
    owner: str | None = None,
    **submission: Any,
) -> Approval:
    """Return an open approval that agent `trader` asked for at `NOW`."""
    given = {"agent_id": "trader", "title": "Pay ACME", **submission}
    metadata = {"amount": "2500.00", "payee": "ACME"} if context is None else context
    change = opening.request(
        new_id("apr"),
        ApprovalSubmission(metadata=metadata, **given),
        terms,
        key_id=new_id("key"),
        owner=owner,
        now=NOW,
    )
    return done(change, Approval)


def respond(
    approval: Approval,
    response: str,
    *,
    reviewer: str = "alex",
    groups: frozenset[str] = frozenset({"reviewers"}),
    seconds: float = 10,
    **body: Any,
) -> Change | None:
    """Answer as a reviewer who saw the approval as it stands, unless `body` says otherwise."""
    shown: dict[str, Any] = {"version": approval.version, "digest": approval.digest}
    return approval_rules.respond(
        approval,
        ResponseSubmission.model_validate({**shown, "response": response, **body}),
        reviewer_id=reviewer,
        groups=groups,
        via="api",
        now=at(seconds),
    )


def responded(approval: Approval, response: str, **options: Any) -> Approval:
    """Return the approval after a response."""
    return done(respond(approval, response, **options), Approval)


def answered(approval: Approval, answer: str = "because", *, seconds: float = 20) -> Approval:
    """Return the approval after the agent's answer to a question."""
    change = approval_rules.answer(approval, AnswerSubmission(answer=answer), at(seconds))
    return done(change, Approval)


def submitted(*, owner: str | None = None, **submission: Any) -> Action:
    """Return an action that agent `trader` submitted at `NOW`."""
    given: dict[str, Any] = {
        "agent_id": "trader",
        "action_type": "transaction",
        "context": {"amount": "2500.00"},
        **submission,
    }
    change = action_rules.submit(
        new_id("act"), ActionSubmission(**given), key_id=new_id("key"), owner=owner, now=NOW
    )
    return done(change, Action)


def judgement(verdict: Verdict, **given: Any) -> Judgement:
    """Return a judgement on the sample terms."""
    return Judgement(verdict=verdict, terms=TERMS, **given)


def planned(*, not_before: datetime | None = None, **given: Any) -> Delivery:
    """Return a delivery that was planned at `NOW`."""
    about = {"event": "approval.requested", "channel": "email", "kind": "email", **given}
    delivery = Delivery(id=new_id("dlv"), source_id=new_id("apr"), next_attempt_at=NOW, **about)
    return done(delivery_rules.plan(delivery, NOW, not_before), Delivery)


def assert_chained(lines: list[HistoryView], record: Record) -> None:
    """Check that a history is gap-free, that each line is hashed onto the one before, and that
    the record names the last."""
    previous = NO_HASH
    for number, line in enumerate(lines, 1):
        assert line.sequence == number
        assert line.previous == previous
        assert line.hash == history_hash(line)
        previous = line.hash
    assert (record.revision, record.history_hash) == (len(lines), previous)
