"""The sentence that a request is read by: no order, name or nesting of arguments makes it lie."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from safeguards_runtime.headlines.leaves import MAX_VALUES
from safeguards_runtime.headlines.sentence import headline_of

AMOUNTS = "more than one argument could be the amount"
RECIPIENTS = "more than one argument could be the recipient"


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
            ["more than one currency is given for the amount"],
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
