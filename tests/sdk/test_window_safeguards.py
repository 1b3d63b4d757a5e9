"""The built-in safeguards that judge an action by what came before it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeguards.errors import ConfigurationError
from safeguards.plugins import BUILT_IN, Measure, Total, WindowSafeguard
from safeguards.plugins.fields import Place
from safeguards.plugins.payees import MAX_PAYEES, named_in
from safeguards.plugins.windows import DAY, HOUR, Slots, counted, slot_seconds, total
from safeguards.types import Agent, AlertSeverity, SafetyAlert

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
A_DAY = {"per": "agent", "over": "day", "at_most": "1000.00"}


class Trader(Agent):
    """An agent."""

    def run(self, **kwargs: Any) -> Any:
        """Do nothing."""


AGENT = Trader("trader")


def made(uses: str, **config: Any) -> WindowSafeguard:
    """An initialized safeguard."""
    safeguard = BUILT_IN[uses]()
    assert isinstance(safeguard, WindowSafeguard)
    safeguard.initialize(config)
    return safeguard


def spending(*limits: dict[str, Any], **config: Any) -> WindowSafeguard:
    """A safeguard for spending, by default of 1,000.00 a day for each agent."""
    return made("spending", limits=limits or [A_DAY], **config)


def paying(amount: Any = "100.00", recipient: Any = "Ann", **more: Any) -> dict[str, Any]:
    """An action that pays."""
    return {"action_type": "send_money", "amount": amount, "recipient": recipient, **more}


def ask(safeguard: WindowSafeguard, *contexts: dict[str, Any]) -> list[SafetyAlert]:
    """The alerts of the last of some actions of one agent, in one process."""
    found: list[SafetyAlert] = []
    for context in contexts:
        found = safeguard.validate_agent_action(AGENT, context)
    return found


class Book:
    """Windows as the services keep them: what is counted, at a time of the test's own."""

    def __init__(self, safeguard: WindowSafeguard) -> None:
        self.safeguard = safeguard
        self.slots: dict[tuple[str, int], Slots] = {}

    def judge(self, context: dict[str, Any], now: datetime) -> bool:
        """Whether an action may run; then it is counted."""
        measures = self.safeguard.measures(AGENT, context)
        totals = {
            m: total(self.slots.get((m.name, m.seconds), {}), m.seconds, now) for m in measures
        }
        alerts = self.safeguard.check(AGENT, context)
        alerts += self.safeguard.check_windows(AGENT, context, totals, now)
        if not alerts:
            self.add(context, now)
        return not alerts

    def add(self, context: dict[str, Any], now: datetime) -> None:
        """Count an action."""
        for measure in self.safeguard.measures(AGENT, context):
            self._put(measure, Total(measure.amount, 1), now, now)

    def give_back(self, context: dict[str, Any], at: datetime, now: datetime) -> None:
        """Take back what an action of a time counted."""
        for measure in self.safeguard.measures(AGENT, context):
            self._put(measure, Total() - Total(measure.amount, 1), at, now)

    def _put(self, measure: Measure, added: Total, at: datetime, now: datetime) -> None:
        key = (measure.name, measure.seconds)
        self.slots[key] = counted(self.slots.get(key, {}), measure.seconds, added, at, now)


STEPS = st.tuples(st.integers(-30, 2 * HOUR), st.decimals("0", "1200", places=2), st.booleans())


@given(st.lists(STEPS, max_size=40), st.sampled_from([90, HOUR, 7 * HOUR]))
def test_no_sequence_spends_more_than_the_limit_in_any_window(
    steps: list[tuple[int, Decimal, bool]], over: int
) -> None:
    """Whatever is paid and whenever, with a clock that steps back a little, and with payments that
    are given back: what ran within any window is at most the limit."""
    book = Book(spending({"per": "agent", "over": over, "at_most": "1000.00"}))
    now, ran = NOW, []
    for passed, amount, is_given_back in steps:
        now += timedelta(seconds=passed)
        context = paying(str(amount))
        if book.judge(context, now):
            if is_given_back:
                book.give_back(context, now, now + timedelta(seconds=1))
            else:
                ran.append((now, amount))
    for start, _ in ran:
        end = start + timedelta(seconds=over)
        assert sum(amount for at, amount in ran if start <= at <= end) <= 1000


def test_what_reaches_the_limit_passes_and_a_cent_more_does_not() -> None:
    """The words say what, how much, for whom and which limit; the metadata the exact strings."""
    limit = {"per": "agent", "over": "day", "at_most": "5000.00", "currency": "EUR"}
    safeguard = spending(limit)
    assert (
        ask(safeguard, paying("4000.00", currency="EUR"), paying("1000.00", currency="eur")) == []
    )
    (alert,) = ask(safeguard, paying("1200.01", currency="EUR"))
    assert alert.severity is AlertSeverity.ERROR
    assert alert.description == (
        "1,200.01 EUR would make 6,200.01 EUR within a day for agent trader: the limit is "
        "5,000.00 EUR a day."
    )
    assert alert.metadata["total"] == "6200.01"
    assert alert.metadata["limit"] == "5000.00"


def test_room_is_given_back_exactly_also_by_an_amount_of_forty_digits() -> None:
    """A huge amount that is rejected takes nothing with it of what was counted before."""
    book = Book(spending())
    assert book.judge(paying("999.99"), NOW)
    huge = paying("9" * 40)
    book.add(huge, NOW)
    assert not book.judge(paying("0.01"), NOW)
    book.give_back(huge, NOW, NOW)
    assert not book.judge(paying("0.02"), NOW)
    assert book.judge(paying("0.01"), NOW)
    book.give_back(paying("999.99"), NOW, NOW + timedelta(hours=2))
    assert not book.judge(paying("1000.00"), NOW)
    assert book.judge(paying("999.99"), NOW)


@pytest.mark.parametrize(("passed", "may"), [(0, False), (DAY - 1, False), (DAY + 1440, True)])
def test_a_window_moves_on_by_slots(passed: int, may: bool) -> None:
    """It holds at least its whole time, and at most a sixtieth more."""
    book = Book(spending())
    assert slot_seconds(DAY) == 1440
    assert book.judge(paying("1000.00"), NOW)
    assert book.judge(paying("0.01"), NOW + timedelta(seconds=passed)) is may


def test_what_is_given_back_when_its_slot_is_forgotten_makes_no_room() -> None:
    """A clock that stood wrong leaves no window with less than nothing."""
    slots = counted({}, HOUR, Total(Decimal(-500), -1), NOW, NOW)
    assert total(slots, HOUR, NOW) == Total()


WRITTEN = ("+5", "1e3", " 5", "\u0665", "NaN", "1,000", "-5", "")


@pytest.mark.parametrize("amount", [*WRITTEN, None, True, [], ["5"], {"amount": "x"}, 1e300])
def test_an_amount_that_cannot_be_read_is_asked_about(amount: Any) -> None:
    """It never counts as nothing."""
    (alert,) = ask(spending(), paying(amount))
    assert alert.severity is AlertSeverity.ERROR
    assert alert.title in {"No amount", "Amount cannot be read", "Several amounts"}


@pytest.mark.parametrize(
    ("more", "title"),
    [
        ({"total": "2.00"}, "Several amounts"),
        ({"payment": {"amount": "100.00"}}, "Several amounts"),
        ({"recipient": ["Ann", "Bob"]}, "Several payees"),
        ({"recipient": True}, "Payee cannot be read"),
        ({"currency": "€"}, "Currency cannot be read"),
        ({"currency": 5}, "Currency cannot be read"),
        ({"currency": "EUR", "options": {"currency": "USD"}}, "Several currencies"),
        ({"deep": [[[]]] * 10_001}, "Arguments cannot be searched"),
    ],
)
def test_what_could_be_meant_in_two_ways_is_asked_about(more: dict[str, Any], title: str) -> None:
    """Two amounts that are one stand side by side and are equal."""
    assert title in {alert.title for alert in ask(spending(), paying(**more) | more)}
    assert ask(spending(), paying(total="100.00")) == []


def test_what_no_budget_has_room_for_reserves_nothing() -> None:
    """A payment above one of the limits waits at nobody's cost, at none of the limits."""
    safeguard = spending(A_DAY, {**A_DAY, "at_most": "5000.00"})
    for amount, once_allowed in (("1000.00", False), ("1000.01", True)):
        (measure,) = safeguard.measures(AGENT, paying(amount))
        assert measure.once_allowed is once_allowed


def test_amounts_are_found_where_tools_put_them() -> None:
    """In any spelling, nested, and among a thousand arguments."""
    many = {f"argument_{index}": index for index in range(1000)}
    for context in (
        {"paymentAmount": "1000.01"},
        {"payment": {"Amount": 1000.01, "to": "Ann"}},
        many | {"transfer": {"details": {"total_amount": "1000.01"}}},
    ):
        (alert,) = ask(spending(), {"action_type": "pay", **context})
        assert alert.title == "Over the spending limit"


@pytest.mark.parametrize("amount", ["amount", "price"])
@pytest.mark.parametrize("number", ["quantity", "count", "times"])
def test_an_amount_counts_as_often_as_it_is_paid(amount: str, number: str) -> None:
    """Whether it is the amount of each cannot be told, unless it is called the total."""
    assert ask(spending(), {"action_type": "pay", amount: "10.00", number: 100}) == []
    (alert,) = ask(spending(), {"action_type": "pay", amount: "10.00", number: 101})
    assert alert.metadata["amount"] == "1010.00"
    assert ask(spending(), {"action_type": "pay", "total": "10.00", number: 101}) == []


def test_a_price_counts_as_often_as_there_are() -> None:
    """A small price of many is a large amount; how many must be readable."""
    order = {"action_type": "place_order", "price": "10.00", "merchant": "Shop"}
    assert ask(spending(), {**order, "quantity": 100}) == []
    (alert,) = ask(spending(), {**order, "quantity": 101})
    assert alert.metadata["amount"] == "1010.00"
    assert ask(spending(), {**order, "quantity": "0.001"}, {**order, "price": "990.01"})
    assert ask(spending(), {**order, "quantity": "1e9"})


def test_currencies_are_never_added() -> None:
    """Each has a budget; a limit for one needs it named, and leaves no other without a limit."""
    safeguard = spending()
    assert ask(safeguard, paying("900.00", currency="EUR"), paying("900.00", currency="USD")) == []
    for_one = spending({**A_DAY, "currency": "EUR"})
    assert [alert.title for alert in ask(for_one, paying())] == ["No currency"]
    assert [alert.title for alert in ask(for_one, paying(currency="JPY"))] == ["Another currency"]
    assert ask(for_one, paying(currency="EUR")) == []


@pytest.mark.parametrize("field", ["recipient", "iban"])
def test_another_spelling_of_a_payee_is_no_new_budget(field: str) -> None:
    """Spaces, case, invisible characters and compatibility forms make nobody another."""
    safeguard = spending({"per": "payee", "over": "day", "at_most": "1000"})
    for text in ("DE89 3704 0044 0532 0130 00", "de89\u200b3704\uff10\uff10440532013000"):
        assert ask(safeguard, {"action_type": "pay", "amount": "500.00", field: text}) == []
    again = {"action_type": "pay", "amount": "500.01", field: "De89 37040044-0532013000"}
    (alert,) = ask(safeguard, again)
    assert alert.description.startswith("500.01 would make 1,500.01 within a day for this payee")
    assert "DE89" not in alert.description
    assert ask(safeguard, {"action_type": "pay", "amount": "500.00", field: "Bob"}) == []
    assert [a.title for a in ask(safeguard, {"action_type": "pay", "amount": "1"})] == ["No payee"]


def test_a_payee_counts_by_each_of_its_names() -> None:
    """Neither another account of one name nor another name of one account is a new budget."""
    safeguard = spending({"per": "payee", "over": "day", "at_most": "1000"})
    assert ask(safeguard, paying("600", {"name": "Ann Ltd", "iban": "DE1"})) == []
    assert ask(safeguard, paying("600", {"name": "Other", "iban": "DE1"})) != []
    assert ask(safeguard, paying("600", "Ann Ltd", iban="DE2")) != []


def test_velocity_counts_actions() -> None:
    """The one after the last that is allowed is one too many, for this agent and type."""
    limits = [{"per": "agent_and_type", "over": "minute", "at_most": 3}]
    safeguard = made("velocity", limits=limits)
    act = {"action_type": "send_email", "recipients": ["a@example.com"]}
    assert ask(safeguard, act, act, act) == []
    (alert,) = ask(safeguard, {**act, "action_type": "SendEmail"})
    assert alert.description == (
        "This would be action 4 within a minute for SendEmail by agent trader: "
        "the limit is 3 a minute."
    )
    assert ask(safeguard, {"action_type": "read_email"}) == []


def test_a_first_recipient_is_new_until_an_action_with_it_was_allowed() -> None:
    """The reviewer sees who it is; an address in another case is nobody new, a lookalike is."""
    safeguard = made("first_time", known=["*@example.com"])
    mail = {"action_type": "send_email", "recipients": ["Ann <ann@example.com>", "eve@evil.test"]}
    (alert,) = ask(safeguard, mail, mail)
    assert alert.severity is AlertSeverity.WARNING
    assert alert.title == "First time"
    assert "eve@evil.test (/recipients)" in alert.description
    assert "ann@" not in alert.description
    assert all(measure.once_allowed for measure in safeguard.measures(AGENT, mail))
    safeguard.count_allowed(AGENT, mail)
    assert ask(safeguard, mail, {**mail, "recipients": "EVE@evil.test"}) == []
    assert ask(safeguard, {**mail, "recipients": "\u0435ve@evil.test"}) != []
    (alert,) = ask(safeguard, {**mail, "recipients": "ev\u200be@evil.test"})
    assert "ev⟨U+200B⟩e@evil.test" in alert.description
    assert ask(safeguard, {"action_type": "get_balance"}) == []


@pytest.mark.parametrize(
    "hidden",
    [
        "eve@evil.test, ann@example.com",
        "eve@evil.test ann@example.com",
        "ann@example.com <eve@evil.test>",
        "<eve@evil.test>ann@example.com",
        ["ann@example.com", ["eve@evil.test"]],
        [{"address": "eve@evil.test"}],
    ],
)
def test_a_stranger_among_those_known_is_new(hidden: Any) -> None:
    """A pattern is for one address, and for nothing written around it."""
    safeguard = made("first_time", known=["*@example.com"])
    assert ask(safeguard, {"action_type": "send_email", "to": hidden})
    assert ask(safeguard, {"action_type": "send_email", "bcc": hidden})


@pytest.mark.parametrize(
    "reached",
    [
        {"watchers": "eve@evil.test"},
        {"options": {"notify_emails": ["Eve <eve@evil.test>"]}},
        {"copies": "ann@example.com; eve@evil.test"},
        {"copies": "ann@example.com eve@evil.test"},
        {"copies": "ann@example.com <eve@evil.test>"},
        {"copies": "eve\uff20evil.test"},
    ],
)
def test_an_address_is_a_recipient_under_any_name(reached: dict[str, Any]) -> None:
    """If that is wanted: no list has all names that arguments go by."""
    event = {"action_type": "create_event", "attendees": ["ann@example.com"], **reached}
    assert ask(made("first_time", known=["*@example.com"]), event) == []
    (alert,) = ask(made("first_time", known=["*@example.com"], addresses=True), event)
    assert "evil.test" in alert.description


@pytest.mark.parametrize(
    "context",
    [
        {"from": "me@home.test"},
        {"calendarId": "me@home.test"},
        {"user_google_email": "me@home.test"},
        {"body": "Write to eve@evil.test, please."},
        {"body": "see @eve"},
    ],
)
def test_an_address_of_ones_own_or_in_a_sentence_is_no_recipient(context: dict[str, Any]) -> None:
    """A calendar is called by an address, and a text may speak of one."""
    assert ask(made("first_time", addresses=True), {"action_type": "create_event", **context}) == []


def test_recipients_are_judged_up_to_a_hundred() -> None:
    """Fifty are each judged; of more than a hundred none is, and a person is asked."""
    safeguard = made("first_time")
    mail: dict[str, Any] = {"action_type": "send_email"}
    fifty = {**mail, "to": [f"{index}@example.com" for index in range(50)]}
    assert len(safeguard.measures(AGENT, fifty)) == 50
    (alert,) = ask(safeguard, fifty)
    assert "and 45 more" in alert.description
    (alert,) = ask(safeguard, {**mail, "to": [f"{index}@example.com" for index in range(101)]})
    assert alert.title == "Too many recipients"


@pytest.mark.parametrize(
    "to",
    [
        "ann@example.com," * 101 + "eve@evil.test",
        ["ann@example.com"] * 101 + ["eve@evil.test"],
        {"email": "ann@example.com;" * 101 + "eve@evil.test"},
    ],
)
def test_nobody_hides_behind_a_hundred_others(to: Any) -> None:
    """More are not looked at: each action would cost as much as thousands."""
    mail = {"action_type": "send_email", "to": to}
    (alert,) = ask(made("first_time"), mail)
    assert alert.title == "Too many recipients"
    (alert,) = ask(spending(), paying(recipient=to))
    assert (alert.title, "names more than 100" in alert.description) == ("Several payees", True)


def test_an_argument_is_read_until_it_names_too_many() -> None:
    many = [f"{index}@example.com" for index in range(20_000)]
    for value in (many, ",".join(many), [{"email": one} for one in many]):
        assert len(named_in(Place("/to", value))) == MAX_PAYEES + 1
    ((*names,),) = named_in(Place("/to", {"email": ",".join(many)}))
    assert len(names) == MAX_PAYEES + 1
    assert named_in(Place("/to", " ,;\n, Ann <ann@example.com>,, bob@example.com; ")) == [
        ("ann@example.com",),
        ("bob@example.com",),
    ]


def test_many_amounts_under_a_threshold_are_one_that_was_split() -> None:
    """Three small ones are; two are if each is more than half; everyday ones are not."""
    small = [paying(amount) for amount in ("450.00", "450.00", "450.00")]
    (alert,) = ask(made("splitting", threshold="1000.00"), *small)
    assert alert.description == (
        "3 payments to this payee of together 1,350.00 within a day, each at most 1,000.00."
    )
    assert ask(made("splitting", threshold="1000.00"), paying("990.00"), paying("20.00")) == []
    assert ask(made("splitting", threshold="1000.00"), paying("990.00"), paying("501.00"))
    assert ask(made("splitting", threshold="1000.00"), paying("2000.00"), paying("600.00")) == []
    strangers = [paying("990.00", f"Payee {index}") for index in range(3)]
    assert ask(made("splitting", threshold="1000.00"), *strangers) == []
    assert ask(made("splitting", threshold="1000.00", per="agent"), *strangers)
    assert ask(made("splitting", threshold="1000.00"), {"action_type": "pay"})


@pytest.mark.parametrize(
    ("now", "inside"),
    [
        ("2026-03-27T07:00:00+00:00", True),  # Friday 08:00, winter time
        ("2026-03-27T06:59:59+00:00", False),
        ("2026-03-30T06:00:00+00:00", True),  # Monday 08:00, summer time
        ("2026-03-30T16:00:00+00:00", False),  # Monday 18:00
        ("2026-03-28T11:00:00+00:00", False),  # Saturday
    ],
)
def test_hours_are_those_of_the_clock_on_the_wall(now: str, inside: bool) -> None:
    """On the days on which they begin, and moved with daylight saving time."""
    safeguard = made(
        "time_of_day", **{"time_zone": "Europe/Berlin", "from": "08:00", "to": "18:00"}
    )
    assert safeguard.measures(AGENT, {}) == ()
    alerts = safeguard.check_windows(AGENT, {}, {}, datetime.fromisoformat(now))
    assert (alerts == []) is inside


@pytest.mark.parametrize(
    ("now", "inside"),
    [("2026-03-07T05:59", True), ("2026-03-07T06:00", False), ("2026-03-06T05:00", False)],
)
def test_hours_over_midnight_belong_to_the_day_on_which_they_begin(now: str, inside: bool) -> None:
    """Friday's night ends on Saturday morning."""
    config = {"time_zone": "UTC", "days": ["fri"], "from": "22:00", "to": "06:00"}
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert (made("time_of_day", **config).check_windows(AGENT, {}, {}, at) == []) is inside


@pytest.mark.parametrize(
    ("uses", "config", "said"),
    [
        ("time_of_day", {"time_zone": "Mars/Base", "from": "08:00", "to": "18:00"}, "time_zone"),
        ("time_of_day", {"time_zone": "../etc", "from": "08:00", "to": "18:00"}, "time_zone"),
        ("time_of_day", {"time_zone": "UTC", "from": 480, "to": "18:00"}, "'from'"),
        (
            "time_of_day",
            {"time_zone": "UTC", "form": "08:00", "to": "18:00"},
            "did you mean 'from'",
        ),
        ("spending", {"limits": []}, "limits"),
        ("spending", {"limits": [{**A_DAY, "at_most": "1e3"}]}, "limits.0.at_most"),
        ("spending", {"limits": [{**A_DAY, "over": "fortnight"}]}, "write one of minute"),
        ("spending", {"limits": [{**A_DAY, "currency": "€"}]}, "limits.0.currency"),
        ("velocity", {"limits": [{"per": "agent", "over": 0, "at_most": 1}]}, "limits.0.over"),
        ("splitting", {"threshold": "0"}, "threshold"),
        ("first_time", {"known_payees": []}, "unknown"),
    ],
)
def test_a_wrong_configuration_names_the_key(uses: str, config: dict[str, Any], said: str) -> None:
    """And what to write instead."""
    with pytest.raises(ConfigurationError, match=said):
        made(uses, **config)


def test_one_process_with_many_threads_lets_through_what_the_limit_is() -> None:
    """Judging and counting are one step."""
    safeguard = spending()
    through: list[int] = []

    def pay() -> None:
        through.extend(1 for _ in range(20) if not ask(safeguard, paying("10.00")))

    threads = [threading.Thread(target=pay) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(through) == 100
