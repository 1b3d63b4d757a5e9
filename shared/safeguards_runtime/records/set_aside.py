"""A message that could not be understood, set aside for an operator to see and replay."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum

from safeguards_runtime.records.record import Change, Record


class SetAsideStatus(StrEnum):
    """What became of a message that was set aside."""

    HELD = "HELD"
    REPLAYED = "REPLAYED"
    DISCARDED = "DISCARDED"


class SetAsideMessage(Record):
    """A message as it came off a queue."""

    queue: str
    reason: str
    payload: str
    """Base64; of what was too large only the beginning."""

    size_bytes: int
    is_publication: bool = False
    """Whether it is the publication that a message carried, not the message."""

    status: SetAsideStatus = SetAsideStatus.HELD
    received_at: datetime

    def indexes(self) -> frozenset[str]:
        """Return the list of its status."""
        return frozenset({f"set_aside:{self.status}"})

    @property
    def is_whole(self) -> bool:
        """Whether all of it was kept, so that it can be replayed."""
        return len(base64.b64decode(self.payload)) >= self.size_bytes


def hold(message: SetAsideMessage, now: datetime, claims: Mapping[str, str]) -> Change:
    """Set a message aside, once for each of the unique keys `claims`."""
    detail = {"queue": message.queue, "reason": message.reason}
    return Change(None, message, "set_aside", "worker", now, detail, claims=claims)


def hold_again(message: SetAsideMessage | None, now: datetime) -> Change | None:
    """Note that what was replayed has come back. None if it is held."""
    if message is None or message.status is not SetAsideStatus.REPLAYED:
        return None
    after = message.model_copy(update={"status": SetAsideStatus.HELD})
    return Change(message, after, "set_aside_again", "worker", now)


def settle(message: SetAsideMessage, status: SetAsideStatus, now: datetime) -> Change | None:
    """Note that an operator has replayed or discarded it."""
    if message.status is not SetAsideStatus.HELD:
        return None
    after = message.model_copy(update={"status": status})
    return Change(message, after, status.value.lower(), "operator", now)
