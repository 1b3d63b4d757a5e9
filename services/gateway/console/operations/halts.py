"""The kill switch: what is halted, halting an agent or a type of actions, and letting it go on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from safeguards.plugins import is_glob
from safeguards_runtime.records import Change, Halts, Refusal, halts
from safeguards_runtime.records.halts import (
    HALTS_ID,
    MAX_NAME_LENGTH,
    MAX_REASON_LENGTH,
    SEEN,
    Subject,
    halts_of,
    types_in_words,
)
from services.gateway.console.people import actor
from services.gateway.console.session import FromOurPage, Operator, Session
from services.gateway.pages import HEADERS, page
from services.gateway.parts import Gateway, Parts

router = APIRouter()

PATH = "/console/halts"

MAX_SUGGESTED = 200
"""How many agents and types are suggested while one types: those seen last."""

MAX_SEEN = 10_000
MAX_SHOWN = 20

Typed = Annotated[str, Form(max_length=20_000)]


def halting_path(agent_id: str, action_type: str) -> str:
    """Return the path of the page on which an agent and a type stand in the forms already."""
    return f"{PATH}?{urlencode({'agent': agent_id, 'type': action_type})}"


@router.get("/halts")
async def show(
    request: Request,
    gateway: Gateway,
    session: Operator,
    agent: Annotated[str, Query(max_length=200)] = "",
    type_: Annotated[str, Query(alias="type", max_length=200)] = "",
) -> Response:
    """Show what is halted, and how to halt more."""
    return await _page(gateway, request, session, {"agent": agent, "type": type_})


@router.post("/halts/begin", dependencies=[FromOurPage])
async def begin(
    request: Request,
    gateway: Gateway,
    session: Operator,
    subject: Annotated[Subject, Form()],
    name: Typed = "",
    reason: Typed = "",
    is_sure: Annotated[bool, Form()] = False,
) -> Response:
    """Deny all that an agent wants from now on, or all actions of a type. What may be for more, or
    for less, than is meant is asked about once more: a glob, and what has never been seen."""

    def rule(standing: Halts | None, now: datetime) -> Change | None:
        by = _actor(session)
        return halts.halt(standing, subject, name, by=by, reason=reason, now=now)

    store = gateway.store
    try:
        if not is_sure and rule(await store.get(HALTS_ID, Halts), session.now) is not None:
            names = [one for one, _ in await store.names(SEEN[subject], limit=MAX_SEEN)]
            found = halts.meant(subject, name, names)
            if not found or (subject == "type" and is_glob(name)):
                return _ask(gateway, request, session, subject, name, reason, found, len(names))
        await store.apply(HALTS_ID, Halts, rule)
    except Refusal as refusal:
        return await _page(gateway, request, session, {subject: name}, (subject, refusal), reason)
    return RedirectResponse(PATH, 303, HEADERS)


@router.post("/halts/end", dependencies=[FromOurPage])
async def end(
    gateway: Gateway, session: Operator, subject: Annotated[Subject, Form()], name: Typed = ""
) -> Response:
    """Let an agent, or a type of actions, go on."""

    def rule(standing: Halts | None, now: datetime) -> Change | None:
        return halts.resume(standing, subject, name, by=_actor(session), now=now)

    await gateway.store.apply(HALTS_ID, Halts, rule)
    return RedirectResponse(PATH, 303, HEADERS)


async def _page(
    gateway: Parts,
    request: Request,
    session: Session,
    names: dict[Subject, str],
    refused: tuple[Subject, Refusal] | None = None,
    reason: str = "",
) -> Response:
    store = gateway.store
    standing = halts_of(await store.get(HALTS_ID, Halts))
    shown: dict[str, Any] = {
        "in_force": standing.in_force[::-1],
        "names": names,
        "refused": refused[0] if refused else "",
        "problem": refused[1].detail[0].upper() + refused[1].detail[1:] if refused else "",
        "is_reason": refused is not None and refused[1].code.startswith("reason_"),
        "reason": reason,
        "agents": [one for one, _ in await store.names(SEEN["agent"], limit=MAX_SUGGESTED)],
        "types": [one for one, _ in await store.names(SEEN["type"], limit=MAX_SUGGESTED)],
        "max_reason": MAX_REASON_LENGTH,
        "max_name": MAX_NAME_LENGTH,
        "types_in_words": types_in_words,
        "name_of": partial(actor, gateway),
    }
    template = "console/operations/halts.html"
    status = 422 if refused else 200
    return page(gateway, request, template, shown, session=session, status=status)


def _ask(
    gateway: Parts,
    request: Request,
    session: Session,
    subject: Subject,
    name: str,
    reason: str,
    found: Sequence[str],
    seen: int,
) -> Response:
    """Show what would be halted, before it is."""
    shown = {
        "subject": subject,
        "name": name.strip(),
        "what": types_in_words(name.strip()) if subject == "type" else f"the agent {name}",
        "reason": reason,
        "back": f"{PATH}?{urlencode([(subject, name.strip())])}",
        "found": found[:MAX_SHOWN],
        "more": max(0, len(found) - MAX_SHOWN),
        "seen": seen,
    }
    return page(gateway, request, "console/operations/halt.html", shown, session=session)


def _actor(session: Session) -> str:
    return f"reviewer:{session.reviewer.id}"
