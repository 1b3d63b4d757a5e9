"""The interface of a channel, and what the built-in ones share."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from safeguards import background_loop
from safeguards.errors import ConfigurationError, DeliveryError
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
        addressing: "person" where every reviewer has an address, and gets a delivery of their
            own (email); "place" where one delivery is for everybody (Slack, webhook, log).
    """

    addressing: ClassVar[Literal["person", "place"]] = "place"

    _initialized: bool = False

    @abstractmethod
    async def deliver(self, message: Message, recipients: Sequence[str] = ()) -> None:
        """Render `message` and send it once.

        Connections belong to the event loop on which this is awaited.

        Args:
            message: what to say.
            recipients: whom to send to, instead of the configured ones, where the channel
                addresses persons; a place ignores it.

        Raises:
            TransientDeliveryError: another attempt may succeed, after `retry_after_seconds`
                where the receiver said so.
            PermanentDeliveryError: another attempt would fail the same way.
            ConfigurationError: the channel is not initialized.
        """

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
