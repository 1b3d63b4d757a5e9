"""How changes are written: the keys of the store, and the arguments of its one script."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import cast

from safeguards.contracts import Outcome, Question
from safeguards.identifiers import Prefix
from safeguards_runtime.records import KINDS, Change, Record
from safeguards_runtime.topology import LEASE_SECONDS, Service

FEED = "sg:feed"
"""The outcome feed: a stream of what agents hear, of all agents."""

FEED_LENGTH = 100_000
"""How many entries the feed keeps. Whoever comes later asks for the record itself."""

NEWS = "sg:news"
"""A stream of what has changed, for those who watch: `i` an id, `e` its event, `r` its revision."""

NEWS_LENGTH = 10_000
"""How many entries the news keeps. Whoever comes later looks at everything anew."""

TRAIL = "sg:trail"
"""A stream of every line of history there is (`store.trail`): `i` the record's id, `r` the line's
number, `a` the agent whom it concerns. Kept whole, as the lines are."""

NAMES_LENGTH = 10_000
"""How many names each list of names keeps, the latest. Agents choose their own names."""

CONFIRMED = "sg:confirmed"
"""Written after what must be on the replicas, since WAIT asks only for what was written before it
on the same connection. Its value says nothing."""

COUNTERS = "sg:counters"
"""A hash of counters by name: what happened so often, since the store was made."""

CLAIM_SECONDS = 24 * 3600
"""How long an idempotency key is remembered."""

Word = str | bytes


def record_key(record_id: str) -> str:
    """Return the hash of a record: `r` its revision, `b` its body, `h1`, `h2`, … its history."""
    return f"sg:{record_id}"


def agenda_key(service: Service) -> str:
    """Return the agenda of a service: a sorted set of ids by milliseconds since the epoch."""
    return f"sg:agenda:{service}"


def index_key(name: str) -> str:
    """Return a list of records: a sorted set with equal scores, so in the order of the ids."""
    return f"sg:index:{name}"


def rank_key(name: str) -> str:
    """Return a list of records by a number: a sorted set."""
    return f"sg:rank:{name}"


def names_key(name: str) -> str:
    """Return a list of plain names: a sorted set by when each was last seen, in milliseconds."""
    return f"sg:names:{name}"


def claim_key(*parts: str) -> str:
    """Return the key of a claim, such as an idempotency key of one API key."""
    return "sg:claim:" + hashlib.sha256("\x00".join(parts).encode()).hexdigest()


def secret_key(name: str) -> str:
    """Return the key of a secret that all processes share (`Store.secret`)."""
    return f"sg:secret:{name}"


def once_key(name: str) -> str:
    """Return the key that stands for something that may happen only once."""
    return "sg:once:" + hashlib.sha256(name.encode()).hexdigest()


def allowance_key(name: str) -> str:
    """Return the key of what may be done so often in a window (`Store.take`)."""
    return "sg:allowance:" + hashlib.sha256(name.encode()).hexdigest()


def milliseconds(moment: datetime) -> int:
    """Return milliseconds since the epoch."""
    return int(moment.timestamp() * 1000)


def store_time(reply: Sequence[int]) -> datetime:
    """Return the reply of TIME (seconds, microseconds) as an aware UTC datetime."""
    seconds, microseconds = reply
    return datetime.fromtimestamp(int(seconds), UTC).replace(microsecond=int(microseconds))


def decode(record_id: str, revision: bytes | None, body: bytes | None) -> Record | None:
    """Return the record from its hash's fields `r` and `b`, or None if there is none."""
    if revision is None or body is None:
        return None
    kind = KINDS[cast(Prefix, record_id.partition("_")[0])]
    record = kind.model_validate_json(body)
    return record.model_copy(update={"revision": int(revision)})


def encode(changes: Sequence[Change]) -> tuple[list[Word], list[Record]]:
    """Return the script's arguments that write `changes` together, and the records as stored."""
    given = {record_id: at for change in changes for record_id, at in change.given.items()}
    checks: list[Word] = [str(len(changes) + len(given))]
    for record_id, revision in given.items():
        checks += [record_key(record_id), str(revision)]
    claims: list[Word] = []
    commands: list[Word] = []
    stored = []
    for change in changes:
        record, line = change.sealed()
        key = record_key(record.id)
        checks += [key, str(change.before.revision if change.before else 0)]
        fields: list[Word] = ["r", str(record.revision), "b", record.body()]
        if record.has_history:
            fields += [f"h{line.sequence}", line.model_dump_json().encode()]
        commands += _command("HSET", key, *fields)
        forgotten_at = record.forgotten_at()
        if forgotten_at is not None:
            commands += _command("PEXPIREAT", key, str(milliseconds(forgotten_at)))
        for name, value in change.claims.items():
            claims += [name, value]
            commands += _command("SET", name, value, "EX", str(CLAIM_SECONDS))
        if record.has_history:
            commands += _tracing(record, change.agent_id)
        commands += _indexing(change.before, record)
        commands += _ranking(change.before, record)
        commands += _agenda_commands(record, record.due())
        for entry in change.feed:
            commands += _feeding(entry)
        for counter in change.counts:
            commands += _command("HINCRBY", COUNTERS, counter, "1")
        for name, member in change.names.items():
            commands += _naming(names_key(name), member, change.at)
        if record.is_news:
            commands += _telling(record, change.event)
        stored.append(record)
    claimed = sum(len(change.claims) for change in changes)
    return [*checks, str(claimed), *claims, *commands], stored


def encode_settling(record: Record, now: datetime) -> list[Word]:
    """Return the script's arguments that only put the record back on its agendas as it is due.

    What is due but led to nothing waits as long as a lease, so that it does not spin.
    """
    checks: list[Word] = ["1", record_key(record.id), str(record.revision), "0"]
    later = now + timedelta(seconds=LEASE_SECONDS)
    due = {service: at if at > now else later for service, at in record.due().items()}
    return checks + _agenda_commands(record, due)


def _agenda_commands(record: Record, due: Mapping[Service, datetime]) -> list[Word]:
    """Return the commands that make the agendas say what the record says."""
    commands: list[Word] = []
    for service in record.services:
        if service in due:
            at = str(milliseconds(due[service]))
            commands += _command("ZADD", agenda_key(service), at, record.id)
        else:
            commands += _command("ZREM", agenda_key(service), record.id)
    return commands


def _tracing(record: Record, concerned: str) -> list[Word]:
    # Not every kind of record is one agent's.
    agent_id = str(getattr(record, "agent_id", concerned))
    fields = ["i", record.id, "r", str(record.revision), "a", agent_id]
    return _command("XADD", TRAIL, "*", *fields)


def _indexing(before: Record | None, after: Record) -> list[Word]:
    old = before.indexes() if before else frozenset()
    new = after.indexes()
    commands: list[Word] = []
    for name in sorted(new - old):
        commands += _command("ZADD", index_key(name), "0", after.id)
    for name in sorted(old - new):
        commands += _command("ZREM", index_key(name), after.id)
    return commands


def _ranking(before: Record | None, after: Record) -> list[Word]:
    old = before.ranks() if before else {}
    new = after.ranks()
    commands: list[Word] = []
    for name in sorted(new):
        if old.get(name) != new[name]:
            commands += _command("ZADD", rank_key(name), str(new[name]), after.id)
    for name in sorted(old.keys() - new.keys()):
        commands += _command("ZREM", rank_key(name), after.id)
    return commands


def _naming(key: str, name: str, at: datetime) -> list[Word]:
    # GT: what is written late does not make a name older.
    commands = _command("ZADD", key, "GT", str(milliseconds(at)), name)
    return commands + _command("ZREMRANGEBYRANK", key, "0", str(-NAMES_LENGTH - 1))


def _telling(record: Record, event: str) -> list[Word]:
    fields = ["i", record.id, "e", event, "r", str(record.revision)]
    return _command("XADD", NEWS, "MAXLEN", "~", str(NEWS_LENGTH), "*", *fields)


def _feeding(entry: Outcome | Question) -> list[Word]:
    body = entry.model_dump_json(exclude_none=True)
    fields = ["a", entry.agent_id, "t", entry.type, "d", body]
    return _command("XADD", FEED, "MAXLEN", "~", str(FEED_LENGTH), "*", *fields)


def _command(*words: Word) -> list[Word]:
    return [str(len(words)), *words]


def chunked(ids: Iterable[str], size: int) -> list[list[str]]:
    """Return `ids` without repeats, in lists of at most `size`."""
    unique = list(dict.fromkeys(ids))
    return [unique[start : start + size] for start in range(0, len(unique), size)]
