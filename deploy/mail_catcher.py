"""A mail server that delivers nothing and shows on a web page what it was given.

Listens on loopback only: the mails hold links with which approvals are answered.
"""

from __future__ import annotations

import asyncio
import email
import email.policy
import ipaddress
import re
import signal
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jinja2
from aiohttp import web
from aiosmtpd.smtp import SMTP
from markupsafe import Markup, escape

from safeguards.errors import ConfigurationError
from safeguards.text import visible
from safeguards_runtime.settings import load_settings

HOST = "127.0.0.1"
_PAGE_FILES = Path(__file__).with_name("mail_page")
_KEPT_MAILS = 500
_MAX_MAIL_BYTES = 4 * 1024 * 1024
_KEPT_BYTES = 128 * 1024 * 1024

_PAGE_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "frame-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# The HTML part of a mail is hostile: no script, nothing from the network, an origin of its own.
# It may only be looked at, and its links followed in a tab that is free of the sandbox.
_SANDBOX = "allow-popups allow-popups-to-escape-sandbox allow-top-navigation-by-user-activation"
_MAIL_POLICY = (
    f"sandbox {_SANDBOX}; default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
    "form-action 'none'; frame-ancestors 'self'"
)
_LINK = re.compile(r"https?://[^\s<>\"']+[^\s<>\"'.,;:!?)\]}]")
_HEAD = re.compile(r"<head\b[^>]*>", re.IGNORECASE)


Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Mail:
    """One mail as it came in. `number` counts from 1 and is never used again."""

    number: int
    sender: str
    recipients: tuple[str, ...]
    received_at: datetime
    size_bytes: int
    headers: Headers
    text: str | None
    html: str | None

    @property
    def subject(self) -> str:
        """The first subject header; empty if there is none."""
        return next((value for name, value in self.headers if name.lower() == "subject"), "")

    def summary(self) -> dict[str, Any]:
        """Return what the list shows, as JSON types."""
        return {
            "number": self.number,
            "subject": self.subject,
            "sender": self.sender,
            "recipients": list(self.recipients),
            "received_at": self.received_at.isoformat(),
        }


class Mailbox:
    """The last mails, in memory; an aiosmtpd handler."""

    def __init__(self) -> None:
        self._mails: deque[Mail] = deque(maxlen=_KEPT_MAILS)
        self._count = 0

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        """Take one mail (the hook's name is aiosmtpd's)."""
        self.add(envelope.mail_from or "", tuple(envelope.rcpt_tos), envelope.content)
        return "250 Shown on the mail catcher's page, delivered to nobody"

    def add(self, sender: str, recipients: tuple[str, ...], content: bytes) -> None:
        """Keep one mail, and let the oldest go."""
        self._count += 1
        headers, text, html = read_mail(content)
        self._mails.append(
            Mail(
                number=self._count,
                sender=_clean(sender),
                recipients=tuple(map(_clean, recipients)),
                received_at=datetime.now(UTC),
                size_bytes=len(content),
                headers=headers,
                text=text,
                html=html,
            )
        )
        while sum(mail.size_bytes for mail in self._mails) > _KEPT_BYTES:
            self._mails.popleft()

    def newest_first(self) -> list[Mail]:
        """Return all mails kept."""
        return list(reversed(self._mails))

    def get(self, number: int) -> Mail | None:
        """Return one mail, or None if it was never there or has gone."""
        return next((mail for mail in self._mails if mail.number == number), None)


def read_mail(content: bytes) -> tuple[Headers, str | None, str | None]:
    """Return the decoded headers, the plain text and the HTML of a mail, whatever it is made of."""
    try:
        message = email.message_from_bytes(content, policy=email.policy.default)
        headers = tuple((_clean(name), _decoded(name, raw)) for name, raw in message.raw_items())
        return headers, _body(message, "plain"), _body(message, "html")
    except Exception:  # the standard library raises all sorts on what is malformed on purpose
        return (), _clean(content.decode("utf-8", "surrogateescape")), None


def _decoded(name: str, raw: str) -> str:
    try:
        return _clean(str(email.policy.default.header_fetch_parse(name, raw)))
    except Exception:  # as above; one broken header does not spoil the others
        return _clean(raw)


def _body(message: EmailMessage, kind: str) -> str | None:
    part = message.get_body((kind,))
    if part is None:
        return None
    try:
        return _clean(str(part.get_content()))
    except (LookupError, ValueError):  # an unknown charset: shown as it came
        return _clean(str(part.get_payload()))


def _clean(text: str) -> str:
    """Return text that UTF-8 can carry: undecodable bytes became lone surrogates in parsing."""
    return text.encode("utf-8", "replace").decode()


def linked(text: str) -> Markup:
    """Escape plain text, with its web addresses made links."""
    pieces, end = [], 0
    for match in _LINK.finditer(text):
        pieces.append(escape(text[end : match.start()]))
        pieces.append(
            Markup('<a href="{0}" target="_blank" rel="noopener noreferrer">{0}</a>').format(
                match.group()
            )
        )
        end = match.end()
    return Markup("").join([*pieces, escape(text[end:])])


def opening_in_new_tabs(html: str) -> str:
    """Return a mail's HTML with its links opening in tabs, not in its frame."""
    base = '<base target="_blank">'
    head = _HEAD.search(html)
    return html[: head.end()] + base + html[head.end() :] if head else base + html


class MailPage:
    """The web page and its JSON: `/messages`, newest first, and `/messages/{number}`."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_PAGE_FILES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters["linked"] = linked
        self._templates.filters["visible"] = visible

    def application(self) -> web.Application:
        """Return the web application."""
        app = web.Application(middlewares=[_only_loopback_names])
        app.router.add_get("/", self._list)
        app.router.add_get(r"/mails/{number:\d{1,9}}", self._mail)
        app.router.add_get(r"/mails/{number:\d{1,9}}/html", self._html)
        app.router.add_get("/messages", self._messages)
        app.router.add_get(r"/messages/{number:\d{1,9}}", self._message)
        app.router.add_static("/static", _PAGE_FILES / "static")
        return app

    def _found(self, request: web.Request) -> Mail:
        mail = self._mailbox.get(int(request.match_info["number"]))
        if mail is None:
            raise web.HTTPNotFound(text="no such mail")
        return mail

    def _page(self, template: str, **values: object) -> web.Response:
        return web.Response(
            text=self._templates.get_template(template).render(**values),
            content_type="text/html",
            headers={"Content-Security-Policy": _PAGE_POLICY},
        )

    async def _list(self, request: web.Request) -> web.Response:
        return self._page("list.html", mails=self._mailbox.newest_first())

    async def _mail(self, request: web.Request) -> web.Response:
        return self._page("mail.html", mail=self._found(request), sandbox=_SANDBOX)

    async def _html(self, request: web.Request) -> web.Response:
        mail = self._found(request)
        if mail.html is None:
            raise web.HTTPNotFound(text="this mail has no HTML part")
        return web.Response(
            text=opening_in_new_tabs(mail.html),
            content_type="text/html",
            headers={"Content-Security-Policy": _MAIL_POLICY},
        )

    async def _messages(self, request: web.Request) -> web.Response:
        return web.json_response([mail.summary() for mail in self._mailbox.newest_first()])

    async def _message(self, request: web.Request) -> web.Response:
        mail = self._found(request)
        headers = [list(header) for header in mail.headers]
        parts = {"text": mail.text, "html": mail.html, "headers": headers}
        return web.json_response(mail.summary() | parts)


@web.middleware
async def _only_loopback_names(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Refuse a name that somebody else's DNS points here, through which their page could read."""
    if not _is_loopback(request.host):
        raise web.HTTPMisdirectedRequest(text="this page is for this machine only")
    response = await handler(request)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers.setdefault("Content-Security-Policy", "default-src 'none'; sandbox")
    response.headers["Cache-Control"] = "no-store"
    return response


def _is_loopback(host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


async def serve(smtp_port: int, page_port: int) -> None:
    """Take mail and show it until cancelled. Once the page answers, mail is taken too."""
    mailbox = Mailbox()
    loop = asyncio.get_running_loop()
    smtp = await loop.create_server(
        lambda: SMTP(
            mailbox,
            data_size_limit=_MAX_MAIL_BYTES,
            enable_SMTPUTF8=True,
            hostname="localhost",
            loop=loop,
        ),
        HOST,
        smtp_port,
    )
    runner = web.AppRunner(MailPage(mailbox).application(), access_log=None, shutdown_timeout=1)
    try:
        await runner.setup()
        await web.TCPSite(runner, HOST, page_port).start()
        await loop.create_future()
    finally:
        await runner.cleanup()
        smtp.close()


def main() -> int:
    """Run until SIGINT or SIGTERM."""
    try:
        settings = load_settings()
    except ConfigurationError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1

    async def until_signalled() -> None:
        serving = asyncio.ensure_future(serve(settings.smtp_port, settings.mail_page_port))
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
        try:
            await serving
        except asyncio.CancelledError:
            return

    asyncio.run(until_signalled())
    return 0


if __name__ == "__main__":
    sys.exit(main())
