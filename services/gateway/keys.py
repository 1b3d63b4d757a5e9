"""Who a request is from: bearer API keys (RFC 6750)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from safeguards.identifiers import is_id
from safeguards_runtime.records import ApiKey, Record
from safeguards_runtime.records.api_key import Role, parse_api_key
from safeguards_runtime.reviewers import Reviewer
from services.gateway.parts import Gateway
from services.gateway.problems import Problem

_bearer = HTTPBearer(auto_error=False, description="An API key: `sgk_…`")
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


async def _visitor(
    request: Request,
    gateway: Gateway,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> Visitor:
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


Caller = Annotated[Visitor, Depends(_visitor)]


async def _agent(caller: Caller) -> Visitor:
    if caller.key.role is not Role.AGENT:
        raise Problem(403, "wrong_scope", "this needs an agent's API key; yours is a reviewer's")
    return caller


Agent = Annotated[Visitor, Depends(_agent)]
"""Who sent a request that only agents may make."""


async def _reviewer(caller: Caller, gateway: Gateway) -> Reviewer:
    key = caller.key
    if key.role is not Role.REVIEWER or key.reviewer_id is None:
        raise Problem(403, "wrong_scope", "only a reviewer may answer; yours is an agent's API key")
    reviewer = gateway.directory.get(key.reviewer_id)
    if reviewer is None:
        raise Problem(403, "not_a_reviewer", f"{key.reviewer_id!r} is no reviewer any more")
    return reviewer


ReviewerOfKey = Annotated[Reviewer, Depends(_reviewer)]
"""The reviewer of a request that only reviewers may make."""


def must_speak_for(key: ApiKey, agent_id: str) -> None:
    """Refuse a request in the name of an agent that the key is not for.

    Raises:
        Problem: 403.
    """
    if not key.speaks_for(agent_id):
        may = ", ".join(key.agent_ids)
        raise Problem(403, "foreign_agent", f"this key may not act for {agent_id!r}; it may: {may}")
