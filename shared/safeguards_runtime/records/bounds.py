"""The bounds of a grant: what each argument of an action may be for it to count as like another.

Every bound is `equal` unless a reviewer chose another, but for the amount that is spent. What may
be chosen depends on the argument: a number that is no identifier may be `at_most` what was
approved; what has no parts, is no number and says nothing of money may be `any` other such of its
type.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from safeguards.canonical import canonical_json
from safeguards_runtime.records.record import Refusal

BoundRule = Literal["equal", "at_most", "any"]

_AMOUNT = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]+)?")
"""A decimal as an amount is written: no sign, space, exponent, leading zero or other digits."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def _words_of(text: str) -> frozenset[str]:
    return frozenset(text.split())


_AMOUNT_WORDS = _words_of(
    "amount amounts amt total sum price cost costs value fee payment budget spend money quantity "
    "qty balance limit"
)
_SPENT_WORDS = _words_of("amount total sum max maximum eur usd gbp chf jpy cents")
"""Of these alone is the name of what is spent, where less is as good unless a reviewer says so. Of
a price, a quantity or a limit only the reviewer knows."""

_CURRENCY_WORDS = _words_of(
    "currency currencies ccy cur asset coin token unit units denomination symbol"
)
_IDENTIFIER_WORDS = _words_of(
    "id ids uid uuid account acct iban bic swift routing number no nr phone mobile card code zip "
    "postcode pin ref reference key sku isbn ssn version port year month day date time timestamp "
    "index payee recipient beneficiary sender to from destination source target user customer "
    "client patient invoice order"
)
"""As the last word of a name: what is numbered by it is another thing with each number."""

_LEAST_WORDS = _words_of("min minimum floor least")
"""In the name of a number: that it is lower makes it no safer."""

_ISO_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Bound(BaseModel):
    """What one argument may be."""

    model_config = ConfigDict(frozen=True)

    rule: BoundRule = "equal"
    value: Any = None
    """What it must equal; for `at_most` the largest number, written as a decimal."""

    type: str = ""
    """For `at_most` and `any` the type that it must have: see `json_type`."""

    def holds(self, value: Any) -> bool:
        """Tell whether an argument is within the bound. Numbers are compared exactly."""
        match self.rule:
            case "equal":
                return canonical_json(value) == canonical_json(self.value)
            case "at_most":
                number = amount(value)
                return (
                    number is not None
                    and json_type(value) == self.type
                    and number <= Decimal(self.value)
                )
            case "any":
                return json_type(value) == self.type and not _has_numbers(value)


class Offer(NamedTuple):
    """What may be chosen for one argument, the first of `rules` unless something else is."""

    name: str
    value: Any
    rules: tuple[BoundRule, ...]


def json_type(value: Any) -> str:
    """Return the type of a value in JSON (RFC 8259 section 3): object, array, string, number,
    boolean or null."""
    match value:
        case bool():
            return "boolean"
        case int() | float() | Decimal():
            return "number"
        case str():
            return "string"
        case list() | tuple():
            return "array"
        case dict():
            return "object"
        case _:
            return "null"


def amount(value: Any) -> Decimal | None:
    """Return a number, or a string that is written as an amount, exactly; None for all else, and
    for what is below zero."""
    if isinstance(value, str):
        return Decimal(value) if _AMOUNT.fullmatch(value) else None
    if json_type(value) != "number":
        return None
    number = Decimal(str(value))
    return number if number.is_finite() and not number.is_signed() else None


def offers(context: Mapping[str, Any]) -> tuple[Offer, ...]:
    """Return what may be chosen for each argument, in the order of the arguments."""
    return tuple(Offer(name, value, _rules(name, value)) for name, value in context.items())


def bounds(
    context: Mapping[str, Any], chosen: Mapping[str, BoundRule] | None = None
) -> dict[str, Bound]:
    """Return the bounds of what is like an action with these arguments.

    Args:
        context: the arguments that were approved.
        chosen: what the reviewer chose for some of them.

    Raises:
        Refusal: `bound_not_offered` for what may not be chosen.
    """
    chosen = chosen or {}
    for name in chosen.keys() - context.keys():
        raise Refusal("bound_not_offered", f"there is no argument {name!r}", field=name)
    made = {}
    for name, value, rules in offers(context):
        rule = chosen.get(name, rules[0])
        if rule not in rules:
            words = "may not be different" if rule == "any" else "is no amount: it stays the same"
            raise Refusal("bound_not_offered", f"{name!r} {words}", field=name)
        made[name] = _bound(rule, value)
    return made


def within(limits: Mapping[str, Bound], context: Mapping[str, Any]) -> bool:
    """Tell whether an action has exactly the arguments that are bounded, each within its bound."""
    return limits.keys() == context.keys() and all(
        bound.holds(context[name]) for name, bound in limits.items()
    )


def _bound(rule: BoundRule, value: Any) -> Bound:
    match rule:
        case "equal":
            return Bound(value=value)
        case "at_most":
            return Bound(rule=rule, value=f"{amount(value):f}", type=json_type(value))
        case "any":
            return Bound(rule=rule, type=json_type(value))


def _rules(name: str, value: Any) -> tuple[BoundRule, ...]:
    if name == "action_type":
        return ("equal",)
    words = _words(name)
    is_amount = not _AMOUNT_WORDS.isdisjoint(words)
    if amount(value) is not None:
        # A string of digits alone may be an account: only its name can say that it is an amount.
        is_plain = isinstance(value, str) and value.isdigit()
        is_lower_better = _LEAST_WORDS.isdisjoint(words)
        names_a_thing = not _IDENTIFIER_WORDS.isdisjoint(words[-1:])
        if names_a_thing or not is_lower_better or (is_plain and not is_amount):
            return ("equal",)
        return ("at_most", "equal") if set(words) <= _SPENT_WORDS else ("equal", "at_most")
    if is_amount or not _CURRENCY_WORDS.isdisjoint(words) or _has_numbers(value):
        return ("equal",)
    # What has parts stays as it is: anything could be put among them.
    return ("equal",) if isinstance(value, list | dict) else ("equal", "any")


def _words(name: str) -> list[str]:
    """Return the words of a name: those of `maxAmount_EUR` are max, amount and eur."""
    return [word.lower() for word in _WORD.findall(unicodedata.normalize("NFKC", name))]


def _has_numbers(value: Any) -> bool:
    """Tell whether a value is a number, or looks like one, or holds one at any depth."""
    match value:
        case str():
            digits = any(character.isnumeric() for character in value)
            letters = any(character.isalpha() for character in value)
            return digits and not letters and _ISO_DATE.fullmatch(value) is None
        case list():
            return any(map(_has_numbers, value))
        case dict():
            money = _AMOUNT_WORDS | _CURRENCY_WORDS
            return any(
                not money.isdisjoint(_words(name)) or _has_numbers(item)
                for name, item in value.items()
            )
        case _:
            return json_type(value) == "number"
