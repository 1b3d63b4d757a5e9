"""The kinds of channels: the built-in ones, and those of entry points `safeguards.channels`.

A kind of one's own is a class in any installed package, named in its `pyproject.toml`:

    [project.entry-points."safeguards.channels"]
    pager = "my_package:PagerChannel"

It derives from `AsyncChannel`, or from `NotificationChannel` with the three methods of that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from safeguards.errors import ConfigurationError
from safeguards.notifications.channels import (
    AsyncChannel,
    EmailChannel,
    LoggingChannel,
    NotificationChannel,
    SlackChannel,
    WebhookChannel,
)
from safeguards_runtime.entry_points import Kinds
from safeguards_runtime.plain_channel import PlainChannel

BUILT_IN: dict[str, Callable[[], AsyncChannel]] = {
    "email": EmailChannel,
    "slack": SlackChannel,
    "webhook": WebhookChannel,
    "log": LoggingChannel,
}

KINDS = Kinds(group="safeguards.channels", word="kind", built_in=BUILT_IN)


def channel_of(kind: str, config: dict[str, Any]) -> AsyncChannel:
    """Return a new channel of a kind, initialized with `config`.

    Raises:
        ConfigurationError: there is no such kind, it cannot be loaded, or `config` does not fit.
            No value of `config` is in the message.
    """
    channel = _new(kind)
    KINDS.initialize(kind, channel.initialize, config)
    return channel


def _new(kind: str) -> AsyncChannel:
    point = KINDS.registered(kind)
    if point is None:
        return BUILT_IN[kind]()
    made = KINDS.made(point)
    if isinstance(made, AsyncChannel):
        return made
    if isinstance(made, NotificationChannel):
        return PlainChannel(made)
    raise ConfigurationError(
        f"{KINDS.described(point)} is no channel: {point.value} does not derive from "
        "safeguards.notifications.channels.NotificationChannel"
    )
