"""Who is told of what, through which channel: plans, and what follows from how attempts end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeguards.contracts import AlertView, ApprovalSubmission, Verdict
from safeguards.types import ActionStatus, AlertSeverity
from safeguards_runtime.records import Action, Approval, Change, Delivery, opening, waiting
from safeguards_runtime.records import action as action_rules
from safeguards_runtime.records import delivery as delivery_rules
from safeguards_runtime.records.delivery import CALLBACK, DeliveryStatus
from safeguards_runtime.records.events import (
    ACTION_RESOLVED,
    ALERT_RAISED,
    ANSWERED,
    ESCALATED,
    REMINDED,
    RESOLVED,
    UNREACHABLE,
)
from safeguards_runtime.store import Store
from safeguards_runtime.topology import Service
from services.notifier.planning import carries_link, follow, is_moot, plan
from tests.notifier.worlds import (
    EMAIL,
    HOOK,
    LOG,
    ROOM,
    SMS,
    Told,
    approval,
    decided,
    failing,
    names,
    one_of,
    people,
    step,
)
from tests.runtime.samples import NOW, TERMS, asked, at, done, judgement, submitted

NIGHT = datetime(2026, 1, 1, 23, 0, tzinfo=UTC)
MORNING = datetime(2026, 1, 2, 7, 0, tzinfo=UTC)
OFFICE = {"mon-sun": "09:00-17:00"}


# --- all channels at once -----------------------------------------------------------------------


def test_all_channels_at_once_tell_everybody() -> None:
    """One message for each person by each channel of people, one for each place."""
    told = Told(approval("email", "room", "sms", "hook", "log"), people(alex={}, sam={}))
    assert names(told.plan()) == [
        "email:alex", "email:sam", "hook", "log", "room", "sms:alex", "sms:sam",
    ]  # fmt: skip


def test_a_message_knows_where_it_goes_and_what_it_shows() -> None:
    told = Told(approval("email"), people(alex={}))
    (one,) = told.plan()
    assert (one.address, one.kind, one.reads) == ("alex@example.test", "email", "people")
    assert (one.agent_id, one.version, one.source_id) == ("trader", 1, told.record.id)
    assert one.begins_thread
    assert one.due() == {Service.NOTIFIER: NOW + timedelta(seconds=5)}


def test_a_channel_that_does_not_exist_is_left_out() -> None:
    assert names(Told(approval("email", "fax"), people(alex={})).plan()) == ["email:alex"]


def test_who_has_no_address_is_left_out_by_that_channel_only() -> None:
    told = Told(approval("email", "sms"), people(alex={"email": None}, sam={"addresses": {}}))
    assert names(told.plan()) == ["email:sam", "sms:alex"]


def test_whoever_asks_is_not_told() -> None:
    """Neither by their id nor by their mail address."""
    record = asked(owner="Alex@example.test", on_behalf_of="kim", terms=TERMS)
    told = Told(record, people(alex={}, kim={}, sam={}))
    assert names(told.plan()) == ["email:sam"]


@pytest.mark.parametrize("order", ["all", "chain"])
def test_a_channel_takes_what_is_serious_enough_for_it(order: str) -> None:
    loud = replace(SMS, min_severity=AlertSeverity.CRITICAL)
    for severity, channel in ((AlertSeverity.ERROR, "email"), (AlertSeverity.CRITICAL, "sms")):
        record = approval("sms", "email", order=order).model_copy(update={"severity": severity})
        made = names(Told(record, people(alex={}), [loud, EMAIL]).plan())
        assert f"{channel}:alex" in made
        assert ("sms:alex" in made) == (severity is AlertSeverity.CRITICAL)


def test_quiet_hours_hold_back_the_message_to_that_person() -> None:
    """What goes to places goes at once."""
    told = Told(approval("email", "room"), people(alex={"quiet_hours": "22:00-07:00"}))
    made = told.plan(NIGHT)
    assert one_of(made, "email:alex").next_attempt_at == MORNING
    assert one_of(made, "room").next_attempt_at == NIGHT


@pytest.mark.parametrize("order", ["all", "chain"])
def test_a_stand_in_is_told_in_the_stead_of_who_is_away(order: str) -> None:
    """At their own address, and it is on record for whom."""
    directory = people(
        alex={"away_until": "2026-02-01", "delegate": "bo"}, bo={"groups": ["others"]}
    )
    (one,) = Told(approval("email", order=order), directory).plan()
    assert (one.reviewer_id, one.stands_in_for) == ("bo", "alex")
    assert one.address == "bo@example.test"


def test_only_who_is_on_duty_is_told() -> None:
    told = Told(approval("email"), people(alex={"working_hours": OFFICE}, sam={}))
    assert names(told.plan(NIGHT)) == ["email:sam"]


def test_own_channels_are_the_ones_that_a_person_is_told_by() -> None:
    """Unless the policy has none of them, or they cannot be reached by any."""
    directory = people(
        alex={"channels": ["sms"]},
        kim={"channels": ["fax"]},
        sam={"channels": ["sms"], "addresses": {}},
    )
    assert names(Told(approval("email", "sms"), directory).plan()) == [
        "email:kim", "email:sam", "sms:alex", "sms:kim",
    ]  # fmt: skip


# --- a chain ------------------------------------------------------------------------------------


def test_a_chain_tells_each_by_the_first_channel_that_reaches_them() -> None:
    """The channels after it are what is tried if it fails; programs hear of it anyway."""
    record = approval("email", "hook", "sms", "room", "log", order="chain")
    told = Told(record, people(alex={}, sam={"email": None}))
    made = told.plan()
    assert names(made) == ["email:alex", "hook", "log", "sms:sam"]
    assert one_of(made, "email:alex").fallbacks == ("sms", "room")
    assert one_of(made, "sms:sam").fallbacks == ("room",)
    assert one_of(made, "hook").fallbacks == ()


def test_a_place_in_a_chain_is_one_message_for_all_who_come_to_it() -> None:
    record = approval("room", "email", order="chain")
    made = Told(record, people(alex={}, sam={})).plan()
    assert names(made) == ["room"]
    assert made[0].fallbacks == ("email",)


def test_their_own_order_of_channels_is_the_order_of_their_chain() -> None:
    told = Told(
        approval("email", "sms", "room", order="chain"), people(alex={"channels": ["sms", "email"]})
    )
    made = told.plan()
    assert names(made) == ["sms:alex"]
    assert made[0].fallbacks == ("email",)
    assert names(told.failed(made[0])) == ["email:alex"]


def test_the_next_channel_is_tried_for_the_one_whose_message_failed() -> None:
    """Once: the first channel goes on trying by itself, a second failure adds nothing."""
    told = Told(approval("email", "sms", order="chain"), people(alex={}, sam={}))
    first = one_of(told.plan(), "email:alex")
    made = told.failed(first)
    assert names(made) == ["sms:alex"]
    assert made[0].begins_thread
    assert told.deliveries[first.id].status is DeliveryStatus.PENDING
    assert told.failed(told.deliveries[first.id]) == []


def test_the_next_channel_of_a_stand_in_is_that_of_a_stand_in() -> None:
    directory = people(alex={"away_until": "2026-02-01", "delegate": "bo"}, bo={"groups": ["x"]})
    told = Told(approval("email", "sms", order="chain"), directory)
    (second,) = told.failed(told.plan()[0])
    assert (second.channel, second.reviewer_id, second.stands_in_for) == ("sms", "bo", "alex")


def test_who_goes_off_duty_is_still_told_by_their_next_channel() -> None:
    """It was they who were asked; that somebody else is on duty now does not tell them."""
    directory = people(alex={"working_hours": OFFICE}, sam={})
    told = Told(approval("email", "sms", order="chain"), directory)
    first = one_of(told.plan(NOW), "email:alex")
    told.seen(NIGHT)
    assert names(told.failed(first)) == ["sms:alex"]


def test_who_has_left_the_groups_is_not_told_any_more() -> None:
    told = Told(approval("email", "sms", order="chain"), people(alex={}))
    first = one_of(told.plan(), "email:alex")
    told.world = replace(told.world, directory=people(alex={"groups": ["others"]}))
    assert told.failed(first) == []


def test_the_next_channel_heeds_quiet_hours() -> None:
    directory = people(alex={"quiet_hours": "22:00-07:00"})
    told = Told(approval("email", "sms", order="chain"), directory)
    (first,) = told.plan(NOW)
    told.seen(NIGHT)
    (second,) = told.failed(first)
    assert second.next_attempt_at == MORNING


def test_a_place_that_fails_is_followed_by_everybodys_next_channel() -> None:
    directory = people(alex={}, sam={"email": None})
    told = Told(approval("room", "email", "sms", order="chain"), directory)
    (room,) = told.plan()
    assert names(told.failed(room)) == ["email:alex", "sms:sam"]


def test_a_place_that_fails_changes_nothing_for_who_is_told_otherwise() -> None:
    """Their own message is under way or has arrived."""
    directory = people(alex={}, kim={}, sam={"email": None})
    told = Told(approval("email", "room", "sms", order="chain"), directory)
    made = told.plan()
    told.sent(one_of(made, "email:kim"))
    assert names(told.failed(one_of(made, "room"))) == ["sms:sam"]


def test_two_who_fall_back_to_the_same_place_share_a_message() -> None:
    told = Told(approval("email", "room", order="chain"), people(alex={}, sam={}))
    first, second = told.plan()
    assert names(told.failed(first)) == ["room"]
    assert told.failed(second) == []


def test_who_falls_back_to_a_place_that_failed_goes_on_to_what_is_after_it() -> None:
    """In whichever order the two fail, each ends up with a message of their own."""
    for order in (("room", "email:alex"), ("email:alex", "room")):
        told = Told(
            approval("email", "room", "sms", order="chain"), people(alex={}, sam={"email": None})
        )
        made = told.plan()
        after = [names(told.failed(one_of(made, name))) for name in order]
        assert sorted(chain(*after)) == ["sms:alex", "sms:sam"]


def test_what_arrived_in_the_end_needs_no_other_channel() -> None:
    """The retry was taken before the next channel was looked for."""
    told = Told(approval("email", "sms", order="chain"), people(alex={}))
    assert told.sent(failing(told.plan()[0])) == []


def test_no_other_channel_is_tried_for_what_has_been_decided() -> None:
    told = Told(approval("email", "sms", order="chain"), people(alex={}))
    (first,) = told.plan()
    told.record = decided(told.approval)
    assert told.failed(first) == []


# --- once and only once -------------------------------------------------------------------------

CHANNELS = [EMAIL, SMS, ROOM, HOOK, LOG]


@given(
    channels=st.lists(st.sampled_from([c.name for c in CHANNELS]), max_size=5),
    order=st.sampled_from(["all", "chain"]),
    own=st.lists(st.sampled_from(["email", "sms", "room"]), unique=True),
    addresses=st.sets(st.sampled_from(["email", "sms"])),
)
def test_a_plan_made_twice_is_the_same(
    channels: list[str], order: str, own: list[str], addresses: set[str]
) -> None:
    """Same identifiers, each once: two workers who plan the same arrive at the same records, and
    only one of them can write them."""
    alex = {
        "channels": own,
        "email": "alex@example.test" if "email" in addresses else None,
        "addresses": {"sms": "+1"} if "sms" in addresses else {},
    }
    told = Told(approval(*channels, order=order), people(alex=alex, sam={}))
    first, second = (plan(told.record, told.seen()) for _ in range(2))
    assert first is not None
    assert second is not None
    made = [change.after.id for change in first[1:]]
    assert made == [change.after.id for change in second[1:]]
    assert len(set(made)) == len(made)
    # The store refuses the second: the approval has moved on, and the deliveries are there.
    assert first[0].before == second[0].before == told.record
    assert all(change.before is None for change in (*first[1:], *second[1:]))


def _new(changes: Sequence[Change] | None) -> list[Delivery]:
    made = [change.after for change in changes or () if change.before is None]
    return [one for one in made if isinstance(one, Delivery)]


async def test_of_two_workers_who_plan_the_same_one_writes_it(store: Store) -> None:
    """Neither the first message is doubled, nor one that both of two failures lead to."""
    opened = opening.request(
        asked().id,
        ApprovalSubmission(agent_id="trader", title="Pay", metadata={}),
        TERMS.model_copy(update={"channels": ("email", "room"), "order": "chain"}),
        key_id="key",
        owner=None,
        now=NOW,
    )
    await store.create(opened)
    record = await store.get(opened.after.id, Approval)
    assert record is not None
    told = Told(record, people(alex={}, sam={}))
    twice = [plan(record, told.seen()) for _ in range(2)]
    written = await store.commit([changes for changes in twice if changes])
    assert [one is not None for one in written] == [True, False]
    told.plan()
    for one in told.deliveries.values():
        planned = await store.get(one.id, Delivery)
        assert planned is not None
        told.deliveries[one.id] = planned
    transactions = []
    for one in told.deliveries.values():
        start = delivery_rules.start(one, one.next_attempt_at, None)
        begun = done(start, Delivery)
        fail = delivery_rules.fail(begun, 1, NOW, error="no", permanent=False)
        failed = done(fail, Delivery)
        assert start is not None
        assert fail is not None
        await store.commit([[start], [fail]])
        transactions.append(follow(failed, told.record, told.seen()))
    assert [names(_new(t)) for t in transactions] == [
        ["room"],
        ["room"],
    ]
    written = await store.commit([changes for changes in transactions if changes])
    assert [one is not None for one in written] == [True, False]


@given(st.data())
def test_in_a_chain_each_is_reached_in_the_end_if_any_channel_works(data: st.DataObject) -> None:
    """Whatever fails, and in whatever order: as long as one of their channels takes messages,
    everybody has a message by a channel that does; and nobody is told twice by one channel."""
    order = data.draw(st.permutations(["email", "sms", "room"]))
    broken = data.draw(st.sets(st.sampled_from(order), max_size=2))
    own = data.draw(st.lists(st.sampled_from(order), unique=True))
    reachable = {"channels": own, "email": data.draw(st.sampled_from([None, "a@example.test"]))}
    told = Told(approval(*order, order="chain"), people(alex=reachable, sam={}, kim={}))
    told.plan()
    while pending := [d for d in told.deliveries.values() if d.status is DeliveryStatus.PENDING]:
        one = data.draw(st.sampled_from(pending))
        if one.channel in broken:
            told.failed(one, permanent=True)
        else:
            told.sent(one)
    arrived = {
        (d.reviewer_id or d.channel)
        for d in told.deliveries.values()
        if d.status is DeliveryStatus.SENT
    }
    for who in ("sam", "kim"):
        assert arrived & {who, "room"}
    if not own and reachable["email"]:
        assert arrived & {"alex", "room"}
    assert told.missed() is not bool(arrived)


# --- reminders and escalation -------------------------------------------------------------------


def test_each_reminder_is_a_message_of_its_own() -> None:
    told = Told(approval("email", "hook"), people(alex={}))
    told.plan()
    first = told.happens(REMINDED, reminders=1)
    second = told.happens(REMINDED, reminders=2)
    assert names(first) == names(second) == ["email:alex", "hook"]
    assert not {d.id for d in first} & {d.id for d in second}


def test_a_reminder_goes_on_with_the_conversation() -> None:
    """In the thread of the first message, wherever that is at the receiver."""
    told = Told(approval("room"), people(alex={}))
    (first,) = told.plan()
    told.sent(first, "C1:1.0")
    (again,) = told.happens(REMINDED, reminders=1)
    assert again.thread_id == first.thread_id
    assert (again.begins_thread, again.thread_reference) == (False, "C1:1.0")


def test_a_reminder_by_a_place_that_failed_last_time_tries_it_again() -> None:
    told = Told(approval("room", "email", order="chain"), people(alex={}))
    told.plan()
    told.failed(told.happens(REMINDED, reminders=1)[0], permanent=True)
    assert names(told.happens(REMINDED, reminders=2)) == ["room"]


MANAGED = {
    "alex": {},
    "max": {"groups": ["managers"]},
    "dana": {"groups": ["directors"]},
}
CLIMBING = (step(60, "managers"), step(120, "directors"))


@pytest.mark.parametrize("order", ["all", "chain"])
def test_an_escalation_tells_only_those_who_have_not_been_asked(order: str) -> None:
    """Step by step; programs hear of each step."""
    told = Told(approval("email", "hook", order=order, escalation=CLIMBING), people(**MANAGED))
    assert names(told.plan()) == ["email:alex", "hook"]
    assert names(told.happens(ESCALATED, escalated=1)) == ["email:max", "hook"]
    assert names(told.happens(ESCALATED, escalated=2)) == ["email:dana", "hook"]


def test_an_escalation_tells_somebody_even_if_only_the_first_ones_are_on_duty() -> None:
    """Those who have not answered do not keep the others from being told at night."""
    directory = people(alex={}, max={"groups": ["managers"], "working_hours": OFFICE})
    told = Told(approval("email", escalation=(step(60, "managers"),)), directory)
    told.plan(NIGHT)
    assert names(told.happens(ESCALATED, escalated=1)) == ["email:max"]


def test_a_place_hears_of_each_step() -> None:
    """Whom it is about now reads it there."""
    told = Told(approval("room", escalation=CLIMBING), people(**MANAGED))
    told.plan()
    for level in (1, 2):
        assert names(told.happens(ESCALATED, escalated=level)) == ["room"]


@pytest.mark.parametrize("order", ["all", "chain"])
def test_a_step_has_its_own_channels_if_it_names_any(order: str) -> None:
    """Those of the terms are not for them, nor theirs for those who were asked first; programs
    hear of it as ever."""
    steps = (step(60, "managers", channels=("sms",)),)
    told = Told(approval("email", "hook", order=order, escalation=steps), people(**MANAGED))
    told.plan()
    assert names(told.happens(ESCALATED, escalated=1)) == ["hook", "sms:max"]
    assert names(told.happens(REMINDED, reminders=1)) == ["email:alex", "hook", "sms:max"]


@pytest.mark.parametrize("order", ["all", "chain"])
def test_people_are_asked_once_if_several_things_come_together(order: str) -> None:
    """Whom it is escalated to is not reminded in the same breath; a place gets one message; who
    was asked before is reminded; programs hear everything."""
    record = approval("email", "room", "hook", order=order, escalation=CLIMBING)
    told = Told(record, people(**MANAGED))
    told.plan()
    made = told.happens(ESCALATED, REMINDED, escalated=1, reminders=1)
    room = ["room"] if order == "all" else []
    assert names(made) == ["email:alex", "email:max", "hook", "hook", *room]
    assert one_of(made, "email:max").event == ESCALATED
    assert one_of(made, "email:alex").event == REMINDED


# --- the agent's answer -------------------------------------------------------------------------


def test_an_answer_asks_everybody_again_and_changes_what_they_were_shown() -> None:
    """Where a message can be changed it is; the one that asks now shows the new version."""
    told = Told(approval("email", "room"), people(alex={}))
    first = told.plan()
    told.sent(one_of(first, "room"), "C1:1.0")
    told.sent(one_of(first, "email:alex"))
    made = told.happens(ANSWERED, version=2)
    new, changed = [d for d in made if not d.updates], [d for d in made if d.updates]
    assert names(new) == ["email:alex", "room"]
    assert {d.version for d in new} == {2}
    assert [(d.channel, d.updates, d.reference) for d in changed] == [
        ("room", one_of(first, "room").id, "C1:1.0")
    ]
    assert not changed[0].asks


def test_an_older_version_is_moot() -> None:
    told = Told(approval("email"), people(alex={}))
    (first,) = told.plan()
    (second,) = told.happens(ANSWERED, version=2)
    assert is_moot(first, told.approval)
    assert not is_moot(second, told.approval)


# --- the outcome --------------------------------------------------------------------------------


def _ended(told: Told, by: str = "alex") -> list[Delivery]:
    told.record = decided(told.approval, by)
    return told.plan()


def test_the_outcome_goes_to_those_who_were_reached_other_than_the_decider() -> None:
    """Whose message never left needs no explanation; whoever decided knows."""
    directory = people(alex={}, kim={}, sam={}, pat={})
    told = Told(approval("email", "hook"), directory)
    made = told.plan()
    for name in ("email:alex", "email:sam", "hook"):
        told.sent(one_of(made, name))
    told.failed(one_of(made, "email:kim"), permanent=True)
    ended = _ended(told)
    assert names(ended) == ["email:sam", "hook"]
    assert {d.event for d in ended} == {RESOLVED}
    assert not any(d.asks or carries_link(d) for d in ended)


def test_who_was_asked_twice_hears_the_outcome_once() -> None:
    told = Told(approval("email"), people(alex={}, sam={}))
    told.sent(one_of(told.plan(), "email:sam"))
    told.sent(one_of(told.happens(REMINDED, reminders=1), "email:sam"))
    assert names(_ended(told)) == ["email:sam"]


def test_what_can_be_changed_is_changed_and_not_followed_by_another() -> None:
    """Also the decider's own: its buttons must go."""
    told = Told(approval("email", "room", "sms"), people(alex={}, sam={}))
    made = told.plan()
    told.sent(one_of(made, "room"), "C1:1.0")
    told.sent(one_of(made, "sms:alex"), "sms-1")
    told.sent(one_of(made, "email:sam"))
    ended = _ended(told)
    assert names(ended) == ["email:sam", "room", "sms:alex"]
    assert {d.channel: d.updates for d in ended} == {
        "email": None,
        "room": one_of(made, "room").id,
        "sms": one_of(made, "sms:alex").id,
    }


def test_what_was_placed_after_the_outcome_is_changed() -> None:
    told = Told(approval("room"), people(alex={}))
    (one,) = told.plan()
    assert _ended(told) == []
    (changed,) = told.sent(one, "C1:1.0")
    assert (changed.updates, changed.reference, changed.event) == (one.id, "C1:1.0", RESOLVED)


def test_what_was_placed_is_changed_once_whoever_sees_it_first() -> None:
    """The outcome and the arrival come at the same time, and both lead to the same change."""
    told = Told(approval("room"), people(alex={}))
    (one,) = told.plan()
    begun = done(delivery_rules.start(one, NOW, None), Delivery)
    placed = done(delivery_rules.succeed(begun, 1, NOW, "C1:1.0"), Delivery)
    told.deliveries[placed.id] = placed
    (changed,) = _ended(told)
    unaware = replace(told.seen(), siblings=())
    changes = follow(placed, told.record, unaware)
    assert changes is not None
    assert [c.after.id for c in changes] == [placed.id, changed.id]
    assert told.settle(placed) == []


def test_what_was_changed_on_arrival_is_not_changed_again_by_the_outcome() -> None:
    told = Told(approval("room"), people(alex={}))
    (one,) = told.plan()
    told.record = decided(told.approval)
    (changed,) = told.sent(one, "C1:1.0")
    assert changed.updates == one.id
    assert told.plan() == []


def test_what_shows_the_newest_version_stays_as_it_is() -> None:
    told = Told(approval("room"), people(alex={}))
    told.plan()
    (reminder,) = told.happens(REMINDED, reminders=1, version=2)
    told.sent(reminder, "C1:2.0")
    assert not any(d.updates for d in told.happens(ANSWERED))


def test_what_was_placed_before_an_answer_is_changed_after_it() -> None:
    told = Told(approval("room"), people(alex={}))
    (one,) = told.plan()
    told.happens(ANSWERED, version=2)
    (changed,) = told.sent(one, "C1:1.0")
    assert (changed.updates, changed.event) == (one.id, ANSWERED)


def test_the_agent_hears_the_outcome_at_its_own_address() -> None:
    record = asked(callback_url="https://agent.example.test/hear")
    told = Told(record, people(alex={}))
    told.plan()
    callback = one_of(_ended(told), CALLBACK)
    assert (callback.address, callback.reads) == (record.callback_url, "programs")


# --- nobody is reached --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "is_reached"),
    [((), False), (("log",), False), (("sms",), False), (("hook",), True), (("room",), True)],
)
@pytest.mark.parametrize("order", ["all", "chain"])
def test_nobody_is_reached_where_no_message_can_reach_anybody(
    order: str, channels: tuple[str, ...], is_reached: bool
) -> None:
    """A log is read by nobody; behind a webhook there may be somebody."""
    told = Told(approval(*channels, order=order), people(alex={"addresses": {}}))
    told.plan()
    assert told.missed() is not is_reached
    owed = [entry.event for entry in told.record.owes(Service.NOTIFIER)]
    assert owed == ([] if is_reached else [UNREACHABLE])


def test_nobody_is_reached_when_the_last_message_is_given_up() -> None:
    """Not while another one is on its way or has arrived."""
    told = Told(approval("email"), people(alex={}, sam={}))
    first, second = told.plan()
    told.failed(first, permanent=True)
    assert not told.missed()
    told.failed(second, permanent=True)
    assert told.missed()


def test_one_message_that_arrived_is_enough() -> None:
    told = Told(approval("email"), people(alex={}, sam={}))
    first, second = told.plan()
    told.sent(first)
    told.failed(second, permanent=True)
    assert not told.missed()


def test_the_next_channel_keeps_hope() -> None:
    told = Told(approval("email", "sms", order="chain"), people(alex={}))
    (second,) = told.failed(told.plan()[0], permanent=True)
    assert not told.missed()
    told.failed(second, permanent=True)
    assert told.missed()


def test_what_was_never_sent_because_it_was_overtaken_reached_nobody() -> None:
    told = Told(approval("email"), people(alex={}))
    (old,) = told.plan()
    (new,) = told.happens(ANSWERED, version=2)
    told.settle(done(delivery_rules.drop(old, NOW, "overtaken"), Delivery))
    told.failed(new, permanent=True)
    assert told.missed()


def test_what_is_about_to_be_asked_keeps_hope() -> None:
    """The agent's answer is still to be planned: it may reach somebody."""
    told = Told(approval("email"), people(alex={}))
    (first,) = told.plan()
    told.record = told.approval.posted(NOW, Service.NOTIFIER, REMINDED)
    told.failed(first, permanent=True)
    assert not told.missed()


def test_a_reminder_that_reaches_nobody_does_not_look_like_one_that_does() -> None:
    told = Told(approval("log"), people(alex={}))
    told.plan()
    told.happens(REMINDED, reminders=1)
    assert told.missed()


def test_a_reminder_that_may_reach_somebody_gives_hope_again() -> None:
    told = Told(approval("email"), people(alex={}))
    told.failed(told.plan()[0], permanent=True)
    assert told.missed()
    told.happens(REMINDED, reminders=1)
    assert not told.missed()


def test_programs_and_logs_hear_that_nobody_is_reached_each_time() -> None:
    """Two times in the life of one version are two messages, so that the second can be written."""
    told = Told(approval("email", "log"), people(alex={}))
    told.failed(one_of(told.plan(), "email:alex"), permanent=True)
    first = told.plan()
    told.seen(at(60))
    (again,) = [d for d in told.happens(REMINDED, reminders=1) if d.channel == "email"]
    told.failed(again, permanent=True)
    second = told.plan()
    assert [(d.channel, d.event) for d in (*first, *second)] == [("log", UNREACHABLE)] * 2
    assert len({d.id for d in (*first, *second)}) == 2


def test_an_escalation_that_reaches_nobody_is_carried_further_up() -> None:
    """That nobody is reached is told once; the tracker is told that this step did not help."""
    told = Told(approval("log", escalation=CLIMBING), people(**MANAGED))
    told.plan()
    told.plan()
    told.happens(ESCALATED, escalated=1)
    assert [(e.service, e.event) for e in told.record.outbox] == [(Service.TRACKER, "unreached")]


# --- actions ------------------------------------------------------------------------------------


def _judged(verdict: Verdict, *severities: AlertSeverity, **submission: Any) -> Action:
    alerts = tuple(
        AlertView(safeguard="limit", title="Large", description="", severity=severity)
        for severity in severities
    )
    terms = TERMS.model_copy(update={"channels": ("email", "room", "hook")})
    found = judgement(verdict, alerts=alerts).model_copy(update={"terms": terms})
    return done(action_rules.judge(submitted(**submission), found, NOW), Action)


def test_people_are_told_of_an_action_that_goes_ahead() -> None:
    record = _judged(Verdict.NOTIFY, AlertSeverity.INFO, AlertSeverity.WARNING)
    loud = replace(EMAIL, min_severity=AlertSeverity.WARNING)
    deaf = replace(ROOM, min_severity=AlertSeverity.ERROR)
    made = Told(record, people(alex={}), [loud, deaf, HOOK]).plan()
    assert names(made) == ["email:alex", "hook"]
    assert {d.event for d in made} == {ALERT_RAISED}
    assert not any(carries_link(d) for d in made)


def test_the_end_of_an_action_is_for_its_agent_only() -> None:
    record = _judged(Verdict.DENY, callback_url="https://agent.example.test/hear")
    made = Told(record, people(alex={})).plan()
    assert names(made) == [CALLBACK]
    assert made[0].event == ACTION_RESOLVED


def test_nothing_follows_for_an_action_whose_message_failed() -> None:
    told = Told(_judged(Verdict.NOTIFY, AlertSeverity.INFO), people(alex={}))
    made = told.plan()
    assert told.failed(made[0], permanent=True) == []


def test_nothing_owed_is_nothing_to_do() -> None:
    told = Told(approval("email"), people(alex={}))
    (one,) = told.plan()
    assert plan(told.record, told.seen()) is None
    assert follow(one, told.record, told.seen()) is None


def test_links_are_for_persons_who_are_asked() -> None:
    made = Told(approval("email", "room", "hook"), people(alex={})).plan()
    assert [d.channel for d in made if carries_link(d)] == ["email"]


def test_only_what_is_pending_may_still_be_decided() -> None:
    """Whoever rejects because nobody is reached ends it, and nothing more is noted."""
    told = Told(approval("log", on_unreachable="reject"), people(alex={}))
    told.plan()
    told.record = done(waiting.advance(told.approval, NOW), Approval)
    assert told.approval.status is ActionStatus.REJECTED
    assert names(told.plan()) == ["log", "log"]


def test_a_message_that_waits_beyond_the_deadline_reaches_nobody() -> None:
    """Quiet hours that end too late are as good as no message at all."""
    directory = people(alex={"quiet_hours": "22:00-07:00"})
    for deadline, reached in (
        (MORNING - timedelta(seconds=1), False),
        (MORNING + timedelta(hours=1), True),
    ):
        asking = approval("email").model_copy(update={"expires_at": deadline})
        told = Told(asking, directory)
        told.plan(NIGHT)
        assert (told.approval.unreached_at is None) is reached
