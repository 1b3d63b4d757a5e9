"""The notifier at work: plans what events need, and sends what is due, each attempt on record."""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import structlog
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import RedisError

from safeguards.errors import PermanentDeliveryError, SafeguardsError, TransientDeliveryError
from safeguards.notifications.channels.webhook import post_webhook
from safeguards.notifications.fenced_http import FencedHttp
from safeguards_runtime.channels import Channel
from safeguards_runtime.messaging import HintSender
from safeguards_runtime.records import Action, ApiKey, Approval, Change, Delivery, delivery
from safeguards_runtime.records.approval import REQUESTED
from safeguards_runtime.reviewers import Directory
from safeguards_runtime.store import Store
from safeguards_runtime.store.encoding import chunked
from safeguards_runtime.topology import SENDS, Service
from services.notifier.messages import compose
from services.notifier.planning import CALLBACK, Route, carries_link, is_moot, plan

log = structlog.get_logger(__name__)

SEND_SECONDS = 15
"""How long one attempt may take."""

_TRANSIENT: Any = (RedisError, SafeguardsError)
WRITING = Retry(ConstantBackoff(1), 8, supported_errors=_TRANSIENT)
"""How often it is tried to write how attempts ended: what cannot be written is sent again."""

AT_ONCE = {"email": 8, "slack": 8, "webhook": 50, "log": 50}
"""How many sends of a kind one task has in flight. All of them are done before an attempt is
taken to have died (`delivery.SENDING_SECONDS`)."""


@dataclass(frozen=True, eq=False)
class _Send:
    """One attempt that this task has begun, and nobody else; the delivery as it then stood."""

    delivery: Delivery
    source: Action | Approval
    attempt: int
    token: str | None


@dataclass(frozen=True)
class _Failure:
    """How an attempt failed."""

    error: str
    permanent: bool
    retry_after_seconds: float | None = None


class Notifier:
    """Plans deliveries and makes them.

    Args:
        store: where the records are.
        hints: sends the hints to the channels' queues.
        channels: by name.
        callbacks: posts to agents' own addresses.
        directory: who is told.
        public_url: the base of the links to answer by.
    """

    def __init__(
        self,
        store: Store,
        hints: HintSender,
        channels: Mapping[str, Channel],
        callbacks: FencedHttp,
        directory: Directory,
        public_url: str,
    ) -> None:
        self._store = store
        self._hints = hints
        self._channels = channels
        self._callbacks = callbacks
        self._directory = directory
        self._public_url = public_url.rstrip("/")
        self._routes = {
            name: Route(channel.kind, channel.sender.addressing, channel.min_severity)
            for name, channel in channels.items()
        }

    async def plan(self, ids: Sequence[str]) -> None:
        """Plan what actions and approvals need told, and hand what is due to the channels."""
        planned: dict[str, str] = {}

        def rule(record: Action | Approval, now: datetime) -> tuple[Change, ...] | None:
            changes = plan(record, self._routes, self._directory, now)
            for change in changes or ():
                if isinstance(change.after, Delivery):
                    planned[change.after.id] = change.after.kind
            asks = any(entry.event == REQUESTED for entry in record.owes(Service.NOTIFIER))
            if asks and changes and len(changes) == 1:
                log.error("nobody can be asked: no channel reaches a reviewer", id=record.id)
            return changes

        sources = [i for i in ids if i.startswith(("act_", "apr_"))]
        await self._store.apply_all(
            [i for i in sources if i.startswith("act_")], Action, rule, of=Service.NOTIFIER
        )
        await self._store.apply_all(
            [i for i in sources if i.startswith("apr_")], Approval, rule, of=Service.NOTIFIER
        )
        # Looked at, not changed: whoever sends claims them.
        due = await self._store.apply_all(
            [i for i in ids if i.startswith("dlv_")], Delivery, _unchanged, of=Service.NOTIFIER
        )
        planned |= {record.id: record.kind for record in due.standing.values()}
        by_kind: defaultdict[str, list[str]] = defaultdict(list)
        for delivery_id, kind in planned.items():
            by_kind[kind].append(delivery_id)
        for kind, delivery_ids in by_kind.items():
            self._hints.send(SENDS[kind], delivery_ids)

    async def send(self, kind: str, ids: Sequence[str]) -> None:
        """Send what is due of these deliveries, each once."""
        for batch in chunked(ids, AT_ONCE[kind]):
            sends = await self._begin(batch)
            running = {asyncio.create_task(self._attempt(send)): send for send in sends}
            while running:
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                await self._record({running.pop(task): task.result() for task in done})

    async def _begin(self, ids: Sequence[str]) -> list[_Send]:
        """Claim what is due: whoever gets the change through is the only one to send."""
        _, records = await self._store.load(ids)
        wanted = [record for record in records if isinstance(record, Delivery)]
        _, loaded = await self._store.load([record.source_id for record in wanted])
        sources = {source.id: source for source in loaded if isinstance(source, Action | Approval)}
        begun: dict[str, _Send] = {}

        def rule(record: Delivery, now: datetime) -> Change | None:
            begun.pop(record.id, None)
            source = sources.get(record.source_id)
            if source is None:
                return delivery.drop(record, now, "what it tells of does not exist")
            if is_moot(record, source):
                return delivery.drop(record, now, "it has been decided")
            token = new_token(record) if carries_link(record) else None
            change = delivery.start(record, now, token)
            if change is not None and change.event == delivery.STARTED:
                begun[record.id] = _Send(record, source, len(record.attempts) + 1, token)
            return change

        applied = await self._store.apply_all(
            ids, Delivery, rule, of=Service.NOTIFIER, known=wanted
        )
        return [
            replace(begun[record_id], delivery=applied.standing[record_id])
            for record_id in applied.changed
            if record_id in begun
        ]

    async def _attempt(self, send: _Send) -> _Failure | None:
        """Send once. Returns how it failed, or None."""
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._deliver(send)
        except TransientDeliveryError as error:
            return _Failure(str(error), False, error.retry_after_seconds)
        except PermanentDeliveryError as error:
            return _Failure(str(error), True)
        except TimeoutError:
            return _Failure(f"no answer within {SEND_SECONDS} s", False)
        except Exception as error:
            log.exception("a channel failed", id=send.delivery.id, channel=send.delivery.channel)
            return _Failure(f"{type(error).__name__}: {error}", False)
        return None

    async def _deliver(self, send: _Send) -> None:
        url = f"{self._public_url}/review/{send.token}" if send.token else None
        message = compose(send.delivery, send.source, url)
        address = send.delivery.address
        if send.delivery.channel == CALLBACK:
            key = await self._store.get(send.source.key_id, ApiKey)
            if key is None or key.callback_secret is None or address is None:
                raise PermanentDeliveryError("its API key has no secret to sign callbacks with")
            await post_webhook(self._callbacks, address, key.callback_secret, message)
            return
        channel = self._channels.get(send.delivery.channel)
        if channel is None:
            raise PermanentDeliveryError(f"there is no channel {send.delivery.channel!r} any more")
        await channel.sender.deliver(message, [address] if address else [])

    async def _record(self, results: Mapping[_Send, _Failure | None]) -> None:
        """Write down how attempts ended."""
        by_id = {send.delivery.id: (send, failure) for send, failure in results.items()}

        def rule(record: Delivery, now: datetime) -> Change | None:
            send, failure = by_id[record.id]
            if failure is None:
                return delivery.succeed(record, send.attempt, now)
            return delivery.fail(
                record,
                send.attempt,
                now,
                error=failure.error,
                permanent=failure.permanent,
                retry_after_seconds=failure.retry_after_seconds,
            )

        for send, failure in results.items():
            if failure is not None:
                log.warning(
                    "a delivery failed",
                    id=send.delivery.id,
                    channel=send.delivery.channel,
                    attempt=send.attempt,
                    error=failure.error,
                )

        async def write() -> None:
            known = [send.delivery for send in results]
            await self._store.apply_all(by_id, Delivery, rule, known=known)

        try:
            await WRITING.call_with_retry(write, _ignored)
        except (RedisError, SafeguardsError) as error:
            # What else is under way goes on. These are sent again, under the same ids, when their
            # attempts are taken to have died.
            log.error("how deliveries ended cannot be written", ids=[*by_id], error=str(error))


async def _ignored(error: Exception) -> None:
    """Nothing is to be undone before the next try."""


def _unchanged(record: Delivery, now: datetime) -> Change | None:
    return None


def new_token(record: Delivery) -> str:
    """Return a fresh review token: which delivery it came with, and 256 random bits."""
    return f"{record.id.partition('_')[2]}.{secrets.token_urlsafe(32)}"
