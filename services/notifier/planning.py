"""Who is told of what, through which channel: the deliveries that an event needs. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from safeguards.identifiers import derived_id
from safeguards.types import AlertSeverity
from safeguards_runtime.duty import Assignment
from safeguards_runtime.records import Action, Approval, Change, Delivery, action, delivery, waiting
from safeguards_runtime.records.delivery import CALLBACK, DIED, FALL_BACK, DeliveryStatus
from safeguards_runtime.records.events import (
    ACTION_RESOLVED,
    ALERT_RAISED,
    ANSWERED,
    ASKING,
    CHANGED,
    ESCALATED,
    HANDED_OVER,
    REMINDED,
    RESOLVED,
)
from safeguards_runtime.topology import Service
from services.notifier.drafting import delivery_id, drafted
from services.notifier.routing import (
    Route,
    World,
    assigned_to,
    escalated_to,
    told,
    wanted,
    ways,
)

NEEDS_SIBLINGS = frozenset({REMINDED, ESCALATED, ANSWERED, CHANGED, HANDED_OVER, RESOLVED})
"""The events whose plans depend on what was sent before."""


def plan(record: Action | Approval, world: World) -> tuple[Change, ...] | None:
    """Take over what the record's outbox holds for the notifier.

    Returns:
        The record's change and those that make the deliveries, to be written together; None if
        there is nothing to take over.
    """
    events = tuple(dict.fromkeys(entry.event for entry in record.owes(Service.NOTIFIER)))
    if not events:
        return None
    made = _made(record, events, world)
    asks = bool(ASKING & set(events))
    asking = (*(p.delivery for p in made), *world.siblings)
    reaches = any(_may_reach(one, record) for one in asking)
    if isinstance(record, Approval):
        own = waiting.told(record, events, len(made), world.now, reaches=reaches or not asks)
    else:
        own = action.told(record, events, len(made), world.now)
    return (own, *_changes(made, world))


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
    is_over = is_moot(done, source) or done.status is DeliveryStatus.SENT
    if FALL_BACK in owed and not is_over:
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


def _made(record: Action | Approval, events: Sequence[str], world: World) -> list[_Planned]:
    """Return the deliveries of `events` that there are not yet. People who are asked for several
    reasons at once get one message, for the first of them."""
    known = {sibling.id for sibling in world.siblings}
    made: dict[str, _Planned] = {}
    reasons: dict[tuple[str, str | None], str] = {}
    for event in events:
        for planned in _planned(record, event, world):
            one = planned.delivery
            asks_people = one.asks and one.reads == "people"
            target = (one.channel, one.reviewer_id)
            if one.id in known or (asks_people and reasons.setdefault(target, event) != event):
                continue
            made[one.id] = planned
    return list(made.values())


def _planned(record: Action | Approval, event: str, world: World) -> Iterator[_Planned]:
    if isinstance(record, Action):
        if event == ALERT_RAISED:
            yield from _at_once(record, event, told(record, world), world)
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
        case "approval.handed_over":
            yield from _handed_over(record, event, world)
        case _:
            yield from _asked(record, event, world)
            if event in (ANSWERED, CHANGED):
                yield from _updates(record, event, world)


def _asked(record: Approval, event: str, world: World) -> Iterator[_Planned]:
    """Return the messages that ask: of everybody's channels, or of the first of each one's."""
    assigned = assigned_to(record, event, world)
    if record.terms.order == "all":
        yield from _at_once(record, event, assigned, world)
        return
    yield from _chained(record, event, assigned, world)
    yield from _to_others(record, event, world)


def _handed_over(record: Approval, event: str, world: World) -> Iterator[_Planned]:
    """Return what tells one person: by what reaches them alone, or else in a place."""
    assigned = assigned_to(record, event, world)
    if record.terms.order == "chain":
        yield from _chained(record, event, assigned, world)
    for assignment in assigned if record.terms.order == "all" else ():
        routes = ways(assignment, record, world)
        for route in (own := [r for r in routes if r.addressing == "person"]):
            yield _to_person(record, event, route, world, assignment)
        for route in () if own else routes:
            yield _Planned(drafted(record, event, route, world))
    yield from _to_others(record, event, world)


def _at_once(
    record: Action | Approval, event: str, assigned: Sequence[Assignment], world: World
) -> Iterator[_Planned]:
    groups = None
    if isinstance(record, Approval) and event == ESCALATED:
        groups = escalated_to(record)
    for route in wanted(record, world, groups):
        if route.reads == "people" and route.addressing == "place":
            yield _Planned(drafted(record, event, route, world))
    for assignment in assigned:
        for route in ways(assignment, record, world):
            if route.addressing == "person":
                yield _to_person(record, event, route, world, assignment)
    yield from _to_others(record, event, world)


def _chained(
    record: Approval,
    event: str,
    assigned: Iterable[Assignment],
    world: World,
    left: Collection[str] | None = None,
) -> Iterator[_Planned]:
    """Return one message for each of `assigned`, by the first channel that can reach them; those
    after it are the message's fallbacks. Who is reached in the same place shares a message.

    Args:
        left: the channels that have not been tried; all unless given.
    """
    spent = {(s.channel, s.reviewer_id) for s in _turn(record, event, world) if _is_spent(s)}

    def is_left(route: Route, assignment: Assignment) -> bool:
        who = assignment.reviewer.id if route.addressing == "person" else None
        return (route.name, who) not in spent and (left is None or route.name in left)

    left_to = [
        (one, [route for route in ways(one, record, world) if is_left(route, one)])
        for one in assigned
    ]
    places: dict[str, Route] = {}
    for assignment, routes in left_to:
        if routes and routes[0].addressing == "place":
            places[routes[0].name] = routes[0]
        elif routes:
            rest = tuple(route.name for route in routes[1:])
            yield _to_person(record, event, routes[0], world, assignment, rest)
    for place in places.values():
        # Also of those who are told otherwise: they may come to depend on it.
        after = [
            route.name
            for _, routes in left_to
            if place in routes
            for route in routes[routes.index(place) + 1 :]
        ]
        yield _Planned(drafted(record, event, place, world, fallbacks=tuple(dict.fromkeys(after))))


def _turn(record: Approval, event: str, world: World) -> Iterator[Delivery]:
    """Return what has been made of `event` so far: this time, if it happens several times."""
    for sibling in world.siblings:
        if sibling.id == delivery_id(record, event, sibling.channel, sibling.reviewer_id or ""):
            yield sibling


def _is_spent(one: Delivery) -> bool:
    """Tell whether a message of a chain has given way to the next channel, if there is one."""
    if one.status is DeliveryStatus.SENT:
        return False
    return one.status.is_final or not one.fallbacks


def _to_person(
    record: Action | Approval,
    event: str,
    route: Route,
    world: World,
    assignment: Assignment,
    fallbacks: tuple[str, ...] = (),
) -> _Planned:
    address = assignment.reviewer.address_for(route.name, route.kind)
    made = drafted(record, event, route, world, assignment, address, fallbacks)
    if assignment.not_before is not None:
        made = made.model_copy(update={"next_attempt_at": assignment.not_before})
    return _Planned(made, assignment.not_before)


def _fallen_back(done: Delivery, source: Approval, world: World) -> Iterator[_Planned]:
    """Return what takes the place of a message that failed: for whom it was meant; or, if it was
    for a place, for all who are not told otherwise."""
    assigned = _once_more(done, source, world)
    if not done.reviewer_id:
        otherwise = {s.reviewer_id for s in _turn(source, done.event, world) if not _is_spent(s)}
        assigned = tuple(
            one
            for one in assigned_to(source, done.event, world)
            if one.reviewer.id not in otherwise
        )
    yield from _chained(source, done.event, assigned, world, done.fallbacks)


def _once_more(done: Delivery, source: Approval, world: World) -> tuple[Assignment, ...]:
    """Return whom a message was for; also if others are on duty by now."""
    reviewer = world.directory.get(done.reviewer_id or "")
    if reviewer is None:
        return ()
    absent = world.directory.get(done.stands_in_for or "")
    return (Assignment(reviewer, absent, reviewer.quiet_until(world.now, source.severity)),)


def _outcome_to_people(record: Approval, world: World) -> Iterator[_Planned]:
    """Return what tells those who were asked how it ended: their message is changed where that
    can be done, and else followed by another one. Whoever decided knows."""
    decider = record.outcome.decided_by if record.outcome else ""
    yield from _updates(record, RESOLVED, world)
    seen: set[tuple[str, str | None]] = set()
    for sibling in world.siblings:
        # What is on its way may arrive; if it can be changed, it is looked at again when it has.
        is_told = sibling.status in (DeliveryStatus.SENT, DeliveryStatus.SENDING)
        target = (sibling.channel, sibling.reviewer_id)
        if not (sibling.asks and is_told) or sibling.reads != "people" or target in seen:
            continue
        seen.add(target)
        route = world.routes.get(sibling.channel)
        is_changed = route is None or route.can_update or sibling.reference
        if is_changed or (decider and sibling.reviewer_id == decider):
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
    earlier = record.earlier
    by_reviewer = earlier is not None and earlier.changed_by.startswith("reviewer:")
    if record.status.is_final:
        return RESOLVED
    is_latest = earlier is not None and earlier.version == record.version - 1
    return CHANGED if by_reviewer and is_latest else ANSWERED


def _to_others(record: Action | Approval, event: str, world: World) -> Iterator[_Planned]:
    """Return what tells programs, and logs."""
    for route in wanted(record, world):
        if route.reads != "people":
            yield _Planned(drafted(record, event, route, world))


def _callback(record: Action | Approval, event: str) -> Iterator[_Planned]:
    if record.callback_url:
        route = Route(CALLBACK, CALLBACK, "place", "programs", False, AlertSeverity.INFO)
        yield _Planned(drafted(record, event, route, None, address=record.callback_url))


def _nobody_reached(source: Approval, world: World) -> bool:
    """Tell whether all that asks has been given up, and nothing more is about to ask."""
    asks_again = any(entry.event in ASKING for entry in source.owes(Service.NOTIFIER))
    return not (asks_again or any(_may_reach(one, source) for one in world.siblings))


def _may_reach(asking: Delivery, source: Action | Approval) -> bool:
    """Tell whether a message asks somebody, and has been sent or may still be in time."""
    is_over = asking.status in (DeliveryStatus.DEAD, DeliveryStatus.MOOT)
    if asking.status is DeliveryStatus.PENDING and isinstance(source, Approval):
        is_over = asking.next_attempt_at >= source.expires_at
    return asking.asks and asking.reads != "nobody" and not is_over


def is_moot(planned: Delivery, source: Action | Approval) -> bool:
    """Tell whether a message that asks for an answer has been overtaken: by the outcome, or by a
    newer version of the question."""
    if planned.event not in ASKING or not isinstance(source, Approval):
        return False
    return source.status.is_final or planned.version < source.version


def carries_link(planned: Delivery) -> bool:
    """Tell whether the message carries a personal link to answer by."""
    return planned.asks and planned.reviewer_id is not None
