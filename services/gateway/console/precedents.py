"""What became of an agent's requests before: how many of the last 30 days, and the likes of one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from safeguards.types import ActionStatus
from safeguards_runtime.records import Action, Approval, approval
from safeguards_runtime.store import Store
from services.gateway.console.listing import Reader

MONTH = timedelta(days=30)
LIKES_SHOWN = 5


@dataclass(frozen=True)
class Month:
    """How many requests of an agent were made within 30 days, and how they ended."""

    asked: int
    approved: int
    changed: int
    rejected: int
    timed_out: int
    withdrawn: int
    waiting: int


async def month(store: Store, agent_id: str, now: datetime) -> Month:
    """Return how an agent's requests of the last 30 days ended."""
    since = now - MONTH
    wanted = (
        None,
        ActionStatus.APPROVED,
        ActionStatus.MODIFIED,
        ActionStatus.REJECTED,
        ActionStatus.TIMED_OUT,
        ActionStatus.CANCELLED,
        ActionStatus.PENDING,
    )
    lists = [approval.index(agent_id, status) for status in wanted]
    return Month(*await asyncio.gather(*(store.counted_between(name, since) for name in lists)))


@dataclass(frozen=True)
class Likes:
    """What was asked before, the latest first.

    Attributes:
        shown: what the reader may read of it.
        of_others: how much of it they may not read.
    """

    shown: tuple[Approval, ...]
    of_others: int


async def likes(store: Store, asked: Approval, reader: Reader) -> Likes:
    """Return what the same agent has asked of the same type, the last five that have ended."""
    name = approval.like_rank(asked.agent_id, asked.action_type)
    found = await store.ranked(name, limit=LIKES_SHOWN + 1, descending=True)
    ids = [record_id for _, record_id in found if record_id != asked.id][:LIKES_SHOWN]
    _, records = await store.load(ids)
    return readable([one for one in records if isinstance(one, Approval)], reader)


def readable(found: Sequence[Approval], reader: Reader) -> Likes:
    """Return what of it somebody may read."""
    shown = tuple(one for one in found if reader.may_read(one.groups))
    return Likes(shown, len(found) - len(shown))


def is_readable(one: Action, reader: Reader) -> bool:
    """Tell whether somebody may read an action that a permission let through: they are among those
    who would have been asked."""
    return one.judgement is not None and reader.may_read(one.judgement.terms.groups)
