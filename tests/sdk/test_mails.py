"""Mails read back from a real mail server: threads, digests, signatures, templates."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from safeguards.errors import ConfigurationError, PermanentDeliveryError
from safeguards.notifications import rendering
from safeguards.notifications.channels import EmailChannel
from safeguards.notifications.mail_page import html_page
from safeguards.notifications.message import Message, Thread
from tests.receivers import ReceivedMail, SmtpServer
from tests.rendering.mails import ALL, ASKING, DIGEST, HOSTILE_TEXTS, OUTCOME, REMINDER, REVIEW
from tests.rendering.mails import hostile as hostile_message

ANN = "ann@example.com"


@pytest.fixture
def smtp() -> Iterator[SmtpServer]:
    with SmtpServer() as running:
        yield running


async def received(smtp: SmtpServer, *messages: Message, **config: Any) -> list[ReceivedMail]:
    """What the server got when each of `messages` was sent."""
    channel = EmailChannel()
    given = {"smtp_server": smtp.host, "smtp_port": smtp.port, "use_tls": False}
    channel.initialize({**given, "sender": "Safeguards <safeguards@example.com>", **config})
    try:
        for message in messages:
            await channel.deliver(message, [ANN])
    finally:
        await channel.aclose()
    return smtp.mails


# Threads


async def test_reminder_and_outcome_join_the_thread(smtp: SmtpServer) -> None:
    """The first mail's Message-ID is the thread's; the others have their own, and name it."""
    mails = await received(smtp, ASKING, REMINDER, OUTCOME)
    first, reminder, outcome = (mail.message for mail in mails)
    assert first["Message-ID"] == "<thr_01@example.com>"
    assert first["In-Reply-To"] is first["References"] is None
    for reply, name in ((reminder, "dlv_02"), (outcome, "dlv_03")):
        assert reply["Message-ID"] == f"<{name}@example.com>"
        assert reply["In-Reply-To"] == reply["References"] == "<thr_01@example.com>"


async def test_attempts_of_a_reply_are_the_same_mail(smtp: SmtpServer) -> None:
    """Thread, Message-ID and Date are the same in every attempt."""
    first, second = (mail.message for mail in await received(smtp, REMINDER, REMINDER))
    for name in ("Message-ID", "In-Reply-To", "References", "Date", "Subject"):
        assert first[name] == second[name] is not None


@pytest.mark.parametrize("begins", [False, True])
async def test_a_thread_that_could_write_headers_is_refused(smtp: SmtpServer, begins: bool) -> None:
    """Only letters, digits, `_` and `-` stand in a Message-ID."""
    broken = replace(ASKING, thread=Thread("a>\r\nBcc: <eve@example.com", begins))
    with pytest.raises(PermanentDeliveryError, match="cannot stand in a Message-ID"):
        await received(smtp, broken)
    assert smtp.mails == []


# Digests


async def test_a_digest_can_be_unsubscribed_from(smtp: SmtpServer) -> None:
    """By a mail to the sender unless told otherwise (RFC 2369); it is a list (RFC 2919)."""
    (mail,) = await received(smtp, DIGEST)
    assert mail.message["List-Unsubscribe"] == "<mailto:safeguards@example.com?subject=unsubscribe>"
    assert mail.message["List-Unsubscribe-Post"] is None
    assert str(mail.message["List-Id"]).endswith("<safeguards-digests.example.com>")


async def test_an_https_address_unsubscribes_by_one_click(smtp: SmtpServer) -> None:
    """RFC 8058; a long address stays whole."""
    url = "https://approvals.example/unsubscribe?" + "token=" * 40 + "x"
    (mail,) = await received(smtp, DIGEST, unsubscribe=url)
    assert str(mail.message["List-Unsubscribe"]).strip() == f"<{url}>"
    assert mail.message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


async def test_what_is_asked_of_one_person_is_no_list(smtp: SmtpServer) -> None:
    """Whoever unsubscribes from a digest goes on being asked."""
    (mail,) = await received(smtp, ASKING)
    assert [name for name in mail.message if name.lower().startswith("list-")] == []


async def test_a_digest_lists_what_it_stands_for(smtp: SmtpServer) -> None:
    """In both parts: severity, subject, first facts and link of each, and how many are not."""
    (mail,) = await received(smtp, DIGEST)
    for number, severity in enumerate(("CRITICAL", "ERROR", "WARNING", "INFO")):
        lines = mail.text.split("\n")
        begins = lines.index(
            f"{number + 1}. [{severity}] Approval needed: Pay invoice {number} of ACME "
            f"(until 14:3{number} UTC)"
        )
        assert f"   amount: {number}500.00" in lines[begins : begins + 8]
        assert f"   Review and answer: {REVIEW}{number}" in lines[begins : begins + 8]
        assert f'href="{REVIEW}{number}"' in mail.html
    assert "and 23 more" in mail.text
    assert "and 23 more" in mail.html
    assert mail.text.index("and 23 more") < mail.text.index(ALL)


def test_a_long_digest_is_cut_and_says_so() -> None:
    """What is not shown counts as left out, in every medium."""
    long = replace(DIGEST, entries=DIGEST.entries * 20)
    for shown in (rendering.text(long), html_page(long), rendering.one_line(long)):
        assert "and 53 more" in shown
        assert shown.count("Pay invoice") == 50


def test_a_log_line_tells_of_entries_but_not_their_links() -> None:
    """Links may hold secrets."""
    line = rendering.one_line(DIGEST)
    assert "\n" not in line
    assert 'ERROR: "Approval needed: Pay invoice 1 of ACME (until 14:31 UTC)"' in line
    assert "https:" not in line


@pytest.mark.parametrize("name", HOSTILE_TEXTS)
def test_hostile_entries_make_neither_lines_nor_links(name: str) -> None:
    """An entry is numbered by us, and everything of the agent's stands indented below."""
    entry = replace(hostile_message(HOSTILE_TEXTS[name]), link=None)
    digest = replace(DIGEST, entries=(entry, entry), left_out=0)
    page = html_page(digest)
    assert page.count("<a ") == 1
    assert not any(markup in page for markup in ("<script", "<img", "<form", "<base"))
    lines = rendering.text(digest).split("\n")
    begins = next(index for index, line in enumerate(lines) if line.startswith("1. ["))
    of_entries = [line for line in lines[begins : lines.index("See all of them:")] if line]
    assert all(line.startswith(("1. [", "2. [", "   ", "Careful: ")) for line in of_entries)
    assert len(page) < 100_000


# Hostile text in a mail's headers and parts


@pytest.mark.parametrize("name", HOSTILE_TEXTS)
async def test_no_text_reaches_the_headers_or_gets_lost(smtp: SmtpServer, name: str) -> None:
    """The same headers as ever, and the subject reads as it was made visible."""
    message = hostile_message(HOSTILE_TEXTS[name])
    ordinary, mail = await received(smtp, ASKING, message)
    assert mail.message.keys() == ordinary.message.keys()
    assert mail.recipients == (ANN,)
    assert mail.subject == rendering.subject(message)
    assert mail.message.defects == []
    assert max(map(len, mail.raw.split(b"\r\n"))) <= 998
    assert len(mail.raw) < 500_000
    assert rendering.words(message).split("\n")[0] in mail.text
    complete = len(HOSTILE_TEXTS[name]) < rendering.WORDS_LIMIT
    assert "> Approve at once:" in mail.text if complete else "Large …\n" in mail.text


def test_words_of_several_alphabets_are_pointed_out() -> None:
    """The letters that are not what they look like are named; ordinary foreign words are not."""
    mixed = replace(ASKING, subject="Pay pаypal", facts=(("to", "Βank"),))  # noqa: RUF001
    assert rendering.cautions(mixed) == [
        '"pаypal" mixes alphabets that look alike: а is Cyrillic (U+0430)',  # noqa: RUF001
        '"Βank" mixes alphabets that look alike: Β is Greek (U+0392)',  # noqa: RUF001
    ]
    assert "Careful: " in rendering.text(mixed)
    foreign = replace(ASKING, subject="Оплата ACME, Größe 5 µm, ΔT, 東京タワーABC", facts=())
    assert rendering.cautions(foreign)[1:] == []
    assert rendering.cautions(replace(foreign, subject="Оплата ACME, Größe, 東京タワーABC")) == []


def test_a_flood_of_mixed_words_is_pointed_out_briefly() -> None:
    """Three are enough to be careful."""
    words = " ".join(f"p{letter}а" for letter in "bcdefghij")  # noqa: RUF001
    assert len(rendering.cautions(replace(ASKING, agent_words=words))) == 4


# Signatures


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def pem(
    key: Any,
    kind: serialization.PrivateFormat = serialization.PrivateFormat.PKCS8,
    encryption: serialization.KeySerializationEncryption | None = None,
) -> bytes:
    encryption = encryption or serialization.NoEncryption()
    data: bytes = key.private_bytes(serialization.Encoding.PEM, kind, encryption)
    return data


def dns_of(key: rsa.RSAPrivateKey, name: str) -> Any:
    """A DNS in which the key's public half stands under `name`, and nothing else."""
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)

    def answer(asked: bytes, timeout: int = 5) -> bytes | None:
        return record if asked == name.encode() else None

    return answer


@pytest.mark.parametrize("message", [ASKING, DIGEST, hostile_message(HOSTILE_TEXTS["direction"])])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
async def test_a_signed_mail_verifies_as_the_server_got_it(
    smtp: SmtpServer, tmp_path: Path, rsa_key: rsa.RSAPrivateKey, message: Message, line_end: bytes
) -> None:
    """And not when a byte of its body or of a signed header has changed."""
    file = tmp_path / "dkim.pem"
    file.write_bytes(pem(rsa_key).replace(b"\n", line_end))
    (mail,) = await received(smtp, message, dkim_key_file=str(file), dkim_selector="s2026")
    dns = dns_of(rsa_key, "s2026._domainkey.example.com.")
    assert dkim.verify(mail.raw, dnsfunc=dns)
    assert not dkim.verify(mail.raw, dnsfunc=dns_of(rsa_key, "s1._domainkey.example.com."))
    changed_body = bytearray(mail.raw)
    changed_body[-200] ^= 1
    assert not dkim.verify(bytes(changed_body), dnsfunc=dns)
    for name in (b"Subject", b"To", b"Date", b"From"):
        begins = mail.raw.index(b"\r\n" + name + b": ")
        ends = begins + 2 + len(name) + 4
        changed = mail.raw[:ends] + bytes([mail.raw[ends] ^ 1]) + mail.raw[ends + 1 :]
        assert not dkim.verify(changed, dnsfunc=dns), name
    for name in (b"Subject", b"From"):
        assert not dkim.verify(name + b": added\r\n" + mail.raw, dnsfunc=dns), name
    signed = str(mail.message["DKIM-Signature"]).lower()
    assert all(name in signed for name in ("list-unsubscribe", "in-reply-to", "auto-submitted"))


async def test_a_signature_may_be_of_another_domain(
    smtp: SmtpServer, tmp_path: Path, rsa_key: rsa.RSAPrivateKey
) -> None:
    """Such as the organisation's, in the older form of a key."""
    file = tmp_path / "dkim.pem"
    file.write_bytes(pem(rsa_key, serialization.PrivateFormat.TraditionalOpenSSL))
    (mail,) = await received(
        smtp, ASKING, dkim_key_file=str(file), dkim_selector="a.b", dkim_domain="BÜCHER.example"
    )
    dns = dns_of(rsa_key, "a.b._domainkey.xn--bcher-kva.example.")
    assert dkim.verify(mail.raw, dnsfunc=dns)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"", "no RSA private key"),
        (b"\xff\x00" * 50, "no RSA private key"),
        (pem(ed25519.Ed25519PrivateKey.generate()), "Ed25519 is not supported"),
        (
            pem(
                rsa.generate_private_key(65537, 2048),
                encryption=serialization.BestAvailableEncryption(b"x"),
            ),
            "without a password",
        ),
    ],
)
def test_a_key_that_cannot_sign_is_refused_at_once(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    """With what is wrong and how to make one."""
    file = tmp_path / "dkim.pem"
    if content is not None:
        file.write_bytes(content)
    config = {"smtp_server": "mail.example", "sender": "a@example.com", "dkim_selector": "s1"}
    with pytest.raises(ConfigurationError, match="'dkim_key_file' is wrong") as caught:
        EmailChannel().initialize({**config, "dkim_key_file": str(file)})
    assert said in str(caught.value)


# Templates


TEMPLATE = """<html><body><h1>{{ subject }}</h1>
{% for label, value in facts %}<p>{{ label }}={{ value }}</p>{% endfor %}
<blockquote>{{ agent_words|without_links }}</blockquote>
{% for entry in entries %}<i>{{ entry.severity }} {{ entry.subject }}</i>{% endfor %}
{% if link %}<a href="{{ link.url }}">{{ link.label }}</a>{% endif %}
{{ severity }} {{ reasons|join }} {{ cautions|length }} {{ footer }} {{ left_out }}
</body></html>"""


def template(folder: Path, source: str) -> dict[str, str]:
    """The configuration for a template of one's own."""
    file = folder / "mail.html"
    file.write_text(source, "utf-8")
    return {"html_template": str(file)}


async def test_a_template_of_ones_own_makes_the_html_part(smtp: SmtpServer, tmp_path: Path) -> None:
    """It is given text only, which it escapes; the text part stays ours."""
    message = replace(
        ASKING, subject="<b>Pay</b> \u202e", agent_words='<script>"x"</script> www.evil.example'
    )
    (mail,) = await received(smtp, message, **template(tmp_path, TEMPLATE))
    assert "<h1>&lt;b&gt;Pay&lt;/b&gt; ⟨U+202E⟩</h1>" in mail.html
    assert "<p>amount=2500.00</p>" in mail.html
    assert "&lt;script&gt;&quot;x&quot;&lt;/script&gt; www<wbr>.evil<wbr>.example" in mail.html
    assert f'<a href="{REVIEW}">Review and answer</a>' in mail.html
    assert "Why you are asked" not in mail.html
    assert "Why you are asked" in mail.text


async def test_a_template_is_given_the_entries_of_a_digest(
    smtp: SmtpServer, tmp_path: Path
) -> None:
    """And how many there are besides."""
    (mail,) = await received(smtp, DIGEST, **template(tmp_path, TEMPLATE))
    assert mail.html.count("<i>") == 4
    assert "<i>CRITICAL Approval needed: Pay invoice 0 of ACME" in mail.html
    assert " 23\n" in mail.html


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ facts[99][0] }}", "UndefinedError"),
        ("{{ link.urll }}", "UndefinedError"),
        ("{{ subject.__class__.__mro__ }}", "SecurityError"),
        ("{% include '/etc/hostname' %}", "TypeError"),
        ("{{ facts.append(1) }}", "SecurityError"),
        ("{% if left_out %}x{% endif %}", "0 characters"),
        ("{% for i in range(99999) %}{{ subject }}{% endfor %}", "characters"),
        ("{% for i in range(10**9) %}x{% endfor %}", "OverflowError"),
        ("{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}", "RecursionError"),
    ],
)
async def test_a_template_that_errs_costs_its_look_not_the_mail(
    smtp: SmtpServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, source: str, said: str
) -> None:
    """The built-in page is sent, and the log says why, without the agent's text or the link."""
    (mail,) = await received(smtp, ASKING, **template(tmp_path, source))
    assert mail.html.rstrip("\n") == html_page(ASKING).rstrip("\n")
    (logged,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert said in logged.getMessage()
    assert ASKING.id in logged.getMessage()
    assert REVIEW not in logged.getMessage()


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("<p>\n{% if subject %}", "line 2"),
        ("{{ subjekt }} {{ os }}", "uses os, subjekt: there are only agent_words"),
        ("{{ subject|nothing }}", "nothing"),
        ("\udcff", "is not UTF-8"),
    ],
)
def test_a_template_that_cannot_be_read_is_refused_at_once(
    tmp_path: Path, source: str, said: str
) -> None:
    """The error names the file and the place."""
    file = tmp_path / "mail.html"
    file.write_bytes(source.encode("utf-8", "surrogateescape"))
    config = {"smtp_server": "mail.example", "sender": "a@example.com"}
    with pytest.raises(ConfigurationError, match="'html_template' is wrong") as caught:
        EmailChannel().initialize({**config, "html_template": str(file)})
    assert said in str(caught.value)
    assert "mail.html" in str(caught.value)
