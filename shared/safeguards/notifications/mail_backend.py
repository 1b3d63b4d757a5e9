"""The `emails` package's asynchronous back end, which hands each mail over at most once.

Imported only where mails are sent, since the package is an extra.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import aiosmtplib
from emails.backend.response import SMTPResponse
from emails.backend.smtp.aio_backend import AsyncSMTPBackend

# RFC 5321 section 3.8: the server closes the connection, instead of answering the command.
_CLOSING = 421

_GOODBYE_SECONDS = 1.0


class MailBackend(AsyncSMTPBackend):  # type: ignore[misc]  # the package has no types for us
    """One connection, kept open.

    The package's own sends the whole mail again when the connection breaks, even if the server
    already has it. This one leaves that to its user, who can ask how far it came.
    """

    _response: SMTPResponse | None = None

    def was_gone(self, error: Exception) -> bool:
        """Tell whether `error` means that the first command of the mail found nobody there."""
        answered = [] if self._response is None else self._response.responses
        if isinstance(error, aiosmtplib.SMTPSenderRefused):
            return bool(error.code == _CLOSING)
        return isinstance(error, ConnectionError) and not answered

    def make_response(self, exception: Exception | None = None) -> SMTPResponse:
        """Return the record of what the server answers to one mail (called by the package)."""
        self._response = super().make_response(exception)
        return self._response

    async def _send_with_retry(self, **kwargs: Any) -> SMTPResponse | None:
        async with self._lock:
            return await self._send(**kwargs)

    async def hang_up(self) -> None:
        """Close the connection, taking leave of the server if it answers soon."""
        client = self._client
        try:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_GOODBYE_SECONDS):
                    await self.close()
        finally:
            if client is not None:
                # The package offers no way to close a connection on which QUIT goes unanswered.
                client._smtp.close()
