"""A safeguard of one's own, in a package of its own."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Field

from safeguards.configuration import Config, read_config
from safeguards.plugins import Safeguard
from safeguards.plugins.arguments import walk
from safeguards.types import Agent, AlertSeverity, SafetyAlert


class BlockedWordsConfig(Config):
    """What `BlockedWords` is initialized with.

    Attributes:
        words: what no argument of an action may contain, in any case.
    """

    words: Annotated[tuple[str, ...], Field(min_length=1)]


class BlockedWords(Safeguard):
    """Raises an alert for each argument with a blocked word in it."""

    name: ClassVar[str] = "blocked_words"

    def configure(self, config: dict[str, Any]) -> None:
        """Take `words`."""
        given = read_config(BlockedWordsConfig, config, "BlockedWords")
        self._words = [word.casefold() for word in given.words]

    def check(self, agent: Agent, context: dict[str, Any]) -> list[SafetyAlert]:
        """Look at each text among the arguments, however deep it is."""
        return [
            SafetyAlert(
                title="A blocked word",
                description=f"{pointer} contains the word {word!r}, which is blocked",
                severity=AlertSeverity.WARNING,
            )
            for pointer, _, value in walk(context)
            for word in self._words
            if isinstance(value, str) and word in value.casefold()
        ]
