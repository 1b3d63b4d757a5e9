"""Searching the arguments of an action, however deep they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 32
"""How deep an action's arguments are searched."""

MAX_VALUES = 10_000
"""How many values of an action are searched."""


MAX_POINTER = 2_000
"""How long the pointer to what holds other values may be: each of those repeats it."""


class TooMuchError(Exception):
    """An action is too deep or too large to be searched."""


def walk(context: dict[str, Any]) -> Iterator[tuple[str, str | None, Any]]:
    """Yield each value of an action's arguments, at any depth, without recursion.

    Yields:
        Its JSON pointer (RFC 6901), its key (None for an item of a list), and the value.

    Raises:
        TooMuchError: the arguments are too deep, or too many.
    """
    left: list[tuple[str, str | None, Any, int]] = [("", None, context, 0)]
    for _ in range(MAX_VALUES):
        if not left:
            return
        pointer, key, value, depth = left.pop()
        yield pointer, key, value
        if not isinstance(value, (dict, list, tuple)) or not value:
            continue
        too_deep = depth >= MAX_DEPTH or len(pointer) > MAX_POINTER
        if too_deep or len(left) + len(value) > MAX_VALUES:
            raise TooMuchError
        if isinstance(value, dict):
            left += [
                (f"{pointer}/{_escaped(str(key))}", str(key), item, depth + 1)
                for key, item in reversed(value.items())
            ]
        else:
            left += [
                (f"{pointer}/{index}", None, value[index], depth + 1)
                for index in reversed(range(len(value)))
            ]
    if left:
        raise TooMuchError


def _escaped(step: str) -> str:
    if "~" not in step and "/" not in step:
        return step
    return step.replace("~", "~0").replace("/", "~1")
