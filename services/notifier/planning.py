"""Who is told of what, through which channel: the deliveries that an event needs. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from safeguards.identifiers import derived_id
from safeguards.types import AlertSeverity
from safeguards_runtime.duty import Assignment
from safeguards_runtime.records import Action, Approval, Change, Delivery, action, delivery, waiting
from safeguards_runtime.records.action import Terms
from safeguards_runtime.records.delivery import CALLBACK, DIED, FALL_BACK, DeliveryStatus
from safeguards_runtime.records.events import (
    ACTION_RESOLVED,
    ALERT_RAISED,
    ANSWERED,
    ASKING,
    ESCALATED,
    REMINDED,
    REQUESTED,
    RESOLVED,
)
from safeguards_runtime.reviewers import Directory
from safeguards_runtime.topology import Service

NEEDS_SIBLINGS = frozenset({REMINDED, ESCALATED, ANSWERED, RESOLVED})
"""The events whose plans depend on what was sent before."""


@dataclass(frozen=True)
class Route:
    """What planning has to know of a channel."""

    name: str
    kind: str
    addressing: Literal["person", "place"]
    reads: Literal["people", "programs", "nobody"]
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


def plan(record: Action | Approval, world: World) -> tuple[Change, ...] | None:
    """Take over what the record's outbox holds for the notifier.

    Returns:
        The record's change and those that make the deliveries, to be written together; None if
        there is nothing to take over.
    """
    events = tuple(dict.fromkeys(entry.event for entry in record.owes(Service.NOTIFIER)))
    if not events:
        return None
    known = {sibling.id for sibling in world.siblings}
    made = {
        planned.delivery.id: planned
        for event in events
        for planned in _planned(record, event, world)
        if planned.delivery.id not in known
    }
    asks = bool({REQUESTED, ESCALATED} & set(events))
    reaches = any(_may_reach(d) for d in (*(p.delivery for p in made.values()), *world.siblings))
    if isinstance(record, Approval):
        own = waiting.told(record, events, len(made), world.now, reaches=reaches or not asks)
    else:
        own = action.told(record, events, len(made), world.now)
    return (own, *_changes(made.values(), world))


def follow(
    done: Delivery, source: Action | Approval | None, world: World
) -> tuple[Change, ...] | None:
    """Do what follows from how an attempt ended: try the next channel, note that nobody was
    reached, change what has been overtaken. None if nothing is owed."""
    own = delivery.settled(done, world.now)
    if own is None:
        return None
    if not isinstance(source, Approval):
        return (own,)
    owed = {entry.event for entry in done.owes(Service.NOTIFIER)}
    made: list[_Planned] = []
    if FALL_BACK in owed and not is_moot(done, source):
        made = list(_fallen_back(done, source, world))
    if done.reference and is_moot(done, source):
        made.append(_update(source, _overtaken_by(source), done))
    known = {sibling.id for sibling in world.siblings}
    made = [planned for planned in made if planned.delivery.id not in known]
    changes: list[Change] = [own, *_changes(made, world)]
    if DIED in owed and not made and _nobody_reached(source, world):
        missed = waiting.unreached(source, world.now)
        changes += [missed] if missed else []
    return tuple(changes)


@dataclass(frozen=True)
class _Planned:
    """A delivery to be made, and when it may be sent at the earliest."""

    delivery: Delivery
    not_before: datetime | None = None


def _changes(made: Iterable[_Planned], world: World) -> list[Change]:
    return [delivery.plan(p.delivery, world.now, p.not_before) for p in made]


def _planned(record: Action | Approval, event: str, world: World) -> Iterator[_Planned]:
    if isinstance(record, Action):
        if event == ALERT_RAISED:
            yield from _at_once(record, event, _told(record, world), world)
        if event == ACTION_RESOLVED:
            yield from _callback(record, event)
        return
    match event:
        case "approval.resolved":
            yield from _callback(record, event)
            yield from _outcome_to_people(record, world)
            yield from _to_others(record, event, world)
        case "approval.unreachable":
            yield from _to_others(record, event, world)
        case _:
            yield from _asked(record, event, world)
            if event == ANSWERED:
                yield from _updates(record, event, world)


def _asked(record: Approval, event: str, world: World) -> Iterator[_Planned]:
    """Return the messages that ask: of everybody's channels, or of the first of each one's."""
    assigned = _told(record, world)
    if event == ESCALATED:
        asked = {s.reviewer_id for s in world.siblings if s.asks and s.reviewer_id}
        assigned = tuple(a for a in assigned if a.reviewer.id not in asked)
    if record.terms.order == "all":
        yield from _at_once(record, event, assigned, world)
        return
    names = [route.name for route in _wanted(record, world)]
    yield from _chained(record, event, names, assigned, world)
    for route in _wanted(record, world):
        if route.reads != "people":
            yield _Planned(_delivery(record, event, route, world))


def _told(record: Action | Approval, world: World) -> tuple[Assignment, ...]:
    """Return who is to be told: whoever is on duty, other than those who ask."""
    terms = _terms(record)
    groups = record.groups if isinstance(record, Approval) else terms.groups if terms else ()
    severity = _severity(record)
    return world.directory.told(groups, world.now, severity, without=record.askers)


def _at_once(
    record: Action | Approval, event: str, assigned: Sequence[Assignment], world: World
) -> Iterator[_Planned]:
    for route in _wanted(record, world):
        if route.addressing == "place":
            yield _Planned(_delivery(record, event, route, world))
            continue
        for assignment in assigned:
            if route.name in _preferred(assignment, [route.name], record, world):
                planned = _to_person(record, event, route, world, assignment)
                if planned:
                    yield planned


def _chained(
    record: Approval,
    event: str,
    names: Sequence[str],
    assigned: Sequence[Assignment],
    world: World,
) -> Iterator[_Planned]:
    """Return one message for each of `assigned`, by the first channel that can reach them; those
    after it are the message's fallbacks."""
    if not assigned:
        return
    for position, name in enumerate(names):
        route = world.routes.get(name)
        if route is None or route.reads != "people":
            continue
        rest = tuple(n for n in names[position + 1 :] if n in world.routes)
        if route.addressing == "place":
            yield _Planned(_delivery(record, event, route, world, fallbacks=rest))
            return
        left: list[Assignment] = []
        for assignment in assigned:
            preferred = _preferred(assignment, names, record, world)
            planned = _to_person(record, event, route, world, assignment, rest)
            if planned and name in preferred:
                yield planned
            else:
                left.append(assignment)
        assigned = left
        if not assigned:
            return


def _preferred(
    assignment: Assignment, names: Sequence[str], record: Action | Approval, world: World
) -> Sequence[str]:
    """Return those of `names` by which a person wants to be reached; all, if they name none of
    the channels that the policy names."""
    own = assignment.reviewer.channels
    wanted = {route.name for route in _wanted(record, world)}
    if not wanted.intersection(own):
        return names
    return [name for name in names if name in own]


def _to_person(
    record: Action | Approval,
    event: str,
    route: Route,
    world: World,
    assignment: Assignment,
    fallbacks: tuple[str, ...] = (),
) -> _Planned | None:
    address = assignment.reviewer.address_for(route.name, route.kind)
    if address is None:
        return None
    made = _delivery(record, event, route, world, assignment, address, fallbacks)
    return _Planned(made, assignment.not_before)


def _fallen_back(done: Delivery, source: Approval, world: World) -> Iterator[_Planned]:
    assigned = _told(source, world)
    if done.reviewer_id:
        assigned = tuple(a for a in assigned if a.reviewer.id == done.reviewer_id)
    yield from _chained(source, done.event, done.fallbacks, assigned, world)


def _outcome_to_people(record: Approval, world: World) -> Iterator[_Planned]:
    """Return what tells those who were asked how it ended: their message is changed where that
    can be done, and else followed by another one. Whoever decided knows."""
    decider = record.outcome.decided_by if record.outcome else ""
    yield from _updates(record, RESOLVED, world)
    seen: set[tuple[str, str | None]] = set()
    for sibling in world.siblings:
        was_asked = sibling.asks and sibling.status is DeliveryStatus.SENT
        target = (sibling.channel, sibling.reviewer_id)
        if not was_asked or sibling.reads != "people" or sibling.reference or target in seen:
            continue
        seen.add(target)
        route = world.routes.get(sibling.channel)
        if route is None or (decider and sibling.reviewer_id == decider):
            continue
        yield _Planned(_after(record, RESOLVED, sibling))


def _updates(record: Approval, event: str, world: World) -> Iterator[_Planned]:
    """Return the changes of messages that show what has been overtaken."""
    for sibling in world.siblings:
        is_placed = sibling.asks and sibling.reference and sibling.status is DeliveryStatus.SENT
        if is_placed and is_moot(sibling, record):
            yield _update(record, event, sibling)


def _update(record: Approval, event: str, placed: Delivery) -> _Planned:
    changed = _after(record, event, placed)
    return _Planned(
        changed.model_copy(update={"updates": placed.id, "reference": placed.reference})
    )


def _after(record: Approval, event: str, before: Delivery) -> Delivery:
    """Return the delivery that tells of `event` whoever was told by the one before, as there."""
    return Delivery(
        id=derived_id("dlv", record.id, event, str(record.version), "after", before.id),
        source_id=record.id,
        event=event,
        channel=before.channel,
        kind=before.kind,
        reads=before.reads,
        reviewer_id=before.reviewer_id,
        stands_in_for=before.stands_in_for,
        address=before.address,
        agent_id=record.agent_id,
        version=record.version,
        thread_id=before.thread_id,
        next_attempt_at=record.created_at,
    )


def _overtaken_by(record: Approval) -> str:
    return RESOLVED if record.status.is_final else ANSWERED


def _to_others(record: Approval, event: str, world: World) -> Iterator[_Planned]:
    """Return what tells programs, and logs."""
    for route in _wanted(record, world):
        if route.reads != "people":
            yield _Planned(_delivery(record, event, route, world))


def _callback(record: Action | Approval, event: str) -> Iterator[_Planned]:
    if record.callback_url:
        route = Route(CALLBACK, "webhook", "place", "programs", AlertSeverity.INFO)
        yield _Planned(_delivery(record, event, route, None, address=record.callback_url))


def _nobody_reached(source: Approval, world: World) -> bool:
    """Tell whether all that asks has been given up."""
    return not any(map(_may_reach, world.siblings))


def _may_reach(asking: Delivery) -> bool:
    """Tell whether a message asks somebody, and has not been given up."""
    return asking.asks and asking.reads != "nobody" and asking.status is not DeliveryStatus.DEAD


def _wanted(record: Action | Approval, world: World) -> Iterator[Route]:
    """Return the channels of the record's terms that exist and want something this serious."""
    severity = _severity(record)
    for name in _channel_names(record):
        route = world.routes.get(name)
        if route is not None and severity.at_least(route.min_severity):
            yield route


def _channel_names(record: Action | Approval) -> tuple[str, ...]:
    terms = _terms(record)
    if terms is None:
        return ()
    if isinstance(record, Approval) and record.escalated:
        taken = terms.escalation[: record.escalated]
        added = (name for step in taken for name in step.channels)
        return tuple(dict.fromkeys((*terms.channels, *added)))
    return terms.channels


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
    record: Action | Approval,
    event: str,
    route: Route,
    world: World | None,
    assignment: Assignment | None = None,
    address: str | None = None,
    fallbacks: tuple[str, ...] = (),
) -> Delivery:
    who = assignment.reviewer.id if assignment else ""
    absent = assignment.for_reviewer if assignment else None
    siblings = world.siblings if world else ()
    before = [s for s in siblings if (s.channel, s.reviewer_id or "") == (route.name, who)]
    return Delivery(
        id=_id(record, event, route, who),
        source_id=record.id,
        event=event,
        channel=route.name,
        kind=route.kind,
        reads=route.reads,
        reviewer_id=who or None,
        stands_in_for=absent.id if absent else None,
        address=address,
        agent_id=record.agent_id,
        version=record.version if isinstance(record, Approval) else 1,
        fallbacks=fallbacks,
        thread_id=derived_id("dlv", record.id, "thread", route.name, who),
        begins_thread=event in (REQUESTED, ESCALATED) and not before,
        thread_reference=next((s.reference for s in before if s.reference), None),
        next_attempt_at=record.created_at,
    )


def _id(record: Action | Approval, event: str, route: Route, who: str) -> str:
    """Return the identifier: of one message to one recipient, however often it is planned."""
    version = str(record.version) if isinstance(record, Approval) else "1"
    turn = str(record.reminders) if event == REMINDED and isinstance(record, Approval) else ""
    return derived_id("dlv", record.id, event + turn, version, route.name, who)


def is_moot(planned: Delivery, source: Action | Approval) -> bool:
    """Tell whether a message that asks for an answer has been overtaken: by the outcome, or by a
    newer version of the question."""
    if planned.event not in ASKING or not isinstance(source, Approval):
        return False
    return source.status.is_final or planned.version < source.version


def carries_link(planned: Delivery) -> bool:
    """Tell whether the message carries a personal link to answer by."""
    return planned.asks and planned.reviewer_id is not None
