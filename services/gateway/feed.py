"""The tail of the outcome feed: what agents wait for."""

from __future__ import annotations

import bisect
from collections import deque
from dataclasses import dataclass

import structlog
from prometheus_client import Gauge
from pydantic import BaseModel

from safeguards_runtime.store import Store
from safeguards_runtime.store.encoding import FEED
from services.gateway.tail import SCAN_AT_ONCE, Row, StreamTail, order

log = structlog.get_logger(__name__)

RING_LENGTH = 10_000
"""How many of the last entries are kept here, so that most reads need no round trip."""

EVERY_AGENT = "*"

WAITING = Gauge("safeguards_waiting_requests", "Requests that wait for an outcome (long polls).")


@dataclass(frozen=True)
class Entry:
    """One entry of the feed: `body` is the JSON of an Outcome or a Question."""

    cursor: str
    agent_id: str
    body: str


class _Names(BaseModel):
    """What an entry's body is about."""

    action_id: str | None = None
    approval_id: str | None = None


class FeedTail(StreamTail):
    """Follows the feed, and wakes who waits for an agent's entries, one record's, or all (`*`)."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, FEED, WAITING)
        self._ring: deque[Entry] = deque(maxlen=RING_LENGTH)
        self._positions: deque[tuple[int, int]] = deque(maxlen=RING_LENGTH)
        self._before_ring = (0, 0)

    async def start(self) -> None:
        """Find the feed's end and follow it from there."""
        await super().start()
        self._before_ring = order(self.last)

    async def take(self, rows: list[Row]) -> set[str]:
        """Keep new entries; return whom and what they are about."""
        topics: set[str] = set()
        for cursor, fields in rows:
            try:
                entry = _entry(cursor, fields)
                names = _Names.model_validate_json(entry.body)
            except (KeyError, ValueError) as error:
                log.error("an entry of the feed cannot be read", cursor=cursor, error=str(error))
                continue
            if len(self._ring) == RING_LENGTH:
                self._before_ring = self._positions[0]
            self._ring.append(entry)
            self._positions.append(order(entry.cursor))
            topics |= {entry.agent_id, EVERY_AGENT}
            topics |= {name for name in (names.action_id, names.approval_id) if name}
        return topics

    async def after(
        self, cursor: str, agent_ids: tuple[str, ...], limit: int
    ) -> tuple[list[Entry], str, bool]:
        """Return at most `limit` entries of these agents after `cursor`.

        Returns:
            The entries, the cursor to go on from, and whether entries were trimmed in between.
        """
        position = order(cursor)
        if position > order(self.last):
            # Not from this feed: the store has been replaced. The client must look anew.
            return [], self.last, True
        if position < self._before_ring:
            return await self._scan(cursor, agent_ids, limit)
        start = bisect.bisect_right(self._positions, position)
        found: list[Entry] = []
        for index in range(start, len(self._ring)):
            entry = self._ring[index]
            if EVERY_AGENT in agent_ids or entry.agent_id in agent_ids:
                found.append(entry)
                if len(found) == limit:
                    return found, entry.cursor, False
        return found, self.last, False

    async def _scan(
        self, cursor: str, agent_ids: tuple[str, ...], limit: int
    ) -> tuple[list[Entry], str, bool]:
        """Read from the store what the ring no longer has."""
        gap = await self.is_trimmed(cursor)
        found: list[Entry] = []
        while True:
            # Only as far as it has been followed: what comes after is not confirmed.
            rows = await self._store.redis.xrange(FEED, f"({cursor}", self.last, count=SCAN_AT_ONCE)
            for row_cursor, fields in rows:
                cursor = row_cursor.decode()
                if EVERY_AGENT in agent_ids or fields[b"a"].decode() in agent_ids:
                    found.append(_entry(row_cursor, fields))
                    if len(found) == limit:
                        return found, cursor, gap
            if len(rows) < SCAN_AT_ONCE:
                return found, cursor, gap


def _entry(cursor: bytes, fields: dict[bytes, bytes]) -> Entry:
    return Entry(cursor.decode(), fields[b"a"].decode(), fields[b"d"].decode())
