"""Messages by email, through the `emails` package's asynchronous back end."""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Sequence
from email.utils import parseaddr
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from safeguards.background_loop import PerLoop
from safeguards.configuration import Config, read_config
from safeguards.errors import ConfigurationError, MissingExtraError
from safeguards.notifications.channels.base import AsyncChannel
from safeguards.notifications.mail import Letterhead, compose, mail_address, mail_domain
from safeguards.notifications.mail_pool import MailPool, MailServer
from safeguards.notifications.mail_signature import DkimKey
from safeguards.notifications.mail_template import MailTemplate
from safeguards.notifications.message import Message
from safeguards.text import visible

_UNSUBSCRIBE = re.compile(r"(mailto:|https://)[!#-;=?-~]+")
_SELECTOR = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9-]{1,63})*")


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
        unsubscribe: a `mailto:` or `https:` URL, named in digests; a mail to the sender unless
            given. A POST to the https URL must unsubscribe at once (RFC 8058).
        dkim_key_file: an RSA key (PEM) to sign with (DKIM), or None.
        dkim_selector: the name under which the DNS has its public half.
        dkim_domain: the sender's unless given.
        html_template: a Jinja2 file for the HTML part instead of the built-in page; see
            `MailTemplate`. If it errs, the built-in page is sent.
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
    unsubscribe: str | None = Field(default=None, max_length=900)
    dkim_key_file: Path | None = None
    dkim_selector: str | None = None
    dkim_domain: str | None = None
    html_template: Path | None = None

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

    @field_validator("unsubscribe")
    @classmethod
    def _unsubscribing(cls, value: str | None) -> str | None:
        if value is not None:
            if not _UNSUBSCRIBE.fullmatch(value):
                raise ValueError("give a mailto: or https: URL, in ASCII")
            if value.startswith("mailto:"):
                mail_address(value.removeprefix("mailto:").partition("?")[0])
        return value

    @field_validator("dkim_selector")
    @classmethod
    def _selecting(cls, value: str | None) -> str | None:
        if value is not None and not _SELECTOR.fullmatch(value):
            raise ValueError("it is the name before '._domainkey' in the DNS, such as 's2026'")
        return value

    @field_validator("dkim_domain")
    @classmethod
    def _signing_domain(cls, value: str | None) -> str | None:
        return None if value is None else mail_domain(value)

    @model_validator(mode="after")
    def _whole_signature(self) -> EmailConfig:
        if (self.dkim_key_file is None) != (self.dkim_selector is None):
            raise ValueError(
                "'dkim_key_file' and 'dkim_selector' go together: give both or neither"
            )
        if self.dkim_domain is not None and self.dkim_key_file is None:
            raise ValueError("'dkim_domain' without 'dkim_key_file' signs nothing: add the key")
        return self

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

    def letterhead(self) -> Letterhead:
        """Return what all mails have in common. Needs the extra `email`.

        Raises:
            ConfigurationError: if `dkim_key_file` or `html_template` cannot be used.
        """
        signature = None
        if self.dkim_key_file is not None and self.dkim_selector is not None:
            sender = mail_address(parseaddr(self.sender)[1])
            domain = self.dkim_domain or sender.rpartition("@")[2]
            signature = DkimKey.read(self.dkim_key_file, self.dkim_selector, domain)
        template = MailTemplate.read(self.html_template) if self.html_template else None
        return Letterhead(self.sender, self.unsubscribe, signature, template)


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
        server, self._letterhead = self._config.server(), self._config.letterhead()
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
        mail = compose(message, recipients or self._config.recipients, self._letterhead)
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
