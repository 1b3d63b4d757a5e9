"""What differs between two versions of a request, field by field. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from safeguards.canonical import canonical_json
from safeguards.notifications.rendering import argument_label
from safeguards.text import visible

MAX_SHOWN = 200
MAX_NAMED = 50
"""How many of the fields beyond those that are shown are named."""

TEXT_LIMIT = 2_000
NAME_LIMIT = 300
SHORT_NAME_LIMIT = 80

_BEFORE = 100
"""How many characters are shown before the first that differs. Written out, none takes more than
ten, so that what differs is within the limit."""


@dataclass(frozen=True)
class Difference:
    """One field that differs. All texts are visible and short; None where there was nothing.

    Attributes:
        name: the field, with the fields that it stands in: `lines > 0 > price`. Of those that are
            left out, some of their names.
        word: what has happened to it; or that it stands for the fields that are left out.
        before: what stood there. Never the same as `after`.
        after: what stands there.
        begins: the number of the first character that differs, from 1, where the texts are shown
            in part; else 0.
        count: how many fields it stands for.
    """

    name: str
    word: Literal["changed", "added", "removed", "left_out"]
    before: str | None
    after: str | None
    begins: int = 0
    count: int = 1


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Return what differs between two contexts, in the order of the newer one; what was removed
    comes last. Of more than 200 fields the last one returned tells how many more there are."""
    found: list[Difference] = []
    more: list[str] = []
    count = 0
    for path, old, new in _differing(dict(before), dict(after), ()):
        if len(found) < MAX_SHOWN:
            found.append(_difference(path, old, new))
            continue
        count += 1
        if len(more) < MAX_NAMED:
            more.append(_name(path, SHORT_NAME_LIMIT))
    if count:
        names = ", ".join(more) + (", …" if count > len(more) else "")
        found.append(Difference(names, "left_out", None, None, count=count))
    return tuple(found)


def difference_of_text(name: str, before: str, after: str) -> tuple[Difference, ...]:
    """Return how a text of the agent's differs, under a name of ours; nothing if it does not."""
    if before == after:
        return ()
    return (Difference(name, "changed", *_both(before, after)),)


class _Nothing:
    """Stands where one of the two has no such field."""


_NOTHING = _Nothing()
_Path = tuple[str, ...]


def _differing(before: Any, after: Any, path: _Path) -> Iterator[tuple[_Path, Any, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in [*after, *(name for name in before if name not in after)]:
            old, new = before.get(name, _NOTHING), after.get(name, _NOTHING)
            yield from _differing(old, new, (*path, name))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for position, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _differing(old, new, (*path, str(position)))
    elif not _is_same(before, after):
        yield path, before, after


def _is_same(before: Any, after: Any) -> bool:
    if before is _NOTHING or after is _NOTHING:
        return before is after
    if type(before) is type(after) and isinstance(before, str | int | float):
        return bool(before == after)
    return canonical_json(before) == canonical_json(after)


def _difference(path: _Path, before: Any, after: Any) -> Difference:
    name = _name(path, NAME_LIMIT)
    if before is _NOTHING:
        return Difference(name, "added", None, visible(_text(after), limit=TEXT_LIMIT))
    if after is _NOTHING:
        return Difference(name, "removed", visible(_text(before), limit=TEXT_LIMIT), None)
    return Difference(name, "changed", *_both(before, after))


def _name(path: _Path, limit: int) -> str:
    first, *rest = path
    # A field's name cannot pass for a label of ours, nor for a field in another.
    names = [argument_label(first), *rest]
    return " > ".join(visible(step, single_line=True, limit=limit) for step in names)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)


def _both(before: Any, after: Any) -> tuple[str, str, int]:
    """Return two values that differ as texts that differ, and where they begin to, if they are
    shown in part."""
    old, new, begins = _pieces(_text(before), _text(after))
    if old != new:
        return old, new, begins
    # What looks the same: the number 5 and the text "5", two kinds of line ends, a character that
    # shows nothing and its name. As JSON in ASCII (RFC 8259, section 7) no two values are alike.
    return _pieces(json.dumps(before), json.dumps(after))


def _pieces(before: str, after: str) -> tuple[str, str, int]:
    old, new = visible(before, limit=TEXT_LIMIT + 1), visible(after, limit=TEXT_LIMIT + 1)
    if max(len(old), len(new)) <= TEXT_LIMIT:
        return old, new, 0
    same = _same_length(before, after)
    start = max(0, same - _BEFORE)
    old, new = (
        ("…" if start else "") + visible(text[start:], limit=TEXT_LIMIT) for text in (before, after)
    )
    return old, new, same + 1


def _same_length(before: str, after: str) -> int:
    """Return how many characters two texts begin with in common."""
    shorter = min(len(before), len(after))
    pairs = enumerate(zip(before, after, strict=False))
    return next((position for position, (old, new) in pairs if old != new), shorter)
