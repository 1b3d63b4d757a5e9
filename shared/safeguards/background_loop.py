"""One event loop on a daemon thread, for synchronous callers of asynchronous code."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_CLOSE_TIMEOUT_SECONDS = 5.0


class BackgroundLoop:
    """A lazily started event loop on a daemon thread; a forked child gets a new one."""

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The running loop; the first use starts it."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="safeguards-loop", daemon=True
                )
                self._thread.start()
            return self._loop

    def submit(self, coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start `coroutine` on the loop; cancelling the future cancels it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Return the result of `coroutine`, waiting at most `timeout` seconds (None: for ever).

        Raises:
            TimeoutError: if it took longer; it is cancelled.
            RuntimeError: if called on the loop's own thread, which would wait for itself.
        """
        if threading.current_thread() is self._thread:
            coroutine.close()
            raise RuntimeError("this runs on the background loop: await the coroutine instead")
        future = self.submit(coroutine)
        try:
            return future.result(timeout)
        except BaseException:
            future.cancel()
            raise


_background = BackgroundLoop()


def run(coroutine: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
    """Run `coroutine` on the process's shared loop. See `BackgroundLoop.run`."""
    return _background.run(coroutine, timeout)


def submit(coroutine: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
    """Start `coroutine` on the process's shared loop. See `BackgroundLoop.submit`."""
    return _background.submit(coroutine)


class PerLoop(Generic[T]):
    """Something bound to an event loop, such as a connection pool: one for each loop that asks.

    Args:
        make: called on the loop on which the thing is first used.
        close: closes one, on the loop it belongs to.
    """

    def __init__(self, make: Callable[[], T], close: Callable[[T], Awaitable[None]]) -> None:
        self._make = make
        self._close = close
        self._lock = threading.Lock()
        self._made: dict[asyncio.AbstractEventLoop, T] = {}
        self._inherited: list[object] = []
        self._process_id = os.getpid()

    def get(self) -> T:
        """Return the running loop's own."""
        loop = asyncio.get_running_loop()
        self._leave_the_parents()
        with self._lock:
            if loop not in self._made:
                # Loops come and go, as with asyncio.run: those that are closed are forgotten.
                self._made = {known: v for known, v in self._made.items() if not known.is_closed()}
                self._made[loop] = self._make()
            return self._made[loop]

    async def aclose(self) -> None:
        """Close the running loop's own, if there is one."""
        self._leave_the_parents()
        with self._lock:
            mine = self._made.pop(asyncio.get_running_loop(), None)
        if mine is not None:
            await self._close(mine)

    def close_all(self) -> None:
        """Close every loop's, each on its own loop, waiting at most five seconds for each."""
        self._leave_the_parents()
        with self._lock:
            made, self._made = self._made, {}
        for loop, thing in made.items():
            if loop.is_running():
                closing = asyncio.run_coroutine_threadsafe(self._closed(thing), loop)
                # On its own thread, the loop closes it as soon as the caller lets it.
                if _running_here() is not loop:
                    with contextlib.suppress(Exception):
                        closing.result(_CLOSE_TIMEOUT_SECONDS)
            elif not loop.is_closed() and _running_here() is None:
                loop.run_until_complete(self._closed(thing))

    async def _closed(self, thing: T) -> None:
        await self._close(thing)

    def _leave_the_parents(self) -> None:
        # After a fork the parent still uses these sockets: they are kept, never touched.
        if self._process_id != os.getpid():
            self._inherited.append(self._made)
            self._lock = threading.Lock()
            self._made = {}
            self._process_id = os.getpid()


def _running_here() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
