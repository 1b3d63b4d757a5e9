"""The rules of an endpoint: when nothing is sent to it, and when it is tried again."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeguards_runtime.records import Endpoint
from safeguards_runtime.records import endpoint as rules
from safeguards_runtime.records.endpoint import (
    DOWN_SECONDS,
    FAILURES_TO_OPEN,
    MAX_WISH_SECONDS,
    EndpointStatus,
)
from tests.runtime.samples import NOW, at, done

NAME = "email"


def _failed(
    endpoint: Endpoint | None = None,
    times: int = 1,
    now: datetime = NOW,
    *,
    is_gone: bool = False,
    retry_after_seconds: float | None = None,
) -> Endpoint:
    """Return the endpoint after so many failures at once."""
    for _ in range(times):
        change = rules.failed(
            endpoint,
            NAME,
            now,
            "refused",
            is_gone=is_gone,
            retry_after_seconds=retry_after_seconds,
        )
        endpoint = done(change, Endpoint)
    assert endpoint is not None
    return endpoint


def _held_seconds(endpoint: Endpoint, now: datetime = NOW) -> float:
    until = endpoint.takes_at(now)
    return (until - now).total_seconds() if until else 0


def test_a_few_failures_in_a_row_change_nothing() -> None:
    endpoint = _failed(times=FAILURES_TO_OPEN - 1)
    assert (endpoint.status, endpoint.takes_at(NOW)) == (EndpointStatus.UP, None)


def test_five_failures_in_a_row_take_it_down_for_a_while() -> None:
    endpoint = _failed(times=FAILURES_TO_OPEN)
    assert endpoint.status is EndpointStatus.DOWN
    assert _held_seconds(endpoint) == DOWN_SECONDS[0]
    assert endpoint.takes_at(at(DOWN_SECONDS[0])) is None
    assert endpoint.error == "refused"


def test_a_success_between_failures_counts_them_anew() -> None:
    endpoint = done(rules.succeeded(_failed(times=4), NOW), Endpoint)
    assert endpoint.failures == 0
    assert _failed(endpoint, 4).status is EndpointStatus.UP
    assert _failed(endpoint, 5).status is EndpointStatus.DOWN


def test_each_time_in_a_row_it_is_down_for_longer() -> None:
    """One failed try is enough for the next time; the longest wait stays the longest."""
    endpoint, now, waits = _failed(times=FAILURES_TO_OPEN), NOW, []
    for _ in range(len(DOWN_SECONDS) + 2):
        waits.append(_held_seconds(endpoint, now))
        now += timedelta(seconds=waits[-1])
        endpoint = _failed(endpoint, now=now)
    assert waits == [*DOWN_SECONDS, DOWN_SECONDS[-1], DOWN_SECONDS[-1]]


@given(st.integers(0, 200))
def test_what_was_under_way_when_it_went_down_does_not_keep_it_down_for_longer(more: int) -> None:
    """Fifty messages that fail at the same moment are one reason to wait, not fifty."""
    endpoint = _failed(times=FAILURES_TO_OPEN + more)
    assert _held_seconds(endpoint) == DOWN_SECONDS[0]
    assert endpoint.openings == 1


def test_a_success_opens_it_again() -> None:
    """And the next time is the first time."""
    endpoint = _failed(_failed(times=5), now=at(DOWN_SECONDS[0]))
    assert endpoint.openings == 2
    up = done(rules.succeeded(endpoint, at(200)), Endpoint)
    assert (up.status, up.takes_at(at(200)), up.failures) == (EndpointStatus.UP, None, 0)
    assert _held_seconds(_failed(up, 5)) == DOWN_SECONDS[0]


def test_a_success_of_one_that_never_failed_is_nothing_to_write() -> None:
    assert rules.succeeded(None, NOW) is None
    up = done(rules.succeeded(_failed(), NOW), Endpoint)
    assert rules.succeeded(up, NOW) is None


def test_it_is_left_alone_at_once_if_it_asks_for_it() -> None:
    """It is not broken for that: when the time is over, everything is sent, without a probe. What
    was under way and gets through does not shorten it."""
    endpoint = _failed(retry_after_seconds=90)
    assert (endpoint.status, _held_seconds(endpoint)) == (EndpointStatus.UP, 90)
    assert endpoint.openings == 0
    assert rules.succeeded(endpoint, NOW) is None


@pytest.mark.parametrize("wish", [0.0, -1.0, -1e300, float("nan"), float("-inf"), None])
def test_a_wish_that_is_none_is_not_heeded(wish: float | None) -> None:
    assert _failed(retry_after_seconds=wish).status is EndpointStatus.UP


@pytest.mark.parametrize("wish", [86_401.0, 1e9, 1e300, float("inf")])
def test_nothing_can_ask_for_more_than_a_day(wish: float) -> None:
    assert _held_seconds(_failed(retry_after_seconds=wish)) == MAX_WISH_SECONDS


@pytest.mark.parametrize(("wish", "held"), [(1.0, DOWN_SECONDS[0]), (3600.0, 3600)])
def test_the_longer_of_its_wish_and_our_own_wait_counts(wish: float, held: float) -> None:
    """Whoever always says "in a second" is not tried each second."""
    assert _held_seconds(_failed(_failed(times=4), retry_after_seconds=wish)) == held


def test_a_wish_does_not_shorten_a_wait_that_runs() -> None:
    down = _failed(times=5)
    assert _held_seconds(_failed(down, retry_after_seconds=1)) == DOWN_SECONDS[0]
    assert _held_seconds(_failed(down, retry_after_seconds=500)) == 500


def test_one_that_is_gone_is_disabled_until_it_is_enabled() -> None:
    """Neither time nor success nor failure changes that."""
    gone = _failed(is_gone=True)
    assert gone.status is EndpointStatus.DISABLED
    assert rules.succeeded(gone, at(1e6)) is None
    assert rules.failed(gone, NAME, at(1e6), "refused") is None
    assert rules.failed(gone, NAME, at(1e6), "wait", retry_after_seconds=60) is None
    change = rules.enable(gone, at(1e6), "operator:kim")
    assert change is not None
    assert change.actor == "operator:kim"
    up = done(change, Endpoint)
    assert (up.status, up.failures) == (EndpointStatus.UP, 0)


def test_one_that_is_down_can_be_enabled_before_its_time() -> None:
    up = done(rules.enable(_failed(times=5), NOW, "operator:kim"), Endpoint)
    assert up.takes_at(NOW) is None
    assert rules.enable(up, NOW, "operator:kim") is None


@pytest.mark.parametrize("before", [0, 4, 5])
def test_one_that_is_gone_is_disabled_whatever_it_was(before: int) -> None:
    endpoint = _failed(_failed(times=before) if before else None, is_gone=True)
    assert (endpoint.status, endpoint.down_until) == (EndpointStatus.DISABLED, None)


def test_all_that_have_failed_are_found() -> None:
    """Under one identifier for each name."""
    assert _failed().id == rules.endpoint_id(NAME) != rules.endpoint_id("callback:https://a")
    assert _failed().indexes() == {"endpoints"}


def test_a_long_error_is_kept_in_short() -> None:
    change = rules.failed(None, NAME, NOW, "x" * 10_000)
    assert len(done(change, Endpoint).error) == 500


steps = st.lists(
    st.tuples(st.sampled_from(["fail", "wish", "succeed"]), st.floats(0, 2000), st.floats(0, 5000)),
    max_size=40,
)


@given(steps)
def test_whatever_happens_it_is_tried_again_within_its_time(
    happened: list[tuple[str, float, float]],
) -> None:
    """Never is it held for longer than the longest wait, or the longest wish; and a wait that
    runs is never shortened but by a success of what was down."""
    endpoint: Endpoint | None = None
    now = NOW
    for what, pause, wish in happened:
        now += timedelta(seconds=pause)
        held = endpoint.takes_at(now) if endpoint else None
        if what == "succeed":
            was_down = endpoint is not None and endpoint.status is EndpointStatus.DOWN
            change = rules.succeeded(endpoint, now)
            endpoint = done(change, Endpoint) if change else endpoint
            assert endpoint is None or endpoint.takes_at(now) == (None if was_down else held)
            continue
        seconds = wish if what == "wish" else None
        endpoint = done(
            rules.failed(endpoint, NAME, now, "no", retry_after_seconds=seconds), Endpoint
        )
        until = endpoint.takes_at(now)
        assert held is None or (until is not None and until >= held)
        assert _held_seconds(endpoint, now) <= max(DOWN_SECONDS[-1], 5000)
