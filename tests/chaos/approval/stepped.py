"""A store whose time is told, and whose round trips come in an order that was drawn."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import datetime
from typing import Any, TypeVar

from safeguards_runtime.records import Change, Record
from safeguards_runtime.store import Store
from safeguards_runtime.topology import Service
from tests.chaos.approval.model import BASE

T = TypeVar("T")


class Turns:
    """Lets several stores make their round trips one at a time, in an order that was drawn."""

    def __init__(self, order: Sequence[int]) -> None:
        self._order = list(order)
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._stirred = asyncio.Event()

    async def wait(self, number: int) -> None:
        """Wait until it is the turn of the store of this number."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting[number] = turn
        self._stirred.set()
        await turn

    async def gather(self, *running: Coroutine[Any, Any, T]) -> list[T]:
        """Run all to their ends; each moves only when all others wait for their turns."""
        tasks = [asyncio.ensure_future(coroutine) for coroutine in running]
        for task in tasks:
            task.add_done_callback(lambda _: self._stirred.set())
        while left := sum(not task.done() for task in tasks):
            if len(self._waiting) < left:
                self._stirred.clear()
                await self._stirred.wait()
                continue
            drawn = self._order.pop(0) if self._order else 0
            number = sorted(self._waiting)[drawn % left]
            self._waiting.pop(number).set_result(None)
        return [task.result() for task in tasks]


class Withheld(Exception):
    """The process stopped just before its commit."""

    def __init__(self, changes: tuple[Change, ...]) -> None:
        self.changes = changes


class SteppedStore(Store):
    """A store whose clock stands still and which waits for its turn before each round trip.

    Attributes:
        clock: the time that the rules are told.
        turns: who says when it is this store's turn, if anybody does.
        withholds: whether it stops before it writes.
        loses_reply: whether it does not hear that the next commit came about, and so tries again.
        written: all transactions that came about, of all stores of a run.
        writes: how many of them are this store's.
    """

    def __init__(self, url: str, number: int, written: list[tuple[Change, ...]]) -> None:
        super().__init__(url, max_connections=2)
        self.clock = BASE
        self.turns: Turns | None = None
        self.withholds = False
        self.loses_reply = False
        self.written = written
        self.writes = 0
        self._number = number

    async def _turn(self) -> None:
        if self.turns is not None:
            await self.turns.wait(self._number)

    async def load(self, ids: Sequence[str]) -> tuple[datetime, list[Record | None]]:
        """Load as ever, but tell the time that was drawn."""
        await self._turn()
        _, records = await super().load(ids)
        return self.clock, records

    async def commit(self, transactions: Sequence[Sequence[Change]]) -> list[list[Record] | None]:
        """Commit as ever, unless it withholds."""
        if not transactions:
            return []
        await self._turn()
        if self.withholds:
            raise Withheld(tuple(transactions[0]))
        results = await super().commit(transactions)
        for changes, records in zip(transactions, results, strict=True):
            if records is not None:
                self.written.append(tuple(changes))
                self.writes += 1
        if self.loses_reply:
            self.loses_reply = False
            return [None for _ in results]
        return results

    async def _settle(
        self, records: Sequence[Record], missing: Sequence[str], of: Service, now: datetime
    ) -> None:
        await self._turn()
        await super()._settle(records, missing, of, now)
