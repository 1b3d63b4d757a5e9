"""On what terms people are asked."""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, field_validator

from safeguards.types import AlertSeverity

AnsweredBy = Literal["console", "email", "slack", "api"]
"""A way in which a response comes in."""

WAYS: Mapping[AnsweredBy, str] = {
    "console": "in the console",
    "email": "by the link in a mail",
    "slack": "in Slack",
    "api": "over the API",
}
"""Each way in words."""

ASKED = "asked"
"""As a limit: what the agent asks for."""

_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")


class FieldLimit(BaseModel):
    """What a reviewer may change a field to."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    at_most: str | None = None
    """The largest number, as a decimal string; `asked`: what the agent asked for."""

    at_least: str | None = None
    """The smallest, likewise; where only `at_most` is said, 0, unless less was asked for."""

    one_of: tuple[Any, ...] | None = None
    max_length: int | None = None
    """How many characters a text has at most."""

    @field_validator("at_most", "at_least")
    @classmethod
    def _number(cls, value: str | None) -> str | None:
        if value not in (None, ASKED) and _DECIMAL.fullmatch(value) is None:
            raise ValueError(f"write a decimal string such as '500.00', or {ASKED}")
        return value

    def broken_by(self, value: Any, asked: Any) -> str | None:
        """Return what a field would have to be, in words, if it may not be changed to `value`.

        Args:
            value: what a reviewer wants it to be; of the type that it has.
            asked: what the agent asks for.
        """
        for bound, words, is_over in (
            (self.at_most, "at most", operator.gt),
            (self._smallest(asked), "at least", operator.lt),
        ):
            if bound is None:
                continue
            limit, number = _decimal(asked if bound == ASKED else bound), _decimal(value)
            if limit is None or number is None or is_over(number, limit):
                return f"a number, {words} {_bound(bound, asked)}"
        if self.one_of is not None and value not in self.one_of:
            return self._choices()
        if self.max_length is not None and len(str(value)) > self.max_length:
            return f"{self._length()} long"
        return None

    def words(self, asked: Any = None) -> str:
        """Return the limit in words: `at least 10, at most 1,000.00`; empty if there is none.

        Args:
            asked: what the agent asks for; None if that is not known.
        """
        bounds = (("at least", self._smallest(asked)), ("at most", self.at_most))
        said = [f"{words} {_bound(bound, asked)}" for words, bound in bounds if bound is not None]
        said += [self._choices()] if self.one_of is not None else []
        said += [self._length()] if self.max_length is not None else []
        return ", ".join(said)

    def _smallest(self, asked: Any) -> str | None:
        """Return the smallest number: 0 where only the largest is said, as a number
        below it is an amount that goes the other way."""
        number, largest = _decimal(asked), _decimal(self.at_most)
        if self.at_most is None or self.at_least is not None or number is None:
            return self.at_least
        if number < 0 or (largest is not None and largest < 0):
            return None
        return "0"

    def _choices(self) -> str:
        texts = [one if isinstance(one, str) else json.dumps(one) for one in self.one_of or ()]
        return f"one of {', '.join(texts)}"

    def _length(self) -> str:
        return f"at most {self.max_length:,} characters"


def limit_of(limits: Mapping[str, FieldLimit], field: str) -> FieldLimit:
    """Return what limits a field: its own limit, or else that of all, `*`."""
    return limits.get(field) or limits.get("*") or FieldLimit()


def _bound(bound: str, asked: Any) -> str:
    """Return a bound in words, its thousands apart."""
    number = _decimal(asked if bound == ASKED else bound)
    figure = "" if number is None else format(number, ",f")
    if bound != ASKED:
        return figure
    return f"{figure} (what the agent asks for)" if figure else "what the agent asks for"


def _decimal(value: Any) -> Decimal | None:
    """Return a number, or a string that is one, exactly; None for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    written = value if isinstance(value, str) else repr(value)
    return Decimal(written) if _DECIMAL.fullmatch(written) else None


class Escalation(BaseModel):
    """One step of an escalation chain: whom to ask as well, and when."""

    model_config = ConfigDict(frozen=True)

    after_seconds: int
    """Since the approval was opened."""

    groups: tuple[str, ...]
    channels: tuple[str, ...] = ()
    """Those of the terms unless given."""


class Terms(BaseModel):
    """How people are asked: what a policy says of the approval that it requires."""

    model_config = ConfigDict(frozen=True)

    groups: tuple[str, ...]
    channels: tuple[str, ...]
    """By name, in the order in which they are tried."""

    order: Literal["all", "chain"] = "all"
    """All channels at once; or one after the other, the next where the one before fails."""

    timeout_seconds: int
    on_timeout: str
    editable: tuple[str, ...]
    limits: dict[str, FieldLimit] = {}
    """What an editable field may be changed to, by its name, or `*` for all others; to anything of
    its type unless given."""

    remind_after_seconds: tuple[int, ...] = ()
    """When those who were asked are asked again, in seconds since the approval was opened."""

    escalation: tuple[Escalation, ...] = ()
    working_hours: bool = False
    """Whether seconds count only while somebody of the groups is at work."""

    on_unreachable: Literal["wait", "escalate", "reject"] = "escalate"
    """What follows when no message has reached anybody who may answer."""

    sign_in_from: AlertSeverity | None = AlertSeverity.CRITICAL
    """From this severity on the link in a mail is not enough to answer by. None: it always is."""

    quorum: int = 1
    """How many people must approve."""

    four_eyes: bool = False
    """Whether whoever changed what is shown does not count among those who approve it."""

    answer_by: tuple[AnsweredBy, ...] = get_args(AnsweredBy)
    """The ways in which it may be answered."""

    def how_answered(self) -> str:
        """Return in words by which ways it may be answered: `in the console or in Slack`."""
        *others, last = (words for way, words in WAYS.items() if way in self.answer_by)
        return f"{', '.join(others)} or {last}" if others else last
