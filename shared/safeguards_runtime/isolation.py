"""Safeguards of one's own, each in a process of its own: one that hangs holds up nobody else.

Why no pool of a library: those pickle what a plugin returns, notice that it hangs by polling, and
count the start of the interpreter as part of the first check. A process that is spoken to in lines
of JSON over its pipes is ended by a signal, and ends by itself when the pipes are closed.

A process has a copy neither of the worker's memory, as a fork would, nor of its environment: it
sees no `SAFEGUARDS_…` setting. What it prints is thrown away.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any
from weakref import WeakValueDictionary

import structlog
import yaml

from safeguards import background_loop
from safeguards.background_loop import PerLoop
from safeguards.errors import ConfigurationError
from safeguards.text import visible
from safeguards.types import SafetyAlert
from safeguards_runtime.isolated_process import Answer, IsolatedError, IsolatedProcess, LostError
from safeguards_runtime.isolation_outages import Outages

log = structlog.get_logger(__name__)

TIME_LIMIT_SECONDS = 1.0
"""How long a safeguard may take to judge an action unless the policy file says otherwise."""

MAX_TIME_LIMIT_SECONDS = 10.0

READY_SECONDS = 10.0
"""How long a process may take to start and to load its safeguard. No check's time counts it."""

MAX_WAIT = 2
"""How many time limits a check waits at most for those before it."""

LOADED_AT_ONCE = 4
"""How many processes are started at a time to see whether policies can be loaded."""


class IsolatedTimeoutError(IsolatedError, TimeoutError):
    """A safeguard did not answer within its time limit."""


class Isolated:
    """A safeguard in a process of its own, as the services use it.

    The process starts with the first check, and anew when it was lost. Checks come one after the
    other, those of several agents by turns. After three lost processes in a row (no answer in time,
    crashed) the safeguard is out of service for half a minute for the agent whose checks they were,
    and if they were several agents', or it cannot be loaded, for all: each check fails at once.
    Then one check tries again.

    Args:
        kind: the name of an entry point `safeguards.plugins`.
        config: what its `initialize` is given.
        time_limit_seconds: how long a check may take; the start of the process does not count.

    Raises:
        ConfigurationError: the time limit or the configuration cannot be one.
    """

    def __init__(
        self,
        kind: str,
        config: dict[str, Any],
        time_limit_seconds: float = TIME_LIMIT_SECONDS,
    ) -> None:
        if not 0 < time_limit_seconds <= MAX_TIME_LIMIT_SECONDS:
            raise ConfigurationError(
                f"a time limit is more than 0 and at most {MAX_TIME_LIMIT_SECONDS:g} s, not "
                f"{time_limit_seconds:g}"
            )
        self.kind = kind
        self.time_limit_seconds = time_limit_seconds
        first = _first_line(kind, config, time_limit_seconds)
        self._closed = threading.Event()
        self._queues = PerLoop(
            lambda: _Queue(kind, first, time_limit_seconds, self._closed), _Queue.stop_when_idle
        )

    async def check(self, agent_id: str, context: dict[str, Any]) -> list[SafetyAlert]:
        """Return what is wrong with an action, or an empty list.

        Args:
            agent_id: who wants to act.
            context: the action's arguments, with its `action_type`: JSON types.

        Raises:
            IsolatedTimeoutError: it did not answer in time. Its process has been ended.
            IsolatedError: it raised, crashed, answered with something else than alerts, is busy
                with others for too long, or is out of service.
        """
        request = _line({"agent_id": agent_id, "context": context})
        return await self._queues.get().check(agent_id, request)

    async def load(self) -> None:
        """Start a process, to see whether the safeguard can be loaded as it is configured.

        Raises:
            IsolatedError: it cannot; says why.
        """
        await self._queues.get().load()

    async def aclose(self) -> None:
        """End the process of the running loop. Checks that are under way come to their end first,
        and one that comes later is still answered, by a process of its own."""
        self._closed.set()
        await self._queues.aclose()

    def close(self) -> None:
        """Do what `aclose` does, on every loop. On a loop's own thread it does not wait."""
        self._closed.set()
        self._queues.close_all()


def load_failures(wanted: Mapping[str, tuple[str, dict[str, Any]]]) -> dict[str, str]:
    """Return why safeguards of one's own cannot be loaded: nothing for those that can. None is
    loaded in this process, and none may take longer than `READY_SECONDS`.

    Args:
        wanted: the kind and the configuration of each, by its name.
    """
    return background_loop.run(_load_failures(wanted)) if wanted else {}


async def _load_failures(wanted: Mapping[str, tuple[str, dict[str, Any]]]) -> dict[str, str]:
    turns = asyncio.Semaphore(LOADED_AT_ONCE)

    async def failure(kind: str, config: dict[str, Any]) -> str | None:
        async with turns:
            try:
                isolated = Isolated(kind, config)
            except ConfigurationError as error:
                return str(error)
            try:
                await isolated.load()
            except IsolatedError as error:
                return str(error)
            finally:
                await isolated.aclose()
            return None

    failures = await asyncio.gather(*(failure(*one) for one in wanted.values()))
    return {name: why for name, why in zip(wanted, failures, strict=True) if why is not None}


class _Queue:
    """The checks of one safeguard on one event loop, one after the other, and its process."""

    def __init__(
        self, kind: str, first_line: bytes, time_limit_seconds: float, closed: threading.Event
    ) -> None:
        self._kind = kind
        self._first_line = first_line
        self._limit = time_limit_seconds
        self._closed = closed
        self._lock = asyncio.Lock()
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._process: IsolatedProcess | None = None
        self._killed: list[IsolatedProcess] = []
        self._is_starting = False
        self._ready_at = 0.0
        self._waiting = 0
        self._outages = Outages()

    async def check(self, agent_id: str, request: bytes) -> list[SafetyAlert]:
        """Return the alerts that a request raises; see `Isolated.check`."""
        # An agent's checks wait for one another first, so that no more than one is before others'.
        lock = self._locks.setdefault(agent_id, asyncio.Lock())
        self._outages.refuse(agent_id)
        if (self._outages.is_on_trial and self._lock.locked()) or (
            self._outages.is_on_trial_for(agent_id) and lock.locked()
        ):
            raise IsolatedError("is out of service: one check tries whether it answers again")
        async with self._turn(lock):
            # It may have become so while this one waited.
            self._outages.refuse(agent_id)
            answer = await self._answer(agent_id, request)
        if answer.failed:
            log.warning("a safeguard failed", kind=self._kind, reason=answer.failed)
            raise IsolatedError(visible(answer.failed, single_line=True, limit=300))
        return [
            SafetyAlert(
                visible(alert.title, single_line=True, limit=500),
                visible(alert.description, limit=20_000),
                alert.severity,
                alert.metadata,
            )
            for alert in answer.alerts
        ]

    async def load(self) -> None:
        """Start a process; see `Isolated.load`."""
        async with self._turn():
            await self._started()

    async def stop_when_idle(self) -> None:
        """End the process after the checks that are under way. Where that takes long, the last of
        them ends it."""
        with contextlib.suppress(IsolatedError):
            async with self._turn(*self._locks.values()):
                await self._stop()

    async def _answer(self, agent_id: str, request: bytes) -> Answer:
        process = self._process
        if process is None or not process.is_alive:
            process = await self._started()
        try:
            async with asyncio.timeout(self._limit):
                answer = await process.ask(request)
        except TimeoutError:
            self._lose(words := f"did not answer within {self._limit:g} s", agent_id)
            raise IsolatedTimeoutError(words) from None
        except LostError as error:
            self._lose(str(error), agent_id)
            raise
        except IsolatedError:
            self._outages.answered(agent_id)
            raise
        except BaseException:
            # Whoever asked has gone: the answer must not be taken for the next one's.
            self._kill()
            raise
        self._outages.answered(agent_id)
        if answer.ends:
            self._kill()
        return answer

    async def _started(self) -> IsolatedProcess:
        self._is_starting = True
        self._process = None
        try:
            self._process = process = await IsolatedProcess.start()
            async with asyncio.timeout(READY_SECONDS):
                answer = await process.ask(self._first_line)
            failed = answer.failed
        except TimeoutError:
            failed = f"was not ready within {READY_SECONDS:g} s"
        except LostError as error:
            failed = f"{error} while it was loaded"
        except BaseException:
            self._kill()
            raise
        finally:
            self._is_starting = False
            self._ready_at = time.monotonic()
        if failed:
            # Another start would cost as much, and end in the same way, whoever's the check is.
            self._outages.end_for_all()
            self._kill()
            log.warning("a safeguard cannot be loaded", kind=self._kind, reason=failed)
            raise LostError(visible(failed, single_line=True, limit=300))
        return process

    @contextlib.asynccontextmanager
    async def _turn(self, *first: asyncio.Lock) -> AsyncIterator[None]:
        """Wait for those before, though not for ever; for those that hold `first`, first."""
        since = time.monotonic()
        with contextlib.ExitStack() as held:
            self._waiting += 1
            try:
                for lock in (*first, self._lock):
                    while not await self._acquired(lock, self._patience(since)):
                        if self._patience(since) <= 0:
                            seconds = f"{MAX_WAIT * self._limit:g}"
                            raise IsolatedError(f"was busy with others for {seconds} s")
                    held.callback(lock.release)
            finally:
                self._waiting -= 1
            try:
                yield
            finally:
                if self._closed.is_set() and not self._waiting:
                    await self._stop()

    async def _acquired(self, lock: asyncio.Lock, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await lock.acquire()
        except TimeoutError:
            return False

    def _patience(self, since: float) -> float:
        """Return how many seconds a check still waits that has waited since then. What it takes to
        start a process is not counted."""
        now = time.monotonic()
        begun = now if self._is_starting else max(since, self._ready_at)
        return begun + MAX_WAIT * self._limit - now

    def _lose(self, reason: str, agent_id: str) -> None:
        self._kill()
        self._outages.lost(agent_id)
        log.warning(
            "a safeguard's process is lost", kind=self._kind, agent_id=agent_id, reason=reason
        )

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            self._killed = [one for one in self._killed if one.is_alive]
            self._killed.append(process)

    async def _stop(self) -> None:
        """End the process, and see to it that nothing is left of those before on this loop."""
        process, self._process = self._process, None
        killed, self._killed = self._killed, []
        for one in (*killed, process):
            if one is not None:
                await one.stop()


def _first_line(kind: str, config: dict[str, Any], time_limit_seconds: float) -> bytes:
    try:
        # As in the policy file, whose dates JSON does not know.
        written = yaml.safe_dump(config)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"the config of {kind!r} is not what YAML can hold") from error
    return _line(
        {
            "kind": kind,
            "config": written,
            "time_limit_seconds": time_limit_seconds,
            "ready_seconds": READY_SECONDS,
        }
    )


def _line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"
