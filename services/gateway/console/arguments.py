"""The exact arguments of a request as a page shows them: typed, in order, long ones folded.

All texts are made visible here and cut to what a page can carry; the rest of what was cut is at a
path of its own, found by its JSON pointer (RFC 6901). The template escapes what it shows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from safeguards.notifications import rendering
from safeguards.notifications.message import Message
from safeguards.notifications.rendering import argument_label
from safeguards.text import visible
from safeguards_runtime.records import Approval
from safeguards_runtime.records.modifications import field_type

PAGE_CHARACTERS = 60_000
"""How many characters of values one page carries in all."""

VALUE_CHARACTERS = 4_000
"""How many characters of one value it carries."""

SPARE_CHARACTERS = 200
"""How many characters each value still gets when the page is full."""

NAME_CHARACTERS = 300
MAX_NODES = 1_500
MAX_ITEMS = 200
"""How many items of one array or object are shown; the others are with its rest."""

_FOLDED_FROM = 320
_FOLDED_LINES = 6
_FOLDED_ITEMS = 12
_CAUTIOUS_FACTS = 400
_POSITION = re.compile("0|[1-9][0-9]{0,8}")
"""In an array (RFC 6901, section 4); none is longer than so."""


@dataclass(frozen=True)
class Argument:
    """One argument, or one part of one.

    Attributes:
        name: its name, or its position in an array; visible.
        kind: of `modifications.field_type`.
        text: of a plain value what is shown of it; visible. Empty for arrays and objects.
        beginning: the first words of a text that is folded, or nothing.
        size: in words: `1,024 characters`, `3 fields`.
        parts: of an array or object.
        pointer: JSON pointer to it, if not all of it is shown; else empty.
        is_folded: whether it is opened only when it is wanted.
        is_written_out: whether characters that show nothing had to be written out.
    """

    name: str
    kind: str
    text: str = ""
    beginning: str = ""
    size: str = ""
    parts: tuple[Argument, ...] = ()
    pointer: str = ""
    is_folded: bool = False
    is_written_out: bool = False

    @property
    def is_in_sight(self) -> bool:
        """Whether all of it is there to be read, with nothing to be opened first."""
        is_whole = not self.is_folded and not self.pointer
        return is_whole and all(part.is_in_sight for part in self.parts)


def arguments(
    context: dict[str, Any], action_type: str, limit: int = MAX_NODES
) -> tuple[Argument, ...]:
    """Return the arguments in their order, but the action type where it is what is known. Of very
    many the first that the page can carry, by default: how many there are `count` tells."""
    reading = _Reading(limit)
    shown = []
    for name, value in context.items():
        if reading.is_full:
            break
        if (name, value) != ("action_type", action_type):
            shown.append(reading.read(argument_label(name), value, f"/{_escaped(name)}"))
    return tuple(shown)


def all_in_sight(
    context: dict[str, Any], action_type: str, limit: int
) -> tuple[Argument, ...] | None:
    """Return the arguments if all can be read at a glance: they and their parts are at most so many
    and none is long enough to be folded. None otherwise."""
    listed = arguments(context, action_type, limit)
    is_all = len(listed) == count(context, action_type)
    return listed if is_all and all(argument.is_in_sight for argument in listed) else None


def count(context: dict[str, Any], action_type: str) -> int:
    """Return how many arguments there are, but for the action type where it is what is known."""
    return len(context) - (context.get("action_type") == action_type)


class _Reading:
    """Reads values until the page is full."""

    def __init__(self, nodes: int) -> None:
        self._characters = PAGE_CHARACTERS
        self._nodes = nodes

    @property
    def is_full(self) -> bool:
        """Whether the page can carry no further argument."""
        return self._nodes <= 0

    def read(self, name: str, value: Any, pointer: str) -> Argument:
        self._nodes -= 1
        label = visible(name, single_line=True, limit=NAME_CHARACTERS)
        # What is cut off a name is found with the rest of its value.
        is_cut = len(name) > NAME_CHARACTERS
        if isinstance(value, dict | list):
            return self._nested(label, value, pointer, is_cut=is_cut)
        kind = field_type(value)
        text = value if isinstance(value, str) else json.dumps(value)
        room = max(SPARE_CHARACTERS, min(VALUE_CHARACTERS, self._characters))
        shown = visible(text, limit=room)
        self._characters -= len(shown)
        is_long = len(shown) > _FOLDED_FROM or shown.count("\n") >= _FOLDED_LINES
        is_cut = is_cut or shown != visible(text[: room + 1])
        return Argument(
            name=label,
            kind=kind,
            text=shown,
            beginning=visible(text, single_line=True, limit=100) if is_long else "",
            size=f"{len(text):,} characters" if is_long or is_cut else "",
            pointer=pointer if is_cut else "",
            is_folded=is_long,
            is_written_out=shown.count("⟨U+") > text[:room].count("⟨U+"),
        )

    def _nested(
        self, label: str, value: dict[str, Any] | list[Any], pointer: str, *, is_cut: bool
    ) -> Argument:
        is_object = isinstance(value, dict)
        items = list(value.items()) if isinstance(value, dict) else list(enumerate(value))
        parts = []
        for name, item in items[:MAX_ITEMS]:
            if self.is_full:
                break
            below = f"{pointer}/{_escaped(str(name))}"
            parts.append(self.read(str(name) if is_object else f"[{name}]", item, below))
        word = "field" if is_object else "item"
        return Argument(
            name=label,
            kind="object" if is_object else "array",
            size=f"{len(items):,} {word}{'' if len(items) == 1 else 's'}",
            parts=tuple(parts),
            pointer=pointer if is_cut or len(parts) < len(items) else "",
            is_folded=len(items) > _FOLDED_ITEMS,
        )


def found(context: dict[str, Any], pointer: str) -> str:
    """Return what stands at a JSON pointer as text; its name first, where a page may cut that. All
    arguments stand at the empty one.

    Raises:
        LookupError: nothing stands there.
    """
    value: Any = context
    name = ""
    for step in pointer.removeprefix("/").split("/") if pointer else ():
        name = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value[name]
        elif isinstance(value, list) and _POSITION.fullmatch(name):
            value = value[int(name)]
        else:
            raise LookupError(pointer)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)
    said = visible(text)
    if len(name) > NAME_CHARACTERS:
        return f"{visible(name, single_line=True)}\n\n{said}"
    return said


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def cautions(approval: Approval) -> list[str]:
    """Return a sentence for each word of the request that mixes alphabets that look alike."""
    leaves = list(_leaves(approval.shown_context, _CAUTIOUS_FACTS))
    words = "\n".join([approval.description, *(q.answer or "" for q in approval.questions)])
    said: dict[str, None] = {}
    for start in range(0, max(1, len(leaves)), rendering.MAX_FACTS):
        facts = tuple(leaves[start : start + rendering.MAX_FACTS])
        message = Message("", approval.title, facts=facts, agent_words=words)
        said |= dict.fromkeys(rendering.cautions(message))
    return list(said)


def _leaves(value: Any, limit: int, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the plain values with their names, at most so many."""
    left = [(name, value)]
    while left and limit > 0:
        name, value = left.pop()
        if isinstance(value, dict):
            left += reversed(value.items())
        elif isinstance(value, list):
            left += ((name, item) for item in reversed(value))
        else:
            limit -= 1
            yield name, str(value)
