"""The safeguard for the time of day: alerts on what is done out of hours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, time, timedelta
from typing import Annotated, Any, ClassVar, Literal
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field

from safeguards.configuration import Config, read_config
from safeguards.plugins.windows import Measure, Total, WindowSafeguard
from safeguards.types import Agent, AlertSeverity, SafetyAlert

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

_WEEK: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")


def _clock(value: Any) -> time:
    if isinstance(value, str) and _CLOCK.fullmatch(value):
        return time.fromisoformat(value)
    raise ValueError('write a time of day in quotes, from "00:00" to "23:59"')


def _zone(value: Any) -> ZoneInfo:
    try:
        return ZoneInfo(value)
    except (KeyError, ValueError, TypeError, OSError):
        pass
    # Outside of the except block: what a path does not lead to is nothing to tell.
    raise ValueError("it is no time zone of the IANA database: write one such as Europe/Berlin")


class TimeOfDayConfig(Config, arbitrary_types_allowed=True):
    """What `TimeOfDaySafeguard` is initialized with.

    Attributes:
        time_zone: whose hours they are, such as `Europe/Berlin` (IANA).
        days: on which days the hours begin: `mon` to `sun`. By default the working days.
        begin: `from` in the configuration: when they begin, such as `"08:00"`.
        end: `to` in the configuration: when they end; not after `from` means: on the next day.
    """

    time_zone: Annotated[ZoneInfo, BeforeValidator(_zone)]
    days: tuple[Day, ...] = Field(default=_WEEK[:5], min_length=1)
    begin: Annotated[time, BeforeValidator(_clock)] = Field(alias="from")
    end: Annotated[time, BeforeValidator(_clock)] = Field(alias="to")


class TimeOfDaySafeguard(WindowSafeguard):
    """Alerts on an action outside of the hours in which it is expected. It counts nothing: it is a
    window's safeguard for the time at which an action is judged."""

    name: ClassVar[str] = "time_of_day"

    def configure(self, config: dict[str, Any]) -> None:
        """Take `time_zone`, `days`, `from` and `to`. See `TimeOfDayConfig`.

        Raises:
            ConfigurationError: naming the key that is missing, unknown or wrong.
        """
        self._config = read_config(TimeOfDayConfig, config, type(self).__name__)

    def measures(self, agent: Agent, context: dict[str, Any]) -> Sequence[Measure]:
        """Return nothing: what came before is of no concern."""
        return ()

    def check_windows(
        self,
        agent: Agent,
        context: dict[str, Any],
        totals: Mapping[Measure, Total],
        now: datetime,
    ) -> list[SafetyAlert]:
        """Return a WARNING alert if the hours are others. Clocks that are put forward or back move
        them, as they move the people."""
        config = self._config
        there = now.astimezone(config.time_zone)
        if self._within(there):
            return []
        hours = f"{config.begin:%H:%M} to {config.end:%H:%M}"
        days = ", ".join(day.title() for day in _WEEK if day in config.days)
        return [
            self._alert(
                agent,
                context,
                "Out of hours",
                f"It is {_WEEK[there.weekday()].title()} {there:%H:%M} in {config.time_zone.key}: "
                f"this is expected {days} from {hours}.",
                AlertSeverity.WARNING,
                time_zone=config.time_zone.key,
                local_time=there.isoformat(timespec="seconds"),
            )
        ]

    def _within(self, there: datetime) -> bool:
        begin, end = self._config.begin, self._config.end
        clock = there.time()
        today = _WEEK[there.weekday()] in self._config.days
        if begin < end:
            return today and begin <= clock < end
        yesterday = _WEEK[(there - timedelta(days=1)).weekday()] in self._config.days
        return (today and clock >= begin) or (yesterday and clock < end)
