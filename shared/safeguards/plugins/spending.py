"""The safeguard for spending: limits on what is paid over a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from safeguards.configuration import Config, read_config
from safeguards.plugins.amounts import read_amount
from safeguards.plugins.payments import (
    Payment,
    PaymentFields,
    PaymentReader,
    money,
    read_currency,
)
from safeguards.plugins.scopes import whom
from safeguards.plugins.spans import Span, rate_words, span_words
from safeguards.plugins.windows import Measure, Total, WindowSafeguard
from safeguards.types import Agent, SafetyAlert


class SpendingLimit(Config):
    """How much may be spent over a time.

    Attributes:
        per: what has a budget of its own: each `agent`, `payee`, `account` or `type` of action; or
            `all` together.
        over: `hour`, `day`, `month` (30 days), or seconds. The window moves on: no calendar's day.
        at_most: the amount that is still within the limit, such as `"1000.00"`.
        currency: the one that the limit is for, such as `EUR`; an action must name it then. Without
            it each currency has a budget of its own.
    """

    per: Literal["agent", "payee", "account", "type", "all"]
    over: Span
    at_most: Decimal
    currency: str | None = None

    @field_validator("at_most", mode="before")
    @classmethod
    def _exact(cls, value: Any) -> Decimal:
        return read_amount(value)

    @field_validator("currency")
    @classmethod
    def _plain(cls, value: str | None) -> str | None:
        return None if value is None else read_currency(value)


class SpendingConfig(PaymentFields):
    """What `SpendingSafeguard` is initialized with.

    Attributes:
        limits: all of them hold.
    """

    limits: tuple[SpendingLimit, ...] = Field(min_length=1)


class SpendingSafeguard(WindowSafeguard):
    """Alerts on an amount that would go over a limit, and on one that cannot be read."""

    name: ClassVar[str] = "spending"

    def configure(self, config: dict[str, Any]) -> None:
        """Take `limits`, and where a payment stands. See `SpendingConfig`.

        Raises:
            ConfigurationError: naming the key that is missing, unknown or wrong.
        """
        parsed = read_config(SpendingConfig, config, type(self).__name__)
        self._limits = parsed.limits
        self._reader = PaymentReader(parsed)

    def measures(self, agent: Agent, context: dict[str, Any]) -> Sequence[Measure]:
        """Return what the action adds to each budget that it is of."""
        payment = self._reader.read(context)
        found = [m for _, measures in self._budgets(agent, context, payment) for m in measures]
        return tuple(dict.fromkeys(found))

    def check(self, agent: Agent, context: dict[str, Any]) -> list[SafetyAlert]:
        """Return an ERROR alert for each thing that cannot be read, and so not be limited."""
        payment = self._reader.read(context)
        problems = [(problem.title, problem.description) for problem in payment.problems]
        for scope in dict.fromkeys(limit.per for limit in self._limits):
            if not payment.keys(scope, agent, context):
                story = f"The action names no {scope}, and there is a limit for each."
                problems.append((f"No {scope}", story))
            counting = [limit for limit in self._limits if limit.per == scope]
            if any(limit.currency in (None, payment.currency) for limit in counting):
                continue
            if payment.currency:
                story = f"There is no limit for {payment.currency} ({_each(scope)})."
                problems.append(("Another currency", story))
        if not payment.currency and any(limit.currency for limit in self._limits):
            problems.append(
                ("No currency", "The action names no currency, and a limit is for one.")
            )
        return [
            self._alert(agent, context, title, story) for title, story in dict.fromkeys(problems)
        ]

    def check_windows(
        self,
        agent: Agent,
        context: dict[str, Any],
        totals: Mapping[Measure, Total],
        now: datetime,
    ) -> list[SafetyAlert]:
        """Return an ERROR alert for each limit that the amount would go over."""
        payment = self._reader.read(context)
        alerts = []
        for limit, measures in self._budgets(agent, context, payment):
            sums = [(totals[m] + Total(m.amount, 1)).amount for m in measures]
            if sums and max(sums) > limit.at_most:
                alerts.append(self._over(agent, context, payment, limit, max(sums)))
        return alerts

    def _budgets(
        self, agent: Agent, context: dict[str, Any], payment: Payment
    ) -> Iterator[tuple[SpendingLimit, list[Measure]]]:
        amount, currency = payment.amount, payment.currency
        if amount is None:
            return
        limits = [limit for limit in self._limits if limit.currency in (None, currency)]
        # What no budget has room for takes none from others while it waits for a person.
        too_much = any(amount > limit.at_most for limit in limits)
        for limit in limits:
            yield (
                limit,
                [
                    Measure(f"{limit.per}:{currency}:{key}", limit.over, amount, too_much)
                    for key in payment.keys(limit.per, agent, context)
                ],
            )

    def _over(
        self,
        agent: Agent,
        context: dict[str, Any],
        payment: Payment,
        limit: SpendingLimit,
        reached: Decimal,
    ) -> SafetyAlert:
        amount = payment.amount or Decimal(0)
        currency = payment.currency
        return self._alert(
            agent,
            context,
            "Over the spending limit",
            f"{money(amount, currency)} would make {money(reached, currency)} within "
            f"{span_words(limit.over)} for {whom(limit.per, agent, context)}: the limit is "
            f"{money(limit.at_most, currency)} {rate_words(limit.over)}.",
            amount=f"{amount:f}",
            currency=currency,
            total=f"{reached:f}",
            limit=f"{limit.at_most:f}",
            per=limit.per,
            over_seconds=limit.over,
        )


def _each(scope: str) -> str:
    return "for all together" if scope == "all" else f"for each {scope}"
