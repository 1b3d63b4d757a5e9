"""How an approval is opened: asked for directly by an agent, or required by a verdict. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from safeguards.contracts import ApprovalSubmission
from safeguards_runtime.records.action import Action, askers, content_digest
from safeguards_runtime.records.approval_record import Approval, made_title
from safeguards_runtime.records.events import REQUESTED
from safeguards_runtime.records.record import Change
from safeguards_runtime.records.rota import ALWAYS, Rota
from safeguards_runtime.records.terms import Terms
from safeguards_runtime.records.waiting import begun, deadline
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
    timeout = _timeout(submission.timeout_seconds, terms)
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
        on_behalf_of=submission.on_behalf_of,
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
    timeout = _timeout(action.timeout_seconds, judged.terms)
    approval = Approval(
        id=action.approval_id,
        action_id=action.id,
        agent_id=action.agent_id,
        action_type=action.action_type,
        title=action.title or made_title(action.agent_id, action.action_type),
        description=action.description,
        context=action.context,
        digest=action.digest,
        severity=judged.severity,
        reasons=judged.reasons,
        alerts=judged.alerts,
        policies=judged.policies,
        clauses=judged.clauses,
        policies_version=judged.version,
        terms=judged.terms,
        askers=action.askers,
        on_behalf_of=action.on_behalf_of,
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


def _timeout(wanted: int | None, terms: Terms) -> int:
    """Return how long people have to answer. An agent may want it shorter, but not where silence is
    consent: it would leave nobody the time to object."""
    if wanted is None or terms.on_timeout == "approve":
        return terms.timeout_seconds
    return min(wanted, terms.timeout_seconds)


def _opened(
    approval: Approval, now: datetime, actor: str, claims: Mapping[str, str], rota: Rota
) -> Change:
    detail: dict[str, Any] = {
        "digest": approval.digest,
        "expires_at": approval.expires_at.isoformat(),
    }
    if approval.policies:
        detail["policies"] = list(approval.policies)
        detail["policies_version"] = approval.policies_version
    approval, is_covered = begun(approval, now, rota)
    if not is_covered:
        detail["nobody_on_duty"] = list(approval.terms.groups)
    approval = approval.posted(now, Service.NOTIFIER, REQUESTED)
    names = {"agents": approval.agent_id, "action_types": approval.action_type}
    return Change(None, approval, "opened", actor, now, detail, claims=claims, names=names)
