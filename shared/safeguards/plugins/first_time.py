"""The safeguard for recipients who never got anything before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import Field

from safeguards.configuration import Config, read_config
from safeguards.plugins.fields import RECIPIENTS
from safeguards.plugins.payees import KnownPayees, exact_payee
from safeguards.plugins.recipients import RecipientReader
from safeguards.plugins.scopes import digest
from safeguards.plugins.spans import Span
from safeguards.plugins.windows import YEAR, Measure, Total, WindowSafeguard
from safeguards.text import visible
from safeguards.types import Agent, AlertSeverity, SafetyAlert

_NAMED = 5
"""How many of the new recipients an alert names."""


class FirstTimeConfig(Config):
    """What `FirstTimeSafeguard` is initialized with.

    Attributes:
        fields: the names of the arguments with recipients, in any spelling.
        addresses: whether an argument that is an email address and nothing else names a recipient
            too, whatever it is called, but for those with one's own, such as `from`.
        known: who needs no question, with `*` and `?`, such as `*@example.com`. Neither stands for
            an `@`, a comma or a semicolon.
        per: whether each `agent` gets to know a recipient by itself, or `all` together.
        over: how long a recipient is known after an action that was allowed: `day`, `month`, `year`
            or seconds.
    """

    fields: tuple[str, ...] = Field(default=RECIPIENTS, min_length=1)
    addresses: bool = False
    known: tuple[str, ...] = ()
    per: Literal["agent", "all"] = "agent"
    over: Span = YEAR


class FirstTimeSafeguard(WindowSafeguard):
    """Alerts on a recipient whom no allowed action had before. A lookalike is another recipient."""

    name: ClassVar[str] = "first_time"

    def configure(self, config: dict[str, Any]) -> None:
        """Take `fields`, `addresses`, `known`, `per` and `over`. See `FirstTimeConfig`.

        Raises:
            ConfigurationError: naming the key that is unknown or wrong.
        """
        parsed = read_config(FirstTimeConfig, config, type(self).__name__)
        self._reader = RecipientReader(parsed.fields, addresses=parsed.addresses)
        self._known = KnownPayees(parsed.known)
        self._per = parsed.per
        self._over = parsed.over

    def measures(self, agent: Agent, context: dict[str, Any]) -> Sequence[Measure]:
        """Return one for each recipient, which counts once the action was allowed."""
        found = [m for _, _, m in self._recipients(agent, context)]
        return tuple(dict.fromkeys(found))

    def check(self, agent: Agent, context: dict[str, Any]) -> list[SafetyAlert]:
        """Return an ERROR alert for what cannot be read, and for too many recipients."""
        problems = self._reader.read(context).problems
        return [self._alert(agent, context, title, story) for title, story in problems]

    def check_windows(
        self,
        agent: Agent,
        context: dict[str, Any],
        totals: Mapping[Measure, Total],
        now: datetime,
    ) -> list[SafetyAlert]:
        """Return a WARNING alert if there are new recipients. It names them: they are what a
        reviewer has to look at."""
        new = [
            (pointer, text)
            for pointer, text, measure in self._recipients(agent, context)
            if totals[measure].count <= 0
        ]
        if not new:
            return []
        said = [
            f"{visible(text, single_line=True, limit=80)} "
            f"({visible(pointer, single_line=True, limit=80)})"
            for pointer, text in new[:_NAMED]
        ]
        more = f" and {len(new) - _NAMED} more" if len(new) > _NAMED else ""
        whose = "this agent has" if self._per == "agent" else "any agent has"
        return [
            self._alert(
                agent,
                context,
                "First time",
                f"No action that {whose} been allowed had {', '.join(said)}{more} before.",
                AlertSeverity.WARNING,
                arguments=[visible(pointer, single_line=True, limit=200) for pointer, _ in new],
                count=len(new),
                per=self._per,
                over_seconds=self._over,
            )
        ]

    def _recipients(
        self, agent: Agent, context: dict[str, Any]
    ) -> Iterator[tuple[str, str, Measure]]:
        """Yield where each recipient stands who is not known anyway, the text, and the measure."""
        for pointer, text in self._reader.read(context).named:
            if text not in self._known:
                key = digest(exact_payee(text))
                whose = agent.id if self._per == "agent" else ""
                yield (
                    pointer,
                    text,
                    Measure(f"{self._per}:{key}:{whose}", self._over, once_allowed=True),
                )
