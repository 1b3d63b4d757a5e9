"""How an approval ends: its outcome, and what that entails. No I/O."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from safeguards.canonical import digest
from safeguards.contracts import Outcome, Verdict
from safeguards.types import ActionStatus
from safeguards_runtime.records.approval_record import Approval
from safeguards_runtime.records.events import ASKING, RESOLVED
from safeguards_runtime.records.record import Change, Refusal
from safeguards_runtime.topology import Service

CLOSE_ACTION = "close_action"
UNREACHED = "unreached"


def must_be_open(approval: Approval, now: datetime) -> None:
    """Make sure that an approval can still be answered.

    Raises:
        Refusal: `already_decided`, `expired`.
    """
    if approval.outcome is not None:
        raise already_decided(approval.outcome)
    if now >= approval.expires_at:
        raise Refusal("expired", f"time was up at {approval.expires_at.isoformat()}")


def already_decided(outcome: Outcome) -> Refusal:
    """Return the refusal that says how it has ended."""
    word = outcome.status.value.lower().replace("_", " ")
    return Refusal(
        "already_decided",
        f"already {word} by {outcome.decided_by}",
        outcome=outcome.model_dump(mode="json"),
    )


def cancel(approval: Approval, now: datetime) -> Change | None:
    """Withdraw an approval. None if it was withdrawn before.

    Raises:
        Refusal: `already_decided` if it ended in another way.
    """
    if approval.status is ActionStatus.CANCELLED:
        return None
    if approval.outcome is not None:
        raise already_decided(approval.outcome)
    actor = f"agent:{approval.agent_id}"
    ended = resolved(approval, ActionStatus.CANCELLED, now, actor, "")
    return ending(approval, ended, actor, now, {})


def resolved(
    approval: Approval,
    status: ActionStatus,
    now: datetime,
    decided_by: str,
    comments: str,
    modifications: dict[str, Any] | None = None,
    decided_for: str | None = None,
    *,
    approvers: tuple[str, ...] = (),
    verdict: Verdict = Verdict.REQUIRE_APPROVAL,
) -> Approval:
    """Return the approval with its outcome."""
    context = {**approval.context, **(modifications or {})}
    outcome = Outcome(
        status=status,
        verdict=verdict,
        agent_id=approval.agent_id,
        action_id=approval.action_id,
        approval_id=approval.id,
        comments=comments,
        modifications=modifications,
        decided_by=decided_by,
        decided_for=decided_for,
        approvers=approvers,
        decided_at=now,
        approved_digest=digest(context) if status.allows else None,
    )
    return approval.model_copy(update={"status": status, "outcome": outcome})


_IN_HAND = {"claim": None, "paused_at": None, "paused_until": None, "amendment": None}
"""What is only of an open approval."""


def ending(
    before: Approval, ended: Approval, actor: str, now: datetime, detail: dict[str, Any]
) -> Change:
    """Return the change by which an approval ends: the agent hears it, the rest is posted."""
    outcome = ended.outcome
    assert outcome is not None  # noqa: S101 - `resolved` sets it
    after = ended.struck(Service.NOTIFIER, *ASKING).struck(Service.TRACKER, UNREACHED)
    after = after.struck(Service.EVALUATOR).model_copy(update=_IN_HAND)
    if after.action_id is not None:
        after = after.posted(now, Service.TRACKER, CLOSE_ACTION)
    after = after.posted(now, Service.NOTIFIER, RESOLVED)
    return Change(before, after, ended.status.value.lower(), actor, now, detail, (outcome,))


def closed(approval: Approval, now: datetime) -> Change | None:
    """Note that the action behind it has been closed."""
    if not owes_closing(approval):
        return None
    after = approval.struck(Service.TRACKER, CLOSE_ACTION)
    return Change(approval, after, "action_closed", Service.TRACKER.value, now)


def owes_closing(approval: Approval) -> bool:
    """Tell whether the action behind it is still to be closed."""
    return any(entry.event == CLOSE_ACTION for entry in approval.owes(Service.TRACKER))
