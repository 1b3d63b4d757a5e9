"""The kinds of safeguards: the built-in ones, and those of entry points `safeguards.plugins`.

A safeguard of one's own is a class in any installed package, named in its `pyproject.toml`:

    [project.entry-points."safeguards.plugins"]
    blocked_words = "my_package:BlockedWords"

It derives from `Safeguard`. In the services it judges in a process of its own: see `isolation`.
"""

from __future__ import annotations

from typing import Any

from safeguards.errors import ConfigurationError
from safeguards.plugins import BUILT_IN, Safeguard, WindowSafeguard
from safeguards_runtime.entry_points import Kinds

KINDS = Kinds(group="safeguards.plugins", word="safeguard", built_in=BUILT_IN)


def is_built_in(kind: str) -> bool:
    """Tell whether a safeguard comes with the library. Others run in a process of their own."""
    return kind in BUILT_IN


def safeguard_of(kind: str, config: dict[str, Any]) -> Safeguard:
    """Return a new safeguard of a kind, initialized with `config`, in this process.

    Raises:
        MissingExtraError: it needs an optional dependency that is not installed.
        ConfigurationError: there is no such safeguard, it cannot be loaded, or `config` does not
            fit.
    """
    safeguard = _new(kind)
    KINDS.initialize(kind, safeguard.initialize, config)
    return safeguard


def _new(kind: str) -> Safeguard:
    point = KINDS.registered(kind)
    if point is None:
        return BUILT_IN[kind]()
    made = KINDS.made(point)
    if isinstance(made, WindowSafeguard):
        raise ConfigurationError(
            f"{KINDS.described(point)} is a WindowSafeguard: only the built-in ones may count over "
            "windows of time; derive from Safeguard, and use a built-in one for what is counted"
        )
    if isinstance(made, Safeguard):
        return made
    raise ConfigurationError(
        f"{KINDS.described(point)} is no safeguard: {point.value} does not derive from "
        "safeguards.plugins.Safeguard"
    )
