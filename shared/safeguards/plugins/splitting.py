"""The safeguard against splitting: one amount as many small ones, each too small to be noticed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from safeguards.configuration import read_config
from safeguards.plugins.amounts import read_amount
from safeguards.plugins.payments import Payment, PaymentFields, PaymentReader, money
from safeguards.plugins.spans import Span, span_words
from safeguards.plugins.windows import DAY, Measure, Total, WindowSafeguard
from safeguards.types import Agent, SafetyAlert


class SplittingConfig(PaymentFields):
    """What `SplittingSafeguard` is initialized with.

    Attributes:
        threshold: the amount above which an action is looked at anyway, such as `"1000.00"`.
        over: within which time small amounts are taken together: `hour`, `day`, `month` (30 days),
            or seconds.
        per: those to one `payee`, by whichever agent; or those of one `agent`, whoever is paid.
        at_least: how many small amounts look like splitting. Two are enough if each is more than
            half of the threshold.
    """

    threshold: Decimal
    over: Span = DAY
    per: Literal["payee", "agent"] = "payee"
    at_least: int = Field(default=3, ge=2, strict=True)

    @field_validator("threshold", mode="before")
    @classmethod
    def _exact(cls, value: Any) -> Decimal:
        amount = read_amount(value)
        if not amount:
            raise ValueError("nothing is below 0")
        return amount


class SplittingSafeguard(WindowSafeguard):
    """Alerts on amounts that are each within a threshold and together above it."""

    name: ClassVar[str] = "splitting"

    def configure(self, config: dict[str, Any]) -> None:
        """Take `threshold`, and what counts as splitting. See `SplittingConfig`.

        Raises:
            ConfigurationError: naming the key that is missing, unknown or wrong.
        """
        self._config = read_config(SplittingConfig, config, type(self).__name__)
        self._reader = PaymentReader(self._config)

    def measures(self, agent: Agent, context: dict[str, Any]) -> Sequence[Measure]:
        """Return what the action adds to the small amounts: nothing if its own is not small."""
        found = self._small(agent, context, self._reader.read(context))
        return tuple(measure for measure, _ in found)

    def check(self, agent: Agent, context: dict[str, Any]) -> list[SafetyAlert]:
        """Return an ERROR alert for each thing that cannot be read."""
        payment = self._reader.read(context)
        problems = [(problem.title, problem.description) for problem in payment.problems]
        if not problems and not payment.keys(self._config.per, agent, context):
            problems = [("No payee", "The action names no payee.")]
        return [self._alert(agent, context, title, story) for title, story in problems]

    def check_windows(
        self,
        agent: Agent,
        context: dict[str, Any],
        totals: Mapping[Measure, Total],
        now: datetime,
    ) -> list[SafetyAlert]:
        """Return an ERROR alert if this amount and those before it look like one that was split."""
        payment = self._reader.read(context)
        split = [
            together
            for measure, enough in self._small(agent, context, payment)
            for together in [totals[measure] + Total(measure.amount, 1)]
            if together.count >= enough and together.amount > self._config.threshold
        ]
        if not split:
            return []
        most = max(split, key=lambda together: (together.amount, together.count))
        return [self._found_split(agent, context, payment, most)]

    def _small(
        self, agent: Agent, context: dict[str, Any], payment: Payment
    ) -> Iterator[tuple[Measure, int]]:
        """Yield what a small amount is counted in, and how many there are enough for splitting."""
        amount, config = payment.amount, self._config
        if not amount or amount > config.threshold:
            return
        twice = Total(amount) + Total(amount)
        for key in payment.keys(config.per, agent, context):
            whose = f"{config.per}:{payment.currency}:{key}"
            yield Measure(f"small:{whose}", config.over, amount), config.at_least
            if twice.amount > config.threshold:
                yield Measure(f"just_under:{whose}", config.over, amount), 2

    def _found_split(
        self, agent: Agent, context: dict[str, Any], payment: Payment, together: Total
    ) -> SafetyAlert:
        config = self._config
        whom = "to this payee" if config.per == "payee" else "by this agent"
        return self._alert(
            agent,
            context,
            "One amount in small parts",
            f"{together.count} payments {whom} of together "
            f"{money(together.amount, payment.currency)} within {span_words(config.over)}, each at "
            f"most {money(config.threshold, payment.currency)}.",
            amount=f"{payment.amount:f}",
            currency=payment.currency,
            total=f"{together.amount:f}",
            count=together.count,
            threshold=f"{config.threshold:f}",
            per=config.per,
            over_seconds=config.over,
        )
