"""Reading amounts of money exactly."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

_AMOUNT = re.compile(r"[0-9]+(\.[0-9]+)?")
_MAX_DIGITS = 40
_EXACT_DIGITS = 15
"""How many digits a JSON number keeps exactly, whatever they are (IEEE 754 binary64)."""


def read_amount(value: Any) -> Decimal:
    """Return an amount of money: a decimal string such as `2500.00`, a Decimal, or a JSON number
    of at most 15 digits, which is read as it was written.

    Raises:
        ValueError: for anything else: signs, exponents, spaces, digits of other scripts, NaN,
            negative amounts, numbers that are not exact, more than 40 digits. It says which.
    """
    if isinstance(value, float):
        value = _written(value)
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        kind = type(value).__name__
        raise ValueError(f"a {kind} is not an amount: write a decimal string such as '2500.00'")
    if isinstance(value, str):
        if not _AMOUNT.fullmatch(value):
            raise ValueError("an amount is written in the digits 0 to 9, with at most one point")
        if len(value) > _MAX_DIGITS:
            raise ValueError(f"an amount has at most {_MAX_DIGITS} digits")
        return Decimal(value)
    if isinstance(value, int):
        if not 0 <= value < 10**_MAX_DIGITS:
            raise ValueError(f"an amount is not negative and has at most {_MAX_DIGITS} digits")
        return Decimal(value)
    if not value.is_finite() or value.is_signed():
        raise ValueError("an amount is finite and not negative")
    if abs(value.adjusted()) >= _MAX_DIGITS or len(value.as_tuple().digits) > _MAX_DIGITS:
        raise ValueError(f"an amount has at most {_MAX_DIGITS} digits")
    return value


def _written(number: float) -> Decimal:
    """Return a JSON number as it was written.

    Raises:
        ValueError: it has more digits than it keeps exactly.
    """
    written = Decimal(repr(number))
    if written.is_finite() and len(written.normalize().as_tuple().digits) > _EXACT_DIGITS:
        raise ValueError(
            "the number is not exact: write an amount of so many digits as a decimal string"
        )
    return written
