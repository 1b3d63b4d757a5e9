"""The kinds of channels: the built-in ones, and those of entry points `safeguards.channels`.

A kind of one's own is a class in any installed package, named in its `pyproject.toml`:

    [project.entry-points."safeguards.channels"]
    pager = "my_package:PagerChannel"

It derives from `AsyncChannel`, or from `NotificationChannel` with the three methods of that.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
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
from safeguards_runtime.plain_channel import PlainChannel

GROUP = "safeguards.channels"

BUILT_IN: dict[str, Callable[[], AsyncChannel]] = {
    "email": EmailChannel,
    "slack": SlackChannel,
    "webhook": WebhookChannel,
    "log": LoggingChannel,
}


def channel_of(kind: str, config: dict[str, Any]) -> AsyncChannel:
    """Return a new channel of a kind, initialized with `config`.

    Raises:
        ConfigurationError: there is no such kind, it cannot be loaded, or `config` does not fit.
            No value of `config` is in the message.
    """
    channel = _new(kind)
    try:
        channel.initialize(config)
    except ConfigurationError:
        raise
    except KeyError as error:
        raise ConfigurationError(f"the kind {kind!r} misses the key {error} in config") from error
    except Exception as error:
        what = type(error).__name__
        raise ConfigurationError(f"the kind {kind!r} could not be initialized: {what}") from error
    return channel


def _new(kind: str) -> AsyncChannel:
    registered = [point for point in entry_points(group=GROUP) if point.name == kind]
    if kind in BUILT_IN:
        if registered:
            raise ConfigurationError(
                f"{_source(registered[0])} registers a kind {kind!r}, which is a built-in one"
            )
        return BUILT_IN[kind]()
    if not registered:
        raise ConfigurationError(_unknown(kind))
    sources = {_source(point) for point in registered}
    if len({point.value for point in registered}) > 1:
        raise ConfigurationError(
            f"the kind {kind!r} is registered more than once: {', '.join(sorted(sources))}"
        )
    return _of_entry_point(registered[0])


def _of_entry_point(point: EntryPoint) -> AsyncChannel:
    try:
        made = point.load()()
    except Exception as error:
        raise ConfigurationError(
            f"the kind {point.name!r} of {_source(point)} cannot be loaded: "
            f"{type(error).__name__}: {error}"
        ) from error
    if isinstance(made, AsyncChannel):
        return made
    if isinstance(made, NotificationChannel):
        return PlainChannel(made)
    raise ConfigurationError(
        f"the kind {point.name!r} of {_source(point)} is no channel: {point.value} does not "
        "derive from safeguards.notifications.channels.NotificationChannel"
    )


def _source(point: EntryPoint) -> str:
    return f"the package {point.dist.name!r}" if point.dist else point.value


def _unknown(kind: str) -> str:
    known = sorted({*BUILT_IN, *(point.name for point in entry_points(group=GROUP))})
    near = difflib.get_close_matches(kind, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"it may be one of {', '.join(known)}"
    return f"the kind {kind!r} is unknown: {hint}"
