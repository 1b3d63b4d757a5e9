"""What comes off a queue is checked before Celery sees it; what does not fit is set aside.

Kombu's Redis transport drops a message that is no JSON object, circles one whose body is none, and
unpacks a compressed one without bound. So each item is looked at here as it is popped.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import structlog
from kombu.transport import redis as kombu_redis
from kombu.utils.encoding import bytes_to_str
from redis import exceptions as redis_errors

from safeguards.identifiers import is_id
from safeguards_runtime.topology import IDS_PER_HINT, QUEUE_OF, Queue, Task

log = structlog.get_logger(__name__)

MAX_MESSAGE_BYTES = 1024 * 1024
"""The largest message: a signed publication of 256 KiB, twice in base64, and its headers."""

UNUSED_HEADERS = ("eta", "expires", "timelimit", "shadow", "stamped_headers", "stamps")
"""Headers of Celery's protocol that our messages leave empty; some would make it lose one."""

EMPTY: tuple[Any, ...] = (None, [None, None], {}, [])

MAX_IDS = 10 * IDS_PER_HINT

SetAside = Callable[[str, bytes, str], None]
"""Takes the queue, the item and the reason. Raises if it could not be kept."""


def defect(item: bytes, queue: str) -> str | None:
    """Return why `item`, popped from `queue`, is no message of ours; None if it is one."""
    if len(item) > MAX_MESSAGE_BYTES:
        return f"{len(item)} bytes exceed the limit of {MAX_MESSAGE_BYTES}"
    try:
        message = json.loads(item)
        headers, properties = message["headers"], message["properties"]
        if headers.get("compression"):
            return "compressed bodies are not accepted"
        if any(headers.get(name) not in EMPTY for name in UNUSED_HEADERS):
            return f"none of these headers is accepted: {', '.join(UNUSED_HEADERS)}"
        form = (message.get("content-type"), message.get("content-encoding"))
        if (*form, properties.get("body_encoding")) != ("application/json", "utf-8", "base64"):
            return "the body must be application/json in UTF-8, in base64"
        if not isinstance(properties["delivery_tag"], str):
            return "the delivery tag is no string"
        delivery = properties["delivery_info"]
        if not isinstance(delivery["exchange"], str) or delivery["routing_key"] != queue:
            return "it was routed to another queue"
        if QUEUE_OF.get(headers["task"]) != queue:
            return f"no task of this queue: {headers['task']!r}"
        if not isinstance(headers["id"], str):
            return "the task's id is no string"
        body = json.loads(base64.b64decode(message["body"], validate=True).decode())
        return _misfit(headers["task"], body)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error) as e:
        return f"not a task message: {type(e).__name__}: {e}"[:500]


def _misfit(task: str, body: Any) -> str | None:
    """Return why the body (Celery's message protocol 2: args, kwargs, embed) does not fit."""
    args, kwargs, embed = body
    if not isinstance(embed, dict) or any(embed.values()):
        return "callbacks, chains and chords are not accepted"
    if kwargs or not isinstance(args, list) or len(args) != 1 or not isinstance(args[0], list):
        return "a task takes one argument, a list"
    if not 1 <= len(args[0]) <= MAX_IDS:
        return f"a hint names 1 to {MAX_IDS} records"
    for entry in args[0]:
        if not isinstance(entry, str):
            return "a hint names records by strings"
        if not entry.isascii():
            return "a hint names records in ASCII"
        if not is_id(entry) and (task != Task.EVALUATE or entry.count(".") != 2):
            return "neither an identifier nor a signed publication"
    return None


def rebuilt(item: bytes, queue: str) -> dict[str, Any]:
    """Return a message without a defect as one of our own: only the task, its id and its argument
    are taken over, so that Celery sees nothing else that a sender wrote."""
    message = json.loads(item)
    task_id = message["headers"]["id"]
    (argument,), _, _ = json.loads(base64.b64decode(message["body"]))
    embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    return {
        "body": base64.b64encode(json.dumps([[argument], {}, embed]).encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {
            "lang": "py",
            "task": message["headers"]["task"],
            "id": task_id,
            "root_id": task_id,
            "parent_id": None,
            "group": None,
            "retries": 0,
            "argsrepr": f"[{len(argument)} entries]",
            "kwargsrepr": "{}",
            "ignore_result": True,
        },
        "properties": {
            "correlation_id": task_id,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": message["properties"]["delivery_tag"],
        },
    }


class GuardedChannel(kombu_redis.Channel):
    """A channel of the Redis transport that hands on only what is a message of ours."""

    set_aside: SetAside | None = None
    """Set once for the process by the worker."""

    @contextmanager
    def conn_or_acquire(self, client: Any = None) -> Iterator[Any]:
        """Give a client of the broker. Follows `kombu.transport.redis.Channel`, 5.7.

        A message that was in hand when the connection broke is acknowledged, or given back, on a
        channel that Kombu has taken apart. That must fail as a broken connection does: anything
        else ends the worker. The broker gives such a message to somebody else in time.
        """
        if client is None and (self.connection is None or self.connection.client is None):
            raise redis_errors.ConnectionError("the connection of this channel is gone")
        with super().conn_or_acquire(client) as acquired:
            yield acquired

    def _brpop_read(self, **options: Any) -> bool:
        """Read one popped item. Follows `kombu.transport.redis.Channel._brpop_read`, 5.7."""
        try:
            try:
                popped = self.client.parse_response(self.client.connection, "BRPOP", **options)
            except self.connection_errors:
                self.client.connection.disconnect()
                raise
            if not popped:
                raise kombu_redis.Empty
            destination, item = popped
            queue = bytes_to_str(destination).rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(queue)
            if queue not in set(Queue):
                self.connection._deliver(json.loads(item), queue)
            elif reason := defect(item, queue):
                self._set_item_aside(destination, queue, item, reason)
            else:
                self.connection._deliver(rebuilt(item, queue), queue)
            return True
        finally:
            self._in_poll = None
            self._flush_brpop_reauth()

    def _set_item_aside(self, destination: bytes, queue: str, item: bytes, reason: str) -> None:
        handler = type(self).set_aside
        try:
            if handler is None:
                raise RuntimeError("this process has no place to set messages aside")
            handler(queue, item, reason)
        except Exception as error:
            log.error("a message cannot be set aside and goes back", queue=queue, error=str(error))
            time.sleep(1)  # else it would be popped again at once
            with self.conn_or_acquire() as client:
                client.lpush(destination, item)


class GuardedTransport(kombu_redis.Transport):
    """The Redis transport with guarded channels."""

    Channel = GuardedChannel


class GuardedSentinelChannel(GuardedChannel, kombu_redis.SentinelChannel):
    """A guarded channel that finds the broker by Sentinel."""


class GuardedSentinelTransport(kombu_redis.SentinelTransport):
    """The Sentinel transport with guarded channels."""

    Channel = GuardedSentinelChannel
