"""The queues of the broker and the agendas of the services: how much waits, and since when."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from fastapi import APIRouter, Request, Response

from safeguards_runtime.messaging import make_app
from safeguards_runtime.records import SetAsideMessage
from safeguards_runtime.records.set_aside import SetAsideStatus
from safeguards_runtime.settings import Settings
from safeguards_runtime.store import Store
from safeguards_runtime.topology import QUEUE_OF, Queue, Service, Task
from services.gateway.console.session import Operator
from services.gateway.pages import page
from services.gateway.parts import Gateway

log = structlog.get_logger(__name__)

router = APIRouter()

ANSWER_SECONDS = 6
"""How long the broker is waited for."""

MAX_MESSAGES = 50
LATE = timedelta(seconds=30)
"""How long something may be due before it is worth a word: hints and leases are repeated sooner."""

MEANS = {
    Queue.ACTIONS: "Actions that wait for a verdict.",
    Queue.APPROVALS: "Requests to be opened, reminded of, escalated or ended.",
    Queue.NOTIFY: "What people are to be told, before it is known by which way.",
    Queue.NOTIFY_EMAIL: "Mails to be sent.",
    Queue.NOTIFY_SLACK: "Slack messages to be posted.",
    Queue.NOTIFY_WEBHOOK: "Webhooks to be posted.",
    Queue.NOTIFY_CALLBACK: "Outcomes to be posted to agents' own addresses.",
    Queue.NOTIFY_OTHER: "Messages by channels of your own.",
}

DOES = {
    Service.EVALUATOR: "Gives verdicts on actions, and ends permissions.",
    Service.TRACKER: "Reminds, escalates and ends requests.",
    Service.NOTIFIER: "Sends messages, and tries again those that failed.",
}


@dataclass(frozen=True)
class Agenda:
    """What stands on a service's agenda.

    Attributes:
        planned: how many records, now or later.
        due: how many whose time has come.
        oldest_at: when the first of all is due; None if there is none.
    """

    service: Service
    planned: int
    due: int
    oldest_at: datetime | None
    now: datetime

    @property
    def is_late(self) -> bool:
        """Whether something has been due for so long that its service seems to be away."""
        return self.oldest_at is not None and self.now - self.oldest_at > LATE


@router.get("/queues")
async def show(request: Request, gateway: Gateway, session: Operator) -> Response:
    """Show what waits, and what it means if it grows."""
    store = gateway.store
    depths, agendas, held, messages = await asyncio.gather(
        _depths(gateway.settings),
        _agendas(store),
        store.counted(f"set_aside:{SetAsideStatus.HELD}"),
        _held(store),
    )
    shown = {
        "depths": depths,
        "means": MEANS,
        "does": DOES,
        "agendas": agendas,
        "held": held,
        "messages": messages,
        "flower_url": gateway.settings.flower_url,
        "tasks": {queue: [t for t in Task if QUEUE_OF[t] is queue] for queue in Queue},
    }
    return page(gateway, request, "console/operations/queues.html", shown, session=session)


async def _depths(settings: Settings) -> dict[Queue, int] | None:
    """Return how many messages each queue has; None if the broker does not say."""
    try:
        return await asyncio.wait_for(asyncio.to_thread(_counted, settings), ANSWER_SECONDS)
    except Exception as error:  # of any broker's library
        log.warning("the broker does not say how long its queues are", error=str(error))
        return None


def _counted(settings: Settings) -> dict[Queue, int]:
    app = make_app(settings)
    try:
        with app.connection_for_read() as connection:
            connection.ensure_connection(max_retries=1, timeout=ANSWER_SECONDS)
            found = {}
            for queue in Queue:
                channel = connection.channel()
                try:
                    found[queue] = channel.queue_declare(queue.value, passive=True).message_count
                except connection.channel_errors:
                    # A list of Redis is gone when it is empty; a queue of another broker comes
                    # with the first worker. The refusal has closed the channel.
                    found[queue] = 0
                else:
                    channel.close()
            return found
    finally:
        app.close()


async def _agendas(store: Store) -> list[Agenda]:
    now = await store.now()
    return [
        Agenda(service, *await store.agenda(service, now), now)
        for service in (Service.EVALUATOR, Service.TRACKER, Service.NOTIFIER)
    ]


async def _held(store: Store) -> list[SetAsideMessage]:
    ids = await store.listed(f"set_aside:{SetAsideStatus.HELD}", limit=MAX_MESSAGES)
    _, records = await store.load(ids)
    return [record for record in records if isinstance(record, SetAsideMessage)]
