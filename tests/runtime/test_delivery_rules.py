"""The rules of a delivery and of a message set aside, without I/O."""

from __future__ import annotations

import base64
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeguards.identifiers import new_id
from safeguards_runtime.guard import MAX_MESSAGE_BYTES as KEPT_BYTES
from safeguards_runtime.records import Delivery, SetAsideMessage
from safeguards_runtime.records import delivery as rules
from safeguards_runtime.records.delivery import BACKOFF_SECONDS, SENDING_SECONDS, DeliveryStatus
from safeguards_runtime.topology import Service
from tests.runtime.samples import NOW, at, done, planned

ATTEMPTS = len(BACKOFF_SECONDS) + 1


def _started(delivery: Delivery, token: str | None = None) -> Delivery:
    return done(rules.start(delivery, max(delivery.next_attempt_at, at(5)), token), Delivery)


def _failed(
    delivery: Delivery, *, permanent: bool = False, retry_after_seconds: float | None = None
) -> Delivery:
    """Return the delivery after one more attempt that failed as soon as it began."""
    begun = _started(delivery)
    change = rules.fail(
        begun,
        len(begun.attempts),
        begun.attempts[-1].started_at,
        error="refused",
        permanent=permanent,
        retry_after_seconds=retry_after_seconds,
    )
    return done(change, Delivery)


def _wait(delivery: Delivery) -> float:
    ended_at = delivery.attempts[-1].ended_at
    assert ended_at is not None
    return (delivery.next_attempt_at - ended_at).total_seconds()


def test_a_delivery_is_due_at_once_by_hint_and_after_a_grace_by_the_agenda() -> None:
    delivery = planned()
    assert rules.is_due(delivery, NOW)
    assert delivery.due() == {Service.NOTIFIER: at(5)}


def test_only_one_worker_claims_an_attempt() -> None:
    """Whoever starts it keeps the others off until it is taken to have died."""
    begun = _started(planned())
    dies_at = begun.attempts[0].started_at + timedelta(seconds=SENDING_SECONDS)
    assert rules.start(begun, dies_at - timedelta(microseconds=1), None) is None
    assert rules.start(begun, dies_at, None) is not None


def test_a_delivery_that_was_taken_is_done() -> None:
    sent = done(rules.succeed(_started(planned()), 1, at(6)), Delivery)
    assert (sent.status, sent.due(), sent.attempts[0].error) == (DeliveryStatus.SENT, {}, None)
    assert rules.start(sent, at(100_000), None) is None
    assert rules.succeed(sent, 1, at(7)) is None


@given(st.integers(1, len(BACKOFF_SECONDS)))
def test_the_wait_grows_and_is_spread(attempt: int) -> None:
    """Each wait is within a fifth of its step, so that not all come back at once."""
    delivery = planned()
    for _ in range(attempt):
        delivery = _failed(delivery)
    base = BACKOFF_SECONDS[attempt - 1]
    assert delivery.status is DeliveryStatus.PENDING
    assert 0.8 * base <= _wait(delivery) <= 1.2 * base


def test_waits_differ_between_deliveries() -> None:
    assert len({_wait(_failed(planned())) for _ in range(20)}) > 5


def test_a_failed_attempt_is_not_repeated_before_its_time() -> None:
    failed = _failed(planned())
    assert rules.start(failed, failed.next_attempt_at - timedelta(microseconds=1), None) is None
    assert rules.start(failed, failed.next_attempt_at, None) is not None


@pytest.mark.parametrize(
    ("asked", "wait"),
    [(500.0, 500), (86_400.0, 86_400), (1e9, 86_400), (float("inf"), 86_400)],
)
def test_what_the_receiver_asks_for_is_obeyed_up_to_a_day(asked: float, wait: float) -> None:
    assert _wait(_failed(planned(), retry_after_seconds=asked)) == wait


@pytest.mark.parametrize("asked", [0.0, 0.5, -100.0, float("nan"), float("-inf")])
def test_a_shorter_wish_does_not_shorten_our_own_wait(asked: float) -> None:
    """Nor does nonsense: the wait is our own."""
    assert 4 <= _wait(_failed(planned(), retry_after_seconds=asked)) <= 6


def test_a_permanent_error_ends_it() -> None:
    dead = _failed(planned(), permanent=True)
    assert (dead.status, dead.due()) == (DeliveryStatus.DEAD, {})


def test_it_is_dead_after_the_last_attempt() -> None:
    """So many attempts as there are waits, and one more."""
    delivery = planned()
    for _ in range(ATTEMPTS):
        assert delivery.status is DeliveryStatus.PENDING
        delivery = _failed(delivery)
    assert (delivery.status, len(delivery.attempts)) == (DeliveryStatus.DEAD, ATTEMPTS)


def test_attempts_that_kill_their_worker_come_to_an_end_too() -> None:
    """A message that takes the worker with it each time is given up like any other."""
    delivery = planned()
    for _ in range(5 * ATTEMPTS):
        change = rules.start(delivery, delivery.next_attempt_at, "token")
        if change is None:
            break
        delivery = done(change, Delivery)
    assert len(delivery.attempts) <= ATTEMPTS


def test_the_error_of_each_attempt_is_kept() -> None:
    twice = _failed(_failed(planned()))
    assert [attempt.error for attempt in twice.attempts] == ["refused", "refused"]


def test_a_late_failure_does_not_disturb_the_attempt_that_runs() -> None:
    """The first worker was taken to have died; its failure comes when the second is at it."""
    second = _started(_started(planned()))
    assert rules.fail(second, 1, at(70), error="late", permanent=True) is None


def test_a_late_success_is_a_success() -> None:
    """The receiver has the message, whoever sent it: nobody sends it again."""
    second = _started(_started(planned()))
    assert done(rules.succeed(second, 1, at(70)), Delivery).status is DeliveryStatus.SENT


def test_only_the_dead_are_replayed_and_their_attempts_count_anew() -> None:
    dead = _failed(planned(), permanent=True)
    again = done(rules.replay(dead, at(100), "operator"), Delivery)
    assert (again.status, again.attempts) == (DeliveryStatus.PENDING, ())
    assert rules.is_due(again, at(100))
    for other in (planned(), _started(planned()), again):
        assert rules.replay(other, at(100), "operator") is None


def test_links_of_earlier_attempts_go_on_working() -> None:
    """Any of the mails may be the one that arrived; only hashes are kept."""
    delivery = _started(_started(planned(), "first"), "second")
    assert delivery.token_hashes == (rules.token_hash("first"), rules.token_hash("second"))
    dead = done(rules.fail(delivery, 2, at(80), error="no", permanent=True), Delivery)
    again = done(rules.replay(dead, at(90), "operator"), Delivery)
    assert again.token_hashes == delivery.token_hashes
    assert b"first" not in delivery.body()


def test_what_was_decided_meanwhile_is_dropped() -> None:
    """A request that nobody needs to answer any more is not sent; what ended stays ended."""
    moot = done(rules.drop(planned(), at(1), "decided"), Delivery)
    assert (moot.status, moot.due()) == (DeliveryStatus.MOOT, {})
    assert rules.drop(moot, at(2), "decided") is None
    assert rules.start(moot, at(1000), None) is None


@pytest.mark.parametrize("size", [0, 1, KEPT_BYTES - 1, KEPT_BYTES, KEPT_BYTES + 1, KEPT_BYTES + 2])
def test_a_message_is_whole_only_if_every_byte_was_kept(size: int) -> None:
    """A truncated message must not be put back on its queue as if it were the one that came."""
    item = b"x" * size
    message = SetAsideMessage(
        id=new_id("msg"),
        queue="safeguards.actions",
        reason="test",
        payload=base64.b64encode(item[:KEPT_BYTES]).decode(),
        size_bytes=size,
        received_at=NOW,
    )
    assert message.is_whole == (size <= KEPT_BYTES)
