"""The notifier's sends: what is due goes out, each attempt on record."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import RedisError

from safeguards.errors import (
    PermanentDeliveryError,
    ReceiverGoneError,
    SafeguardsError,
    TransientDeliveryError,
)
from safeguards.notifications.channels.webhook import post_webhook
from safeguards.notifications.fenced_http import FencedHttp
from safeguards.notifications.message import Message
from safeguards_runtime.channels import Channel
from safeguards_runtime.records import (
    Action,
    ApiKey,
    Approval,
    Change,
    Delivery,
    Endpoint,
    delivery,
    endpoint,
    waiting,
)
from safeguards_runtime.records.delivery import CALLBACK, DeliveryStatus, lane_index, parcel_index
from safeguards_runtime.reloading import InForce
from safeguards_runtime.rules import Rules
from safeguards_runtime.store import Store
from safeguards_runtime.store.encoding import chunked
from safeguards_runtime.topology import Service
from services.notifier import parcels
from services.notifier.messages import Reader, compose, digest, plain
from services.notifier.parcels import Parcel, Sorted, Source
from services.notifier.planning import carries_link

log = structlog.get_logger(__name__)

SEND_SECONDS = 15
"""How long one attempt may take."""

SLOT_SECONDS = 6.0
"""How long an attempt may wait for its turn, where a receiver takes only so many in a second."""

_TRANSIENT: Any = (RedisError, SafeguardsError)
WRITING = Retry(ConstantBackoff(1), 8, supported_errors=_TRANSIENT)
"""How often it is tried to write how attempts ended: what cannot be written is sent again."""

AT_ONCE = {"email": 8, "slack": 8, "webhook": 50, "callback": 50, "other": 16}
"""How many sends of a kind one task has in flight. All of them are done before an attempt is
taken to have died (`delivery.SENDING_SECONDS`)."""

MAX_PARCEL = 1000
"""How many deliveries one message may stand for; the rest go with the next."""


@dataclass(frozen=True, eq=False)
class _Attempt:
    """An attempt that this task has begun, and nobody else; the deliveries as they then stood."""

    parcel: Parcel
    token: str | None
    is_troubled: bool
    """Whether its endpoint has failed lately."""


@dataclass(frozen=True)
class Pace:
    """How many messages a person, or a place that people read, gets by one channel.

    Attributes:
        messages: in one window; what goes over them makes one digest.
        messages_per_agent: of these about one agent.
        window_seconds: how long a window is.
    """

    messages: int
    messages_per_agent: int
    window_seconds: float


@dataclass(frozen=True)
class _Result:
    """How an attempt ended.

    Attributes:
        reference: where the message is at the receiver.
        error: why it failed; empty if it did not.
        permanent: another attempt would fail in the same way.
        is_gone: so would every other message to this endpoint.
        retry_after_seconds: what the receiver asked for.
        is_late: there was no turn for it: it is no failure, and tried again.
    """

    reference: str | None = None
    error: str = ""
    permanent: bool = False
    is_gone: bool = False
    retry_after_seconds: float | None = None
    is_late: bool = False


class Sender:
    """Sends what is due.

    Args:
        store: where the records are.
        channels: by name.
        callbacks: posts to agents' own addresses.
        rules: the reviewers, in whose time zones times are given.
        public_url: the base of the links to answer by.
        pace: how many messages a recipient gets.
    """

    def __init__(
        self,
        store: Store,
        channels: InForce[Mapping[str, Channel]],
        callbacks: FencedHttp,
        rules: InForce[Rules],
        public_url: str,
        pace: Pace,
    ) -> None:
        self._store = store
        self._channels = channels
        self._callbacks = callbacks
        self._rules = rules
        self._public_url = public_url.rstrip("/")
        self._pace = pace

    async def send(self, kind: str, ids: Sequence[str]) -> None:
        """Send what is due of these deliveries, each once."""
        for batch in chunked(ids, AT_ONCE.get(kind, 8)):
            attempts = await self._begin(*await self._going(batch))
            running = {asyncio.create_task(self._attempt(a)): a for a in attempts}
            while running:
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                await self._record({running.pop(task): task.result() for task in done})

    async def _going(self, ids: Sequence[str]) -> tuple[list[Parcel], Container[str]]:
        """Return the messages that go out now, and the endpoints that have failed lately. Puts
        off, drops or gives up what does not go."""
        now, loaded = await self._store.load(ids)
        due = [d for d in loaded if isinstance(d, Delivery) and delivery.is_due(d, now)]
        if not due:
            return [], ()
        sources, endpoints = await self._around(due)
        sorted_ = parcels.sort(due, sources, endpoints, self._channels.current, now)
        if sorted_.probes:
            wanted = {parcels.probe(name): len(w) for name, w in sorted_.probes.items()}
            taken = await self._store.take(wanted, 1, parcels.PROBE_SECONDS)
            parcels.probing(sorted_, taken, now)
        going = await self._paced(sorted_, now)
        await self._store.commit([[change] for change in sorted_.changes])
        return [await self._gathered(p, now) if p.gathers else p for p in going], endpoints

    async def _around(
        self, due: Sequence[Delivery]
    ) -> tuple[dict[str, Source], dict[str, Endpoint]]:
        """Return what deliveries tell of, and the endpoints that have failed, by name."""
        source_ids = {d.source_id for d in due}
        endpoint_ids = {endpoint.endpoint_id(d.endpoint) for d in due}
        _, records = await self._store.load([*source_ids, *endpoint_ids])
        sources = {r.id: r for r in records if isinstance(r, Action | Approval)}
        return sources, {r.name: r for r in records if isinstance(r, Endpoint)}

    async def _paced(self, sorted_: Sorted, now: datetime) -> list[Parcel]:
        """Return the messages that the allowances of agents and recipients let through."""
        pace = self._pace
        wanted = parcels.agent_allowances(sorted_.ready)
        taken = await self._taken(wanted, pace.messages_per_agent)
        units = parcels.by_agent(sorted_, taken, now)
        taken = await self._taken(parcels.lane_allowances(units), pace.messages)
        return parcels.by_lane(units, sorted_, taken, now)

    async def _taken(self, wanted: Mapping[str, int], limit: int) -> parcels.Taken:
        if not wanted:
            return {}
        return await self._store.take(wanted, limit, self._pace.window_seconds)

    async def _gathered(self, parcel: Parcel, now: datetime) -> Parcel:
        """Return a message with what else waits in its lane."""
        ids = await self._store.listed(lane_index(parcel.leader.lane), limit=MAX_PARCEL)
        own = {one.id for one, _ in parcel.members}
        _, loaded = await self._store.load([i for i in ids if i not in own])
        waiting = [d for d in loaded if isinstance(d, Delivery) and parcels.may_join(d, now)]
        sources, _ = await self._around(waiting)
        sorted_ = parcels.sort(waiting, sources, {}, self._channels.current, now)
        await self._store.commit([[change] for change in sorted_.changes])
        return Parcel((*parcel.members, *sorted_.ready)[:MAX_PARCEL])

    async def _begin(self, going: Sequence[Parcel], troubled: Container[str]) -> list[_Attempt]:
        """Claim what is to go out: whoever gets the change through is the only one to send."""
        wanted: dict[str, tuple[Delivery, str | None, str | None]] = {}
        for parcel in going:
            leader = parcel.leader
            token = new_token(leader) if carries_link(leader) else None
            parcel_id = leader.id if parcel.is_digest else None
            wanted |= {one.id: (one, token, parcel_id) for one, _ in parcel.members}

        def rule(record: Delivery, now: datetime) -> Change | None:
            _, token, parcel_id = wanted[record.id]
            return delivery.start(record, now, token, parcel_id)

        begun: dict[str, Delivery] = {}
        for some in chunked(wanted, 500):
            known = [wanted[i][0] for i in some]
            applied = await self._store.apply_all(
                some, Delivery, rule, of=Service.NOTIFIER, known=known
            )
            begun |= {i: applied.standing[i] for i in applied.changed}
        begun = {i: one for i, one in begun.items() if one.status is DeliveryStatus.SENDING}
        attempts = []
        for parcel in going:
            members = [(begun[one.id], about) for one, about in parcel.members if one.id in begun]
            if not members:
                continue
            leader = parcel.leader
            token = wanted[leader.id][1]
            attempt = _Attempt(Parcel(tuple(members)), token, leader.endpoint in troubled)
            if members[0][0].id == leader.id:
                attempts.append(attempt)
            else:
                # The token is the leader's: without it the others begin anew.
                await self._record({attempt: _Result(is_late=True)})
        return attempts

    async def _attempt(self, attempt: _Attempt) -> _Result:
        """Send once."""
        leader = attempt.parcel.leader
        try:
            if not await self._turn(leader):
                return _Result(is_late=True)
            async with asyncio.timeout(SEND_SECONDS):
                return _Result(reference=await self._deliver(attempt))
        except TransientDeliveryError as error:
            return _Result(error=str(error), retry_after_seconds=error.retry_after_seconds)
        except PermanentDeliveryError as error:
            # One address of a host is not the others.
            gone = isinstance(error, ReceiverGoneError) and leader.channel != CALLBACK
            return _Result(error=str(error), permanent=True, is_gone=gone)
        except TimeoutError:
            return _Result(error=f"no answer within {SEND_SECONDS} s")
        except Exception as error:
            log.exception("a channel failed", id=leader.id, channel=leader.channel)
            return _Result(error=f"{type(error).__name__}: {error}")

    async def _turn(self, leader: Delivery) -> bool:
        """Wait until the receiver takes one more; tell whether it does soon enough."""
        channel = self._channels.current.get(leader.channel)
        if channel is None or channel.max_per_second is None:
            return True
        name = f"rate:{leader.channel}:{leader.address or ''}"
        latest = asyncio.get_running_loop().time() + SLOT_SECONDS
        while True:
            granted, seconds = (await self._store.take({name: 1}, channel.max_per_second, 1))[name]
            if granted:
                return True
            if asyncio.get_running_loop().time() + seconds > latest:
                return False
            await asyncio.sleep(seconds + 0.005)

    async def _deliver(self, attempt: _Attempt) -> str | None:
        leader, source = attempt.parcel.members[0]
        if leader.channel == CALLBACK:
            key = await self._store.get(source.key_id, ApiKey)
            if key is None or key.callback_secret is None or leader.address is None:
                raise PermanentDeliveryError("its API key has no secret to sign callbacks with")
            message = self._composed(leader, source, None)
            await post_webhook(self._callbacks, leader.address, [key.callback_secret], message)
            return None
        channel = self._channels.current.get(leader.channel)
        if channel is None:
            raise PermanentDeliveryError(f"there is no channel {leader.channel!r} any more")
        if leader.updates is not None:
            message = await self._changed(leader, source)
            await channel.sender.update(message, leader.reference or "")
            return leader.reference
        message = self._message(attempt)
        return await channel.sender.deliver(message, [leader.address] if leader.address else [])

    def _message(self, attempt: _Attempt) -> Message:
        """Return the message of a parcel."""
        leader, source = attempt.parcel.members[0]
        url = f"{self._public_url}/review/{attempt.token}" if attempt.token else None
        if not attempt.parcel.is_digest:
            return self._composed(leader, source, url)
        return digest(
            leader,
            [
                self._composed(one, about, f"{url}/{one.id}" if url else None)
                for one, about in attempt.parcel.members
            ],
            url,
        )

    async def _changed(self, change: Delivery, source: Source) -> Message:
        """Return what a message that was sent is to say from now on."""
        placed = await self._store.get(change.updates or "", Delivery)
        if placed is None or placed.parcel_id is None:
            return self._composed(change, source, None)
        ids = await self._store.listed(parcel_index(placed.parcel_id), limit=MAX_PARCEL)
        _, loaded = await self._store.load(ids)
        members = [d for d in loaded if isinstance(d, Delivery) and d.updates is None]
        sources, _ = await self._around(members)
        messages = [
            self._composed(one, sources[one.source_id], None)
            for one in members
            if one.source_id in sources
        ]
        return digest(placed, messages, None)

    def _composed(self, one: Delivery, source: Source, url: str | None) -> Message:
        try:
            console = f"{self._public_url}/console/requests/{source.id}"
            return compose(one, source, self._reader(one), url, console)
        except Exception:
            log.exception("a message could not be composed", id=one.id)
            return plain(one, source, url)

    def _reader(self, one: Delivery) -> Reader:
        directory = self._rules.current.directory
        reviewer = directory.get(one.reviewer_id) if one.reviewer_id else None
        absent = directory.get(one.stands_in_for) if one.stands_in_for else None
        return Reader(reviewer.zone if reviewer else None, absent.name if absent else "")

    async def _record(self, results: Mapping[_Attempt, _Result]) -> None:
        """Write down how attempts ended."""
        by_id: dict[str, tuple[Delivery, _Result]] = {}
        for attempt, result in results.items():
            by_id |= {one.id: (one, result) for one, _ in attempt.parcel.members}
            if result.error:
                leader = attempt.parcel.leader
                number, error = len(leader.attempts), result.error
                where = {"id": leader.id, "channel": leader.channel}
                log.warning("a delivery failed", **where, attempt=number, error=error)

        def rule(record: Delivery, now: datetime) -> Change | None:
            begun, result = by_id[record.id]
            return _ended(record, len(begun.attempts), result, now)

        async def write() -> None:
            for some in chunked(by_id, 500):
                known = [by_id[i][0] for i in some]
                await self._store.apply_all(some, Delivery, rule, known=known)
            await self._note_reached(results)
            await self._note_endpoints(results)

        try:
            await WRITING.call_with_retry(write, _ignored)
        except (RedisError, SafeguardsError) as error:
            # What else is under way goes on. These are sent again, under the same ids, when their
            # attempts are taken to have died.
            log.error("how deliveries ended cannot be written", ids=[*by_id], error=str(error))

    async def _note_reached(self, results: Mapping[_Attempt, _Result]) -> None:
        """Note which approvals people have been told of, where their silence is consent."""
        told = {
            source.id
            for attempt, result in results.items()
            if not (result.error or result.is_late)
            for one, source in attempt.parcel.members
            if isinstance(source, Approval) and one.asks and one.reads == "people"
            if source.silence_approves
        }

        def rule(record: Approval, now: datetime) -> Change | None:
            return waiting.reached(record, now)

        if told:
            await self._store.apply_all(told, Approval, rule)

    async def _note_endpoints(self, results: Mapping[_Attempt, _Result]) -> None:
        """Note which endpoints failed, and which of those that had failed took a message."""
        for attempt, result in results.items():
            name = attempt.parcel.leader.endpoint
            failed = bool(result.error) and (result.is_gone or not result.permanent)
            recovered = attempt.is_troubled and not (result.error or result.is_late)

            def rule(
                record: Endpoint | None,
                now: datetime,
                name: str = name,
                result: _Result = result,
                recovered: bool = recovered,
            ) -> Change | None:
                if recovered:
                    return endpoint.succeeded(record, now)
                return endpoint.failed(
                    record,
                    name,
                    now,
                    result.error,
                    is_gone=result.is_gone,
                    retry_after_seconds=result.retry_after_seconds,
                )

            if failed or recovered:
                await self._store.apply(endpoint.endpoint_id(name), Endpoint, rule)


def _ended(record: Delivery, attempt: int, result: _Result, now: datetime) -> Change | None:
    """Return the change by which an attempt (counted from 1) ends."""
    if result.is_late:
        soon = now + timedelta(seconds=1)
        return delivery.called_off(record, attempt, soon, now, "its turn had not come")
    if not result.error:
        return delivery.succeed(record, attempt, now, result.reference)
    return delivery.fail(
        record,
        attempt,
        now,
        error=result.error,
        permanent=result.permanent,
        retry_after_seconds=result.retry_after_seconds,
    )


async def _ignored(error: Exception) -> None:
    """Nothing is to be undone before the next try."""


def new_token(record: Delivery) -> str:
    """Return a fresh review token: which delivery it came with, and 256 random bits."""
    return f"{record.id.partition('_')[2]}.{secrets.token_urlsafe(32)}"
