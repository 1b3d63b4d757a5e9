"""How names are compared: action types and arguments, in whatever spelling an agent writes them."""

from __future__ import annotations

import re
import unicodedata

_SEPARATORS = re.compile(r"[\s\-_.]+")
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


def words(text: str) -> frozenset[str]:
    """Return the words of a name in every spelling of it: those of `sendMoney` are sendmoney, send
    and money."""
    return frozenset(word for name in spellings(text) for word in name.split("_") if word)


def _seen(text: str) -> str:
    """Return a text without what cannot be seen, in compatibility forms."""
    folded = unicodedata.normalize("NFKC", text)
    return "".join(c for c in folded if c.isspace() or unicodedata.category(c) not in {"Cf", "Cc"})


def _plain(text: str) -> str:
    return _SEPARATORS.sub("_", text.casefold()).strip("_")
