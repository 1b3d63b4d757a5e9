"""The mail catcher: mail in by SMTP, out as a page and as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any

import aiohttp
import aiosmtplib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.mail_catcher import Mailbox, linked, opening_in_new_tabs, read_mail, serve
from deploy.readiness import http_ok
from deploy.valkey import free_port

HOSTILE = "<script>alert(1)</script>\"'&\u202e"


@dataclass
class Catcher:
    smtp_port: int
    page: str
    http: aiohttp.ClientSession

    async def send(self, message: EmailMessage) -> None:
        await aiosmtplib.send(message, hostname="127.0.0.1", port=self.smtp_port, start_tls=False)

    async def get(self, path: str, **options: Any) -> tuple[int, str, dict[str, str]]:
        async with self.http.get(self.page + path, **options) as response:
            return response.status, await response.text(), dict(response.headers)

    async def json(self, path: str) -> Any:
        async with self.http.get(self.page + path) as response:
            assert response.status == 200
            return await response.json()


@pytest.fixture
async def catcher() -> AsyncIterator[Catcher]:
    smtp_port, page_port = free_port(), free_port()
    page = f"http://127.0.0.1:{page_port}"
    serving = asyncio.ensure_future(serve(smtp_port, page_port))
    is_ready = http_ok(f"{page}/messages")
    try:
        async with asyncio.timeout(20):
            while not await is_ready():
                assert not serving.done()
                await asyncio.sleep(0.01)
        async with aiohttp.ClientSession() as http:
            yield Catcher(smtp_port, page, http)
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


def mail(subject: str = "Approve?", text: str = "See https://127.0.0.1/review/x.") -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Safeguards <safeguards@example.com>"
    message["To"] = "alex@example.com"
    message["Subject"] = subject
    message.set_content(text)
    return message


async def test_mail_is_listed_newest_first(catcher: Catcher) -> None:
    assert "No mail yet" in (await catcher.get("/"))[1]
    await catcher.send(mail("Größer als 1.000 €?"))
    await catcher.send(mail("second"))
    listed = await catcher.json("/messages")
    assert [one["subject"] for one in listed] == ["second", "Größer als 1.000 €?"]
    assert [one["number"] for one in listed] == [2, 1]
    assert listed[0]["recipients"] == ["alex@example.com"]
    page = (await catcher.get("/"))[1]
    assert page.index("second") < page.index("Größer als 1.000 €?")


async def test_one_mail_is_shown_with_all_its_parts(catcher: Catcher) -> None:
    message = mail()
    message.add_alternative("<html><head></head><body><p>Sí</p></body></html>", subtype="html")
    await catcher.send(message)
    shown = await catcher.json("/messages/1")
    assert shown["text"].strip() == "See https://127.0.0.1/review/x."
    assert "<p>Sí</p>" in shown["html"]
    assert ["To", "alex@example.com"] in shown["headers"]
    _, page, headers = await catcher.get("/mails/1")
    assert '<a href="https://127.0.0.1/review/x" target="_blank"' in page
    assert 'src="/mails/1/html"' in page
    assert 'sandbox="allow-popups' in page
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]


async def test_html_is_shown_in_a_sandbox_from_which_only_links_lead(catcher: Catcher) -> None:
    message = mail()
    message.add_alternative(f"<head></head><p>{HOSTILE}</p>", subtype="html")
    await catcher.send(message)
    _, frame, headers = await catcher.get("/mails/1/html")
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("sandbox allow-popups")
    assert "allow-scripts" not in policy
    assert "allow-same-origin" not in policy
    assert "default-src 'none'" in policy
    assert '<head><base target="_blank">' in frame


async def test_hostile_text_is_escaped_and_made_visible(catcher: Catcher) -> None:
    message = mail(HOSTILE, HOSTILE)
    message["X-Agent"] = HOSTILE
    await catcher.send(message)
    for path in ("/", "/mails/1"):
        page = (await catcher.get(path))[1]
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;&amp;⟨U+202E⟩" in page
    assert (await catcher.json("/messages/1"))["subject"] == HOSTILE


async def test_what_is_not_there_is_not_found(catcher: Catcher) -> None:
    await catcher.send(mail())
    for path in ("/mails/2", "/messages/2", "/mails/1/html", "/static/../list.html", "/static/"):
        assert (await catcher.get(path))[0] in {403, 404}


async def test_another_name_for_this_machine_is_refused(catcher: Catcher) -> None:
    await catcher.send(mail())
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "["):
        status, text, _ = await catcher.get("/messages/1", headers={"Host": host})
        assert status in {400, 421}
        assert "review" not in text
    assert (await catcher.get("/messages", headers={"Host": "localhost:1"}))[0] == 200


async def test_the_page_brings_its_own_style_and_script(catcher: Catcher) -> None:
    page = (await catcher.get("/"))[1]
    for path in ("/static/page.css", "/static/refresh.js"):
        assert path in page
        assert (await catcher.get(path))[0] == 200


def test_only_the_last_500_mails_are_kept() -> None:
    mailbox = Mailbox()
    for number in range(1, 503):
        mailbox.add("a@example.com", ("b@example.com",), f"Subject: {number}\r\n\r\nx".encode())
    numbers = [one.number for one in mailbox.newest_first()]
    assert numbers == list(range(502, 2, -1))
    assert mailbox.get(2) is None


@given(st.binary() | st.from_regex(rb"Content-Type: .*\r\nSubject: .*\r\n\r\n.*", fullmatch=True))
def test_whatever_comes_in_can_be_read(content: bytes) -> None:
    headers, text, html = read_mail(content)
    for shown in (*(part for header in headers for part in header), text or "", html or ""):
        shown.encode()


@given(st.text())
def test_plain_text_never_becomes_mark_up(text: str) -> None:
    assert "<" not in str(linked(text.replace("://", "")))


def test_only_web_addresses_become_links() -> None:
    assert "<a" not in str(linked("javascript:alert(1) data:text/html,x file:///etc"))
    assert str(linked("(http://h/a?b=1&c=2).")) == (
        '(<a href="http://h/a?b=1&amp;c=2" target="_blank" rel="noopener noreferrer">'
        "http://h/a?b=1&amp;c=2</a>)."
    )


def test_links_open_in_tabs_even_without_a_head() -> None:
    assert opening_in_new_tabs("<p>x") == '<base target="_blank"><p>x'
