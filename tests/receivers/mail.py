"""A real mail server."""

from __future__ import annotations

import asyncio
import email
import email.policy
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any, Literal, Self, TypeVar

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.receivers.collected import Collected

T = TypeVar("T")


@dataclass(frozen=True)
class ReceivedMail:
    """One mail as it came in.

    Attributes:
        sender: the envelope's sender.
        recipients: the envelope's recipients.
        raw: the bytes.
        tls: whether the connection was encrypted.
        username: who signed in, or None.
        connection: the client's port, which tells connections apart.
        received_at: seconds of the monotonic clock.
        is_taken: whether the server said so; otherwise it dropped the connection instead.
    """

    sender: str
    recipients: tuple[str, ...]
    raw: bytes = field(repr=False)
    tls: bool = False
    username: str | None = None
    connection: int = 0
    received_at: float = field(default_factory=time.monotonic)
    is_taken: bool = True

    @property
    def message(self) -> EmailMessage:
        """The parsed mail."""
        parsed = email.message_from_bytes(self.raw, policy=email.policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    @property
    def subject(self) -> str:
        """The decoded subject."""
        return str(self.message["Subject"])

    @property
    def text(self) -> str:
        """The decoded text part."""
        return self._part("plain")

    @property
    def html(self) -> str:
        """The decoded HTML part."""
        return self._part("html")

    def _part(self, kind: Literal["plain", "html"]) -> str:
        part = self.message.get_body((kind,))
        assert part is not None, f"the mail has no {kind} part"
        return str(part.get_content()).replace("\r\n", "\n")


Command = Literal["CONNECT", "MAIL", "RCPT", "DATA", "END"]


class SmtpServer:
    """A real mail server that keeps what it is sent.

    Args:
        starttls: offer STARTTLS with this context.
        tls: speak TLS from the first byte with this context.
        users: names and passwords; signing in is required where there are any.
    """

    host = "127.0.0.1"

    def __init__(
        self,
        *,
        starttls: ssl.SSLContext | None = None,
        tls: ssl.SSLContext | None = None,
        users: dict[str, str] | None = None,
    ) -> None:
        self.port = 0
        self._starttls = starttls
        self._tls = tls
        self._users = users or {}
        self._collected = Collected[ReceivedMail]()
        self._scripts: dict[str, deque[str]] = {}
        self._open: set[asyncio.Transport] = set()
        self._connections = 0

    @property
    def mails(self) -> list[ReceivedMail]:
        """What was received so far."""
        return self._collected.items

    @property
    def connections(self) -> int:
        """How many connections were made so far."""
        return self._connections

    def wait_for(
        self, predicate: Callable[[ReceivedMail], bool] = lambda _: True, timeout: float = 10
    ) -> ReceivedMail:
        """Return the first mail that satisfies `predicate`, waiting up to `timeout` seconds."""
        return self._collected.wait_for(predicate, timeout)

    def wait_for_many(self, count: int, timeout: float = 10) -> list[ReceivedMail]:
        """Return all mails as soon as there are `count`."""
        return self._collected.wait_for_many(count, timeout=timeout)

    def answer(self, command: Command, *replies: str) -> None:
        """Answer the next uses of `command` so: `451 later`, or `drop`, or `hang`.

        `drop` closes the connection, `hang` never answers. `CONNECT` can only `drop`. `END` is
        after the mail was received: it is kept, whatever is answered.
        """
        self._scripts.setdefault(command, deque()).extend(replies)

    def drop_connections(self) -> None:
        """Close every open connection, as a server does that was idle for too long."""
        self._run(self._abort_all())

    def restart(self) -> None:
        """Stop, with every connection closed, and start again on the same port."""
        self._run(self._relisten())

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="smtp-server")
        self._thread.start()
        self._server = self._run(self._listen())
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _listen(self) -> asyncio.Server:
        return await self._loop.create_server(self._protocol, self.host, 0, ssl=self._tls)

    async def _relisten(self) -> None:
        self._server.close()
        await self._abort_all()
        await self._server.wait_closed()
        self._server = await self._loop.create_server(
            self._protocol, self.host, self.port, ssl=self._tls
        )

    def _protocol(self) -> SMTP:
        return _Connection(
            self,
            hostname="mail.test",
            loop=self._loop,
            tls_context=self._starttls,
            auth_required=bool(self._users),
            auth_require_tls=self._starttls is not None,
            authenticator=self._authenticate,
        )

    async def _abort_all(self) -> None:
        for transport in list(self._open):
            transport.abort()
        await asyncio.sleep(0)

    async def _stop(self) -> None:
        self._server.close()
        await self._abort_all()
        mine = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not mine]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._server.wait_closed()

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, given: Any
    ) -> AuthResult:
        if isinstance(given, LoginPassword):
            name = given.login.decode()
            if self._users.get(name) == given.password.decode():
                return AuthResult(success=True, auth_data=name)
        return AuthResult(success=False, handled=False)

    # aiosmtpd calls these by their names.

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if reply := await self._scripted("MAIL", server):
            return reply
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if reply := await self._scripted("RCPT", server):
            return reply
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        if reply := await self._scripted("DATA", server):
            return reply
        content = envelope.content
        mail = ReceivedMail(
            sender=str(envelope.mail_from),
            recipients=tuple(envelope.rcpt_tos),
            raw=content if isinstance(content, bytes) else str(content).encode(),
            tls=session.ssl is not None or self._tls is not None,
            username=session.auth_data if session.authenticated else None,
            connection=_port(session),
            is_taken=not self._scripts.get("END"),
        )
        self._collected.add(mail)
        return await self._scripted("END", server) or "250 OK"

    async def _scripted(self, command: Command, server: SMTP) -> str | None:
        script = self._scripts.get(command)
        if not script:
            return None
        reply = script.popleft()
        if reply == "hang":
            await asyncio.Event().wait()
        if reply == "drop":
            assert isinstance(server.transport, asyncio.WriteTransport)
            server.transport.abort()
            await asyncio.Event().wait()
        return reply

    def _connected(self, transport: asyncio.Transport) -> None:
        self._connections += 1
        self._open.add(transport)
        script = self._scripts.get("CONNECT")
        if script:
            script.popleft()
            transport.abort()

    def _disconnected(self, transport: asyncio.BaseTransport | None) -> None:
        self._open = {open_ for open_ in self._open if open_ is not transport}
        self._open = {open_ for open_ in self._open if not open_.is_closing()}


def _port(session: Session) -> int:
    assert isinstance(session.peer, tuple)
    return int(session.peer[1])


class _Connection(SMTP):
    """aiosmtpd's protocol, which tells the server when it begins and ends."""

    def __init__(self, owner: SmtpServer, **options: Any) -> None:
        self._owner = owner
        super().__init__(owner, **options)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # With STARTTLS this is called a second time, on the same connection.
        if isinstance(transport, asyncio.Transport) and not self._over_starttls():
            self._owner._connected(transport)

    def connection_lost(self, error: Exception | None) -> None:
        transport = self.transport
        super().connection_lost(error)
        self._owner._disconnected(transport)

    def _over_starttls(self) -> bool:
        return self._original_transport is not None
