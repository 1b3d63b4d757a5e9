"""Who a request is from: bearer API keys (RFC 6750)."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from safeguards_runtime.records import ApiKey
from safeguards_runtime.records.api_key import Role, parse_api_key
from safeguards_runtime.reviewers import Reviewer
from services.gateway.parts import Gateway
from services.gateway.problems import Problem

_bearer = HTTPBearer(auto_error=False, description="An API key: `sgk_…`")
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="safeguards"'}


async def _caller(
    gateway: Gateway,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
) -> ApiKey:
    if credentials is None:
        detail = "send an API key: `Authorization: Bearer sgk_…`"
        raise Problem(401, "api_key_missing", detail, _CHALLENGE)
    parsed = parse_api_key(credentials.credentials)
    key = await gateway.store.get(parsed[0], ApiKey) if parsed else None
    if parsed is None or key is None or not key.opens_with(parsed[1]):
        detail = "this API key is unknown or revoked: ask for a new one"
        raise Problem(401, "api_key_invalid", detail, _CHALLENGE)
    return key


Caller = Annotated[ApiKey, Depends(_caller)]


async def _agent(key: Caller) -> ApiKey:
    if key.role is not Role.AGENT:
        raise Problem(403, "wrong_scope", "this needs an agent's API key; yours is a reviewer's")
    return key


AgentKey = Annotated[ApiKey, Depends(_agent)]
"""The key of a request that only agents may make."""


async def _reviewer(key: Caller, gateway: Gateway) -> Reviewer:
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
