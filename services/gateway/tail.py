"""The tail of a stream of the store: one connection to it wakes everyone who waits here."""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

import structlog
from prometheus_client import Gauge

from safeguards_runtime.store import Store

log = structlog.get_logger(__name__)

SCAN_AT_ONCE = 1000
BLOCK_MILLISECONDS = 5000

Row = tuple[bytes, dict[bytes, bytes]]
"""An entry of a stream: its id and its fields."""


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


class StreamTail(ABC):
    """Follows a stream from its end, and wakes who waits for one of its topics.

    A waiter that misses nothing: it subscribes first, then looks at what is there, then waits.

    Args:
        store: where the stream is.
        stream: its key.
        waiting: shows how many wait.
    """

    def __init__(self, store: Store, stream: str, waiting: Gauge) -> None:
        self._store = store
        self._stream = stream
        self._waiting = waiting
        self._waiters: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._following: asyncio.Task[None] | None = None
        self._releasing = False
        self.last = "0-0"
        """The cursor up to which it has been followed."""

    @abstractmethod
    async def take(self, rows: list[Row]) -> Iterable[str]:
        """Take over new entries, the oldest first; return the topics whose waiters are woken."""

    async def start(self) -> None:
        """Find the stream's end and follow it from there."""
        async with self._store.redis.pipeline(transaction=False) as pipe:
            pipe.xrevrange(self._stream, count=1)
            (newest,) = await self._store.confirmed(pipe)
        if newest:
            self.last = newest[0][0].decode()
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
                    pipe.xread(
                        {self._stream: self.last}, count=SCAN_AT_ONCE, block=BLOCK_MILLISECONDS
                    )
                    (replies,) = await self._store.confirmed(pipe)
                rows = _rows(replies)
                topics = await self.take(rows) if rows else ()
            except Exception as error:  # whatever it is, everyone here waits for this
                log.warning("a stream cannot be followed", stream=self._stream, error=repr(error))
                await asyncio.sleep(0.2)
                continue
            if rows:
                self.last = rows[-1][0].decode()
            for topic in topics:
                for event in self._waiters.get(topic, ()):
                    event.set()

    @contextlib.contextmanager
    def subscribed(self, topics: Iterable[str]) -> Iterator[asyncio.Event]:
        """Give an event that is set when an entry comes for any of the topics."""
        event = asyncio.Event()
        wanted = list(topics)
        for topic in wanted:
            self._waiters[topic].add(event)
        self._waiting.inc()
        try:
            yield event
        finally:
            self._waiting.dec()
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

    @property
    def is_releasing(self) -> bool:
        """Whether the gateway is about to stop."""
        return self._releasing

    async def is_trimmed(self, cursor: str) -> bool:
        """Tell whether entries after `cursor` are no longer kept."""
        oldest = await self._store.redis.xrange(self._stream, count=1)
        if not oldest:
            return True
        if order(cursor) > (0, 0):
            return order(oldest[0][0].decode()) > order(cursor)
        stream = await self._store.redis.xinfo_stream(self._stream)
        return bool(stream["entries-added"] > stream["length"])


def _rows(replies: Any) -> list[Row]:
    """Return the rows of an XREAD reply, whose shape depends on the protocol."""
    if not replies:
        return []
    rows: Any = next(iter(replies.values())) if isinstance(replies, dict) else replies[0][1]
    while rows and isinstance(rows[0], list):
        rows = rows[0]
    return list(rows)
