"""How an approval is opened: asked for directly by an agent, or required by a verdict. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from safeguards.contracts import ApprovalSubmission
from safeguards.types import AlertSeverity
from safeguards_runtime.records.action import Action, Terms, askers, content_digest
from safeguards_runtime.records.approval import Approval
from safeguards_runtime.records.events import REQUESTED
from safeguards_runtime.records.record import Change
from safeguards_runtime.records.rota import ALWAYS, Rota
from safeguards_runtime.records.waiting import deadline, escalated, steps
from safeguards_runtime.topology import Service


def request(
    approval_id: str,
    submission: ApprovalSubmission,
    terms: Terms,
    *,
    key_id: str,
    owner: str | None,
    now: datetime,
    claims: dict[str, str] | None = None,
    rota: Rota = ALWAYS,
) -> Change:
    """Open an approval that an agent asked for directly."""
    timeout = min(submission.timeout_seconds or terms.timeout_seconds, terms.timeout_seconds)
    approval = Approval(
        id=approval_id,
        agent_id=submission.agent_id,
        action_type=submission.action_type,
        title=submission.title,
        description=submission.description,
        context=submission.metadata,
        digest=content_digest(
            submission.agent_id,
            submission.action_type,
            submission.title,
            submission.description,
            submission.metadata,
        ),
        terms=terms,
        askers=askers(submission.agent_id, owner, submission.on_behalf_of),
        key_id=key_id,
        callback_url=submission.callback_url,
        created_at=now,
        expires_at=deadline(terms, timeout, now, rota),
    )
    return _opened(approval, now, f"agent:{submission.agent_id}", claims or {}, rota)


def open_for(action: Action, now: datetime, rota: Rota = ALWAYS) -> tuple[Change, Change] | None:
    """Open the approval that a verdict requires: its own change, and the action's.

    The two are written together. None if the action was withdrawn or is open already.
    """
    judged = action.judgement
    if judged is None or action.status.is_final or not action.owes(Service.TRACKER):
        return None
    limit = judged.terms.timeout_seconds
    timeout = min(action.timeout_seconds or limit, limit)
    approval = Approval(
        id=action.approval_id,
        action_id=action.id,
        agent_id=action.agent_id,
        action_type=action.action_type,
        title=action.title or f"{action.agent_id} wants to run {action.action_type}",
        description=action.description,
        context=action.context,
        digest=action.digest,
        severity=max((a.severity for a in judged.alerts), key=_rank, default=AlertSeverity.WARNING),
        reasons=judged.reasons,
        terms=judged.terms,
        askers=action.askers,
        key_id=action.key_id,
        callback_url=action.callback_url,
        created_at=now,
        expires_at=deadline(judged.terms, timeout, now, rota),
    )
    handed = action.struck(Service.TRACKER)
    actor = Service.TRACKER.value
    return (
        _opened(approval, now, actor, {}, rota),
        Change(action, handed, "approval_opened", actor, now, {"approval_id": approval.id}),
    )


def _rank(severity: AlertSeverity) -> int:
    return severity.rank


def _opened(
    approval: Approval, now: datetime, actor: str, claims: Mapping[str, str], rota: Rota
) -> Change:
    detail: dict[str, Any] = {
        "digest": approval.digest,
        "expires_at": approval.expires_at.isoformat(),
    }
    approval = approval.model_copy(update={"steps": steps(approval, now, rota)})
    covered = approval.terms.working_hours or rota.is_covered(
        approval.groups, now, approval.severity, without=approval.askers
    )
    if approval.terms.escalation and not covered:
        approval = escalated(approval, len(approval.terms.escalation))
        detail["nobody_on_duty"] = list(approval.terms.groups)
    approval = approval.posted(now, Service.NOTIFIER, REQUESTED)
    return Change(None, approval, "opened", actor, now, detail, claims=claims)
