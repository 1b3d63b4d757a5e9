"""The safeguard for financial services: restricted actions, limits on amounts, compliance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, ClassVar

from pydantic import Field, field_validator

from safeguards.configuration import Config, read_config
from safeguards.plugins.action_words import type_matches
from safeguards.plugins.base import Safeguard
from safeguards.plugins.fields import is_empty
from safeguards.plugins.industry.compliance import ComplianceConfig, is_held, violations
from safeguards.plugins.industry.limits import Limit, limit_of, read_currency, read_limits
from safeguards.plugins.names import compact_name
from safeguards.plugins.payments import (
    NO_AMOUNT,
    Payment,
    PaymentFields,
    PaymentReader,
    Problem,
)
from safeguards.text import visible
from safeguards.types import Agent, AlertSeverity, SafetyAlert

_MOVES_MONEY = ("transaction", "transfer", "payment")


class FinancialConfig(Config):
    """What `FinancialServicesSafeguard` is initialized with.

    A limit is an amount in whatever currency, or amounts by currency: `{"EUR": "500.00"}`. Then an
    action must name its `currency`, and one that has a limit. Where there are limits but none for
    an agent, each of its amounts is over the limit. All limits for an action must be kept.

    The amount and the currency may stand anywhere in the arguments, under their usual names. An
    action of a type that has limits, or moves money by its name, must have an amount.

    Attributes:
        restricted_actions: the action types that no agent may do unseen.
        transaction_limits: the largest amount for each agent id, with `*` for all others.
        type_limits: the same for types of actions, by glob: `{"wire_*": {"*": "500.00"}}`.
        compliance: what an action must say of its customer.
    """

    restricted_actions: tuple[str, ...] = ()
    transaction_limits: dict[str, Any] = Field(default_factory=dict)
    type_limits: dict[str, dict[str, Any]] = Field(default_factory=dict)
    compliance: ComplianceConfig = ComplianceConfig()

    @field_validator("transaction_limits")
    @classmethod
    def _limits(cls, value: dict[str, Any]) -> dict[str, Limit]:
        return read_limits(value)

    @field_validator("type_limits")
    @classmethod
    def _limits_by_type(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Limit]]:
        return {glob: read_limits(limits) for glob, limits in value.items()}


class FinancialServicesSafeguard(Safeguard):
    """Alerts on restricted actions, on amounts that are over a limit or cannot be read, and on
    customers who are not verified or were found by screening."""

    name: ClassVar[str] = "financial_services"

    def configure(self, config: dict[str, Any]) -> None:
        """Take `restricted_actions`, limits and `compliance`. See `FinancialConfig`.

        Raises:
            ConfigurationError: naming the key that is unknown or wrong.
        """
        parsed = read_config(FinancialConfig, config, type(self).__name__)
        self._restricted = frozenset(compact_name(action) for action in parsed.restricted_actions)
        self._limits: dict[str, Limit] = dict(parsed.transaction_limits)
        self._type_limits: dict[str, dict[str, Limit]] = dict(parsed.type_limits)
        self._compliance = parsed.compliance
        self._reader = PaymentReader(
            PaymentFields(payee_fields=(), account_fields=()), currency=read_currency
        )

    def check(self, agent: Agent, context: dict[str, Any]) -> list[SafetyAlert]:
        """Return a CRITICAL alert for a restricted action, an ERROR for a wrong amount, and for a
        rule of compliance that is not kept."""
        action_type = context.get("action_type")
        shown = visible(str(action_type), single_line=True, limit=100)
        about = {"safeguard": self.name, "agent_id": agent.id, "action_type": shown}
        alerts = []
        if action_type is not None and not isinstance(action_type, str):
            alerts.append(_error("Action type cannot be read", "It is not a string.", about))
        written = action_type if isinstance(action_type, str) else shown
        compact = compact_name(written)
        if compact in self._restricted:
            alerts.append(
                SafetyAlert(
                    title="Restricted action",
                    description=f"{shown} is a restricted action.",
                    severity=AlertSeverity.CRITICAL,
                    metadata=about,
                )
            )
        payment = self._reader.read(context)
        moves_money = (
            "amount" in context
            or NO_AMOUNT not in payment.problems
            or any(word in compact for word in _MOVES_MONEY)
            or type_matches(written, self._type_limits)
        )
        if moves_money:
            problems = _unreadable(payment, context)
            alerts += [_error(*problem, about) for problem in problems]
            if not problems:
                alerts += self._check_limits(agent, payment, written, about)
        if is_held(self._compliance, written, moves_money):
            alerts += violations(self._compliance, context, about)
        return alerts

    def _check_limits(
        self, agent: Agent, payment: Payment, action_type: str, about: dict[str, Any]
    ) -> Iterator[SafetyAlert]:
        who = visible(agent.id, single_line=True, limit=100)
        if self._limits:
            yield from _over(payment, limit_of(self._limits, agent.id), who, about)
        for glob, limits in self._type_limits.items():
            if type_matches(action_type, (glob,)):
                whose = f"{about['action_type']} by {who}"
                yield from _over(payment, limit_of(limits, agent.id), whose, about)


def _unreadable(payment: Payment, context: dict[str, Any]) -> tuple[Problem, ...]:
    """Return why the amount cannot be told. An `amount` without a value is not told by another
    argument: it is the one that will be asked for."""
    if "amount" in context and is_empty(context["amount"]):
        return (Problem("Amount cannot be read", "The amount has no value."),)
    return payment.problems if payment.amount is None else ()


def _over(
    payment: Payment, limit: Limit | None, whose: str, about: dict[str, Any]
) -> Iterator[SafetyAlert]:
    """Yield an alert if an amount is over a limit, or is in a currency that has none."""
    # What cannot be told is over every limit.
    amount = Decimal("Infinity") if payment.amount is None else payment.amount
    asked = format(amount, "f")
    facts = {**about, "amount": asked}
    unit = ""
    if isinstance(limit, Mapping):
        currency = payment.currency
        if not currency:
            missing = Problem("No currency", f"The limit for {whose} is by currency: name one.")
            yield from (_error(*problem, facts) for problem in payment.problems or (missing,))
            return
        facts["currency"], unit = currency, f" {currency}"
        limit = limit.get(currency)
    if limit is None:
        story = f"No limit is set for {whose}, so {asked}{unit} exceeds it."
        yield _error(f"No transaction limit{unit and ' in'}{unit}", story, facts)
        return
    if amount <= limit:
        return
    most = format(limit, "f")
    yield _error(
        "Transaction over the limit",
        f"{asked}{unit} exceeds the limit of {most}{unit} for {whose}.",
        {**facts, "limit": most},
    )


def _error(title: str, description: str, metadata: dict[str, Any]) -> SafetyAlert:
    return SafetyAlert(title, description, AlertSeverity.ERROR, metadata)
