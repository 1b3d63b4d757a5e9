"""Sending alerts through several channels at once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import MappingProxyType, TracebackType

from safeguards.errors import ConfigurationError
from safeguards.notifications.channels.base import NotificationChannel
from safeguards.types import AlertSeverity, SafetyAlert

logger = logging.getLogger("safeguards.notifications")


@dataclass(frozen=True)
class _Registration:
    channel: NotificationChannel
    min_severity: AlertSeverity


class NotificationManager:
    """The channels of a process of one's own, by name. Thread safe; a context manager."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._registered: dict[str, _Registration] = {}

    @property
    def channels(self) -> Mapping[str, NotificationChannel]:
        """The registered channels by name, as they are now."""
        with self._lock:
            return MappingProxyType({name: r.channel for name, r in self._registered.items()})

    def register_channel(
        self,
        name: str,
        channel: NotificationChannel,
        *,
        min_severity: AlertSeverity = AlertSeverity.INFO,
    ) -> None:
        """Add an initialized `channel` under `name`.

        Args:
            name: not yet taken.
            channel: from then on also shut down by `shutdown`.
            min_severity: alerts below it are not sent through this channel.

        Raises:
            ConfigurationError: if the name is taken, or `channel` is not a channel.
        """
        if not isinstance(channel, NotificationChannel):
            raise ConfigurationError(
                f"{type(channel).__name__} is not a channel: derive it from NotificationChannel"
            )
        with self._lock:
            if name in self._registered:
                raise ConfigurationError(
                    f"there is a channel {name!r} already: unregister it first"
                )
            self._registered[name] = _Registration(channel, AlertSeverity(min_severity))

    def unregister_channel(self, name: str) -> NotificationChannel:
        """Remove the channel `name` and return it; shutting it down is up to the caller.

        Raises:
            ConfigurationError: if there is none; the message says which there are.
        """
        with self._lock:
            if name not in self._registered:
                raise self._unknown(name)
            return self._registered.pop(name).channel

    def send_alert(
        self, alert: SafetyAlert, channels: Iterable[str] | None = None
    ) -> dict[str, bool]:
        """Send `alert` through all channels at once, or through the named ones; wait for all.

        Returns:
            For each channel whether it took the alert. A channel whose minimum severity is
            above the alert's is left out.

        Raises:
            ConfigurationError: if a name is unknown; nothing is sent then.
        """
        due = {
            name: registration.channel
            for name, registration in self._chosen(channels).items()
            if alert.severity.at_least(registration.min_severity)
        }
        if len(due) < 2:
            return {name: _send(name, channel, alert) for name, channel in due.items()}
        # A pool for each call: one that is kept would hang in a forked child.
        with ThreadPoolExecutor(len(due), thread_name_prefix="safeguards-alert") as pool:
            sending = {
                name: pool.submit(_send, name, channel, alert) for name, channel in due.items()
            }
            return {name: future.result() for name, future in sending.items()}

    def shutdown(self) -> None:
        """Remove every channel and shut it down; one that fails does not stop the others."""
        with self._lock:
            registered, self._registered = self._registered, {}
        for name, registration in registered.items():
            try:
                registration.channel.shutdown()
            except Exception:
                logger.exception("the channel %r failed to shut down", name)

    def __enter__(self) -> NotificationManager:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown()

    def _chosen(self, names: Iterable[str] | None) -> dict[str, _Registration]:
        if isinstance(names, str):
            raise ConfigurationError(f"channels is a list of names: write [{names!r}]")
        with self._lock:
            if names is None:
                return dict(self._registered)
            chosen: dict[str, _Registration] = {}
            for name in names:
                if name not in self._registered:
                    raise self._unknown(name)
                chosen[name] = self._registered[name]
            return chosen

    def _unknown(self, name: str) -> ConfigurationError:
        known = ", ".join(repr(known) for known in self._registered) or "none"
        return ConfigurationError(f"there is no channel {name!r}: registered are {known}")


def _send(name: str, channel: NotificationChannel, alert: SafetyAlert) -> bool:
    try:
        return bool(channel.send_notification(alert))
    except Exception:
        logger.exception("the channel %r failed to send %r", name, alert.title)
        return False
