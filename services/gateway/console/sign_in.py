"""Signing in and out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from safeguards_runtime.records import Account, Change, Refusal, account
from safeguards_runtime.records.account import SignInMethod, account_id
from safeguards_runtime.reviewers import Directory, Reviewer
from services.gateway.console.session import (
    FromOurPage,
    SignedIn,
    comes_from_us,
    let_in,
    let_out,
    new_session_id,
    own_path,
    session_of,
)
from services.gateway.pages import HEADERS, page
from services.gateway.parts import Gateway, Parts
from services.gateway.problems import Problem

log = structlog.get_logger(__name__)

router = APIRouter(include_in_schema=False)

WINDOW_SECONDS = 15 * 60
FAILURES_PER_PERSON_AND_ADDRESS = 10
FAILURES_PER_ADDRESS = 50
FAILURES_PER_PERSON = 100
"""How often in a window a sign-in may fail. From everywhere together more often than from one
address, so that a stranger cannot easily keep somebody out of the console."""

WRONG = "That name and password do not belong together."


class TooManyAttempts(Exception):
    """Sign-ins have failed too often.

    Attributes:
        seconds: until when none is tried.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__("too many attempts")
        self.seconds = max(1, round(seconds))

    @property
    def words(self) -> str:
        """Say so, and until when."""
        minutes = -(-self.seconds // 60)
        wait = "a minute" if minutes == 1 else f"{minutes} minutes"
        return f"Too many attempts to sign in have failed. Try again in {wait}."


@router.get("/", name="root")
async def root(request: Request, gateway: Gateway) -> Response:
    """Go to the console, or to sign in."""
    session = await session_of(gateway, request)
    return RedirectResponse("/console" if session else "/sign-in", 303, HEADERS)


@router.get("/sign-in")
async def show(request: Request, gateway: Gateway) -> Response:
    """Show the form; go on for whom there is nothing to fill in."""
    wanted = own_path(request.query_params.get("next"))
    if await session_of(gateway, request) is not None:
        return RedirectResponse(wanted, 303, HEADERS)
    return sign_in_page(gateway, request, wanted)


@router.post("/sign-in")
async def sign_in(request: Request, gateway: Gateway) -> Response:
    """Sign in by name and password."""
    form = await request.form()
    name, password = str(form.get("name", "")), str(form.get("password", ""))
    wanted = own_path(str(form.get("next", "")))
    if not comes_from_us(request, gateway.settings):
        words = "Sign in on this page itself: another site has sent what you saw."
        return sign_in_page(gateway, request, wanted, name=name, error=words, status=403)
    reviewer = named(gateway.directory, name)
    try:
        verified = await _verified(gateway, name, address_of(request), reviewer, password)
        if reviewer is None or verified is None:
            log.warning("a sign-in has failed", address=address_of(request))
            return sign_in_page(gateway, request, wanted, name=name, error=WRONG, status=403)
        password_hash, better_hash = verified
        return await begin(
            gateway,
            request,
            reviewer,
            SignInMethod.PASSWORD,
            wanted,
            verified_hash=password_hash,
            better_hash=better_hash,
        )
    except TooManyAttempts as error:
        shown = sign_in_page(gateway, request, wanted, name=name, error=error.words, status=429)
        shown.headers["Retry-After"] = str(error.seconds)
        return shown
    except Refusal as refusal:
        words = refusal.detail
        return sign_in_page(gateway, request, wanted, name=name, error=words, status=409)


@router.post("/sign-out", dependencies=[FromOurPage])
async def sign_out(session: SignedIn, gateway: Gateway) -> Response:
    """End this session."""

    def rule(standing: Account | None, now: datetime) -> Change | None:
        return account.signed_out(standing, session.id, now) if standing else None

    await gateway.store.apply(account_id(session.reviewer.id), Account, rule)
    return _left()


@router.post("/sign-out/everywhere", dependencies=[FromOurPage])
async def sign_out_everywhere(session: SignedIn, gateway: Gateway) -> Response:
    """End all sessions of whoever has signed in."""
    await gateway.store.apply(
        account_id(session.reviewer.id), Account, account.signed_out_everywhere
    )
    return _left()


def _left() -> Response:
    # What scripts have kept of half-written answers goes too (Clear Site Data, section 3.1).
    headers = {**HEADERS, "Clear-Site-Data": '"storage"'}
    response = RedirectResponse("/sign-in?out", 303, headers)
    let_out(response)
    return response


def sign_in_page(
    gateway: Parts,
    request: Request,
    wanted: str,
    *,
    name: str = "",
    error: str = "",
    status: int = 200,
) -> Response:
    """Return the sign-in page."""
    shown: dict[str, Any] = {
        "wanted": wanted,
        "name": name[:254],
        "error": error,
        "has_left": "out" in request.query_params and not error,
        "oidc_name": gateway.settings.oidc_name if gateway.settings.oidc_issuer else None,
    }
    return page(gateway, request, "console/sign_in.html", shown, status=status)


def named(directory: Directory, name: str) -> Reviewer | None:
    """Return the reviewer of an id or a mail address, as somebody has typed it."""
    typed = name.strip()
    return directory.get(typed) or directory.by_email(typed)


async def begin(
    gateway: Parts,
    request: Request,
    reviewer: Reviewer,
    method: SignInMethod,
    wanted: str,
    *,
    verified_hash: str | None = None,
    better_hash: str | None = None,
) -> Response:
    """Begin a session of somebody who has proved who they are; go to the page they wanted.

    The session is new, whatever the browser held; what it held is over.

    Raises:
        Refusal: what the account's rule says.
    """
    before = await session_of(gateway, request)
    session_id = new_session_id()
    began: list[datetime] = []

    def rule(standing: Account | None, now: datetime) -> Change:
        began[:] = [now]
        own = before is not None and before.reviewer.id == reviewer.id
        return account.signed_in(
            standing,
            reviewer.id,
            session_id,
            method,
            now,
            address=address_of(request),
            browser=request.headers.get("User-Agent", ""),
            verified_hash=verified_hash,
            better_hash=better_hash,
            instead_of=before.id if own and before else None,
        )

    standing = await gateway.store.apply(account_id(reviewer.id), Account, rule)
    assert standing is not None  # noqa: S101 - the rule always makes one
    response = RedirectResponse(wanted, 303, HEADERS)
    let_in(gateway, response, standing, session_id, began[0])
    return response


async def check_password(
    gateway: Parts, request: Request, reviewer: Reviewer, password: str
) -> str | None:
    """Make sure that a password is a reviewer's.

    Returns:
        The hash that it fits, for rules that change the account.

    Raises:
        Problem: 403 if it is not theirs, or they have none; 429 after too many wrong ones.
    """
    try:
        verified = await _verified(gateway, reviewer.id, address_of(request), reviewer, password)
    except TooManyAttempts as error:
        headers = {"Retry-After": str(error.seconds)}
        raise Problem(429, "too_many_attempts", error.words, headers) from None
    if verified is None:
        raise Problem(403, "sign_in_failed", "This is not your password. Nothing was sent.")
    return verified[0]


async def _verified(
    gateway: Parts, name: str, address: str, reviewer: Reviewer | None, password: str
) -> tuple[str | None, str | None] | None:
    """Return the hash that a password fits, and the better one if there is; None if it does not.

    It takes as long for a name that nobody has, and such a one runs out of attempts like others.

    Raises:
        TooManyAttempts: nothing was verified.
    """
    person = hashlib.sha256(name.strip().casefold().encode("utf-8", "replace")).hexdigest()
    limits = {
        f"sign-in:{person}:{address}": FAILURES_PER_PERSON_AND_ADDRESS,
        f"sign-in:from:{address}": FAILURES_PER_ADDRESS,
        f"sign-in:{person}": FAILURES_PER_PERSON,
    }
    tried: list[str] = []
    for allowance, limit in limits.items():
        tried.append(allowance)
        taken = await gateway.store.take({allowance: 1}, limit, WINDOW_SECONDS)
        granted, seconds = taken[allowance]
        if not granted:
            # An attempt that is not made counts nowhere: one address alone cannot use up what a
            # person has from everywhere.
            await _give_back(gateway, limits, tried)
            raise TooManyAttempts(seconds)
    standing = await gateway.store.get(account_id(reviewer.id if reviewer else name), Account)
    password_hash = standing.password_hash if standing and reviewer else None
    verified = await gateway.passwords.verify(password_hash, password[:4000])
    if not verified.fits:
        return None
    await _give_back(gateway, limits, tried)  # only failures count
    return password_hash, verified.better_hash


async def _give_back(gateway: Parts, limits: Mapping[str, int], taken: Iterable[str]) -> None:
    for allowance in taken:
        await gateway.store.take({allowance: -1}, limits[allowance], WINDOW_SECONDS)


def address_of(request: Request) -> str:
    """Return where a request came from, as the server or the proxy that it trusts says."""
    return request.client.host if request.client else ""
