"""Access to the store: load records, apply rules to them, read lists, lease what is due."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar, cast

import structlog
from redis.asyncio import Redis
from redis.asyncio.connection import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import NoScriptError, ResponseError

from safeguards.contracts import HistoryView
from safeguards.errors import ConfigurationError, SafeguardsError
from safeguards_runtime.records import Change, Record
from safeguards_runtime.store import encoding
from safeguards_runtime.topology import LEASE_SECONDS, Service

log = structlog.get_logger(__name__)

R = TypeVar("R", bound=Record)
Rule = Callable[[R | None, datetime], Change | None]
"""Judges a record as it stands, at the store's time. May raise `Refusal`."""

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


class _Script:
    """A Lua script, sent by its hash, and whole once when the server does not know it."""

    def __init__(self, name: str) -> None:
        self._source = Path(__file__).with_name(f"{name}.lua").read_text()
        self._sha: str | None = None

    async def run_all(
        self, redis: Any, calls: Sequence[tuple[int, Sequence[encoding.Word]]]
    ) -> list[Any]:
        """Run the script once for each (number of keys, keys and arguments), in one round trip."""
        if self._sha is None:
            self._sha = await redis.script_load(self._source)
        replies = await self._pipelined(redis, calls)
        unknown = [at for at, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            await redis.script_load(self._source)
            again = await self._pipelined(redis, [calls[at] for at in unknown])
            for at, reply in zip(unknown, again, strict=True):
                replies[at] = reply
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        return replies

    async def _pipelined(
        self, redis: Any, calls: Sequence[tuple[int, Sequence[encoding.Word]]]
    ) -> list[Any]:
        async with redis.pipeline(transaction=False) as pipe:
            for keys, words in calls:
                pipe.evalsha(self._sha, keys, *words)
            replies: list[Any] = await pipe.execute(raise_on_error=False)
            return replies


class Applied(NamedTuple, Generic[R]):
    """What became of records that one rule was applied to."""

    standing: dict[str, R]
    """Each as it now stands."""

    changed: frozenset[str]
    """Those that this call changed."""


class Store:
    """The store, from one event loop.

    Args:
        url: redis://, rediss:// or unix://.
        on_hint: called after each change that makes work for a service.
        max_connections: how many round trips may be under way at once.
    """

    def __init__(
        self, url: str, *, on_hint: OnHint | None = None, max_connections: int = 32
    ) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=max_connections,
            timeout=10,
            socket_timeout=10,
            socket_connect_timeout=5,
            socket_keepalive=True,
            health_check_interval=25,
            # Connections go stale when the server restarts. Reads and commits may be repeated: a
            # commit whose answer was lost finds its record moved on, and looks at it anew.
            retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 3),
        )
        # redis-py types each reply as a union of all that any protocol may answer.
        self.redis: Any = Redis.from_pool(pool)
        self._on_hint = on_hint
        self._commit_script = _Script("commit")
        self._lease_script = _Script("lease")

    async def close(self) -> None:
        """Close the connections."""
        await self.redis.aclose()

    async def check_durability(self) -> None:
        """Make sure that the server syncs every write before it answers.

        Raises:
            ConfigurationError: it does not, so that a decision could be lost. (A server that does
                not tell is believed, with a warning.)
        """
        try:
            told = await self.redis.config_get("appendonly", "appendfsync")
        except ResponseError:
            log.warning("the store does not tell whether it syncs every write: see to it")
            return
        found = {_text(name): _text(value) for name, value in told.items()}
        if found != {"appendonly": "yes", "appendfsync": "always"}:
            raise ConfigurationError(
                f"the store must run with `appendonly yes` and `appendfsync always`; it has {found}"
            )

    async def load(self, ids: Sequence[str]) -> tuple[datetime, list[Record | None]]:
        """Return the store's time (UTC) and the records, None where there is none."""
        async with self.redis.pipeline(transaction=False) as pipe:
            pipe.time()
            for record_id in ids:
                pipe.hmget(encoding.record_key(record_id), ["r", "b"])
            now, *rows = await pipe.execute()
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
        """
        encoded = [encoding.encode(changes) for changes in transactions]
        calls = [(0, words) for words, _ in encoded]
        replies = await self._commit_script.run_all(self.redis, calls)
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

    async def apply(self, record_id: str, kind: type[R], rule: Rule[R]) -> R | None:
        """Judge one record by `rule` and write the change; again if it has moved on meanwhile.

        Returns:
            The record after the change, or as it stands if the rule wants none; None if there
            is no record and the rule makes none.

        Raises:
            Refusal: what the rule raises; nothing is written then.
            StoreBusyError: after 30 conflicts.
        """
        for attempt in range(MAX_CONFLICTS):
            now, (record,) = await self.load([record_id])
            standing = record if isinstance(record, kind) else None
            change = rule(standing, now)
            if change is None:
                return standing
            (written,) = await self.commit([[change]])
            if written is not None:
                return cast(R, written[0])
            await asyncio.sleep(0.001 * attempt)
        raise StoreBusyError(f"{record_id} keeps changing")

    async def apply_all(
        self,
        ids: Iterable[str],
        kind: type[R],
        rule: Callable[[R, datetime], Change | tuple[Change, ...] | None],
        *,
        of: Service | None = None,
    ) -> Applied[R]:
        """Judge many records by one rule, in few round trips. One that errs does not stop others.

        Args:
            ids: the records.
            kind: what they must be; ids of other kinds are passed over.
            rule: returns one change, several to be written together (the record's own first), or
                None.
            of: the service whose agenda brought them. What is not changed is put back there as
                the record says it is due; an id without a record is taken off.

        Returns:
            The records as they now stand, and which of them this call changed.
        """
        standing: dict[str, R] = {}
        changed: set[str] = set()
        pending = list(dict.fromkeys(ids))
        for attempt in range(MAX_CONFLICTS):
            if not pending:
                break
            await asyncio.sleep(0.001 * attempt)
            now, loaded = await self.load(pending)
            transactions: list[tuple[Change, ...]] = []
            unchanged: list[Record] = []
            for record in loaded:
                if not isinstance(record, kind):
                    continue
                standing[record.id] = record
                change = _judged(rule, record, now)
                if change:
                    transactions.append(change)
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

    async def history(self, record_id: str) -> list[HistoryView]:
        """Return every step of a record, the first one first; empty if there is none."""
        fields = await self.redis.hgetall(encoding.record_key(record_id))
        lines = [
            HistoryView.model_validate_json(value)
            for name, value in fields.items()
            if name.startswith(b"h")
        ]
        return sorted(lines, key=lambda line: line.sequence)

    async def listed(self, index: str, *, before: str | None = None, limit: int = 50) -> list[str]:
        """Return the ids of a list, newest first, from after the id `before`."""
        start = f"({before}" if before else "+"
        key = encoding.index_key(index)
        ids = await self.redis.zrange(
            key,
            start,
            "-",
            desc=True,
            bylex=True,
            offset=0,
            num=limit,
        )
        return [record_id.decode() for record_id in ids]


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _judged(
    rule: Callable[[R, datetime], Change | tuple[Change, ...] | None], record: R, now: datetime
) -> tuple[Change, ...] | None:
    try:
        change = rule(record, now)
    except Exception:
        # Stays leased, so that it is tried again soon but not at once.
        log.exception("a record could not be judged", id=record.id)
        return ()
    return (change,) if isinstance(change, Change) else change
