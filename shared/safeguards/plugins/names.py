"""How names are compared: action types and arguments, in whatever spelling an agent writes them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal

_SEPARATORS = re.compile(r"[\W_]+")
"""Whatever is no letter or digit: tools are called `github/delete-repo` and `stripe.pay` too."""

_UNSEEN = frozenset({"Cf", "Cc", "Mn", "Me"})
"""Characters that are not seen, and marks that are put on a letter as a disguise."""

_PIECE = 256
_LONGEST_KEPT = 64
_GLOB_SEPARATORS = re.compile(r"(?:[^\w*?]|_)+")
_WILD = re.compile(r"[*?\[]")
_CLASS = re.compile(r"(\[[^\]]*\])")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def plain_name(text: str) -> str:
    """Return a name in one spelling: `High-Risk  Investment` is `high_risk_investment`.

    Compatibility forms are folded (UAX #15, NFKC) and invisible characters removed, so that
    another spelling of a restricted name is restricted too.
    """
    return _plain(_seen(text))


def spellings(text: str) -> tuple[str, ...]:
    """Return the plain names that a name may be meant as: as it is written, and with a word for
    each of its humps. `GmailSendEmail` is `gmailsendemail` and `gmail_send_email`."""
    seen = _seen(text)
    return tuple(dict.fromkeys((_plain(seen), _plain(_HUMP.sub("_", seen)))))


def compact_name(text: str) -> str:
    """Return what is the same however the words of a name are told apart: `NOTEIT`, `note_it`."""
    if len(text) > _LONGEST_KEPT:
        return plain_name(text).replace("_", "")
    return _compact_kept(text)


@lru_cache(maxsize=4096)
def _compact_kept(text: str) -> str:
    return plain_name(text).replace("_", "")


def is_glob(pattern: str) -> bool:
    """Tell whether a pattern may be for more than one name."""
    return _WILD.search(pattern) is not None


@lru_cache(maxsize=4096)
def glob_spellings(glob: str) -> tuple[str, ...]:
    """Return the globs that a glob may be meant as; they are compared with `spellings`.

    `wireMoney.*` is `wiremoney_*` and `wire_money_*`. What stands in brackets stays as it is.
    """
    parts = _CLASS.split(_seen(glob))
    humps = [part if _CLASS.match(part) else _HUMP.sub("_", part) for part in parts]
    return tuple(dict.fromkeys((_plain_glob(parts), _plain_glob(humps))))


def words(text: str) -> frozenset[str]:
    """Return the words of a name in every spelling of it: those of `sendMoney` are sendmoney, send
    and money."""
    return frozenset(word for name in spellings(text) for word in name.split("_") if word)


def compatible(text: str, form: Literal["NFKC", "NFKD"] = "NFKC") -> str:
    """Return a text in compatibility forms (UAX #15), piece by piece: the time that it takes to put
    marks in order grows with the square of how many follow each other."""
    if text.isascii():
        return text
    pieces = (text[at : at + _PIECE] for at in range(0, len(text), _PIECE))
    return "".join(unicodedata.normalize(form, piece) for piece in pieces)


def _seen(text: str) -> str:
    """Return a text without what cannot be seen, in compatibility forms."""
    folded = compatible(text)
    return "".join(c for c in folded if c.isspace() or unicodedata.category(c) not in _UNSEEN)


def _plain(text: str) -> str:
    return _SEPARATORS.sub("_", text.casefold()).strip("_")


def _plain_glob(parts: Iterable[str]) -> str:
    return "".join(
        part.casefold() if _CLASS.match(part) else _GLOB_SEPARATORS.sub("_", part.casefold())
        for part in parts
    )
