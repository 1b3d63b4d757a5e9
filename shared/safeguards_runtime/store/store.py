"""Access to the store: load records, apply rules to them, read lists, lease what is due."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Generic, NamedTuple, TypeVar, cast

import structlog

from safeguards.contracts import HistoryView
from safeguards.errors import SafeguardsError
from safeguards_runtime.records import Change, Record
from safeguards_runtime.store import encoding
from safeguards_runtime.store.connection import check_durability, connect, execute, raised
from safeguards_runtime.store.lists import Lists
from safeguards_runtime.store.script import Script
from safeguards_runtime.topology import LEASE_SECONDS, Service

log = structlog.get_logger(__name__)

R = TypeVar("R", bound=Record)
Changes = Change | tuple[Change, ...] | None
"""What a rule wants written: one change, several to be written together (that of the record itself
first), or nothing."""

Rule = Callable[[R | None, datetime], Changes]
"""Judges a record as it stands, at the store's time. May raise `Refusal`."""

Seen = tuple[datetime, Record | None]
"""A record (None if there was none) as it was seen at a moment of the store's clock."""

OnHint = Callable[[Service, str], None]
"""Called for each service that a change makes work for, with the record's id."""

MAX_CONFLICTS = 30


class StoreBusyError(SafeguardsError):
    """A record changed under every one of many attempts. Nothing was written; try again."""


class ClaimedError(SafeguardsError):
    """A claim is held: the same idempotency key has been used.

    Attributes:
        holder: the value of the claim.
    """

    def __init__(self, key: str, holder: str) -> None:
        super().__init__(f"claimed: {key}")
        self.key = key
        self.holder = holder


class Applied(NamedTuple, Generic[R]):
    """What became of records that one rule was applied to."""

    standing: dict[str, R]
    """Each as it now stands."""

    changed: frozenset[str]
    """Those that this call changed."""


class Store(Lists):
    """The store, from one event loop.

    Args:
        url: redis://, rediss://, unix:// or sentinel://.
        on_hint: called after each change that makes work for a service.
        max_connections: how many round trips may be under way at once.
        replicas: how many must have what is written or read before it is returned here. Then
            nothing that anybody was told of is undone by a failover to one of them.
    """

    def __init__(
        self,
        url: str,
        *,
        on_hint: OnHint | None = None,
        max_connections: int = 32,
        replicas: int = 0,
    ) -> None:
        super().__init__(connect(url, max_connections))
        self._on_hint = on_hint
        self._replicas = replicas
        self._commit_script = Script("commit")
        self._lease_script = Script("lease")

    async def close(self) -> None:
        """Close the connections."""
        await self.redis.aclose()

    async def check_durability(self) -> None:
        """Make sure that the server, and each that may take its place, syncs every write before it
        answers.

        Raises:
            ConfigurationError: it does not, so that a decision could be lost. (A server that does
                not tell is believed, with a warning.)
        """
        await check_durability(self.redis)

    async def confirmed(self, pipe: Any) -> list[Any]:
        """Run a pipeline; return its replies once the replicas have all that they tell of.

        Raises:
            NotReplicatedError: too few of them have it.
        """
        return raised(await execute(pipe, self._replicas))

    async def load(self, ids: Sequence[str]) -> tuple[datetime, list[Record | None]]:
        """Return the store's time (UTC) and the records, None where there is none.

        Raises:
            NotReplicatedError: too few replicas have them as they stand. So whatever is judged or
                told of a record is of one that lasts.
        """
        async with self.redis.pipeline(transaction=False) as pipe:
            pipe.time()
            for record_id in ids:
                pipe.hmget(encoding.record_key(record_id), ["r", "b"])
            now, *rows = await (self.confirmed(pipe) if ids else pipe.execute())
        decoded = [
            encoding.decode(record_id, row[0], row[1])
            for record_id, row in zip(ids, rows, strict=True)
        ]
        return encoding.store_time(now), decoded

    async def get(self, record_id: str, kind: type[R]) -> R | None:
        """Return one record, or None if there is none of this kind under the id."""
        _, (record,) = await self.load([record_id])
        return record if isinstance(record, kind) else None

    async def now(self) -> datetime:
        """Return the store's time, UTC."""
        return (await self.load([]))[0]

    async def commit(self, transactions: Sequence[Sequence[Change]]) -> list[list[Record] | None]:
        """Write transactions in one round trip, each whole or not at all.

        Returns:
            For each the records as stored, or None where a record had moved on.

        Raises:
            ClaimedError: where a claim is held by another; the others are written.
            NotReplicatedError: some may be written, but could be lost.
        """
        if not transactions:
            return []
        encoded = [encoding.encode(changes) for changes in transactions]
        calls = [(0, words) for words, _ in encoded]
        replies = await self._commit_script.run_all(self.redis, calls, self._replicas)
        results: list[list[Record] | None] = []
        claimed: ClaimedError | None = None
        for changes, (_, records), reply in zip(transactions, encoded, replies, strict=True):
            if reply[0] == -1:
                claimed = ClaimedError(reply[1].decode(), reply[2].decode())
            results.append(records if reply[0] == 1 else None)
            if reply[0] == 1:
                self._hint(changes)
        if claimed is not None:
            raise claimed
        return results

    def _hint(self, changes: Sequence[Change]) -> None:
        if self._on_hint is None:
            return
        for change in changes:
            for service in change.hinted():
                self._on_hint(service, change.after.id)

    async def create(self, change: Change) -> tuple[Record, bool]:
        """Write a new record.

        Returns:
            The record as it stands, and whether this call made it: a lost reply may have made
            the same record before.

        Raises:
            ClaimedError: as `commit`.
        """
        (records,) = await self.commit([[change]])
        if records is not None:
            return records[0], True
        _, (standing,) = await self.load([change.after.id])
        if standing is None:
            raise StoreBusyError(f"{change.after.id} was neither written nor found")
        return standing, False

    async def apply(
        self, record_id: str, kind: type[R], rule: Rule[R], *, seen: Seen | None = None
    ) -> R | None:
        """Judge one record by `rule` and write the change; again if it has moved on meanwhile.

        Args:
            record_id: the record.
            kind: what it must be.
            rule: called at least once.
            seen: the record as just loaded, to spare loading it.

        Returns:
            The record after the change, or as it stands if the rule wants none; None if there
            is no record and the rule makes none.

        Raises:
            Refusal: what the rule raises; nothing is written then.
            StoreBusyError: after 30 conflicts.
        """
        standing: R | None = None

        def of_one(records: Sequence[Record | None], now: datetime) -> tuple[Change, ...]:
            nonlocal standing
            standing = records[0] if isinstance(records[0], kind) else None
            return _together(rule(standing, now))

        first = (seen[0], [seen[1]]) if seen else None
        written = await self.apply_together([record_id], of_one, seen=first)
        return cast(R, written[0]) if written else standing

    async def apply_together(
        self,
        ids: Sequence[str],
        rule: Callable[[Sequence[Record | None], datetime], tuple[Change, ...]],
        *,
        given: Sequence[str] = (),
        seen: tuple[datetime, Sequence[Record | None]] | None = None,
    ) -> list[Record]:
        """Judge records by one rule and write its changes, all or none; again if any that is
        changed has moved on meanwhile, or any of `given`.

        Args:
            ids: the records.
            rule: is given them in this order, None where there is none, and behind them those of
                `given`. Called at least once.
            given: further records, which it is judged by and which the rule leaves as they are.
            seen: the records as just loaded, to spare loading them.

        Returns:
            What was written, in the order of the rule's changes.

        Raises:
            Refusal: what the rule raises; nothing is written then.
            StoreBusyError: after 30 conflicts.
        """
        for attempt in range(MAX_CONFLICTS):
            now, records = seen or await self.load([*ids, *given])
            seen = None
            changes = rule(records, now)
            if not changes:
                return []
            (written,) = await self.commit([_by(changes, given, records[len(ids) :])])
            if written is not None:
                return written
            await asyncio.sleep(0.001 * attempt)
        raise StoreBusyError(f"{', '.join(ids[:3])} keeps changing")

    async def apply_all(
        self,
        ids: Iterable[str],
        kind: type[R],
        rule: Callable[..., Changes],
        *,
        of: Service | None = None,
        known: Iterable[Record] = (),
        given: Sequence[str] = (),
    ) -> Applied[R]:
        """Judge many records by one rule, in few round trips. One that errs does not stop others.

        Args:
            ids: the records.
            kind: what they must be; ids of other kinds are passed over.
            rule: judges one of them as it stands, at the store's time; behind these it is given the
                records of `given`, None where there is none.
            of: the service whose agenda brought them. What is not changed is put back there as
                the record says it is due; an id without a record is taken off.
            known: some of them as they were a moment ago, so that they need not be loaded. If one
                has moved on since, it is loaded and judged anew.
            given: further records, which each is judged by and which the rule leaves as they are.
                If one of them moves on before a change is written, that is judged anew.

        Returns:
            The records as they now stand, and which of them this call changed.
        """
        standing: dict[str, R] = {}
        changed: set[str] = set()
        pending = list(dict.fromkeys(ids))
        at_hand = {record.id: record for record in known}
        for attempt in range(MAX_CONFLICTS):
            if not pending:
                break
            await asyncio.sleep(0.001 * attempt)
            now, found = await self._completed([*pending, *given], at_hand)
            at_hand = {}
            loaded, beside = found[: len(pending)], found[len(pending) :]
            transactions: list[tuple[Change, ...]] = []
            unchanged: list[Record] = []
            for record in loaded:
                if not isinstance(record, kind):
                    continue
                standing[record.id] = record
                change = _judged(rule, record, now, beside)
                if change:
                    transactions.append(_by(change, given, beside))
                elif change is None and of is not None:
                    unchanged.append(record)
            written = await self.commit(transactions)
            if of is not None:
                missing = [i for i, record in zip(pending, loaded, strict=True) if record is None]
                await self._settle(unchanged, missing, of, now)
            pending = []
            for changes, records in zip(transactions, written, strict=True):
                if records is None:
                    pending.append(changes[0].after.id)
                else:
                    standing[records[0].id] = cast(R, records[0])
                    changed.add(records[0].id)
        if pending:
            log.warning("records keep changing", ids=pending)
        return Applied(standing, frozenset(changed))

    async def _completed(
        self, ids: Sequence[str], at_hand: Mapping[str, Record]
    ) -> tuple[datetime, list[Record | None]]:
        """Return the store's time and the records: those at hand, the others loaded."""
        now, loaded = await self.load([i for i in ids if i not in at_hand])
        rest = iter(loaded)
        return now, [at_hand[i] if i in at_hand else next(rest) for i in ids]

    async def _settle(
        self, records: Sequence[Record], missing: Sequence[str], of: Service, now: datetime
    ) -> None:
        """Put back on the agendas what was looked at without a change, as it is due."""
        if missing:
            await self.redis.zrem(encoding.agenda_key(of), *missing)
        calls = [(0, encoding.encode_settling(record, now)) for record in records]
        if calls:
            await self._commit_script.run_all(self.redis, calls)

    async def lease(self, service: Service, limit: int) -> tuple[list[str], float | None]:
        """Lease what is due on a service's agenda, for 15 seconds.

        Returns:
            At most `limit` ids, and the seconds until the next is due (None if nothing is).
        """
        words = [encoding.agenda_key(service), str(limit), str(LEASE_SECONDS * 1000)]
        (reply,) = await self._lease_script.run_all(self.redis, [(1, words)])
        wait = None if reply[0] < 0 else reply[0] / 1000
        return [record_id.decode() for record_id in reply[1:]], wait

    async def holder(self, claim: str) -> str | None:
        """Return the value of a claim, or None if nobody holds it."""
        async with self.redis.pipeline(transaction=False) as pipe:
            pipe.get(claim)
            (value,) = await self.confirmed(pipe)
        return value.decode() if value is not None else None

    async def first_time(self, name: str, seconds: int) -> bool:
        """Tell whether this is the first call with `name` in so many seconds.

        Raises:
            NotReplicatedError: too few replicas know of it, so that it could be the first again.
        """
        async with self.redis.pipeline(transaction=False) as pipe:
            pipe.set(encoding.once_key(name), 1, nx=True, ex=seconds)
            (was_set,) = await self.confirmed(pipe)
        return was_set is not None

    async def take(
        self, wanted: Mapping[str, int], limit: int, window_seconds: float
    ) -> dict[str, tuple[int, float]]:
        """Take from allowances that are filled anew with each window; a window begins when the
        first is taken. What is lost with a failover is only a pace.

        Args:
            wanted: how many, by the allowance's name.
            limit: how many each has in a window.
            window_seconds: how long a window is.

        Returns:
            For each how many were granted, and the seconds until its window ends.
        """
        names = list(wanted)
        async with self.redis.pipeline(transaction=True) as pipe:
            for name in names:
                key = encoding.allowance_key(name)
                pipe.set(key, 0, nx=True, px=max(1, round(window_seconds * 1000)))
                pipe.incrby(key, wanted[name])
                pipe.pttl(key)
            replies = await pipe.execute()
        taken = {}
        for at, name in enumerate(names):
            total, milliseconds = replies[3 * at + 1], replies[3 * at + 2]
            before = total - wanted[name]
            granted = min(wanted[name], max(0, limit - before))
            taken[name] = (granted, max(0, milliseconds) / 1000)
        return taken

    async def secret(self, name: str) -> str:
        """Return the secret of that name, the same for all; made at random when it is first asked
        for."""
        key = encoding.secret_key(name)
        async with self.redis.pipeline(transaction=False) as pipe:
            pipe.set(key, secrets.token_urlsafe(32), nx=True)
            pipe.get(key)
            _, value = await self.confirmed(pipe)
        return str(value.decode())

    async def counters(self) -> dict[str, int]:
        """Return all counters by name (`Change.counts`)."""
        counters = await self.redis.hgetall(encoding.COUNTERS)
        return {name.decode(): int(count) for name, count in counters.items()}

    async def history(self, record_id: str) -> list[HistoryView]:
        """Return every step of a record, the first one first; empty if there is none."""
        async with self.redis.pipeline(transaction=False) as pipe:
            pipe.hgetall(encoding.record_key(record_id))
            (fields,) = await self.confirmed(pipe)
        lines = [
            HistoryView.model_validate_json(value)
            for name, value in fields.items()
            if name.startswith(b"h")
        ]
        return sorted(lines, key=lambda line: line.sequence)


def _together(changes: Changes) -> tuple[Change, ...]:
    if changes is None:
        return ()
    return (changes,) if isinstance(changes, Change) else changes


def _by(
    changes: tuple[Change, ...], given: Sequence[str], records: Sequence[Record | None]
) -> tuple[Change, ...]:
    """Return changes that are written only if the records that they were judged by stand."""
    if not given:
        return changes
    revisions = [record.revision if record else 0 for record in records]
    first, *others = changes
    return (replace(first, given=dict(zip(given, revisions, strict=True))), *others)


def _judged(
    rule: Callable[..., Changes], record: Record, now: datetime, beside: Sequence[Record | None]
) -> tuple[Change, ...] | None:
    try:
        change = rule(record, now, *beside)
    except Exception:
        # Stays leased, so that it is tried again soon but not at once.
        log.exception("a record could not be judged", id=record.id)
        return ()
    return None if change is None else _together(change)
