"""The figures of the insights, against data made by hand and by chance."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeguards.types import ActionStatus
from safeguards_runtime.records.answers import Answered
from services.gateway.console.operations import pictures
from services.gateway.console.operations.figures import Ended, Insights, insights

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
SINCE = datetime(2026, 11, 18, 23, tzinfo=UTC)  # midnight in Berlin


def ended(seconds: float | None = 10, **fields: Any) -> Ended:
    plain: dict[str, Any] = {
        "agent_id": "trader",
        "policies": ("payments",),
        "status": ActionStatus.APPROVED,
        "ended_at": NOW - timedelta(hours=1),
    }
    return Ended(seconds=seconds, **{**plain, **fields})


def of(*requests: Ended) -> Insights:
    return insights(requests, SINCE, NOW, BERLIN)


def test_none() -> None:
    found = of()
    assert (found.overall.total, found.overall.median_seconds) == (0, None)
    assert found.overall.p90_seconds is None
    assert found.overall.approval_rate is None
    assert len(found.days) == 7
    assert pictures.columns(found.days).pieces == ()
    assert pictures.bars(found.by_agent).rows == ()


def test_one() -> None:
    found = of(ended(42))
    assert (found.overall.median_seconds, found.overall.p90_seconds) == (42, 42)
    assert found.overall.approval_rate == 1


def test_ten_of_known_median_and_ninetieth() -> None:
    """1, 2, … 10: half are done by 5.5, nine of ten by 9."""
    found = of(*(ended(float(seconds)) for seconds in (3, 1, 4, 10, 5, 9, 2, 6, 8, 7)))
    assert (found.overall.median_seconds, found.overall.p90_seconds) == (5.5, 9)


def test_only_what_people_decide_counts_for_their_rate_and_time() -> None:
    found = of(
        ended(10),
        ended(20, status=ActionStatus.MODIFIED),
        ended(30, status=ActionStatus.REJECTED),
        ended(40, status=ActionStatus.REJECTED),
        ended(None, status=ActionStatus.REJECTED),
        ended(None, status=ActionStatus.TIMED_OUT, is_silent=True),
        ended(None, is_silent=True),
        ended(None, status=ActionStatus.CANCELLED),
    )
    tally = found.overall
    assert (tally.approved, tally.changed, tally.rejected) == (1, 1, 3)
    assert (tally.timed_out, tally.withdrawn, tally.total) == (2, 1, 8)
    assert (tally.decided, tally.approval_rate, tally.median_seconds) == (4, 0.5, 25)


def test_hasty_answers_are_those_under_three_seconds_after_the_first_look() -> None:
    found = of(
        ended(answers=(Answered("sam", 2.9), Answered("kim", 3.0))),
        ended(answers=(Answered("sam", None),)),
        ended(answers=(Answered("sam", 60.0),)),
    )
    sam, kim = found.by_reviewer["sam"], found.by_reviewer["kim"]
    assert (sam.answers, sam.timed, sam.hasty, sam.share) == (3, 2, 1, 0.5)
    assert (kim.timed, kim.hasty) == (1, 0)


def test_a_day_is_the_readers() -> None:
    """Half past eleven at night in London is the next day in Berlin."""
    found = of(ended(ended_at=datetime(2026, 11, 20, 23, 30, tzinfo=UTC)))
    assert [day.day for day, tally in found.days.items() if tally.total] == [21]


def test_several_policies_each_count_and_none_is_asking_directly() -> None:
    found = of(ended(policies=("payments", "expenses")), ended(policies=()))
    assert {name: tally.total for name, tally in found.by_policy.items()} == {
        "payments": 1,
        "expenses": 1,
        "": 1,
    }


REQUESTS = st.builds(
    ended,
    st.floats(0, 10**7),
    status=st.sampled_from([s for s in ActionStatus if s.is_final]),
    agent_id=st.sampled_from("abc"),
    ended_at=st.datetimes(datetime(2026, 11, 10), datetime(2026, 11, 30), timezones=st.just(UTC)),
)


@given(st.lists(REQUESTS, max_size=60))
def test_nothing_is_counted_twice_or_lost(requests: list[Ended]) -> None:
    found = insights(requests, SINCE, NOW, BERLIN)
    wanted = [one for one in requests if SINCE <= one.ended_at <= NOW]
    assert found.overall.total == len(wanted)
    assert sum(tally.total for tally in found.days.values()) == len(wanted)
    assert sum(tally.total for tally in found.by_agent.values()) == len(wanted)
    assert sum(found.times) == found.overall.decided
    median, nine_of_ten = found.overall.median_seconds, found.overall.p90_seconds
    if wanted:
        assert median is not None
        assert nine_of_ten is not None
        times = found.overall.seconds
        assert sum(t <= median for t in times) * 2 >= len(times)
        assert sum(t <= nine_of_ten for t in times) >= 0.9 * len(times)
        assert sum(t < nine_of_ten for t in times) < 0.9 * len(times)


@given(st.lists(REQUESTS, max_size=60))
def test_pictures_stay_in_their_frame(requests: list[Ended]) -> None:
    found = insights(requests, SINCE, NOW, BERLIN)
    drawn = (pictures.columns(found.days), pictures.histogram(found.times, found.overall))
    for piece in (piece for picture in drawn for piece in picture.pieces):
        assert piece.y >= -0.1
        assert piece.y + piece.height <= pictures.HEIGHT + 0.1
        assert 0 <= piece.x <= piece.x + piece.width <= 100.01
    for row in pictures.bars(found.by_agent).rows:
        assert sum(piece.width for piece in row.pieces) == pytest.approx(
            100 * found.by_agent[row.name].total / max(t.total for t in found.by_agent.values()),
            abs=0.1,
        )
