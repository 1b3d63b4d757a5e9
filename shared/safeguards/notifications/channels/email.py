"""Messages by email, through the `emails` package's asynchronous back end."""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Sequence
from email.header import Header
from email.utils import format_datetime, parseaddr
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator, model_validator

from safeguards.background_loop import PerLoop
from safeguards.configuration import Config, read_config
from safeguards.errors import ConfigurationError, MissingExtraError, PermanentDeliveryError
from safeguards.notifications import rendering
from safeguards.notifications.channels.base import AsyncChannel
from safeguards.notifications.mail_pool import MailPool, MailServer
from safeguards.notifications.message import Message
from safeguards.text import visible

if TYPE_CHECKING:
    from emails.message import Message as Mail

# RFC 5321 section 4.1.2, without quoted local parts and address literals; every other character,
# line breaks and commas among them, would be a way into the headers.
_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_MESSAGE_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


def mail_address(address: str) -> str:
    """Return `address` as it goes over the wire: the domain in lower case ASCII (RFC 5890).

    Raises:
        ValueError: if it is not one plain address, such as `ann@example.com`.
    """
    local, at, domain = address.rpartition("@")
    try:
        domain = domain.encode("idna").decode().lower()
    except UnicodeError:
        domain = ""
    well_formed = at and _LOCAL_PART.fullmatch(local) and _DOMAIN.fullmatch(domain)
    if not well_formed or len(local) > 64 or len(domain) > 253:
        shown = visible(address, single_line=True, limit=100)
        raise ValueError(f"{shown!r} is not a mail address: write it as name@example.com")
    return f"{local}@{domain}"


class EmailConfig(Config):
    """What `EmailChannel` is initialized with.

    Attributes:
        smtp_server: the mail server's host name or address.
        smtp_port: 587 unless given, or 465 with `use_ssl`.
        username: for signing in, or None.
        password: for signing in, or None.
        sender: `name@example.com` or `Name <name@example.com>`.
        recipients: to whom alerts go, together; the notifier names its own.
        use_tls: STARTTLS, without which nothing is sent. On unless `use_ssl` is.
        use_ssl: TLS from the first byte.
        timeout_seconds: for one mail.
        ca_file: certificates (PEM) to trust instead of the system's.
        max_connections: to the mail server, from one event loop.
    """

    smtp_server: str = Field(min_length=1, pattern=r"^[A-Za-z0-9._:-]+$")
    smtp_port: int = Field(default=0, ge=0, le=65535)
    username: str | None = Field(default=None, min_length=1)
    password: str | None = Field(default=None, min_length=1, repr=False)
    sender: str
    recipients: tuple[str, ...] = ()
    use_tls: bool | None = None
    use_ssl: bool = False
    timeout_seconds: float = Field(default=15.0, gt=0, allow_inf_nan=False)
    ca_file: Path | None = None
    max_connections: int = Field(default=4, ge=1, le=100)

    @field_validator("sender")
    @classmethod
    def _one_sender(cls, value: str) -> str:
        mail_address(parseaddr(value)[1] or value)
        if visible(value, single_line=True) != value:
            raise ValueError("it has line breaks or invisible characters in it")
        return value

    @field_validator("recipients")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(mail_address(address) for address in value)

    @model_validator(mode="after")
    def _safe_sign_in(self) -> EmailConfig:
        if self.use_tls and self.use_ssl:
            raise ValueError("'use_tls' (STARTTLS) and 'use_ssl' exclude each other: choose one")
        if (self.username is None) != (self.password is None):
            raise ValueError("'username' and 'password' go together: give both or neither")
        encrypted = self.use_ssl or self.starttls
        if self.username is not None and not encrypted and not _is_loopback(self.smtp_server):
            raise ValueError(
                "'username' without encryption would send the password in the clear: set "
                "'use_tls' (STARTTLS) or 'use_ssl'"
            )
        return self

    @property
    def starttls(self) -> bool:
        """Whether STARTTLS is required."""
        return not self.use_ssl if self.use_tls is None else self.use_tls

    def server(self) -> MailServer:
        """Return where and how to hand mails over.

        Raises:
            ConfigurationError: if `ca_file` cannot be read.
        """
        encrypted = self.use_ssl or self.starttls
        return MailServer(
            host=self.smtp_server,
            port=self.smtp_port or (465 if self.use_ssl else 587),
            implicit_tls=self.use_ssl,
            starttls=self.starttls,
            timeout_seconds=self.timeout_seconds,
            max_connections=self.max_connections,
            username=self.username,
            password=self.password,
            tls_context=_tls_context(self.ca_file) if encrypted else None,
        )


class EmailChannel(AsyncChannel):
    """Sends mails over SMTP with verified TLS. Needs the extra `email`."""

    addressing: Literal["person", "place"] = "person"

    _pools: PerLoop[MailPool] | None = None

    def initialize(self, config: dict[str, Any]) -> None:
        """Take the mail server, the sender and the recipients. See `EmailConfig`.

        Raises:
            ConfigurationError: naming the key that is missing, unknown or wrong.
            MissingExtraError: if emails or aiosmtplib is not installed.
        """
        self._config = read_config(EmailConfig, config, "EmailChannel")
        try:
            import emails.backend.smtp.aio_backend  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("EmailChannel", "email") from error
        server = self._config.server()
        if self._pools is not None:
            self._pools.close_all()
        self._pools = PerLoop(lambda: MailPool(server), MailPool.close)
        self._initialized = True

    async def deliver(self, message: Message, recipients: Sequence[str] = ()) -> str | None:
        """Send one mail, to `recipients` or else to the configured ones.

        Those who get the same mail see each other's addresses: call it once for each person
        unless they are one list.

        Raises:
            TransientDeliveryError: 4xx, a time-out, a refused or broken connection.
            PermanentDeliveryError: 5xx, an address that is none, a failed sign-in, no STARTTLS,
                a certificate that does not verify.
            ConfigurationError: there are no recipients, neither given nor configured.
        """
        self._require_initialized()
        if not (recipients or self._config.recipients):
            raise ConfigurationError("EmailChannel: the key 'recipients' is missing: add it")
        mail = compose(message, self._config.sender, recipients or self._config.recipients)
        if self._pools is not None:
            await self._pools.get().send(mail)
        return None

    async def aclose(self) -> None:
        """Close the connections that belong to the running event loop."""
        if self._pools is not None:
            await self._pools.aclose()

    def shutdown(self) -> None:
        """Close every connection; nothing is sent any more."""
        super().shutdown()
        if self._pools is not None:
            self._pools.close_all()


def compose(message: Message, sender: str, recipients: Sequence[str]) -> Mail:
    """Return the mail for `message`: text first, then HTML; the same in every attempt.

    Args:
        message: what to say; its id becomes the Message-ID (RFC 5322 section 3.6.4).
        sender: `name@example.com` or `Name <name@example.com>`.
        recipients: plain addresses.

    Raises:
        PermanentDeliveryError: if an address or the message's id cannot stand in a header.
    """
    from emails.message import Message as Mail

    name, plain_sender = parseaddr(sender)
    try:
        from_address = mail_address(plain_sender)
        to_addresses = [mail_address(recipient) for recipient in recipients]
    except ValueError as error:
        raise PermanentDeliveryError(str(error)) from None
    if not _MESSAGE_ID.fullmatch(message.id):
        raise PermanentDeliveryError("the message's id cannot stand in a Message-ID")
    return Mail(
        charset="utf-8",
        message_id=f"<{message.id}@{from_address.rpartition('@')[2]}>",
        date=format_datetime(message.created_at),
        subject=_subject(message),
        mail_from=(name or None, from_address),
        mail_to=[(None, address) for address in to_addresses],
        # RFC 3834 section 5: so that vacation programs do not answer.
        headers={"Auto-Submitted": "auto-generated"},
        text=rendering.text(message),
        html=rendering.html_page(message),
    )


def _subject(message: Message) -> str:
    subject = rendering.subject(message)
    # An agent could write an encoded word (RFC 2047) itself, which mail programs would decode
    # into the very characters that were made visible here. Encoded once more, it shows as it is.
    if "=?" in subject:
        return Header(subject, "utf-8", header_name="Subject").encode(linesep="").strip()
    return subject


def _tls_context(ca_file: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError):
        raise ConfigurationError(
            f"EmailChannel: the key 'ca_file' is wrong: {ca_file} is not a readable PEM file"
        ) from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
