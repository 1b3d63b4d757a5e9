"""What waits for a safeguard of one's own that hangs, and what does not wait with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from deploy.valkey import ValkeyServer
from safeguards.contracts import (
    ActionSubmission,
    AnswerSubmission,
    ResponseSubmission,
    Verdict,
)
from safeguards.identifiers import new_id
from safeguards_runtime.policy_book import book_of
from safeguards_runtime.records import Action, Approval, Change, opening
from safeguards_runtime.records import action as action_rules
from safeguards_runtime.records import approval as approval_rules
from safeguards_runtime.records.judgement import Judgement
from safeguards_runtime.reloading import Version
from safeguards_runtime.reviewers import Directory
from safeguards_runtime.rules import Rules
from safeguards_runtime.safeguard_kinds import KINDS
from safeguards_runtime.store import Store
from services.safeguard_evaluator.evaluation import WAITING_AT_MOST, Evaluator
from services.safeguard_evaluator.plugins import Plugins
from tests import installing, misbehaving_safeguards
from tests.runtime.samples import TERMS
from tests.stack import REVIEWERS

DATABASE = 12

POLICIES = {
    "version": 1,
    "approvals": {"default": {"groups": ["reviewers"]}},
    "safeguards": {
        "slow": {"uses": "misbehaving", "time_limit_seconds": 10},
        "quick": {"uses": "misbehaving", "time_limit_seconds": 10, "config": {"named": "quick"}},
    },
    "policies": [
        {"name": "slow", "match": {"action_types": ["be_slow"]}, "safeguards": ["slow"]},
        {"name": "quick", "match": {"action_types": ["be_quick"]}, "safeguards": ["quick"]},
    ],
}


class Fixed:
    """Rules that stay as they are."""

    error: str | None = None
    versions: tuple[Version, ...] = ()

    def __init__(self) -> None:
        self.current = Rules(book_of(POLICIES), Directory.model_validate(REVIEWERS))


async def _set_aside(publication: bytes, reason: str) -> None:
    raise AssertionError("nothing here is published")


@pytest.fixture
async def store(store_server: ValkeyServer) -> AsyncIterator[Store]:
    """An empty store."""
    made = Store(f"{store_server.url.rpartition('/')[0]}/{DATABASE}")
    await made.redis.flushdb()
    yield made
    await made.close()


@pytest.fixture
async def evaluator(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Evaluator]:
    """An evaluator whose quick safeguard has started, so that only the slow one takes time."""
    kinds = misbehaving_safeguards.KINDS
    folder = installing.register(tmp_path / "packages", "misbehaving", group=KINDS.group, **kinds)
    monkeypatch.syspath_prepend(folder)
    plugins = Plugins()
    made = Evaluator(store, Fixed(), _set_aside, plugins)
    (first,) = await submitted(store, 1, "be_quick")
    await made.evaluate([first])
    await until(partial(is_judged, store, first))
    before = asyncio.all_tasks()
    yield made
    for task in asyncio.all_tasks() - before - {asyncio.current_task()}:
        task.cancel()
    await plugins.aclose()


async def submitted(store: Store, number: int, action_type: str, **context: Any) -> list[str]:
    """Write so many actions that wait for their verdict; return their ids."""
    now, key_id = await store.now(), new_id("key")
    submission = ActionSubmission(agent_id="trader", action_type=action_type, context=context)
    changes = [
        action_rules.submit(new_id("act"), submission, key_id=key_id, owner=None, now=now)
        for _ in range(number)
    ]
    await store.commit([(change,) for change in changes])
    return [change.after.id for change in changes]


async def amended(store: Store, action_type: str, **context: Any) -> str:
    """Write an approval whose agent has changed its arguments; return its id."""
    (action_id,) = await submitted(store, 1, action_type)

    def judge(standing: Action | None, now: datetime) -> Change | None:
        assert standing
        found = Judgement(verdict=Verdict.REQUIRE_APPROVAL, terms=TERMS)
        return action_rules.judge(standing, found, now)

    judged = await store.apply(action_id, Action, judge)
    assert judged
    opened = opening.open_for(judged, await store.now())
    assert opened
    await store.commit([opened])

    def question(standing: Approval | None, now: datetime) -> Change | None:
        assert standing
        shown = {"version": standing.version, "digest": standing.digest}
        asks = ResponseSubmission.model_validate({**shown, "response": "ask", "comments": "Why?"})
        return approval_rules.respond(
            standing, asks, reviewer_id="alex", groups=frozenset({"reviewers"}), via="api", now=now
        )

    def answer(standing: Approval | None, now: datetime) -> Change | None:
        assert standing
        given = AnswerSubmission(answer="Then so.", context=context)
        return approval_rules.answer(standing, given, now)

    for rule in (question, answer):
        await store.apply(judged.approval_id, Approval, rule)
    return judged.approval_id


async def until(is_done: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await is_done():  # noqa: ASYNC110 - the store tells nobody
            await asyncio.sleep(0.01)


async def is_judged(store: Store, action_id: str) -> bool:
    record = await store.get(action_id, Action)
    assert record is not None
    return record.judgement is not None


async def is_settled(store: Store, approval_id: str) -> bool:
    """Tell whether the new arguments of an approval have been judged."""
    record = await store.get(approval_id, Approval)
    assert record is not None
    return record.amendment is None


async def test_those_that_wait_for_one_that_hangs_leave_room_for_others(
    evaluator: Evaluator, store: Store
) -> None:
    waiting = await submitted(store, WAITING_AT_MOST + 1, "be_slow", do="hang")
    await evaluator.evaluate(waiting)
    (other,) = await submitted(store, 1, "be_quick")
    await evaluator.evaluate([other])
    await until(partial(is_judged, store, other))
    assert not await is_judged(store, waiting[0])
    record = await store.get(other, Action)
    assert record
    assert record.judgement
    assert record.judgement.verdict is Verdict.ALLOW


async def test_new_arguments_that_hang_hold_up_no_others(
    evaluator: Evaluator, store: Store
) -> None:
    slow = await amended(store, "be_slow", do="hang")
    others = [await amended(store, kind, do="pass") for kind in ("be_quick", "be_plain")]
    await evaluator.evaluate([slow, *others])
    for other in others:
        await until(partial(is_settled, store, other))
    assert not await is_settled(store, slow)
