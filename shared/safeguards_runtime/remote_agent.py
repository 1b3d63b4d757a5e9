"""An agent whose actions are judged where it does not run."""

from __future__ import annotations

from safeguards.types import Agent


class RemoteAgent(Agent):
    """An agent as the services know it: by its id only."""

    def run(self, **kwargs: object) -> object:
        """Refuse: the agent runs elsewhere."""
        raise TypeError("the services judge actions; only the agent runs them")
