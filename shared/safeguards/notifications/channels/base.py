"""The interface of a channel, and what the built-in ones share."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from safeguards import background_loop
from safeguards.errors import ConfigurationError, DeliveryError, PermanentDeliveryError
from safeguards.notifications.message import Message
from safeguards.types import SafetyAlert

logger = logging.getLogger("safeguards.notifications")


class NotificationChannel(ABC):
    """A way to reach people. One's own channel implements these three methods."""

    @abstractmethod
    def initialize(self, config: dict[str, Any]) -> None:
        """Take the configuration; called once, before anything is sent.

        Raises:
            ConfigurationError: naming the key that is missing, unknown or wrong.
        """

    @abstractmethod
    def send_notification(self, alert: SafetyAlert) -> bool:
        """Send `alert` once and tell whether it was handed over."""

    @abstractmethod
    def shutdown(self) -> None:
        """Close every connection. May be called more than once."""


class AsyncChannel(NotificationChannel):
    """Base of the built-in channels: an asynchronous core with a synchronous face.

    Attributes:
        name: what the channels file calls it; set by whoever loads it, or empty.
        addressing: "person" where every reviewer has an address, and gets a delivery of their
            own (email, Slack's direct messages); "place" where one delivery is for everybody
            (a Slack channel, a webhook, a log). May follow from the configuration.
        reads: who reads what is sent: "people", "programs" (a webhook), or "nobody" (a log).
            Only people are asked: their messages are paced, and gathered into digests when they
            come thick; and what only a log has heard has reached nobody.
        can_update: whether `update` changes what was sent.
        max_per_second: how many messages the receiver takes in a second; None if it does not say.
    """

    name: str = ""
    addressing: Literal["person", "place"] = "place"
    reads: ClassVar[Literal["people", "programs", "nobody"]] = "people"
    can_update: bool = False
    max_per_second: ClassVar[int | None] = None

    _initialized: bool = False

    @abstractmethod
    async def deliver(self, message: Message, recipients: Sequence[str] = ()) -> str | None:
        """Render `message` and send it once.

        Connections belong to the event loop on which this is awaited.

        Args:
            message: what to say.
            recipients: whom to send to, instead of the configured ones, where the channel
                addresses persons; a place ignores it.

        Returns:
            A reference by which `update` finds what was sent; None where there is no such thing.

        Raises:
            TransientDeliveryError: another attempt may succeed, after `retry_after_seconds`
                where the receiver said so.
            PermanentDeliveryError: another attempt would fail the same way.
            ConfigurationError: the channel is not initialized.
        """

    async def update(self, message: Message, reference: str) -> None:
        """Change what was sent before into `message`.

        Args:
            message: what it is to say from now on.
            reference: what `deliver` returned for it.

        Raises:
            TransientDeliveryError, PermanentDeliveryError: as `deliver`.
        """
        raise PermanentDeliveryError(f"{type(self).__name__} cannot change what was sent")

    async def aclose(self) -> None:
        """Close the connections that belong to the running event loop."""

    def send_notification(self, alert: SafetyAlert) -> bool:
        """Send `alert` once, from synchronous code, and tell whether it was handed over.

        Nothing is raised when it was not: the reason is logged by `safeguards.notifications`.
        """
        name = type(self).__name__
        if not self._initialized:
            logger.error("%s is not initialized: %r was not sent", name, alert.title)
            return False
        try:
            background_loop.run(self.deliver(Message.from_alert(alert)))
        except (DeliveryError, ConfigurationError) as error:
            logger.error("%s could not send %r: %s", name, alert.title, error)
            return False
        except Exception:
            logger.exception("%s failed to send %r", name, alert.title)
            return False
        return True

    def shutdown(self) -> None:
        """Close every connection, on whatever event loop; nothing is sent any more."""
        self._initialized = False

    def _require_initialized(self) -> None:
        if not self._initialized:
            raise ConfigurationError(
                f"{type(self).__name__} is not initialized: call initialize(config) first"
            )
