"""The Celery application: one configuration for every service, and how hints are sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import structlog
from celery import Celery
from kombu import Exchange
from kombu import Queue as KombuQueue
from kombu.transport import TRANSPORT_ALIASES

from safeguards.sentinel import for_kombu
from safeguards_runtime.settings import Settings
from safeguards_runtime.store.encoding import chunked
from safeguards_runtime.topology import IDS_PER_HINT, LOOKS_AT, QUEUE_OF, Queue, Service, Task

log = structlog.get_logger(__name__)

GUARDED = "safeguards_runtime.guard:GuardedTransport"
TRANSPORTS = {
    "redis": GUARDED,
    "rediss": GUARDED,
    "valkey": GUARDED,
    "sentinel": "safeguards_runtime.guard:GuardedSentinelTransport",
}
"""The transport by the broker URL's scheme; others use Kombu's own, without the guard."""

# When a connection breaks, Kombu goes on to the next sentinel by the scheme of its URL alone: the
# guard would be lost with the transport that was named.
TRANSPORT_ALIASES["sentinel"] = TRANSPORTS["sentinel"]

MAX_WAITING_HINTS = 20_000
"""How many hints wait for an absent broker. The agenda brings back what goes over."""


def make_app(settings: Settings) -> Celery:
    """Return a Celery application on the broker of `settings`, without tasks."""
    url, sentinel_options = for_kombu(settings.broker_url)
    app = Celery("safeguards", set_as_current=False)
    app.conf.update(
        broker_url=url,
        broker_transport=TRANSPORTS.get(urlsplit(url).scheme),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_connection_timeout=4,
        broker_transport_options={
            # A worker that died gives its messages back within about 30 s; every other copy of a
            # message comes from the agenda, after 5 s.
            "visibility_timeout": 30,
            "unacked_restore_interval": 2,
            "unacked_restore_throttle": 5,
            "socket_timeout": 20,
            "socket_connect_timeout": 4,
            "socket_keepalive": True,
            "health_check_interval": 25,
            # Publishing gives up at once while the broker is away: the agenda repeats the hint.
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.2,
            **sentinel_options,
        },
        task_serializer="json",
        accept_content=["json"],
        result_accept_content=["json"],
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_create_missing_queues=False,
        task_queues=[
            KombuQueue(queue.value, Exchange(""), routing_key=queue.value) for queue in Queue
        ],
        task_default_queue=Queue.ACTIONS.value,
        task_routes={task.value: {"queue": queue.value} for task, queue in QUEUE_OF.items()},
        worker_prefetch_multiplier=2,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
    )
    return app


class HintSender:
    """Sends hints without being waited for, many ids in one message when they come thick.

    While one batch is being published the next one gathers, so an idle system sends at once and a
    busy one sends few messages. What cannot be published is dropped: the agenda brings it back.

    Args:
        publish: sends one message; may block, and may raise.
    """

    def __init__(self, publish: Callable[[Task, list[str]], Any]) -> None:
        self._publish = publish
        self._waiting: dict[Task, dict[str, None]] = {}
        self._wake = asyncio.Event()
        self._sender: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="safeguards-hints")

    def hint(self, service: Service, record_id: str) -> None:
        """Ask a service to look at a record."""
        self.send(LOOKS_AT[service], [record_id])

    def send(self, task: Task, ids: Iterable[str]) -> None:
        """Ask for `task` on each of `ids`. To be called on the event loop."""
        waiting = self._waiting.setdefault(task, {})
        if len(waiting) < MAX_WAITING_HINTS:
            waiting.update(dict.fromkeys(ids))
        self._wake.set()
        if self._sender is None or self._sender.done():
            self._sender = asyncio.get_running_loop().create_task(self._send_forever())

    async def _send_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            batches, self._waiting = self._waiting, {}
            try:
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self._thread, self._send_all, batches)
            except Exception as error:
                log.warning("hints were not sent; the agenda will repeat them", error=str(error))

    def _send_all(self, batches: dict[Task, dict[str, None]]) -> None:
        for task, ids in batches.items():
            for chunk in chunked(ids, IDS_PER_HINT):
                self._publish(task, chunk)

    async def close(self) -> None:
        """Send what waits, and stop."""
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
        batches, self._waiting = self._waiting, {}
        if batches:
            try:
                await asyncio.to_thread(self._send_all, batches)
            except Exception as error:
                log.warning("hints were not sent; the agenda will repeat them", error=str(error))


def publisher(app: Celery) -> Callable[[Task, list[str]], None]:
    """Return the function that publishes one hint on `app`'s broker."""

    def publish(task: Task, ids: list[str]) -> None:
        app.send_task(task.value, args=[ids], argsrepr=f"[{len(ids)} ids]", retry=False)

    return publish
