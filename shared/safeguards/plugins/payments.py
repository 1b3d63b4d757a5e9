"""Reading a payment from an action's arguments: how much, in which currency, and who is paid."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Context, Decimal
from typing import Any, NamedTuple

from safeguards.configuration import Config
from safeguards.plugins.amounts import read_amount
from safeguards.plugins.arguments import TooMuchError
from safeguards.plugins.fields import (
    ACCOUNTS,
    AMOUNTS,
    CURRENCIES,
    PAYEES,
    QUANTITIES,
    TOTALS,
    Fields,
    Place,
)
from safeguards.plugins.names import compact_name, compatible
from safeguards.plugins.payees import (
    MAX_PAYEES,
    UnreadableError,
    are_too_many,
    named_in,
    same_payee,
)
from safeguards.plugins.scopes import Scope, common_key, digest
from safeguards.text import visible
from safeguards.types import Agent

_EXACT = Context(prec=200)
_TOTALS = frozenset(compact_name(name) for name in TOTALS)

_CURRENCY = re.compile(r"[A-Z]{3,8}")


def read_currency(text: str) -> str:
    """Return a currency in the one spelling in which currencies are compared, such as `EUR`.

    Raises:
        ValueError: it is not 3 to 8 letters.
    """
    plain = compatible(text).strip().upper()
    if not _CURRENCY.fullmatch(plain):
        raise ValueError("a currency is 3 to 8 letters, such as EUR")
    return plain


def money(amount: Decimal, currency: str) -> str:
    """Return an amount as a person reads it: `1,200.00 EUR`."""
    return f"{amount:,f} {currency}".rstrip()


class PaymentFields(Config):
    """Where a payment stands in an action's arguments, by their names in any spelling.

    Attributes:
        amount_fields: the amount.
        currency_fields: its currency.
        payee_fields: whoever is paid. All that an action gives (a name, an IBAN) count.
        account_fields: the account that pays.
    """

    amount_fields: tuple[str, ...] = AMOUNTS
    currency_fields: tuple[str, ...] = CURRENCIES
    payee_fields: tuple[str, ...] = PAYEES
    account_fields: tuple[str, ...] = ACCOUNTS


class Problem(NamedTuple):
    """What cannot be read of a payment: a title and a sentence."""

    title: str
    description: str


NO_AMOUNT = Problem("No amount", "The action names no amount.")
"""The problem of an action without an amount: not one that cannot be read."""


class Payment(NamedTuple):
    """What an action pays.

    Attributes:
        amount: None if it cannot be told.
        currency: empty if the action names none.
        payees: a digest for each name of whoever is paid.
        accounts: a digest for each account that pays.
        problems: what cannot be read.
    """

    amount: Decimal | None
    currency: str
    payees: tuple[str, ...]
    accounts: tuple[str, ...]
    problems: tuple[Problem, ...]

    def keys(self, scope: Scope, agent: Agent, context: dict[str, Any]) -> tuple[str, ...]:
        """Return the names of the budgets of a scope that the payment is of: several for a payee
        with several names, none for a payee that is not named."""
        if scope == "payee":
            return self.payees
        if scope == "account":
            return self.accounts
        return (common_key(scope, agent, context),)


class PaymentReader:
    """Reads payments.

    Args:
        fields: where they stand.
        currency: reads a currency; it raises a ValueError for what is none.
    """

    def __init__(
        self, fields: PaymentFields, currency: Callable[[str], str] = read_currency
    ) -> None:
        self._read_currency = currency
        self._fields = Fields(
            amount=fields.amount_fields,
            currency=fields.currency_fields,
            payee=fields.payee_fields,
            account=fields.account_fields,
            quantity=QUANTITIES,
        )

    def read(self, context: dict[str, Any]) -> Payment:
        """Return what an action pays, with what cannot be read of it."""
        try:
            found = self._fields.find(context)
        except TooMuchError:
            problem = Problem(
                "Arguments cannot be searched", "The arguments are too many, or too deep."
            )
            return Payment(None, "", (), (), (problem,))
        problems: list[Problem] = []
        return Payment(
            amount=_amount(found["amount"], found["quantity"], problems),
            currency=_currency(found["currency"], self._read_currency, problems),
            payees=_parties(found["payee"], "payee", problems),
            accounts=_parties(found["account"], "account", problems),
            problems=tuple(problems),
        )


def _amount(
    places: list[Place], quantities: list[Place], problems: list[Problem]
) -> Decimal | None:
    """Return the one amount. Two places may say the same amount only side by side, as `amount` and
    `total` do: elsewhere they are two payments, and may not be taken for one. What is called no
    total may be the amount of each: it counts as often as there are, and at least once."""
    if not places:
        problems.append(NO_AMOUNT)
        return None
    amounts = set()
    for place in places:
        try:
            amounts.add(read_amount(place.value))
        except ValueError as error:
            where = shown_pointer(place)
            problems.append(
                Problem("Amount cannot be read", f"The amount at {where} cannot be read: {error}.")
            )
            return None
    if len(amounts) > 1 or len({place.parent for place in places}) > 1:
        where = _listed(places)
        problems.append(
            Problem("Several amounts", f"Which amount is meant cannot be told: there are {where}.")
        )
        return None
    amount = amounts.pop()
    if not quantities or any(place.name in _TOTALS for place in places):
        return amount
    try:
        (number,) = {read_amount(place.value) for place in quantities}
        return max(amount, read_amount(_EXACT.multiply(amount, number)))
    except ValueError:
        where = _listed(quantities)
        problems.append(
            Problem("Quantity cannot be read", f"How many there are cannot be told: {where}.")
        )
        return None


def _currency(places: list[Place], read: Callable[[str], str], problems: list[Problem]) -> str:
    currencies = set()
    for place in places:
        try:
            currencies.add(read(place.value if isinstance(place.value, str) else ""))
        except ValueError as error:
            where = shown_pointer(place)
            problems.append(
                Problem(
                    "Currency cannot be read", f"The currency at {where} cannot be read: {error}."
                )
            )
    if len(currencies) > 1:
        where = _listed(places)
        problems.append(
            Problem(
                "Several currencies", f"Which currency is meant cannot be told: there are {where}."
            )
        )
    return currencies.pop() if len(currencies) == 1 else ""


def _parties(places: list[Place], kind: str, problems: list[Problem]) -> tuple[str, ...]:
    """Return a digest for each name of the payee, or of the account."""
    names: dict[str, None] = {}
    for place in places:
        try:
            named = named_in(place)
        except UnreadableError:
            where = shown_pointer(place)
            problems.append(
                Problem(f"{kind.title()} cannot be read", f"The {kind} at {where} cannot be read.")
            )
            continue
        if len(named) > 1 or are_too_many(named):
            where = shown_pointer(place)
            many = f"more than {MAX_PAYEES}" if are_too_many(named) else len(named)
            problems.append(
                Problem(
                    f"Several {kind}s",
                    f"How the amount is divided cannot be told: {where} names {many}.",
                )
            )
        names |= {digest(same_payee(name)): None for party in named for name in party}
        if len(names) > MAX_PAYEES:
            return tuple(names)[:MAX_PAYEES]
    return tuple(names)


def shown_pointer(place: Place) -> str:
    """Return where an argument stands, as a person may read it."""
    return visible(place.pointer, single_line=True, limit=80)


def _listed(places: list[Place]) -> str:
    more = "" if len(places) <= 3 else f" and {len(places) - 3} more"
    return ", ".join(shown_pointer(place) for place in places[:3]) + more
