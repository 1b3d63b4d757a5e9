"""`safeguards-admin messages`: messages that were set aside."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from datetime import datetime
from typing import Any

import typer

from safeguards.errors import SafeguardsError
from safeguards.text import visible
from safeguards_runtime.admin.console import (
    LISTED,
    AsJson,
    checked,
    print_rows,
    settings,
    with_store,
)
from safeguards_runtime.messaging import make_app, publisher
from safeguards_runtime.records import Change, SetAsideMessage, set_aside
from safeguards_runtime.records.set_aside import SetAsideStatus
from safeguards_runtime.store import Store
from safeguards_runtime.topology import Task

messages = typer.Typer(help="Messages that were set aside.", no_args_is_help=True)


@messages.command("list")
def list_messages(status: SetAsideStatus = SetAsideStatus.HELD, as_json: AsJson = False) -> None:
    """List messages that were set aside, newest first."""

    async def work(store: Store) -> list[dict[str, Any]]:
        _, records = await store.load(await store.listed(f"set_aside:{status}", limit=LISTED))
        return [
            {
                "message_id": record.id,
                "queue": record.queue,
                "received_at": record.received_at.isoformat(),
                "size_bytes": record.size_bytes,
                "reason": record.reason,
            }
            for record in records
            if isinstance(record, SetAsideMessage)
        ]

    print_rows(with_store(work), as_json)


@messages.command("show")
def show_message(message_id: str) -> None:
    """Print a message as it came, with what cannot be printed written out."""
    record = with_store(lambda store: _message(store, message_id))
    typer.echo(visible(base64.b64decode(record.payload).decode("utf-8", "backslashreplace")))


@messages.command("replay")
def replay_message(message_id: str) -> None:
    """Put a message back on its queue, as it came."""

    async def work(store: Store) -> None:
        record = await _message(store, message_id)
        if record.status is not SetAsideStatus.HELD:
            raise SafeguardsError(f"{message_id} is {record.status.lower()} already")
        if not record.is_whole:
            raise SafeguardsError(f"{message_id} was too large to be kept whole")
        # Noted first: a worker may refuse it, and hold it again, at once.
        await store.apply(message_id, SetAsideMessage, _settling(SetAsideStatus.REPLAYED))
        try:
            await asyncio.to_thread(_republish, record)
        except BaseException:
            await store.apply(message_id, SetAsideMessage, set_aside.hold_again)
            raise

    with_store(work)
    typer.echo(f"{message_id} is back on its queue")


def _republish(record: SetAsideMessage) -> None:
    """Put the payload back: a publication as a task's argument, anything else byte by byte."""
    payload = base64.b64decode(record.payload)
    used = settings()
    if record.is_publication:
        celery = make_app(used)
        try:
            publisher(celery)(Task.EVALUATE, [payload.decode()])
        finally:
            celery.close()
        return
    with make_app(used).connection_for_write() as connection:
        channel = connection.default_channel
        if not hasattr(channel, "client"):
            raise SafeguardsError("only a Redis or Valkey broker takes a message back as it was")
        channel.client.lpush(record.queue, payload)


@messages.command("discard")
def discard_message(message_id: str) -> None:
    """Note that a message is not wanted. It stays on record."""
    rule = _settling(SetAsideStatus.DISCARDED)
    with_store(lambda store: store.apply(checked(message_id, "msg"), SetAsideMessage, rule))
    typer.echo(f"{message_id} is discarded")


def _settling(
    status: SetAsideStatus,
) -> Callable[[SetAsideMessage | None, datetime], Change | None]:
    def rule(record: SetAsideMessage | None, now: datetime) -> Change | None:
        if record is None:
            raise SafeguardsError("there is no such message")
        return set_aside.settle(record, status, now)

    return rule


async def _message(store: Store, message_id: str) -> SetAsideMessage:
    record = await store.get(checked(message_id, "msg"), SetAsideMessage)
    if record is None:
        raise SafeguardsError(f"there is no message {message_id}")
    return record
