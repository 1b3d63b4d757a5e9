"""The channels that the notifier sends through, from the channels file."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safeguards.errors import ConfigurationError
from safeguards.notifications.channels import (
    AsyncChannel,
    EmailChannel,
    LoggingChannel,
    SlackChannel,
    WebhookChannel,
)
from safeguards.types import AlertSeverity
from safeguards_runtime.configuration import ConfigurationModel, load_yaml

KINDS: dict[str, Callable[[], AsyncChannel]] = {
    "email": EmailChannel,
    "slack": SlackChannel,
    "webhook": WebhookChannel,
    "log": LoggingChannel,
}

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class ChannelConfig(ConfigurationModel):
    """One channel of the file."""

    kind: Literal["email", "slack", "webhook", "log"]
    min_severity: AlertSeverity = AlertSeverity.INFO
    config: dict[str, Any] = {}


class ChannelsFile(ConfigurationModel):
    """The whole file. See `deploy/channels.yaml`, which explains itself."""

    version: Literal[1]
    channels: dict[str, ChannelConfig]


@dataclass(frozen=True)
class Channel:
    """A channel by its name, ready to send."""

    name: str
    kind: str
    min_severity: AlertSeverity
    sender: AsyncChannel


def load_channels(
    path: Path, *, allow_private: bool, environment: Mapping[str, str] = os.environ
) -> dict[str, Channel]:
    """Read the channels file and set each channel up. Nothing is connected yet.

    Args:
        allow_private: let posts go to private and loopback addresses.
        environment: where a value `${NAME}` is read from.

    Raises:
        ConfigurationError: naming each place that does not fit.
    """
    channels = {}
    for name, wanted in load_yaml(path, ChannelsFile).channels.items():
        config = {
            key: _expanded(value, f"{path}: channels.{name}.config.{key}", environment)
            for key, value in wanted.config.items()
        }
        if wanted.kind in ("slack", "webhook"):
            config.setdefault("allow_private", allow_private)
        sender = KINDS[wanted.kind]()
        try:
            sender.initialize(config)
        except ConfigurationError as error:
            raise ConfigurationError(f"{path}: channels.{name}: {error}") from error
        channels[name] = Channel(name, wanted.kind, wanted.min_severity, sender)
    return channels


def _expanded(value: Any, where: str, environment: Mapping[str, str]) -> Any:
    match = _VARIABLE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    if match[1] not in environment:
        raise ConfigurationError(f"{where}: the environment has no {match[1]}")
    return environment[match[1]]
