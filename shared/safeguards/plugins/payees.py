"""Who gets something: the payees and recipients that an argument names, and when two are one."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

from safeguards.plugins.fields import RECIPIENTS, Place
from safeguards.plugins.names import compact_name, compatible
from safeguards.plugins.texts import folded

MAX_PAYEES = 100
"""How many recipients of one action are judged."""

_PIECE = re.compile(r"[^\s,;][^,;\n]*")
_MAILBOX = re.compile(r"[^<>@]*<([^\s<>@]+@[^\s<>@]+)>|([^\s<>@\"]+@[^\s<>@\"]+)")
_NAMED = re.compile(r"(?<!\S)[^<>@]*<[^\s<>@]+@[^\s<>@]+>")
_BARE = re.compile(r"[^\s<>@\"]+@[^\s<>@\"]+")
_ACCOUNT_NUMBER = re.compile(r"[a-z]{2}[0-9]{2}[a-z0-9]{8,30}|[0-9]{6,34}")
_IDENTIFYING = frozenset(
    compact_name(name)
    for name in (*RECIPIENTS, "id", "name", "account", "account_number", "address")
)
"""What an object that stands for somebody calls that by which they are found."""

_LONGEST_PIECE = 1000
"""What is longer than this without a comma is no list of addresses."""

_LONGEST_MATCHED = 320
"""The longest address (RFC 3696 errata 1690); nothing longer is matched by a pattern."""


class UnreadableError(Exception):
    """What stands in the place of a payee names nobody."""


def named_in(place: Place) -> list[tuple[str, ...]]:
    """Return everybody whom an argument names, each by all names that it gives them, as they are
    written. Several addresses in one text are several; of `Ann Lee <ann@example.com>` it is the
    address that counts. Nobody is looked for any more once there `are_too_many`.

    Raises:
        UnreadableError: what stands there names nobody, such as `true`.
    """
    named: list[tuple[str, ...]] = []
    left = [place.value]
    while left and len(named) <= MAX_PAYEES:
        value = left.pop()
        if isinstance(value, list | tuple):
            left += reversed(value)
        elif isinstance(value, dict):
            named.append(_names_of(value))
        elif value is not None:
            named += [(part,) for part in _parts(_written(value))]
    return named


def are_too_many(named: Sequence[tuple[str, ...]]) -> bool:
    """Tell whether somebody may be missing from those whom an argument names."""
    return len(named) > MAX_PAYEES or any(len(names) > MAX_PAYEES for names in named)


def is_address(text: str) -> bool:
    """Tell whether a text is an email address, or several, and nothing else. Behind so many that
    they are too many to judge, nothing is looked at."""
    plain = folded(text)
    found = islice(_PIECE.finditer(plain), MAX_PAYEES + 1)
    pieces = (" ".join(piece[0].split()) for piece in found)
    return "@" in plain and all(
        len(piece) <= _LONGEST_PIECE and all(map(_BARE.fullmatch, _NAMED.sub(" ", piece).split()))
        for piece in pieces
    )


def _written(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise UnreadableError


def _names_of(party: dict[Any, Any]) -> tuple[str, ...]:
    """Return the names by which an object identifies somebody: a name, an account, an address."""
    names: list[str] = []
    for key, value in party.items():
        if compact_name(str(key)) in _IDENTIFYING and value is not None:
            names += _parts(_written(value))
            if len(names) > MAX_PAYEES:
                break
    if not names:
        raise UnreadableError
    return tuple(names)


def _parts(text: str) -> list[str]:
    if "@" not in text:
        return [text] if text.strip() else []
    parts = []
    for piece in islice(_PIECE.finditer(text), MAX_PAYEES + 1):
        mailbox = _MAILBOX.fullmatch(piece[0].strip())
        parts.append(mailbox[1] or mailbox[2] if mailbox else piece[0].strip())
    return parts


def same_payee(text: str) -> str:
    """Return what is the same in every spelling of a payee, so that another spelling is no new
    budget: case, spaces, punctuation, accents, invisible characters and compatibility forms
    (UAX #15, NFKD) are left out."""
    folded = compatible(text, "NFKD").casefold()
    return "".join(c for c in folded if c.isalnum() or c == "@") or folded


def exact_payee(text: str) -> str:
    """Return what is the same for one payee only, so that a lookalike is another: spaces, and the
    case of ASCII letters, are left out; an account number has no spaces at all."""
    plain = " ".join(text.split())
    if not plain.isascii():
        return plain
    plain = plain.lower()
    joined = plain.replace(" ", "")
    return joined if _ACCOUNT_NUMBER.fullmatch(joined) else plain


class KnownPayees:
    """Those who need no question.

    Args:
        patterns: names, with `*` and `?`. Neither stands for an `@`, a comma, a semicolon or a line
            break, so `*@example.com` is one address at example.com and nothing else.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = [
            (
                {mark: pattern.count(mark) for mark in "@,;\n"},
                re.compile(fnmatch.translate(exact_payee(pattern))),
            )
            for pattern in patterns
        ]

    def __contains__(self, text: str) -> bool:
        """Tell whether a payee, as it is written, is known."""
        if len(text) > _LONGEST_MATCHED:
            return False
        exact = exact_payee(text)
        return any(
            all(text.count(mark) == count for mark, count in marks.items())
            and pattern.match(exact) is not None
            for marks, pattern in self._patterns
        )
