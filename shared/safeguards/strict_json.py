"""JSON read strictly (RFC 8259; I-JSON, RFC 7493): what is ambiguous is refused."""

from __future__ import annotations

import json
from typing import Any


def parse(text: bytes) -> Any:
    """Return what JSON in UTF-8 says, if it has neither NaN, an infinity nor repeated names.

    Raises:
        ValueError: if it is no JSON, or ambiguous.
        RecursionError: if it nests too deep to be read.
    """
    return json.loads(
        text.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_unique
    )


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON: leave the field out")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise ValueError(f"the name {name[:80]!r} is repeated in one object")
        members[name] = value
    return members
