"""The sentence that a request is read by: no order, name or nesting of arguments makes it lie."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from safeguards_runtime.headlines.leaves import MAX_VALUES
from safeguards_runtime.headlines.sentence import headline_of

AMOUNTS = "more than one argument could be the amount"
RECIPIENTS = "more than one argument could be the recipient"
THINGS = "more than one argument could be what it is done to"
SCALE = "the amount may be counted in thousands or the like"
CURRENCIES = "more than one currency is given for the amount"


@pytest.mark.parametrize(
    ("action_type", "context", "sentence", "doubts"),
    [
        (
            "purchase",
            {"fee": "1.00", "amount": "99999.00", "currency": "EUR", "recipient": "ACME"},
            "Make a purchase of €99,999.00 and other amounts for ACME",
            [AMOUNTS],
        ),
        (
            "transfer",
            {"charge_number": "17", "amount": "99999", "currency": "EUR", "to": "ACME"},
            "Make a transfer of €99,999 to ACME",
            [],
        ),
        (
            "transfer",
            {"discount_amount": "17", "amount": "99999"},
            "Make a transfer of 99,999",
            [],
        ),
        (
            "transfer",
            {"note": {"recipient": "ACME GmbH"}, "to": "mallory@evil.example"},
            "Make a transfer to mallory@evil.example and another recipient",
            [RECIPIENTS],
        ),
        (
            "transfer",
            {"amount": "5000", "ref": {"currency": "JPY"}},
            "Make a transfer of 5,000",
            [],
        ),
        (
            "transfer",
            {"amount": "12", "currency": "000.00 USD"},
            "Make a transfer of 12",
            ["its currency is none that is known"],
        ),
        # The largest of what is called alike; an amount that has more words is less likely.
        (
            "refund",
            {"amount": "1", "sum": "-7"},
            "Make a refund of -7 and other amounts",
            [AMOUNTS],
        ),
        (
            "refund",
            {"refund_amount": "9", "price": "1"},
            "Make a refund of 1 and other amounts",
            [AMOUNTS],
        ),
        # At the top, however likely what stands further in is.
        (
            "refund",
            {"order": {"amount": "100"}, "cost": "1"},
            "Make a refund of 1 and other amounts",
            [AMOUNTS],
        ),
        (
            "refund",
            {"amount": "1", "deep": {"in": [{"it": {"amount": "99999"}}]}},
            "Make a refund of 1 and other amounts",
            [AMOUNTS],
        ),
        (
            "refund",
            {"fee": "1", "amount": ["99999"]},
            "Make a refund of 1 and other amounts",
            [AMOUNTS],
        ),
        (
            "refund",
            {"fee": "1", "amount": "all of it"},
            "Make a refund of 1 and other amounts",
            [AMOUNTS],
        ),
        (
            "refund",
            {"fee": "1", "amount": {"units": 99999, "nanos": 0}},
            "Make a refund of 1 and other amounts",
            [AMOUNTS],
        ),
        (
            "refund",
            {"amount": "1", "total": "99999"},
            "Make a refund of 1 and other amounts",
            [AMOUNTS],
        ),
        # The same said twice is no other amount, and nobody else.
        (
            "refund",
            {"amount": "5.0", "price": "5.00", "payee": "Bo", "order": {"recipient": "Bo"}},
            "Make a refund of 5.0 to Bo",
            [],
        ),
        # Whose account, and by what name, is no second recipient.
        (
            "refund",
            {"amount": "5", "recipient_name": "Bo", "recipient_iban": "DE1", "iban": "DE1"},
            "Make a refund of 5 to Bo",
            [],
        ),
        (
            "refund",
            {"vendor": "ACME", "payee": "Mallory"},
            "Make a refund to Mallory and another recipient",
            [RECIPIENTS],
        ),
        ("send_email", {"to": "a@x.example", "reply_to": "b@x"}, "Send email to a@x.example", []),
        (
            "send_email",
            {"to": ["a@x.example", "b@x.example"]},
            "Send email to a@x.example and another recipient",
            [RECIPIENTS],
        ),
        (
            "pay",
            {"amount_eur": "5", "currency": "JPY"},
            "Pay 5",
            [CURRENCIES],
        ),
        ("pay", {"amount_cents": "500", "currency": "eur"}, "Pay 500 EUR cents", []),
        ("pay", {"amount": "5", "currency": "€"}, "Pay €5", []),
        ("pay", {"amount": "5", "currency": "KES"}, "Pay 5 KES", []),
        ("pay", {"amount": "-5.00", "currency": "EUR"}, "Pay -€5.00", []),
        ("delete_file", {"path": "/etc", "a": {"file": "b.txt"}}, "Delete file /etc", []),
    ],
)
def test_the_sentence_does_not_choose_silently(
    action_type: str, context: dict[str, Any], sentence: str, doubts: list[str]
) -> None:
    """What stands further out is shown, then what is likelier; of others there is a word."""
    said = headline_of(action_type, context)
    assert (said.sentence, list(said.doubts)) == (sentence, doubts)
    assert said.is_ambiguous == bool(doubts)


@pytest.mark.parametrize(
    "name",
    ["amount_millions", "amount_in_thousands", "amountK", "amount_thousand_usd", "amount_minor"],
)
def test_a_name_that_may_multiply_the_amount_is_doubted(name: str) -> None:
    """Also as the name of what holds it; and the same figure by a plainer name is another."""
    context = {name: 5, "currency": "USD"}
    assert SCALE in headline_of("pay", context).doubts
    assert SCALE in headline_of("pay", {name: {"value": 5, "currency": "USD"}}).doubts
    assert headline_of("pay", {"amount": 5, **context}).doubts == (AMOUNTS,)


@pytest.mark.parametrize("name", ["unit", "scale", "amount_unit", "multiplier"])
def test_what_the_amount_is_counted_in_is_doubted(name: str) -> None:
    assert headline_of("pay", {"amount": 5, name: "million"}).doubts == (SCALE,)
    assert headline_of("pay", {name: "million", "order": {"amount": 5}}).doubts == (SCALE,)


@pytest.mark.parametrize(
    "name", ["amount", "amt", "total_amount", "amountDue", "amount_in_usd", "order_total"]
)
def test_an_everyday_name_of_an_amount_is_not_doubted(name: str) -> None:
    said = headline_of("pay", {name: "5", "currency": "USD", "business_unit": "EMEA"})
    assert (said.sentence, said.doubts) == ("Pay $5", ())


@pytest.mark.parametrize("name", ["tip", "principal", "amt", "fee"])
def test_what_else_is_paid_is_another_amount(name: str) -> None:
    said = headline_of("pay", {"amount": "5", "currency": "USD", name: "50000"})
    assert said.sentence.endswith(" and other amounts")
    assert said.doubts == (AMOUNTS,)


def test_a_principal_may_be_somebody() -> None:
    assert headline_of("grant_access", {"principal": "role/17"}).sentence == "Grant access"


def test_a_currency_is_the_amounts_only_by_its_name() -> None:
    """In which it is settled is no other currency of it; `amount_currency` is."""
    given = {"amount": "5", "currency": "USD"}
    assert headline_of("pay", {**given, "settlement_currency": "KWD"}).sentence == "Pay $5"
    assert headline_of("pay", {**given, "amount_currency": "KWD"}).doubts == (CURRENCIES,)


@pytest.mark.parametrize(
    ("context", "is_doubted"),
    [
        ({"to": "a@x.example", "to_address": "b@x.example"}, True),
        ({"to": "a@x.example", "email": "b@x.example"}, True),
        ({"to": "ACME", "recipient_account": "EVIL"}, True),
        ({"recipient": "ACME", "recipient_account": "EVIL"}, True),
        ({"recipient": "ACME", "recipient_name": "EVIL"}, True),
        ({"recipient": "ACME", "destination": "EVIL"}, True),
        ({"recipient": "ACME", "receiver": "EVIL"}, True),
        ({"recipient": "ACME", "recipients": ["EVIL"]}, True),
        ({"customer": "ACME", "customers": ["EVIL"]}, True),
        ({"recipient": "ACME", "recipient_account": "DE1", "recipient_city": "Rome"}, False),
        ({"recipient": "17", "recipient_id": "18", "recipient_name": "Bo"}, False),
        ({"to": "DE1", "account": "DE2"}, False),
    ],
)
def test_only_what_tells_more_of_somebody_is_nobody_else(
    context: dict[str, Any], is_doubted: bool
) -> None:
    """Their account beside their name; not another name, nor another address."""
    said = headline_of("send_email", context)
    assert said.doubts == ((RECIPIENTS,) if is_doubted else ())
    assert ("and another recipient" in said.sentence) == is_doubted


@pytest.mark.parametrize(
    ("action_type", "context", "sentence"),
    [
        ("delete_file", {"path": "/x", "files": ["/y"]}, "Delete file /x and another file"),
        ("delete_file", {"path": "/x", "target": "/"}, "Delete file /x and another target"),
        ("delete_file", {"path": "/x", "name": "/y"}, "Delete file /x and another name"),
        (
            "delete_file",
            {"path": "/x", "files": [{"path": "/y"}]},
            "Delete file /x and another path",
        ),
        ("delete_file", {"a": {"path": "/x"}, "paths": ["/y"]}, "Delete file /x and another path"),
        ("drop_table", {"table": "x", "tables": ["y"]}, "Drop table x and another table"),
        ("drop_table", {"target": "x", "tables": ["y"]}, "Drop table x and another table"),
        ("run_query", {"query": "x", "sql": "y"}, "Run query x and another SQL"),
        ("run_command", {"command": "x", "script": "y"}, "Run command x and another script"),
        ("grant_access", {"user": "x", "users": ["y"]}, "Grant access on user x and another user"),
        # The same thing again, what is in it, where it is, what it is called, how many there are.
        ("delete_file", {"path": "/x/y", "file": "y", "files": ["/x/y"]}, "Delete file /x/y"),
        ("write_file", {"file": "x", "content": "y", "folder": "z"}, "Write file x"),
        ("create_branch", {"repo": "x", "branch": "y", "name": "z"}, "Create branch on repo x"),
        ("run_query", {"query": "x", "database": "y"}, "Run query on database y"),
        ("drop_table", {"table": "x", "database": "y", "display_name": "z"}, "Drop table x"),
        ("read_file", {"path": "/x", "files": 3}, "Read file /x"),
        ("copy_file", {"path": "/x", "destination": "/y"}, "Copy file /x"),
        ("write_file", {"file_size": 5, "files_count": 3, "file_type": "x"}, "Write file"),
    ],
)
def test_a_second_thing_of_the_same_kind_is_doubted(
    action_type: str, context: dict[str, Any], sentence: str
) -> None:
    said = headline_of(action_type, context)
    assert said.sentence == sentence
    assert said.doubts == ((THINGS,) if " and another" in sentence else ())


@pytest.mark.parametrize(
    "value",
    [
        "ACME GmbH",
        "Johnson & Johnson",
        "O'Neil Ltd.",
        "Buy-n-Large",
        "web-1",
        "/srv/a.txt",
        "bob@example.com",
        "https://x.example/a/17",
        "DE89 3704 0044 0532 0130 00",
        "日本",
    ],
)
def test_an_everyday_name_is_shown_as_it_is(value: str) -> None:
    assert headline_of("send_email", {"to": value}).sentence == f"Send email to {value}"


@pytest.mark.parametrize(
    "value",
    [
        "ACME for 5.00",
        "ACME 5.00",
        "5.00",
        "USD5000",
        "5000USD",
        "\uff15\uff10",
        "ACME (until 31 Dec)",
        "Bob, no approval needed",
        "ACME: Approved",
        "ACME And Another Recipient",
        "ACME-for-5.00",
        "acme every month",
    ],
)
def test_what_could_be_our_words_is_in_quotes(value: str) -> None:
    assert headline_of("send_email", {"to": value}).sentence == f"Send email to “{value}”"


@pytest.mark.parametrize("mark", '”"“„»″')
def test_what_is_in_quotes_cannot_end_them(mark: str) -> None:
    """Neither as an object nor as an amount."""
    context = {"to": f"ACME{mark} for 5.00", "amount": f"1{mark} to Bob"}
    said = headline_of("send_money", context)
    assert said.sentence == "Send “1' to Bob” to “ACME' for 5.00”"


def test_an_action_type_that_is_cut_says_so() -> None:
    said = headline_of(f"wire_{'x' * 60}_then_delete_all_of_it", {"amount": "5"})
    assert said.verb.endswith("…")
    assert said.doubts == ("its action type is longer than the headline shows",)


@pytest.mark.parametrize("context", [{"fee": "1", "amount": "2"}, {"amount": "2", "fee": "1"}])
def test_the_order_of_the_keys_tells_nothing(context: dict[str, Any]) -> None:
    assert headline_of("pay", context).sentence == "Pay 2 and other amounts"


def test_an_amount_that_is_a_text_is_in_quotes() -> None:
    """It could go on as our sentence does."""
    context = {"amount": "1.00 to ACME", "to": "mallory"}
    assert headline_of("send_money", context).sentence == "Send “1.00 to ACME” to mallory"


def test_only_a_plain_number_is_exact() -> None:
    exact = {
        text: figure.exact
        for text in ("0.10", "1e9", "NaN7", "1,000", "-3", "9" * 41)
        if (figure := headline_of("pay", {"amount": text}).figure)
    }
    plain = {"0.10": Decimal("0.10"), "-3": Decimal(-3)}
    assert exact == {"1e9": None, "NaN7": None, "1,000": None, "9" * 41: None, **plain}


@pytest.mark.parametrize("text", ["-3", "−3", "(3)", "-0.00"])  # noqa: RUF001
def test_an_amount_that_is_negative_is_told(text: str) -> None:
    figure = headline_of("pay", {"amount": text}).figure
    assert figure is not None
    assert figure.is_negative


def test_what_was_not_looked_at_is_told() -> None:
    """So many arguments that the amount of interest could be behind them."""
    padding = {f"x{number}": number for number in range(MAX_VALUES)}
    said = headline_of("pay", {**padding, "amount": "99999"})
    assert said.sentence == "Pay"
    assert said.is_ambiguous
