"""An endpoint: where a channel's messages go, and whether it takes them. A circuit breaker.

There is a record only of those that have failed. All workers see the same one, so that one
worker's failures spare the others theirs.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar

from safeguards.identifiers import named_id
from safeguards_runtime.records.record import Change, Record
from safeguards_runtime.topology import Service

FAILURES_TO_OPEN = 5
"""So many failures in a row, of whatever delivery, and nothing is sent for a while."""

DOWN_SECONDS = (30, 60, 120, 300, 600)
"""How long nothing is sent: the first time, the second time in a row, and so on."""


MAX_WISH_SECONDS = 24 * 3600
"""How long an endpoint can have nothing sent to it by asking for it."""


class EndpointStatus(StrEnum):
    """Whether messages are sent to an endpoint."""

    UP = "UP"
    """They are, but for the time that it asked for itself."""

    DOWN = "DOWN"
    """Not until `down_until`; then one is tried."""

    DISABLED = "DISABLED"
    """Not until an operator enables it: it said that it wants nothing any more."""


class Endpoint(Record):
    """Where a channel's messages go."""

    services: ClassVar = ()

    name: str
    """The channel's name; `callback:`, the agent and the host for an agent's own."""

    status: EndpointStatus = EndpointStatus.UP
    failures: int = 0
    """In a row."""

    openings: int = 0
    """How often in a row it was taken down."""

    down_until: datetime | None = None
    error: str = ""
    """The last one."""

    changed_at: datetime

    def indexes(self) -> frozenset[str]:
        """Return the list of all that have failed."""
        return frozenset({"endpoints"})

    def takes_at(self, now: datetime) -> datetime | None:
        """Return until when nothing is to be sent; None if something may be sent now."""
        if self.down_until is None or now >= self.down_until:
            return None
        return self.down_until


def endpoint_id(name: str) -> str:
    """Return the identifier of the endpoint of that name."""
    return named_id("ept", name)


def failed(
    endpoint: Endpoint | None,
    name: str,
    now: datetime,
    error: str,
    *,
    is_gone: bool = False,
    retry_after_seconds: float | None = None,
) -> Change | None:
    """Note that it did not take a message for a reason of its own. None if it is disabled.

    Args:
        endpoint: as it stands in the store, or None.
        name: the endpoint's.
        now: the store's clock, UTC.
        error: what went wrong, in words an operator understands.
        is_gone: it wants nothing any more.
        retry_after_seconds: what it asked for: nothing is sent to it for so long, up to a day.
    """
    before = endpoint
    if before is None:
        endpoint = Endpoint(id=endpoint_id(name), name=name, changed_at=now)
    assert endpoint is not None  # noqa: S101 - made above
    if endpoint.status is EndpointStatus.DISABLED:
        return None
    failures = endpoint.failures + 1
    update: dict[str, Any] = {"failures": failures, "error": error[:500], "changed_at": now}
    event = "failed"
    if is_gone:
        update |= {"status": EndpointStatus.DISABLED, "down_until": None}
        event = "disabled"
    else:
        held_until = endpoint.takes_at(now)
        seconds: float = 0
        # What was under way when it was taken down says nothing new.
        if failures >= FAILURES_TO_OPEN and held_until is None:
            seconds = DOWN_SECONDS[min(endpoint.openings, len(DOWN_SECONDS) - 1)]
            update["openings"] = endpoint.openings + 1
            update["status"] = EndpointStatus.DOWN
            event = "taken_down"
        wish = min(retry_after_seconds or 0, MAX_WISH_SECONDS)
        if wish > seconds:
            seconds, event = wish, "asked_to_wait"
        if seconds:
            until = max(held_until or now, now + timedelta(seconds=seconds))
            update["down_until"] = until
    after = endpoint.model_copy(update=update)
    detail = {"error": error[:500], "failures": after.failures}
    return Change(before, after, event, Service.NOTIFIER.value, now, detail)


def succeeded(endpoint: Endpoint | None, now: datetime) -> Change | None:
    """Note that it took a message. None if there is nothing to forget."""
    if endpoint is None or endpoint.status is EndpointStatus.DISABLED or not endpoint.failures:
        return None
    if endpoint.status is EndpointStatus.UP and endpoint.takes_at(now):
        return None  # it was under way when the endpoint asked to be left alone
    return _up(endpoint, now, "recovered", Service.NOTIFIER.value)


def enable(endpoint: Endpoint, now: datetime, operator: str) -> Change | None:
    """Send to it again. None if nothing is in the way."""
    if endpoint.status is EndpointStatus.UP and endpoint.takes_at(now) is None:
        return None
    return _up(endpoint, now, "enabled", operator)


def _up(endpoint: Endpoint, now: datetime, event: str, actor: str) -> Change:
    update = {
        "status": EndpointStatus.UP,
        "failures": 0,
        "openings": 0,
        "down_until": None,
        "error": "",
        "changed_at": now,
    }
    return Change(endpoint, endpoint.model_copy(update=update), event, actor, now)
