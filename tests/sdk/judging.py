"""Judging one action with one built-in safeguard."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from safeguards.plugins import BUILT_IN, Safeguard
from safeguards.types import Agent, SafetyAlert


class Worker(Agent):
    """An agent."""

    def run(self, **kwargs: Any) -> Any:
        """Do nothing."""


AGENT = Worker("worker")


@cache
def _initialized(name: str, config: str) -> Safeguard:
    safeguard = BUILT_IN[name]()
    safeguard.initialize(json.loads(config))
    return safeguard


def judged(
    name: str, action_type: str, context: dict[str, Any], config: dict[str, Any] | None = None
) -> list[SafetyAlert]:
    """Return the alerts of a safeguard about one action."""
    safeguard = _initialized(name, json.dumps(config or {}))
    return safeguard.validate_agent_action(AGENT, {**context, "action_type": action_type})


def titles(
    name: str, action_type: str, context: dict[str, Any], config: dict[str, Any] | None = None
) -> list[str]:
    """Return the titles of the alerts of a safeguard about one action."""
    return [alert.title for alert in judged(name, action_type, context, config)]
