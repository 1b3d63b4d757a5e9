"""Addresses under the console that lead nowhere."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from services.gateway.console.session import SignedIn
from services.gateway.pages import page
from services.gateway.parts import Gateway

router = APIRouter(include_in_schema=False)
"""Included after all others: it takes whatever they leave."""


@router.get("/console/{rest:path}")
async def nowhere(rest: str, request: Request, gateway: Gateway, session: SignedIn) -> Response:
    """Say so on a page, to people who follow an old link or mistype one."""
    return page(gateway, request, "console/nowhere.html", session=session, status=404)
