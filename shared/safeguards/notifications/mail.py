"""A message as a mail: its headers, its two parts, its signature."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.header import Header
from email.utils import format_datetime, parseaddr
from typing import TYPE_CHECKING

from safeguards.errors import PermanentDeliveryError
from safeguards.notifications import rendering
from safeguards.notifications.mail_page import html_page
from safeguards.notifications.mail_signature import DkimKey
from safeguards.notifications.mail_template import MailTemplate
from safeguards.notifications.message import Message
from safeguards.text import visible

if TYPE_CHECKING:
    from emails.message import Message as Mail

# RFC 5321 section 4.1.2, without quoted local parts and address literals; every other character,
# line breaks and commas among them, would be a way into the headers.
_LOCAL_PART = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
_MESSAGE_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


def mail_domain(domain: str) -> str:
    """Return `domain` as it goes over the wire: in lower case ASCII (RFC 5890).

    Raises:
        ValueError: if it is not a domain.
    """
    try:
        encoded = domain.encode("idna").decode().lower()
    except UnicodeError:
        encoded = ""
    if not _DOMAIN.fullmatch(encoded) or len(encoded) > 253:
        shown = visible(domain, single_line=True, limit=100)
        raise ValueError(f"{shown!r} is not a domain: write it as example.com")
    return encoded


def mail_address(address: str) -> str:
    """Return `address` as it goes over the wire: the domain in lower case ASCII (RFC 5890).

    Raises:
        ValueError: if it is not one plain address, such as `ann@example.com`.
    """
    local, at, domain = address.rpartition("@")
    try:
        domain = mail_domain(domain)
    except ValueError:
        domain = ""
    if not (at and domain and _LOCAL_PART.fullmatch(local)) or len(local) > 64:
        shown = visible(address, single_line=True, limit=100)
        raise ValueError(f"{shown!r} is not a mail address: write it as name@example.com")
    return f"{local}@{domain}"


@dataclass(frozen=True)
class Letterhead:
    """What all mails of one channel have in common.

    Attributes:
        sender: `name@example.com` or `Name <name@example.com>`.
        unsubscribe: a `mailto:` or `https:` URL for digests; None: a mail to the sender.
        signature: signs every mail (DKIM), or None.
        template: makes the HTML part, or None for the built-in page.
    """

    sender: str
    unsubscribe: str | None = None
    signature: DkimKey | None = None
    template: MailTemplate | None = None


def compose(message: Message, recipients: Sequence[str], letterhead: Letterhead) -> Mail:
    """Return the mail for `message`: text first, then HTML; the same in every attempt.

    Args:
        message: what to say; its id, or that of the thread that it begins, becomes the
            Message-ID (RFC 5322 section 3.6.4).
        recipients: plain addresses.
        letterhead: of the channel.

    Raises:
        PermanentDeliveryError: if an address, the message's or the thread's id cannot stand in
            a header.
    """
    from emails.message import Message as Mail

    name, plain_sender = parseaddr(letterhead.sender)
    try:
        from_address = mail_address(plain_sender)
        to_addresses = [mail_address(recipient) for recipient in recipients]
    except ValueError as error:
        raise PermanentDeliveryError(str(error)) from None
    domain = from_address.rpartition("@")[2]
    message_id, thread_headers = _identity(message, domain)
    # RFC 3834 section 5: so that vacation programs do not answer.
    headers = {"Auto-Submitted": "auto-generated", **thread_headers}
    if message.entries:
        headers |= _list_headers(letterhead.unsubscribe, from_address)
    page = letterhead.template.page(message) if letterhead.template else None
    mail = Mail(
        charset="utf-8",
        message_id=message_id,
        date=format_datetime(message.created_at),
        subject=_subject(message),
        mail_from=(name or None, from_address),
        mail_to=[(None, address) for address in to_addresses],
        headers=headers,
        text=rendering.text(message),
        html=page or html_page(message),
    )
    if letterhead.signature is not None:
        mail.sign(**letterhead.signature.arguments())
    return mail


def _identity(message: Message, domain: str) -> tuple[str, dict[str, str]]:
    """Return the Message-ID, and the headers that put the mail into its thread."""
    thread = message.thread
    for known in (message.id, *([thread.id] if thread else [])):
        if not _MESSAGE_ID.fullmatch(known):
            raise PermanentDeliveryError("the message's id cannot stand in a Message-ID")
    if thread is None:
        return f"<{message.id}@{domain}>", {}
    first = f"<{thread.id}@{domain}>"
    if thread.begins:
        return first, {}
    return f"<{message.id}@{domain}>", {"In-Reply-To": first, "References": first}


def _list_headers(unsubscribe: str | None, sender: str) -> dict[str, str]:
    """Return the headers of mail that comes again and again (RFC 2369, RFC 2919, RFC 8058)."""
    url = unsubscribe or f"mailto:{sender}?subject=unsubscribe"
    headers = {
        "List-Id": f"Safeguards digests <safeguards-digests.{sender.rpartition('@')[2]}>",
        "List-Unsubscribe": f"<{url}>",
    }
    if url.startswith("https:"):
        headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    return headers


def _subject(message: Message) -> str:
    subject = rendering.subject(message)
    # An agent could write an encoded word (RFC 2047) itself, which mail programs would decode
    # into the very characters that were made visible here. Encoded once more, it shows as it is.
    if "=?" in subject:
        return Header(subject, "utf-8", header_name="Subject").encode(linesep="").strip()
    return subject
