"""The safeguard for velocity: limits on how many actions are done over a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import Field

from safeguards.configuration import Config, read_config
from safeguards.plugins.fields import RECIPIENTS
from safeguards.plugins.payees import same_payee
from safeguards.plugins.recipients import RecipientReader, Recipients
from safeguards.plugins.scopes import common_key, digest, whom
from safeguards.plugins.spans import Span, rate_words, span_words
from safeguards.plugins.windows import Measure, Total, WindowSafeguard
from safeguards.types import Agent, SafetyAlert


class VelocityLimit(Config):
    """How many actions may be done over a time.

    Attributes:
        per: what has a count of its own: each `agent`, `type` of action, `payee` (whoever gets
            something), or `agent_and_type`.
        over: `minute`, `hour`, `day`, or seconds.
        at_most: how many are still within the limit.
    """

    per: Literal["agent", "type", "payee", "agent_and_type"]
    over: Span
    at_most: int = Field(ge=0, strict=True)


class VelocityConfig(Config):
    """What `VelocitySafeguard` is initialized with.

    Attributes:
        limits: all of them hold.
        payee_fields: the names of the arguments with whoever gets something, in any spelling.
    """

    limits: tuple[VelocityLimit, ...] = Field(min_length=1)
    payee_fields: tuple[str, ...] = RECIPIENTS


class VelocitySafeguard(WindowSafeguard):
    """Alerts on an action that is one too many."""

    name: ClassVar[str] = "velocity"

    def configure(self, config: dict[str, Any]) -> None:
        """Take `limits` and `payee_fields`. See `VelocityConfig`.

        Raises:
            ConfigurationError: naming the key that is missing, unknown or wrong.
        """
        parsed = read_config(VelocityConfig, config, type(self).__name__)
        self._limits = parsed.limits
        self._reader = RecipientReader(parsed.payee_fields)
        self._per_payee = any(limit.per == "payee" for limit in parsed.limits)

    def measures(self, agent: Agent, context: dict[str, Any]) -> Sequence[Measure]:
        """Return one for each count that the action is of."""
        found = [m for _, measures in self._counts(agent, context) for m in measures]
        return tuple(dict.fromkeys(found))

    def check(self, agent: Agent, context: dict[str, Any]) -> list[SafetyAlert]:
        """Return an ERROR alert if a limit is for each payee, and who that is cannot be told."""
        if not self._per_payee:
            return []
        recipients = self._reader.read(context)
        problems = list(recipients.problems)
        if not recipients.named and not problems:
            problems = [("No payee", "The action names no payee, and there is a limit for each.")]
        return [self._alert(agent, context, title, story) for title, story in problems]

    def check_windows(
        self,
        agent: Agent,
        context: dict[str, Any],
        totals: Mapping[Measure, Total],
        now: datetime,
    ) -> list[SafetyAlert]:
        """Return an ERROR alert for each limit that the action would go over."""
        alerts = []
        for limit, measures in self._counts(agent, context):
            number = max((totals[measure].count + 1 for measure in measures), default=0)
            if number > limit.at_most:
                alerts.append(self._one_too_many(agent, context, limit, number))
        return alerts

    def _counts(
        self, agent: Agent, context: dict[str, Any]
    ) -> Iterator[tuple[VelocityLimit, list[Measure]]]:
        payees: Recipients | None = self._reader.read(context) if self._per_payee else None
        for limit in self._limits:
            if limit.per == "payee" and payees is not None:
                keys = list(dict.fromkeys(digest(same_payee(text)) for _, text in payees.named))
            else:
                keys = [common_key(limit.per, agent, context)]
            yield limit, [Measure(f"{limit.per}:{key}", limit.over) for key in keys]

    def _one_too_many(
        self, agent: Agent, context: dict[str, Any], limit: VelocityLimit, number: int
    ) -> SafetyAlert:
        return self._alert(
            agent,
            context,
            "Too many actions",
            f"This would be action {number:,} within {span_words(limit.over)} for "
            f"{whom(limit.per, agent, context)}: the limit is {limit.at_most:,} "
            f"{rate_words(limit.over)}.",
            count=number,
            limit=limit.at_most,
            per=limit.per,
            over_seconds=limit.over,
        )
