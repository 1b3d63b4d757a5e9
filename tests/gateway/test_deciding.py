"""What an action counts once it may run is counted as it is decided on, not a moment later."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from datetime import datetime
from typing import Any

import pytest

from deploy.valkey import ValkeyServer
from safeguards.contracts import ActionSubmission, ApprovalSubmission, ResponseSubmission, Verdict
from safeguards.identifiers import new_id
from safeguards_runtime.policy_book import book_of
from safeguards_runtime.records import Action, Approval, Change, action, opening
from safeguards_runtime.records.window import Window
from safeguards_runtime.reloading import Version
from safeguards_runtime.reviewers import Directory
from safeguards_runtime.rules import Rules
from safeguards_runtime.store import Store, StoreBusyError
from services.gateway.approvals import judged
from services.safeguard_evaluator.evaluation import Evaluator
from services.safeguard_evaluator.plugins import Plugins
from tests.runtime.samples import TERMS
from tests.stack import REVIEWERS

DATABASE = 13
POLICIES = {
    "version": 1,
    "approvals": {"default": {"groups": ["reviewers"], "editable": ["amount", "payee"]}},
    "safeguards": {
        "spent": {
            "uses": "spending",
            "config": {"limits": [{"per": "agent", "over": "day", "at_most": "1000.00"}]},
        },
        "known": {"uses": "first_time", "config": {"fields": ["payee"]}},
    },
    "policies": [
        {"name": "pay", "match": {"action_types": ["pay"]}, "safeguards": ["spent"]},
        {"name": "send", "match": {"action_types": ["send"]}, "safeguards": ["known"]},
    ],
}
DIRECTORY = Directory.model_validate(REVIEWERS)
(ALEX,) = (one for one in DIRECTORY.reviewers if one.id == "alex")
ALLOW, ASK = Verdict.ALLOW, Verdict.REQUIRE_APPROVAL


class Fixed:
    """Rules that stay as they are."""

    error: str | None = None
    versions: tuple[Version, ...] = ()
    current = Rules(book_of(POLICIES), DIRECTORY)


class Desk:
    """A store with an evaluator and a gateway, and nobody who closes what was decided unless asked:
    as if all trackers were away."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._evaluator = Evaluator(store, Fixed(), _set_aside, Plugins())

    async def asked(self, action_type: str, **context: Any) -> Action:
        """Submit an action; return it judged, its approval open if it needs one."""
        record = await self.judged(action_type, **context)
        if opened := opening.open_for(record, await self.store.now()):
            await self.store.commit([opened])
        return record

    async def judged(self, action_type: str, **context: Any) -> Action:
        """Submit an action; return it judged."""
        submission = ActionSubmission(agent_id="trader", action_type=action_type, context=context)
        now = await self.store.now()
        change = action.submit(new_id("act"), submission, key_id=new_id("key"), owner=None, now=now)
        await self.store.commit([(change,)])
        await self._evaluator.evaluate([change.after.id])
        return await self.action(change.after.id)

    async def verdict(self, action_type: str, **context: Any) -> Verdict:
        """Submit an action; return the verdict."""
        record = await self.asked(action_type, **context)
        assert record.judgement
        return record.judgement.verdict

    async def answer(
        self, asked: Action, response: str = "approve", *, store: Store | None = None, **more: Any
    ) -> Approval:
        """Answer as Alex."""
        standing = await self.approval(asked)
        body = {"version": standing.version, "digest": standing.digest, "response": response}
        given = ResponseSubmission.model_validate({**body, **more})
        return await judged(store or self.store, standing.id, given, ALEX, "api")

    async def close(self, asked: Action) -> None:
        """Carry the outcome over and settle what it counts, as tracker and evaluator do."""
        outcome = (await self.approval(asked)).outcome
        assert outcome

        def closed(standing: Action | None, now: datetime) -> Change | None:
            return action.close(standing, outcome, now) if standing else None

        await self.store.apply(asked.id, Action, closed)
        await self._evaluator.evaluate([asked.id])
        assert not action.is_to_be_settled(await self.action(asked.id))

    async def action(self, action_id: str) -> Action:
        record = await self.store.get(action_id, Action)
        assert record is not None
        return record

    async def approval(self, asked: Action) -> Approval:
        record = await self.store.get(asked.approval_id, Approval)
        assert record is not None
        return record

    async def spent(self, asked: Action) -> str:
        """Return what stands in the one window in which an action counts."""
        judgement = (await self.action(asked.id)).judgement
        assert judgement
        (entry,) = judgement.reservations
        window = await self.store.get(entry.window_id, Window)
        return str(sum(slot.amount for slot in window.slots.values())) if window else "nothing"


async def _set_aside(publication: bytes, reason: str) -> None:
    raise AssertionError("nothing here is published")


@pytest.fixture
def store_url(store_server: ValkeyServer) -> str:
    return f"{store_server.url.rpartition('/')[0]}/{DATABASE}"


@pytest.fixture
async def desk(store_url: str) -> AsyncIterator[Desk]:
    store = Store(store_url)
    await store.redis.flushdb()
    yield Desk(store)
    await store.close()


async def test_an_approved_amount_counts_before_the_action_is_closed(desk: Desk) -> None:
    """And once only, also when it is closed."""
    large = await desk.asked("pay", amount="1200.00", payee="ACME")
    assert await desk.verdict("pay", amount="300.00", payee="ACME") is ALLOW
    await desk.answer(large)
    assert await desk.verdict("pay", amount="300.00", payee="ACME") is ASK
    before = await desk.spent(large)
    await desk.close(large)
    assert await desk.spent(large) == before


async def test_who_was_approved_is_known_at_once(desk: Desk) -> None:
    first = await desk.asked("send", payee="ACME")
    assert await desk.verdict("send", payee="ACME") is ASK
    await desk.answer(first)
    assert await desk.verdict("send", payee="ACME") is ALLOW
    assert await desk.verdict("send", payee="ACNE") is ASK


@pytest.mark.parametrize("response", ["reject", "ask"])
async def test_what_may_not_run_counts_nothing(desk: Desk, response: str) -> None:
    large = await desk.asked("pay", amount="1200.00", payee="ACME")
    await desk.answer(large, response, comments="What for?")
    assert await desk.spent(large) == "nothing"
    assert await desk.verdict("pay", amount="1000.00", payee="ACME") is ALLOW


async def test_a_repeated_answer_counts_once(desk: Desk) -> None:
    large = await desk.asked("pay", amount="1200.00", payee="ACME")
    answers = await asyncio.gather(*(desk.answer(large) for _ in range(8)))
    assert {one.status for one in answers} == {answers[0].status}
    assert await desk.spent(large) == "1200.00"


async def test_decisions_and_verdicts_at_once_count_each_once(desk: Desk) -> None:
    """In one window, while an evaluator lets small amounts through."""
    large = [await desk.asked("pay", amount="1200.00", payee="ACME") for _ in range(5)]
    deciding = [desk.answer(one) for one in large]
    judging = [desk.verdict("pay", amount="1.00", payee="ACME") for _ in range(20)]
    together: list[Awaitable[Any]] = [*deciding, *judging]
    found = await asyncio.gather(*together)
    # What is asked about has reserved its amount too.
    assert await desk.spent(large[0]) == "6020.00"
    assert {ALLOW, ASK} >= set(found[5:])
    for one in large:
        await desk.close(one)
    assert await desk.spent(large[0]) == "6020.00"


async def test_other_arguments_than_were_judged_count_when_it_is_settled(desk: Desk) -> None:
    """As they were approved; also where nothing could be counted before."""
    large = await desk.asked("pay", amount="1200.00", payee="ACME")
    await desk.answer(large, "modify", modifications={"amount": "600.00"})
    await desk.close(large)
    unreadable = await desk.asked("pay", amount="3e2", payee="ACME")
    assert unreadable.judgement
    assert unreadable.judgement.reservations == ()
    await desk.answer(unreadable, "modify", modifications={"amount": "300.00"})
    await desk.close(unreadable)
    assert await desk.verdict("pay", amount="100.01", payee="ACME") is ASK
    assert await desk.verdict("pay", amount="0.01", payee="ACME") is ASK  # the other still waits


class Crowded(Store):
    """A store in whose windows others keep counting: nothing can be written together with them."""

    async def apply_together(self, ids: Sequence[str], *rule: Any, **options: Any) -> Any:
        if any(one.startswith("win_") for one in ids):
            raise StoreBusyError("the windows keep changing")
        return await super().apply_together(ids, *rule, **options)


async def test_a_decision_does_not_wait_for_a_crowded_window(desk: Desk, store_url: str) -> None:
    """It is written without what it counts; that is counted when it is settled."""
    large = await desk.asked("pay", amount="1200.00", payee="ACME")
    crowded = Crowded(store_url)
    try:
        answered = await desk.answer(large, store=crowded)
    finally:
        await crowded.close()
    assert answered.outcome
    assert answered.outcome.status.allows
    assert await desk.spent(large) == "nothing"
    await desk.close(large)
    assert await desk.spent(large) == "1200.00"


async def test_an_approval_that_was_asked_for_directly_counts_nothing(desk: Desk) -> None:
    """Though there is an action under the id that would be its action's."""
    large = await desk.judged("pay", amount="1200.00", payee="ACME")
    harmless = ApprovalSubmission(agent_id="trader", title="Have lunch", metadata={})
    now = await desk.store.now()
    change = opening.request(
        large.approval_id, harmless, TERMS, key_id=new_id("key"), owner=None, now=now
    )
    await desk.store.commit([(change,)])
    assert (await desk.answer(large)).outcome is not None
    assert await desk.spent(large) == "nothing"
