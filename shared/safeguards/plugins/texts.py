"""The texts of an action: what stands where in its arguments, and naming a place in an alert."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable
from decimal import Decimal
from typing import Any, NamedTuple

from safeguards.plugins.arguments import TooMuchError, walk
from safeguards.plugins.names import compatible
from safeguards.text import visible
from safeguards.types import Agent, AlertSeverity, SafetyAlert

MAX_TEXT = 256 * 1024
"""How many characters of an action are searched."""

ACTION_TYPE = "action_type"
"""The key under which a safeguard is given the action's type, beside the arguments."""

_ACTION_TYPE_POINTER = f"/{ACTION_TYPE}"

_PLACES_NAMED = 5


class _Folding(dict[int, str | None]):
    """For `str.translate`: what cannot be seen is removed, and a digit of any script is the digit
    it means. A character is looked up when it first turns up: there are a million."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        category = unicodedata.category(character)
        folded: str | None = character
        if category == "Cf":
            folded = None
        elif category == "Nd":
            folded = str(unicodedata.digit(character))
        self[code] = folded
        return folded


_FOLDED = _Folding()


class Text(NamedTuple):
    """One text of an action.

    Attributes:
        pointer: where it stands (RFC 6901).
        name: the argument it belongs to: the key it is, or the nearest key above it.
        text: what it says; a number as it is written.
        plain: the same, `folded`.
        is_key: whether it is itself the name of an argument.
    """

    pointer: str
    name: str
    text: str
    plain: str
    is_key: bool = False


def texts(context: dict[str, Any]) -> list[Text]:
    """Return each text and number of an action's arguments, and the names of the arguments.

    Raises:
        TooMuchError: the arguments are too deep or too many, hold more than 256 KiB of text, also
            when it is folded, or something that is no JSON.
    """
    found = []
    characters = 0
    names: dict[str, str] = {"": ""}
    for pointer, key, value in walk(context):
        if key is None:
            name = names[pointer[: pointer.rfind("/")]] if pointer else ""
        elif pointer == _ACTION_TYPE_POINTER:
            continue
        else:
            name = key
        said = [] if key is None else [(key, True)]
        if isinstance(value, str):
            said.append((value, False))
        elif isinstance(value, dict | list | tuple):
            names[pointer] = name
        elif isinstance(value, int | float | Decimal):
            if not isinstance(value, bool):
                said.append((_written(value), False))
        elif value is not None:
            raise TooMuchError
        for text, is_key in said:
            # A folded text may be 18 times as long: what is too long already is not folded.
            plain = folded(text) if characters + len(text) <= MAX_TEXT else text
            characters += max(len(text), len(plain))
            if characters > MAX_TEXT:
                raise TooMuchError
            found.append(Text(pointer, name, text, plain, is_key))
    return found


def _written(number: int | float | Decimal) -> str:
    if isinstance(number, int) and number.bit_length() > 4 * MAX_TEXT:
        raise TooMuchError
    return str(number) if not isinstance(number, int) else format(Decimal(number), "f")


def folded(text: str) -> str:
    """Return a text in compatibility forms (UAX #15, NFKC), without what cannot be seen, and with
    the digits 0 to 9 for those of any script."""
    if text.isascii():
        return text
    return compatible(text).translate(_FOLDED)


_PLAIN = re.compile(r"[A-Za-z0-9_/.-]{1,100}")


def about(safeguard: str, agent: Agent, context: dict[str, Any]) -> dict[str, Any]:
    """Return the facts that every alert of a safeguard carries."""
    action_type = str(context.get(ACTION_TYPE))
    return {"safeguard": safeguard, "agent_id": agent.id, ACTION_TYPE: _visible(action_type)}


def _visible(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    return visible(text, single_line=True, limit=100)


def places(pointers: Iterable[str], hidden: Collection[str] = ()) -> list[str]:
    """Return pointers as they may be shown, each once.

    Args:
        pointers: where something stands (RFC 6901).
        hidden: names of arguments that are themselves what must not be shown.
    """
    return [
        _shown(pointer, hidden) for pointer in list(dict.fromkeys(pointers))[: _PLACES_NAMED + 1]
    ]


def _shown(pointer: str, hidden: Collection[str]) -> str:
    if hidden:
        keys = {key.replace("~", "~0").replace("/", "~1") for key in hidden}
        pointer = "/".join("…" if step in keys else step for step in pointer.split("/"))
    return _visible(pointer)


def at(shown: list[str]) -> str:
    """Return places as words: `at /body and /to/0`."""
    named = shown[:_PLACES_NAMED]
    if len(shown) > len(named):
        return f"at {', '.join(named)} and elsewhere"
    return f"at {' and '.join([', '.join(named[:-1]), named[-1]] if named[1:] else named)}"


def unsearchable(facts: dict[str, Any], sought: str) -> SafetyAlert:
    """Return the alert about an action that is too deep or too large to be searched."""
    return SafetyAlert(
        title="Action cannot be searched",
        description=f"The arguments are too deep or too large to be searched for {sought}.",
        severity=AlertSeverity.ERROR,
        metadata=facts,
    )
