"""The deliveries: what could not be sent, why, and sending it once more."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from safeguards.identifiers import is_id
from safeguards_runtime import dead_letters
from safeguards_runtime.records import Delivery
from safeguards_runtime.records.delivery import CALLBACK, DeliveryStatus
from safeguards_runtime.store import Store, trail
from services.gateway.console.people import person
from services.gateway.console.session import FromOurPage, Operator, Session
from services.gateway.pages import HEADERS, page
from services.gateway.parts import Gateway, Parts

router = APIRouter()

PAGE_LENGTH = 50
SCAN_LENGTH = 5000
"""How many deliveries are looked through for those of one channel."""

MAX_RESULTS = 500
REPLAY_SECONDS = 10
"""How long the browser waits for all to be put back; it goes on after that."""

MAX_AGE = timedelta(days=1)
"""How long ago may be asked for: all that has happened since is looked through."""

ORDER = (
    DeliveryStatus.DEAD,
    DeliveryStatus.PENDING,
    DeliveryStatus.SENDING,
    DeliveryStatus.SENT,
    DeliveryStatus.MOOT,
)
WORDS = {
    DeliveryStatus.DEAD: "Given up",
    DeliveryStatus.PENDING: "To be sent",
    DeliveryStatus.SENDING: "Being sent",
    DeliveryStatus.SENT: "Sent",
    DeliveryStatus.MOOT: "No longer needed",
}


@dataclass(frozen=True)
class Found:
    """One page of deliveries, and where to go on."""

    deliveries: list[Delivery]
    before: str | None


@router.get("/deliveries")
async def show(
    request: Request,
    gateway: Gateway,
    session: Operator,
    status: DeliveryStatus = DeliveryStatus.DEAD,
    channel: Annotated[str, Query(max_length=200)] = "",
    before: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """List deliveries in one status, the newest first."""
    start = before if is_id(before, "dlv") else None
    found = await _found(gateway.store, status, channel, start)
    counts = await asyncio.gather(
        *(gateway.store.counted(dead_letters.status_index(one)) for one in ORDER)
    )
    shown = {
        "status": status,
        "words": WORDS,
        "counts": dict(zip(ORDER, counts, strict=True)),
        "channel": channel,
        "channels": _channels(gateway, found.deliveries, channel),
        "found": found,
        "further": found.before
        and "/console/deliveries?"
        + urlencode({"status": status, "channel": channel, "before": found.before}),
        "scan_length": SCAN_LENGTH,
        "last_error": dead_letters.last_error,
        "name_of": partial(person, gateway),
    }
    return page(gateway, request, "console/operations/deliveries.html", shown, session=session)


@router.post("/deliveries/replay", dependencies=[FromOurPage])
async def replay(
    gateway: Gateway,
    session: Operator,
    delivery_id: Annotated[list[str] | None, Form()] = None,
) -> Response:
    """Send those that were chosen once more."""
    wanted = [one for one in delivery_id or () if is_id(one, "dlv")][:MAX_RESULTS]
    began_at = await gateway.store.now()
    sent = await dead_letters.replay(gateway.store, wanted, _actor(session))
    return _to_results(began_at, len(wanted) - len(sent))


@router.get("/deliveries/replay-all")
async def ask(
    request: Request,
    gateway: Gateway,
    session: Operator,
    channel: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """Ask once more before all that were given up are sent: people get these messages."""
    looked_at, of_channel = 0, []
    async for part in dead_letters.newest(gateway.store, DeliveryStatus.DEAD):
        looked_at += len(part)
        of_channel += [one for one in part if channel in ("", one.channel)]
        if looked_at >= SCAN_LENGTH:
            break
    shown = {
        "channel": channel,
        "count": len(of_channel),
        "is_all": looked_at < SCAN_LENGTH,
        "oldest": of_channel[-1].planned_at if of_channel else None,
    }
    return page(gateway, request, "console/operations/replay_all.html", shown, session=session)


@router.post("/deliveries/replay-all", dependencies=[FromOurPage])
async def replay_all(
    gateway: Gateway, session: Operator, channel: Annotated[str, Form(max_length=200)] = ""
) -> Response:
    """Send all that were given up once more, of one channel if it is named."""
    began_at = await gateway.store.now()
    work = dead_letters.replay_all(gateway.store, channel, _actor(session))
    await asyncio.wait({gateway.background.start(work)}, timeout=REPLAY_SECONDS)
    return _to_results(began_at, 0)


@router.get("/deliveries/replayed")
async def results(
    request: Request,
    gateway: Gateway,
    session: Operator,
    since: Annotated[int, Query(ge=0, le=2**45, description="Milliseconds.")] = 0,
    missed: Annotated[int, Query(ge=0, le=MAX_RESULTS)] = 0,
) -> Response:
    """Show what became of what the reader has sent once more since a moment."""
    began_at = datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=since)
    began_at = max(began_at, session.now - MAX_AGE)
    sent, is_all = await _replayed(gateway.store, _actor(session), began_at)
    shown = {
        "sent": sent,
        "is_all": is_all,
        "missed": missed,
        "began_at": began_at,
        "words": WORDS,
        "last_error": dead_letters.last_error,
        "name_of": partial(person, gateway),
        "waits": sum(not one.status.is_final for one in sent),
        "again": f"/console/deliveries/replayed?{request.url.query}",
    }
    return page(gateway, request, "console/operations/replayed.html", shown, session=session)


async def _found(store: Store, status: DeliveryStatus, channel: str, before: str | None) -> Found:
    found: list[Delivery] = []
    looked_at = 0
    async for part in dead_letters.newest(store, status, before=before):
        for one in part:
            if len(found) == PAGE_LENGTH:
                return Found(found, found[-1].id)
            if channel in ("", one.channel):
                found.append(one)
        looked_at += len(part)
        if looked_at >= SCAN_LENGTH:
            return Found(found, part[-1].id)
    return Found(found, None)


async def _replayed(store: Store, actor: str, since: datetime) -> tuple[list[Delivery], bool]:
    """Return what somebody has replayed since a moment as it stands now, and whether it is all."""
    ids: dict[str, None] = {}
    is_all = True
    async for steps in trail.forward(store, since=since):
        own = [step for step in steps if is_id(step.record_id, "dlv")]
        for step, line in zip(own, await trail.lines(store, own), strict=True):
            if (line.event, line.actor) == ("replayed", actor):
                ids[step.record_id] = None
        if len(ids) >= MAX_RESULTS:
            is_all = False
            break
    _, records = await store.load(list(ids)[:MAX_RESULTS])
    return [record for record in records if isinstance(record, Delivery)], is_all


def _channels(gateway: Parts, found: Sequence[Delivery], chosen: str) -> list[str]:
    """Return the channels to choose from: those in force, and those met."""
    met = {one.channel for one in found} | ({chosen} if chosen else set())
    return sorted({*gateway.channels.current, CALLBACK, *met})


def _to_results(began_at: datetime, missed: int) -> Response:
    query = {"since": int(began_at.timestamp() * 1000), "missed": missed}
    return RedirectResponse(f"/console/deliveries/replayed?{urlencode(query)}", 303, HEADERS)


def _actor(session: Session) -> str:
    return f"reviewer:{session.reviewer.id}"
