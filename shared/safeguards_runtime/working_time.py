"""Hours of the week in a time zone: when somebody works, and when they want no message. No I/O.

Times of day are wall-clock times of the zone. A time that a day has twice, or not at all, because
the clocks are changed is read as RFC 5545, 3.3.5, has it: the first of the two, or with the offset
before the change.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

HORIZON = timedelta(days=60)
"""How far ahead working time is counted; what is left then passes as plain time."""

_SPAN = re.compile(r"([0-9]{1,2}):([0-9]{2})\s*-\s*([0-9]{1,2}):([0-9]{2})")
_DAY_MINUTES = 24 * 60


@dataclass(frozen=True)
class Span:
    """From one minute of a day to another, which may be on the next day."""

    start_minute: int
    end_minute: int

    @classmethod
    def parse(cls, text: str) -> Span:
        """Read `09:00-17:30`. An end that is not after the start is on the next day.

        Raises:
            ValueError: saying what does not fit.
        """
        match = _SPAN.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"{text!r} is no span of time; write it as 09:00-17:30")
        start, end = (int(match[n]) * 60 + int(match[n + 1]) for n in (1, 3))
        if int(match[2]) > 59 or int(match[4]) > 59 or start >= _DAY_MINUTES or end > _DAY_MINUTES:
            raise ValueError(f"{text!r}: times of day are from 00:00 to 24:00")
        if start == end:
            raise ValueError(f"{text!r} is empty; a whole day is 00:00-24:00")
        return cls(start, end if end > start else end + _DAY_MINUTES)

    def on(self, day: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
        """Return the start and the end, UTC, of the span that begins on `day`."""
        midnight = datetime.combine(day, time())
        start, end = (
            (midnight + timedelta(minutes=minute)).replace(tzinfo=zone).astimezone(UTC)
            for minute in (self.start_minute, self.end_minute)
        )
        return start, end


@dataclass(frozen=True)
class WeeklyHours:
    """Spans of time for each day of the week, Monday first."""

    spans: tuple[tuple[Span, ...], ...]

    @classmethod
    def parse(cls, value: Any) -> WeeklyHours:
        """Read `{mon-fri: "09:00-12:00, 13:00-17:30", sat: "10:00-12:00"}`.

        Days are `mon`, `mon-fri` or `mon, wed`; a day may have several spans, and one may go on
        past midnight. Days that are not named have none.

        Raises:
            ValueError: saying what does not fit.
        """
        if not isinstance(value, dict) or not value:
            raise ValueError('write days and hours, such as {mon-fri: "09:00-17:30"}')
        found: dict[int, tuple[Span, ...]] = {}
        for days, hours in value.items():
            if not isinstance(days, str) or not isinstance(hours, str):
                raise ValueError(f'{days}: write hours in quotes, such as "09:00-17:30"')
            spans = tuple(Span.parse(part) for part in hours.split(","))
            for day in _days(days):
                if day in found:
                    raise ValueError(f"{DAYS[day]} is given twice")
                found[day] = spans
        return cls(tuple(found.get(day, ()) for day in range(7)))

    @classmethod
    def daily(cls, value: Any) -> WeeklyHours:
        """Read `22:00-07:00`, for every day.

        Raises:
            ValueError: saying what does not fit.
        """
        if not isinstance(value, str):
            raise ValueError('write hours in quotes, such as "22:00-07:00"')
        span = Span.parse(value)
        if span.end_minute - span.start_minute >= _DAY_MINUTES:
            raise ValueError(f"{value!r} is always")
        return cls(((span,),) * 7)

    def between(
        self, start: datetime, end: datetime, zone: ZoneInfo
    ) -> Iterator[tuple[datetime, datetime]]:
        """Return the spans that touch `start` to `end`, UTC, uncut and in no order."""
        day = start.astimezone(zone).date() - timedelta(days=1)
        last = end.astimezone(zone).date()
        while day <= last:
            for span in self.spans[day.weekday()]:
                begins, ends = span.on(day, zone)
                if begins < ends and begins < end and ends > start:
                    yield begins, ends
            day += timedelta(days=1)

    def end_of_span(self, moment: datetime, zone: ZoneInfo) -> datetime | None:
        """Return when the span that holds `moment` ends, UTC; None if none does."""
        just_after = moment + timedelta.resolution
        holding = (
            ends for begins, ends in self.between(moment, just_after, zone) if begins <= moment
        )
        return max(holding, default=None)


def _days(text: str) -> list[int]:
    """Return the days that `mon`, `mon-fri` or `sat, sun` names, Monday being 0."""
    found: list[int] = []
    for part in text.lower().split(","):
        first, dash, last = (word.strip() for word in part.partition("-"))
        for word in (first, last) if dash else (first,):
            if word not in DAYS:
                raise ValueError(f"{text!r}: the days are {', '.join(DAYS)}, and mon-fri a range")
        start = DAYS.index(first)
        length = (DAYS.index(last) - start) % 7 + 1 if dash else 1
        found += [(start + n) % 7 for n in range(length)]
    return found


@dataclass(frozen=True)
class Shift:
    """Somebody's working hours in their zone. No hours: at all times."""

    hours: WeeklyHours | None
    zone: ZoneInfo


def work_within(
    shifts: Collection[Shift], start: datetime, end: datetime
) -> list[tuple[datetime, datetime]]:
    """Return when at least one of the shifts works from `start` to `end`: UTC, in order, apart."""
    if any(shift.hours is None for shift in shifts):
        return [(start, end)]
    spans = sorted(
        (max(begins, start), min(ends, end))
        for shift in shifts
        if shift.hours is not None
        for begins, ends in shift.hours.between(start, end, shift.zone)
    )
    union: list[tuple[datetime, datetime]] = []
    for begins, ends in spans:
        if union and begins <= union[-1][1]:
            union[-1] = (union[-1][0], max(union[-1][1], ends))
        else:
            union.append((begins, ends))
    return union
