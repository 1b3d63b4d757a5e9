"""The directory of reviewers: who may answer, and who of them is told. See `duty`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Annotated, Literal, Self

import structlog
from pydantic import BeforeValidator, PrivateAttr, ValidationInfo, field_validator, model_validator

from safeguards.contracts import Name
from safeguards.types import AlertSeverity
from safeguards_runtime.configuration import ConfigurationModel, load_yaml
from safeguards_runtime.duty import Assignment, told_of, worked
from safeguards_runtime.reviewer import Reviewer

__all__ = ["Directory", "Group", "Reviewer", "load_directory"]

MAX_DELEGATIONS = 5
"""How many delegates are asked, one for the other, until one is not away."""

log = structlog.get_logger(__name__)


class Group(ConfigurationModel):
    """A group of reviewers."""

    includes: tuple[Name, ...] = ()
    """Groups whose members belong to this one as well."""


class Directory(ConfigurationModel):
    """All reviewers, and who of them is on duty when (it is a `records.rota.Rota`).

    Where people are chosen for a request, `without` names those who ask: they may not answer, so
    they are neither told nor counted as on duty, and nobody stands in for them.
    """

    version: Literal[1]
    groups: dict[Name, Annotated[Group, BeforeValidator(lambda v: {} if v is None else v)]] = {}
    """The groups there are. Where the file names any, reviewers can be in no others."""

    reviewers: tuple[Reviewer, ...]

    _by_id: dict[str, Reviewer] = PrivateAttr(default_factory=dict)
    _by_email: dict[str, Reviewer] = PrivateAttr(default_factory=dict)
    _by_slack_user: dict[str, Reviewer] = PrivateAttr(default_factory=dict)

    @field_validator("groups")
    @classmethod
    def _groups_end(cls, groups: dict[str, Group]) -> dict[str, Group]:
        for name, group in groups.items():
            for included in group.includes:
                if included not in groups:
                    raise ValueError(f"{name} includes {included!r}, which is not declared here")
        try:
            TopologicalSorter({name: group.includes for name, group in groups.items()}).prepare()
        except CycleError as error:
            loop = " includes ".join(reversed(error.args[1]))
            raise ValueError(f"groups that include each other in a loop: {loop}") from None
        return groups

    @field_validator("reviewers")
    @classmethod
    def _belong(cls, reviewers: tuple[Reviewer, ...], info: ValidationInfo) -> tuple[Reviewer, ...]:
        """Let members of an included group belong to the groups that include it."""
        groups: dict[str, Group] = info.data.get("groups", {})
        if not groups:
            return reviewers
        belonging = []
        for reviewer in reviewers:
            unknown = ", ".join(sorted(map(repr, reviewer.groups - groups.keys())))
            if unknown:
                raise ValueError(f"{reviewer.id}: not among the groups: {unknown}")
            wider = {"groups": frozenset(_including(groups, reviewer.groups))}
            belonging.append(reviewer.model_copy(update=wider))
        return tuple(belonging)

    @model_validator(mode="after")
    def _people_differ(self) -> Self:
        _refuse_repeated("id", (r.id for r in self.reviewers))
        _refuse_repeated("email", (r.email.casefold() for r in self.reviewers if r.email))
        users = [r.slack_user for r in self.reviewers if r.slack_user]
        _refuse_repeated("slack_user", users)
        anywhere = {user for user in users if "/" not in user}
        _refuse_repeated(
            "slack_user", (user for u in users if (user := u.rpartition("/")[2]) in anywhere)
        )
        self._by_id.update({r.id: r for r in self.reviewers})
        self._by_email.update({_in_small(r.email): r for r in self.reviewers if r.email})
        self._by_slack_user.update({r.slack_user: r for r in self.reviewers if r.slack_user})
        for reviewer in self.reviewers:
            if reviewer.delegate == reviewer.id:
                raise ValueError(f"reviewer {reviewer.id!r} is their own delegate")
            if reviewer.delegate is not None and reviewer.delegate not in self._by_id:
                raise ValueError(f"reviewer {reviewer.id!r}: no delegate {reviewer.delegate!r}")
        return self

    def get(self, reviewer_id: str) -> Reviewer | None:
        """Return a reviewer by id."""
        return self._by_id.get(reviewer_id)

    def by_email(self, address: str) -> Reviewer | None:
        """Return the reviewer with this mail address, in small or capital letters."""
        return self._by_email.get(_in_small(address))

    def by_slack_user(self, team_id: str | None, user_id: str) -> Reviewer | None:
        """Return the reviewer who is this user of this Slack workspace."""
        bound = self._by_slack_user.get(f"{team_id}/{user_id}")
        return bound or self._by_slack_user.get(user_id)

    def members(self, groups: Sequence[str]) -> tuple[Reviewer, ...]:
        """Return who belongs to any of `groups`, or to what they include, in the file's order."""
        wanted = frozenset(groups)
        return tuple(r for r in self.reviewers if r.groups & wanted)

    def stand_in(self, reviewer: Reviewer, now: datetime) -> Reviewer | None:
        """Return who acts for a reviewer: themself unless away, else the first of their delegate,
        that one's delegate and so on, five at most, who is not away. None if there is nobody."""
        current: Reviewer | None = reviewer
        for _ in range(MAX_DELEGATIONS + 1):
            if current is None or not current.is_away(now):
                return current
            current = self.get(current.delegate) if current.delegate else None
        return None

    def mandates(self, reviewer: Reviewer, now: datetime) -> tuple[Reviewer, ...]:
        """Return for whom a reviewer stands in now, in the file's order."""
        return tuple(
            absent
            for absent in self.reviewers
            if absent.id != reviewer.id
            and absent.is_away(now)
            and (acting := self.stand_in(absent, now)) is not None
            and acting.id == reviewer.id
        )

    def told(
        self,
        groups: Sequence[str],
        now: datetime,
        severity: AlertSeverity,
        *,
        without: Collection[str] = (),
    ) -> tuple[Assignment, ...]:
        """Return whom a message to `groups` goes to, each person once.

        That is every member, or who stands in for them; of these only who is on duty, as long as
        anybody is. If all are away and nobody stands in, they are told all the same: somebody may
        look at their messages, and otherwise nobody would.
        """
        people = self._acting(groups, now, without) or [
            Assignment(member) for member in self._asked(groups, without)
        ]
        return told_of(people, now, severity)

    def is_covered(
        self,
        groups: Sequence[str],
        now: datetime,
        severity: AlertSeverity,
        *,
        without: Collection[str] = (),
    ) -> bool:
        """Tell whether anybody of `groups`, or who stands in for them, is on duty now."""
        acting = self._acting(groups, now, without)
        return any(one.reviewer.is_on_duty(now, severity) for one in acting)

    def after(self, groups: Sequence[str], start: datetime, seconds: float) -> datetime:
        """Return the moment when `seconds` of the groups' working time have passed since `start`.

        Time counts while any member works, or who stands in for them. If nobody works within 60
        days, all time counts; after 60 days all of what is left does.
        """
        returns = {back_at for r in self.reviewers if (back_at := r.back_at()) is not None}
        return worked(
            lambda now: (one.reviewer for one in self._acting(groups, now)), returns, start, seconds
        )

    def _asked(self, groups: Sequence[str], without: Collection[str]) -> Iterator[Reviewer]:
        return (m for m in self.members(groups) if not (without and m.is_among(without)))

    def _acting(
        self, groups: Sequence[str], now: datetime, without: Collection[str] = ()
    ) -> list[Assignment]:
        """Return who acts for `groups`: the members who are there, then the others' stand-ins."""
        members = list(self._asked(groups, without))
        acting = {m.id: Assignment(m) for m in members if not m.is_away(now)}
        for absent in members:
            other = self.stand_in(absent, now)
            if other is not None and not (without and other.is_among(without)):
                acting.setdefault(other.id, Assignment(other, absent))
        return list(acting.values())


def _in_small(address: str) -> str:
    """Return a mail address in small letters; one with others than ASCII's as it is, since some of
    those, such as the Kelvin sign, would become the letters of another address."""
    return address.lower() if address.isascii() else address


def _including(groups: dict[str, Group], own: Collection[str]) -> set[str]:
    """Return the groups that are `own` or include them, directly or not."""
    found, new = set(own), set(own)
    while new:
        new = {name for name, group in groups.items() if new & set(group.includes)} - found
        found |= new
    return found


def _refuse_repeated(what: str, values: Iterable[str]) -> None:
    repeated = [value for value, count in Counter(values).items() if count > 1]
    if repeated:
        raise ValueError(f"reviewers with the same {what}: {', '.join(sorted(repeated))}")


def load_directory(path: Path) -> Directory:
    """Read a reviewers file; warn of reviewers whom no message can reach.

    Raises:
        ConfigurationError: naming each place that does not fit.
    """
    directory = load_yaml(path, Directory)
    for reviewer in directory.reviewers:
        if reviewer.groups and not reviewer.is_reachable:
            log.warning("no channel can reach a reviewer", file=str(path), reviewer=reviewer.id)
    return directory
