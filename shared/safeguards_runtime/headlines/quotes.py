"""Values as a sentence of ours shows them: in quotes if they could be taken for our words."""

from __future__ import annotations

import re

from safeguards.text import visible
from safeguards_runtime.headlines.leaves import word_set

# What is one word cannot go on as our sentence does, nor can a name: we write no capitals.
_ONE_WORD = re.compile(r"[\w@.&/\\:+#'~-]+")
_FIGURE = re.compile(r"[-+.]?(?:[A-Z]{3})?\d[\d.]*[^\W\d_]{0,8}")
_NAME = re.compile(r"[^\W\d_][\w&'.-]*(?: (?:&|[^\W\d_][\w&'.-]*)){1,3}")
_IBAN = re.compile(r"[A-Z]{2}[0-9]{2} [A-Z0-9]{4}(?: [0-9]{4}){1,6}(?: [0-9]{1,4})?", re.ASCII)
_OUR_WORDS = word_set(
    "already also amount amounts and another any approval approve approved by dollars eur euros"
    " for from gbp hundred in into is million needed no nobody none not of on only or other others"
    " pounds recipient rejected than then thousand times to until usd with without"
)
_MARKS = dict.fromkeys(map(ord, '"“”„‟«»″‶〝〞〟❝❞＂ˮ'), "'")  # noqa: RUF001


def quoted(text: str, *, limit: int) -> str:
    """Return a value in quotes, visible and cut at so many characters. It cannot end them: where it
    has some of its own, these are shown as single ones."""
    return f"“{visible(text, single_line=True, limit=limit).translate(_MARKS)}”"


def bare_or_quoted(text: str, *, limit: int) -> str:
    """Return a value as it is if it is plainly a name, a path, an address or the like; otherwise in
    quotes, as `quoted` does."""
    shown = visible(text, single_line=True, limit=limit)
    return shown if _is_plain(shown) else quoted(text, limit=limit)


def _is_plain(text: str) -> bool:
    if _IBAN.fullmatch(text):
        return True
    if _OUR_WORDS.keys() & re.split(r"[\s_-]+", text.casefold()):
        return False
    if _ONE_WORD.fullmatch(text):
        return not _FIGURE.fullmatch(text)
    is_name = _NAME.fullmatch(text) and not any(character.isnumeric() for character in text)
    return bool(is_name) and all(word[0].isupper() or word == "&" for word in text.split(" "))
