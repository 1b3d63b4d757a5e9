"""Identifiers: a prefix that says the kind, and a UUIDv7 (RFC 9562 section 5.7) that sorts by time.

| prefix | kind |
| --- | --- |
| `acc` | account of a reviewer |
| `act` | action |
| `apr` | approval |
| `dlv` | delivery |
| `ept` | endpoint of a channel |
| `grt` | grant |
| `hlt` | what is halted |
| `key` | API key |
| `msg` | message set aside |
| `win` | window of what a safeguard counts |
"""

from __future__ import annotations

import hashlib
import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

import uuid6

Prefix = Literal["acc", "act", "apr", "dlv", "ept", "grt", "hlt", "key", "msg", "win"]

_PATTERN = re.compile(
    rf"({'|'.join(get_args(Prefix))})_[0-9a-f]{{12}}7[0-9a-f]{{3}}[89ab][0-9a-f]{{15}}"
)


def new_id(prefix: Prefix) -> str:
    """Return a fresh identifier such as `apr_0190b3c5…` (32 hexadecimal digits)."""
    return f"{prefix}_{uuid6.uuid7().hex}"


def is_id(value: str, *prefixes: Prefix) -> bool:
    """Tell whether `value` is a well-formed identifier, of one of `prefixes` if any are given."""
    match = _PATTERN.fullmatch(value)
    return match is not None and (not prefixes or match[1] in prefixes)


def made_at(identifier: str) -> datetime:
    """Return the time in an identifier (RFC 9562 section 5.7), UTC, to the millisecond."""
    milliseconds = int(identifier.partition("_")[2][:12], 16)
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=min(milliseconds, 2**45))


def earliest_id(prefix: Prefix, moment: datetime) -> str:
    """Return what sorts before every identifier of that kind made in the millisecond of `moment` or
    later, and after all that are older. It is no identifier itself."""
    milliseconds = int(moment.timestamp() * 1000)
    return f"{prefix}_{min(max(milliseconds, 0), 2**48 - 1):012x}"


def twin_id(prefix: Prefix, identifier: str) -> str:
    """Return the identifier with the same UUID under another prefix.

    An action and the approval it needs are twins, so either is found from the other.
    """
    return f"{prefix}_{identifier.partition('_')[2]}"


def named_id(prefix: Prefix, name: str) -> str:
    """Return the one identifier of what is known by `name`; the time in it is zero."""
    raw = bytearray(6) + hashlib.sha256(name.encode()).digest()[:10]
    raw[6] = 0x70 | raw[6] & 0x0F
    raw[8] = 0x80 | raw[8] & 0x3F
    return f"{prefix}_{raw.hex()}"


def derived_id(prefix: Prefix, source_id: str, *parts: str) -> str:
    """Return the one identifier that follows from `source_id` and `parts`.

    The time is that of `source_id`; the rest is hashed. Whoever plans the same delivery twice
    arrives at the same identifier, so that it is made once.
    """
    source = uuid.UUID(source_id.partition("_")[2])
    digest = hashlib.sha256("\x00".join((source.hex, *parts)).encode()).digest()
    raw = source.bytes[:6] + bytes([0x70 | digest[0] & 0x0F, digest[1]])
    raw += bytes([0x80 | digest[2] & 0x3F]) + digest[3:10]
    return f"{prefix}_{raw.hex()}"
