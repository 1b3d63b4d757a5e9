"""What every kind of record has, and what a rule returns: a change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

from safeguards.contracts import HistoryView, Outcome, Question
from safeguards_runtime.topology import HINT_GRACE_SECONDS, Service

NO_HASH = "0" * 64
"""What the first line of a history names as its predecessor."""


class Refusal(Exception):
    """A rule says no. Nothing is changed.

    Attributes:
        code: a stable word for the reason, such as `already_decided`.
        extra: further members for the problem document.
    """

    def __init__(self, code: str, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.extra = extra


class OutboxEntry(BaseModel):
    """What a change makes necessary elsewhere. Struck off by the service that has taken it over."""

    model_config = ConfigDict(frozen=True)

    service: Service
    event: str
    at: datetime


class Record(BaseModel):
    """One record of the store. Immutable: a rule returns a changed copy, in a `Change`."""

    model_config = ConfigDict(frozen=True)

    services: ClassVar[tuple[Service, ...]] = ()
    """The services on whose agenda a record of this kind may stand."""

    is_news: ClassVar[bool] = False
    """Whether each change of a record of this kind is told to those who watch the console."""

    has_history: ClassVar[bool] = True
    """Whether each change of a record of this kind is kept as a line of its history, for ever."""

    id: str
    revision: int = Field(0, exclude=True)
    """How many changes it has seen; 0 before it is stored. Compared and set by the store."""

    history_hash: str = NO_HASH
    outbox: tuple[OutboxEntry, ...] = ()

    def timers(self) -> Mapping[Service, datetime]:
        """Return when a service must look at this record again, apart from its outbox."""
        return {}

    def indexes(self) -> frozenset[str]:
        """Return the lists in which this record is found."""
        return frozenset()

    def ranks(self) -> Mapping[str, int]:
        """Return the lists in which this record is found by a number, such as its deadline in
        milliseconds, each with that number (exact up to 2^53)."""
        return {}

    def forgotten_at(self) -> datetime | None:
        """Return when the store may drop this record; None if it is kept."""
        return None

    def due(self) -> dict[Service, datetime]:
        """Return when each service must look at this record: its entries on the agendas."""
        times = dict(self.timers())
        for entry in self.outbox:
            at = entry.at + timedelta(seconds=HINT_GRACE_SECONDS)
            times[entry.service] = min(at, times.get(entry.service, at))
        return times

    def owes(self, service: Service) -> tuple[OutboxEntry, ...]:
        """Return what the outbox holds for `service`."""
        return tuple(entry for entry in self.outbox if entry.service == service)

    def posted(self, now: datetime, service: Service, event: str) -> Self:
        """Return a copy whose outbox also holds `event` for `service`."""
        entry = OutboxEntry(service=service, event=event, at=now)
        return self.model_copy(update={"outbox": (*self.outbox, entry)})

    def struck(self, service: Service, *events: str) -> Self:
        """Return a copy without what `service` has taken over: `events`, or all of it."""
        rest = tuple(
            entry
            for entry in self.outbox
            if entry.service != service or (events and entry.event not in events)
        )
        return self.model_copy(update={"outbox": rest})

    def body(self) -> bytes:
        """Return the record as it is stored: JSON without what is at its default."""
        return self.model_dump_json(exclude_defaults=True).encode()


@dataclass(frozen=True)
class Change:
    """What a rule returns: a record before and after, and what is written with it.

    Attributes:
        before: the record that was judged, or None if it is new.
        after: the record as it is to be.
        event: the line of history: what happened, such as `approved`.
        actor: who did it: `reviewer:alex`, `agent:trader`, `policy`, or a service's name.
        detail: further facts for the history; JSON types, nothing secret.
        feed: what the agent hears.
        claims: unique keys this change lays hold of, each with its value.
        counts: the counters that it raises by one, for metrics.
        names: the lists of plain names in which a name is now found as of `at`, each with that
            name, such as `agents` with an agent's.
        agent_id: the agent whom it concerns, where the record is not one agent's own.
        given: the records that it was judged by and does not change, each with the revision that it
            must still have when this is written; 0 where there was none.
    """

    before: Record | None
    after: Record
    event: str
    actor: str
    at: datetime
    detail: dict[str, Any] = field(default_factory=dict)
    feed: tuple[Outcome | Question, ...] = ()
    claims: Mapping[str, str] = field(default_factory=dict)
    counts: tuple[str, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    agent_id: str = ""
    given: Mapping[str, int] = field(default_factory=dict)

    def sealed(self) -> tuple[Record, HistoryView]:
        """Return the record as it is stored, and its next line of history."""
        revision = (self.before.revision if self.before else 0) + 1
        previous = self.before.history_hash if self.before else NO_HASH
        line = HistoryView(
            sequence=revision,
            at=self.at,
            event=self.event,
            actor=self.actor,
            detail=self.detail,
            previous=previous,
            hash="",
        )
        line = line.model_copy(update={"hash": history_hash(line)})
        update = {"revision": revision, "history_hash": line.hash}
        return self.after.model_copy(update=update), line

    def hinted(self) -> tuple[Service, ...]:
        """Return the services that this change makes work for at once."""
        known = set(self.before.outbox) if self.before else set()
        return tuple({e.service: None for e in self.after.outbox if e not in known})


def history_hash(line: HistoryView) -> str:
    """Return the SHA-256 of a line of history without its own hash, as 64 hexadecimal digits."""
    content = line.model_dump(mode="json", exclude={"hash"})
    encoded = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(encoded.encode()).hexdigest()
