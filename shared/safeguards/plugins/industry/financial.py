"""The safeguard for financial services: restricted actions and limits on amounts."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, ClassVar

from pydantic import Field, field_validator

from safeguards.configuration import Config, read_config
from safeguards.plugins.industry.base import IndustrySafeguard, plain_name
from safeguards.text import visible
from safeguards.types import Agent, AlertSeverity, SafetyAlert

ANY_AGENT = "*"
"""The key of the limit for every agent without one of its own."""

_AMOUNT = re.compile(r"[0-9]+(\.[0-9]+)?")
_MAX_DIGITS = 40
_MOVES_MONEY = ("transaction", "transfer", "payment")


def read_amount(value: Any) -> Decimal:
    """Return an amount of money: a decimal string such as `2500.00`, an int or a Decimal.

    Raises:
        ValueError: for anything else: floats (not exact), signs, exponents, spaces, digits of
            other scripts, NaN, negative amounts, more than 40 digits. It says which.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        kind = type(value).__name__
        raise ValueError(f"a {kind} is not an amount: write a decimal string such as '2500.00'")
    if isinstance(value, str):
        if not _AMOUNT.fullmatch(value):
            raise ValueError("an amount is written in the digits 0 to 9, with at most one point")
        if len(value) > _MAX_DIGITS:
            raise ValueError(f"an amount has at most {_MAX_DIGITS} digits")
        return Decimal(value)
    if isinstance(value, int):
        if not 0 <= value < 10**_MAX_DIGITS:
            raise ValueError(f"an amount is not negative and has at most {_MAX_DIGITS} digits")
        return Decimal(value)
    if not value.is_finite() or value.is_signed():
        raise ValueError("an amount is finite and not negative")
    if abs(value.adjusted()) >= _MAX_DIGITS or len(value.as_tuple().digits) > _MAX_DIGITS:
        raise ValueError(f"an amount has at most {_MAX_DIGITS} digits")
    return value


class FinancialConfig(Config):
    """What `FinancialServicesSafeguard` is initialized with.

    Attributes:
        restricted_actions: the action types that no agent may do unseen.
        transaction_limits: the largest amount for each agent id, with `*` for all others. If
            there are limits but none for an agent, each of its amounts is over the limit.
    """

    restricted_actions: tuple[str, ...] = ()
    transaction_limits: dict[str, Any] = Field(default_factory=dict)

    @field_validator("transaction_limits")
    @classmethod
    def _amounts(cls, value: dict[str, Any]) -> dict[str, Decimal]:
        limits = {}
        for agent_id, limit in value.items():
            try:
                limits[agent_id] = read_amount(limit)
            except ValueError as error:
                raise ValueError(f"the limit of {agent_id!r}: {error}") from None
        return limits


class FinancialServicesSafeguard(IndustrySafeguard):
    """Alerts on restricted actions, and on amounts that are over a limit or cannot be read."""

    name: ClassVar[str] = "financial_services"

    def configure(self, config: dict[str, Any]) -> None:
        """Take `restricted_actions` and `transaction_limits`. See `FinancialConfig`.

        Raises:
            ConfigurationError: naming the key that is unknown or wrong.
        """
        parsed = read_config(FinancialConfig, config, type(self).__name__)
        self._restricted = frozenset(plain_name(action) for action in parsed.restricted_actions)
        self._limits: dict[str, Decimal] = dict(parsed.transaction_limits)

    def check(self, agent: Agent, context: dict[str, Any]) -> list[SafetyAlert]:
        """Return a CRITICAL alert for a restricted action, an ERROR for a wrong amount."""
        action_type = context.get("action_type")
        shown = visible(str(action_type), single_line=True, limit=100)
        about = {"safeguard": self.name, "agent_id": agent.id, "action_type": shown}
        alerts = []
        if action_type is not None and not isinstance(action_type, str):
            alerts.append(_error("Action type cannot be read", "It is not a string.", about))
        plain = plain_name(shown if not isinstance(action_type, str) else action_type)
        if plain in self._restricted:
            alerts.append(
                SafetyAlert(
                    title="Restricted action",
                    description=f"{shown} is a restricted action.",
                    severity=AlertSeverity.CRITICAL,
                    metadata=about,
                )
            )
        amount_alert = self._check_amount(agent, context, plain, about)
        return [*alerts, amount_alert] if amount_alert else alerts

    def _check_amount(
        self, agent: Agent, context: dict[str, Any], action: str, about: dict[str, Any]
    ) -> SafetyAlert | None:
        who = visible(agent.id, single_line=True, limit=100)
        if "amount" not in context:
            if any(word in action for word in _MOVES_MONEY):
                return _error("No amount", f"{about['action_type']} names no amount.", about)
            return None
        try:
            amount = read_amount(context["amount"])
        except ValueError as error:
            given = visible(repr(context["amount"])[:100], single_line=True, limit=60)
            return _error(
                "Amount cannot be read",
                f"The amount cannot be read: {error}.",
                {**about, "amount": given},
            )
        if not self._limits:
            return None
        limit = self._limits.get(agent.id, self._limits.get(ANY_AGENT))
        asked = format(amount, "f")
        if limit is None:
            story = f"No limit is set for {who}, so {asked} exceeds it."
            return _error("No transaction limit", story, {**about, "amount": asked})
        if amount <= limit:
            return None
        most = format(limit, "f")
        return _error(
            "Transaction over the limit",
            f"{asked} exceeds the limit of {most} for {who}.",
            {**about, "amount": asked, "limit": most},
        )


def _error(title: str, description: str, metadata: dict[str, Any]) -> SafetyAlert:
    return SafetyAlert(title, description, AlertSeverity.ERROR, metadata)
