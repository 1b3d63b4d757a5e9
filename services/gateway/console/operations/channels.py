"""The channels in force, and whether messages go through them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from safeguards.identifiers import is_id
from safeguards_runtime.channels import Channel
from safeguards_runtime.records import Change, Endpoint, endpoint
from safeguards_runtime.records.delivery import CALLBACK
from safeguards_runtime.records.endpoint import EndpointStatus, endpoint_id
from safeguards_runtime.rules import unknown_channels
from services.gateway.console.session import FromOurPage, Operator
from services.gateway.pages import HEADERS, page
from services.gateway.parts import Gateway

router = APIRouter()

MAX_ENDPOINTS = 1000

Health = Literal["up", "failing", "waiting", "down", "disabled"]

READS = {
    "people": "People who may answer, or be told",
    "programs": "Programs",
    "nobody": "Nobody: it only keeps a record",
}


@dataclass(frozen=True)
class State:
    """How an endpoint is: a channel, or the host of an agent's own address.

    Attributes:
        record: what is known of it; None if it has never failed.
        now: the store's clock, UTC.
    """

    record: Endpoint | None
    now: datetime

    @property
    def health(self) -> Health:
        """Whether messages are sent to it, in one word."""
        if self.record is None:
            return "up"
        if self.record.status is EndpointStatus.DISABLED:
            return "disabled"
        if self.record.status is EndpointStatus.DOWN:
            return "down"
        if self.record.takes_at(self.now):
            return "waiting"
        return "failing" if self.record.failures else "up"

    @property
    def can_be_enabled(self) -> bool:
        """Whether anything keeps messages from it."""
        return self.health in ("down", "disabled", "waiting")


@dataclass(frozen=True)
class Shown:
    """One channel with its state."""

    channel: Channel
    state: State
    terms: tuple[str, ...]
    """The terms that ask people by it."""


@router.get("/channels")
async def show(request: Request, gateway: Gateway, session: Operator) -> Response:
    """List the channels in force, then the agents' own addresses that have failed."""
    channels = gateway.channels.current
    store = gateway.store
    ids = [endpoint_id(name) for name in channels]
    now, records = await store.load([*ids, *await store.listed("endpoints", limit=MAX_ENDPOINTS)])
    failed = {record.id: record for record in records if isinstance(record, Endpoint)}
    rules = gateway.rules.current
    shown = {
        "channels": [
            Shown(
                channel,
                State(failed.get(endpoint_id(name)), now),
                tuple(n for n, t in rules.policies.approvals.items() if name in t.channels),
            )
            for name, channel in channels.items()
        ],
        "callbacks": [
            (record, State(record, now))
            for record in failed.values()
            if record.name.startswith(f"{CALLBACK}:")
        ],
        "reads": READS,
        "refused": gateway.channels.error,
        "versions": gateway.channels.versions,
        "unknown": unknown_channels(rules, channels),
    }
    return page(gateway, request, "console/operations/channels.html", shown, session=session)


@router.post("/channels/enable", dependencies=[FromOurPage])
async def enable(
    gateway: Gateway, session: Operator, id_: Annotated[str, Form(alias="endpoint_id")]
) -> Response:
    """Send to an endpoint again, at once."""

    def rule(record: Endpoint | None, now: datetime) -> Change | None:
        actor = f"reviewer:{session.reviewer.id}"
        return endpoint.enable(record, now, actor) if record else None

    if is_id(id_, "ept"):
        await gateway.store.apply(id_, Endpoint, rule)
    return RedirectResponse("/console/channels", 303, HEADERS)
