"""Reading where something goes: the domains of addresses and URLs, however they are written."""

from __future__ import annotations

import re
from collections.abc import Iterator

from safeguards.plugins.names import compatible
from safeguards.plugins.texts import folded
from safeguards.text import visible

_SEPARATORS = re.compile(r"[\s,;<>\"'()|]+")
_URL = re.compile(
    r"(?:[a-z][a-z0-9+.-]*:(?=[/\\]|www\.)[/\\]*|(?:https?|ftp|wss?):(?=[\w\[])|[/\\]{2,}|(?=www\.))"
    r"([^/\\?#]*)",
    re.IGNORECASE,
)
_LINK = re.compile(r"\b(?:(?:https?|ftp):[/\\]|www\.)[^\s,;<>\"'()|\]]*", re.IGNORECASE)
_BARE_HOST = re.compile(
    r"(?:[\w-]{1,63}\.)+(?:[^\W\d_]{2,24}|xn--[a-z0-9-]{1,59})(?::[0-9]+)?(?:[/\\?#].*)?"
)
_IP_HOST = re.compile(r"(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?::[0-9]+)?(?:[/\\?#].*)?")
_IDEOGRAPHIC_STOP = "\u3002"
"""It separates labels too (UTS #46 section 4)."""

_MISLEADING = re.compile(r"[%!:\\/@]")

MAX_CARRIED = 200
"""How many characters after the `?` or `#` of a URL are not yet data carried out."""

_DATA = re.compile(rf"[?#]\S{{{MAX_CARRIED + 1}}}")

UNREADABLE = "an address that cannot be read"

_LOOKALIKES = str.maketrans(
    "\u0430\u0435\u043e\u0440\u0441\u0443\u0445\u0456\u0458\u0455\u0501\u04cf\u043c\u043a\u0442"
    "\u0432\u043d\u03bf\u03b1\u03c1\u03bd\u03b9\u03ba\u0131\u0261\u0578\u057d\u0585\u01c0"
    "01\u00df",
    "aeopcyxijsdlmktbhoapvikignsol" + "olb",
)


class Domains:
    """One's own domains, with all that is below them."""

    def __init__(self, domains: tuple[str, ...]) -> None:
        self.names = tuple(_plain_domain(domain.lstrip("@*.")) for domain in domains)
        self.shapes = {name: _shape(name) for name in self.names}
        self._ends = tuple(f".{name}" for name in self.names)

    def holds(self, domain: str) -> bool:
        """Tell whether a domain is one of these, or below one of them."""
        return domain in self.names or domain.endswith(self._ends)


def targets(text: str, *, hosts: bool) -> Iterator[str]:
    """Yield the domains that a text names: those of each address and each URL in it.

    An address that can be read in two ways is a domain of its own, which is nobody's. Compatibility
    forms are read as they are written, and as programs fold them: `eve\uff20example.com` has a
    domain, and `example.com\uff0f.example.net` two.

    Args:
        text: the value of an argument.
        hosts: whether a bare name with points, such as `example.com`, is a host here.
    """
    for reading in dict.fromkeys((text, folded(text).replace(_IDEOGRAPHIC_STOP, "."))):
        yield from _targets(reading, hosts=hosts)


def _targets(text: str, *, hosts: bool) -> Iterator[str]:
    for word in _SEPARATORS.split(text):
        if not word:
            continue
        url = _URL.match(word)
        if url:
            yield _authority(url[1], url[0] + word[url.end() :])
        elif "@" in word:
            yield from _mailboxes(word)
        elif hosts and (_BARE_HOST.fullmatch(word) or _IP_HOST.fullmatch(word)):
            yield _plain_domain(re.split(r"[:/\\?#]", word, maxsplit=1)[0])


def links(text: str) -> Iterator[str]:
    """Yield the domains of the links in a folded text: of what begins with a scheme or `www.`."""
    for link in _LINK.finditer(text):
        url = _URL.match(link[0])
        if url:
            yield _authority(url[1], link[0])


def _authority(authority: str, url: str) -> str:
    """Return the host of a URL. Browsers and libraries differ on a backslash and on two `@`."""
    user, _, host = authority.rpartition("@")
    if "@" in user or "\\" in url.split("?")[0].split("#")[0]:
        return UNREADABLE
    if host.startswith("["):
        return host.casefold()
    return _plain_domain(host.partition(":")[0])


def _mailboxes(word: str) -> Iterator[str]:
    """Yield the domains of what may be addresses. A handle, `@bob`, has none."""
    address, _, headers = word.partition("?")
    yield from _mailbox(address)
    for header in re.split(r"[?&=]|%2c", headers, flags=re.IGNORECASE):
        if "@" in header:
            yield from _mailbox(header)


def _mailbox(address: str) -> Iterator[str]:
    address = re.sub(r"^mailto:", "", address, flags=re.IGNORECASE)
    local, _, domain = address.rpartition("@")
    if not local and "." not in domain:
        return
    if _MISLEADING.search(local.removeprefix("@")) or not domain:
        yield UNREADABLE
    else:
        # Behind a colon stands a path: `git@example.com:project.git`.
        is_literal = domain.startswith("[")
        yield _plain_domain(domain.strip("[]") if is_literal else domain.partition(":")[0])


def _plain_domain(domain: str) -> str:
    """Return a domain as it is compared. What is invisible stays in it, and so does a letter that
    only looks like another: then it is not one's own."""
    return compatible(domain).casefold().rstrip(".!?:*_`]}")


def carried(text: str) -> bool:
    """Tell whether a URL in a text carries much data after its `?` or `#`."""
    return _DATA.search(text) is not None


def readable(domain: str) -> str:
    """Return a domain as people may read it: with other letters than ASCII also in Punycode
    (RFC 3492), which nothing else looks like."""
    shown = visible(domain, single_line=True, limit=80)
    if domain.isascii():
        return shown
    try:
        # No name is longer (RFC 1035 section 2.3.4).
        punycode = domain[:253].encode("idna").decode()
        return f"{shown} ({visible(punycode, single_line=True, limit=80)})"
    except UnicodeError:
        return f"{shown} (not in Latin letters)"


def looks_like(domain: str, own: Domains) -> str | None:
    """Return the own domain that a domain outside is written like, if there is one."""
    shape = _shape(domain)
    for name, wanted in own.shapes.items():
        if len(wanted) >= 6 and (wanted in shape or wanted.replace(".", "-") in shape):
            return name
    return None


def _shape(domain: str) -> str:
    labels = [_decoded(label) for label in folded(domain[:253]).split(".")]
    return ".".join(labels).translate(_LOOKALIKES).replace("rn", "m").replace("vv", "w")


def _decoded(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    try:
        return label[4:].encode("ascii").decode("punycode")
    except UnicodeError:
        return label
