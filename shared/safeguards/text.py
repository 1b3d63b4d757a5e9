"""Text from an agent is hostile: made visible here, escaped by each medium on its own."""

from __future__ import annotations

import unicodedata



def visible(text: str, *, single_line: bool = False, limit: int | None = None) -> str:
    """Return `text` with every invisible or direction-changing character written out.

    Characters of the Unicode categories Cc, Cf, Cs, Co, Cn, Zl and Zp become `⟨U+202E⟩`, so that
    what a person reads is what is there.

    Args:
        text: anything.
        single_line: also write out line breaks and tabs (for subjects, titles and headers).
        limit: shorten to so many characters, the last being `…`.
    """
    text = text.replace("\r\n", "\n")
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + "…"
    shown = "".join(_shown(text, index, single_line) for index in range(len(text)))
    return " ".join(shown.split()) if single_line else shown


def _shown(text: str, index: int, single_line: bool) -> str:
    character = text[index]
    if character in "\n\t":
        return " " if single_line else character
    if character == "\u200d" and _joins_symbols(text, index):
        return character
    if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}:
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
