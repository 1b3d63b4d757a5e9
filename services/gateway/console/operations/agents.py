"""The agents: what each has asked for lately, and pausing one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request, Response
from fastapi.responses import RedirectResponse

from safeguards_runtime.records import AgentState, Change, Grant, Refusal, agent_state, grant
from safeguards_runtime.records.action import granted_index
from safeguards_runtime.records.agent_state import MAX_REASON_LENGTH, PAUSED_INDEX, state_id
from safeguards_runtime.store import Store
from services.gateway.console.operations import activity, api_keys
from services.gateway.console.people import person
from services.gateway.console.session import FromOurPage, Operator, Session
from services.gateway.pages import HEADERS, page
from services.gateway.parts import Gateway, Parts

router = APIRouter()

PAGE_LENGTH = 50
MAX_NAMES = 10_000
LATEST = 30
MAX_PAUSED = 1000


@dataclass(frozen=True)
class AgentRow:
    """One agent of the list.

    Attributes:
        counts: its requests of the last 30 days, by `activity.COUNTED`.
        paused: by whom and why, if it is.
    """

    agent_id: str
    seen_at: datetime
    counts: tuple[int, ...]
    paused: AgentState | None

    @property
    def path(self) -> str:
        """The agent's page."""
        return agent_path(self.agent_id)


def agent_path(agent_id: str) -> str:
    """Return the path of an agent's page. The name is in the query: it may be `..`."""
    return f"/console/agents/one?{urlencode({'agent_id': agent_id})}"


@router.get("/agents")
async def show_all(
    request: Request,
    gateway: Gateway,
    session: Operator,
    q: Annotated[str, Query(max_length=200)] = "",
    offset: Annotated[int, Query(ge=0, le=MAX_NAMES)] = 0,
) -> Response:
    """List the agents, those seen last first, and the API keys."""
    known = await gateway.store.names("agents", limit=MAX_NAMES)
    wanted = [one for one in known if q.strip().casefold() in one[0].casefold()]
    part = wanted[offset : offset + PAGE_LENGTH]
    counts = await activity.figures(gateway.store, [name for name, _ in part], session.now)
    states = await _paused(gateway.store)
    shown = {
        "rows": [
            AgentRow(name, seen_at, counted, states.get(name))
            for (name, seen_at), counted in zip(part, counts, strict=True)
        ],
        "known": len(known),
        "found": len(wanted),
        "q": q,
        "offset": offset,
        "earlier": _part(q, offset - PAGE_LENGTH) if offset else None,
        "later": _part(q, offset + PAGE_LENGTH) if offset + PAGE_LENGTH < len(wanted) else None,
        "paused": sorted(states.values(), key=lambda state: state.agent_id),
        "keys": await api_keys.keys(gateway.store),
        "days": activity.DAYS,
        "agent_path": agent_path,
    }
    return page(gateway, request, "console/operations/agents.html", shown, session=session)


@router.get("/agents/one")
async def show_one(
    request: Request, gateway: Gateway, session: Operator, agent_id: Annotated[str, Query()]
) -> Response:
    """Show what one agent has wanted lately, what it may do, and how to pause it."""
    return await _agent_page(gateway, request, session, agent_id)


@router.post("/agents/pause", dependencies=[FromOurPage])
async def pause(
    request: Request,
    gateway: Gateway,
    session: Operator,
    agent_id: Annotated[str, Form(min_length=1, max_length=200)],
    reason: Annotated[str, Form(max_length=20_000)] = "",
) -> Response:
    """Deny all that an agent wants from now on."""

    def rule(state: AgentState | None, now: datetime) -> Change | None:
        by = session.reviewer.id
        return agent_state.pause(state, agent_id, paused_by=by, reason=reason, now=now)

    try:
        await gateway.store.apply(state_id(agent_id), AgentState, rule)
    except Refusal as refusal:
        words = refusal.detail[0].upper() + refusal.detail[1:]
        return await _agent_page(gateway, request, session, agent_id, words, reason)
    return RedirectResponse(agent_path(agent_id), 303, HEADERS)


@router.post("/agents/resume", dependencies=[FromOurPage])
async def resume(
    gateway: Gateway, session: Operator, agent_id: Annotated[str, Form(min_length=1)]
) -> Response:
    """Let an agent go on."""

    def rule(state: AgentState | None, now: datetime) -> Change | None:
        by = session.reviewer.id
        return agent_state.resume(state, resumed_by=by, now=now) if state else None

    await gateway.store.apply(state_id(agent_id), AgentState, rule)
    return RedirectResponse(agent_path(agent_id), 303, HEADERS)


async def _agent_page(
    gateway: Parts,
    request: Request,
    session: Session,
    agent_id: str,
    error: str = "",
    reason: str = "",
) -> Response:
    store = gateway.store
    _, (state,) = await store.load([state_id(agent_id)])
    (counts,) = await activity.figures(store, [agent_id], session.now)
    shown = {
        "agent_id": agent_id,
        "state": state if isinstance(state, AgentState) and state.is_paused else None,
        "counts": counts,
        "days": activity.DAYS,
        "latest": await activity.latest(gateway, agent_id, LATEST),
        "limit": LATEST,
        "granted": await store.counted(granted_index(agent_id)),
        "grants": await _grants(store, agent_id),
        "keys": [key for key in await api_keys.keys(store) if key.speaks_for(agent_id)],
        "error": error,
        "reason": reason,
        "max_reason": MAX_REASON_LENGTH,
        "name_of": partial(person, gateway),
        "audit": "/console/audit?" + urlencode({"agent": agent_id}),
    }
    template = "console/operations/agent.html"
    status = 422 if error else 200
    return page(gateway, request, template, shown, session=session, status=status)


async def _grants(store: Store, agent_id: str) -> list[Grant]:
    now, records = await store.load(await store.listed(grant.of_agent(agent_id), limit=100))
    return [r for r in records if isinstance(r, Grant) and r.standing(now) == "in_force"]


async def _paused(store: Store) -> dict[str, AgentState]:
    """Return the agents that are paused, by their ids."""
    _, records = await store.load(await store.listed(PAUSED_INDEX, limit=MAX_PAUSED))
    return {r.agent_id: r for r in records if isinstance(r, AgentState)}


def _part(q: str, offset: int) -> str:
    wanted = {"q": q} if q else {}
    return "/console/agents?" + urlencode({**wanted, "offset": max(0, offset)})
