"""Searching the text of requests. An agent writes it, so how much of it is searched is bounded,
and so is how long each step takes. No I/O."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from typing import Any

from safeguards_runtime.headlines.sentence import headline
from safeguards_runtime.records import Approval

SEARCHED_CHARACTERS = 20_000
"""How many characters of each request are searched."""

_STEP_CHARACTERS = 2_000
"""How many are normalised at once: nothing else runs meanwhile, and one may become 18."""


def has_words(asked: Approval, words: str) -> bool:
    """Tell whether all words stand in the first 20,000 characters of a request, in upper or lower
    case: of its title, its sentence, who asks for what, and its arguments."""
    wanted = _folded(words).split()
    folded = _folded(_text(asked, SEARCHED_CHARACTERS))
    return all(word in folded for word in wanted)


def is_searched_in_part(asked: Approval) -> bool:
    """Tell whether a request has more text than is searched."""
    return len(_text(asked, SEARCHED_CHARACTERS + 1)) > SEARCHED_CHARACTERS


def _text(asked: Approval, limit: int) -> str:
    """Return the beginning of all its text, one value on each line: no word goes over two."""
    found, length = [], 0
    for text in _texts(asked):
        found.append(text[:limit])
        length += len(text) + 1
        if length > limit:
            break
    return "\n".join(found)[:limit]


def _texts(asked: Approval) -> Iterator[str]:
    yield asked.title
    yield headline(asked).sentence
    yield from (asked.agent_id, asked.action_type, asked.id)
    yield from _values(asked.shown_context)


def _values(value: Any) -> Iterator[str]:
    """Yield the plain values of arguments as they are written."""
    if isinstance(value, dict):
        for nested in value.values():
            yield from _values(nested)
    elif isinstance(value, list | tuple):
        for nested in value:
            yield from _values(nested)
    elif value is not None:
        yield str(value)


def _folded(text: str) -> str:
    return "".join(unicodedata.normalize("NFKC", step).casefold() for step in _steps(text))


def _steps(text: str) -> Iterator[str]:
    """Yield a text in pieces, parted where words are if that can be: letters and their marks that
    stand in two pieces are not composed."""
    start = 0
    while start < len(text):
        end = start + _STEP_CHARACTERS
        if end < len(text):
            between = max(text.rfind(space, start, end) for space in " \n")
            end = between + 1 if between >= start else end
        yield text[start:end]
        start = end
