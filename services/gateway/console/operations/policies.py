"""The policies as they are loaded: which actions they are for, and what follows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from fastapi import APIRouter, Request, Response

from safeguards.contracts import Verdict
from safeguards.types import AlertSeverity
from safeguards_runtime.policies import TermsConfig
from safeguards_runtime.reviewers import Directory, Reviewer
from services.gateway.console.session import Operator
from services.gateway.pages import page
from services.gateway.parts import Gateway
from services.gateway.wording import duration

router = APIRouter()

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

    @property
    def time(self) -> str:
        """How long people have."""
        return _span(self.config.timeout_seconds)


@router.get("/policies")
async def show(request: Request, gateway: Gateway, session: Operator) -> Response:
    """Show the policies in force and the terms on which people are asked."""
    rules = gateway.rules.current
    book, policies, directory = rules.book, rules.policies, rules.directory
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
        "policies": book.policies,
        "uses": book.uses,
        "terms": terms,
        "severities": list(AlertSeverity),
        "verdicts": VERDICTS,
        "refused": gateway.rules.error,
        "versions": gateway.rules.versions,
    }
    return page(gateway, request, "console/operations/policies.html", shown, session=session)


def _terms(
    name: str, config: TermsConfig, directory: Directory, now: datetime, used_by: tuple[str, ...]
) -> TermsShown:
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
