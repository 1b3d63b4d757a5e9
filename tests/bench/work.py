"""Work for the services, written to the store by the project's own rules."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import cast

from safeguards.contracts import ActionSubmission, ApprovalSubmission
from safeguards.identifiers import new_id
from safeguards.types import AlertSeverity
from safeguards_runtime.records import Action, Approval, Change, Delivery, Record, opening
from safeguards_runtime.records import action as action_rules
from safeguards_runtime.records.terms import Terms
from safeguards_runtime.reviewers import Directory
from safeguards_runtime.store import Store
from safeguards_runtime.store.encoding import agenda_key
from safeguards_runtime.topology import HINT_GRACE_SECONDS, Service
from services.notifier.planning import plan
from services.notifier.routing import Route, World
from tests.bench.measurement import until
from tests.bench.sides import AGENT_ID, CONTEXT, TITLE
from tests.stack import REVIEWERS

ALLOWED = {"amount": "250.00", "description": "Office supplies"}
"""The context of a transaction that the shipped policy allows, after its safeguard has looked."""

KEY_ID = new_id("key")
AT_ONCE = 250

ROUTES = {
    "webhook": Route("webhook", "webhook", "place", "programs", False, AlertSeverity.INFO),
    "slow": Route("slow", "webhook", "place", "programs", False, AlertSeverity.INFO),
    "slack": Route("slack", "slack", "place", "people", False, AlertSeverity.INFO),
    "email": Route("email", "email", "person", "people", False, AlertSeverity.INFO),
}
DIRECTORY = Directory.model_validate(REVIEWERS)


async def deliveries(store: Store, number: int, channel: str) -> list[str]:
    """Plan `number` deliveries (or a few more) of approvals just asked for; return their ids.

    Returns at the very moment at which they were planned, as it stands in their records: from then
    on the agenda gives the hints five seconds before it repeats them, as it does in life.
    """
    while True:
        planned_at, planned = await _planned(store, number, channel)
        if await _in_time(store, planned_at):
            return planned
        await told(store)


async def _planned(store: Store, number: int, channel: str) -> tuple[datetime, list[str]]:
    planned_at = await _soon(store, number)
    planned: list[str] = []
    while len(planned) < number:
        several = range(min(AT_ONCE, number - len(planned)))
        asked = await _commit(store, [(request(channel, planned_at),) for _ in several])
        world = World(ROUTES, DIRECTORY, planned_at)
        plans = [plan(cast(Approval, record), world) for record in asked]
        written = await store.commit([changes for changes in plans if changes])
        for records in written:
            planned += [record.id for record in records or () if isinstance(record, Delivery)]
    return planned_at, planned


async def actions(store: Store, number: int) -> list[str]:
    """Write `number` actions that wait for their verdict; return their ids.

    As `deliveries`, it returns at the moment at which they were submitted by their records.
    """
    while True:
        submitted_at, submitted = await _submitted(store, number)
        if await _in_time(store, submitted_at):
            return submitted
        await judged(store)


async def _submitted(store: Store, number: int) -> tuple[datetime, list[str]]:
    submitted_at = await _soon(store, number)
    submission = ActionSubmission(agent_id=AGENT_ID, action_type="transaction", context=ALLOWED)
    written: list[str] = []
    while len(written) < number:
        changes = [
            action_rules.submit(
                new_id("act"), submission, key_id=KEY_ID, owner=None, now=submitted_at
            )
            for _ in range(min(AT_ONCE, number - len(written)))
        ]
        written += [record.id for record in await _commit(store, [(each,) for each in changes])]
    return submitted_at, written


def request(channel: str, now: datetime) -> Change:
    """Ask for an approval of which reviewers are told through one channel."""
    submission = ApprovalSubmission(agent_id=AGENT_ID, title=TITLE, metadata=CONTEXT)
    terms = Terms(
        groups=("reviewers",),
        channels=(channel,),
        timeout_seconds=3600,
        on_timeout="reject",
        editable=("*",),
    )
    return opening.request(new_id("apr"), submission, terms, key_id=KEY_ID, owner=None, now=now)


async def _commit(store: Store, transactions: Sequence[Sequence[Change]]) -> list[Record]:
    """Write new records; return them as stored."""
    written = await store.commit(transactions)
    return [record for records in written for record in records or ()]


async def _soon(store: Store, number: int) -> datetime:
    """Return a moment by which `number` records will have been written."""
    return await store.now() + timedelta(seconds=0.1 + 0.002 * number)


async def _in_time(store: Store, moment: datetime) -> bool:
    """Wait for a moment; False if it was so long ago that the agenda has sent hints itself."""
    left = (moment - await store.now()).total_seconds()
    await asyncio.sleep(max(0.0, left))
    return left > -HINT_GRACE_SECONDS


async def all_allowed(store: Store, ids: Sequence[str]) -> bool:
    """Tell whether each of these actions was allowed."""
    _, records = await store.load(ids)
    return all(
        isinstance(record, Action) and record.outcome is not None and record.outcome.status.allows
        for record in records
    )


async def told(store: Store) -> float:
    """Wait until nothing is left for the notifier to do; return how many seconds that took."""
    return await _nothing_left(store, Service.NOTIFIER)


async def judged(store: Store) -> float:
    """Wait until nothing is left for the evaluator to do; return how many seconds that took."""
    return await _nothing_left(store, Service.EVALUATOR)


async def _nothing_left(store: Store, service: Service) -> float:
    async def is_empty() -> bool:
        return not await store.redis.zcard(agenda_key(service))

    begun_at = time.perf_counter()
    await until(is_empty, f"nothing is left for the {service}")
    return time.perf_counter() - begun_at
