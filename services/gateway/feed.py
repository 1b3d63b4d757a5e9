"""The tail of the outcome feed: one connection to the store wakes everyone who waits here."""

from __future__ import annotations

import asyncio
import bisect
import contextlib
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import structlog
from prometheus_client import Gauge
from pydantic import BaseModel

from safeguards_runtime.store import Store
from safeguards_runtime.store.encoding import FEED

log = structlog.get_logger(__name__)

RING_LENGTH = 10_000
"""How many of the last entries are kept here, so that most reads need no round trip."""

SCAN_AT_ONCE = 1000
BLOCK_MILLISECONDS = 5000

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


def order(cursor: str) -> tuple[int, int]:
    """Return the position of a cursor (a stream id, `milliseconds-sequence`).

    Raises:
        ValueError: if it is none.
    """
    milliseconds, _, sequence = cursor.partition("-")
    if not (milliseconds.isdecimal() and sequence.isdecimal() and cursor.isascii()):
        raise ValueError("a cursor looks like 1700000000000-0")
    if max(len(milliseconds), len(sequence)) > 19:
        raise ValueError("a cursor looks like 1700000000000-0")
    return int(milliseconds), int(sequence)


class FeedTail:
    """Follows the feed, and wakes who waits for an agent's entries or for one record.

    A waiter that misses nothing: it subscribes first, then looks at what is there, then waits.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ring: deque[Entry] = deque(maxlen=RING_LENGTH)
        self._positions: deque[tuple[int, int]] = deque(maxlen=RING_LENGTH)
        self._before_ring = (0, 0)
        self._waiters: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._following: asyncio.Task[None] | None = None
        self._releasing = False
        self.last = "0-0"

    async def start(self) -> None:
        """Find the feed's end and follow it from there."""
        async with self._store.redis.pipeline(transaction=False) as pipe:
            pipe.xrevrange(FEED, count=1)
            (newest,) = await self._store.confirmed(pipe)
        if newest:
            self.last = newest[0][0].decode()
        self._before_ring = order(self.last)
        self._following = asyncio.get_running_loop().create_task(self._follow())

    def release(self) -> None:
        """Let everyone go who waits: the gateway is about to stop."""
        self._releasing = True
        for events in self._waiters.values():
            for event in events:
                event.set()

    async def stop(self) -> None:
        """Stop following."""
        self.release()
        # More than once: while it is still connecting, the client library swallows one.
        while self._following is not None and not self._following.done():
            self._following.cancel()
            await asyncio.wait([self._following], timeout=0.05)

    async def _follow(self) -> None:
        while not self._releasing:
            try:
                # Nobody hears what a failover could undo.
                async with self._store.redis.pipeline(transaction=False) as pipe:
                    pipe.xread({FEED: self.last}, count=SCAN_AT_ONCE, block=BLOCK_MILLISECONDS)
                    (replies,) = await self._store.confirmed(pipe)
            except Exception as error:  # whatever it is, everyone here waits for this
                log.warning("the feed cannot be followed", error=repr(error))
                await asyncio.sleep(0.2)
                continue
            self._take(_rows(replies))

    def _take(self, rows: list[tuple[bytes, dict[bytes, bytes]]]) -> None:
        topics: set[str] = set()
        for cursor, fields in rows:
            self.last = cursor.decode()
            try:
                entry = _entry(cursor, fields)
                names = _Names.model_validate_json(entry.body)
            except (KeyError, ValueError) as error:
                log.error("an entry of the feed cannot be read", cursor=self.last, error=str(error))
                continue
            if len(self._ring) == RING_LENGTH:
                self._before_ring = self._positions[0]
            self._ring.append(entry)
            self._positions.append(order(entry.cursor))
            topics |= {entry.agent_id, EVERY_AGENT}
            topics |= {name for name in (names.action_id, names.approval_id) if name}
        for topic in topics:
            for event in self._waiters.get(topic, ()):
                event.set()

    @contextlib.contextmanager
    def subscribed(self, topics: Iterable[str]) -> Iterator[asyncio.Event]:
        """Give an event that is set when an entry comes for any topic: an agent, a record, `*`."""
        event = asyncio.Event()
        wanted = list(topics)
        for topic in wanted:
            self._waiters[topic].add(event)
        WAITING.inc()
        try:
            yield event
        finally:
            WAITING.dec()
            for topic in wanted:
                self._waiters[topic].discard(event)
                if not self._waiters[topic]:
                    del self._waiters[topic]

    async def more(self, heard: asyncio.Event, deadline: float) -> bool:
        """Wait until something is heard.

        Args:
            heard: from `subscribed`; it is cleared.
            deadline: on the event loop's clock, in seconds.

        Returns:
            False when the time is up, or the gateway is about to stop.
        """
        if self._releasing or deadline <= asyncio.get_running_loop().time():
            return False
        try:
            async with asyncio.timeout_at(deadline):
                await heard.wait()
        except TimeoutError:
            return False
        heard.clear()
        return not self._releasing

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
        gap = await self._is_trimmed(cursor)
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

    async def _is_trimmed(self, cursor: str) -> bool:
        """Tell whether entries after `cursor` are no longer kept."""
        oldest = await self._store.redis.xrange(FEED, count=1)
        if not oldest:
            return True
        if order(cursor) > (0, 0):
            return order(oldest[0][0].decode()) > order(cursor)
        feed = await self._store.redis.xinfo_stream(FEED)
        return bool(feed["entries-added"] > feed["length"])


def _entry(cursor: bytes, fields: dict[bytes, bytes]) -> Entry:
    return Entry(cursor.decode(), fields[b"a"].decode(), fields[b"d"].decode())


def _rows(replies: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Return the rows of an XREAD reply, whose shape depends on the protocol."""
    if not replies:
        return []
    rows: Any = next(iter(replies.values())) if isinstance(replies, dict) else replies[0][1]
    while rows and isinstance(rows[0], list):
        rows = rows[0]
    return list(rows)
