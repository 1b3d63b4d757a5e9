"""Pages: templates rendered with the headers that every page has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastapi import Request, Response

from services.gateway.parts import Parts

if TYPE_CHECKING:
    from services.gateway.console.session import Session

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def page(
    gateway: Parts,
    request: Request,
    template: str,
    shown: Mapping[str, Any] | None = None,
    *,
    session: Session | None = None,
    status: int = 200,
) -> Response:
    """Return a page, or a fragment of one.

    Args:
        template: its file's name under `templates`.
        shown: what the template works with.
        session: who has signed in; the navigation shows what they may open.
        status: the HTTP status code.
    """
    context = {"session": session, "refused_room": _refused(gateway), **(shown or {})}
    return gateway.templates.TemplateResponse(
        request, template, context, status_code=status, headers=HEADERS
    )


def _refused(gateway: Parts) -> str | None:
    """Return the room of the console that says why a changed file is not in force; None if nothing
    is wrong."""
    if gateway.rules.error:
        return "/console/policies"
    return "/console/channels" if gateway.channels.error else None
