"""The plain values of a request's arguments with their names in words, the outermost first."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

MAX_VALUES = 500
"""How many values, arrays and objects of the arguments are looked at."""

MAX_NAME_LENGTH = 60

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\dA-Z_]+|\d+|[^\W_]")


class Leaf(NamedTuple):
    """One plain value."""

    words: tuple[str, ...]
    """Its name, or its array's, in words; folded."""

    value: str | int | float
    depth: int
    """How many arrays and objects it is in, besides the arguments themselves."""

    within: int
    """The same number for what stands in the same object."""

    holder: tuple[str, ...]
    """The name in words of the object that it stands in; empty at the top."""

    is_listed: bool
    """Whether it is in an array."""


class Leaves(NamedTuple):
    """What was found."""

    found: tuple[Leaf, ...]
    is_all: bool
    """Whether every value was looked at."""


class _Held(NamedTuple):
    """An array or object that is still to be looked into."""

    value: Mapping[str, Any] | list[Any]
    words: tuple[str, ...]
    depth: int
    within: int
    holder: tuple[str, ...]
    is_listed: bool


@lru_cache(maxsize=4096)
def words_of(name: str) -> tuple[str, ...]:
    """Return the words of a name such as `amount_eur` or `totalAmount`, folded."""
    return tuple(word.casefold() for word in _WORDS.findall(name))


def word_set(text: str) -> dict[str, None]:
    """Return the words of a text, as an ordered set."""
    return dict.fromkeys(text.split())


def leaves_of(context: Mapping[str, Any]) -> Leaves:
    """Return the plain values of the arguments: those at the top, then those in what they hold,
    and so on inwards; on each level in the order of their keys."""
    found: list[Leaf] = []
    waiting = deque([_Held(context, (), 0, 0, (), is_listed=False)])
    left, objects = MAX_VALUES, 0
    while waiting:
        held = waiting.popleft()
        is_object = isinstance(held.value, Mapping)
        items = (
            held.value.items()
            if isinstance(held.value, Mapping)
            else ((None, item) for item in held.value)
        )
        for name, value in items:
            if held.depth == 0 and name == "action_type":
                continue
            if left == 0:
                return Leaves(tuple(found), is_all=False)
            left -= 1
            words = held.words if name is None else words_of(name[: MAX_NAME_LENGTH + 1])
            is_listed = held.is_listed or not is_object
            if isinstance(value, dict):
                objects += 1
                waiting.append(_Held(value, words, held.depth + 1, objects, words, is_listed))
            elif isinstance(value, list):
                inner = _Held(value, words, held.depth + 1, held.within, held.holder, True)
                waiting.append(inner)
            elif _is_plain(value) and words and len(name or "") <= MAX_NAME_LENGTH:
                found.append(Leaf(words, value, held.depth, held.within, held.holder, is_listed))
    return Leaves(tuple(found), is_all=True)


def _is_plain(value: Any) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool)
