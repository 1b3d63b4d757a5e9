"""The agent, as safeguards see it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any


class Agent(ABC):
    """Base of an agent whose actions are judged.

    Attributes:
        name: what people call it.
        id: the `agent_id` of its actions; the name unless given, so that it stays the same when
            the process starts again.
    """

    def __init__(self, name: str, *, id: str | None = None) -> None:
        self.name = name
        self.id = id or name

    @abstractmethod
    def run(self, **kwargs: Any) -> Any:
        """Carry out one action with the given arguments."""
