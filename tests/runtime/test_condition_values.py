"""What conditions of policies reckon with: money, exactly, and domains."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from safeguards_runtime.conditions import ArgumentType
from tests.runtime.conditions import failure, holds, refusal

OVER = 'money(context.amount) > money("10000.00")'


# Money


@pytest.mark.parametrize("declared", [False, True])
@pytest.mark.parametrize(
    ("amount", "over"),
    [
        ("10000.000000000000001", True),
        ("10000.00", False),
        ("10000", False),
        ("010000.0", False),
        ("9999.999999999999999999999999", False),
        ("9" * 40, True),
        (10000, False),
        (10000.01, True),
        (Decimal("10000.000000000000001"), True),
    ],
)
def test_money_is_compared_exactly(amount: Any, over: bool, declared: bool) -> None:
    assert holds(OVER, {"amount": amount}, declared=declared) is over


@pytest.mark.parametrize("declared", [False, True])
@pytest.mark.parametrize(
    "amount",
    [
        *(
            "+5",
            "-5",
            "1e5",
            " 5",
            "5 ",
            "5.",
            ".5",
            "5,00",
            "\u0663",
            "\uff15",
            "NaN",
            "",
            "5\0",
            "9" * 41,
        ),
        *(10000.000000000002, float("nan"), float("inf"), -1, True, [1], {"a": 1}, b"5"),
        *(Decimal("NaN"), Decimal("1E+1000000"), 10**40),
    ],
)
def test_what_is_no_exact_amount_cannot_be_judged(amount: Any, declared: bool) -> None:
    kinds: dict[str, ArgumentType] = {"amount": "money"} if declared else {}

    assert "amount" in failure(OVER, {"amount": amount}, **kinds)


def test_money_sorts_as_amounts_do() -> None:
    amounts = ["0", "0.001", "0.01", "0.1", "0.11", "1", "1.5", "9", "10", "10.01", "10.1", "99"]

    for less, more in pairwise(amounts):
        assert holds("money(context.a) < money(context.b)", {"a": less, "b": more})
        assert not holds("money(context.a) >= money(context.b)", {"a": less, "b": more})
    assert holds("money(context.a) == money(context.b)", {"a": "7.50", "b": 7.5})


def test_a_sum_is_exact() -> None:
    fee = {"amount": "0.1", "fee": "0.2"}

    assert holds('plus(context.amount, context.fee) == money("0.3")', fee, declared=True)
    assert holds("plus(money(context.amount), money(context.fee)) == money(0.3)", fee)
    long = {"amount": "9" * 40, "fee": "0." + "0" * 37 + "1"}
    assert holds("plus(context.amount, context.fee) > context.amount", long, declared=True)


@pytest.mark.parametrize(
    "source",
    [
        "context.amount > 10000.0",
        "context.amount > 10000",
        "10000 < context.amount",
        'context.amount == "10000.00"',
        "money(context.amount) > 10000",
        "money(context.extra) == context.extra",
        'context.extra >= money("1")',
        'context.items.exists(item, item.price > money("1"))',
    ],
)
def test_money_is_only_compared_with_money(source: str) -> None:
    assert "write money(…) on both sides" in refusal(source)


@pytest.mark.parametrize(
    "source",
    [
        'context.amount + context.fee > money("1")',
        "size(context.amount) > 1",
        'string(context.amount) == "1"',
        "context.amount in [1]",
        "context.amount in ['1']",
        'money(context.items) > money("1")',
        'money(context.urgent) > money("1")',
    ],
)
def test_money_is_no_text_and_no_number(source: str) -> None:
    assert "cannot be used on" in refusal(source)


@pytest.mark.parametrize("amount", ['"10,000"', '"1e5"', "1e5", "5u", "0x10", "''", "-5"])
def test_an_amount_in_a_condition_is_read_when_it_is_loaded(amount: str) -> None:
    message = refusal(f"context.amount > money({amount})")

    assert message.startswith("1:24: ")
    assert "amount" in message


# Domains


@pytest.mark.parametrize(
    "text",
    [
        *("a@Example.com", "Bob <a@example.com>", '"Bob, B" <a@example.com>', "example.com."),
        *("https://example.com/x?a@b", "HTTPS://EXAMPLE.COM:443", "ftp://example.com"),
    ],
)
def test_the_domain_of_an_address_or_url(text: str) -> None:
    assert holds('domain(context.to) == "example.com"', {"to": text})


@pytest.mark.parametrize(
    "text",
    [
        *("a@example.com, b@evil.test", "a@evil.test <a@example.com>", "a@b@example.com", "a b"),
        *("https://example.com@evil.test/", "https://evil.test\\@example.com", "//example.com"),
        *("a@ex\u0430mple.com", "a@[127.0.0.1]", "a@example.com\n", "", "@", "mailto:a@b.test"),
    ],
)
def test_a_domain_that_can_be_read_in_two_ways_cannot_be_judged(text: str) -> None:
    assert "domain() cannot tell" in failure('domain(context.to) == "example.com"', {"to": text})
