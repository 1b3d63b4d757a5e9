"""What agents have done: figures of the last 30 days, and the latest of what they wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from safeguards.contracts import Outcome, Verdict
from safeguards.types import ActionStatus
from safeguards_runtime.headlines.sentence import headline
from safeguards_runtime.records import Action, Approval, approval
from safeguards_runtime.store import Store
from services.gateway.console.people import ending
from services.gateway.parts import Parts

DAYS = 30

COUNTED: tuple[ActionStatus | None, ...] = (
    None,
    ActionStatus.APPROVED,
    ActionStatus.MODIFIED,
    ActionStatus.REJECTED,
    ActionStatus.TIMED_OUT,
)
"""What is counted of an agent's requests: all, and how they ended."""


@dataclass(frozen=True)
class Wanted:
    """Something an agent wanted: an action, or a question to people that it put itself.

    Attributes:
        sentence: what, in words of ours.
        approval_id: what people were asked; None if nobody was.
        words: what became of it, and by whom.
        is_granted: whether a grant let it through.
    """

    record_id: str
    at: datetime
    sentence: str
    status: ActionStatus
    approval_id: str | None
    words: str
    is_granted: bool = False


async def figures(store: Store, agent_ids: Sequence[str], now: datetime) -> list[tuple[int, ...]]:
    """Return how many requests of the last 30 days each agent has put, by `COUNTED`."""
    since = now - timedelta(days=DAYS)
    counts = await asyncio.gather(
        *(
            store.counted_between(approval.index(agent_id, status), since)
            for agent_id in agent_ids
            for status in COUNTED
        )
    )
    width = len(COUNTED)
    return [tuple(counts[n * width : (n + 1) * width]) for n in range(len(agent_ids))]


async def latest(gateway: Parts, agent_id: str, limit: int) -> list[Wanted]:
    """Return what an agent wanted last, the newest first."""
    store = gateway.store
    actions = await store.listed(f"actions:agent:{agent_id}", limit=limit)
    asked = await store.listed(approval.index(agent_id, None), limit=limit)
    _, records = await store.load([*actions, *asked])
    wanted = [_of_action(r, gateway) for r in records if isinstance(r, Action)]
    wanted += [
        _of_approval(r, gateway) for r in records if isinstance(r, Approval) and r.action_id is None
    ]
    return sorted(wanted, key=lambda one: one.at, reverse=True)[:limit]


def _of_action(action: Action, gateway: Parts) -> Wanted:
    judged = action.judgement
    asked = judged is not None and judged.verdict is Verdict.REQUIRE_APPROVAL
    words = _became(action.outcome, gateway) if judged else "Being judged"
    given = judged.grant if judged else None
    if given is not None:
        words = f"Permitted by a grant of {given.giver}, use {given.number} of {given.of}"
    return Wanted(
        record_id=action.id,
        at=action.created_at,
        sentence=headline(action).sentence,
        status=action.status,
        approval_id=action.approval_id if asked else None,
        words=words,
        is_granted=given is not None,
    )


def _of_approval(asked: Approval, gateway: Parts) -> Wanted:
    return Wanted(
        record_id=asked.id,
        at=asked.created_at,
        sentence=headline(asked).sentence,
        status=asked.status,
        approval_id=asked.id,
        words=_became(asked.outcome, gateway),
    )


def _became(outcome: Outcome | None, gateway: Parts) -> str:
    if outcome is None:
        return "Waiting for people"
    return ending(gateway, outcome.status, outcome.decided_by, outcome.decided_for)
