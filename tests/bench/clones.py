"""A great many pending approvals: one is written by the product itself, the others are its clones.

A clone has all that the original has in the store, under other ids: the record with its history,
the records of its deliveries, and their places in the lists and on the agendas. Identifiers are all
of one length, so what writes a clone is what would write the original, with its ids replaced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis

from safeguards.identifiers import derived_id, new_id
from safeguards_runtime.records import Approval, Delivery, Record
from safeguards_runtime.store import Store
from safeguards_runtime.store.encoding import (
    agenda_key,
    index_key,
    milliseconds,
    rank_key,
    record_key,
)

AT_ONCE = 500
SYNCED = "sg:bench:synced"

Word = str | bytes


@dataclass(frozen=True)
class Template:
    """One approval at rest, and the commands that would write it.

    Attributes:
        approval_id: its id.
        deliveries: its deliveries.
        writing: the commands, packed for the wire.
        removing: those that would undo them.
    """

    approval_id: str
    deliveries: tuple[Delivery, ...]
    writing: bytes
    removing: bytes

    @classmethod
    async def of(cls, store: Store, approval_id: str) -> Template:
        """Read an approval of which nothing is left to be done but to answer it."""
        ids = await store.listed(f"deliveries:of:{approval_id}")
        _, records = await store.load([approval_id, *ids])
        writing: list[list[Word]] = []
        removing: list[list[Word]] = []
        for record in records:
            assert isinstance(record, Approval | Delivery)
            key = record_key(record.id)
            fields: dict[bytes, bytes] = await store.redis.hgetall(key)
            writing.append(["HSET", key, *(word for pair in fields.items() for word in pair)])
            removing.append(["UNLINK", key])
            for place, score in _places(record).items():
                writing.append(["ZADD", place, str(score), record.id])
                removing.append(["ZREM", place, record.id])
        found = tuple(record for record in records if isinstance(record, Delivery))
        assert all(_delivery_id(delivery, approval_id) == delivery.id for delivery in found)
        return cls(approval_id, found, _packed(writing), _packed(removing))

    def renamed(self, commands: bytes, approval_id: str) -> bytes:
        """Return `commands` (`writing` or `removing`) for a clone."""
        for delivery in self.deliveries:
            clone_id = _delivery_id(delivery, approval_id)
            commands = commands.replace(delivery.id.encode(), clone_id.encode())
        return commands.replace(self.approval_id.encode(), approval_id.encode())


def _places(record: Record) -> dict[str, int]:
    """Return the sorted sets in which a record stands, each with its score there."""
    lists = {index_key(name): 0 for name in record.indexes()}
    agendas = {agenda_key(service): milliseconds(at) for service, at in record.due().items()}
    return lists | agendas | {rank_key(name): rank for name, rank in record.ranks().items()}


def _delivery_id(delivery: Delivery, approval_id: str) -> str:
    """Return the id that `services.notifier.planning` gives such a delivery of an approval."""
    who = delivery.reviewer_id or ""
    parts = (delivery.event, str(delivery.version), delivery.channel, who)
    return derived_id("dlv", approval_id, *parts)


def _packed(commands: list[list[Word]]) -> bytes:
    wire: Any = redis.Connection
    pack = wire().pack_command
    return b"".join(part for command in commands for part in pack(*command))


def write(store_url: str, template: Template, number: int) -> list[str]:
    """Write `number` clones; return their ids, in the order of time.

    Nothing is synced to disk while they are written; when this returns, everything is. From then on
    the store does not rewrite its file by itself: that is now and then, and no steady cost.
    """
    ids = [new_id("apr") for _ in range(number)]
    with redis.Redis.from_url(store_url) as client:
        client.config_set("auto-aof-rewrite-percentage", 0)
        client.config_set("appendfsync", "no")
        _send(client, template, template.writing, ids)
        client.config_set("appendfsync", "always")
        client.set(SYNCED, 1)  # brings all before it to disk
        client.delete(SYNCED)
    return ids


def remove(store_url: str, template: Template, ids: list[str]) -> None:
    """Take clones out again, and let the store rewrite its file as before."""
    with redis.Redis.from_url(store_url) as client:
        _send(client, template, template.removing, ids)
        client.config_set("auto-aof-rewrite-percentage", 100)


def _send(client: Any, template: Template, commands: bytes, ids: list[str]) -> None:
    """Send the commands for each of `ids`, without waiting for replies in between."""
    connection = client.connection_pool.get_connection()
    try:
        connection.send_command("CLIENT", "REPLY", "OFF")
        for start in range(0, len(ids), AT_ONCE):
            some = ids[start : start + AT_ONCE]
            connection.send_packed_command([b"".join(template.renamed(commands, i) for i in some)])
        connection.send_command("CLIENT", "REPLY", "ON")
        connection.read_response()
    finally:
        client.connection_pool.release(connection)
