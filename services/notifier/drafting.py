"""What one delivery is, before it is written: to whom, of what, under which identifier. No I/O."""

from __future__ import annotations

from safeguards.identifiers import derived_id
from safeguards_runtime.duty import Assignment
from safeguards_runtime.records import Action, Approval, Delivery
from safeguards_runtime.records.events import ESCALATED, HANDED_OVER, REMINDED, UNREACHABLE
from services.notifier.routing import Route, World


def drafted(
    record: Action | Approval,
    event: str,
    route: Route,
    world: World | None,
    assignment: Assignment | None = None,
    address: str | None = None,
    fallbacks: tuple[str, ...] = (),
) -> Delivery:
    """Return a delivery of `event`, as it is before it is planned.

    Args:
        record: what it tells of.
        event: of what.
        route: by which channel.
        world: its siblings say whether this begins a thread; None if there are none.
        assignment: to whom, if to one person.
        address: where that one is reached, if the channel does not have it.
        fallbacks: the channels that are tried if this one fails, in their order.
    """
    who = assignment.reviewer.id if assignment else ""
    absent = assignment.for_reviewer if assignment else None
    siblings = world.siblings if world else ()
    before = sorted(
        (s for s in siblings if (s.channel, s.reviewer_id or "") == (route.name, who)),
        key=lambda sibling: not sibling.begins_thread,
    )
    identifier = delivery_id(record, event, route.name, who)
    return Delivery(
        id=identifier,
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
        thread_id=next((s.thread_id for s in before if s.thread_id), identifier),
        begins_thread=not before,
        thread_reference=next((s.reference for s in before if s.reference), None),
        next_attempt_at=record.created_at,
    )


def delivery_id(record: Action | Approval, event: str, channel: str, who: str) -> str:
    """Return the identifier: of one message to one recipient, however often it is planned."""
    if not isinstance(record, Approval):
        return derived_id("dlv", record.id, event, "1", channel, who)
    # What happens several times in the life of one version.
    turns = {
        REMINDED: record.reminders,
        ESCALATED: record.escalated,
        UNREACHABLE: record.unreached_at,
        HANDED_OVER: record.claim.at if record.claim else "",
    }
    turn = str(turns.get(event, ""))
    return derived_id("dlv", record.id, event + turn, str(record.version), channel, who)
