"""What every Celery worker of a service is made of: the store, the hints, the clock, the guard."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

import structlog
from celery import Celery, bootsteps, signals
from celery.worker.control import Panel
from redis.exceptions import RedisError

from safeguards import background_loop
from safeguards.identifiers import new_id
from safeguards_runtime.guard import MAX_MESSAGE_BYTES, GuardedChannel
from safeguards_runtime.messaging import HintSender, make_app, publisher
from safeguards_runtime.records import SetAsideMessage, set_aside
from safeguards_runtime.settings import Settings, load_settings
from safeguards_runtime.store import Store
from safeguards_runtime.store.encoding import claim_key
from safeguards_runtime.store.store import ClaimedError
from safeguards_runtime.telemetry import configure_logging
from safeguards_runtime.topology import LOOKS_AT, Service

log = structlog.get_logger(__name__)

T = TypeVar("T")

TICK_SECONDS = 0.5
"""How long the clock sleeps at most: an entry made meanwhile may be due earlier than any known."""

WATCHING = frozenset(
    {"ping", "stats", "active", "active_queues", "registered", "reserved", "scheduled", "report"}
    | {"conf", "heartbeat", "hello", "clock", "query_task", "revoked"}
)
"""The remote control commands that only look; the others are not accepted."""

STARTED_AT_ONCE = 8
"""How many tasks nobody waits for may be under way."""

LEASE_AT_ONCE = 500
"""How many entries of the agenda one tick takes."""


class Worker:
    """One service's worker process.

    All I/O happens on one event loop in a thread of its own; Celery's threads wait for it. (So the
    pool is `threads` or `solo`: a forked pool would lose the loop.)

    Attributes:
        app: the Celery application, for `celery -A`.
        store: the store, to be used on the loop.
        hints: to be used on the loop.
    """

    def __init__(self, service: Service, settings: Settings | None = None) -> None:
        self.settings = settings or load_settings()
        configure_logging(self.settings, service.value)
        self.service = service
        self._started: set[Future[None]] = set()
        self.app: Celery = make_app(self.settings)
        self.hints = HintSender(publisher(self.app))
        self.store = Store(
            self.settings.store_url,
            on_hint=self.hints.hint,
            replicas=self.settings.store_replicas,
        )
        self.app.steps["worker"].add(_clock_of(self))
        signals.setup_logging.connect(_keep_our_logging, weak=False)
        GuardedChannel.set_aside = staticmethod(self.set_aside)
        # Whoever may publish to the broker could otherwise switch a worker off by it.
        for command in set(Panel.data) - WATCHING:
            del Panel.data[command]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the loop and wait for it, in a thread of the pool. Each of its calls to the
        store and to receivers has a time-out of its own."""
        return background_loop.run(work)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Start `work` on the loop and do not wait for it, so that no thread of the pool is held
        up. If too much is under way it is dropped: it was a hint, and the agenda repeats it."""
        self._started = {future for future in self._started if not future.done()}
        if len(self._started) >= STARTED_AT_ONCE:
            work.close()
            return
        self._started.add(background_loop.submit(_logged(work)))

    def set_aside(self, queue: str, item: bytes, reason: str) -> None:
        """Keep a message that is none of ours for an operator. Blocks until it is on disk."""
        background_loop.run(self.keep_aside(queue, item, reason), timeout=10)

    async def keep_aside(
        self, queue: str, item: bytes, reason: str, *, is_publication: bool = False
    ) -> None:
        """Do what `set_aside` does, on the loop; also for what a message carried."""
        log.warning("a message is set aside", queue=queue, reason=reason, size=len(item))
        now = await self.store.now()
        message = SetAsideMessage(
            id=new_id("msg"),
            queue=queue,
            reason=reason,
            payload=base64.b64encode(item[:MAX_MESSAGE_BYTES]).decode(),
            size_bytes=len(item),
            is_publication=is_publication,
            received_at=now,
        )
        # A publisher that is refused sends the same again and again: it is kept once.
        fingerprint = hashlib.sha256(item).hexdigest()
        claims = {claim_key("set_aside", fingerprint): message.id} if is_publication else {}
        try:
            await self.store.create(set_aside.hold(message, now, claims))
        except ClaimedError as error:
            await self.store.apply(error.holder, SetAsideMessage, set_aside.hold_again)

    async def tick(self) -> float:
        """Lease what is due and send the hints again. Returns how many seconds to sleep."""
        ids, wait = await self.store.lease(self.service, LEASE_AT_ONCE)
        if ids:
            self.hints.send(LOOKS_AT[self.service], ids)
        if len(ids) == LEASE_AT_ONCE:
            return 0.0
        return TICK_SECONDS if wait is None else min(wait, TICK_SECONDS)

    async def run_clock(self) -> None:
        """Tick for ever. Any number of workers may: each entry is leased by one of them."""
        while True:
            try:
                # Never quite zero: entries whose lease runs out this instant must not spin.
                await asyncio.sleep(max(0.01, await self.tick()))
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("the store does not answer", error=str(error))
                await asyncio.sleep(1)


async def _logged(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception:
        log.exception("a task failed that nobody waits for")


def _clock_of(worker: Worker) -> type[bootsteps.StartStopStep]:
    """Return the bootstep that runs the clock while the Celery worker runs."""

    class Clock(bootsteps.StartStopStep):
        """Looks at the agenda of the worker's service."""

        requires = {"celery.worker.components:Pool"}

        def start(self, parent: Any) -> None:
            self.ticking = background_loop.submit(worker.run_clock())

        def stop(self, parent: Any) -> None:
            self.ticking.cancel()

        terminate = stop

    return Clock


def _keep_our_logging(**_: Any) -> None:
    """Being connected to `setup_logging` keeps Celery from setting up its own."""
