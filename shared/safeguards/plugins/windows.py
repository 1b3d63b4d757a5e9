"""Safeguards that judge an action by what came before it: what is counted, over which time."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Any

from safeguards.plugins.base import Safeguard
from safeguards.text import visible
from safeguards.types import Agent, AlertSeverity, SafetyAlert

SLOTS = 60
"""Into how many slots a window is divided. What was counted leaves a window with its whole slot:
it counts at least as long as the window, and at most a sixtieth longer."""

MINUTE = 60
HOUR = 60 * MINUTE
DAY = 24 * HOUR
MONTH = 30 * DAY
YEAR = 365 * DAY
MAX_SECONDS = YEAR
"""How long a window is at most, in seconds."""

CLOCK_STEP = timedelta(minutes=1)
"""How far a clock may be put back without anything being forgotten that is still in a window."""

_MAX_DIGITS = 100
"""How many digits of what is counted may stand before the point, and how many after it."""

_EXACT = Context(prec=3 * _MAX_DIGITS, traps=[Inexact, InvalidOperation])
"""Adds exactly, or not at all. The default of 28 digits would let one large amount, once given
back, take all that was counted before with it."""


@dataclass(frozen=True)
class Measure:
    """What one action adds to a window.

    Attributes:
        name: what is counted, such as `agent:trader:EUR`. One safeguard counts all measures of
            one name and length together. It ends in the store: no text of an agent's, but a digest.
        seconds: how long the window is, at most a year.
        amount: what the action adds; not negative, of at most 100 digits on each side of the point.
        once_allowed: whether the action counts only when it may run. Otherwise it counts as soon
            as it is judged, and what it counted is given back if it may not.
    """

    name: str
    seconds: int
    amount: Decimal = Decimal(1)
    once_allowed: bool = False

    def __post_init__(self) -> None:
        """Refuse a window without end, and what would make room in one."""
        if not 1 <= self.seconds <= MAX_SECONDS:
            raise ValueError(f"a window has 1 to {MAX_SECONDS} seconds, not {self.seconds}")
        exponent = self.amount.as_tuple().exponent
        if not isinstance(exponent, int) or self.amount.is_signed():
            raise ValueError(f"{self.amount} cannot be counted")
        if exponent < -_MAX_DIGITS or self.amount.adjusted() >= _MAX_DIGITS:
            raise ValueError(f"an amount of more than {_MAX_DIGITS} digits cannot be counted")


@dataclass(frozen=True)
class Total:
    """What a window holds: what actions added to it, and how many they were."""

    amount: Decimal = Decimal(0)
    count: int = 0

    def __add__(self, other: Total) -> Total:
        return Total(_EXACT.add(self.amount, other.amount), self.count + other.count)

    def __sub__(self, other: Total) -> Total:
        return Total(_EXACT.subtract(self.amount, other.amount), self.count - other.count)


Slots = Mapping[int, Total]
"""What was counted, by the number of the slot of time. Immutable: each change returns others."""


def slot_seconds(seconds: int) -> int:
    """Return how long a slot of a window of so many seconds is, in seconds."""
    return math.ceil(seconds / SLOTS)


def total(slots: Slots, seconds: int, now: datetime) -> Total:
    """Return what a window of so many seconds holds that ends now."""
    first = _first_slot(seconds, now)
    return sum((held for slot, held in slots.items() if slot >= first), Total())


def counted(slots: Slots, seconds: int, added: Total, at: datetime, now: datetime) -> Slots:
    """Return the slots with what an action of `at` adds, without those that no window reaches, even
    if the clock is put back a little.

    What is given back is added as a negative total, at the time at which it was counted. If its
    slot is forgotten, nothing is: less than nothing would be room that there is not.
    """
    slot = math.floor(at.timestamp()) // slot_seconds(seconds)
    first = _first_slot(seconds, now - CLOCK_STEP)
    after = {**slots, slot: slots.get(slot, Total()) + added}
    return {slot: held for slot, held in after.items() if slot >= first and held.count > 0}


def _first_slot(seconds: int, now: datetime) -> int:
    return math.floor((now.timestamp() - seconds) / slot_seconds(seconds))


_TIDY_AFTER = 1000
"""How many windows a process of the user's own keeps before it looks for empty ones."""


class WindowSafeguard(Safeguard):
    """Judges an action by what came before it.

    The services count in the store, exactly, however many of them judge at once, and give back what
    a rejected action had counted. In a process of the user's own it counts what it has itself
    judged without an alert, and what `count_allowed` is told, as long as the process lives.
    """

    def __init__(self) -> None:
        super().__init__()
        self._memory: dict[tuple[str, int], Slots] = {}
        self._tidy_at = _TIDY_AFTER

    @abstractmethod
    def measures(self, agent: Agent, context: dict[str, Any]) -> Sequence[Measure]:
        """Return what an action adds to which windows; nothing if it is of no concern here. Pure.
        At most one measure of a name and length.

        Args:
            agent: who wants to act.
            context: the action's arguments, with its `action_type`.
        """

    @abstractmethod
    def check_windows(
        self,
        agent: Agent,
        context: dict[str, Any],
        totals: Mapping[Measure, Total],
        now: datetime,
    ) -> list[SafetyAlert]:
        """Return what is wrong with an action after what came before it, or an empty list. Pure.

        Args:
            agent: who wants to act.
            context: the action's arguments, with its `action_type`.
            totals: what each window of `measures` holds without this action.
            now: when it is judged, UTC.
        """

    def check(self, agent: Agent, context: dict[str, Any]) -> list[SafetyAlert]:
        """Return what is wrong with an action by itself: nothing, unless a safeguard says more."""
        return []

    def count_allowed(self, agent: Agent, context: dict[str, Any]) -> None:
        """Count an action that raised an alert here and may run all the same, since a person has
        approved it. For a process of the user's own: the services know by themselves.

        Args:
            agent: who acts.
            context: the action's arguments, with its `action_type`.
        """
        with self._lock:
            self._count(self.measures(agent, context), datetime.now(UTC))

    def _found(self, agent: Agent, context: dict[str, Any]) -> list[SafetyAlert]:
        now = datetime.now(UTC)
        measures = self.measures(agent, context)
        totals = {
            measure: total(
                self._memory.get((measure.name, measure.seconds), {}), measure.seconds, now
            )
            for measure in measures
        }
        alerts = self.check(agent, context) + self.check_windows(agent, context, totals, now)
        if not alerts:
            self._count(measures, now)
        return alerts

    def _count(self, measures: Sequence[Measure], now: datetime) -> None:
        for measure in dict.fromkeys(measures):
            key = (measure.name, measure.seconds)
            slots = self._memory.get(key, {})
            added = Total(measure.amount, 1)
            self._memory[key] = counted(slots, measure.seconds, added, now, now)
        if len(self._memory) >= self._tidy_at:
            self._memory = {
                key: slots for key, slots in self._memory.items() if total(slots, key[1], now).count
            }
            self._tidy_at = 2 * len(self._memory) + _TIDY_AFTER

    def _alert(
        self,
        agent: Agent,
        context: dict[str, Any],
        title: str,
        description: str,
        severity: AlertSeverity = AlertSeverity.ERROR,
        **metadata: Any,
    ) -> SafetyAlert:
        """Return an alert that says which safeguard raised it, and about whom and what."""
        action_type = visible(str(context.get("action_type")), single_line=True, limit=100)
        about = {"safeguard": self.name, "agent_id": agent.id, "action_type": action_type}
        return SafetyAlert(title, description, severity, {**about, **metadata})
