"""The bodies of webhooks: which event says what of a record. No I/O."""

from __future__ import annotations

from typing import Any

from safeguards.contracts import Wire
from safeguards.types import AlertSeverity
from safeguards.webhooks import (
    EVENTS,
    ActionResolved,
    AlertRaised,
    AlertSummary,
    ApprovalResolved,
)
from safeguards_runtime.records import Action, Approval, Delivery
from safeguards_runtime.records.events import ACTION_RESOLVED, ALERT_RAISED, RESOLVED


def body(delivery: Delivery, source: Action | Approval) -> dict[str, Any]:
    """Return the `data` of a delivery's webhook, as its event's type says it."""
    return _model(delivery.event, source).model_dump(mode="json", exclude_none=True)


def _model(event: str, source: Action | Approval) -> Wire:
    if event == ALERT_RAISED and isinstance(source, Action):
        return _alert(source)
    if source.outcome is not None and event in (RESOLVED, ACTION_RESOLVED):
        resolved = ApprovalResolved if event == RESOLVED else ActionResolved
        return resolved.model_validate(source.outcome.model_dump())
    return EVENTS[event].model_validate(_open(source))


def _open(source: Action | Approval) -> dict[str, Any]:
    if not isinstance(source, Approval):
        raise ValueError(f"{source.id} is no approval")
    return {
        "approval_id": source.id,
        "action_id": source.action_id,
        "agent_id": source.agent_id,
        "action_type": source.action_type,
        "title": source.title,
        "version": source.version,
        "digest": source.digest,
        "status": source.status,
        "severity": source.severity,
        "created_at": source.created_at,
        "expires_at": source.expires_at,
        "answer_by": source.terms.answer_by,
    }


def _alert(source: Action) -> AlertRaised:
    judged = source.judgement
    alerts = judged.alerts if judged else ()
    return AlertRaised(
        title=source.title or source.action_type,
        severity=judged.severity if judged else AlertSeverity.INFO,
        action_id=source.id,
        agent_id=source.agent_id,
        action_type=source.action_type,
        digest=source.digest,
        status=source.status,
        verdict=judged.verdict if judged else None,
        alerts=tuple(
            AlertSummary(safeguard=a.safeguard, title=a.title, severity=a.severity) for a in alerts
        ),
    )
