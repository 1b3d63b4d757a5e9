"""What a file may name: the built-in kinds of a thing, and those of installed packages."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from safeguards.errors import ConfigurationError


@dataclass(frozen=True)
class Kinds:
    """The kinds of one thing, by the names that files call them.

    Attributes:
        group: the entry points of packages that bring more of them.
        word: what a message calls one of them.
        built_in: the names that no package may take.
    """

    group: str
    word: str
    built_in: Collection[str]

    def registered(self, kind: str) -> EntryPoint | None:
        """Return what a package has registered as `kind`; None if it is built in. Loads nothing.

        Raises:
            ConfigurationError: there is none, more than one, or one with a built-in name.
        """
        found = [point for point in entry_points(group=self.group) if point.name == kind]
        if kind in self.built_in:
            if found:
                raise ConfigurationError(
                    f"{_source(found[0])} registers a {self.word} {kind!r}, which is a built-in one"
                )
            return None
        if not found:
            raise ConfigurationError(self._unknown(kind))
        if len({point.value for point in found}) > 1:
            sources = sorted({_source(point) for point in found})
            raise ConfigurationError(
                f"the {self.word} {kind!r} is registered more than once: {', '.join(sources)}"
            )
        return found[0]

    def made(self, point: EntryPoint) -> Any:
        """Return a new object of what a package has registered.

        Raises:
            ConfigurationError: it cannot be loaded, or cannot be made without arguments.
        """
        try:
            return point.load()()
        except Exception as error:
            raise ConfigurationError(
                f"{self.described(point)} cannot be loaded: {type(error).__name__}: {error}"
            ) from error

    def described(self, point: EntryPoint) -> str:
        """Return what a message calls what a package has registered."""
        return f"the {self.word} {point.name!r} of {_source(point)}"

    def initialize(
        self, kind: str, take: Callable[[dict[str, Any]], None], config: dict[str, Any]
    ) -> None:
        """Hand `config` to `take`, the `initialize` of something of this kind.

        Raises:
            ConfigurationError: `config` does not fit. No value of it is in the message, unless
                `take` itself says so.
        """
        try:
            take(config)
        except ConfigurationError:
            raise
        except KeyError as error:
            raise ConfigurationError(
                f"the {self.word} {kind!r} misses the key {error} in config"
            ) from error
        except Exception as error:
            raise ConfigurationError(
                f"the {self.word} {kind!r} could not be initialized: {type(error).__name__}"
            ) from error

    def _unknown(self, kind: str) -> str:
        names = {point.name for point in entry_points(group=self.group)}
        known = sorted({*self.built_in, *names})
        near = difflib.get_close_matches(kind, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it may be one of {', '.join(known)}"
        return f"the {self.word} {kind!r} is unknown: {hint}"


def _source(point: EntryPoint) -> str:
    return f"the package {point.dist.name!r}" if point.dist else point.value
