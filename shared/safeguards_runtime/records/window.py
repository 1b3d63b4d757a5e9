"""What safeguards count over time, exactly: windows, and what actions reserve in them. No I/O.

A window is read, judged by and written together with the actions that add to it, or not at all. So
two evaluators cannot both let the last of it through.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict

from safeguards.identifiers import named_id
from safeguards.plugins.windows import Measure, Slots, Total, counted, slot_seconds, total
from safeguards_runtime.records.record import Change, Record
from safeguards_runtime.topology import Service


class Slot(BaseModel):
    """What was counted in one slot of time."""

    model_config = ConfigDict(frozen=True)

    amount: Decimal
    count: int


class Window(Record):
    """What one safeguard has counted under one name. No part of the audit: the actions are."""

    has_history: ClassVar = False

    seconds: int
    slots: dict[int, Slot] = {}
    """By their number: see `safeguards.plugins.windows`."""

    last_counted_at: datetime

    def forgotten_at(self) -> datetime:
        """Return when nothing of it counts any more."""
        return self.last_counted_at + timedelta(seconds=self.seconds + slot_seconds(self.seconds))

    @property
    def totals(self) -> Slots:
        """What it holds, by the number of the slot."""
        return {number: Total(slot.amount, slot.count) for number, slot in self.slots.items()}


class Reservation(BaseModel):
    """What an action counts in a window, or will once it may run."""

    model_config = ConfigDict(frozen=True)

    window_id: str
    safeguard: str
    """By its name in the policy file."""

    name: str
    """What is counted: see `Measure`."""

    seconds: int
    amount: Decimal
    once_allowed: bool
    at: datetime
    """When it was judged: what is given back leaves the slot that it was counted in."""

    @property
    def measure(self) -> Measure:
        """What the safeguard asked to be counted."""
        return Measure(self.name, self.seconds, self.amount, self.once_allowed)


def window_id(safeguard: str, measure: Measure) -> str:
    """Return the identifier of the window in which a safeguard counts a measure.

    Args:
        safeguard: its name in the policy file.
        measure: what it counts.
    """
    return named_id("win", f"{len(safeguard)}:{safeguard}{measure.seconds}:{measure.name}")


def reservations(
    measures: Mapping[str, Iterable[Measure]], now: datetime
) -> tuple[Reservation, ...]:
    """Return what an action counts.

    Args:
        measures: what each safeguard counts of it, by the safeguard's name in the policy file.
        now: when it is judged, UTC.
    """
    return tuple(
        Reservation(
            window_id=window_id(safeguard, measure),
            safeguard=safeguard,
            name=measure.name,
            seconds=measure.seconds,
            amount=measure.amount,
            once_allowed=measure.once_allowed,
            at=now,
        )
        for safeguard, found in measures.items()
        for measure in dict.fromkeys(found)
    )


class Ledger:
    """Windows while actions are judged by them, one after the other: each sees what those before
    it have reserved.

    Args:
        windows: as they stand in the store, by their ids; None where there is none.
        now: the store's clock, UTC.
    """

    def __init__(self, windows: Mapping[str, Window | None], now: datetime) -> None:
        self.now = now
        self._before = windows
        self._after: dict[str, Window] = {}

    @classmethod
    def of(cls, ids: Sequence[str], records: Sequence[Record | None], now: datetime) -> Self:
        """Return the ledger of windows as they were loaded, in the order of their ids."""
        windows = {
            record_id: record if isinstance(record, Window) else None
            for record_id, record in zip(ids, records, strict=True)
        }
        return cls(windows, now)

    def totals(self, safeguard: str, measures: Iterable[Measure]) -> dict[Measure, Total]:
        """Return what the windows of a safeguard hold."""
        return {measure: self._total(safeguard, measure) for measure in measures}

    def _total(self, safeguard: str, measure: Measure) -> Total:
        window = self._standing(window_id(safeguard, measure))
        return total(window.totals, measure.seconds, self.now) if window else Total()

    def _standing(self, record_id: str) -> Window | None:
        if record_id in self._after:
            return self._after[record_id]
        return self._before[record_id]

    def reserve(self, wanted: Iterable[Reservation]) -> None:
        """Count what an action reserves from when it is judged."""
        self._count((one for one in wanted if not one.once_allowed), 1)

    def release(self, held: Iterable[Reservation]) -> None:
        """Give back what an action has reserved."""
        self._count((one for one in held if not one.once_allowed), -1)

    def allow(self, wanted: Iterable[Reservation]) -> None:
        """Count what counts once an action may run."""
        self._count((one for one in wanted if one.once_allowed), 1)

    def _count(self, entries: Iterable[Reservation], sign: int) -> None:
        for entry in entries:
            standing = self._standing(entry.window_id)
            slots = standing.totals if standing else {}
            added = Total(sign * entry.amount, sign)
            after = counted(slots, entry.seconds, added, entry.at, self.now)
            last = max(entry.at, standing.last_counted_at) if standing else entry.at
            blank = Window(id=entry.window_id, seconds=entry.seconds, last_counted_at=last)
            update = {
                "slots": {n: Slot(amount=t.amount, count=t.count) for n, t in after.items()},
                "last_counted_at": last,
            }
            self._after[entry.window_id] = (standing or blank).model_copy(update=update)

    def changes(self) -> tuple[Change, ...]:
        """Return the changes of the windows, to be written together with the actions'."""
        actor = Service.EVALUATOR.value
        return tuple(
            Change(self._before[record_id], after, "counted", actor, self.now)
            for record_id, after in self._after.items()
        )
