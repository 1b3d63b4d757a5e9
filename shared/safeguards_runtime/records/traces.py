"""What people leave on an approval while it is open: votes, claims, views, and their changes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict


class Vote(BaseModel):
    """One person's approval of what is shown, where the terms want several."""

    model_config = ConfigDict(frozen=True)

    reviewer_id: str
    stood_in_for: str | None = None
    """The reviewer who was away, if they voted in their stead."""

    at: datetime
    via: str
    """The way it came in: `api`, `email`, `slack`, `console`."""

    comments: str = ""

    @property
    def people(self) -> frozenset[str]:
        """Whose approval this is. None of them counts a second time."""
        return frozenset({self.reviewer_id, self.stood_in_for or self.reviewer_id})


class Earlier(BaseModel):
    """What was shown before the content last changed."""

    model_config = ConfigDict(frozen=True)

    version: int
    title: str
    description: str
    context: dict[str, Any]
    """As it was shown, with what reviewers had changed by then."""

    changed_by: str
    """Who changed it after that: `reviewer:alex`, `agent:trader`."""

    at: datetime
    """When it was changed."""


class Claim(BaseModel):
    """Who has a request in hand. It keeps nobody else from answering."""

    model_config = ConfigDict(frozen=True)

    reviewer_id: str
    stands_in_for: str | None = None
    """The reviewer who is away, if it is theirs to answer only in that one's stead."""

    at: datetime
    handed_by: str | None = None
    """The reviewer who handed it over; None if they took it themselves."""

    note: str = ""
    """What whoever handed it over wrote."""


class View(BaseModel):
    """That somebody has seen a version."""

    model_config = ConfigDict(frozen=True)

    reviewer_id: str
    version: int
    at: datetime
