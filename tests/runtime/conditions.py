"""Conditions as the tests of them load and judge them."""

from __future__ import annotations

from typing import Any

import pytest

from safeguards.errors import ConfigurationError
from safeguards_runtime.conditions import ArgumentType, Condition, ConditionError

DECLARED: dict[str, ArgumentType] = {
    "amount": "money",
    "fee": "money",
    "recipient": "string",
    "share": "number",
    "count": "integer",
    "urgent": "boolean",
    "items": "list",
    "options": "map",
    "extra": "any",
    "in": "integer",
    "reply-to": "string",
}


def holds(source: str, context: dict[str, Any], *, declared: bool = False) -> bool:
    arguments = DECLARED if declared else {}
    return Condition(source, arguments).holds("agent_billing", "send_money", context)


def refusal(source: str, *, declared: bool = True) -> str:
    with pytest.raises(ConfigurationError) as refused:
        Condition(source, DECLARED if declared else {})
    return str(refused.value)


def failure(source: str, context: dict[str, Any], **kinds: ArgumentType) -> str:
    with pytest.raises(ConditionError) as failed:
        Condition(source, kinds).holds("agent_billing", "send_money", context)
    return str(failed.value)
