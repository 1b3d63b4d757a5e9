"""The safeguard for financial services: restricted actions, limits on amounts, compliance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, ClassVar

from pydantic import Field, field_validator

from safeguards.configuration import Config, read_config
from safeguards.plugins.action_words import type_matches
from safeguards.plugins.amounts import read_amount
from safeguards.plugins.base import Safeguard
from safeguards.plugins.industry.compliance import ComplianceConfig, is_held, violations
from safeguards.plugins.industry.limits import Limit, limit_of, read_currency, read_limits
from safeguards.plugins.names import plain_name, spellings
from safeguards.text import visible
from safeguards.types import Agent, AlertSeverity, SafetyAlert

_MOVES_MONEY = ("transaction", "transfer", "payment")


class FinancialConfig(Config):
    """What `FinancialServicesSafeguard` is initialized with.

    A limit is an amount in whatever currency, or amounts by currency: `{"EUR": "500.00"}`. Then an
    action must name its `currency`, and one that has a limit. Where there are limits but none for
    an agent, each of its amounts is over the limit. All limits for an action must be kept.

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
        self._restricted = frozenset(plain_name(action) for action in parsed.restricted_actions)
        self._limits: dict[str, Limit] = dict(parsed.transaction_limits)
        self._type_limits: dict[str, dict[str, Limit]] = dict(parsed.type_limits)
        self._compliance = parsed.compliance

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
        plain = spellings(written)
        if not self._restricted.isdisjoint(plain):
            alerts.append(
                SafetyAlert(
                    title="Restricted action",
                    description=f"{shown} is a restricted action.",
                    severity=AlertSeverity.CRITICAL,
                    metadata=about,
                )
            )
        moves_money = "amount" in context or any(word in plain[0] for word in _MOVES_MONEY)
        if moves_money:
            alerts += self._check_amount(agent, context, written, about)
        if is_held(self._compliance, written, moves_money):
            alerts += violations(self._compliance, context, about)
        return alerts

    def _check_amount(
        self, agent: Agent, context: dict[str, Any], action_type: str, about: dict[str, Any]
    ) -> Iterator[SafetyAlert]:
        if "amount" not in context:
            yield _error("No amount", f"{about['action_type']} names no amount.", about)
            return
        try:
            amount = read_amount(context["amount"])
        except ValueError as error:
            given = visible(repr(context["amount"])[:100], single_line=True, limit=60)
            yield _error(
                "Amount cannot be read",
                f"The amount cannot be read: {error}.",
                {**about, "amount": given},
            )
            return
        who = visible(agent.id, single_line=True, limit=100)
        if self._limits:
            limit = limit_of(self._limits, agent.id)
            yield from _over(amount, limit, who, context, about)
        for glob, limits in self._type_limits.items():
            if type_matches(action_type, (glob,)):
                whose = f"{about['action_type']} by {who}"
                yield from _over(amount, limit_of(limits, agent.id), whose, context, about)


def _over(
    amount: Decimal,
    limit: Limit | None,
    whose: str,
    context: dict[str, Any],
    about: dict[str, Any],
) -> Iterator[SafetyAlert]:
    """Yield an alert if an amount is over a limit, or is in a currency that has none."""
    asked = format(amount, "f")
    facts = {**about, "amount": asked}
    unit = ""
    if isinstance(limit, Mapping):
        if context.get("currency") in (None, ""):
            yield _error("No currency", f"The limit for {whose} is by currency: name one.", facts)
            return
        try:
            currency = read_currency(context["currency"])
        except ValueError as error:
            yield _error("Currency cannot be read", f"The currency cannot be read: {error}.", facts)
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
