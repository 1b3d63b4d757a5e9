"""What a delivery says: the message to people about an action or an approval. No I/O."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from safeguards.notifications.message import Link, Message
from safeguards.text import visible
from safeguards.types import AlertSeverity
from safeguards_runtime.records import Action, Approval, Delivery
from safeguards_runtime.records.action import ALERT_RAISED
from safeguards_runtime.records.approval import RESOLVED

VALUE_LIMIT = 1000
"""How many characters of one argument a message shows; the page behind its link shows all."""


def compose(delivery: Delivery, source: Action | Approval, review_url: str | None) -> Message:
    """Return the message of a delivery.

    Args:
        delivery: what is to be sent; its id is the message's.
        source: the action or approval that it tells of.
        review_url: where the recipient can answer, if this message asks.
    """
    if delivery.event == ALERT_RAISED and isinstance(source, Action):
        return _alert(delivery, source)
    if isinstance(source, Approval) and delivery.event != RESOLVED:
        return _request(delivery, source, review_url)
    return _outcome(delivery, source)


def _request(delivery: Delivery, asked: Approval, review_url: str | None) -> Message:
    deadline = _moment(asked.expires_at)
    approves = asked.terms.on_timeout == "approve"
    silence = "it is approved" if approves else "it is rejected"
    footer = f"If nobody answers by {deadline}, {silence}."
    if review_url is None:
        footer += " Each reviewer has a personal link by mail."
    title = visible(asked.title, single_line=True, limit=150)
    last = asked.questions[-1] if asked.questions else None
    reasons = list(asked.reasons)
    if last and last.answer:
        reasons.append(
            f"{last.asked_by} asked: {last.question} — the agent answered: {last.answer}"
        )
    return Message(
        id=delivery.id,
        event=delivery.event,
        created_at=asked.created_at,
        subject=f"Approval needed: {title} (until {deadline})",
        severity=asked.severity,
        facts=(*_facts(asked), ("Answer by", deadline)),
        agent_words=asked.description,
        reasons=tuple(reasons),
        link=Link("Review and answer", review_url) if review_url else None,
        footer=footer,
        data={
            "approval_id": asked.id,
            "action_id": asked.action_id,
            "agent_id": asked.agent_id,
            "action_type": asked.action_type,
            "title": asked.title,
            "version": asked.version,
            "digest": asked.digest,
            "expires_at": asked.expires_at.isoformat(),
        },
    )


def _alert(delivery: Delivery, source: Action) -> Message:
    judged = source.judgement
    alerts = judged.alerts if judged else ()
    severity = max((a.severity for a in alerts), key=lambda s: s.rank, default=AlertSeverity.INFO)
    what = visible(source.title or source.action_type, single_line=True, limit=150)
    agent = visible(source.agent_id, single_line=True)
    return Message(
        id=delivery.id,
        event=delivery.event,
        created_at=source.created_at,
        subject=f"{severity}: {agent} goes ahead with {what}",
        severity=severity,
        facts=_facts(source),
        agent_words=source.description,
        reasons=judged.reasons if judged else (),
        footer="The policy allows this. You are told, not asked.",
        data={
            "action_id": source.id,
            "agent_id": source.agent_id,
            "action_type": source.action_type,
            "severity": severity.value,
            "alerts": [alert.model_dump(mode="json") for alert in alerts],
        },
    )


def _outcome(delivery: Delivery, source: Action | Approval) -> Message:
    outcome = source.outcome
    if outcome is None:
        raise ValueError(f"{source.id} has no outcome to tell of")
    title = visible(source.title or source.action_type, single_line=True, limit=150)
    return Message(
        id=delivery.id,
        event=delivery.event,
        created_at=outcome.decided_at,
        subject=f"{outcome.status.value.capitalize().replace('_', ' ')}: {title}",
        facts=_facts(source),
        reasons=(f"{outcome.decided_by}: {outcome.comments}",) if outcome.comments else (),
        data=outcome.model_dump(mode="json", exclude={"type"}),
    )


def _facts(source: Action | Approval) -> tuple[tuple[str, str], ...]:
    """Return who wants to do what, with which arguments, from the real payload."""
    rows = [("Agent", source.agent_id), ("Action", source.action_type)]
    rows += [
        (name, _value(value))
        for name, value in source.context.items()
        if (name, value) != ("action_type", source.action_type)
    ]
    return tuple(rows)


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= VALUE_LIMIT else text[: VALUE_LIMIT - 1] + "…"


def _moment(moment: datetime) -> str:
    return moment.strftime("%-d %b %Y %H:%M:%S UTC")
