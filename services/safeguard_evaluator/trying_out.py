"""Trying policies out: judging as the evaluator does, with a memory instead of a store."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from safeguards_runtime.policy_book import PolicyBook, book_of
from safeguards_runtime.records.judgement import Judgement
from safeguards_runtime.records.window import Ledger, Window
from services.safeguard_evaluator.plugins import Plugins
from services.safeguard_evaluator.verdicts import Inspection, inspect, judge

MONDAY_NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
"""When it is unless somebody says otherwise: what is tried out must not depend on the day."""


def ready_made(*packs: str) -> PolicyBook:
    """Return the policies of a file that switches these on and says nothing else."""
    approvals = {"default": {"groups": ["reviewers"]}}
    return book_of({"version": 1, "ready_made": list(packs), "approvals": approvals})


@dataclass(frozen=True)
class Asked:
    """An action as an agent publishes it."""

    action_type: str
    context: dict[str, Any]
    agent_id: str = "assistant"
    id: str = "act_1"


@dataclass
class Desk:
    """Judges one action after the other, and remembers what was allowed.

    Attributes:
        book: what it judges by.
        now: its clock, UTC.
        plugins: asks those that the policies use. To be closed by whoever made it.
        windows: what was counted, by their ids.
    """

    book: PolicyBook
    now: datetime = MONDAY_NOON
    plugins: Plugins = field(default_factory=Plugins)
    windows: defaultdict[str, Window | None] = field(
        default_factory=lambda: defaultdict(lambda: None)
    )

    @property
    def ledger(self) -> Ledger:
        """What was counted, as it stands now."""
        return Ledger(self.windows, self.now)

    async def inspect(self, asked: Asked) -> Inspection:
        """Return the policies for an action, and what their safeguards find of it."""
        return await inspect(asked, self.book, self.plugins.ask)

    async def judge(self, asked: Asked) -> Judgement:
        """Return the verdict on an action. Nothing is remembered."""
        return judge(await self.inspect(asked), self.ledger)

    async def allow(self, asked: Asked) -> Judgement:
        """Judge an action, and remember it as one that a person allowed if need be."""
        inspection = await self.inspect(asked)
        ledger = self.ledger
        judgement = judge(inspection, ledger)
        ledger.reserve(judgement.reservations)
        ledger.allow(judgement.reservations)
        self.keep(ledger)
        return judgement

    def keep(self, ledger: Ledger) -> None:
        """Remember what a ledger has counted."""
        for change in ledger.changes():
            if isinstance(change.after, Window):
                self.windows[change.after.id] = change.after

    def forget(self) -> None:
        """Drop the windows of which nothing counts any more, as the store does."""
        for record_id, window in list(self.windows.items()):
            if window is None or window.forgotten_at() <= self.now:
                del self.windows[record_id]

    def wait(self, length: timedelta) -> None:
        """Let time pass."""
        self.now += length
