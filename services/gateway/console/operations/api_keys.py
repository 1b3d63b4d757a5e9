"""The API keys, and revoking one."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from safeguards.identifiers import is_id
from safeguards_runtime.records import ApiKey, Change, api_key
from safeguards_runtime.store import Store
from services.gateway.console.session import Admin, FromOurPage
from services.gateway.pages import HEADERS, page
from services.gateway.parts import Gateway

router = APIRouter()

MAX_KEYS = 500


async def keys(store: Store) -> list[ApiKey]:
    """Return the API keys, the newest first."""
    _, records = await store.load(await store.listed("keys", limit=MAX_KEYS))
    return [record for record in records if isinstance(record, ApiKey)]


@router.get("/agents/keys/{key_id}/revoke")
async def ask(request: Request, gateway: Gateway, session: Admin, key_id: str) -> Response:
    """Ask once more before a key is revoked for good."""
    key = await gateway.store.get(key_id, ApiKey) if is_id(key_id, "key") else None
    template = "console/operations/revoke_key.html"
    status = 200 if key else 404
    return page(gateway, request, template, {"key": key}, session=session, status=status)


@router.post("/agents/keys/{key_id}/revoke", dependencies=[FromOurPage])
async def revoke(gateway: Gateway, session: Admin, key_id: str) -> Response:
    """Revoke a key, at once and for good."""

    def rule(key: ApiKey | None, now: datetime) -> Change | None:
        actor = f"reviewer:{session.reviewer.id}"
        return api_key.revoke(key, now, actor) if key else None

    if is_id(key_id, "key"):
        await gateway.store.apply(key_id, ApiKey, rule)
    return RedirectResponse("/console/agents#keys", 303, HEADERS)
