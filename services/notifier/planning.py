"""Who is told of what, through which channel: the deliveries that an event needs. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from safeguards.identifiers import derived_id
from safeguards.types import AlertSeverity
from safeguards_runtime.records import (
    Action,
    Approval,
    Change,
    Delivery,
    action,
    approval,
    delivery,
)
from safeguards_runtime.records.action import Terms
from safeguards_runtime.records.approval import ANSWERED, REQUESTED
from safeguards_runtime.reviewers import Directory
from safeguards_runtime.topology import Service

CALLBACK = "callback"
"""The name of the channel to an agent's own callback URL."""


@dataclass(frozen=True)
class Route:
    """What planning has to know of a channel."""

    kind: str
    addressing: Literal["person", "place"]
    min_severity: AlertSeverity


@dataclass(frozen=True)
class _Recipient:
    """One recipient of an event."""

    channel: str
    kind: str
    reviewer_id: str | None = None
    address: str | None = None


def plan(
    record: Action | Approval,
    routes: Mapping[str, Route],
    directory: Directory,
    now: datetime,
) -> tuple[Change, ...] | None:
    """Take over what the record's outbox holds for the notifier.

    Returns:
        The record's change and those that make the deliveries, to be written together; None if
        there is nothing to take over.
    """
    events = tuple(entry.event for entry in record.owes(Service.NOTIFIER))
    if not events:
        return None
    made = [
        _delivery(record, event, recipient, now)
        for event in events
        for recipient in _recipients(record, event, routes, directory)
    ]
    # Two answers that are told of at once are one message: it shows the same version.
    deliveries = {delivery.id: delivery for delivery in made}.values()
    if isinstance(record, Approval):
        own = approval.told(record, events, len(deliveries), now)
    else:
        own = action.told(record, events, len(deliveries), now)
    return (own, *(delivery.plan(planned, now) for planned in deliveries))


def _recipients(
    record: Action | Approval, event: str, routes: Mapping[str, Route], directory: Directory
) -> Iterator[_Recipient]:
    match event:
        case "approval.requested" | "approval.answered" | "alert.raised":
            yield from _people(record, routes, directory)
        case "approval.resolved":
            yield from _callback(record)
            for name, route in _wanted(record, routes):
                if route.kind == "webhook":
                    yield _Recipient(name, route.kind)
        case "action.resolved":
            yield from _callback(record)


def _people(
    record: Action | Approval, routes: Mapping[str, Route], directory: Directory
) -> Iterator[_Recipient]:
    """Return who is asked or told: the groups' reviewers other than the asker, and places."""
    terms = _terms(record)
    for name, route in _wanted(record, routes):
        if route.addressing == "place":
            yield _Recipient(name, route.kind)
            continue
        for reviewer in directory.members(terms.groups if terms else ()):
            if reviewer.email and not reviewer.is_among(record.askers):
                yield _Recipient(name, route.kind, reviewer.id, reviewer.email)


def _wanted(record: Action | Approval, routes: Mapping[str, Route]) -> Iterator[tuple[str, Route]]:
    """Return the channels of the record's terms that exist and want something this serious."""
    terms = _terms(record)
    severity = _severity(record)
    for name in terms.channels if terms else ():
        route = routes.get(name)
        if route is not None and severity.at_least(route.min_severity):
            yield name, route


def _callback(record: Action | Approval) -> Iterator[_Recipient]:
    if record.callback_url:
        yield _Recipient(CALLBACK, "webhook", address=record.callback_url)


def _terms(record: Action | Approval) -> Terms | None:
    if isinstance(record, Approval):
        return record.terms
    return record.judgement.terms if record.judgement else None


def _severity(record: Action | Approval) -> AlertSeverity:
    if isinstance(record, Approval):
        return record.severity
    alerts = record.judgement.alerts if record.judgement else ()
    return max((a.severity for a in alerts), key=lambda s: s.rank, default=AlertSeverity.INFO)


def _delivery(
    record: Action | Approval, event: str, recipient: _Recipient, now: datetime
) -> Delivery:
    version = record.version if isinstance(record, Approval) else 1
    who = recipient.reviewer_id or ""
    return Delivery(
        id=derived_id("dlv", record.id, event, str(version), recipient.channel, who),
        source_id=record.id,
        event=event,
        channel=recipient.channel,
        kind=recipient.kind,
        reviewer_id=recipient.reviewer_id,
        address=recipient.address,
        version=version,
        next_attempt_at=now,
    )


def is_moot(planned: Delivery, source: Action | Approval) -> bool:
    """Tell whether a message that asks for an answer has been overtaken by the outcome."""
    return planned.event in (REQUESTED, ANSWERED) and source.status.is_final


def carries_link(planned: Delivery) -> bool:
    """Tell whether the message carries a personal link to answer by."""
    return planned.event in (REQUESTED, ANSWERED) and planned.reviewer_id is not None
