"""Who is on duty when: what the rules of approvals have to know of the reviewers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from safeguards.types import AlertSeverity


class Rota(Protocol):
    """Who is on duty when. Times are aware UTC."""

    def is_covered(
        self,
        groups: Sequence[str],
        now: datetime,
        severity: AlertSeverity,
        *,
        without: Collection[str] = (),
    ) -> bool:
        """Tell whether anybody of `groups`, or who stands in for them, is on duty now, other than
        those who are named in `without`."""
        ...

    def after(self, groups: Sequence[str], start: datetime, seconds: float) -> datetime:
        """Return the moment when `seconds` of the groups' working time have passed since
        `start`."""
        ...


class _Always:
    """Everybody, at all times."""

    def is_covered(
        self,
        groups: Sequence[str],
        now: datetime,
        severity: AlertSeverity,
        *,
        without: Collection[str] = (),
    ) -> bool:
        return True

    def after(self, groups: Sequence[str], start: datetime, seconds: float) -> datetime:
        return start + timedelta(seconds=seconds)


ALWAYS: Rota = _Always()
"""Somebody is always on duty, and every second counts."""
