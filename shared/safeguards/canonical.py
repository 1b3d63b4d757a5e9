"""What an action may contain, and its canonical form (RFC 8785) that digests are taken of."""

from __future__ import annotations

import hashlib
import math
from decimal import Decimal
from typing import Any

import rfc8785

from safeguards.errors import InvalidContentError

MAX_BYTES = 256 * 1024
"""The largest action, in bytes of canonical JSON; also the largest HTTP body."""

MAX_DEPTH = 32
"""How deep arrays and objects may nest."""

MAX_INTEGER = 2**53 - 1
"""Integers beyond this are not exact in JSON (RFC 8259 section 6): send them as strings."""


MAX_DIGITS = 1000
"""How many digits a Decimal may have, written out without an exponent."""


def jsonable(value: Any, *, pointer: str = "", depth: int = 0) -> Any:
    """Return `value` as plain JSON types, with each Decimal as its string.

    Args:
        value: None, bool, int, float, str, Decimal, and lists, tuples and str-keyed dicts of them.
        pointer: where `value` stands in the whole (RFC 6901), for errors.
        depth: how deep `value` stands in the whole.

    Raises:
        InvalidContentError: for NaN, infinity, a number beyond 2^53 - 1, a key that is no
            string, a lone surrogate, another type, a Decimal of more than 1000 digits, or
            nesting deeper than 32.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, pointer)
    if isinstance(value, int | float | Decimal):
        return _number(value, pointer)
    if depth >= MAX_DEPTH:
        raise InvalidContentError(f"nested deeper than {MAX_DEPTH}: flatten it", pointer)
    if isinstance(value, dict):
        return {
            _key(key, pointer): jsonable(item, pointer=_below(pointer, key), depth=depth + 1)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [
            jsonable(item, pointer=f"{pointer}/{index}", depth=depth + 1)
            for index, item in enumerate(value)
        ]
    kind = type(value).__name__
    raise InvalidContentError(f"{kind} has no JSON form: convert it to a string first", pointer)


def _number(value: int | float | Decimal, pointer: str) -> int | float | str:
    if isinstance(value, int):
        if abs(value) > MAX_INTEGER:
            raise InvalidContentError(
                "integers beyond 2^53 - 1 are not exact: send a string", pointer
            )
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidContentError("NaN and infinity are not JSON: leave the field out", pointer)
        if abs(value) > MAX_INTEGER:
            # Its canonical form has no point, so it would be read back as an integer.
            raise InvalidContentError(
                "floats beyond 2^53 - 1 are not exact: send a string", pointer
            )
        return float(value)
    if not value.is_finite():
        raise InvalidContentError("NaN and infinity are not amounts: leave the field out", pointer)
    if abs(value.adjusted()) > MAX_DIGITS or len(value.as_tuple().digits) > MAX_DIGITS:
        raise InvalidContentError(f"no amount has more than {MAX_DIGITS} digits", pointer)
    return format(value, "f")


def _below(pointer: str, key: object) -> str:
    escaped = str(key).replace("~", "~0").replace("/", "~1")
    return f"{pointer}/{escaped}"


def _key(key: object, pointer: str) -> str:
    if not isinstance(key, str):
        raise InvalidContentError(f"keys are strings, not {type(key).__name__}", pointer)
    return _text(key, pointer)


def _text(value: str, pointer: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidContentError("a lone surrogate is not Unicode text", pointer) from error
    # Not str(value): for a member of a string enum that is its name.
    return str.__str__(value)


def canonical_json(value: Any, *, depth: int = 0) -> bytes:
    """Return `value` in the JSON Canonicalization Scheme (RFC 8785), Decimals as strings.

    Args:
        value: as for `jsonable`.
        depth: how deep `value` stands in what the limit is for; -1 if it is wrapped around that.

    Raises:
        InvalidContentError: as `jsonable`, and if the result exceeds 256 KiB.
    """
    encoded = rfc8785.dumps(jsonable(value, depth=depth))
    if len(encoded) > MAX_BYTES:
        raise InvalidContentError(f"{len(encoded)} bytes exceed the limit of {MAX_BYTES}")
    return encoded


def digest(value: Any, *, depth: int = 0) -> str:
    """Return the SHA-256 of `value`'s canonical JSON, as 64 hexadecimal digits.

    Arguments and errors as `canonical_json`.
    """
    return hashlib.sha256(canonical_json(value, depth=depth)).hexdigest()
