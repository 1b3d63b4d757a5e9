"""The notifier's plans, made and written: which deliveries there are to be."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import structlog

from safeguards_runtime.channels import Channel
from safeguards_runtime.messaging import HintSender
from safeguards_runtime.records import Action, Approval, Change, Delivery, Record
from safeguards_runtime.records.delivery import DeliveryStatus, source_index
from safeguards_runtime.reloading import InForce
from safeguards_runtime.rules import Rules, unknown_channels
from safeguards_runtime.store import Store
from safeguards_runtime.store.store import MAX_CONFLICTS
from safeguards_runtime.topology import Service, sends
from services.notifier.planning import NEEDS_SIBLINGS, follow, plan
from services.notifier.routing import Route, World

log = structlog.get_logger(__name__)

MAX_SIBLINGS = 1000
"""How many deliveries of one action or approval are looked at."""


class Planner:
    """Plans deliveries, and hands those that are due to the channels' queues.

    Args:
        store: where the records are.
        hints: sends the hints to the channels' queues.
        channels: by name.
        rules: who is told, and by which channels.
    """

    def __init__(
        self,
        store: Store,
        hints: HintSender,
        channels: InForce[Mapping[str, Channel]],
        rules: InForce[Rules],
    ) -> None:
        self._store = store
        self._hints = hints
        self._channels = channels
        self._rules = rules
        self._looked_at: tuple[Rules, Mapping[str, Channel]] | None = None

    async def plan(self, ids: Sequence[str]) -> None:
        """Plan what actions, approvals and deliveries need told, and hint what is due."""
        _, loaded = await self._store.load(ids)
        records = [record for record in loaded if record is not None]
        entangled = [record.id for record in records if _is_entangled(record)]
        written = await self._plan_by_itself(ids, records, set(entangled))
        written += await self._plan_among_siblings(entangled)
        made = {
            change.id: change
            for change in written
            if isinstance(change, Delivery) and change.status is DeliveryStatus.PENDING
        }
        # Looked at, not changed: whoever sends claims them.
        waiting = [r for r in records if isinstance(r, Delivery) and r.id not in entangled]
        if waiting:
            due = await self._store.apply_all(
                [r.id for r in waiting], Delivery, _unchanged, of=Service.NOTIFIER, known=waiting
            )
            made |= {record.id: record for record in due.standing.values()}
        self._hint(made.values())

    def _hint(self, deliveries: Iterable[Delivery]) -> None:
        by_kind: defaultdict[str, list[str]] = defaultdict(list)
        for planned in deliveries:
            # What is planned for later comes up on the agenda.
            if not planned.status.is_final:
                by_kind[planned.kind].append(planned.id)
        for kind, delivery_ids in by_kind.items():
            self._hints.send(sends(kind), delivery_ids)

    async def _plan_by_itself(
        self, ids: Sequence[str], records: Sequence[Record], left_out: set[str]
    ) -> list[Record]:
        """Plan what depends on the record alone. Returns the deliveries made."""
        made: dict[str, list[Record]] = {}

        def rule(record: Action | Approval, now: datetime) -> tuple[Change, ...] | None:
            changes = plan(record, self._world(now))
            made[record.id] = [c.after for c in changes or () if isinstance(c.after, Delivery)]
            return changes

        known = [record for record in records if record.id not in left_out]
        wanted = [i for i in ids if i not in left_out]
        actions = [i for i in wanted if i.startswith("act_")]
        approvals = [i for i in wanted if i.startswith("apr_")]
        await self._store.apply_all(actions, Action, rule, of=Service.NOTIFIER, known=known)
        await self._store.apply_all(approvals, Approval, rule, of=Service.NOTIFIER, known=known)
        return [record for planned in made.values() for record in planned if _is_now(record)]

    async def _plan_among_siblings(self, ids: Sequence[str]) -> list[Record]:
        """Plan what depends on the deliveries so far. Returns all records that were written."""
        pending = list(ids)
        done: list[Record] = []
        for attempt in range(MAX_CONFLICTS):
            if not pending:
                return done
            await asyncio.sleep(0.001 * attempt)
            transactions = [
                changes
                for changes in await asyncio.gather(*map(self._entangled, pending))
                if changes
            ]
            written = await self._store.commit(transactions)
            pending = []
            for changes, records in zip(transactions, written, strict=True):
                if records is None:
                    pending.append(changes[0].after.id)
                else:
                    done += [record for record in records if _is_now(record)]
        if pending:
            log.warning("records keep changing", ids=pending)
        return done

    async def _entangled(self, record_id: str) -> tuple[Change, ...] | None:
        try:
            now, (record,) = await self._store.load([record_id])
            if isinstance(record, Approval):
                return plan(record, self._world(now, await self._siblings(record.id)))
            if isinstance(record, Delivery):
                siblings = await self._siblings(record.source_id)
                _, (source,) = await self._store.load([record.source_id])
                known = source if isinstance(source, Action | Approval) else None
                return follow(record, known, self._world(now, siblings))
        except ValueError:
            log.exception("a record could not be planned", id=record_id)
        return None

    async def _siblings(self, source_id: str) -> list[Delivery]:
        ids = await self._store.listed(source_index(source_id), limit=MAX_SIBLINGS)
        _, records = await self._store.load(ids)
        return [record for record in records if isinstance(record, Delivery)]

    def _warn_of_unknown_channels(self) -> None:
        """Say once, of each version in force, which channels are named that there are not."""
        rules, channels = self._rules.current, self._channels.current
        if self._looked_at is None or not _same(self._looked_at, (rules, channels)):
            self._looked_at = (rules, channels)
            for place in unknown_channels(rules, channels):
                log.warning("there is no such channel", place=place)

    def _world(self, now: datetime, siblings: Sequence[Delivery] = ()) -> World:
        self._warn_of_unknown_channels()
        routes = {
            name: Route(
                name=name,
                kind=channel.kind,
                addressing=channel.sender.addressing,
                reads=channel.sender.reads,
                can_update=channel.sender.can_update,
                min_severity=channel.min_severity,
            )
            for name, channel in self._channels.current.items()
        }
        return World(routes, self._rules.current.directory, now, siblings)


def _same(before: Sequence[object], after: Sequence[object]) -> bool:
    """Tell whether nothing has been read anew."""
    return all(old is new for old, new in zip(before, after, strict=True))


def _is_entangled(record: Record) -> bool:
    """Tell whether its plan depends on the deliveries so far."""
    owed = {entry.event for entry in record.owes(Service.NOTIFIER)}
    return bool(owed & NEEDS_SIBLINGS) or (isinstance(record, Delivery) and bool(owed))


def _is_now(record: Record) -> bool:
    """Tell whether a record is a delivery that was planned to be sent at once."""
    return isinstance(record, Delivery) and not record.postponed


def _unchanged(record: Delivery, now: datetime) -> Change | None:
    return None
