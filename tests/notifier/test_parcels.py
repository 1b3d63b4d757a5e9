"""What is sent now, what waits, and what travels together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeguards_runtime.records import Approval, Delivery, Endpoint, endpoint
from safeguards_runtime.records import delivery as rules
from safeguards_runtime.records.delivery import FALL_BACK, DeliveryStatus
from safeguards_runtime.topology import Service
from services.notifier import parcels
from services.notifier.parcels import PROBE_SECONDS, PROBED_SECONDS, Parcel, Sorted, may_join
from tests.notifier.worlds import decided, failing
from tests.runtime.samples import NOW, asked, at, done, planned

CHANNELS = ("email", "hook")
SOURCE = asked()


def _mail(source: Approval = SOURCE, *, to: str = "alex", **given: Any) -> Delivery:
    about = {"reads": "people", "reviewer_id": to, "agent_id": "trader", **given}
    return planned(**about).model_copy(update={"source_id": source.id})


def _sort(*due: Delivery, endpoints: Mapping[str, Endpoint] | None = None) -> Sorted:
    return parcels.sort(due, {SOURCE.id: SOURCE}, endpoints or {}, CHANNELS, NOW)


def _after(sorted_: Sorted) -> list[Delivery]:
    """Return the deliveries of the changes as they would be stored."""
    return [done(change, Delivery) for change in sorted_.changes]


def _failed(times: int, *, is_gone: bool = False, at_seconds: float = 0) -> Endpoint:
    record: Endpoint | None = None
    for _ in range(times):
        change = endpoint.failed(record, "email", at(at_seconds), "refused", is_gone=is_gone)
        record = done(change, Endpoint)
    assert record is not None
    return record


class Allowances:
    """`Store.take` without a store: allowances that are filled anew with each window."""

    def __init__(self, window_seconds: float) -> None:
        self._window = window_seconds
        self._taken: dict[str, tuple[float, int]] = {}

    def take(
        self, wanted: Mapping[str, int], limit: int, seconds: float
    ) -> dict[str, tuple[int, float]]:
        """Take from the allowances at a time, in seconds."""
        granted = {}
        for name, number in wanted.items():
            begun, before = self._taken.get(name, (seconds, 0))
            if seconds >= begun + self._window:
                begun, before = seconds, 0
            self._taken[name] = (begun, before + number)
            granted[name] = (min(number, max(0, limit - before)), begun + self._window - seconds)
        return granted


def _paced(
    due: list[Delivery],
    allowances: Allowances,
    *,
    per_agent: int = 3,
    limit: int = 10,
    seconds: float = 0,
) -> tuple[list[Parcel], Sorted]:
    """Return what goes out and what does not, as the sender finds it."""
    now = at(seconds)
    sorted_ = parcels.sort(due, {SOURCE.id: SOURCE}, {}, CHANNELS, now)
    taken = allowances.take(parcels.agent_allowances(sorted_.ready), per_agent, seconds)
    units = parcels.by_agent(sorted_, taken, now)
    taken = allowances.take(parcels.lane_allowances(units), limit, seconds)
    return parcels.by_lane(units, sorted_, taken, now), sorted_


# --- what can be sent ---------------------------------------------------------------------------


def test_what_tells_of_nothing_is_dropped() -> None:
    sorted_ = _sort(_mail(asked()))
    assert [d.status for d in _after(sorted_)] == [DeliveryStatus.MOOT]
    assert sorted_.ready == []


def test_a_question_that_was_decided_is_dropped_and_its_outcome_is_not() -> None:
    ended = decided(SOURCE)
    ask, tell = _mail(), _mail(event="approval.resolved")
    sorted_ = parcels.sort([ask, tell], {SOURCE.id: ended}, {}, CHANNELS, NOW)
    assert [d.id for d in _after(sorted_)] == [ask.id]
    assert sorted_.ready == [(tell, ended)]


def test_an_older_version_is_dropped_and_the_change_of_its_message_is_not() -> None:
    newer = SOURCE.model_copy(update={"version": 2})
    old = _mail()
    change = _mail(event="approval.answered", version=1, updates=old.id, reference="C1:1")
    sorted_ = parcels.sort([old, change], {SOURCE.id: newer}, {}, CHANNELS, NOW)
    assert [d.id for d in _after(sorted_)] == [old.id]
    assert [d.id for d, _ in sorted_.ready] == [change.id]


def test_what_goes_to_a_channel_that_is_no_more_is_given_up() -> None:
    """The next one of its chain is tried."""
    (dead,) = _after(_sort(_mail(channel="fax", fallbacks=("email",))))
    assert dead.status is DeliveryStatus.DEAD
    assert "fax" in dead.error
    assert FALL_BACK in [entry.event for entry in dead.owes(Service.NOTIFIER)]


def test_an_agents_own_address_is_always_a_channel() -> None:
    callback = planned(channel="callback", address="https://a.example.test").model_copy(
        update={"source_id": SOURCE.id}
    )
    assert [d for d, _ in _sort(callback).ready] == [callback]


def test_what_goes_to_a_disabled_endpoint_is_given_up() -> None:
    gone = _failed(1, is_gone=True)
    (dead,) = _after(_sort(_mail(fallbacks=("sms",)), endpoints={"email": gone}))
    assert (dead.status, "refused" in dead.error) == (DeliveryStatus.DEAD, True)
    assert FALL_BACK in [entry.event for entry in dead.owes(Service.NOTIFIER)]


def test_what_goes_to_an_endpoint_that_is_down_waits_and_tries_the_next_channel() -> None:
    """It costs no attempt."""
    down = _failed(5)
    (waiting,) = _after(_sort(_mail(fallbacks=("sms",)), endpoints={"email": down}))
    assert (waiting.status, waiting.attempts) == (DeliveryStatus.PENDING, ())
    assert waiting.next_attempt_at == down.down_until
    assert [entry.event for entry in waiting.owes(Service.NOTIFIER)] == [FALL_BACK]


def test_a_few_failures_keep_nothing_from_being_sent() -> None:
    assert len(_sort(_mail(), endpoints={"email": _failed(4)}).ready) == 1


def test_one_delivery_tries_an_endpoint_that_was_down_and_the_others_wait() -> None:
    """They look again soon, in case it got through; while it may still fail none of them tries."""
    due = [_mail(to=name) for name in ("alex", "sam", "kim")]
    sorted_ = _sort(*due, endpoints={"email": _failed(5, at_seconds=-100)})
    assert sorted_.ready == []
    assert [d for d, _ in sorted_.probes["email"]] == due
    parcels.probing(sorted_, {parcels.probe("email"): (1, PROBE_SECONDS)}, NOW)
    assert [d for d, _ in sorted_.ready] == due[:1]
    assert [(d.id, d.next_attempt_at) for d in _after(sorted_)] == [
        (d.id, at(PROBED_SECONDS)) for d in due[1:]
    ]


def test_nobody_tries_an_endpoint_that_another_worker_is_trying() -> None:
    sorted_ = _sort(_mail(), endpoints={"email": _failed(5, at_seconds=-100)})
    parcels.probing(sorted_, {parcels.probe("email"): (0, 2.5)}, NOW)
    assert sorted_.ready == []
    assert [d.next_attempt_at for d in _after(sorted_)] == [at(2.5)]


def test_an_endpoint_that_is_down_does_not_hold_up_the_others() -> None:
    hook = planned(channel="hook", kind="webhook").model_copy(update={"source_id": SOURCE.id})
    sorted_ = _sort(_mail(), hook, endpoints={"email": _failed(5)})
    assert [d for d, _ in sorted_.ready] == [hook]


# --- what travels together ----------------------------------------------------------------------


def test_a_few_messages_go_one_by_one() -> None:
    going, _ = _paced([_mail() for _ in range(3)], Allowances(60))
    assert [len(parcel.members) for parcel in going] == [1, 1, 1]


def test_what_goes_over_the_allowance_makes_one_message() -> None:
    due = [_mail() for _ in range(8)]
    (parcel,), sorted_ = _paced(due, Allowances(60))
    assert [d for d, _ in parcel.members] == due
    assert parcel.is_digest
    assert parcel.leader == due[0]
    assert sorted_.changes == []


def test_what_comes_when_nothing_is_left_waits_for_the_next_window() -> None:
    """It is gathered in its lane, and no attempt is counted."""
    allowances = Allowances(60)
    _paced([_mail() for _ in range(3)], allowances)
    going, sorted_ = _paced([_mail() for _ in range(2)], allowances, seconds=10)
    assert going == []
    for waiting in _after(sorted_):
        assert (waiting.next_attempt_at, waiting.attempts) == (at(60), ())
        assert rules.lane_index(waiting.lane) in waiting.indexes()


def test_one_noisy_agent_does_not_hold_up_another_ones_message() -> None:
    allowances = Allowances(60)
    _paced([_mail(agent_id="noisy") for _ in range(50)], allowances)
    other = _mail(agent_id="quiet")
    due = [*(_mail(agent_id="noisy") for _ in range(50)), other]
    going, sorted_ = _paced(due, allowances, seconds=1)
    assert [parcel.members for parcel in going] == [((other, SOURCE),)]
    assert len(sorted_.changes) == 50


def test_many_agents_together_have_an_allowance_as_well() -> None:
    due = [_mail(agent_id=f"agent-{n}") for n in range(11)]
    (parcel,), _ = _paced(due, Allowances(60))
    assert len(parcel.members) == 11


def test_recipients_and_channels_have_allowances_of_their_own() -> None:
    allowances = Allowances(60)
    _paced([_mail() for _ in range(50)], allowances)
    going, _ = _paced([_mail(to="sam"), _mail(channel="hook", kind="x")], allowances)
    assert len(going) == 2


def test_questions_and_news_do_not_travel_together() -> None:
    """They share no link to answer by."""
    due = [_mail() for _ in range(4)] + [_mail(event="approval.resolved") for _ in range(4)]
    going, _ = _paced(due, Allowances(60))
    assert sorted({d.asks for d, _ in parcel.members} == {True} for parcel in going) == [
        False,
        True,
    ]


def test_programs_get_each_message() -> None:
    due = [_mail(reads="programs", reviewer_id=None) for _ in range(100)]
    going, _ = _paced(due, Allowances(60), per_agent=1, limit=1)
    assert [parcel.members for parcel in going] == [((one, SOURCE),) for one in due]


def test_changes_of_one_message_become_one_change() -> None:
    """What is shown in the end is the same, whichever is made."""
    due = [_mail(event="approval.resolved", updates=_mail().id, reference="C1:1") for _ in range(9)]
    going, _ = _paced(due, Allowances(60))
    assert len(going) == 1


arrivals = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from(["noisy", "quiet", "other"]),
            st.sampled_from(["alex", "sam"]),
            st.sampled_from(["people", "programs"]),
        ),
        max_size=12,
    ),
    max_size=8,
)


@given(arrivals, st.integers(1, 4), st.integers(1, 6), st.floats(1, 40))
def test_whatever_comes_nothing_is_lost_and_nobody_is_flooded(
    waves: list[list[tuple[str, str, str]]], per_agent: int, limit: int, pause: float
) -> None:
    """Each delivery that is due goes into exactly one message or waits; those that wait come
    again. No recipient gets more than the limit in a window, and no agent more than its own."""
    allowances = Allowances(60)
    waiting: list[Delivery] = []
    sent: Counter[tuple[str, int]] = Counter()
    window_began: dict[str, float] = {}
    arrived: set[str] = set()
    came: set[str] = set()
    for number, wave in enumerate([*waves, [], []]):
        seconds = number * pause if number < len(waves) else 1000 * (number + 1)
        new = [_mail(agent_id=agent, to=to, reads=reads, address=to) for agent, to, reads in wave]
        came |= {d.id for d in new}
        due = [d for d in (*waiting, *new) if rules.is_due(d, at(seconds))]
        resting = [d for d in waiting if d not in due]
        going, sorted_ = _paced(due, allowances, per_agent=per_agent, limit=limit, seconds=seconds)
        members = [d.id for parcel in going for d, _ in parcel.members]
        put_off = [change.after.id for change in sorted_.changes]
        assert sorted([*members, *put_off]) == sorted(d.id for d in due)
        arrived |= set(members)
        for parcel in going:
            lanes = {d.lane for d, _ in parcel.members}
            assert len(lanes) == 1
            if parcel.leader.reads == "people":
                lane = lanes.pop()
                if seconds >= window_began.get(lane, -1e9) + 60:
                    window_began[lane] = seconds
                sent[(lane, round(window_began[lane] * 1e6))] += 1
        waiting = [*resting, *_after(sorted_)]
    assert max(sent.values(), default=0) <= limit
    assert arrived | {d.id for d in waiting} == came


def test_what_has_waited_is_one_message_however_many_are_left() -> None:
    """Not one by one as far as the next window goes: whoever was told of too much at once is told
    of the rest at once."""
    allowances = Allowances(60)
    going, _ = _paced([_mail() for _ in range(3)], allowances)
    assert len(going) == 3
    going, sorted_ = _paced([_mail(), _mail()], allowances, seconds=1)
    assert going == []
    fresh, waited = _mail(), _after(sorted_)
    together, alone = _paced([fresh, *waited], allowances, seconds=61)[0]
    assert ([one for one, _ in together.members], together.gathers) == (waited, True)
    assert ([one for one, _ in alone.members], alone.gathers) == ([fresh], False)


@pytest.mark.parametrize("reads", ["people", "programs"])
def test_what_waits_goes_along_with_a_digest_unless_it_failed(reads: str) -> None:
    """A message that failed before is tried again at its own time."""
    fresh = done(rules.postpone(_mail(reads=reads), at(60), NOW, "gathered"), Delivery)
    assert may_join(fresh, at(1))
    failed = failing(_mail(reads=reads))
    assert not may_join(failed, at(1))
    assert may_join(failed, failed.next_attempt_at)
    going = done(rules.start(fresh, at(60), None), Delivery)
    assert not may_join(going, at(61))
