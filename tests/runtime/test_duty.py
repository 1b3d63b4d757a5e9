"""Who is told and from when, who stands in for whom, and how working time is counted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safeguards.types import AlertSeverity
from safeguards_runtime.records.rota import Rota
from safeguards_runtime.reviewers import Directory
from safeguards_runtime.working_time import DAYS, HORIZON, WeeklyHours

BERLIN = "Europe/Berlin"
OFFICE = {"mon-fri": "09:00-17:00"}
MONDAY = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
NIGHT = datetime(2026, 1, 5, 23, 0, tzinfo=UTC)
SUNDAY = datetime(2026, 1, 4, 12, 0, tzinfo=UTC)
LATER = "2026-02-01"
WARNING, CRITICAL = AlertSeverity.WARNING, AlertSeverity.CRITICAL
HOUR = 3600


def directory(**people: dict[str, Any]) -> Directory:
    """Return a directory of people by id, in the group `g` unless they say otherwise."""
    reviewers = [{"id": i, "name": i, "groups": ["g"], **given} for i, given in people.items()]
    return Directory.model_validate({"version": 1, "reviewers": reviewers})


def told(
    people: Directory,
    now: datetime,
    severity: AlertSeverity = WARNING,
    without: tuple[str, ...] = (),
) -> list[str]:
    """Return who of `g` is told, each as `b`, `b for a` or `b from 07:00`."""
    return [
        one.reviewer.id
        + (f" for {one.for_reviewer.id}" if one.for_reviewer else "")
        + (f" from {one.not_before:%H:%M}" if one.not_before else "")
        for one in people.told(("g",), now, severity, without=without)
    ]


def test_a_directory_is_a_rota() -> None:
    rota: Rota = directory(a={})
    assert rota.is_covered(("g",), MONDAY, WARNING)


# --- who is told --------------------------------------------------------------------------------


def test_only_who_is_on_duty_is_told_as_long_as_anybody_is() -> None:
    people = directory(a={"working_hours": OFFICE}, b={"working_hours": {"sun": "09:00-17:00"}})
    assert told(people, MONDAY) == ["a"]
    assert told(people, SUNDAY) == ["b"]
    assert told(people, NIGHT) == ["a", "b"]
    assert people.is_covered(("g",), MONDAY, WARNING)
    assert not people.is_covered(("g",), NIGHT, CRITICAL)


def test_quiet_hours_hold_back_what_is_not_critical() -> None:
    people = directory(a={"quiet_hours": "22:00-07:00"})
    assert told(people, NIGHT) == ["a from 07:00"]
    assert told(people, NIGHT, CRITICAL) == ["a"]
    assert not people.is_covered(("g",), NIGHT, WARNING)
    assert people.is_covered(("g",), NIGHT, CRITICAL)


def test_whoever_is_awake_is_told_rather_than_who_sleeps() -> None:
    people = directory(a={"quiet_hours": "22:00-07:00"}, b={})
    assert told(people, NIGHT) == ["b"]


def test_quiet_hours_are_in_the_persons_own_zone() -> None:
    people = directory(a={"quiet_hours": "22:00-07:00", "time_zone": "America/New_York"})
    assert told(people, NIGHT) == ["a"]
    assert told(people, NIGHT + timedelta(hours=5)) == ["a from 12:00"]


def test_a_delegate_is_told_for_who_is_away() -> None:
    people = directory(a={"away_until": LATER, "delegate": "b"}, b={"groups": ["other"]})
    assert told(people, MONDAY) == ["b for a"]
    assert [r.id for r in people.mandates(people.reviewers[1], MONDAY)] == ["a"]
    assert people.mandates(people.reviewers[0], MONDAY) == ()


def test_a_delegate_who_is_asked_anyway_is_told_once_for_themself() -> None:
    people = directory(a={"away_until": LATER, "delegate": "b"}, b={})
    assert told(people, MONDAY) == ["b"]


def test_a_delegates_delegate_stands_in() -> None:
    away = {"away_until": LATER}
    people = directory(
        a={**away, "delegate": "b"}, b={**away, "delegate": "c", "groups": []}, c={"groups": []}
    )
    assert told(people, MONDAY) == ["c for a"]


def test_delegates_of_each_other_who_are_both_away_are_told_all_the_same() -> None:
    """Nobody else is there; one of them may yet look at their messages."""
    away = {"away_until": LATER}
    people = directory(a={**away, "delegate": "b"}, b={**away, "delegate": "a"})
    assert told(people, MONDAY) == ["a", "b"]
    assert not people.is_covered(("g",), MONDAY, CRITICAL)


def test_five_delegations_are_followed_and_no_sixth() -> None:
    chain = {
        f"r{n}": {"away_until": LATER, "delegate": f"r{n + 1}", "groups": []} for n in range(6)
    }
    people = directory(**chain, r6={"groups": []})
    named = {r.id: r for r in people.reviewers}
    assert people.stand_in(named["r1"], MONDAY) == named["r6"]
    assert people.stand_in(named["r0"], MONDAY) is None


def test_whoever_asks_is_neither_told_nor_counted_nor_stood_in_for() -> None:
    """Otherwise the only one who is told may be the one who must not answer."""
    people = directory(a={}, b={"working_hours": {"sun": "09:00-17:00"}})
    assert told(people, MONDAY, without=("A",)) == ["b"]
    assert not people.is_covered(("g",), MONDAY, WARNING, without=("A",))
    deputized = directory(a={"away_until": LATER, "delegate": "b"}, b={"groups": []})
    assert told(deputized, MONDAY, without=("a",)) == []
    assert told(deputized, MONDAY, without=("b",)) == ["a"]


# --- working time -------------------------------------------------------------------------------


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


@pytest.mark.parametrize(
    ("start", "hours", "end"),
    [
        ("2026-01-05T10:00", 2, "2026-01-05T12:00"),
        ("2026-01-05T16:00", 1, "2026-01-05T17:00"),
        ("2026-01-05T16:00", 2, "2026-01-06T10:00"),
        ("2026-01-05T20:00", 1, "2026-01-06T10:00"),
        ("2026-01-09T16:00", 2, "2026-01-12T10:00"),
        ("2026-03-27T16:00", 2, "2026-03-30T10:00"),  # the clocks go forward in between
        ("2026-10-23T16:00", 2, "2026-10-26T10:00"),  # and back
    ],
)
def test_only_working_hours_count(start: str, hours: int, end: str) -> None:
    people = directory(a={"working_hours": OFFICE, "time_zone": BERLIN})
    assert people.after(("g",), at(start, BERLIN), hours * HOUR) == at(end, BERLIN)


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 7), ("2026-10-25", 9)])
def test_a_night_shift_is_as_long_as_the_night(day: str, hours: int) -> None:
    """It begins on the evening before the clocks are changed."""
    people = directory(a={"working_hours": {"mon-sun": "22:00-06:00"}, "time_zone": BERLIN})
    start = at(f"{day}T00:00", BERLIN) - timedelta(hours=2)
    assert people.after(("g",), start, hours * HOUR) == at(f"{day}T06:00", BERLIN)
    assert people.after(("g",), start, hours * HOUR + 60) == at(f"{day}T22:01", BERLIN)


@pytest.mark.parametrize(
    ("hours", "day", "start", "end"),
    [
        # 02:30 is not there: with the offset before, it is 03:30.
        ("02:30-05:00", "2026-03-29", "2026-03-29T01:30+00:00", "2026-03-29T03:00+00:00"),
        # 02:30 is there twice: it is the first of them.
        ("02:30-05:00", "2026-10-25", "2026-10-25T00:30+00:00", "2026-10-25T04:00+00:00"),
    ],
)
def test_times_that_a_day_has_not_or_twice(hours: str, day: str, start: str, end: str) -> None:
    """As RFC 5545, 3.3.5, reads them."""
    zone = ZoneInfo(BERLIN)
    spans = WeeklyHours.daily(hours).between(
        at(f"{day}T00:00", BERLIN), at(f"{day}T12:00", BERLIN), zone
    )
    assert list(spans) == [(datetime.fromisoformat(start), datetime.fromisoformat(end))]


def test_time_counts_while_any_of_them_works() -> None:
    people = directory(
        a={"working_hours": {"mon": "09:00-12:00"}}, b={"working_hours": {"mon": "11:00-14:00"}}
    )
    start = at("2026-01-05T08:00")
    assert people.after(("g",), start, 5 * HOUR) == at("2026-01-05T14:00")
    assert people.after(("g",), start, 6 * HOUR) == at("2026-01-12T10:00")


def test_while_somebody_is_away_their_stand_ins_hours_count() -> None:
    people = directory(
        a={"working_hours": OFFICE, "away_until": "2026-01-06T12:00+00:00", "delegate": "b"},
        b={"working_hours": {"mon-fri": "18:00-20:00"}, "groups": []},
    )
    assert people.after(("g",), MONDAY, 2 * HOUR) == at("2026-01-05T20:00")
    assert people.after(("g",), MONDAY, 3 * HOUR) == at("2026-01-06T13:00")


def test_where_nobody_works_all_time_counts() -> None:
    people = directory(a={"away_until": "2027-01-01"})
    assert people.after(("g",), MONDAY, HOUR) == MONDAY + timedelta(hours=1)
    assert people.after(("nobody",), MONDAY, HOUR) == MONDAY + timedelta(hours=1)


def test_after_sixty_days_all_time_counts() -> None:
    people = directory(a={"working_hours": {"mon": "09:00-10:00"}})
    mondays = 8  # within sixty days of this one's noon
    assert people.after(("g",), MONDAY, (mondays + 5) * HOUR) == (
        MONDAY + HORIZON + timedelta(hours=5)
    )


# --- properties ---------------------------------------------------------------------------------

ZONES = (BERLIN, "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "UTC")
TICK = timedelta(minutes=30)
STARTS = [
    datetime(2026, month, day, tzinfo=UTC) + timedelta(hours=hour)
    for month, day in [(3, 7), (3, 28), (4, 4), (10, 3), (10, 24), (10, 31), (6, 1)]
    for hour in (0, 7, 12, 23)
]


@dataclass(frozen=True)
class Hours:
    """The same hours as the file has them and as the model counts them."""

    zone: str
    days: frozenset[int]
    start: int
    end: int

    def written(self) -> dict[str, Any]:
        span = f"{self.start:02}:00-{self.end:02}:00"
        named = ", ".join(DAYS[day] for day in sorted(self.days))
        return {"time_zone": self.zone, "working_hours": {named: span}}

    def hold(self, moment: datetime) -> bool:
        """Tell it by the clock on the wall. (No time of these is doubled or left out.)"""
        local = moment.astimezone(ZoneInfo(self.zone))
        if self.start < self.end:
            return local.weekday() in self.days and self.start <= local.hour < self.end
        evening = local.weekday() in self.days and local.hour >= self.start
        return evening or ((local.weekday() - 1) % 7 in self.days and local.hour < self.end)


OF_THE_DAY = st.sampled_from([4, 6, 9, 12, 17, 20, 23])
HOURS = st.builds(
    Hours,
    zone=st.sampled_from(ZONES),
    days=st.frozensets(st.integers(0, 6), min_size=1),
    start=OF_THE_DAY,
    end=OF_THE_DAY,
).filter(lambda hours: hours.start != hours.end)


@settings(deadline=None)
@given(
    everybody=st.lists(HOURS, min_size=1, max_size=3),
    start=st.sampled_from(STARTS),
    ticks=st.integers(1, 60),
)
def test_working_time_is_what_the_clock_on_the_wall_shows(
    everybody: list[Hours], start: datetime, ticks: int
) -> None:
    people = directory(**{f"r{n}": hours.written() for n, hours in enumerate(everybody)})
    moment, left = start, ticks
    while left and moment < start + HORIZON:
        left -= any(hours.hold(moment) for hours in everybody)
        moment += TICK
    expected = moment + left * TICK
    assert people.after(("g",), start, ticks * TICK.total_seconds()) == expected


@settings(deadline=None)
@given(
    hours=HOURS,
    start=st.sampled_from(STARTS),
    first=st.integers(0, 200_000),
    second=st.integers(1, 200_000),
)
def test_working_time_adds_up(hours: Hours, start: datetime, first: int, second: int) -> None:
    people = directory(a=hours.written())
    halfway = people.after(("g",), start, first)
    end = people.after(("g",), start, first + second)
    assert start <= halfway < end
    if end < start + HORIZON:
        assert people.after(("g",), halfway, second) == end


@st.composite
def directories(draw: st.DrawFn) -> Directory:
    """People with any hours, absences and delegates, loops among them."""
    ids = [f"r{n}" for n in range(draw(st.integers(1, 6)))]
    people: dict[str, dict[str, Any]] = {}
    for name in ids:
        given_of: dict[str, Any] = {"groups": draw(st.sampled_from([["g"], ["h"], ["g", "h"]]))}
        if draw(st.booleans()):
            given_of |= draw(HOURS).written()
        if draw(st.booleans()):
            given_of["quiet_hours"] = draw(st.sampled_from(["22:00-07:00", "11:00-13:00"]))
        if draw(st.booleans()):
            given_of["away_until"] = LATER
        delegate = draw(st.sampled_from([None, *ids]))
        if delegate != name:
            given_of["delegate"] = delegate
        people[name] = given_of
    return directory(**people)


TIMES = st.sampled_from([MONDAY, NIGHT, SUNDAY, datetime(2026, 2, 2, tzinfo=UTC)])


@settings(deadline=None)
@given(people=directories(), now=TIMES, severity=st.sampled_from(AlertSeverity))
def test_whoever_is_told_is_there_and_told_once(
    people: Directory, now: datetime, severity: AlertSeverity
) -> None:
    assigned = people.told(("g",), now, severity)
    ids = [one.reviewer.id for one in assigned]
    assert len(ids) == len(set(ids))
    assert bool(ids) == bool(people.members(("g",)))
    on_duty = {one.reviewer.id for one in assigned if one.reviewer.is_on_duty(now, severity)}
    assert on_duty == (set(ids) if people.is_covered(("g",), now, severity) else set())
    somebody_is_there = any(people.stand_in(m, now) for m in people.members(("g",)))
    for one in assigned:
        assert one.reviewer.is_away(now) is not somebody_is_there
        assert (one.for_reviewer is None) == ("g" in one.reviewer.groups)
        if one.for_reviewer is not None:
            assert one.for_reviewer in people.mandates(one.reviewer, now)
        assert one.not_before is None or one.not_before > now


@settings(deadline=None)
@given(people=directories(), now=TIMES)
def test_standing_in_ends_with_somebody_who_is_there(people: Directory, now: datetime) -> None:
    for reviewer in people.reviewers:
        other = people.stand_in(reviewer, now)
        assert other is None or not other.is_away(now)
        assert (other == reviewer) == (not reviewer.is_away(now))
        holders = [r for r in people.reviewers if reviewer in people.mandates(r, now)]
        assert holders == ([] if other in (None, reviewer) else [other])
