"""Grants: what people would be asked about is let through where one of them has permitted it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import structlog

from safeguards.contracts import Verdict
from safeguards_runtime.records import Action, Change, Grant, Halts, Record, grant
from safeguards_runtime.records.bounds import within
from safeguards_runtime.records.grant import Covered
from safeguards_runtime.records.halts import HALTS_ID, halts_of
from safeguards_runtime.records.judgement import Judgement
from safeguards_runtime.records.window import Ledger
from safeguards_runtime.reviewers import Directory
from safeguards_runtime.store import Store, StoreBusyError
from services.safeguard_evaluator.judging import count
from services.safeguard_evaluator.verdicts import Inspection, Judged, judge

log = structlog.get_logger(__name__)


async def let_through(
    store: Store, asking: Sequence[Inspection], directory: Directory
) -> list[Inspection]:
    """Let those actions through that grants cover, the grant that ends first before the others.

    A use is written together with the actions that it lets through and the windows that they count
    in, so that a grant for N lets exactly N through, however many evaluators there are. Costs one
    round trip where there is no grant for the likes of them.

    Args:
        store: where the actions and the grants are.
        asking: the actions that people would be asked about.
        directory: the reviewers in force.

    Returns:
        Those about which people are to be asked.
    """
    left = {one.asked.id: one for one in sorted(asking, key=lambda one: one.asked.id)}
    for permission in await _permissions(store, left.values()):
        like = [one for one in left.values() if _may_cover(permission, one.asked)]
        if not like:
            continue
        try:
            done = await _used(store, permission.id, like, directory)
        except StoreBusyError as error:
            # They stay leased: the agenda brings them again.
            log.warning("a grant keeps changing", grant=permission.id, error=str(error))
            done = [one.asked.id for one in like]
        for record_id in done:
            left.pop(record_id, None)
    return list(left.values())


async def _permissions(store: Store, asking: Iterable[Inspection]) -> list[Grant]:
    """Return the grants that may hold for any of these, what ends first first."""
    lists = {grant.for_like(one.asked.agent_id, one.asked.action_type) for one in asking}
    found = {record_id for ids in await store.listed_whole(sorted(lists)) for record_id in ids}
    if not found:
        return []
    _, records = await store.load(sorted(found))
    permissions = [record for record in records if isinstance(record, Grant)]
    return sorted(permissions, key=lambda permission: (permission.expires_at, permission.id))


def _may_cover(permission: Grant, asked: Judged) -> bool:
    """Tell whether it is worth a look: what it lets through is judged when it is written."""
    about = (permission.agent_id, permission.action_type)
    return about == (asked.agent_id, asked.action_type) and within(permission.bounds, asked.context)


async def _used(
    store: Store,
    grant_id: str,
    like: Sequence[Inspection],
    directory: Directory,
) -> list[str]:
    """Let through what the grant still covers when it is written; return the ids of these."""
    ids = [one.asked.id for one in like]
    windows = sorted(frozenset[str]().union(*(one.window_ids for one in like)))

    def rule(records: Sequence[Record | None], now: datetime) -> tuple[Change, ...]:
        standing, *rest, halts = records
        ledger = Ledger.of(windows, rest[len(ids) :], now)
        try:
            return permitted(standing, rest, ledger, halts_of(halts))
        except Exception:
            log.exception("a grant could not be judged: people are asked", grant=grant_id)
            return ()

    def permitted(
        standing: Record | None, actions: Sequence[Record | None], ledger: Ledger, halts: Halts
    ) -> tuple[Change, ...]:
        giver = directory.get(standing.given_by) if isinstance(standing, Grant) else None
        if not isinstance(standing, Grant) or giver is None:
            return ()
        covered: list[Covered] = []
        for one, record in zip(like, actions, strict=False):
            if not isinstance(record, Action) or standing.uses + len(covered) >= standing.max_uses:
                continue
            judgement = judge(one, ledger, halts.why(record.agent_id, record.action_type))
            is_open = record.judgement is None and not record.status.is_final
            if is_open and grant.covers(
                standing,
                record,
                judgement,
                ledger.now,
                groups=giver.groups,
                is_asker=giver.is_among(record.askers),
            ):
                covered.append(Covered(record, judgement))
                count(ledger, _allowed(judgement))
        changes = grant.use(standing, covered, giver.name, ledger.now)
        return (*changes, *ledger.changes()) if changes else ()

    written = await store.apply_together([grant_id, *ids, *windows], rule, given=[HALTS_ID])
    return [record.id for record in written if isinstance(record, Action)]


def _allowed(judgement: Judgement) -> Judgement:
    return judgement.model_copy(update={"verdict": Verdict.ALLOW})
