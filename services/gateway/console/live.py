"""Server-sent events for consoles: what opens, changes and ends among what a reviewer may see.

The format is the HTML standard's (section 9.2). Each event has an id, by which a stream that was
interrupted goes on (`Last-Event-ID`; `after` where a script cannot send the header).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request, Security
from fastapi.security import HTTPAuthorizationCredentials
from fastapi.sse import EventSourceResponse, ServerSentEvent

from safeguards_runtime.records import ApiKey
from services.gateway.console.listing import Reader, reader_of
from services.gateway.console.people import ending, person
from services.gateway.console.session import session_of
from services.gateway.keys import bearer, reviewer_of_key, visitor
from services.gateway.news import EVERYTHING, News
from services.gateway.parts import Gateway, Parts
from services.gateway.problems import Problem
from services.gateway.tail import order

CHECK_SECONDS = 15.0
"""How often it is made sure that whoever listens still may."""

RETRY_MILLISECONDS = 2000
"""Within which time browsers come back after the gateway was gone: not all of them at once."""

AT_ONCE = 500

router = APIRouter(prefix="/api/v1", tags=["events"])


@dataclass(frozen=True)
class Listener:
    """Who listens: somebody who has signed in, or a reviewer's API key."""

    gateway: Parts
    request: Request
    key_id: str | None

    async def reader(self) -> Reader | None:
        """Return who listens, as things stand now; None if they no longer may."""
        if self.key_id is None:
            session = await session_of(self.gateway, self.request)
            return reader_of(self.gateway, session.reviewer, session.now) if session else None
        now, (key,) = await self.gateway.store.load([self.key_id])
        if not isinstance(key, ApiKey) or key.revoked_at is not None or key.reviewer_id is None:
            return None
        reviewer = self.gateway.directory.get(key.reviewer_id)
        return reader_of(self.gateway, reviewer, now) if reviewer else None


async def _listener(
    request: Request,
    gateway: Gateway,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)],
) -> Listener:
    if credentials is None:
        listener = Listener(gateway, request, None)
        if await listener.reader() is None:
            detail = "sign in, or send a reviewer's API key: `Authorization: Bearer sgk_…`"
            raise Problem(401, "sign_in_needed", detail, {"WWW-Authenticate": "Bearer"})
        return listener
    caller = await visitor(request, gateway, credentials)
    await reviewer_of_key(caller, gateway)
    return Listener(gateway, request, caller.key.id)


async def _from(
    gateway: Gateway,
    after: Annotated[
        str | None, Query(max_length=60, description="The id of the last event that was seen.")
    ] = None,
    last_event_id: Annotated[str | None, Header(max_length=60)] = None,
) -> str:
    """Return the cursor from which the stream goes on: from now, unless one is given."""
    # What the browser sends by itself is later than what the address says.
    cursor = last_event_id or after or gateway.news.last
    try:
        order(cursor)
    except ValueError as error:
        raise Problem(422, "invalid_cursor", f"after: {error}") from error
    return cursor


@router.get("/events", response_class=EventSourceResponse)
async def events(
    listener: Annotated[Listener, Depends(_listener)],
    cursor: Annotated[str, Depends(_from)],
    gateway: Gateway,
) -> AsyncIterator[ServerSentEvent]:
    """Tell what opens (`opened`), changes (`changed`) and ends (`ended`), as it happens.

    The stream begins with `ready`. `gap` says that more has happened than is still known here:
    look at everything anew. `signed_out` ends it: who listens may no longer.
    """
    loop = asyncio.get_running_loop()
    news = gateway.news
    with news.subscribed([EVERYTHING]) as heard:
        heard.set()
        retry = 500 + secrets.randbelow(RETRY_MILLISECONDS)
        yield ServerSentEvent(event="ready", id=cursor, retry=retry, data={})
        check_at = 0.0
        reader: Reader | None = None
        while not news.is_releasing:
            if loop.time() >= check_at:
                reader = await listener.reader()
                check_at = loop.time() + CHECK_SECONDS
                if reader is None:
                    yield ServerSentEvent(event="signed_out", data={})
                    return
            if not await news.more(heard, check_at) or reader is None:
                continue
            found, cursor, gap = await news.after(cursor, AT_ONCE)
            if gap:
                yield ServerSentEvent(event="gap", id=cursor, data={})
            for one in found:
                if reader.may_read(one.groups):
                    yield ServerSentEvent(
                        event=one.kind, id=one.cursor, data=_told(gateway, reader, one)
                    )
            if len(found) == AT_ONCE:
                heard.set()


def _told(gateway: Parts, reader: Reader, news: News) -> dict[str, Any]:
    """Return what is told of a piece of news: JSON. All texts are made visible already."""
    held_by = person(gateway, news.held_by) if news.held_by else ""
    fate = ending(gateway, news.status, news.ended_by, news.ended_for)
    return {
        "id": news.approval_id,
        "event": news.event,
        "revision": news.revision,
        "version": news.version,
        "status": news.status,
        "sentence": news.sentence,
        "held_by": held_by,
        "is_mine": news.held_by == reader.reviewer.id,
        "ending": fate,
        "words": _words(news, held_by, fate),
    }


def _words(news: News, held_by: str, fate: str) -> str:
    """Return what is announced, or nothing."""
    if news.kind == "ended":
        return f"{fate}: {news.sentence}"
    if news.event == "opened":
        return f"New request: {news.sentence}"
    if news.event in ("claimed", "handed_over") and held_by:
        return f"{held_by} has it in hand: {news.sentence}"
    said = _CHANGES.get(news.event)
    return f"{said}: {news.sentence}" if said else ""


_CHANGES = {
    "answered": "The agent has answered",
    "amended": "The agent has changed it",
    "asked": "The agent has been asked",
    "escalated": "Escalated",
    "proposed": "Changes were proposed",
    "released": "Nobody has it in hand any more",
}
