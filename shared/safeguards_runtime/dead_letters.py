"""Deliveries as an operator looks for them, and sending those that were given up once more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from safeguards_runtime.records import Delivery, delivery
from safeguards_runtime.records.delivery import DeliveryStatus
from safeguards_runtime.store import Store

PAGE_LENGTH = 500


def status_index(status: DeliveryStatus) -> str:
    """Return the list of the deliveries in a status."""
    return f"deliveries:status:{status}"


async def newest(
    store: Store, status: DeliveryStatus, *, before: str | None = None
) -> AsyncIterator[list[Delivery]]:
    """Yield the deliveries in a status, the newest first, in lists of at most 500.

    Args:
        before: the id behind which to go on.
    """
    while True:
        ids = await store.listed(status_index(status), before=before, limit=PAGE_LENGTH)
        if not ids:
            return
        before = ids[-1]
        _, records = await store.load(ids)
        yield [record for record in records if isinstance(record, Delivery)]


def last_error(record: Delivery) -> str | None:
    """Return what went wrong last, in words; None if nothing has."""
    last = record.attempts[-1].error if record.attempts else None
    return record.error or last


async def replay(store: Store, ids: Sequence[str], operator: str) -> frozenset[str]:
    """Send deliveries that were given up once more, at once.

    Args:
        operator: who wants it, for the history.

    Returns:
        Those that are now to be sent: the others were not given up, or not any more.
    """
    applied = await store.apply_all(
        ids, Delivery, lambda record, now: delivery.replay(record, now, operator)
    )
    return applied.changed


async def replay_all(store: Store, channel: str, operator: str) -> list[str]:
    """Send all that were given up once more, of one channel if it is named.

    Returns:
        The deliveries that are now to be sent.
    """
    replayed: list[str] = []
    async for dead in newest(store, DeliveryStatus.DEAD):
        wanted = [record.id for record in dead if channel in ("", record.channel)]
        replayed += await replay(store, wanted, operator)
    return replayed
