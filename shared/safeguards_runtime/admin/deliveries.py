"""`safeguards-admin deliveries`, `channels` and `approvals`: whom messages have not reached."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

import typer

from safeguards.errors import SafeguardsError
from safeguards.identifiers import is_id
from safeguards_runtime import dead_letters
from safeguards_runtime.admin.console import LISTED, AsJson, checked, print_rows, with_store
from safeguards_runtime.records import (
    Approval,
    Change,
    Delivery,
    Endpoint,
    Record,
    endpoint,
)
from safeguards_runtime.records.approval import UNREACHED_INDEX
from safeguards_runtime.records.delivery import DeliveryStatus
from safeguards_runtime.store import Store

deliveries = typer.Typer(help="Deliveries, such as those that were given up.", no_args_is_help=True)
channels = typer.Typer(help="Channels that have failed.", no_args_is_help=True)
approvals = typer.Typer(help="Approvals of which nobody could be told.", no_args_is_help=True)

OPERATOR = "operator"
"""Who it was, in the history: somebody with access to the stack's own settings."""


@deliveries.command("list")
def list_deliveries(
    status: DeliveryStatus = DeliveryStatus.DEAD,
    channel: Annotated[str, typer.Option(help="Only of this channel.")] = "",
    as_json: AsJson = False,
) -> None:
    """List deliveries, newest first: those given up, unless another status is asked for."""

    async def work(store: Store) -> list[dict[str, Any]]:
        found = await _deliveries(store, status, channel, LISTED)
        return [
            {
                "delivery_id": record.id,
                "of": record.source_id,
                "event": record.event,
                "channel": record.channel,
                "to": record.reviewer_id,
                "attempts": len(record.attempts),
                "error": dead_letters.last_error(record),
            }
            for record in found
        ]

    print_rows(with_store(work), as_json)


async def _deliveries(
    store: Store, status: DeliveryStatus, channel: str, limit: int
) -> list[Delivery]:
    """Return deliveries in a status, of one channel if it is named, newest first."""
    found: list[Delivery] = []
    async for page in dead_letters.newest(store, status):
        found += [record for record in page if channel in ("", record.channel)]
        if len(found) >= limit:
            break
    return found[:limit]


@deliveries.command("replay")
def replay_deliveries(
    delivery_ids: Annotated[list[str] | None, typer.Argument(help="Which; or use --all.")] = None,
    all_: Annotated[bool, typer.Option("--all", help="All that were given up.")] = False,
    channel: Annotated[str, typer.Option(help="With --all: only of this channel.")] = "",
) -> None:
    """Send deliveries that were given up once more: one, several, or all."""
    if bool(delivery_ids) == all_:
        raise typer.BadParameter("name deliveries, or give --all")
    if channel and not all_:
        raise typer.BadParameter("--channel goes with --all")

    async def work(store: Store) -> Sequence[str]:
        if all_:
            return await dead_letters.replay_all(store, channel, OPERATOR)
        wanted = [checked(delivery_id, "dlv") for delivery_id in delivery_ids or ()]
        _, found = await store.load(wanted)
        for delivery_id, record in zip(wanted, found, strict=True):
            _replayable(delivery_id, record)  # all of them, before the first is sent
        await dead_letters.replay(store, wanted, OPERATOR)
        return wanted

    sent = with_store(work)
    if not sent:
        raise SafeguardsError("there are no such deliveries that were given up")
    typer.echo(f"{sent[0] if len(sent) == 1 else f'{len(sent)} deliveries'}: to be sent once more")


def _replayable(delivery_id: str, record: Record | None) -> Delivery:
    """Return a delivery that was given up.

    Raises:
        SafeguardsError: saying which it is that is none.
    """
    if not isinstance(record, Delivery):
        raise SafeguardsError(f"there is no delivery {delivery_id}: nothing was sent")
    if record.status is not DeliveryStatus.DEAD:
        raise SafeguardsError(
            f"{delivery_id} was not given up: it is {record.status}. Nothing was sent"
        )
    return record


@channels.command("list")
def list_channels(as_json: AsJson = False) -> None:
    """List the channels and callback addresses that have failed, and whether they are up again."""

    async def work(store: Store) -> list[dict[str, Any]]:
        _, records = await store.load(await store.listed("endpoints", limit=LISTED))
        return [
            {
                "channel_id": record.id,
                "channel": record.name,
                "status": record.status.value,
                "failures": record.failures,
                "down_until": record.down_until.isoformat() if record.down_until else None,
                "error": record.error,
            }
            for record in records
            if isinstance(record, Endpoint)
        ]

    print_rows(with_store(work), as_json)


@channels.command("enable")
def enable_channel(
    name: Annotated[str, typer.Argument(help="The channel's name, or its id of the list.")],
) -> None:
    """Send through a channel again that is disabled or down."""
    endpoint_id = name if is_id(name, "ept") else endpoint.endpoint_id(name)

    def rule(record: Endpoint | None, now: datetime) -> Change | None:
        if record is None:
            raise SafeguardsError(f"{name!r} has not failed")
        return endpoint.enable(record, now, OPERATOR)

    with_store(lambda store: store.apply(endpoint_id, Endpoint, rule))
    typer.echo(f"{name} is up; `deliveries replay --all --channel {name}` sends what was given up")


@approvals.command("unreached")
def list_unreached(as_json: AsJson = False) -> None:
    """List the approvals that wait, and of which nobody could be told."""

    async def work(store: Store) -> list[dict[str, Any]]:
        _, records = await store.load(await store.listed(UNREACHED_INDEX, limit=LISTED))
        return [
            {
                "approval_id": record.id,
                "agent_id": record.agent_id,
                "action_type": record.action_type,
                "groups": ", ".join(record.groups),
                "since": record.unreached_at.isoformat() if record.unreached_at else None,
                "expires_at": record.expires_at.isoformat(),
            }
            for record in records
            if isinstance(record, Approval)
        ]

    print_rows(with_store(work), as_json)
