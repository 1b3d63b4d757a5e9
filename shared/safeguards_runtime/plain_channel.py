"""A channel that only knows `send_notification`, as one that messages can be delivered through."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from safeguards.errors import TransientDeliveryError
from safeguards.notifications import rendering
from safeguards.notifications.channels import AsyncChannel, NotificationChannel
from safeguards.notifications.message import Message
from safeguards.types import SafetyAlert

SENDS_AT_ONCE = 8


class PlainChannel(AsyncChannel):
    """Delivers messages as alerts, through a channel that knows nothing else.

    Args:
        channel: whose `send_notification` is called in threads, up to eight at once: one that
            hangs keeps only its own messages from being sent.
    """

    def __init__(self, channel: NotificationChannel) -> None:
        self._channel = channel
        self._threads = ThreadPoolExecutor(SENDS_AT_ONCE, thread_name_prefix="safeguards-channel")

    def initialize(self, config: dict[str, Any]) -> None:
        """Hand the configuration on."""
        self._channel.initialize(config)
        self._initialized = True

    async def deliver(self, message: Message, recipients: Sequence[str] = ()) -> str | None:
        """Send `message` as an alert, once.

        Raises:
            TransientDeliveryError: the channel said that it was not handed over.
            DeliveryError: whichever the channel raised itself; any other error of it as well.
        """
        self._require_initialized()
        loop = asyncio.get_running_loop()
        send = self._channel.send_notification
        if not await loop.run_in_executor(self._threads, send, alert_of(message)):
            name = type(self._channel).__name__
            raise TransientDeliveryError(f"{name} could not hand it over")
        return None

    def shutdown(self) -> None:
        """Shut the channel down; what it is sending ends by itself."""
        super().shutdown()
        self._threads.shutdown(wait=False)
        self._channel.shutdown()


def alert_of(message: Message) -> SafetyAlert:
    """Return a message as an alert: its text as plain text, its facts and data as metadata.

    Every text is visible, as for any reader. `metadata` has the message's `id`, the same in every
    attempt, its `event`, its `facts` as pairs, and its `data`.
    """
    return SafetyAlert(
        title=rendering.subject(message),
        description=rendering.text(message),
        severity=message.severity,
        metadata={
            "id": message.id,
            "event": message.event,
            "facts": [list(fact) for fact in rendering.facts(message)],
            "data": message.data,
        },
    )
