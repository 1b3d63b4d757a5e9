"""The addresses that a request names: shown as text with their host pointed out, never as links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from safeguards.text import visible
from safeguards_runtime.records import Approval

MAX_SHOWN = 30
ADDRESS_LIMIT = 400

_URL = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]{1,20}://|www\.)[^\s<>\"'`|{}]+")
_TRAILING = ".,;:!?)]»”"
_TEXT_LIMIT = 100_000
"""How many characters of each text are searched."""

_HOST_LIMIT = 255
"""How long a host may be (RFC 1035, section 2.3.4) if it is to be read."""

_AUTHORITY_LIMIT = 1_000
"""How long it may be with the user before it and the port."""


@dataclass(frozen=True)
class Address:
    """An address that stands in a request. All texts are visible.

    Attributes:
        host: where it leads, as a browser would read it; in ASCII (RFC 5890) if it is not. Empty
            if there is none to be read, or it is too long.
        text: all of it.
        where: which argument it stands in, or `the agent's words`.
        is_disguised: whether it looks as if it led elsewhere: it has letters of other alphabets in
            its host, or something before an `@`, or too much of either.
    """

    host: str
    text: str
    where: str
    is_disguised: bool = False


def addresses(approval: Approval) -> tuple[Address, ...]:
    """Return the addresses in the arguments and in the agent's words, each once, at most 30."""
    found: dict[str, Address] = {}
    for where, text in _texts(approval):
        for match in _URL.finditer(text[:_TEXT_LIMIT]):
            url = match[0].rstrip(_TRAILING)
            if url not in found:
                found[url] = _address(url, where)
            if len(found) == MAX_SHOWN:
                return tuple(found.values())
    return tuple(found.values())


def _texts(approval: Approval) -> Iterator[tuple[str, str]]:
    for name, value in approval.shown_context.items():
        for text in _strings(value):
            yield name, text
    yield "the agent's words", approval.title
    yield "the agent's words", approval.description
    for question in approval.questions:
        if question.answer:
            yield "the agent's answer", question.answer


def _strings(value: Any) -> Iterator[str]:
    left = [value]
    while left:
        value = left.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            left += [part for pair in reversed(value.items()) for part in reversed(pair)]
        elif isinstance(value, list):
            left += reversed(value)


def _address(url: str, where: str) -> Address:
    host, ascii_host, has_user = "", "", False
    authority = _authority(url)
    # What is longer takes long to read, and leads nowhere.
    is_readable = len(authority) <= _AUTHORITY_LIMIT
    if is_readable:
        try:
            host = urlsplit(f"//{authority}").hostname or ""
            is_readable = len(host) <= _HOST_LIMIT
            host = host if is_readable else ""
            ascii_host = host if host.isascii() else host.encode("idna").decode()
            has_user = "@" in authority
        except ValueError:  # UnicodeError among them
            host, ascii_host = "", ""
    return Address(
        host=visible(ascii_host, single_line=True, limit=255),
        text=visible(url, single_line=True, limit=ADDRESS_LIMIT),
        where=visible(where, single_line=True, limit=80),
        is_disguised=(not is_readable or has_user or ascii_host != host or "xn--" in ascii_host),
    )


def _authority(url: str) -> str:
    """Return the host with what stands about it (RFC 3986, section 3.2)."""
    # As browsers read it (WHATWG URL, section 4.4): a backslash is a slash.
    read = url.replace("\\", "/")
    read = read if read.startswith("www.") else read.partition("://")[2]
    return re.split("[/?#]", read, maxsplit=1)[0]
