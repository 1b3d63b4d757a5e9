"""Limits on amounts: by agent, by type of action, and by currency."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from safeguards.plugins.amounts import read_amount

ANY_AGENT = "*"
"""The key of the limit for every agent without one of its own."""

_CURRENCY = re.compile(r"[A-Z]{3}")

Limit = Decimal | Mapping[str, Decimal]
"""The largest amount in whatever currency, or that in each currency (ISO 4217)."""


def read_limits(value: Mapping[str, Any]) -> dict[str, Limit]:
    """Return limits by agent id, each an amount, or amounts by currency.

    Raises:
        ValueError: naming the agent whose limit cannot be read.
    """
    limits: dict[str, Limit] = {}
    for agent_id, limit in value.items():
        try:
            if not isinstance(limit, Mapping):
                limits[agent_id] = read_amount(limit)
                continue
            limits[agent_id] = {
                read_currency(currency): read_amount(amount) for currency, amount in limit.items()
            }
        except ValueError as error:
            raise ValueError(f"the limit of {agent_id!r}: {error}") from None
        if not limits[agent_id]:
            raise ValueError(f"the limit of {agent_id!r}: it names no currency")
    return limits


def read_currency(value: Any) -> str:
    """Return a currency's code (ISO 4217) in capitals.

    Raises:
        ValueError: it is no code.
    """
    code = value.upper() if isinstance(value, str) and value.isascii() else ""
    if not _CURRENCY.fullmatch(code):
        raise ValueError("a currency is written as three letters, such as EUR")
    return code


def limit_of(limits: Mapping[str, Limit], agent_id: str) -> Limit | None:
    """Return the limit of an agent, or of all others; None if there is none for it."""
    return limits.get(agent_id, limits.get(ANY_AGENT))
