"""Who is reached by which channels: what the policy, the reviewers and the channels say. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from safeguards.types import AlertSeverity
from safeguards_runtime.duty import Assignment
from safeguards_runtime.records import Action, Approval, Delivery
from safeguards_runtime.records.events import CHANGED, ESCALATED, HANDED_OVER
from safeguards_runtime.records.terms import Terms
from safeguards_runtime.reviewers import Directory


@dataclass(frozen=True)
class Route:
    """What planning has to know of a channel."""

    name: str
    kind: str
    addressing: Literal["person", "place"]
    reads: Literal["people", "programs", "nobody"]
    can_update: bool
    min_severity: AlertSeverity


@dataclass(frozen=True)
class World:
    """What a plan depends on beside the record itself.

    Attributes:
        routes: the channels by name.
        directory: the reviewers.
        now: the store's clock, UTC.
        siblings: the deliveries of the same record so far, where the plan needs them.
    """

    routes: Mapping[str, Route]
    directory: Directory
    now: datetime
    siblings: Sequence[Delivery] = field(default=())


def wanted(
    record: Action | Approval, world: World, groups: Collection[str] | None = None
) -> Iterator[Route]:
    """Return the channels of the record's terms that exist and want something this serious: those
    by which `groups` are told, if they are given."""
    severity = _severity(record)
    for name in _channel_names(record, groups):
        route = world.routes.get(name)
        if route is not None and severity.at_least(route.min_severity):
            yield route


def _channel_names(record: Action | Approval, groups: Collection[str] | None) -> Iterable[str]:
    terms = _terms(record)
    if terms is None:
        return ()
    circles = [(terms.groups, terms.channels)]
    if isinstance(record, Approval):
        taken = terms.escalation[: record.escalated]
        circles += [(step.groups, step.channels or terms.channels) for step in taken]
    return dict.fromkeys(
        name
        for members, names in circles
        if groups is None or set(groups) & set(members)
        for name in names
    )


def ways(assignment: Assignment, record: Action | Approval, world: World) -> tuple[Route, ...]:
    """Return the channels that reach a person, in their order: their own ones, if any of those
    is wanted for the groups that they are asked for; the policy's otherwise."""
    reviewer, asked_for = assignment.reviewer, assignment.for_reviewer or assignment.reviewer
    routes = tuple(
        route
        for route in wanted(record, world, asked_for.groups)
        if route.reads == "people"
        and (route.addressing == "place" or reviewer.address_for(route.name, route.kind))
    )
    own = tuple(route for name in reviewer.channels for route in routes if route.name == name)
    return own or routes


def told(record: Action | Approval, world: World) -> tuple[Assignment, ...]:
    """Return who is to be told: whoever is on duty, other than those who ask, and those who have
    approved already where others must as well."""
    terms = _terms(record)
    groups = record.groups if isinstance(record, Approval) else terms.groups if terms else ()
    severity = _severity(record)
    spoken = record.spoken if isinstance(record, Approval) else ()
    return world.directory.told(groups, world.now, severity, without=(*record.askers, *spoken))


def assigned_to(record: Approval, event: str, world: World) -> tuple[Assignment, ...]:
    """Return who is to be asked: in an escalation only those who have not been; where it was
    changed all but its author; where it was handed over that one person."""
    if event == HANDED_OVER:
        return _in_hand(record, world)
    if event == ESCALATED:
        asked = tuple(s.reviewer_id for s in world.siblings if s.asks and s.reviewer_id)
        # Those who were asked do not count as on duty: somebody else is to be told, whoever it is.
        without = (*record.askers, *record.spoken, *asked)
        return world.directory.told(
            escalated_to(record), world.now, record.severity, without=without
        )
    assigned = told(record, world)
    if event == CHANGED and record.earlier:
        author = record.earlier.changed_by.removeprefix("reviewer:")
        assigned = tuple(one for one in assigned if one.reviewer.id != author)
    return assigned


def _in_hand(record: Approval, world: World) -> tuple[Assignment, ...]:
    """Return to whom a request was handed; nobody if they do not have it any more."""
    claim = record.claim
    reviewer = world.directory.get(claim.reviewer_id) if claim and claim.handed_by else None
    if claim is None or reviewer is None:
        return ()
    absent = world.directory.get(claim.stands_in_for or "")
    return (Assignment(reviewer, absent, reviewer.quiet_until(world.now, record.severity)),)


def escalated_to(record: Approval) -> tuple[str, ...]:
    """Return the groups that were added by escalation."""
    taken = record.terms.escalation[: record.escalated]
    return tuple(group for step in taken for group in step.groups)


def _terms(record: Action | Approval) -> Terms | None:
    if isinstance(record, Approval):
        return record.terms
    return record.judgement.terms if record.judgement else None


def _severity(record: Action | Approval) -> AlertSeverity:
    if isinstance(record, Approval):
        return record.severity
    return record.judgement.severity if record.judgement else AlertSeverity.INFO
