"""Connections to one mail server: the `emails` package's asynchronous back ends, kept and reused.

A back end sends one mail at a time, so there are several; each keeps its connection open.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from safeguards.errors import DeliveryError, PermanentDeliveryError, TransientDeliveryError
from safeguards.text import visible

if TYPE_CHECKING:
    from emails.backend.response import SMTPResponse
    from emails.message import Message as Mail

    from safeguards.notifications.mail_backend import MailBackend

MAX_IDLE_SECONDS = 60.0
"""After so long without a mail a connection is renewed; servers hang up after some minutes."""

# OpenSSL's reasons for what is not TLS at all; they differ with its version.
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"})


@dataclass(frozen=True)
class MailServer:
    """Where and how to hand mails over.

    Attributes:
        implicit_tls: TLS from the first byte (RFC 8314 section 3.3).
        starttls: STARTTLS, without which nothing is sent (RFC 3207).
        timeout_seconds: for one mail, with the connection if there is none yet.
    """

    host: str
    port: int
    implicit_tls: bool
    starttls: bool
    timeout_seconds: float
    max_connections: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls_context: ssl.SSLContext | None = None

    def backend_arguments(self) -> dict[str, Any]:
        """Return the arguments of one `AsyncSMTPBackend`."""
        arguments: dict[str, Any] = {
            "host": self.host,
            "port": self.port,
            "ssl": self.implicit_tls,
            "tls": self.starttls,
            "timeout": self.timeout_seconds,
            "fail_silently": False,
        }
        if self.tls_context is not None:
            arguments["tls_context"] = self.tls_context
        if self.username is not None:
            arguments.update(user=self.username, password=self.password)
        return arguments


class MailPool:
    """At most `max_connections` back ends, all of one event loop."""

    def __init__(self, server: MailServer) -> None:
        self._server = server
        self._slots = asyncio.Semaphore(server.max_connections)
        self._idle: list[tuple[MailBackend, float]] = []
        self._closed = False

    async def send(self, mail: Mail) -> None:
        """Hand `mail` over once, to all of its recipients.

        A kept connection that the server has closed meanwhile is renewed first; once the server
        has answered anything about this mail, a broken connection is an error.

        Raises:
            TransientDeliveryError: 4xx, a time-out, a refused or broken connection.
            PermanentDeliveryError: 5xx, a failed sign-in, no STARTTLS, a certificate that does
                not verify.
        """
        async with self._slots:
            try:
                async with asyncio.timeout(self._server.timeout_seconds):
                    response = await self._hand_over(mail)
            except Exception as error:
                raise delivery_error(error) from error
        if response is not None and response.refused_recipients:
            # Sending again would repeat the mail to those who have it.
            count = len(response.refused_recipients)
            raise PermanentDeliveryError(f"the mail server refused {count} of the recipients")

    async def close(self) -> None:
        """Close the idle connections; those in use are closed when their mail is out."""
        self._closed = True
        idle, self._idle = self._idle, []
        await asyncio.gather(*(backend.hang_up() for backend, _ in idle))

    async def _hand_over(self, mail: Mail) -> SMTPResponse | None:
        kept = await self._kept()
        if kept is not None:
            try:
                return await self._send_by(kept, mail)
            except Exception as error:
                if not kept.was_gone(error):
                    raise
        return await self._send_by(await self._new(), mail)

    async def _send_by(self, backend: MailBackend, mail: Mail) -> SMTPResponse | None:
        usable = False
        try:
            response = await mail.send_async(smtp=backend)
            usable = True
            return response
        except Exception as error:
            usable = _refused_politely(error)
            raise
        finally:
            if usable and not self._closed:
                self._idle.append((backend, time.monotonic()))
            else:
                await backend.hang_up()

    async def _kept(self) -> MailBackend | None:
        while self._idle:
            backend, since = self._idle.pop()
            if time.monotonic() - since <= MAX_IDLE_SECONDS:
                return backend
            await backend.hang_up()
        return None

    async def _new(self) -> MailBackend:
        from safeguards.notifications.mail_backend import MailBackend

        # In a thread, since the back end looks up the name of this host.
        return await asyncio.to_thread(MailBackend, **self._server.backend_arguments())


def delivery_error(error: BaseException) -> DeliveryError:
    """Return what a failure to send a mail means: transient or permanent."""
    import aiosmtplib

    if (tls_error := _tls_error(error)) is not None:
        return _tls_failure(tls_error)
    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        mildest = min(error.recipients, key=lambda refused: refused.code)
        return _by_code(mildest.code, "refused the recipient", mildest.message)
    if isinstance(error, aiosmtplib.SMTPAuthenticationError):
        return _by_code(error.code, "refused the sign-in", error.message)
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return _by_code(error.code, "refused the mail", error.message)
    if isinstance(error, TimeoutError):
        return TransientDeliveryError("the mail server did not answer in time")
    if isinstance(error, OSError):
        return TransientDeliveryError("no connection to the mail server, or it broke")
    if "STARTTLS" in str(error):
        return PermanentDeliveryError(
            "the mail server does not offer STARTTLS: nothing was sent; check the port, or set "
            "'use_ssl' for a server with TLS from the start"
        )
    if isinstance(error, aiosmtplib.SMTPException):
        return PermanentDeliveryError(f"the mail server cannot be used: {error}")
    return PermanentDeliveryError(f"the mail cannot be sent: {type(error).__name__}")


def _by_code(code: int, what: str, said: str) -> DeliveryError:
    # RFC 5321 section 4.2.1: 4yz is transient, 5yz permanent. Anything else is no SMTP.
    kind = PermanentDeliveryError if 500 <= code < 600 else TransientDeliveryError
    return kind(f"the mail server {what}: {code} {visible(said, single_line=True, limit=200)}")


def _tls_error(error: BaseException | None) -> ssl.SSLError | None:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return error
        error = error.__cause__ or error.__context__
    return None


def _tls_failure(error: ssl.SSLError) -> DeliveryError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return PermanentDeliveryError(
            f"the mail server's certificate could not be verified: {error.verify_message}; check "
            "'smtp_server', or name the authority's certificates in 'ca_file'"
        )
    if error.reason in _NOT_TLS:
        return PermanentDeliveryError(
            "the mail server does not speak TLS on this port: nothing was sent; check the port, "
            "or set 'use_tls' instead of 'use_ssl' for a server with STARTTLS"
        )
    return TransientDeliveryError(f"TLS with the mail server failed: {error.reason or 'it broke'}")


def _refused_politely(error: BaseException | None) -> bool:
    """Tell whether the connection is still good: the server answered, and did not hang up."""
    import aiosmtplib

    if isinstance(error, aiosmtplib.SMTPRecipientsRefused):
        return all(refused.code != 421 for refused in error.recipients)
    sent = aiosmtplib.SMTPSenderRefused, aiosmtplib.SMTPDataError
    return isinstance(error, sent) and error.code != 421
