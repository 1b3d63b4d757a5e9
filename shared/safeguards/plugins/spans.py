"""Lengths of time in a safeguard's configuration, and in its words."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

from safeguards.plugins.windows import DAY, HOUR, MAX_SECONDS, MINUTE, MONTH, YEAR

_SPANS = {"minute": MINUTE, "hour": HOUR, "day": DAY, "month": MONTH, "year": YEAR}


def read_span(value: Any) -> int:
    """Return a length of time in seconds.

    Args:
        value: `minute`, `hour`, `day`, `month` (30 days), `year` (365 days), or seconds.

    Raises:
        ValueError: it is none of them, or longer than a year.
    """
    if isinstance(value, str) and value in _SPANS:
        return _SPANS[value]
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_SECONDS:
        known = ", ".join(_SPANS)
        raise ValueError(f"write one of {known}, or 1 to {MAX_SECONDS} seconds")
    return value


Span = Annotated[int, BeforeValidator(read_span)]
"""A length of time in a configuration, read as seconds."""


def span_words(seconds: int) -> str:
    """Return a length of time as a person says it: `a day`, `30 days`, `90 seconds`."""
    for name, length in (("day", DAY), ("hour", HOUR), ("minute", MINUTE)):
        if seconds == length:
            return f"an {name}" if name == "hour" else f"a {name}"
        if seconds % length == 0:
            return f"{seconds // length} {name}s"
    return "a second" if seconds == 1 else f"{seconds} seconds"


def rate_words(seconds: int) -> str:
    """Return the length of time of a limit, as it follows the limit: `a day`, `in 30 days`."""
    said = span_words(seconds)
    return said if said[:2] in {"a ", "an"} else f"in {said}"
