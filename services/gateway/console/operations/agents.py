"""The agents: what each has asked for lately, and what one of them wanted last."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response

from safeguards_runtime.records import Grant, Halts, grant
from safeguards_runtime.records.action import granted_index
from safeguards_runtime.records.halts import HALTS_ID, MAX_REASON_LENGTH, halts_of
from safeguards_runtime.store import Store
from services.gateway.console.operations import activity, api_keys
from services.gateway.console.people import actor, person
from services.gateway.console.session import Operator
from services.gateway.pages import page
from services.gateway.parts import Gateway

router = APIRouter()

PAGE_LENGTH = 50
MAX_NAMES = 10_000
LATEST = 30


@dataclass(frozen=True)
class AgentRow:
    """One agent of the list.

    Attributes:
        counts: its requests of the last 30 days, by `activity.COUNTED`.
        is_halted: whether all that it wants is denied.
    """

    agent_id: str
    seen_at: datetime
    counts: tuple[int, ...]
    is_halted: bool

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
    halts = halts_of(await gateway.store.get(HALTS_ID, Halts))
    shown = {
        "rows": [
            AgentRow(name, seen_at, counted, halts.find("agent", name) is not None)
            for (name, seen_at), counted in zip(part, counts, strict=True)
        ],
        "known": len(known),
        "found": len(wanted),
        "q": q,
        "offset": offset,
        "earlier": _part(q, offset - PAGE_LENGTH) if offset else None,
        "later": _part(q, offset + PAGE_LENGTH) if offset + PAGE_LENGTH < len(wanted) else None,
        "halted": sorted(halts.of("agent"), key=lambda halt: halt.name),
        "keys": await api_keys.keys(gateway.store),
        "days": activity.DAYS,
        "agent_path": agent_path,
    }
    return page(gateway, request, "console/operations/agents.html", shown, session=session)


@router.get("/agents/one")
async def show_one(
    request: Request, gateway: Gateway, session: Operator, agent_id: Annotated[str, Query()]
) -> Response:
    """Show what one agent has wanted lately, what it may do, and how to halt it."""
    store = gateway.store
    halts = halts_of(await store.get(HALTS_ID, Halts))
    (counts,) = await activity.figures(store, [agent_id], session.now)
    shown = {
        "agent_id": agent_id,
        "halt": halts.find("agent", agent_id),
        "counts": counts,
        "days": activity.DAYS,
        "latest": await activity.latest(gateway, agent_id, LATEST),
        "limit": LATEST,
        "granted": await store.counted(granted_index(agent_id)),
        "grants": await _grants(store, agent_id),
        "keys": [key for key in await api_keys.keys(store) if key.speaks_for(agent_id)],
        "max_reason": MAX_REASON_LENGTH,
        "name_of": partial(person, gateway),
        "actor_of": partial(actor, gateway),
        "audit": "/console/audit?" + urlencode({"agent": agent_id}),
    }
    return page(gateway, request, "console/operations/agent.html", shown, session=session)


async def _grants(store: Store, agent_id: str) -> list[Grant]:
    now, records = await store.load(await store.listed(grant.of_agent(agent_id), limit=100))
    return [r for r in records if isinstance(r, Grant) and r.standing(now) == "in_force"]


def _part(q: str, offset: int) -> str:
    wanted = {"q": q} if q else {}
    return "/console/agents?" + urlencode({**wanted, "offset": max(0, offset)})
