"""What the evaluator found of an action: the verdict, and all that led to it."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from safeguards.contracts import AlertView, Verdict
from safeguards.types import AlertSeverity
from safeguards_runtime.records.terms import Terms
from safeguards_runtime.records.window import Reservation


class Clause(BaseModel):
    """One part of a policy, and what follows from it for an action."""

    model_config = ConfigDict(frozen=True)

    policy: str
    part: str
    """Where in the policy: `verdict`, `condition`, or `safeguards.` and the name of one."""

    verdict: Verdict
    words: str
    """Why, in words for a reviewer."""


class GrantUse(BaseModel):
    """By which grant an action was let through."""

    model_config = ConfigDict(frozen=True)

    grant_id: str
    given_by: str
    """A reviewer's id."""

    giver: str
    """Their name, as it was when the grant was used."""

    approval_id: str
    """The approval that it was given with."""

    number: int
    """Which of its uses this is, from 1."""

    of: int

    @property
    def decided_by(self) -> str:
        """Who decided, as an outcome names it."""
        return f"grant:{self.grant_id}"

    def words(self) -> str:
        """Return whose permission it was, and which use of it."""
        return (
            f"permitted by {self.giver} for the likes of {self.approval_id}: "
            f"use {self.number} of {self.of}"
        )


class Judgement(BaseModel):
    """What the evaluator found: the verdict, why, and on what terms people are asked."""

    model_config = ConfigDict(frozen=True)

    verdict: Verdict
    alerts: tuple[AlertView, ...] = ()
    reasons: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    clauses: tuple[Clause, ...] = ()
    """What in these policies led to the verdict."""

    version: str = ""
    """Of the policies: the first 12 hexadecimal digits of their SHA-256."""

    shadow: tuple[Clause, ...] = ()
    """What policies on trial (`mode: shadow`) would have said."""

    terms: Terms
    reservations: tuple[Reservation, ...] = ()
    """What it counts in the windows of safeguards."""

    counting: tuple[str, ...] = ()
    """The safeguards with windows that looked at it, also those that found nothing to count."""

    grant: GrantUse | None = None
    """By which grant it is allowed, where people would have been asked otherwise."""

    def told(self) -> dict[str, Any]:
        """Return what stands of it in a record's history; JSON types."""
        detail: dict[str, Any] = {
            "verdict": self.verdict.value,
            "policies": list(self.policies),
            "reasons": list(self.reasons),
            "version": self.version,
            "clauses": [f"{clause.policy}: {clause.part}" for clause in self.clauses],
        }
        if self.shadow:
            detail["shadow"] = [clause.model_dump(mode="json") for clause in self.shadow]
        return detail

    def on_trial(self) -> dict[str, Verdict]:
        """Return what each policy on trial would have said, by its name; of those that would have
        said something."""
        strictest: dict[str, Verdict] = {}
        for clause in self.shadow:
            known = strictest.get(clause.policy, Verdict.ALLOW)
            strictest[clause.policy] = max(known, clause.verdict, key=lambda one: one.rank)
        return strictest

    def counted(self) -> tuple[str, ...]:
        """Return the counters that it raises: for each policy on trial what it would have said."""
        return tuple(f"shadow:{policy}:{verdict}" for policy, verdict in self.on_trial().items())

    @property
    def severity(self) -> AlertSeverity:
        """The highest of the alerts. Without one: WARNING if people are asked, else INFO."""
        is_asking = self.verdict is Verdict.REQUIRE_APPROVAL
        least = AlertSeverity.WARNING if is_asking else AlertSeverity.INFO
        found = [alert.severity for alert in self.alerts]
        return max(found, key=lambda severity: severity.rank, default=least)
