"""What the evaluator does with the actions that it is asked to look at."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import structlog

from safeguards.plugins import WindowSafeguard
from safeguards_runtime.policy_book import PolicyBook
from safeguards_runtime.records import Action, Approval, Change, Grant, Record, action, grant
from safeguards_runtime.records.approval import amended
from safeguards_runtime.records.halts import HALTS_ID, halts_of
from safeguards_runtime.records.window import Ledger
from safeguards_runtime.reloading import InForce
from safeguards_runtime.rules import Rules
from safeguards_runtime.store import Store
from safeguards_runtime.topology import Service
from services.safeguard_evaluator.judging import settle, write_verdicts
from services.safeguard_evaluator.permitting import let_through
from services.safeguard_evaluator.plugins import Plugins
from services.safeguard_evaluator.publications import take_in
from services.safeguard_evaluator.verdicts import (
    Candidate,
    Inspection,
    candidates,
    inspect,
    judge,
    plugins_of,
)

log = structlog.get_logger(__name__)

WAITING_AT_MOST = 500
"""How much may wait for the same plugins. What is beyond is left to the agenda."""


class Evaluator:
    """Gives verdicts.

    Args:
        store: where the actions are.
        rules: the policies and the reviewers, as they are in force.
        set_aside: keeps a publication that is refused: the JWS and the reason.
        plugins: asks them.
    """

    def __init__(
        self,
        store: Store,
        rules: InForce[Rules],
        set_aside: Callable[[bytes, str], Awaitable[None]],
        plugins: Plugins | None = None,
    ) -> None:
        self._store = store
        self._rules = rules
        self._set_aside = set_aside
        self._book: PolicyBook | None = None
        self._plugins = plugins or Plugins()
        self._waiting: dict[str, asyncio.Task[None]] = {}
        self._waiting_for: Counter[frozenset[str]] = Counter()

    async def evaluate(self, entries: Sequence[str]) -> None:
        """Look at actions, given by their ids or as signed publications; at approvals whose agent
        has changed its arguments; and at grants whose time is up. Twice does no harm."""
        publications = [entry for entry in entries if "." in entry]
        ids = [entry for entry in entries if "." not in entry]
        if publications:
            published, refused = await take_in(self._store, publications)
            for publication, reason in refused.items():
                await self._set_aside(publication.encode(), reason)
            ids += published
        actions, approvals, grants = (
            [i for i in ids if i.startswith(prefix)] for prefix in ("act_", "apr_", "grt_")
        )
        if grants:
            await self._store.apply_all(grants, Grant, grant.expire, of=Service.EVALUATOR)
        rules = self._rules.current
        if rules.book is not self._book:
            self._book = rules.book
            self._plugins.keep_only(rules.book.plugins.values())
        if actions:
            await self._look_at(actions, rules)
        if approvals:
            await self._judge_amended(approvals, rules)

    async def _look_at(self, ids: Sequence[str], rules: Rules) -> None:
        """Judge actions, and settle those that have ended."""
        _, records = await self._store.load(ids)
        fresh, ended, idle = [], [], []
        for record_id, record in zip(ids, records, strict=True):
            if not isinstance(record, Action) or not record.owes(Service.EVALUATOR):
                idle.append(record_id)
            elif action.is_to_be_settled(record):
                ended.append(record_id)
            else:
                fresh.append(record)
        if idle:
            await self._store.apply_all(idle, Action, _nothing, of=Service.EVALUATOR)
        if ended:
            await settle(self._store, ended, _with_windows(rules))
        if fresh:
            await self._judge(fresh, rules)

    async def _judge(self, records: Sequence[Action], rules: Rules) -> None:
        """Judge actions. Those for which plugins must be asked hold up no others: they are judged
        when the plugins have answered."""
        at_once = []
        for record in records:
            found = candidates(record, rules.book)
            plugins = plugins_of(found, rules.book)
            if plugins:
                self._later(record.id, plugins, partial(self._judge_one, record, found, rules))
            else:
                at_once.append(await inspect(record, rules.book, self._plugins.ask, found))
        await self._write(at_once, rules)

    async def _judge_one(self, record: Action, found: tuple[Candidate, ...], rules: Rules) -> None:
        inspection = await inspect(record, rules.book, self._plugins.ask, found)
        await self._write([inspection], rules)

    def _later(
        self, record_id: str, plugins: frozenset[str], judging: Callable[[], Awaitable[None]]
    ) -> None:
        """Have something judged that waits for plugins. Counted are those that wait for the same
        ones, so that those of a plugin that hangs leave room for the others."""
        if record_id in self._waiting:
            return
        if self._waiting_for[plugins] >= WAITING_AT_MOST:
            # It stays leased: the agenda brings it again.
            log.warning("too many wait for safeguards", record_id=record_id)
            return

        async def judged() -> None:
            try:
                await judging()
            except Exception:
                log.exception("it could not be judged", record_id=record_id)
            finally:
                del self._waiting[record_id]
                self._waiting_for[plugins] -= 1

        self._waiting[record_id] = asyncio.create_task(judged())
        self._waiting_for[plugins] += 1

    async def _write(self, inspections: Sequence[Inspection], rules: Rules) -> None:
        """Write verdicts; where people would be asked, see first whether one of them has permitted
        it."""
        asking = await write_verdicts(self._store, inspections, with_questions=False)
        if asking:
            rest = await let_through(self._store, asking, rules.directory)
            await write_verdicts(self._store, rest, with_questions=True)

    async def _judge_amended(self, ids: Sequence[str], rules: Rules) -> None:
        """Judge the arguments that agents answered reviewers' questions with. No grant holds for
        them: a reviewer is looking at them already."""
        _, records = await self._store.load(ids)
        idle = list(ids)
        for record in records:
            if not isinstance(record, Approval) or not record.owes(Service.EVALUATOR):
                continue
            idle.remove(record.id)
            asked = Proposed(record.id, record.agent_id, record.action_type, record.amendment or {})
            found = candidates(asked, rules.book)
            judging = partial(self._judge_one_amended, record, asked, found, rules)
            plugins = plugins_of(found, rules.book)
            if plugins:
                self._later(record.id, plugins, judging)
            else:
                await judging()
        if idle:
            await self._store.apply_all(idle, Approval, _nothing, of=Service.EVALUATOR)

    async def _judge_one_amended(
        self, asked: Approval, proposed: Proposed, found: tuple[Candidate, ...], rules: Rules
    ) -> None:
        """Judge an amendment. What the action had reserved is given back for what it reserves
        now, in the same instant."""
        inspection = await inspect(proposed, rules.book, self._plugins.ask, found)
        behind = await self._store.get(asked.action_id, Action) if asked.action_id else None
        held = behind.judgement.reservations if behind and behind.judgement else ()
        windows = sorted(inspection.window_ids | {one.window_id for one in held})
        others = [asked.action_id] if asked.action_id else []

        def rule(records: Sequence[Record | None], now: datetime) -> tuple[Change, ...]:
            standing, *rest, halts = records
            if not isinstance(standing, Approval) or standing.amendment != asked.amendment:
                return ()
            ledger = Ledger.of(windows, rest[len(others) :], now)
            ledger.release(held)
            halted = halts_of(halts).why(asked.agent_id, asked.action_type)
            judgement = judge(inspection, ledger, halted)
            change = amended(standing, judgement, now, rules.directory)
            if change is None:
                return ()
            (counted,) = rest[: len(others)] or (None,)
            if not isinstance(counted, Action):
                return (change,)
            again = action.judged_again(counted, judgement, now)
            if again is None:
                return (change,)
            ledger.reserve(judgement.reservations)
            return (change, again, *ledger.changes())

        await self._store.apply_together([asked.id, *others, *windows], rule, given=[HALTS_ID])


@dataclass(frozen=True)
class Proposed:
    """What an agent proposes instead of what it asked for."""

    id: str
    agent_id: str
    action_type: str
    context: dict[str, Any]


def _nothing(record: Record, now: datetime) -> None:
    """Change nothing: it is put back on the agenda as it is due."""


def _with_windows(rules: Rules) -> dict[str, WindowSafeguard]:
    return {
        name: safeguard
        for name, safeguard in rules.book.safeguards.items()
        if isinstance(safeguard, WindowSafeguard)
    }
