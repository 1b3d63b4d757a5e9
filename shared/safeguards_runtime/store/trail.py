"""The trail: every line of every record's history, in the order in which they were written.

A line itself stands with its record; the trail says where each is, so that all that happened
between two moments is read without looking through all records.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from safeguards.contracts import HistoryView
from safeguards_runtime.records.chain import first_break
from safeguards_runtime.store import Store, encoding

LATE = timedelta(minutes=5)
"""How long after its own time a line may be written: a change is judged, then committed."""

_BATCH = 500


@dataclass(frozen=True)
class Step:
    """One line of the trail.

    Attributes:
        position: where it is in the trail; rises.
        record_id: whose history has it.
        sequence: which line of that history it is, from 1.
        agent_id: the agent whom the line concerns; empty if it is none.
    """

    position: str
    record_id: str
    sequence: int
    agent_id: str


async def backward(
    store: Store,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    before: str | None = None,
) -> AsyncIterator[list[Step]]:
    """Yield the steps of a time, the latest first, in lists of at most 500.

    Args:
        since: the first moment; from the beginning unless given.
        until: the first moment that is not meant; to the end unless given.
        before: the position behind which to go on.
    """
    end = f"({before}" if before else _upper(until)
    while True:
        rows = await store.redis.xrevrange(encoding.TRAIL, end, _lower(since), count=_BATCH)
        if rows:
            yield [_step(*row) for row in rows]
        if len(rows) < _BATCH:
            return
        end = f"({rows[-1][0].decode()}"


async def forward(
    store: Store, *, since: datetime | None = None, until: datetime | None = None
) -> AsyncIterator[list[Step]]:
    """Yield the steps of a time as `backward` does, the earliest first."""
    start = _lower(since)
    while True:
        rows = await store.redis.xrange(encoding.TRAIL, start, _upper(until), count=_BATCH)
        if rows:
            yield [_step(*row) for row in rows]
        if len(rows) < _BATCH:
            return
        start = f"({rows[-1][0].decode()}"


async def lines(store: Store, steps: Sequence[Step]) -> list[HistoryView]:
    """Return the line of each step."""
    async with store.redis.pipeline(transaction=False) as pipe:
        for step in steps:
            pipe.hget(encoding.record_key(step.record_id), f"h{step.sequence}")
        found = await pipe.execute()
    return [HistoryView.model_validate_json(line) for line in found]


async def breaks(store: Store, record_ids: Sequence[str]) -> dict[str, int | None]:
    """Check the chain of each record's history (`records.chain.first_break`).

    Returns:
        For each the number of the first line that is not as it was written; None if all are.
    """
    async with store.redis.pipeline(transaction=False) as pipe:
        for record_id in record_ids:
            pipe.hgetall(encoding.record_key(record_id))
        found = await pipe.execute()
    checked: dict[str, int | None] = {}
    for record_id, fields in zip(record_ids, found, strict=True):
        record = encoding.decode(record_id, fields.get(b"r"), fields.get(b"b"))
        written = [value for name, value in fields.items() if name.startswith(b"h")]
        history = [HistoryView.model_validate_json(value) for value in written]
        checked[record_id] = first_break(history, record)
    return checked


def _step(position: bytes, fields: dict[bytes, bytes]) -> Step:
    return Step(
        position=position.decode(),
        record_id=fields[b"i"].decode(),
        sequence=int(fields[b"r"]),
        agent_id=fields[b"a"].decode(),
    )


def _lower(since: datetime | None) -> str:
    return str(encoding.milliseconds(since)) if since else "-"


def _upper(until: datetime | None) -> str:
    return str(encoding.milliseconds(until + LATE)) if until else "+"
