"""What the tracker does with an action or an approval that it is asked to look at."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from safeguards_runtime.records import (
    Action,
    Approval,
    Change,
    Record,
    action,
    approval,
    opening,
    waiting,
)
from safeguards_runtime.records.halts import HALTS_ID, halts_of
from safeguards_runtime.records.rota import Rota
from safeguards_runtime.store import Store
from safeguards_runtime.topology import Service


async def advance(store: Store, ids: Sequence[str], rota: Rota) -> None:
    """Do whatever the records say is still to be done. Running it twice does no harm."""

    def opened(record: Action, now: datetime) -> tuple[Change, ...] | None:
        return _open(record, now, rota)

    def advanced(record: Approval, now: datetime, halts: Record | None) -> Change | None:
        is_halted = halts_of(halts).on(record.agent_id, record.action_type) is not None
        return waiting.advance(record, now, rota, is_halted=is_halted)

    actions = [i for i in ids if i.startswith("act_")]
    approvals = [i for i in ids if i.startswith("apr_")]
    if actions:
        await store.apply_all(actions, Action, opened, of=Service.TRACKER)
    if approvals:
        applied = await store.apply_all(approvals, Approval, advanced, given=[HALTS_ID])
        await _close_actions(store, applied.standing)


def _open(record: Action, now: datetime, rota: Rota) -> tuple[Change, ...] | None:
    """Open the approval that the verdict requires, or strike what is moot."""
    changes = opening.open_for(record, now, rota)
    if changes is None:
        return None
    made, handing_over = changes
    return (handing_over, made)


async def _close_actions(store: Store, approvals: dict[str, Approval]) -> None:
    """Carry outcomes over to their actions, then strike that off the approvals."""
    outcomes = {
        record.action_id: record.outcome
        for record in approvals.values()
        if record.action_id and record.outcome and approval.owes_closing(record)
    }

    def close(record: Action, now: datetime) -> Change | None:
        outcome = outcomes[record.id]
        return action.close(record, outcome, now) if outcome else None

    applied = await store.apply_all([i for i in outcomes if i], Action, close, of=Service.TRACKER)

    def strike(record: Approval, now: datetime) -> Change | None:
        """Only where the action has its outcome: a response may have come in since."""
        closed = applied.standing.get(record.action_id or "")
        is_closed = closed is not None and closed.status.is_final
        return approval.closed(record, now) if is_closed else None

    await store.apply_all(approvals, Approval, strike, of=Service.TRACKER)
