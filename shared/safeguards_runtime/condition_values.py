"""What a condition reads: the arguments of an action, handed to CEL without loss, and money."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Context, Decimal
from math import isfinite
from typing import Any, Literal

from safeguards.errors import SafeguardsError
from safeguards.plugins.amounts import read_amount
from safeguards.plugins.arguments import MAX_DEPTH, MAX_VALUES
from safeguards.text import visible

ArgumentType = Literal["string", "integer", "number", "boolean", "money", "list", "map", "any"]

MAX_WALKED_ITEMS = 1_000
"""How long a list or map may be for a condition that goes through any: some of CEL's macros take
time and memory by the square of it."""

_MAX_INTEGER = 2**63 - 1
_WHOLE_DIGITS = 48
"""The width of the whole part of money: 40 digits as read, and room for sums."""

_SUM = Context(prec=200)
_HOST = re.compile(
    r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
)
_MAX_HOST = 253
_LOCAL_PART = re.compile(r"[^\s<>()\[\],;:@\\\"]+")
_NAMED = re.compile(r"[^<>,;:@\\\"]*<([^<>]*)>|\"[^\"\\]*\"\s*<([^<>]*)>")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://([^/?#]*)(?:[/?#].*)?", re.DOTALL)
_PORT = re.compile(r":[0-9]{0,5}\Z")


class ConditionError(SafeguardsError):
    """A condition could not be judged for this action. The message says why, in plain words."""


def money(value: str | int | float | Decimal) -> bytes:
    """Return an amount as text that sorts as the amount does, so that CEL compares it exactly.

    The whole part has a fixed width, and the fraction no zeros at its end: bytes in this form are
    equal, or one before the other, where the amounts are.

    Raises:
        ValueError: it is no amount; see `read_amount`.
    """
    return _sortable(read_amount(value))


def plus(first: bytes, second: bytes) -> bytes:
    """Return the exact sum of two amounts in the form of `money`."""
    # CEL hands bytes over as a bytearray.
    terms = Decimal(bytes(first).decode()), Decimal(bytes(second).decode())
    return _sortable(_SUM.add(*terms))


def _sortable(amount: Decimal) -> bytes:
    whole, _, fraction = format(amount, "f").partition(".")
    return f"{whole.lstrip('0').zfill(_WHOLE_DIGITS)}.{fraction.rstrip('0')}".encode()


def domain(text: str) -> str:
    """Return the domain of an email address (RFC 5322 section 3.4), a URL or a host name, in
    lower-case letters.

    Internationalized names only in their ASCII form (`xn--…`, RFC 5890): one letter that looks
    like another would otherwise pass for it.

    Raises:
        ValueError: it is none of these, or several, or could be read in two ways.
    """
    text = text.strip(" ")
    if url := _URL.fullmatch(text.lower()):
        host = _PORT.sub("", url[1])
    else:
        named = _NAMED.fullmatch(text)
        local, at, host = ((named[1] or named[2] or "") if named else text).rpartition("@")
        if at and not _LOCAL_PART.fullmatch(local):
            raise ValueError("it is not one email address, URL or host name")
        host = host.lower()
    host = host.removesuffix(".")
    if not host.isascii() or len(host) > _MAX_HOST or not _HOST.fullmatch(host):
        raise ValueError("it is not one email address, URL or host name in plain letters")
    return host


class ArgumentReader:
    """Hands the arguments that a condition reads to CEL.

    Args:
        declared: the types of the policy's arguments; empty where it declares none.
        fields: the arguments that the condition reads; None for all.
        walks: whether it goes through lists or maps.
    """

    def __init__(
        self,
        declared: Mapping[str, ArgumentType],
        fields: Iterable[str] | None,
        *,
        walks: bool,
    ) -> None:
        self._declared = tuple((name, _READERS[kind]) for name, kind in declared.items())
        self._most_items = MAX_WALKED_ITEMS if walks else MAX_VALUES
        self._fields = None if fields is None else tuple(fields)

    def read(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """Return what CEL is given as `context`.

        Raises:
            ConditionError: an argument is not of its declared type, or nothing that CEL can hold
                without loss.
        """
        if self._declared:
            return self._typed(context)
        names = context if self._fields is None else self._fields
        if len(names) > self._most_items:
            raise ConditionError(f"the action has more than {self._most_items} arguments")
        allowance = _Allowance(self._most_items)
        values = {}
        for name in names:
            if name in context:
                try:
                    _check_text(name)
                    values[name] = allowance.plain(context[name])
                except ValueError as error:
                    raise ConditionError(f"{_argument(name)} {error}") from None
        return values

    def _typed(self, context: Mapping[str, Any]) -> dict[str, Any]:
        allowance = _Allowance(self._most_items)
        values = {}
        for name, reader in self._declared:
            value = context.get(name)
            # An agent that leaves an optional argument out often writes null.
            if value is not None:
                try:
                    values[name] = reader(value, allowance)
                except ValueError as error:
                    raise ConditionError(f"{_argument(name)} {error}") from None
        return values


def _argument(name: object) -> str:
    return f"the argument {visible(str(name), single_line=True, limit=60)}"


class _Allowance:
    """Gives out values as CEL holds them: so many in all, and so many in one list or map."""

    def __init__(self, most_items: int) -> None:
        self._most_items = most_items
        self._left = MAX_VALUES

    def plain(self, value: Any, depth: int = 0) -> Any:
        """Return a value of JSON, itself without loss.

        Raises:
            ValueError: it is none, or too large or deep. It says which, as the end of a sentence.
        """
        self._left -= 1
        if self._left < 0:
            raise ValueError(f"is too large: conditions read at most {MAX_VALUES} values")
        # The evaluator's own recursion has no limit, and ends the process.
        if depth > MAX_DEPTH:
            raise ValueError(f"is nested deeper than {MAX_DEPTH}")
        if isinstance(value, str):
            return _check_text(value)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, float):
            return _check_finite(value)
        if isinstance(value, int):
            return _check_integer(value)
        if isinstance(value, Decimal):
            return str(value)
        if not isinstance(value, Mapping | list | tuple):
            raise ValueError(f"holds a {type(value).__name__}, which is not JSON")
        if len(value) > self._most_items:
            raise ValueError(f"is too long: this condition reads at most {self._most_items} items")
        if isinstance(value, Mapping):
            return {_check_text(key): self.plain(item, depth + 1) for key, item in value.items()}
        return [self.plain(item, depth + 1) for item in value]


def _check_integer(number: int) -> int:
    if not -_MAX_INTEGER <= number <= _MAX_INTEGER:
        raise ValueError("holds a whole number too large for a condition")
    return number


def _check_finite(number: float) -> float:
    if not isfinite(number):
        raise ValueError("holds a number that is not finite")
    return number


def _check_text(text: Any) -> str:
    """Refuse what the evaluator would cut off or choke on: it holds C strings of UTF-8."""
    if not isinstance(text, str):
        raise ValueError("holds a key that is not text")
    if "\0" in text:
        raise ValueError("holds the character NUL")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("holds text that is not Unicode") from None
    return text


def _read_string(value: Any, _: _Allowance) -> str:
    if not isinstance(value, str):
        raise ValueError("is not a string, as its policy declares")
    return _check_text(value)


def _read_integer(value: Any, _: _Allowance) -> int:
    # JSON does not tell 3 from 3.0.
    if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("is not an integer, as its policy declares")
    return _check_integer(value)


def _read_number(value: Any, _: _Allowance) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("is not a number, as its policy declares")
    if isinstance(value, int) and abs(value) > 2**53:
        raise ValueError("is a whole number too large to be exact: its policy may declare integer")
    return _check_finite(float(value))


def _read_boolean(value: Any, _: _Allowance) -> bool:
    if not isinstance(value, bool):
        raise ValueError("is not a boolean, as its policy declares")
    return value


def _read_money(value: Any, _: _Allowance) -> bytes:
    try:
        return money(value)
    except ValueError as error:
        raise ValueError(f"is not an exact amount of money: {error}") from None


def _read_list(value: Any, allowance: _Allowance) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise ValueError("is not a list, as its policy declares")
    return list(allowance.plain(value))


def _read_map(value: Any, allowance: _Allowance) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("is not a map, as its policy declares")
    return dict(allowance.plain(value))


_READERS: dict[ArgumentType, Callable[[Any, _Allowance], Any]] = {
    "string": _read_string,
    "integer": _read_integer,
    "number": _read_number,
    "boolean": _read_boolean,
    "money": _read_money,
    "list": _read_list,
    "map": _read_map,
    "any": lambda value, allowance: allowance.plain(value),
}
