"""The bounds of a grant: what may be chosen, and what is like another, however it is written."""

from __future__ import annotations

from typing import Any

import pytest

from safeguards_runtime.records import Refusal
from safeguards_runtime.records.bounds import Bound, BoundRule, bounds, offers, within

CONTEXT: dict[str, Any] = {"amount": "10000.00", "currency": "EUR", "payee": "ACME", "note": "May"}


def rules_of(context: dict[str, Any]) -> dict[str, tuple[BoundRule, ...]]:
    return {offer.name: offer.rules for offer in offers(context)}


# What may be chosen


@pytest.mark.parametrize(
    ("name", "value", "rules"),
    [
        ("amount", "2500.00", ("at_most", "equal")),
        ("totalAmount", 2500, ("at_most", "equal")),
        ("total_EUR", 0, ("at_most", "equal")),
        # Whether less of these is as good, only the reviewer knows.
        ("order_total", 0, ("equal", "at_most")),
        ("quantity", 3, ("equal", "at_most")),
        ("price", "50.00", ("equal", "at_most")),
        ("discount_amount", "5.00", ("equal", "at_most")),
        ("payment_destination", "10000001", ("equal",)),
        ("rows", 3, ("equal", "at_most")),
        ("betrag", "2500.00", ("equal", "at_most")),
        ("amount", "-2500.00", ("equal",)),
        ("amount", -2500.5, ("equal",)),
        ("amount", "2,500.00", ("equal",)),
        ("amount", "EUR 2500", ("equal",)),
        ("amount", " 2500", ("equal",)),
        ("minimum_amount", "5.00", ("equal",)),
        ("account", "12345678", ("equal",)),
        ("account_number", 12345678, ("equal",)),
        ("userID", 991, ("equal",)),
        ("payee", "12345678", ("equal",)),
        ("whatever", "12345678", ("equal",)),
        ("whatever", "+49 170 12 34", ("equal",)),
        ("currency", "EUR", ("equal",)),
        ("assetName", "BTC", ("equal",)),
        ("action_type", "transfer", ("equal",)),
        ("note", "for May", ("equal", "any")),
        ("due", "2026-05-01", ("equal", "any")),
        ("urgent", True, ("equal", "any")),
        ("nothing", None, ("equal", "any")),
        ("tags", ["a", "b"], ("equal",)),
        ("lines", [1, 2], ("equal",)),
        ("payment", {"to": {"amount": "x"}}, ("equal",)),
        ("payment", {"to": {"sum_in": [True, 5]}}, ("equal",)),
        ("meta", {"team": "books"}, ("equal",)),
    ],
)
def test_what_may_be_chosen_for_an_argument(
    name: str, value: Any, rules: tuple[BoundRule, ...]
) -> None:
    """A number may be lower where it is no identifier; what speaks of money is never free."""
    assert rules_of({name: value})[name] == rules


@pytest.mark.parametrize(
    "chosen", [{"currency": "any"}, {"amount": "any"}, {"payee": "at_most"}, {"absent": "equal"}]
)
def test_what_is_not_offered_is_refused(chosen: dict[str, BoundRule]) -> None:
    """A form that was tampered with gives nothing that the page does not offer."""
    with pytest.raises(Refusal) as refused:
        bounds(CONTEXT, chosen)
    assert refused.value.code == "bound_not_offered"


def test_what_may_differ_may_not_become_an_amount() -> None:
    """Only the reviewer's page decides what is free; a number in its place was never shown."""
    limits = bounds(CONTEXT, {"note": "any"})
    assert within(limits, {**CONTEXT, "note": "for June"})
    assert not within(limits, {**CONTEXT, "note": "1000000"})
    assert not within(limits, {**CONTEXT, "note": {"amount": "1000000"}})


# What is like another


@pytest.mark.parametrize("value", ["10000.00", "10000", "9999.99", "0", "0.01", "10000.0000"])
def test_a_lower_amount_is_like(value: str) -> None:
    assert within(bounds(CONTEXT), {**CONTEXT, "amount": value})


@pytest.mark.parametrize(
    "value",
    [
        "10000.000000000000001",
        "10000.01",
        "99999999999999999999999999999999999999999999",
        "-1",
        "-0",
        "+1",
        " 1",
        "1 ",
        "1\n",
        "1e3",
        "1E-9",
        "1_000",
        "1,000",
        "1.",
        ".5",
        "007",
        "0x10",
        "NaN",
        "Infinity",
        "",
        "\u0661\u0662",
        "\uff11",
        "1\u200b",
        "½",
        9999,
        9999.0,
        True,
        None,
        ["1"],
        {"amount": "1"},
    ],
)
def test_what_is_no_lower_amount_is_not_like(value: Any) -> None:
    """Compared as written and exactly: nothing that could mean another number elsewhere."""
    assert not within(bounds(CONTEXT), {**CONTEXT, "amount": value})


def test_numbers_of_json_are_one_type_and_no_strings() -> None:
    """2500 and 2500.0 are the same number in JSON; "2500" is a string, and true no number."""
    limits = bounds({"amount": 2500})
    assert all(within(limits, {"amount": value}) for value in (2500, 2500.0, 2499.99, 1, 0))
    assert not any(
        within(limits, {"amount": value})
        for value in ("2500", True, False, 2500.01, 2501, -1, -0.0, None)
    )


def test_floats_are_compared_as_they_are_written() -> None:
    limits = bounds({"amount": 0.3})
    assert within(limits, {"amount": 0.3})
    assert not within(limits, {"amount": 0.1 + 0.2})


@pytest.mark.parametrize(
    "context",
    [
        {**CONTEXT, "bonus": "1.00"},
        {name: value for name, value in CONTEXT.items() if name != "note"},
        {("Amount" if name == "amount" else name): value for name, value in CONTEXT.items()},
        {**CONTEXT, "payee": "ACME "},
        {**CONTEXT, "payee": "acme"},
        {**CONTEXT, "payee": ["ACME"]},
        {**CONTEXT, "currency": "USD"},
        {},
    ],
)
def test_other_arguments_are_not_like(context: dict[str, Any]) -> None:
    """More, fewer, renamed, another case, another type, another value."""
    assert not within(bounds(CONTEXT), context)


@pytest.mark.parametrize(
    ("was", "other"), [(1, True), ("1", 1), (True, "true"), (None, ""), (0, False)]
)
def test_another_type_is_not_equal(was: Any, other: Any) -> None:
    assert within({"x": Bound(value=was)}, {"x": was})
    assert not within({"x": Bound(value=was)}, {"x": other})


def test_nested_values_are_equal_to_the_last() -> None:
    nested = {"a": [{"b": {"c": "1", "d": [1, 2]}}]}
    limits = bounds({"order": nested})
    assert within(limits, {"order": {"a": [{"b": {"d": [1, 2], "c": "1"}}]}})
    assert not within(limits, {"order": {"a": [{"b": {"d": [2, 1], "c": "1"}}]}})
    assert not within(limits, {"order": {"a": [{"b": {"d": [1, 2], "c": 1}}]}})


def test_what_may_differ_keeps_its_type() -> None:
    limits = bounds(CONTEXT, {"note": "any"})
    assert within(limits, {**CONTEXT, "note": "June, and \u202eanything"})
    assert not within(limits, {**CONTEXT, "note": {"amount": "5"}})
    assert not within(limits, {**CONTEXT, "note": 5})


def test_an_amount_may_be_held_to_what_it_was() -> None:
    limits = bounds(CONTEXT, {"amount": "equal"})
    assert within(limits, CONTEXT)
    assert not within(limits, {**CONTEXT, "amount": "9999.99"})
