"""Who a request is from: bearer API keys (RFC 6750)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from safeguards.identifiers import is_id
from safeguards_runtime.records import ApiKey, Halts, Record
from safeguards_runtime.records.api_key import Role, parse_api_key
from safeguards_runtime.records.halts import HALTS_ID, halts_of
from safeguards_runtime.reviewers import Reviewer
from safeguards_runtime.store import Store
from services.gateway.parts import Gateway
from services.gateway.problems import Problem

bearer = HTTPBearer(auto_error=False, description="An API key: `sgk_…`")
"""The header that holds an API key, where there is one."""

_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="safeguards"'}


@dataclass(frozen=True)
class Visitor:
    """Who a request is from, and what came from the store by the same round trip.

    Attributes:
        key: the API key, valid at `now`.
        now: the store's clock, UTC.
        named: the approval that the request's path names, as it stood at `now`; None if there is
            none. Whether the key may see it is for the route to judge.
    """

    key: ApiKey
    now: datetime
    named: Record | None


def key_refused() -> Problem:
    """Return the problem for a key that opens nothing (any more)."""
    detail = "this API key is unknown or revoked: ask for a new one"
    return Problem(401, "api_key_invalid", detail, _CHALLENGE)


async def visitor(
    request: Request,
    gateway: Gateway,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(bearer)],
) -> Visitor:
    """Return who a request is from.

    Raises:
        Problem: 401.
    """
    if credentials is None:
        detail = "send an API key: `Authorization: Bearer sgk_…`"
        raise Problem(401, "api_key_missing", detail, _CHALLENGE)
    parsed = parse_api_key(credentials.credentials)
    if parsed is None:
        raise key_refused()
    key_id, secret = parsed
    name = request.path_params.get("approval_id", "")
    named = [name] if is_id(name, "apr") else []
    now, (key, *found) = await gateway.store.load([key_id, *named])
    if not isinstance(key, ApiKey) or not key.opens_with(secret):
        raise key_refused()
    return Visitor(key, now, found[0] if found else None)


Caller = Annotated[Visitor, Depends(visitor)]


async def _agent(caller: Caller) -> Visitor:
    if caller.key.role is not Role.AGENT:
        raise Problem(403, "wrong_scope", "this needs an agent's API key; yours is a reviewer's")
    return caller


Agent = Annotated[Visitor, Depends(_agent)]
"""Who sent a request that only agents may make."""


async def reviewer_of_key(caller: Caller, gateway: Gateway) -> Reviewer:
    """Return the reviewer whose key a request came with.

    Raises:
        Problem: 403.
    """
    key = caller.key
    if key.role is not Role.REVIEWER or key.reviewer_id is None:
        raise Problem(403, "wrong_scope", "only a reviewer may answer; yours is an agent's API key")
    reviewer = gateway.directory.get(key.reviewer_id)
    if reviewer is None:
        raise Problem(403, "not_a_reviewer", f"{key.reviewer_id!r} is no reviewer any more")
    return reviewer


ReviewerOfKey = Annotated[Reviewer, Depends(reviewer_of_key)]
"""The reviewer of a request that only reviewers may make."""


async def must_not_be_halted(store: Store, agent_id: str, action_type: str) -> None:
    """Refuse what an agent asks of people, or tells them, while it or the type of action is halted.

    Raises:
        Problem: 403, saying who has halted it and why.
    """
    why = halts_of(await store.get(HALTS_ID, Halts)).why(agent_id, action_type)
    if why is not None:
        raise Problem(403, "halted", why)


def must_speak_for(key: ApiKey, agent_id: str) -> None:
    """Refuse a request in the name of an agent that the key is not for.

    Raises:
        Problem: 403.
    """
    if not key.speaks_for(agent_id):
        may = ", ".join(key.agent_ids)
        raise Problem(403, "foreign_agent", f"this key may not act for {agent_id!r}; it may: {may}")
