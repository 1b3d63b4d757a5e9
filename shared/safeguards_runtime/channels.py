"""The channels that services send through, from the channels file."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import structlog
from pydantic import AfterValidator, Field

from safeguards.errors import ConfigurationError
from safeguards.notifications.channels import AsyncChannel
from safeguards.types import AlertSeverity
from safeguards_runtime.channel_kinds import channel_of
from safeguards_runtime.configuration import ConfigurationModel, load_yaml
from safeguards_runtime.records.delivery import CALLBACK

log = structlog.get_logger(__name__)

RETIRE_SECONDS = 60.0
"""How long a channel that was removed or changed may go on with the sends that it has begun."""

_FENCED = ("slack", "webhook")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def _not_reserved(name: str) -> str:
    if name == CALLBACK:
        raise ValueError(f"{CALLBACK!r} is the name of the agents' own addresses: take another")
    return name


ChannelName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100),
    AfterValidator(_not_reserved),
]


class ChannelConfig(ConfigurationModel):
    """One channel of the file."""

    kind: Annotated[str, Field(min_length=1)]
    """email, slack, webhook, log, or a name in the entry points `safeguards.channels`."""

    min_severity: AlertSeverity = AlertSeverity.INFO
    max_per_second: Annotated[int, Field(ge=1)] | None = None
    """How many messages the receiver takes in a second; by default what the kind says."""

    config: dict[str, Any] = {}


class ChannelsFile(ConfigurationModel):
    """The whole file. See `deploy/channels.yaml`, which explains itself."""

    version: Literal[1]
    channels: dict[ChannelName, ChannelConfig]


@dataclass(frozen=True)
class Channel:
    """A channel by its name, ready to send."""

    name: str
    kind: str
    min_severity: AlertSeverity
    sender: AsyncChannel
    max_per_second: int | None = None

    @property
    def reads(self) -> Literal["people", "programs", "nobody"]:
        """Who reads what is sent through it. See `AsyncChannel`."""
        return self.sender.reads


@dataclass(frozen=True)
class _Made:
    """A sender, and what it was made from."""

    kind: str
    config: dict[str, Any] = field(repr=False)  # with the secrets in it
    sender: AsyncChannel


class ChannelLoader:
    """Reads the channels file, now and again; what has not changed in it goes on as it is.

    A channel whose kind and configuration stay the same keeps its sender, so that its connections
    stay open. One that was removed or changed is shut down when what it had begun to send can
    have ended.

    Args:
        allow_private: let posts go to private and loopback addresses.
        environment: where a value `${NAME}` is read from.
        retire_seconds: how long a sender lives on after it was removed or changed.
    """

    def __init__(
        self,
        *,
        allow_private: bool,
        environment: Mapping[str, str] = os.environ,
        retire_seconds: float = RETIRE_SECONDS,
    ) -> None:
        self._allow_private = allow_private
        self._environment = environment
        self._retire_seconds = retire_seconds
        self._lock = threading.Lock()
        self._made: dict[str, _Made] = {}

    def __call__(self, path: Path) -> dict[str, Channel]:
        """Return the channels of the file by name. Nothing is connected yet.

        Raises:
            ConfigurationError: naming each place that does not fit. What was loaded before is
                left as it was.
        """
        wanted = load_yaml(path, ChannelsFile).channels
        with self._lock:
            made: dict[str, _Made] = {}
            try:
                for name, channel in wanted.items():
                    made[name] = self._make(name, channel, f"{path}: channels.{name}")
            except ConfigurationError:
                _shut_down(self._replaced(made, by=self._made))
                raise
            retired = self._replaced(self._made, by=made)
            self._made = made
        self._retire(retired)
        return {
            name: Channel(
                name,
                channel.kind,
                channel.min_severity,
                made[name].sender,
                channel.max_per_second or made[name].sender.max_per_second,
            )
            for name, channel in wanted.items()
        }

    def _make(self, name: str, wanted: ChannelConfig, where: str) -> _Made:
        config = _expanded(wanted.config, f"{where}.config", self._environment)
        if wanted.kind in _FENCED:
            config.setdefault("allow_private", self._allow_private)
        known = self._made.get(name)
        if known and (known.kind, known.config) == (wanted.kind, config):
            return known
        try:
            sender = channel_of(wanted.kind, config)
        except ConfigurationError as error:
            raise ConfigurationError(f"{where}: {error}") from error
        sender.name = name
        return _Made(wanted.kind, config, sender)

    @staticmethod
    def _replaced(made: Mapping[str, _Made], *, by: Mapping[str, _Made]) -> list[AsyncChannel]:
        return [one.sender for name, one in made.items() if by.get(name) is not one]

    def _retire(self, senders: list[AsyncChannel]) -> None:
        if senders:
            timer = threading.Timer(self._retire_seconds, _shut_down, [senders])
            timer.daemon = True
            timer.start()


def load_channels(
    path: Path, *, allow_private: bool, environment: Mapping[str, str] = os.environ
) -> dict[str, Channel]:
    """Read the channels file once. See `ChannelLoader`."""
    return ChannelLoader(allow_private=allow_private, environment=environment)(path)


def _shut_down(senders: Iterable[AsyncChannel]) -> None:
    for sender in senders:
        try:
            sender.shutdown()
        except Exception:
            log.exception("a channel cannot be shut down", kind=type(sender).__name__)


def _expanded(value: Any, where: str, environment: Mapping[str, str]) -> Any:
    """Return a value of the file with each `${NAME}` in it read from the environment."""
    if isinstance(value, dict):
        return {k: _expanded(v, f"{where}.{k}", environment) for k, v in value.items()}
    if isinstance(value, list):
        return [_expanded(v, f"{where}.{i}", environment) for i, v in enumerate(value)]
    match = _VARIABLE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        if isinstance(value, str) and "${" in value:
            raise ConfigurationError(f"{where}: ${{NAME}} stands for the whole value, not in one")
        return value
    if match[1] not in environment:
        raise ConfigurationError(f"{where}: the environment has no {match[1]}")
    return environment[match[1]]
