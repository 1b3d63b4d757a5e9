"""Duty: who of several people is told now, and when they have worked for so long. No I/O.

Three things keep somebody from being told at once. Who is *away* is told nothing: their delegate
stands in for them. Who is outside their *working hours* is told only while nobody else of those
who are asked is on duty. In somebody's *quiet hours* they count as off duty as well, and what they
are told nevertheless waits for the end of these hours; unless it is CRITICAL, which does not heed
them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from safeguards.types import AlertSeverity
from safeguards_runtime.reviewer import Reviewer
from safeguards_runtime.working_time import HORIZON, work_within


@dataclass(frozen=True)
class Assignment:
    """One person whom a message goes to.

    Attributes:
        reviewer: who is told.
        for_reviewer: for whom they stand in; None if they are asked themselves.
        not_before: the end of their quiet hours, if they are in them; None: at once.
    """

    reviewer: Reviewer
    for_reviewer: Reviewer | None = None
    not_before: datetime | None = None


def told_of(
    people: Sequence[Assignment], now: datetime, severity: AlertSeverity
) -> tuple[Assignment, ...]:
    """Return who of `people` is told now, and from when: only who is on duty, if anybody is."""
    on_duty = [one for one in people if one.reviewer.is_on_duty(now, severity)]
    return tuple(
        replace(one, not_before=one.reviewer.quiet_until(now, severity))
        for one in on_duty or people
    )


def worked(
    acting: Callable[[datetime], Iterable[Reviewer]],
    changes: Collection[datetime],
    start: datetime,
    seconds: float,
) -> datetime:
    """Return the moment when `seconds` have passed since `start` during which somebody worked.

    If nobody works within 60 days, all time counts; after 60 days all of what is left does.

    Args:
        acting: says who is there at a time.
        changes: when that may become another, UTC.
        start: since when.
        seconds: how much working time.
    """
    start, left = start.astimezone(UTC), timedelta(seconds=seconds)
    if left <= timedelta():
        return start
    end = start + HORIZON
    days = {start + timedelta(days=n) for n in range(HORIZON.days + 1)}
    somebody_worked = False
    for begins, ends in pairwise(sorted(days | {t for t in changes if start < t < end})):
        shifts = {reviewer.shift for reviewer in acting(begins)}
        for work_begins, work_ends in work_within(shifts, begins, ends):
            somebody_worked = True
            if work_begins + left <= work_ends:
                return work_begins + left
            left -= work_ends - work_begins
    return (end if somebody_worked else start) + left
