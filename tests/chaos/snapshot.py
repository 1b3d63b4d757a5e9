"""The whole store as it stands, and what is left on the broker."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import redis

from safeguards.contracts import HistoryView, Outcome, OutcomePage, Question
from safeguards.identifiers import is_id
from safeguards_runtime.records import Action, Approval, Delivery, Record
from safeguards_runtime.store.encoding import (
    CONFIRMED,
    COUNTERS,
    FEED,
    NEWS,
    TRAIL,
    agenda_key,
    decode,
    index_key,
    names_key,
    rank_key,
    record_key,
)
from safeguards_runtime.topology import Queue, Service

AGENDAS = {agenda_key(service): service for service in Service}
INDEX = index_key("")
RANK = rank_key("")
CLAIM = "sg:claim:"
RECORD = record_key("")


@dataclass
class Snapshot:
    """What was found.

    Attributes:
        records: every record, by its id.
        histories: the lines of each record's history, by their numbers in the store.
        agendas: the ids on each, with the milliseconds at which they are due.
        indexes: the ids in each list.
        ranks: the ids in each list by a number, with those numbers.
        feed: every entry of the outcome feed.
        claims: each claim and its value.
        strays: keys and fields that belong to nothing.
        queues: how many messages each of the broker's queues holds.
    """

    records: dict[str, Record] = field(default_factory=dict)
    histories: dict[str, dict[int, HistoryView]] = field(default_factory=dict)
    agendas: dict[Service, dict[str, float]] = field(default_factory=dict)
    indexes: dict[str, set[str]] = field(default_factory=dict)
    ranks: dict[str, dict[str, int]] = field(default_factory=dict)
    feed: list[Outcome | Question] = field(default_factory=list)
    claims: dict[str, str] = field(default_factory=dict)
    strays: list[str] = field(default_factory=list)
    queues: dict[str, int] = field(default_factory=dict)

    @property
    def asked(self) -> list[Action | Approval]:
        """Everything that ends with an outcome."""
        return [record for record in self.records.values() if isinstance(record, Action | Approval)]

    @property
    def deliveries(self) -> list[Delivery]:
        """Every delivery."""
        return [record for record in self.records.values() if isinstance(record, Delivery)]


PASSING = ("sg:allowance:", "sg:secret:", "sg:once:", names_key(""))
"""What is no record: allowances, secrets, used signatures and plain names."""


def take(store_url: str, broker_url: str) -> Snapshot:
    """Read everything. Nobody may write meanwhile."""
    snapshot = Snapshot()
    # redis-py types each reply as a union of all that any protocol may answer.
    store: Any
    with redis.Redis.from_url(store_url) as store:
        for raw in store.scan_iter(count=1000):
            _read(store, raw.decode(), snapshot)
    with redis.Redis.from_url(broker_url) as broker:
        for queue in Queue:
            snapshot.queues[queue.value] = broker.llen(queue.value)
        snapshot.queues["unacked"] = broker.hlen("unacked")
    return snapshot


def _read(store: Any, key: str, snapshot: Snapshot) -> None:
    if key in AGENDAS:
        entries = store.zrange(key, 0, -1, withscores=True)
        snapshot.agendas[AGENDAS[key]] = {i.decode(): float(at) for i, at in entries}
    elif key.startswith(INDEX):
        found = {i.decode() for i in store.zrange(key, 0, -1)}
        snapshot.indexes[key.removeprefix(INDEX)] = found
    elif key.startswith(RANK):
        entries = store.zrange(key, 0, -1, withscores=True)
        snapshot.ranks[key.removeprefix(RANK)] = {i.decode(): int(rank) for i, rank in entries}
    elif key == FEED:
        bodies = [fields[b"d"].decode() for _, fields in store.xrange(FEED)]
        page = OutcomePage.model_validate_json(f'{{"entries":[{",".join(bodies)}],"cursor":""}}')
        snapshot.feed = list(page.entries)
    elif key.startswith(CLAIM):
        snapshot.claims[key] = (store.get(key) or b"").decode()
    elif key in (CONFIRMED, COUNTERS, NEWS, TRAIL) or key.startswith(PASSING):
        return
    elif is_id(key.removeprefix(RECORD)):
        _read_record(store, key.removeprefix(RECORD), snapshot)
    else:
        snapshot.strays.append(key)


def _read_record(store: Any, record_id: str, snapshot: Snapshot) -> None:
    fields = {name.decode(): value for name, value in store.hgetall(record_key(record_id)).items()}
    record = decode(record_id, fields.pop("r", None), fields.pop("b", None))
    if record is None:
        snapshot.strays.append(record_key(record_id))
        return
    snapshot.records[record_id] = record
    lines = snapshot.histories[record_id] = {}
    for name, value in fields.items():
        if name[0] == "h" and name[1:].isdecimal():
            lines[int(name[1:])] = HistoryView.model_validate_json(value)
        else:
            snapshot.strays.append(f"{record_key(record_id)} field {name}")
