"""An approval and what its action counts in windows, written together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from safeguards.identifiers import twin_id
from safeguards_runtime.records import Action, Approval, Change, Record, action
from safeguards_runtime.records.window import Ledger
from safeguards_runtime.store import Store, StoreBusyError
from safeguards_runtime.store.store import Seen

Deciding = Callable[[Approval | None, datetime], tuple[Change, ...]]
"""Given an approval and the store's clock, returns the approval's change first; or none."""


async def decide(
    store: Store, approval_id: str, rule: Deciding, *, seen: Seen | None = None
) -> Approval | None:
    """Write what a rule says of an approval. If its action may run then, what that counts only once
    it may run is counted in the same write: before the agent hears of it, and for whatever is
    judged next. With other arguments than were judged, the evaluator counts it, a moment later.

    Args:
        store: where the approval is.
        approval_id: which.
        rule: called at least once.
        seen: as `Store.apply`.

    Returns:
        The approval as it stands then; None if there is none and the rule makes none.

    Raises:
        Refusal: what the rule raises; nothing is written then.
        StoreBusyError: after 30 conflicts over the approval itself.
    """
    windows = await _counted_once_allowed(store, approval_id, seen)
    if not windows:
        return await store.apply(approval_id, Approval, rule, seen=seen)
    standing: Approval | None = None

    def together(records: Sequence[Record | None], now: datetime) -> tuple[Change, ...]:
        nonlocal standing
        asked, behind, *found = records
        standing = asked if isinstance(asked, Approval) else None
        changes = rule(standing, now)
        if not changes or not isinstance(behind, Action):
            return changes
        if not _may_run(changes[0].after, behind) or not _waiting(behind) <= set(windows):
            return changes
        return (*changes, *action.counted(behind, Ledger.of(windows, found, now)))

    ids = [approval_id, twin_id("act", approval_id), *windows]
    try:
        written = await store.apply_together(ids, together)
    except StoreBusyError:
        # Others keep counting in the same windows. The decision does not wait for them: what it
        # counts, the evaluator counts as soon as it can.
        return await store.apply(approval_id, Approval, rule)
    return written[0] if written and isinstance(written[0], Approval) else standing


async def _counted_once_allowed(
    store: Store, approval_id: str, seen: Seen | None
) -> tuple[str, ...]:
    """Return the windows in which the action behind an approval counts once it may run."""
    if seen is not None and isinstance(seen[1], Approval) and seen[1].action_id is None:
        return ()
    behind = await store.get(twin_id("act", approval_id), Action)
    return tuple(sorted(_waiting(behind))) if behind else ()


def _waiting(behind: Action) -> set[str]:
    reserved = behind.judgement.reservations if behind.judgement else ()
    return {one.window_id for one in reserved if one.once_allowed}


def _may_run(after: Record, behind: Action) -> bool:
    """Tell whether an action may run as it was judged."""
    assert isinstance(after, Approval)  # noqa: S101 - see `Deciding`
    outcome = after.outcome
    if after.action_id != behind.id or outcome is None or outcome.modifications:
        return False
    return outcome.status.allows
