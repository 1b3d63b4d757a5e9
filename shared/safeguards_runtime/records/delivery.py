"""A delivery: one message to one recipient through one channel, with its attempts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from safeguards_runtime.records.record import Change, Record
from safeguards_runtime.topology import HINT_GRACE_SECONDS, Service

BACKOFF_SECONDS = (5, 30, 120, 600, 1800, 7200, 18000, 36000)
"""How long to wait after each failed attempt; after the last, the delivery is dead."""

SENDING_SECONDS = 30
"""How long an attempt may take, until its end is on record. After that its worker is taken to have
died."""


STARTED = "attempt_started"


class DeliveryStatus(StrEnum):
    """PENDING and SENDING alternate until one of the others ends it."""

    PENDING = "PENDING"
    """To be sent at `next_attempt_at`."""

    SENDING = "SENDING"
    """A worker is at it, until `next_attempt_at` at the latest."""

    SENT = "SENT"
    """The receiver took it."""

    DEAD = "DEAD"
    """Given up: a permanent error, or too many attempts."""

    MOOT = "MOOT"
    """No longer worth sending: what it asks for was decided before it could be sent."""

    @property
    def is_final(self) -> bool:
        """Whether nothing more will be sent."""
        return self not in (DeliveryStatus.PENDING, DeliveryStatus.SENDING)


class Attempt(BaseModel):
    """One try. `error` is None while it runs and if it succeeded."""

    model_config = ConfigDict(frozen=True)

    started_at: datetime
    ended_at: datetime | None = None
    error: str | None = None


class Delivery(Record):
    """One message to one recipient through one channel."""

    services: ClassVar = (Service.NOTIFIER,)

    source_id: str
    """The action or approval that it tells of."""

    event: str
    channel: str
    """The channel's name; `callback` for an agent's own address."""

    kind: str
    """The channel's kind: email, slack, webhook, log."""

    reviewer_id: str | None = None
    address: str | None = None
    """The mail address or callback URL; None if the channel itself has it."""

    version: int = 1
    """The approval's version that the message shows."""

    status: DeliveryStatus = DeliveryStatus.PENDING
    attempts: tuple[Attempt, ...] = ()
    next_attempt_at: datetime
    token_hashes: tuple[str, ...] = ()
    """SHA-256 of the review token of each attempt: any of the mails may be the one that arrived."""

    def timers(self) -> Mapping[Service, datetime]:
        """Return when the next attempt is due, or the running one is taken to have died."""
        return {} if self.status.is_final else {Service.NOTIFIER: self.next_attempt_at}

    def indexes(self) -> frozenset[str]:
        """Return the lists of deliveries: by status, and of its source."""
        return frozenset({f"deliveries:status:{self.status}", f"deliveries:of:{self.source_id}"})


def plan(delivery: Delivery, now: datetime) -> Change:
    """Make a delivery, to be sent at once. The hint has a grace before the agenda repeats it."""
    at = now + timedelta(seconds=HINT_GRACE_SECONDS)
    delivery = delivery.model_copy(update={"next_attempt_at": at})
    detail = {"event": delivery.event, "channel": delivery.channel}
    return Change(None, delivery, "planned", Service.NOTIFIER.value, now, detail)


def is_due(delivery: Delivery, now: datetime) -> bool:
    """Tell whether an attempt may start: nobody is at it, and it is time."""
    if delivery.status is DeliveryStatus.PENDING:
        return not delivery.attempts or now >= delivery.next_attempt_at
    return delivery.status is DeliveryStatus.SENDING and now >= delivery.next_attempt_at


def start(delivery: Delivery, now: datetime, token: str | None) -> Change | None:
    """Begin an attempt: who gets this change through is the only one to send. None if it is not
    time; a change that gives up, if all attempts have been used.

    Args:
        delivery: as it stands in the store.
        now: the store's clock, UTC.
        token: the review token that this attempt's message carries; only its hash is kept.
    """
    if not is_due(delivery, now):
        return None
    if len(delivery.attempts) > len(BACKOFF_SECONDS):
        dead = delivery.model_copy(update={"status": DeliveryStatus.DEAD})
        why = {"error": "each attempt took its worker with it"}
        return Change(delivery, dead, "died", Service.NOTIFIER.value, now, why)
    hashes = delivery.token_hashes
    if token is not None:
        hashes = (*hashes, token_hash(token))
    after = delivery.model_copy(
        update={
            "status": DeliveryStatus.SENDING,
            "attempts": (*delivery.attempts, Attempt(started_at=now)),
            "next_attempt_at": now + timedelta(seconds=SENDING_SECONDS),
            "token_hashes": hashes,
        }
    )
    detail = {"attempt": len(after.attempts)}
    return Change(delivery, after, STARTED, Service.NOTIFIER.value, now, detail)


def token_hash(token: str) -> str:
    """Return what is kept of a review token: its SHA-256, as 64 hexadecimal digits."""
    return hashlib.sha256(token.encode()).hexdigest()


def succeed(delivery: Delivery, attempt: int, now: datetime) -> Change | None:
    """End an attempt (counted from 1) that the receiver took."""
    if delivery.status.is_final:
        return None
    after = _ended(delivery, attempt, now, None)
    after = after.model_copy(update={"status": DeliveryStatus.SENT})
    return Change(delivery, after, "sent", Service.NOTIFIER.value, now, {"attempt": attempt})


def fail(
    delivery: Delivery,
    attempt: int,
    now: datetime,
    *,
    error: str,
    permanent: bool,
    retry_after_seconds: float | None = None,
) -> Change | None:
    """End an attempt (counted from 1) that failed, and say when the next one is due.

    Args:
        error: what went wrong, in words an operator understands.
        permanent: another attempt would fail in the same way.
        retry_after_seconds: what the receiver asked for; obeyed if longer than our own backoff.
    """
    if delivery.status is not DeliveryStatus.SENDING or attempt != len(delivery.attempts):
        return None
    after = _ended(delivery, attempt, now, error[:2000])
    detail = {"attempt": attempt, "error": error[:2000]}
    if permanent or attempt > len(BACKOFF_SECONDS):
        after = after.model_copy(update={"status": DeliveryStatus.DEAD})
        return Change(delivery, after, "died", Service.NOTIFIER.value, now, detail)
    wait = max(_backoff(delivery.id, attempt), min(retry_after_seconds or 0, 24 * 3600))
    after = after.model_copy(
        update={
            "status": DeliveryStatus.PENDING,
            "next_attempt_at": now + timedelta(seconds=wait),
        }
    )
    return Change(delivery, after, "attempt_failed", Service.NOTIFIER.value, now, detail)


def drop(delivery: Delivery, now: datetime, reason: str) -> Change | None:
    """Give up a delivery that has become pointless."""
    if delivery.status.is_final:
        return None
    after = delivery.model_copy(update={"status": DeliveryStatus.MOOT})
    return Change(delivery, after, "dropped", Service.NOTIFIER.value, now, {"reason": reason})


def replay(delivery: Delivery, now: datetime, operator: str) -> Change | None:
    """Send a dead delivery once more, with its attempts counted anew."""
    if delivery.status is not DeliveryStatus.DEAD:
        return None
    after = delivery.model_copy(
        update={"status": DeliveryStatus.PENDING, "attempts": (), "next_attempt_at": now}
    )
    return Change(delivery, after, "replayed", operator, now)


def _ended(delivery: Delivery, attempt: int, now: datetime, error: str | None) -> Delivery:
    attempts = list(delivery.attempts)
    if attempt <= len(attempts):
        attempts[attempt - 1] = attempts[attempt - 1].model_copy(
            update={"ended_at": now, "error": error}
        )
    return delivery.model_copy(update={"attempts": tuple(attempts)})


def _backoff(delivery_id: str, attempt: int) -> float:
    """Return the seconds after a failed attempt, spread by ±20 % so that not all come at once."""
    base = BACKOFF_SECONDS[attempt - 1]
    spread = hashlib.sha256(f"{delivery_id}:{attempt}".encode()).digest()[0] / 255
    return base * (0.8 + 0.4 * spread)
