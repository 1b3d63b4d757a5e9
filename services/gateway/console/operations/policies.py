"""The policies as they are loaded: which actions they are for, and what follows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from safeguards.contracts import Verdict
from safeguards.types import AlertSeverity
from safeguards_runtime.policies import TermsConfig
from safeguards_runtime.reviewers import Directory, Reviewer
from services.gateway.console.session import Operator
from services.gateway.pages import page
from services.gateway.parts import Gateway
from services.gateway.wording import duration

router = APIRouter()

MAX_SHOWN = 100
"""How many policies are shown at once, and how many names of those that use the same terms."""

VERDICTS = {
    Verdict.ALLOW: "Go ahead",
    Verdict.NOTIFY: "Go ahead, and tell people",
    Verdict.REQUIRE_APPROVAL: "Ask people",
    Verdict.DENY: "Deny",
}


@dataclass(frozen=True)
class GroupShown:
    """A group that is asked, and who is in it."""

    name: str
    members: tuple[Reviewer, ...]
    away: frozenset[str]
    """The ids of the members who are away now."""


@dataclass(frozen=True)
class TermsShown:
    """How people are asked, in the words of the page."""

    name: str
    config: TermsConfig
    groups: tuple[GroupShown, ...]
    reminders: tuple[str, ...]
    escalation: tuple[tuple[str, tuple[GroupShown, ...], tuple[str, ...]], ...]
    """Each step: after how long, who is asked as well, by which channels."""

    used_by: tuple[str, ...]
    editable: tuple[tuple[str, str], ...]
    """Each field that may be changed, `*` for all, and its limit in words."""

    answered: str
    """By which ways, in words."""

    @property
    def time(self) -> str:
        """How long people have."""
        return _span(self.config.timeout_seconds)


@router.get("/policies")
async def show(
    request: Request,
    gateway: Gateway,
    session: Operator,
    action_type: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Show the policies in force, or those for a type of actions, and the terms on which people are
    asked."""
    rules = gateway.rules.current
    book, policies, directory = rules.book, rules.policies, rules.directory
    found = book.index.of_type(action_type) if action_type else book.policies
    terms = [
        _terms(
            name,
            config,
            directory,
            session.now,
            tuple(policy.name for policy in book.policies if policy.approval == name),
        )
        for name, config in policies.approvals.items()
    ]
    shown = {
        "file": policies,
        "action_type": action_type,
        "found": len(found),
        "policies": found[:MAX_SHOWN],
        "in_force": len(book.policies),
        "uses": book.uses,
        "version": book.version,
        "terms": terms,
        "max_shown": MAX_SHOWN,
        "severities": list(AlertSeverity),
        "verdicts": VERDICTS,
        "refused": gateway.rules.error,
        "versions": gateway.rules.versions,
    }
    return page(gateway, request, "console/operations/policies.html", shown, session=session)


def _terms(
    name: str, config: TermsConfig, directory: Directory, now: datetime, used_by: tuple[str, ...]
) -> TermsShown:
    terms = config.terms()
    limits = {field: limit.words() for field, limit in terms.limits.items()}
    return TermsShown(
        name=name,
        config=config,
        groups=_groups(config.groups, directory, now),
        reminders=tuple(_span(seconds) for seconds in config.remind_after_seconds),
        escalation=tuple(
            (_span(step.after_seconds), _groups(step.groups, directory, now), step.channels)
            for step in config.escalation
        ),
        used_by=used_by,
        editable=tuple((field, limits.get(field, "")) for field in terms.editable),
        answered=terms.how_answered(),
    )


def _groups(names: tuple[str, ...], directory: Directory, now: datetime) -> tuple[GroupShown, ...]:
    found = []
    for name in names:
        members = directory.members((name,))
        away = frozenset(member.id for member in members if member.is_away(now))
        found.append(GroupShown(name, members, away))
    return tuple(found)


def _span(seconds: int) -> str:
    return duration(timedelta(seconds=seconds))
