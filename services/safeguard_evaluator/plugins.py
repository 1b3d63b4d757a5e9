"""The plugins that the policies use, each in a process of its own."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from safeguards.types import SafetyAlert
from safeguards_runtime.isolation import Isolated
from safeguards_runtime.policy_book import Plugin


class Plugins:
    """Asks plugins; starts each when it is first needed, and keeps it while policies change."""

    def __init__(self) -> None:
        self._running: dict[str, Isolated] = {}

    async def ask(
        self, plugin: Plugin, agent_id: str, context: dict[str, Any]
    ) -> list[SafetyAlert]:
        """Return what a plugin finds of an action.

        Raises:
            TimeoutError: it did not answer within its time limit.
            Exception: it raised one, crashed, or is out of service.
        """
        key = _key(plugin)
        if key not in self._running:
            self._running[key] = Isolated(plugin.kind, plugin.config, plugin.time_limit_seconds)
        return await self._running[key].check(agent_id, context)

    def keep_only(self, wanted: Iterable[Plugin]) -> None:
        """Stop those that no policy uses any more. Checks that have begun are finished."""
        kept = {_key(plugin) for plugin in wanted}
        for key in self._running.keys() - kept:
            self._running.pop(key).close()

    async def aclose(self) -> None:
        """End the processes that were started on the running loop."""
        for running in self._running.values():
            await running.aclose()


def _key(plugin: Plugin) -> str:
    return json.dumps([plugin.kind, plugin.time_limit_seconds, plugin.config], default=str)
