"""The tail of the news: what changes in approvals, for those who watch the console."""

from __future__ import annotations

import bisect
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client import Gauge

from safeguards.types import ActionStatus
from safeguards_runtime.headlines.sentence import headline
from safeguards_runtime.records import Approval
from safeguards_runtime.store import Store
from safeguards_runtime.store.encoding import NEWS
from services.gateway.tail import Row, StreamTail, order

EVERYTHING = "*"
"""The one topic of the news."""

RING_LENGTH = 2000
"""How many of the last entries are kept here."""

ENDINGS = frozenset(status.value.lower() for status in ActionStatus if status.is_final)
"""The events by which an approval ends."""

STREAMS = Gauge("safeguards_event_streams", "Streams of events that are open to consoles.")


@dataclass(frozen=True)
class News:
    """That an approval has changed, and as much of it as those who watch are told.

    Attributes:
        cursor: of the entry in the stream.
        event: as in the approval's history: `opened`, `claimed`, `approved`, …
        revision: of the record, after the change.
        version: of what is shown, as it stood a moment after the change.
        status: as it stood a moment after the change.
        sentence: what it asks for.
        groups: who may answer it.
        held_by: the reviewer who has it in hand, or None.
        ended_by: whoever ended it, or None.
        ended_for: the reviewer for whom that one stood in, or None.
    """

    cursor: str
    approval_id: str
    event: str
    revision: int
    version: int
    status: ActionStatus
    sentence: str
    groups: tuple[str, ...]
    held_by: str | None
    ended_by: str | None
    ended_for: str | None

    @property
    def kind(self) -> Literal["opened", "changed", "ended"]:
        """What it is to those who watch a list."""
        if self.event in ENDINGS:
            return "ended"
        return "opened" if self.event == "opened" else "changed"


class NewsTail(StreamTail):
    """Follows the news. What is told of an approval is read once for all who watch."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, NEWS, STREAMS)
        self._ring: deque[News] = deque(maxlen=RING_LENGTH)
        self._positions: deque[tuple[int, int]] = deque(maxlen=RING_LENGTH)
        self._before_ring = (0, 0)

    async def start(self) -> None:
        """Find the stream's end and follow it from there."""
        await super().start()
        self._before_ring = order(self.last)

    async def take(self, rows: list[Row]) -> Iterable[str]:
        """Keep new entries, if anybody watches; they are read from the store else."""
        if not self._waiters:
            self._ring.clear()
            self._positions.clear()
            self._before_ring = order(rows[-1][0].decode())
            return ()
        for news in await self._read(rows):
            if len(self._ring) == RING_LENGTH:
                self._before_ring = self._positions[0]
            self._ring.append(news)
            self._positions.append(order(news.cursor))
        return (EVERYTHING,)

    async def after(self, cursor: str, limit: int) -> tuple[Sequence[News], str, bool]:
        """Return at most `limit` news after `cursor`, the oldest first.

        Returns:
            The news, the cursor to go on from, and whether some were trimmed in between.

        Raises:
            ValueError: `cursor` is none.
        """
        position = order(cursor)
        if position > order(self.last):
            return await self._ahead(cursor)
        if position < self._before_ring:
            return await self._scan(cursor, limit)
        start = bisect.bisect_right(self._positions, position)
        found = [self._ring[at] for at in range(start, min(start + limit, len(self._ring)))]
        return found, found[-1].cursor if len(found) == limit else self.last, False

    async def _ahead(self, cursor: str) -> tuple[Sequence[News], str, bool]:
        """Answer whoever comes from behind what this gateway has followed."""
        newest = await self._store.redis.xrevrange(NEWS, count=1)
        if newest and order(cursor) <= order(newest[0][0].decode()):
            # From another gateway, a moment further on.
            return [], cursor, False
        # Not from this stream: the store has been replaced. Whoever watches must look anew.
        return [], self.last, True

    async def _scan(self, cursor: str, limit: int) -> tuple[list[News], str, bool]:
        """Read from the store what the ring has not."""
        gap = await self.is_trimmed(cursor)
        # Only as far as it has been followed: what comes after is not confirmed.
        last = self.last
        rows = await self._store.redis.xrange(NEWS, f"({cursor}", last, count=limit)
        end = rows[-1][0].decode() if len(rows) == limit else last
        return await self._read(rows), end, gap

    async def _read(self, rows: list[Row]) -> list[News]:
        """Return the entries with what is told of their approvals, without other records'."""
        ids = list(dict.fromkeys(fields[b"i"].decode() for _, fields in rows))
        _, records = await self._store.load(ids)
        told = {
            record.id: (record, headline(record).sentence)
            for record in records
            if isinstance(record, Approval)
        }
        found = []
        for cursor, fields in rows:
            if (known := told.get(fields[b"i"].decode())) is not None:
                event, revision = fields[b"e"].decode(), int(fields[b"r"])
                found.append(_news(cursor.decode(), event, revision, *known))
        return found


def _news(cursor: str, event: str, revision: int, asked: Approval, sentence: str) -> News:
    return News(
        cursor=cursor,
        approval_id=asked.id,
        event=event,
        revision=revision,
        version=asked.version,
        status=asked.status,
        sentence=sentence,
        groups=asked.groups,
        held_by=asked.claim.reviewer_id if asked.claim else None,
        ended_by=asked.outcome.decided_by if asked.outcome else None,
        ended_for=asked.outcome.decided_for if asked.outcome else None,
    )
