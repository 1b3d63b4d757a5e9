"""Verdicts are written: an action together with the windows that it was judged by and counts in."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog

from safeguards.contracts import Verdict
from safeguards.plugins import WindowSafeguard
from safeguards_runtime.records import Action, Approval, Change, Record, action
from safeguards_runtime.records.halts import HALTS_ID, halts_of
from safeguards_runtime.records.judgement import Judgement
from safeguards_runtime.records.window import Ledger, Reservation, reservations
from safeguards_runtime.remote_agent import RemoteAgent
from safeguards_runtime.store import Store, StoreBusyError
from safeguards_runtime.topology import Service
from services.safeguard_evaluator.verdicts import Inspection, as_checked, judge

log = structlog.get_logger(__name__)


def count(ledger: Ledger, judgement: Judgement) -> None:
    """Count in the windows what an action counts that has just been judged."""
    ledger.reserve(judgement.reservations)
    if judgement.verdict in (Verdict.ALLOW, Verdict.NOTIFY):
        ledger.allow(judgement.reservations)


async def write_verdicts(
    store: Store, inspections: Sequence[Inspection], *, with_questions: bool
) -> list[Inspection]:
    """Judge actions and write the verdicts.

    Those that count in the same window are judged one after the other and written together, so
    that each sees what those before it have reserved, whoever judged them. None is written if
    something has been halted since it was judged: it is judged anew.

    Args:
        store: where the actions and the windows are.
        inspections: the actions.
        with_questions: whether it is also written that people are to be asked.

    Returns:
        Those about which people would have to be asked, if that is not written.
    """
    alone = [one for one in inspections if not one.window_ids]
    asking = await _write_alone(store, alone, with_questions=with_questions)
    groups = _sharing([one for one in inspections if one.window_ids])
    for asked in await asyncio.gather(
        *(_write_group(store, group, with_questions=with_questions) for group in groups)
    ):
        asking += asked
    return asking


async def _write_alone(
    store: Store, inspections: Sequence[Inspection], *, with_questions: bool
) -> list[Inspection]:
    """Judge actions that count nowhere; each is written by itself."""
    by_id = {one.asked.id: one for one in inspections}
    asking: dict[str, Inspection] = {}

    def rule(record: Action, now: datetime, halts: Record | None) -> Change | tuple[()] | None:
        if not record.owes(Service.EVALUATOR):
            return None
        judgement = judge(by_id[record.id], Ledger({}, now), _why(halts, record))
        if judgement.verdict is Verdict.REQUIRE_APPROVAL and not with_questions:
            asking[record.id] = by_id[record.id]
            return ()
        asking.pop(record.id, None)
        return action.judge(record, judgement, now)

    known = [one.asked for one in inspections if isinstance(one.asked, Action)]
    await store.apply_all(by_id, Action, rule, of=Service.EVALUATOR, known=known, given=[HALTS_ID])
    return list(asking.values())


async def _write_group(
    store: Store, group: Sequence[Inspection], *, with_questions: bool
) -> list[Inspection]:
    """Judge actions that share windows, one after the other; all are written, or none."""
    ids = [one.asked.id for one in group]
    windows = sorted(frozenset[str]().union(*(one.window_ids for one in group)))
    asking: list[Inspection] = []

    def rule(records: Sequence[Record | None], now: datetime) -> tuple[Change, ...]:
        asking.clear()
        *standing, halts = records
        ledger = Ledger.of(windows, standing[len(ids) :], now)
        changes = []
        for one, record in zip(group, standing, strict=False):
            if not isinstance(record, Action) or not record.owes(Service.EVALUATOR):
                continue
            judgement = judge(one, ledger, _why(halts, record))
            if judgement.verdict is Verdict.REQUIRE_APPROVAL and not with_questions:
                asking.append(one)
                continue
            change = action.judge(record, judgement, now)
            if change is not None:
                changes.append(change)
                count(ledger, judgement)
        return (*changes, *ledger.changes())

    try:
        await store.apply_together([*ids, *windows], rule, given=[HALTS_ID])
    except StoreBusyError as error:
        # They stay leased: the agenda brings them again.
        log.warning("windows keep changing", actions=len(ids), error=str(error))
        return []
    return asking


def _why(halts: Record | None, record: Action) -> str | None:
    return halts_of(halts).why(record.agent_id, record.action_type)


def _sharing(inspections: Sequence[Inspection]) -> list[list[Inspection]]:
    """Return the actions in groups: those that count in one window are in one group."""
    groups: list[tuple[set[str], list[Inspection]]] = []
    for one in inspections:
        joined = [group for group in groups if group[0] & one.window_ids]
        groups = [group for group in groups if group not in joined]
        windows = set(one.window_ids).union(*(group[0] for group in joined))
        members = [member for group in joined for member in group[1]]
        groups.append((windows, [*members, one]))
    return [members for _, members in groups]


async def settle(
    store: Store, ids: Sequence[str], safeguards: Mapping[str, WindowSafeguard]
) -> None:
    """Set right what ended actions count: give back what those reserved that may not run; count by
    the arguments that were approved what may."""
    _, records = await store.load(ids)
    for record in records:
        if not isinstance(record, Action) or not action.is_to_be_settled(record):
            continue
        try:
            await _settle(store, record, safeguards)
        except StoreBusyError as error:
            # It stays leased: the agenda brings it again.
            log.warning("windows keep changing", action=record.id, error=str(error))


async def _settle(store: Store, ended: Action, safeguards: Mapping[str, WindowSafeguard]) -> None:
    assert ended.judgement is not None  # noqa: S101 - `is_to_be_settled`
    held = ended.judgement.reservations
    approval = await store.get(ended.approval_id, Approval)
    asked = ended.context if approval is None else approval.context
    final = _final(ended, asked, ended.judgement, safeguards)
    windows = sorted({one.window_id for one in (*held, *final)})

    def rule(found: Sequence[Record | None], now: datetime) -> tuple[Change, ...]:
        record, *rest = found
        if not isinstance(record, Action) or not action.is_to_be_settled(record):
            return ()
        ledger = Ledger.of(windows, rest, now)
        if final != held:
            ledger.release(held)
            ledger.reserve(final)
        ledger.allow(final)
        return (action.settled(record, now), *ledger.changes())

    await store.apply_together([ended.id, *windows], rule)


def _final(
    ended: Action,
    asked: Mapping[str, Any],
    judged: Judgement,
    safeguards: Mapping[str, WindowSafeguard],
) -> tuple[Reservation, ...]:
    """Return what an ended action counts in the end: nothing if it may not run.

    Args:
        ended: the action.
        asked: its arguments, as its agent has last asked for them.
        judged: how it was judged.
        safeguards: those in force, by name.
    """
    outcome = ended.outcome
    if outcome is None or not outcome.status.allows:
        return ()
    if not outcome.modifications:
        return judged.reservations
    context = as_checked(ended.action_type, {**asked, **outcome.modifications})
    return recounted(judged, outcome.decided_at, ended.agent_id, context, safeguards)


def recounted(
    judged: Judgement,
    decided_at: datetime,
    agent_id: str,
    context: dict[str, Any],
    safeguards: Mapping[str, WindowSafeguard],
) -> tuple[Reservation, ...]:
    """Return what an action counts by other arguments than it was judged by.

    Args:
        judged: how it was judged.
        decided_at: when the arguments became others, UTC: from then on counts what a safeguard
            could not count before.
        agent_id: whose action it is.
        context: the other arguments, with its `action_type`.
        safeguards: those in force, by name.
    """
    final: list[Reservation] = []
    for name in dict.fromkeys([*judged.counting, *(one.safeguard for one in judged.reservations)]):
        before = tuple(one for one in judged.reservations if one.safeguard == name)
        safeguard = safeguards.get(name)
        if safeguard is None:
            final += before
            continue
        measures = safeguard.measures(RemoteAgent(agent_id), context)
        final += reservations({name: measures}, before[0].at if before else decided_at)
    return tuple(final)
