"""A message that could not be understood, set aside for an operator to see and replay."""

from __future__ import annotations

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
    """Base64 of the first 64 KiB."""

    size_bytes: int
    status: SetAsideStatus = SetAsideStatus.HELD
    received_at: datetime

    def indexes(self) -> frozenset[str]:
        """Return the list of its status."""
        return frozenset({f"set_aside:{self.status}"})

    @property
    def is_whole(self) -> bool:
        """Whether all of it was kept, so that it can be replayed."""
        return len(self.payload) * 3 // 4 >= self.size_bytes


def hold(message: SetAsideMessage, now: datetime) -> Change:
    """Set a message aside."""
    detail = {"queue": message.queue, "reason": message.reason}
    return Change(None, message, "set_aside", "worker", now, detail)


def settle(message: SetAsideMessage, status: SetAsideStatus, now: datetime) -> Change | None:
    """Note that an operator has replayed or discarded it."""
    if message.status is not SetAsideStatus.HELD:
        return None
    after = message.model_copy(update={"status": status})
    return Change(message, after, status.value.lower(), "operator", now)
