"""Messages by Apprise: every service that it knows, each by an Apprise URL."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from safeguards.configuration import Config, read_config
from safeguards.errors import (
    ConfigurationError,
    MissingExtraError,
    PermanentDeliveryError,
    TransientDeliveryError,
)
from safeguards.notifications import rendering
from safeguards.notifications.channels.base import AsyncChannel
from safeguards.notifications.message import Message
from safeguards.types import AlertSeverity

if TYPE_CHECKING:
    import apprise

# What chat services turn into a mention, a command, an element or a link, by itself or by its
# mark-up. A character between that shows nothing stops it, as `<wbr>` does in a mail.
_LIVE = re.compile(r"(?<=@)(?=[\w&!])|(?<=<)(?=[\w@#!/])|(?<=\])(?=\()|(?<=:)(?=//)|(?<=www)(?=\.)")
_BREAK = "\u200b"

_reading: ContextVar[bool] = ContextVar("safeguards_reads_an_apprise_url", default=False)


def _is_no_secret(record: logging.LogRecord) -> bool:
    return not _reading.get()


def _quiet_logger() -> None:
    """Keep URLs out of the log: of one that it cannot read, Apprise logs more than it should."""
    logger = logging.getLogger("apprise")
    if _is_no_secret not in logger.filters:
        logger.addFilter(_is_no_secret)
    if logger.level == logging.NOTSET:  # below it are addresses and whole messages
        logger.setLevel(logging.WARNING)


_TYPES = {
    AlertSeverity.INFO: "info",
    AlertSeverity.WARNING: "warning",
    AlertSeverity.ERROR: "failure",
    AlertSeverity.CRITICAL: "failure",
}


class AppriseConfig(Config):
    """What `AppriseChannel` is initialized with.

    Attributes:
        urls: Apprise URLs, each of which gets every message. They are secrets. Without any, each
            message goes to its recipient's own Apprise URL.
        timeout_seconds: for one attempt.
    """

    urls: tuple[str, ...] = Field(default=(), repr=False)
    timeout_seconds: float = Field(default=15.0, gt=0, allow_inf_nan=False)


@dataclass(frozen=True)
class _Text:
    """A message as Apprise takes it."""

    title: str
    body: str
    type: str


class AppriseChannel(AsyncChannel):
    """Sends by any service that Apprise knows. Needs the extra `apprise`.

    Apprise makes the connections itself: neither the fence around outgoing HTTP nor what it says
    about proxies holds here, so the URLs are for those who run the services to choose.

    With several `urls`, an attempt in which one of them fails is repeated for all. Where nobody
    may get a message twice, give each its own channel.
    """

    addressing: Literal["person", "place"] = "person"
    reads: ClassVar[Literal["people", "programs", "nobody"]] = "people"

    def initialize(self, config: dict[str, Any]) -> None:
        """Take `urls`, and optionally `timeout_seconds`.

        Raises:
            ConfigurationError: naming the key that is unknown or wrong; no URL is in the message.
            MissingExtraError: if Apprise is not installed.
        """
        read = read_config(AppriseConfig, config, "AppriseChannel")
        try:
            import apprise
        except ImportError as error:
            raise MissingExtraError("AppriseChannel", "apprise") from error
        _quiet_logger()
        self._config = read
        self._asset = apprise.AppriseAsset(
            app_id="Safeguards",
            app_desc="Safeguards",
            secure_logging=True,
            storage_mode="memory",
            service_timeout=read.timeout_seconds,
        )
        self._services = [
            self._service(url, f"AppriseChannel: the key 'urls.{index}' is wrong")
            for index, url in enumerate(read.urls)
        ]
        self.addressing = "place" if self._services else "person"
        self._initialized = True

    async def deliver(self, message: Message, recipients: Sequence[str] = ()) -> str | None:
        """Send `message` once to each configured URL, or else to those of the recipients.

        Raises:
            TransientDeliveryError: a service did not take it, or not in time. Apprise does not
                tell why; it is logged by `apprise`.
            PermanentDeliveryError: an address of a recipient is no Apprise URL, or there is none.
            ConfigurationError: the channel is not initialized.
        """
        self._require_initialized()
        services = self._services or self._of(recipients)
        text = _text(message)
        seconds = self._config.timeout_seconds
        try:
            async with asyncio.timeout(seconds):
                taken = await asyncio.gather(*(self._notify(one, text) for one in services))
        except TimeoutError:
            raise TransientDeliveryError(f"Apprise was not done within {seconds:g} s") from None
        failed = [
            str(service.service_name)
            for service, is_taken in zip(services, taken, strict=True)
            if not is_taken
        ]
        if failed:
            raise TransientDeliveryError(f"Apprise could not hand it over to {', '.join(failed)}")
        return None

    def _of(self, recipients: Sequence[str]) -> list[apprise.NotifyBase]:
        if not recipients:
            raise PermanentDeliveryError("there is neither a configured URL nor a recipient's")
        try:
            return [self._service(url, "a recipient's address is wrong") for url in recipients]
        except ConfigurationError as error:
            raise PermanentDeliveryError(str(error)) from None

    def _service(self, url: str, what: str) -> apprise.NotifyBase:
        """Return what sends to `url`; `what` begins the error, which does not repeat the URL."""
        import apprise

        reading = _reading.set(True)
        try:
            service = apprise.Apprise.instantiate(url, asset=self._asset)
        finally:
            _reading.reset(reading)
        if service is None:
            raise ConfigurationError(f"{what}: Apprise knows no service by this URL")
        return service

    async def _notify(self, service: apprise.NotifyBase, text: _Text) -> bool:
        import apprise

        one = apprise.Apprise(asset=self._asset)
        one.add(service)
        result = await one.async_notify(
            body=text.body, title=text.title, notify_type=text.type, body_format="text"
        )
        return bool(result)


def _text(message: Message) -> _Text:
    """Return subject and text, in which only our own links are alive."""
    links = [one.link.url for one in (message, *message.entries) if one.link]
    # The text begins with the subject as its heading, which is the title here.
    body = rendering.text(message).partition("\n\n")[2].strip("\n")
    pieces = re.split("|".join(map(re.escape, links)), body) if links else [body]
    ours = re.findall("|".join(map(re.escape, links)), body) if links else []
    quiet = [_LIVE.sub(_BREAK, piece) for piece in pieces]
    shown = "".join(piece + link for piece, link in zip(quiet, [*ours, ""], strict=True))
    title = _LIVE.sub(_BREAK, rendering.subject(message))
    return _Text(title, shown or title, _TYPES[message.severity])
