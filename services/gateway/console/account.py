"""The account of whoever has signed in: their password, their keys, and where they signed in."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from safeguards.contracts import HistoryView
from safeguards_runtime.passwords import normalized
from safeguards_runtime.records import Account, Change, Refusal, account
from safeguards_runtime.records.account import OPERATOR, SignInMethod, account_id
from services.gateway.console.session import (
    FromOurPage,
    Session,
    SignedIn,
    let_in,
    new_session_id,
)
from services.gateway.console.sign_in import check_password
from services.gateway.pages import HEADERS, page
from services.gateway.parts import Gateway, Parts
from services.gateway.problems import Problem

EVENTS = {
    "signed_out": "Signed out",
    "signed_out_everywhere": "Signed out everywhere",
    "password_set": "New password",
    "password_removed": "Password taken away",
    "single_keys_on": "Single keys turned on",
    "single_keys_off": "Single keys turned off",
}
BROWSERS = {"Edg": "Edge", "Firefox": "Firefox", "Chrome": "Chrome", "Safari": "Safari"}
SYSTEMS = {"iPhone": "an iPhone", "iPad": "an iPad", "Android": "Android", "Windows": "Windows",
           "Macintosh": "a Mac", "Linux": "Linux"}  # fmt: skip
"""What tells of a browser and of a system in a User-Agent, the telling ones first."""

router = APIRouter(prefix="/console/account", include_in_schema=False)

LISTED = 30
"""How many lines of the account's history are shown, the latest."""


@router.get("")
async def show(request: Request, session: SignedIn, gateway: Gateway) -> Response:
    """Show the account."""
    return await _page(gateway, request, session)


@router.post("/password", dependencies=[FromOurPage])
async def change_password(request: Request, session: SignedIn, gateway: Gateway) -> Response:
    """Change the password; every other session ends."""
    form = await request.form()
    current, new, again = (str(form.get(name, "")) for name in ("current", "new", "again"))
    reviewer = session.reviewer
    try:
        account.check_password(normalized(new), reviewer.names)
        if new != again:
            raise Refusal("differs", "The new password is not the same both times.")
        verified = await check_password(gateway, request, reviewer, current)
        password_hash = await gateway.passwords.hash(new)
        began: list[datetime] = []

        def rule(standing: Account | None, now: datetime) -> Change:
            began[:] = [now]
            return account.password_set(
                standing, reviewer.id, password_hash, now, verified_hash=verified
            )

        standing = await gateway.store.apply(account_id(reviewer.id), Account, rule)
    except (Refusal, Problem) as refused:
        status = refused.status if isinstance(refused, Problem) else 422
        return await _page(gateway, request, session, error=refused.detail, status=status)
    response = RedirectResponse("/console/account?changed=password", 303, HEADERS)
    if standing is not None:
        let_in(gateway, response, standing, new_session_id(), began[0])
    return response


@router.post("/keys", dependencies=[FromOurPage])
async def turn_keys(request: Request, session: SignedIn, gateway: Gateway) -> Response:
    """Turn single keys on or off."""
    is_on = (await request.form()).get("single_keys") == "on"

    def rule(standing: Account | None, now: datetime) -> Change | None:
        return account.single_keys_turned(standing, is_on, now) if standing else None

    await gateway.store.apply(account_id(session.reviewer.id), Account, rule)
    return RedirectResponse("/console/account?changed=keys", 303, HEADERS)


class Line(NamedTuple):
    """One line of the account's history, as it is shown."""

    at: datetime
    words: str
    origin: str


def _line(line: HistoryView, oidc_name: str) -> Line:
    if line.event == "signed_in":
        by = "a password" if line.detail.get("method") == SignInMethod.PASSWORD else oidc_name
        origin = (line.detail.get("address", ""), browser_name(line.detail.get("browser", "")))
        return Line(line.at, f"Signed in with {by}", ", ".join(filter(None, origin)))
    words = EVENTS.get(line.event, line.event)
    return Line(
        line.at, words, "by whoever looks after Safeguards" if line.actor == OPERATOR else ""
    )


def browser_name(user_agent: str) -> str:
    """Return what a User-Agent is, as a person would say; empty if that cannot be told."""
    browser = next((name for mark, name in BROWSERS.items() if mark in user_agent), "")
    system = next((name for mark, name in SYSTEMS.items() if mark in user_agent), "")
    return f"{browser} on {system}" if browser and system else browser or system


async def _page(
    gateway: Parts, request: Request, session: Session, *, error: str = "", status: int = 200
) -> Response:
    identifier = account_id(session.reviewer.id)
    standing = await gateway.store.get(identifier, Account)
    lines = (await gateway.store.history(identifier))[-LISTED:]
    shown: dict[str, Any] = {
        "account": standing,
        "lines": [_line(line, gateway.settings.oidc_name) for line in reversed(lines)],
        "error": error,
        "changed": request.query_params.get("changed") if not error else None,
        "zone": session.reviewer.zone,
    }
    return page(gateway, request, "console/account.html", shown, session=session, status=status)
