"""A delivery: one message to one recipient through one channel, with its attempts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from safeguards_runtime.records.events import ASKING
from safeguards_runtime.records.record import Change, Record
from safeguards_runtime.topology import HINT_GRACE_SECONDS, Service

BACKOFF_SECONDS = (5, 30, 120, 600, 1800, 7200, 18000, 36000)
"""How long to wait after each failed attempt; after the last, the delivery is dead."""

WEBHOOK_BACKOFF_SECONDS = (5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
"""The same for webhooks, whose receivers are given longer to come back."""

SENDING_SECONDS = 30
"""How long an attempt may take, until its end is on record. After that its worker is taken to have
died."""

CALLBACK = "callback"
"""The name of the channel to an agent's own callback URL; no other channel may have it."""

STARTED = "attempt_started"

# What the notifier does after an attempt, in the outbox of the delivery.
FALL_BACK = "fall_back"
"""It failed: the next channel of its chain is tried."""

DIED = "died"
"""It is given up: perhaps nobody has been reached."""

PLACED = "placed"
"""It can be changed where it is: perhaps what it shows has been overtaken."""


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
    """The channel's name; `CALLBACK` for an agent's own address."""

    kind: str
    """The channel's kind: email, slack, webhook, log, or that of one's own."""

    reads: Literal["people", "programs", "nobody"] = "programs"
    """Who reads what this channel sends."""

    reviewer_id: str | None = None
    stands_in_for: str | None = None
    """The reviewer who is away, if it goes to somebody in their stead."""

    address: str | None = None
    """The mail address or callback URL; None if the channel itself has it."""

    agent_id: str = ""
    """Whose action it tells of."""

    version: int = 1
    """The approval's version that the message shows."""

    fallbacks: tuple[str, ...] = ()
    """The channels by which the recipient is told if this one fails, in their order."""

    thread_id: str | None = None
    """The delivery with which all began that this recipient is told of the same thing by this
    channel."""

    begins_thread: bool = False
    thread_reference: str | None = None
    """Where the first message of the thread is at the receiver."""

    updates: str | None = None
    """The delivery whose message this one changes, rather than sending a new one."""

    reference: str | None = None
    """Where the message is at the receiver: of what was sent, or of what this changes."""

    planned_at: datetime | None = None
    status: DeliveryStatus = DeliveryStatus.PENDING
    attempts: tuple[Attempt, ...] = ()
    next_attempt_at: datetime
    postponed: int = 0
    """How often it had to wait for something other than a failure of its own."""

    gathers: bool = False
    """Whether it has waited because messages came thick, and goes along with others that did."""

    parcel_id: str | None = None
    """The delivery whose message stood for this one as well, if there were several."""

    error: str = ""
    """Why it was given up."""

    token_hashes: tuple[str, ...] = ()
    """SHA-256 of the review token of each attempt: any of the mails may be the one that arrived."""

    @property
    def asks(self) -> bool:
        """Whether it asks for an answer."""
        return self.event in ASKING and self.updates is None

    @property
    def lane(self) -> str:
        """What it shares with all that may travel in one message with it."""
        if self.updates:
            return f"{self.channel}:update:{self.reference}"
        to = self.reviewer_id or self.address or ""
        return f"{self.channel}:{'ask' if self.asks else 'tell'}:{to}"

    @property
    def endpoint(self) -> str:
        """The name of the endpoint that it goes to: the channel, or the host of a callback."""
        if self.channel != CALLBACK:
            return self.channel
        # Of one agent: what another one's callbacks run into is nothing to it.
        return f"{CALLBACK}:{self.agent_id}:{urlsplit(self.address or '').netloc}"

    def timers(self) -> Mapping[Service, datetime]:
        """Return when the next attempt is due, or the running one is taken to have died."""
        if self.status.is_final:
            return {}
        # What was just planned has a hint under way.
        is_hinted = not (self.attempts or self.postponed)
        grace = timedelta(seconds=HINT_GRACE_SECONDS if is_hinted else 0)
        return {Service.NOTIFIER: self.next_attempt_at + grace}

    def indexes(self) -> frozenset[str]:
        """Return the lists of deliveries: by status, of its source, of its lane or parcel."""
        names = {f"deliveries:status:{self.status}", source_index(self.source_id)}
        if self.status is DeliveryStatus.PENDING and self.postponed and self.reads == "people":
            names.add(lane_index(self.lane))
        if self.parcel_id:
            names.add(parcel_index(self.parcel_id))
        return frozenset(names)


def source_index(source_id: str) -> str:
    """Return the list of the deliveries that tell of an action or approval."""
    return f"deliveries:of:{source_id}"


def lane_index(lane: str) -> str:
    """Return the list of what waits in a lane to travel in one message."""
    return f"deliveries:lane:{lane}"


def parcel_index(parcel_id: str) -> str:
    """Return the list of what one message stood for."""
    return f"deliveries:parcel:{parcel_id}"


def _change(
    before: Delivery | None,
    after: Delivery,
    event: str,
    now: datetime,
    detail: dict[str, Any] | None = None,
    actor: str = Service.NOTIFIER.value,
) -> Change:
    """Return a change that is also counted, by channel and by what happened."""
    counts = (f"deliveries:{event}:{after.channel}",)
    return Change(before, after, event, actor, now, detail or {}, counts=counts)


def plan(delivery: Delivery, now: datetime, not_before: datetime | None = None) -> Change:
    """Make a delivery, to be sent at once, or not before a time (the recipient's quiet hours)."""
    later = not_before if not_before is not None and not_before > now else None
    update = {"next_attempt_at": later or now, "postponed": 1 if later else 0, "planned_at": now}
    delivery = delivery.model_copy(update=update)
    detail = {"event": delivery.event, "channel": delivery.channel}
    if delivery.stands_in_for:
        detail["for"] = delivery.stands_in_for
    return _change(None, delivery, "planned", now, detail)


def is_due(delivery: Delivery, now: datetime) -> bool:
    """Tell whether an attempt may start: nobody is at it, and it is time."""
    return not delivery.status.is_final and now >= delivery.next_attempt_at


def postpone(
    delivery: Delivery,
    until: datetime,
    now: datetime,
    reason: str,
    *,
    falls_back: bool = False,
    gathers: bool = False,
) -> Change | None:
    """Let a delivery wait for something other than a failure of its own.

    Args:
        until: when it may be tried.
        reason: what it waits for, in words an operator understands.
        falls_back: whether the next channel of its chain is tried meanwhile.
        gathers: whether it is then to go along with what else waits for its recipient.
    """
    if delivery.status.is_final:
        return None
    update = {
        "status": DeliveryStatus.PENDING,
        "next_attempt_at": until,
        "postponed": delivery.postponed + 1,
        "gathers": gathers or delivery.gathers,
    }
    after = delivery.model_copy(update=update)
    if falls_back:
        after = _falling_back(after, now)
    return _change(delivery, after, "postponed", now, {"reason": reason})


def _falling_back(delivery: Delivery, now: datetime) -> Delivery:
    """Return the delivery with the wish for the next channel in its outbox, if there is one."""
    wished = any(entry.event == FALL_BACK for entry in delivery.outbox)
    if wished or not delivery.fallbacks:
        return delivery
    return delivery.posted(now, Service.NOTIFIER, FALL_BACK)


def start(
    delivery: Delivery, now: datetime, token: str | None, parcel_id: str | None = None
) -> Change | None:
    """Begin an attempt: who gets this change through is the only one to send. None if it is not
    time; a change that gives up, if all attempts have been used.

    Args:
        delivery: as it stands in the store.
        now: the store's clock, UTC.
        token: the review token that this attempt's message carries; only its hash is kept.
        parcel_id: the delivery whose message stands for this one too, if there are several.
    """
    # What waits to travel with others goes when they go.
    waits_for_others = delivery.status is DeliveryStatus.PENDING and parcel_id is not None
    if not (is_due(delivery, now) or (waits_for_others and not delivery.status.is_final)):
        return None
    if len(delivery.attempts) > len(_backoffs(delivery)):
        why = {"error": "each attempt took its worker with it"}
        return _died(delivery, _falling_back(delivery, now), now, why)
    hashes = delivery.token_hashes
    if token is not None:
        hashes = (*hashes, token_hash(token))
    after = delivery.model_copy(
        update={
            "status": DeliveryStatus.SENDING,
            "attempts": (*delivery.attempts, Attempt(started_at=now)),
            "next_attempt_at": now + timedelta(seconds=SENDING_SECONDS),
            "token_hashes": hashes,
            "parcel_id": parcel_id,
        }
    )
    detail = {"attempt": len(after.attempts)}
    return _change(delivery, after, STARTED, now, detail)


def token_hash(token: str) -> str:
    """Return what is kept of a review token: its SHA-256, as 64 hexadecimal digits."""
    return hashlib.sha256(token.encode()).hexdigest()


def succeed(
    delivery: Delivery, attempt: int, now: datetime, reference: str | None = None
) -> Change | None:
    """End an attempt (counted from 1) that the receiver took.

    Args:
        reference: where the message is at the receiver, if it can be changed there.
    """
    if delivery.status.is_final:
        return None
    after = _ended(delivery, attempt, now, None)
    update: dict[str, Any] = {"status": DeliveryStatus.SENT}
    if reference is not None:
        update["reference"] = reference
    after = after.model_copy(update=update)
    if reference is not None and after.asks:
        after = after.posted(now, Service.NOTIFIER, PLACED)
    return _change(delivery, after, "sent", now, {"attempt": attempt})


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
    after = _falling_back(_ended(delivery, attempt, now, error[:2000]), now)
    detail = {"attempt": attempt, "error": error[:2000]}
    if permanent or attempt > len(_backoffs(delivery)):
        return _died(delivery, after, now, detail)
    wait = max(_backoff(delivery, attempt), min(retry_after_seconds or 0, 24 * 3600))
    after = after.model_copy(
        update={
            "status": DeliveryStatus.PENDING,
            "next_attempt_at": now + timedelta(seconds=wait),
        }
    )
    return _change(delivery, after, "attempt_failed", now, detail)


def called_off(
    delivery: Delivery, attempt: int, until: datetime, now: datetime, reason: str
) -> Change | None:
    """Take back an attempt (counted from 1) in which nothing was sent; it waits until `until`."""
    if delivery.status is not DeliveryStatus.SENDING or attempt != len(delivery.attempts):
        return None
    without = delivery.model_copy(update={"attempts": delivery.attempts[:-1]})
    change = postpone(without, until, now, reason)
    assert change is not None  # noqa: S101 - it is not final
    return replace(change, before=delivery)


def give_up(delivery: Delivery, now: datetime, error: str) -> Change | None:
    """Give up a delivery without an attempt: it could only fail."""
    if delivery.status.is_final:
        return None
    return _died(delivery, _falling_back(delivery, now), now, {"error": error[:2000]})


def _died(before: Delivery, after: Delivery, now: datetime, detail: dict[str, Any]) -> Change:
    after = after.model_copy(update={"status": DeliveryStatus.DEAD, "error": detail["error"]})
    if after.asks:
        after = after.posted(now, Service.NOTIFIER, DIED)
    return _change(before, after, DIED, now, detail)


def settled(delivery: Delivery, now: datetime) -> Change | None:
    """Note that what follows from how an attempt ended has been done."""
    owed = delivery.owes(Service.NOTIFIER)
    if not owed:
        return None
    after = delivery.struck(Service.NOTIFIER)
    if any(entry.event == FALL_BACK for entry in owed):
        after = after.model_copy(update={"fallbacks": ()})
    events = [entry.event for entry in owed]
    return Change(delivery, after, "settled", Service.NOTIFIER.value, now, {"events": events})


def drop(delivery: Delivery, now: datetime, reason: str) -> Change | None:
    """Give up a delivery that has become pointless."""
    if delivery.status.is_final:
        return None
    after = delivery.model_copy(update={"status": DeliveryStatus.MOOT})
    return _change(delivery, after, "dropped", now, {"reason": reason})


def replay(delivery: Delivery, now: datetime, operator: str) -> Change | None:
    """Send a dead delivery once more, with its attempts counted anew."""
    if delivery.status is not DeliveryStatus.DEAD:
        return None
    update = {
        "status": DeliveryStatus.PENDING,
        "attempts": (),
        "next_attempt_at": now,
        "postponed": 1,
        "error": "",
    }
    after = delivery.model_copy(update=update).struck(Service.NOTIFIER)
    return _change(delivery, after, "replayed", now, actor=operator)


def _ended(delivery: Delivery, attempt: int, now: datetime, error: str | None) -> Delivery:
    attempts = list(delivery.attempts)
    if attempt <= len(attempts):
        attempts[attempt - 1] = attempts[attempt - 1].model_copy(
            update={"ended_at": now, "error": error}
        )
    return delivery.model_copy(update={"attempts": tuple(attempts)})


def _backoffs(delivery: Delivery) -> tuple[int, ...]:
    is_webhook = delivery.kind in ("webhook", CALLBACK)
    return WEBHOOK_BACKOFF_SECONDS if is_webhook else BACKOFF_SECONDS


def _backoff(delivery: Delivery, attempt: int) -> float:
    """Return the seconds after a failed attempt, spread by ±20 % so that not all come at once."""
    base = _backoffs(delivery)[attempt - 1]
    spread = hashlib.sha256(f"{delivery.id}:{attempt}".encode()).digest()[0] / 255
    return base * (0.8 + 0.4 * spread)
