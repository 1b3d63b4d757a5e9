"""What a server received, and waiting for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Collected(Generic[T]):
    """What a server received, in order; other threads can wait for more."""

    def __init__(self) -> None:
        self._arrived = threading.Condition()
        self._items: list[T] = []

    def add(self, item: T) -> None:
        """Append an item and wake those who wait."""
        with self._arrived:
            self._items.append(item)
            self._arrived.notify_all()

    @property
    def items(self) -> list[T]:
        """A copy of what was received so far."""
        with self._arrived:
            return list(self._items)

    def wait_for(self, predicate: Callable[[T], bool] = lambda _: True, timeout: float = 10) -> T:
        """Return the first item that satisfies `predicate`, waiting up to `timeout` seconds."""
        return self.wait_for_many(1, predicate, timeout)[0]

    def wait_for_many(
        self, count: int, predicate: Callable[[T], bool] = lambda _: True, timeout: float = 10
    ) -> list[T]:
        """Return all items that satisfy `predicate` as soon as there are `count` of them."""

        def found() -> list[T]:
            return [item for item in self._items if predicate(item)]

        with self._arrived:
            if not self._arrived.wait_for(lambda: len(found()) >= count, timeout):
                raise AssertionError(
                    f"{len(found())} of {count} arrived within {timeout} s; all: {self._items!r}"
                )
            return found()
