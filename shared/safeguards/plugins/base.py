"""The interface of a safeguard, and what all of them share."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from typing import Any, ClassVar, final

from safeguards.errors import ConfigurationError
from safeguards.types import Agent, SafetyAlert

RECENT_ALERTS = 100
"""How many alerts of a monitored agent are kept."""


class Safeguard(ABC):
    """Checks actions, and raises an alert for what is wrong with one.

    One's own implements `check`, and `configure` if it has a configuration. Judging does not
    depend on monitoring: monitoring only keeps the alerts of an agent for `recent_alerts`.

    Attributes:
        name: what the safeguard is called in policies.
    """

    name: ClassVar[str]

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._recent: dict[str, deque[SafetyAlert]] = {}
        self._initialized = False

    @final
    def initialize(self, config: dict[str, Any]) -> None:
        """Take the configuration; until then nothing is judged.

        Raises:
            ConfigurationError: naming the key that is missing, unknown or wrong.
        """
        self.configure(config)
        self._initialized = True

    def configure(self, config: dict[str, Any]) -> None:
        """Check and keep `config`; a safeguard without a configuration refuses any.

        Raises:
            ConfigurationError: naming the key that is missing, unknown or wrong.
        """
        if config:
            keys = ", ".join(repr(key) for key in config)
            raise ConfigurationError(f"{type(self).__name__} has no configuration: remove {keys}")

    @abstractmethod
    def check(self, agent: Agent, context: dict[str, Any]) -> list[SafetyAlert]:
        """Return what is wrong with an action, or an empty list. Pure: no I/O, no state.

        Args:
            agent: who wants to act.
            context: the action's arguments, with its `action_type`.
        """

    @final
    def validate_agent_action(self, agent: Agent, context: dict[str, Any]) -> list[SafetyAlert]:
        """Return the alerts that an action raises, and keep them if the agent is monitored.

        Args:
            agent: who wants to act.
            context: the action's arguments, with its `action_type`; not changed.

        Raises:
            ConfigurationError: if the safeguard is not initialized.
        """
        if not self._initialized:
            raise ConfigurationError(
                f"{type(self).__name__} is not initialized: call initialize(config) first"
            )
        with self._lock:
            alerts = self._found(agent, context)
            if agent.id in self._recent:
                self._recent[agent.id].extend(alerts)
        return alerts

    def _found(self, agent: Agent, context: dict[str, Any]) -> list[SafetyAlert]:
        return self.check(agent, context)

    def monitor_agent(self, agent_id: str) -> None:
        """Keep the alerts of this agent from now on. Again is no error and forgets nothing."""
        with self._lock:
            self._recent.setdefault(agent_id, deque(maxlen=RECENT_ALERTS))

    def stop_monitoring_agent(self, agent_id: str) -> None:
        """Forget this agent's alerts and keep no more. Its actions are still judged."""
        with self._lock:
            self._recent.pop(agent_id, None)

    @property
    def monitored_agents(self) -> frozenset[str]:
        """The ids of the agents whose alerts are kept."""
        with self._lock:
            return frozenset(self._recent)

    def recent_alerts(self, agent_id: str) -> tuple[SafetyAlert, ...]:
        """Return the last alerts of a monitored agent, oldest first, at most 100."""
        with self._lock:
            return tuple(self._recent.get(agent_id, ()))

    def shutdown(self) -> None:
        """Stop monitoring every agent; judge nothing until initialized again."""
        with self._lock:
            self._recent.clear()
        self._initialized = False
