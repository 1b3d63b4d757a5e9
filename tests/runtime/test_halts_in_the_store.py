"""A halt that is acknowledged holds: what was judged before it is judged anew. On a real Valkey."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from safeguards.contracts import ActionSubmission, ApprovalSubmission, Verdict
from safeguards.identifiers import new_id
from safeguards.types import ActionStatus
from safeguards_runtime.records import (
    Action,
    Approval,
    Change,
    Halts,
    Record,
    action,
    opening,
    waiting,
)
from safeguards_runtime.records.halts import HALTS_ID, halt, halts_of, resume
from safeguards_runtime.records.rota import ALWAYS
from safeguards_runtime.store import Store, trail
from safeguards_runtime.store.store import StoreBusyError
from safeguards_runtime.topology import Service
from services.approval_tracker.advancing import advance
from tests.runtime.samples import TERMS, assert_chained, judgement


async def halted(store: Store, name: str = "wire_*") -> None:
    def rule(standing: Halts | None, now: datetime) -> Change | None:
        return halt(standing, "type", name, by="reviewer:olga", reason="Stop.", now=now)

    assert await store.apply(HALTS_ID, Halts, rule)


async def resumed(store: Store, name: str = "wire_*") -> None:
    def rule(standing: Halts | None, now: datetime) -> Change | None:
        return resume(standing, "type", name, by="reviewer:sam", now=now)

    await store.apply(HALTS_ID, Halts, rule)


async def submitted(store: Store, count: int = 1) -> list[Action]:
    given = ActionSubmission(agent_id="trader", action_type="wire_money", context={"amount": "1"})
    fixed: dict[str, Any] = {"key_id": new_id("key"), "owner": None, "claims": {}}
    made = []
    for _ in range(count):
        change = action.submit(new_id("act"), given, now=await store.now(), **fixed)
        record, _ = await store.create(change)
        assert isinstance(record, Action)
        made.append(record)
    return made


def judged(record: Action, now: datetime, halts: Record | None) -> Change | None:
    """Allow it, unless it is halted."""
    is_halted = halts_of(halts).on(record.agent_id, record.action_type) is not None
    return action.judge(record, judgement(Verdict.DENY if is_halted else Verdict.ALLOW), now)


class Interrupted(Store):
    """A store on which something else happens between what is judged and what is written."""

    happening: Callable[[], Awaitable[None]] | None = None

    async def commit(self, transactions: Sequence[Sequence[Change]]) -> list[list[Record] | None]:
        happening, self.happening = self.happening, None
        if happening is not None:
            await happening()
        return await super().commit(transactions)


@pytest.mark.parametrize("together", [False, True])
async def test_what_was_judged_before_a_halt_is_judged_anew(
    store: Store, store_url: str, together: bool
) -> None:
    made = await submitted(store, 3)
    ids = [record.id for record in made]
    late = Interrupted(store_url)
    late.happening = lambda: halted(store)

    def rule(records: Sequence[Record | None], now: datetime) -> tuple[Change, ...]:
        *standing, halts = records
        changes = [judged(one, now, halts) for one in standing if isinstance(one, Action)]
        return tuple(change for change in changes if change)

    try:
        if together:
            await late.apply_together(ids, rule, given=[HALTS_ID])
        else:
            await late.apply_all(ids, Action, judged, known=made, given=[HALTS_ID])
    finally:
        await late.close()
    _, found = await store.load(ids)
    verdicts = [one.judgement.verdict for one in found if isinstance(one, Action) and one.judgement]
    assert verdicts == [Verdict.DENY] * 3


async def test_halts_that_keep_changing_hold_up_and_never_let_through(
    store: Store, store_url: str
) -> None:
    (made,) = await submitted(store)
    restless = Interrupted(store_url)

    async def happen() -> None:
        await halted(store)
        await resumed(store)
        restless.happening = happen

    restless.happening = happen

    def rule(records: Sequence[Record | None], now: datetime) -> tuple[Change, ...]:
        record, halts = records
        assert isinstance(record, Action)
        change = judged(record, now, halts)
        return (change,) if change else ()

    try:
        with pytest.raises(StoreBusyError):
            await restless.apply_together([made.id], rule, given=[HALTS_ID])
    finally:
        await restless.close()
    assert await store.get(made.id, Action) == made


@pytest.mark.parametrize("is_halted", [False, True])
async def test_silence_is_no_consent_for_a_type_that_is_halted_meanwhile(
    store: Store, store_url: str, is_halted: bool
) -> None:
    now = await store.now() - timedelta(seconds=TERMS.timeout_seconds + 1)
    terms = TERMS.model_copy(update={"on_timeout": "approve"})
    wanted = {"action_type": "wire_money"}
    given = ApprovalSubmission(agent_id="trader", title="Pay", metadata=wanted)
    fixed: dict[str, Any] = {"key_id": new_id("key"), "owner": None, "claims": {}}
    change = opening.request(new_id("apr"), given, terms, now=now, **fixed)
    await store.create(change)
    await store.apply(
        change.after.id, Approval, lambda a, at: waiting.reached(a, at) if a else None
    )
    late = Interrupted(store_url)
    late.happening = (lambda: halted(store)) if is_halted else None
    try:
        await advance(late, [change.after.id], ALWAYS)
    finally:
        await late.close()
    ended = await store.get(change.after.id, Approval)
    assert ended
    assert ended.status is (ActionStatus.TIMED_OUT if is_halted else ActionStatus.APPROVED)


async def test_each_halt_stands_in_the_history_and_in_the_trail_of_its_agent(store: Store) -> None:
    def rule(standing: Halts | None, now: datetime) -> Change | None:
        return halt(standing, "agent", "trader", by="operator", reason="Stop.", now=now)

    await store.apply(HALTS_ID, Halts, rule)
    await halted(store)
    await resumed(store)
    history = await store.history(HALTS_ID)
    assert [(line.event, line.actor) for line in history] == [
        ("halted", "operator"),
        ("halted", "reviewer:olga"),
        ("resumed", "reviewer:sam"),
    ]
    standing = await store.get(HALTS_ID, Halts)
    assert standing
    assert_chained(history, standing)
    steps = [step async for some in trail.forward(store) for step in some]
    assert [step.agent_id for step in steps] == ["trader", "", ""]


async def test_where_nothing_was_ever_halted_there_is_no_record(store: Store) -> None:
    (made,) = await submitted(store)
    applied = await store.apply_all(
        [made.id], Action, judged, of=Service.EVALUATOR, given=[HALTS_ID]
    )
    assert applied.changed == {made.id}
    assert await store.get(HALTS_ID, Halts) is None
