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
    """What it means for who was to be reached is looked at once more; then it is done with."""
    dead = _failed(planned(), permanent=True)
    assert (dead.status, dead.error) == (DeliveryStatus.DEAD, "refused")
    assert [entry.event for entry in dead.owes(Service.NOTIFIER)] == [rules.DIED]
    assert done(rules.settled(dead, at(20)), Delivery).due() == {}


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


# --- waiting, and travelling with others --------------------------------------------------------


def test_quiet_hours_hold_a_delivery_back() -> None:
    """It is neither hinted nor due before they end, and its time is exact."""
    held = planned(not_before=at(3600))
    assert not rules.is_due(held, at(3599))
    assert held.due() == {Service.NOTIFIER: at(3600)}
    assert rules.start(held, at(3599), None) is None
    assert rules.start(held, at(3600), None) is not None


def test_waiting_for_others_is_no_attempt() -> None:
    waiting = done(rules.postpone(planned(), at(60), at(1), "gathered"), Delivery)
    assert (waiting.status, waiting.attempts, waiting.next_attempt_at) == ("PENDING", (), at(60))
    assert not rules.is_due(waiting, at(59))


def test_what_waits_in_a_lane_is_found_there_until_it_goes() -> None:
    """Only what people read is gathered, and one lane is one recipient of one channel."""
    delivery = planned(reads="people", reviewer_id="alex")
    lane = rules.lane_index(delivery.lane)
    assert lane not in delivery.indexes()
    waiting = done(rules.postpone(delivery, at(60), at(1), "gathered"), Delivery)
    assert lane in waiting.indexes()
    gone = done(rules.start(waiting, at(10), "token", parcel_id="dlv_leader"), Delivery)
    assert lane not in gone.indexes()
    assert rules.parcel_index("dlv_leader") in gone.indexes()
    hook = done(rules.postpone(planned(), at(60), at(1), "down"), Delivery)
    assert not any(name.startswith("deliveries:lane") for name in hook.indexes())


def test_an_attempt_without_a_turn_is_taken_back() -> None:
    begun = _started(planned())
    waiting = done(rules.called_off(begun, 1, at(30), at(6), "no turn"), Delivery)
    assert (waiting.status, waiting.attempts) == (DeliveryStatus.PENDING, ())
    assert rules.called_off(waiting, 1, at(30), at(6), "no turn") is None


# --- the next channel ---------------------------------------------------------------------------


def _owed(delivery: Delivery) -> list[str]:
    return [entry.event for entry in delivery.owes(Service.NOTIFIER)]


def test_the_first_failure_asks_for_the_next_channel_once() -> None:
    """The channel itself is tried again as ever; a second failure does not ask a second time."""
    failed = _failed(planned(fallbacks=("email", "sms")))
    assert _owed(failed) == [rules.FALL_BACK]
    settled = done(rules.settled(failed, at(7)), Delivery)
    assert (settled.fallbacks, _owed(settled)) == ((), [])
    assert _owed(_failed(settled)) == []
    assert _owed(_failed(planned())) == []


def test_attempts_that_kill_their_worker_lead_to_the_next_channel_too() -> None:
    """At the latest when the delivery is given up."""
    delivery = planned(fallbacks=("sms",))
    while delivery.status is not DeliveryStatus.DEAD:
        delivery = done(rules.start(delivery, delivery.next_attempt_at, None), Delivery)
    assert _owed(delivery) == [rules.FALL_BACK, rules.DIED]


def test_a_channel_that_is_down_falls_back_without_an_attempt() -> None:
    delivery = planned(fallbacks=("email",))
    waiting = rules.postpone(delivery, at(30), at(1), "down", falls_back=True)
    assert _owed(done(waiting, Delivery)) == [rules.FALL_BACK]


def test_only_a_message_that_asks_is_followed_up_when_it_dies() -> None:
    """That nobody was told of an outcome is a dead letter like any other."""
    assert _owed(done(rules.give_up(planned(), at(1), "disabled"), Delivery)) == [rules.DIED]
    told = planned(event="approval.resolved")
    assert _owed(done(rules.give_up(told, at(1), "disabled"), Delivery)) == []


def test_what_can_be_changed_where_it_is_is_looked_at_once_more() -> None:
    """The outcome may have come while the message was on its way."""
    sent = done(rules.succeed(_started(planned()), 1, at(6), "C1:17.1"), Delivery)
    assert (sent.reference, _owed(sent)) == ("C1:17.1", [rules.PLACED])


def test_a_replayed_delivery_no_longer_counts_as_dead() -> None:
    dead = _failed(planned(), permanent=True)
    again = done(rules.replay(dead, at(100), "operator"), Delivery)
    assert (_owed(again), again.error) == ([], "")


def test_webhooks_are_tried_for_three_days() -> None:
    """5 s, 5 min, 30 min, 2, 5, 10, 14, 20 and 24 h, each within a fifth."""
    delivery = planned(kind="webhook")
    for base in (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400):
        delivery = _failed(delivery)
        assert 0.8 * base <= _wait(delivery) <= 1.2 * base
    assert _failed(delivery).status is DeliveryStatus.DEAD


def test_every_change_of_a_delivery_is_counted_by_channel() -> None:
    change = rules.start(planned(), at(5), None)
    assert change is not None
    assert change.counts == ("deliveries:attempt_started:email",)


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
