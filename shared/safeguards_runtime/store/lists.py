"""The lists of the store: ids in the order of their time or of a number, and plain names.

What they say may be a moment old, and may be lost with a failover: it is looked up, never judged
by. Whoever judges loads the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from safeguards.identifiers import Prefix, earliest_id
from safeguards_runtime.store import encoding
from safeguards_runtime.topology import Service


class Lists:
    """Reads the lists that changes keep (`Record.indexes`, `Record.ranks`, `Change.names`)."""

    def __init__(self, redis: Any) -> None:
        # redis-py types each reply as a union of all that any protocol may answer.
        self.redis: Any = redis

    async def counted(self, index: str) -> int:
        """Return how many records a list has."""
        return int(await self.redis.zcard(encoding.index_key(index)))

    async def counted_between(
        self, index: str, since: datetime, until: datetime | None = None, *, prefix: Prefix = "apr"
    ) -> int:
        """Return how many records of a list were made from `since` until before `until`.

        Args:
            index: of `Record.indexes`.
            since: to the millisecond.
            until: to the millisecond; no end unless given.
            prefix: of the ids in the list.
        """
        start = f"[{earliest_id(prefix, since)}"
        end = f"({earliest_id(prefix, until)}" if until else "+"
        return int(await self.redis.zlexcount(encoding.index_key(index), start, end))

    async def listed(self, index: str, *, before: str | None = None, limit: int = 50) -> list[str]:
        """Return the ids of a list, newest first, from after the id `before`."""
        start = f"({before}" if before else "+"
        key = encoding.index_key(index)
        ids = await self.redis.zrange(
            key,
            start,
            "-",
            desc=True,
            bylex=True,
            offset=0,
            num=limit,
        )
        return [record_id.decode() for record_id in ids]

    async def listed_onward(
        self, index: str, *, after: str = "", until: str = "", limit: int = 500
    ) -> list[str]:
        """Return ids of a list, oldest first, from behind the id `after` to before `until`; from
        the beginning, to the end unless given."""
        ids = await self.redis.zrange(
            encoding.index_key(index),
            f"({after}" if after else "-",
            f"({until}" if until else "+",
            bylex=True,
            offset=0,
            num=limit,
        )
        return [record_id.decode() for record_id in ids]

    async def listed_whole(self, indexes: Sequence[str]) -> list[list[str]]:
        """Return all ids of each of several short lists, oldest first, in one round trip."""
        async with self.redis.pipeline(transaction=False) as pipe:
            for index in indexes:
                pipe.zrange(encoding.index_key(index), 0, -1)
            rows = await pipe.execute()
        return [[record_id.decode() for record_id in ids] for ids in rows]

    async def counted_ranks(self, name: str) -> int:
        """Return how many records a list of `Record.ranks` has."""
        return int(await self.redis.zcard(encoding.rank_key(name)))

    async def ranked(
        self,
        name: str,
        *,
        after: tuple[int, str] | None = None,
        limit: int = 50,
        descending: bool = False,
    ) -> list[tuple[int, str]]:
        """Return a part of a list of `Record.ranks`, in the order of (number, id).

        Args:
            name: of the list.
            after: from behind this (number, id), which need not be in the list any more.
            limit: how many at most.
            descending: the greatest first.

        Returns:
            (number, id) of each.
        """
        start = after[0] if after else ("+inf" if descending else "-inf")
        end = "-inf" if descending else "+inf"
        found: list[tuple[int, str]] = []
        offset = 0
        while len(found) < limit:
            rows = await self.redis.zrange(
                encoding.rank_key(name),
                start,
                end,
                byscore=True,
                desc=descending,
                offset=offset,
                num=limit,
                withscores=True,
            )
            read = [(int(row[1]), row[0].decode()) for row in rows]
            # Those that share the number of `after` and stand before it were shown already.
            found += [
                at for at in read if after is None or (at < after if descending else at > after)
            ]
            if len(read) < limit:
                break
            offset += len(read)
        return found[:limit]

    async def names(
        self, name: str, *, limit: int = 100, offset: int = 0
    ) -> list[tuple[str, datetime]]:
        """Return a part of a list of plain names (`Change.names`), the last seen first.

        Returns:
            Each with when it was last seen, UTC.
        """
        rows = await self.redis.zrange(
            encoding.names_key(name), offset, offset + limit - 1, desc=True, withscores=True
        )
        return [(row[0].decode(), _moment(row[1])) for row in rows]

    async def agenda(self, service: Service, now: datetime) -> tuple[int, int, datetime | None]:
        """Return how many records stand on a service's agenda, how many of them are due by `now`,
        and when the first of all is due, UTC (None if there is none)."""
        key = encoding.agenda_key(service)
        async with self.redis.pipeline(transaction=True) as pipe:
            pipe.zcard(key)
            pipe.zcount(key, "-inf", encoding.milliseconds(now))
            pipe.zrange(key, 0, 0, withscores=True)
            planned, due, first = await pipe.execute()
        return int(planned), int(due), _moment(first[0][1]) if first else None

    async def counted_names(self, name: str) -> int:
        """Return how many names a list has."""
        return int(await self.redis.zcard(encoding.names_key(name)))


def _is_behind(at: tuple[int, str], after: tuple[int, str], descending: bool) -> bool:
    return at < after if descending else at > after


def _moment(milliseconds: float) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
