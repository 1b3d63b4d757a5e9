"""Text from an agent is hostile: made visible here, escaped by each medium on its own."""

from __future__ import annotations

import re
import unicodedata

_LINE_SPACE = re.compile(r"[ \n\t]+")

_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

# Default_Ignorable_Code_Point (UAX #44) outside of those categories, and the blank Braille cell.
_HIDDEN_LETTERS = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    + "".join(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
)


def visible(text: str, *, single_line: bool = False, limit: int | None = None) -> str:
    """Return `text` with every invisible or direction-changing character written out.

    Characters of the Unicode categories Cc, Cf, Cs, Co, Cn, Zl and Zp, and the letters and marks
    that show nothing, become `⟨U+202E⟩`, so that what a person reads is what is there.

    Args:
        text: anything.
        single_line: also turn line breaks and tabs into spaces (for subjects, titles, headers).
        limit: shorten the result to at most so many characters, the last being `…`.
    """
    text = text.replace("\r\n", "\n")
    if single_line:
        text = _LINE_SPACE.sub(" ", text)
    # No character is shown as less than one, so the rest cannot be needed.
    too_long = limit is not None and len(text) > limit
    text = text[:limit]
    shown = "".join(_shown(text, index) for index in range(len(text)))
    if single_line:
        shown = " ".join(shown.split())
    if limit is not None and (too_long or len(shown) > limit):
        return f"{shown[: limit - 1]}…"
    return shown


def _shown(text: str, index: int) -> str:
    character = text[index]
    if character in "\n\t":
        return character
    if character == "\u200d" and _joins_symbols(text, index):
        return character
    if character == "\ufe0f" and unicodedata.category(text[index - 1 : index] or " ") == "So":
        return character
    if character in _HIDDEN_LETTERS or unicodedata.category(character) in _HIDDEN_CATEGORIES:
        return f"⟨U+{ord(character):04X}⟩"
    return character


def _joins_symbols(text: str, index: int) -> bool:
    """Tell whether a zero-width joiner stands inside an emoji sequence (UTS #51 section 2.3)."""
    before, after = text[index - 1 : index], text[index + 1 : index + 2]
    return (
        bool(before)
        and bool(after)
        and (unicodedata.category(before) in {"So", "Sk", "Mn"})
        and unicodedata.category(after) == "So"
    )
