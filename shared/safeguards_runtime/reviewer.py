"""A reviewer: how they are reached, when they work, and who stands in for them."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from datetime import UTC, date, datetime, time
from email.utils import parseaddr
from enum import StrEnum
from typing import Annotated, Any, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, model_validator

from safeguards.contracts import Name
from safeguards.types import AlertSeverity
from safeguards_runtime.configuration import ConfigurationModel
from safeguards_runtime.working_time import Shift, WeeklyHours


def _zone_name(value: str) -> str:
    try:
        ZoneInfo(value)
    except (LookupError, ValueError, OSError):
        raise ValueError(f"{value!r} is no time zone; write one like Europe/Berlin") from None
    return value


def _written_date(value: Any) -> Any:
    """Read a date or a time from text; refuse numbers, which are seconds since 1970 elsewhere."""
    try:
        if isinstance(value, str):
            return date.fromisoformat(value) if len(value) <= 10 else datetime.fromisoformat(value)
    except ValueError:
        value = None
    if isinstance(value, date):
        return value
    raise ValueError("write a date, 2026-12-24, or a time with its offset, 2026-12-24T12:00+01:00")


class ConsoleRole(StrEnum):
    """What somebody may do in the console."""

    REVIEWER = "reviewer"
    """Sees and answers what their groups are asked."""

    OPERATOR = "operator"
    """Looks after the system: reads every request, replays deliveries, halts agents and types."""

    ADMIN = "admin"
    """Everything."""


def _with_included(roles: frozenset[ConsoleRole]) -> frozenset[ConsoleRole]:
    return frozenset(ConsoleRole) if ConsoleRole.ADMIN in roles else roles


Roles = Annotated[frozenset[ConsoleRole], Field(min_length=1), AfterValidator(_with_included)]
Address = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"^[^\x00-\x1f\x7f]+$")]
AwayUntil = Annotated[date | AwareDatetime, BeforeValidator(_written_date)]
TimeZone = Annotated[str, AfterValidator(_zone_name)]
SlackUser = Annotated[str, Field(pattern=r"^(T[A-Z0-9]+/)?[UW][A-Z0-9]+$", max_length=64)]
WorkingHours = Annotated[WeeklyHours, BeforeValidator(WeeklyHours.parse)]
QuietHours = Annotated[WeeklyHours, BeforeValidator(WeeklyHours.daily)]


class Reviewer(ConfigurationModel):
    """A person who may answer."""

    id: Name
    name: Name
    email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=254)] | None = None
    slack_user: SlackUser | None = None
    """`U…` or `W…` as Slack knows them; `T…/U…` is that user of this workspace only."""

    addresses: dict[Name, Address] = {}
    """Where they are in channels of one's own, by the channel's name or its kind."""

    channels: tuple[Name, ...] = ()
    """Their own order of channels; the policy's unless given."""

    roles: Roles = frozenset({ConsoleRole.REVIEWER})
    """What they may do in the console. An admin has all of them."""

    groups: frozenset[Name] = frozenset()
    """Of a directory's reviewers also the groups that include theirs."""

    time_zone: TimeZone = "UTC"
    """What their hours and days are in, by its IANA name: `Europe/Berlin`."""

    working_hours: WorkingHours | None = None
    """When they are on duty: `{mon-fri: "09:00-17:30"}`. At all times unless given."""

    quiet_hours: QuietHours | None = None
    """When only what is CRITICAL may disturb them: `22:00-07:00`."""

    away_until: AwayUntil | None = None
    """When they are back: at that time, or when that day begins where they are."""

    delegate: Name | None = None
    """The id of who stands in for them while they are away."""

    @model_validator(mode="after")
    def _groups_are_for_reviewers(self) -> Self:
        """Whoever is in a group may answer by every way, so the role must say so."""
        if self.groups and ConsoleRole.REVIEWER not in self.roles:
            raise ValueError(f"{self.id} is in a group, and so needs the role reviewer")
        return self

    @property
    def zone(self) -> ZoneInfo:
        """Their time zone."""
        return ZoneInfo(self.time_zone)

    @property
    def shift(self) -> Shift:
        """When they work, and where."""
        return Shift(self.working_hours, self.zone)

    @property
    def names(self) -> tuple[str, ...]:
        """What they are called: their id, name and mail address."""
        return (self.id, self.name, *filter(None, (self.email,)))

    @property
    def is_reachable(self) -> bool:
        """Whether any channel can reach them."""
        return bool(self.email or self.slack_user or self.addresses)

    def is_among(self, names: Collection[str]) -> bool:
        """Tell whether `names` hold this person, by id, name or mail address, in any spelling."""
        slack_user = self.slack_user.rpartition("/")[2] if self.slack_user else None
        known = (self.id, self.name, self.email, slack_user, *self.addresses.values())
        own = {_folded(name) for name in known if name}
        return any(_folded(way) in own for name in names for way in _ways(name) if way)

    def address_for(self, channel_name: str, kind: str) -> str | None:
        """Return where a channel reaches them, or None: what `addresses` has for the channel or
        for its kind, else the mail address or the Slack user id (without its workspace)."""
        given = self.addresses.get(channel_name) or self.addresses.get(kind)
        if given is not None:
            return given
        if kind == "slack" and self.slack_user:
            return self.slack_user.rpartition("/")[2]
        return self.email if kind == "email" else None

    def back_at(self) -> datetime | None:
        """Return the end of their absence, UTC; None if they have given none."""
        if self.away_until is None or isinstance(self.away_until, datetime):
            return self.away_until and self.away_until.astimezone(UTC)
        return datetime.combine(self.away_until, time(), self.zone).astimezone(UTC)

    def is_away(self, now: datetime) -> bool:
        """Tell whether they are away."""
        back_at = self.back_at()
        return back_at is not None and now < back_at

    def quiet_until(self, now: datetime, severity: AlertSeverity) -> datetime | None:
        """Return the end of the quiet hours that keep a message of `severity` from them now."""
        if self.quiet_hours is None or severity is AlertSeverity.CRITICAL:
            return None
        return self.quiet_hours.end_of_span(now, self.zone)

    def is_on_duty(self, now: datetime, severity: AlertSeverity) -> bool:
        """Tell whether they are at work and may be disturbed by a message of `severity`."""
        if self.is_away(now) or self.quiet_until(now, severity):
            return False
        hours = self.working_hours
        return hours is None or hours.end_of_span(now, self.zone) is not None


def _ways(name: str) -> tuple[str, ...]:
    """Return what a name may stand for: `Ann <ann@example.com>`, `mailto:…` and `reviewer:ann`
    name Ann as well."""
    comment, address = parseaddr(name)
    without_scheme = name.partition(":")[2] or name
    return (name, comment, address, without_scheme, *parseaddr(without_scheme))


def _folded(name: str) -> str:
    """Return a name or mail address without what can be written in more than one way."""
    local, at, domain = name.partition("@")
    text = unicodedata.normalize("NFKC", local.partition("+")[0] + at + domain if at else name)
    return "".join(c for c in text.casefold() if c.isalnum() or c == "@")
