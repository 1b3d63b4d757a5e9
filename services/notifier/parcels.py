"""What is sent now, what waits, and what travels together. No I/O.

A parcel is one message: for one delivery, or a digest for several to the same recipient.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from safeguards_runtime.records import Action, Approval, Change, Delivery, delivery
from safeguards_runtime.records.delivery import CALLBACK, DeliveryStatus, is_due
from safeguards_runtime.records.endpoint import Endpoint, EndpointStatus
from services.notifier.planning import is_moot

Source = Action | Approval
Taken = Mapping[str, tuple[int, float]]
"""By allowance: how many were granted, and the seconds until there are more (`Store.take`)."""

PROBE_SECONDS = 20.0
"""How long one delivery tries an endpoint that was down, before another one does."""

PROBED_SECONDS = 5.0
"""How long the others wait before they look what it has found."""


@dataclass(frozen=True)
class Parcel:
    """Deliveries that one message stands for, each with what it tells of."""

    members: tuple[tuple[Delivery, Source], ...]

    @property
    def leader(self) -> Delivery:
        """The delivery under whose id the message is sent."""
        return self.members[0][0]

    @property
    def is_digest(self) -> bool:
        """Whether it stands for several."""
        return len(self.members) > 1

    @property
    def gathers(self) -> bool:
        """Whether what else waits for its recipient goes along."""
        return self.is_digest or self.leader.gathers


@dataclass
class Sorted:
    """Deliveries that are due, by what is to be done with them now."""

    changes: list[Change] = field(default_factory=list)
    """For those that are dropped, given up, or have to wait."""

    ready: list[tuple[Delivery, Source]] = field(default_factory=list)
    probes: dict[str, list[tuple[Delivery, Source]]] = field(default_factory=dict)
    """By endpoint, where it was down and it is time to try again."""


def sort(
    due: Iterable[Delivery],
    sources: Mapping[str, Source],
    endpoints: Mapping[str, Endpoint],
    channels: Iterable[str],
    now: datetime,
) -> Sorted:
    """Tell what can be sent from what cannot, or not yet.

    Args:
        due: deliveries whose time has come.
        sources: what they tell of, by id.
        endpoints: those that have failed, by name.
        channels: the names of those that there are.
        now: the store's clock, UTC.
    """
    known = {CALLBACK, *channels}
    result = Sorted()
    for one in due:
        source = sources.get(one.source_id)
        endpoint = endpoints.get(one.endpoint)
        change: Change | None = None
        if source is None:
            change = delivery.drop(one, now, "what it tells of does not exist")
        elif one.asks and is_moot(one, source):
            change = delivery.drop(one, now, "it has been overtaken")
        elif one.channel not in known:
            change = delivery.give_up(one, now, f"there is no channel {one.channel!r} any more")
        elif endpoint is not None and endpoint.status is EndpointStatus.DISABLED:
            change = delivery.give_up(one, now, f"{one.channel} is disabled: {endpoint.error}")
        elif endpoint is not None and (until := endpoint.takes_at(now)):
            why = f"{one.channel} is down: {endpoint.error}"
            change = delivery.postpone(one, until, now, why, falls_back=True)
        elif endpoint is not None and endpoint.status is EndpointStatus.DOWN:
            result.probes.setdefault(endpoint.name, []).append((one, source))
        else:
            result.ready.append((one, source))
        if change is not None:
            result.changes.append(change)
    return result


def probing(sorted_: Sorted, taken: Taken, now: datetime) -> None:
    """Let one delivery try each endpoint that was down; the others wait for what it finds."""
    for name, waiting in sorted_.probes.items():
        granted, seconds = taken[probe(name)]
        sorted_.ready += waiting[:granted]
        until = now + timedelta(seconds=min(seconds, PROBED_SECONDS))
        for one, _ in waiting[granted:]:
            change = delivery.postpone(one, until, now, f"{name} is being tried", falls_back=True)
            sorted_.changes += [change] if change else []


def probe(endpoint: str) -> str:
    """Return the name of the allowance to try an endpoint that was down."""
    return f"probe:{endpoint}"


def agent_allowances(ready: Iterable[tuple[Delivery, Source]]) -> dict[str, int]:
    """Return how many messages of each agent there are for each lane that people read."""
    wanted: defaultdict[str, int] = defaultdict(int)
    for one, _ in ready:
        if one.reads == "people":
            wanted[_agent_allowance(one)] += 1
    return dict(wanted)


def _agent_allowance(one: Delivery) -> str:
    return f"pace:{one.lane}:agent:{one.agent_id}"


def lane_allowances(units: Iterable[Parcel]) -> dict[str, int]:
    """Return how many messages there are for each lane."""
    wanted: defaultdict[str, int] = defaultdict(int)
    for unit in units:
        if unit.leader.reads == "people":
            wanted[_lane_allowance(unit.leader)] += 1
    return dict(wanted)


def _lane_allowance(one: Delivery) -> str:
    return f"pace:{one.lane}"


def by_agent(sorted_: Sorted, taken: Taken, now: datetime) -> list[Parcel]:
    """Return what is ready as messages: one for each delivery, except that what goes over an
    agent's allowance makes one digest, or waits if there is nothing left of it. What has waited
    makes one as well."""
    lanes: defaultdict[str, list[tuple[Delivery, Source]]] = defaultdict(list)
    units = []
    for member in sorted_.ready:
        if member[0].reads == "people":
            lanes[_agent_allowance(member[0])].append(member)
        else:
            units.append(Parcel((member,)))
    for name, members in lanes.items():
        waited = tuple(member for member in members if member[0].gathers)
        parcels = [Parcel(waited)] if waited else []
        parcels += [Parcel((member,)) for member in members if not member[0].gathers]
        units += _within(name, parcels, taken, sorted_.changes, now)
    return units


def by_lane(units: Iterable[Parcel], sorted_: Sorted, taken: Taken, now: datetime) -> list[Parcel]:
    """Return the messages that go out now: what goes over a lane's allowance makes one digest, or
    waits if there is nothing left of it."""
    lanes: defaultdict[str, list[Parcel]] = defaultdict(list)
    going = []
    for unit in units:
        if unit.leader.reads == "people":
            lanes[_lane_allowance(unit.leader)].append(unit)
        else:
            going.append(unit)
    for name, parcels in lanes.items():
        going += _within(name, parcels, taken, sorted_.changes, now)
    return going


def _within(
    name: str, parcels: list[Parcel], taken: Taken, changes: list[Change], now: datetime
) -> list[Parcel]:
    granted, seconds = taken[name]
    if granted >= len(parcels):
        return parcels
    members = tuple(member for parcel in parcels for member in parcel.members)
    if granted:
        return [Parcel(members)]
    # On the second, so that what waits for one window is due at one moment, and is gathered.
    until = (now + timedelta(seconds=seconds, microseconds=999_999)).replace(microsecond=0)
    for one, _ in members:
        why = "messages come thick: gathered into one"
        change = delivery.postpone(one, until, now, why, gathers=True)
        changes += [change] if change else []
    return []


def may_join(waiting: Delivery, now: datetime) -> bool:
    """Tell whether a delivery that waits in a lane can go along with a digest: not if it failed
    before, and is to be tried again only later."""
    is_waiting = waiting.status is DeliveryStatus.PENDING and not waiting.attempts
    return is_waiting or is_due(waiting, now)
