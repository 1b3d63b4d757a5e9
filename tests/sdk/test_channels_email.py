"""The email channel, against a real mail server."""

from __future__ import annotations

import asyncio
import email
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from safeguards.errors import ConfigurationError, PermanentDeliveryError, TransientDeliveryError
from safeguards.notifications import mail_pool
from safeguards.notifications.channels import EmailChannel
from safeguards.notifications.mail import mail_address
from safeguards.notifications.message import Link, Message
from safeguards.types import AlertSeverity, SafetyAlert
from tests.receivers import CertificateAuthority, SmtpServer, closed_port

ANN = "ann@example.com"


@pytest.fixture(scope="module")
def authority() -> Iterator[CertificateAuthority]:
    with CertificateAuthority() as made:
        yield made


@asynccontextmanager
async def channel_to(port: int, **config: Any) -> AsyncIterator[EmailChannel]:
    """An initialized channel, closed at the end; without TLS unless told otherwise."""
    channel = EmailChannel()
    channel.initialize(
        {
            "smtp_server": "127.0.0.1",
            "smtp_port": port,
            "sender": "Safeguards <safeguards@bücher.example>",
            "use_tls": False,
            "timeout_seconds": 5,
            **config,
        }
    )
    try:
        yield channel
    finally:
        await channel.aclose()


def message(**changes: Any) -> Message:
    """A message such as the notifier makes."""
    given: dict[str, Any] = {
        "event": "approval.requested",
        "subject": "Approve High-Value Transaction",
        "severity": AlertSeverity.ERROR,
        "facts": (("Amount", "2500.00"),),
        "agent_words": "Large <investment> purchase",
        "reasons": ("2500.00 exceeds the limit of 1000.00.",),
        "link": Link("Review this request", "https://approvals.example/review/abc?x=1&y=2"),
        "footer": "Rejected at 14:32 UTC if nobody answers.",
    }
    return Message(**{**given, **changes})


async def test_a_mail_has_a_text_and_an_html_part_and_the_headers_of_a_robot() -> None:
    """Text first, then HTML; the Message-ID is the delivery's, so a repeat can be told."""
    with SmtpServer() as smtp:
        sent = message()
        async with channel_to(smtp.port) as channel:
            await channel.deliver(sent, [ANN])
        mail = smtp.wait_for()
    assert mail.recipients == (ANN,)
    assert mail.sender == "safeguards@xn--bcher-kva.example"
    assert mail.subject == "Approve High-Value Transaction"
    assert mail.message["Message-ID"] == f"<{sent.id}@xn--bcher-kva.example>"
    assert mail.message["Auto-Submitted"] == "auto-generated"
    (alternative,) = [
        part for part in mail.message.walk() if part.get_content_type() == "multipart/alternative"
    ]
    kinds = [part.get_content_type() for part in alternative.get_payload()]  # type: ignore[union-attr]
    assert kinds == ["text/plain", "text/html"]
    assert "https://approvals.example/review/abc?x=1&y=2" in mail.text
    assert 'href="https://approvals.example/review/abc?x=1&amp;y=2"' in mail.html
    assert mail.html.count("<a ") == 1
    assert "Large &lt;investment&gt; purchase" in mail.html
    assert "In the agent's own words" in mail.html.replace("&#x27;", "'")
    assert "Why you are asked" in mail.html


async def test_attempts_are_the_same_mail() -> None:
    """Date and Message-ID belong to the message, not to the attempt."""
    with SmtpServer() as smtp:
        async with channel_to(smtp.port) as channel:
            sent = message()
            await channel.deliver(sent, [ANN])
            await channel.deliver(sent, [ANN])
        first, second = (mail.message for mail in smtp.wait_for_many(2))
    assert (first["Message-ID"], first["Date"]) == (second["Message-ID"], second["Date"])


async def test_connections_are_kept_and_at_most_as_many_as_configured() -> None:
    """Twenty mails at once go over two connections."""
    with SmtpServer() as smtp:
        async with channel_to(smtp.port, max_connections=2) as channel:
            await asyncio.gather(*(channel.deliver(message(), [ANN]) for _ in range(20)))
        assert len(smtp.mails) == 20
        assert smtp.connections == 2


async def test_a_connection_that_the_server_closed_is_renewed() -> None:
    """The next mail arrives all the same."""
    with SmtpServer() as smtp:
        async with channel_to(smtp.port) as channel:
            await channel.deliver(message(), [ANN])
            smtp.drop_connections()
            await channel.deliver(message(), [ANN])
        assert len(smtp.mails) == 2
        assert smtp.connections == 2


async def test_a_restarted_server_costs_no_attempt() -> None:
    """Kept connections that are gone are renewed, each once, before anything is handed over."""
    with SmtpServer() as smtp:
        async with channel_to(smtp.port, max_connections=3) as channel:
            await asyncio.gather(*(channel.deliver(message(), [ANN]) for _ in range(3)))
            smtp.restart()
            await asyncio.gather(*(channel.deliver(message(), [ANN]) for _ in range(3)))
        assert len(smtp.mails) == 6
        assert smtp.connections == 6


async def test_a_server_that_says_that_it_closes_the_kept_connection_costs_no_attempt() -> None:
    """421 at the first command (RFC 5321 section 3.8); from a new connection it is an answer."""
    with SmtpServer() as smtp:
        async with channel_to(smtp.port) as channel:
            await channel.deliver(message(), [ANN])
            smtp.answer("MAIL", "421 idle for too long")
            await channel.deliver(message(), [ANN])
            assert (len(smtp.mails), smtp.connections) == (2, 2)
            smtp.answer("MAIL", "421 going down", "421 going down")
            with pytest.raises(TransientDeliveryError, match="421 going down"):
                await channel.deliver(message(), [ANN])
        assert (len(smtp.mails), smtp.connections) == (2, 3)


@pytest.mark.parametrize("kept", [False, True])
async def test_a_mail_that_the_server_took_without_saying_so_comes_again_as_the_same(
    kept: bool,
) -> None:
    """It breaks off before its 250: reported, not repeated; the next attempt can be told."""
    with SmtpServer() as smtp:
        async with channel_to(smtp.port) as channel:
            if kept:
                await channel.deliver(message(), [ANN])
            sent = message(subject="once")
            smtp.answer("END", "drop")
            with pytest.raises(TransientDeliveryError, match="broke"):
                await channel.deliver(sent, [ANN])
            first = [mail for mail in smtp.mails if mail.subject == "once"]
            assert [mail.is_taken for mail in first] == [False]
            await channel.deliver(sent, [ANN])
        once, again = (mail.message for mail in smtp.mails if mail.subject == "once")
    assert once["Message-ID"] == again["Message-ID"] == f"<{sent.id}@xn--bcher-kva.example>"


@pytest.mark.parametrize("command", ["RCPT", "DATA"])
async def test_a_connection_that_breaks_amid_a_mail_is_not_renewed_silently(command: Any) -> None:
    """How far the server came is not known: whoever counts the attempts decides."""
    with SmtpServer() as smtp:
        async with channel_to(smtp.port) as channel:
            await channel.deliver(message(), [ANN])
            smtp.answer(command, "drop")
            with pytest.raises(TransientDeliveryError, match="broke"):
                await channel.deliver(message(), [ANN])
            assert (len(smtp.mails), smtp.connections) == (1, 1)


async def test_a_connection_that_was_idle_too_long_is_renewed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without waiting for the server to have hung up."""
    monkeypatch.setattr(mail_pool, "MAX_IDLE_SECONDS", -1.0)
    with SmtpServer() as smtp:
        async with channel_to(smtp.port) as channel:
            await channel.deliver(message(), [ANN])
            await channel.deliver(message(), [ANN])
        assert smtp.connections == 2


@pytest.mark.parametrize(
    ("command", "reply", "kind"),
    [
        ("MAIL", "450 busy", TransientDeliveryError),
        ("RCPT", "451 greylisted", TransientDeliveryError),
        ("RCPT", "550 no such user", PermanentDeliveryError),
        ("DATA", "452 full", TransientDeliveryError),
        ("DATA", "554 spam", PermanentDeliveryError),
    ],
)
async def test_the_reply_code_says_whether_another_attempt_helps(
    command: Any, reply: str, kind: type[Exception]
) -> None:
    """4yz is transient, 5yz permanent (RFC 5321); the connection stays good."""
    with SmtpServer() as smtp:
        async with channel_to(smtp.port) as channel:
            smtp.answer(command, reply)
            with pytest.raises(kind, match=reply):
                await channel.deliver(message(), [ANN])
            await channel.deliver(message(), [ANN])
        assert len(smtp.mails) == 1
        assert smtp.connections == 1


async def test_a_dropped_or_silent_connection_is_transient() -> None:
    """As is a server that is not there; the next mail gets a new connection."""
    with SmtpServer() as smtp:
        async with channel_to(smtp.port, timeout_seconds=0.5) as channel:
            smtp.answer("DATA", "drop")
            with pytest.raises(TransientDeliveryError, match="broke"):
                await channel.deliver(message(), [ANN])
            smtp.answer("MAIL", "hang")
            with pytest.raises(TransientDeliveryError, match="in time"):
                await channel.deliver(message(), [ANN])
            smtp.answer("CONNECT", "drop")
            with pytest.raises(TransientDeliveryError, match="no connection"):
                await channel.deliver(message(), [ANN])
            await channel.deliver(message(), [ANN])
        assert len(smtp.mails) == 1
    async with channel_to(closed_port()) as channel:
        with pytest.raises(TransientDeliveryError, match="no connection"):
            await channel.deliver(message(), [ANN])


async def test_a_refused_recipient_among_others_is_not_passed_over() -> None:
    """Nor is the mail sent again to those who have it: the failure is permanent."""
    with SmtpServer() as smtp:
        smtp.answer("RCPT", "451 greylisted")
        async with channel_to(smtp.port) as channel:
            with pytest.raises(PermanentDeliveryError, match="refused 1 of the recipients"):
                await channel.deliver(message(), [ANN, "bob@example.com"])


async def test_a_cancelled_send_gives_its_connection_up() -> None:
    """What was half said on it cannot be taken for the next mail."""
    with SmtpServer() as smtp:
        async with channel_to(smtp.port, max_connections=1) as channel:
            smtp.answer("RCPT", "hang")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(channel.deliver(message(), [ANN]), 0.3)
            await channel.deliver(message(subject="second"), [ANN])
        assert [mail.subject for mail in smtp.mails] == ["second"]
        assert smtp.connections == 2


async def test_starttls_is_used_verified_and_signed_in_over(
    authority: CertificateAuthority,
) -> None:
    """The password goes over the encrypted connection only."""
    server = SmtpServer(starttls=authority.server_context(), users={"me": "secret"})
    with server as smtp:
        config = {"use_tls": True, "username": "me", "password": "secret"}
        async with channel_to(smtp.port, ca_file=str(authority.ca_file), **config) as channel:
            await channel.deliver(message(), [ANN])
        assert (smtp.mails[0].tls, smtp.mails[0].username) == (True, "me")


async def test_implicit_tls(authority: CertificateAuthority) -> None:
    """`use_ssl` encrypts from the first byte."""
    with SmtpServer(tls=authority.server_context()) as smtp:
        config = {"use_tls": False, "use_ssl": True, "ca_file": str(authority.ca_file)}
        async with channel_to(smtp.port, **config) as channel:
            await channel.deliver(message(), [ANN])
        assert smtp.mails[0].tls


async def test_a_wrong_password_is_permanent(authority: CertificateAuthority) -> None:
    """535 does not go away by trying again, and the password is not in the error."""
    server = SmtpServer(starttls=authority.server_context(), users={"me": "secret"})
    with server as smtp:
        config = {"use_tls": True, "username": "me", "password": "hunter2"}
        async with channel_to(smtp.port, ca_file=str(authority.ca_file), **config) as channel:
            with pytest.raises(PermanentDeliveryError, match="sign-in: 535") as caught:
                await channel.deliver(message(), [ANN])
        assert "hunter2" not in str(caught.value)


async def test_a_server_without_starttls_gets_nothing() -> None:
    """Encryption that was asked for is never given up silently."""
    with SmtpServer() as smtp:
        async with channel_to(smtp.port, use_tls=True) as channel:
            with pytest.raises(PermanentDeliveryError, match="does not offer STARTTLS"):
                await channel.deliver(message(), [ANN])
        assert smtp.mails == []


async def test_a_server_without_tls_from_the_start_gets_nothing(
    authority: CertificateAuthority,
) -> None:
    """The error says what to change; no handshake will ever succeed there."""
    with SmtpServer() as smtp:
        config = {"use_tls": False, "use_ssl": True, "ca_file": str(authority.ca_file)}
        async with channel_to(smtp.port, **config) as channel:
            with pytest.raises(PermanentDeliveryError, match=r"speak TLS .* 'use_tls' instead"):
                await channel.deliver(message(), [ANN])
        assert smtp.mails == []


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize(
    ("fault", "said"),
    [("unknown authority", "issuer"), ("other host", "not valid for"), ("expired", "expired")],
)
async def test_a_certificate_that_does_not_verify_is_refused(
    authority: CertificateAuthority, implicit: bool, fault: str, said: str
) -> None:
    """Neither an unknown authority's nor another host's nor an old one will do."""
    hosts = ["other.example"] if fault == "other host" else []
    context = authority.server_context(*hosts, expired=fault == "expired")
    server = SmtpServer(tls=context) if implicit else SmtpServer(starttls=context)
    trusted = {} if fault == "unknown authority" else {"ca_file": str(authority.ca_file)}
    with server as smtp:
        config = {"use_ssl": implicit, "use_tls": not implicit, **trusted}
        async with channel_to(smtp.port, **config) as channel:
            with pytest.raises(PermanentDeliveryError, match="could not be verified") as caught:
                await channel.deliver(message(), [ANN])
        assert said in str(caught.value)
        assert smtp.mails == []


@pytest.mark.parametrize(
    "address",
    [
        "ann@example.com\r\nBcc: eve@example.com",
        "ann@example.com, eve@example.com",
        "Ann <ann@example.com>",
        "ann",
        "@example.com",
        "ann@",
        "ann@exa mple.com",
        "änn@example.com",
        "ann@example.com\n",
    ],
)
async def test_an_address_that_is_none_is_permanent(address: str) -> None:
    """Nothing that could reach the headers or a second recipient gets to the server."""
    with SmtpServer() as smtp:
        async with channel_to(smtp.port) as channel:
            with pytest.raises(PermanentDeliveryError, match="not a mail address"):
                await channel.deliver(message(), [address])
        assert smtp.connections == 0


async def test_a_subject_cannot_make_headers_or_encoded_words() -> None:
    """Line breaks are spaces; an agent's own encoded word (RFC 2047) shows as it was written."""
    hostile = "Pay\r\nBcc: eve@example.com =?utf-8?q?=E2=80=AE?= \u202eyap " + "é" * 80
    with SmtpServer() as smtp:
        async with channel_to(smtp.port) as channel:
            await channel.deliver(message(subject=hostile), [ANN])
            await channel.deliver(message(subject="=?utf-8?q?=E2=80=AE?= pay"), [ANN])
        first, second = smtp.mails
    assert first.message["Bcc"] is None
    assert first.subject == (
        "Pay Bcc: eve@example.com =?utf-8?q?=E2=80=AE?= ⟨U+202E⟩yap " + "é" * 80
    )
    assert second.subject == "=?utf-8?q?=E2=80=AE?= pay"
    assert b"=?utf-8?q?=E2=80=AE?=" not in email.message_from_bytes(second.raw).as_bytes()


def test_an_alert_goes_to_the_configured_recipients_from_synchronous_code() -> None:
    """The seed's configuration, with a local server; after shutdown nothing is sent."""
    alert = SafetyAlert("Too much", "2500.00 exceeds 1000.00", AlertSeverity.ERROR)
    recipients = ["admin@yourcompany.com", "security@yourcompany.com"]
    with SmtpServer() as smtp:
        channel = EmailChannel()
        channel.initialize(
            {
                "smtp_server": "localhost",
                "smtp_port": smtp.port,
                "sender": "safeguards@yourcompany.com",
                "recipients": recipients,
                "use_tls": False,
            }
        )
        assert channel.send_notification(alert)
        assert channel.send_notification(alert)
        channel.shutdown()
        channel.shutdown()
        assert not channel.send_notification(alert)
        assert smtp.connections == 1
        assert sorted(smtp.mails[0].recipients) == recipients
        assert smtp.mails[0].subject == "ERROR: Too much"


def test_without_recipients_an_alert_is_not_sent(caplog: pytest.LogCaptureFixture) -> None:
    """The log says which key is missing."""
    channel = EmailChannel()
    channel.initialize({"smtp_server": "localhost", "sender": "a@example.com"})
    assert not channel.send_notification(SafetyAlert("Too much", "x"))
    assert "the key 'recipients' is missing" in caplog.text
    channel.shutdown()


async def test_one_channel_serves_several_event_loops() -> None:
    """Each loop has connections of its own."""
    with SmtpServer() as smtp:
        async with channel_to(smtp.port, recipients=[ANN]) as channel:
            await channel.deliver(message())
            assert await asyncio.to_thread(channel.send_notification, SafetyAlert("t", "d"))
            await channel.deliver(message())
            assert smtp.connections == 2
            await asyncio.to_thread(channel.shutdown)
        assert len(smtp.mails) == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"smtp_sever": "x"}, "'smtp_sever' is unknown: did you mean 'smtp_server'?"),
        ({"sender": "nobody"}, "'sender' is wrong: 'nobody' is not a mail address"),
        ({"sender": "A\r\nBcc: x@y.z <a@b.c>"}, "'sender' is wrong"),
        ({"recipients": ["a@b.c", "a@b.c\r\nBcc: x@y.z"]}, "'recipients' is wrong"),
        ({"use_tls": True, "use_ssl": True}, "choose one"),
        ({"username": "me"}, "'username' and 'password' go together"),
        (
            {"username": "me", "password": "hunter2", "use_tls": False},
            "would send the password in the clear",
        ),
        ({"password": ["hunter2"], "username": "me"}, "'password' is wrong"),
        ({"ca_file": "/nowhere.pem"}, "'ca_file' is wrong"),
        ({"smtp_port": 70000}, "'smtp_port' is wrong"),
        ({"unsubscribe": "http://a.example"}, "'unsubscribe' is wrong: give a mailto: or https:"),
        ({"unsubscribe": "https://a.example/\r\nBcc: x"}, "'unsubscribe' is wrong"),
        ({"unsubscribe": "https://a.example/>, <https://b.example"}, "'unsubscribe' is wrong"),
        ({"unsubscribe": "mailto:nobody"}, "'unsubscribe' is wrong: 'nobody' is not"),
        ({"dkim_selector": "s1"}, "'dkim_key_file' and 'dkim_selector' go together"),
        ({"dkim_domain": "a.example"}, "'dkim_domain' without 'dkim_key_file'"),
        ({"dkim_key_file": "k.pem", "dkim_selector": "s 1"}, "'dkim_selector' is wrong"),
        ({"html_template": "/nowhere.html"}, "'html_template' is wrong: /nowhere.html cannot be"),
    ],
)
def test_a_wrong_configuration_is_named(changes: dict[str, Any], said: str) -> None:
    """The error says which key and what to do, and never repeats a secret."""
    config = {"smtp_server": "mail.example", "sender": "a@example.com", **changes}
    with pytest.raises(ConfigurationError) as caught:
        EmailChannel().initialize(config)
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__context__ is None or "hunter2" not in str(caught.value.__context__)


def test_addresses_are_written_in_ascii() -> None:
    """A domain in another script goes over the wire in its ASCII form (RFC 5890)."""
    assert mail_address("ann@BÜCHER.example") == "ann@xn--bcher-kva.example"
