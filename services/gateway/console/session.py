"""Who has signed in, and whether a form is one of our own pages'.

What a browser holds is one sealed cookie; nothing of it is in the store but whether it has been
ended (`records.account`). So each request is checked by one round trip, against the directory and
the account as they are now.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

from fastapi import Depends, Request, Response
from itsdangerous import BadData, URLSafeSerializer
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from safeguards_runtime.records import Account
from safeguards_runtime.records.account import SESSION_AGE, account_id, has_lapsed
from safeguards_runtime.reviewer import ConsoleRole
from safeguards_runtime.reviewers import Reviewer
from safeguards_runtime.settings import Settings
from services.gateway.parts import Gateway, Parts

COOKIE = "__Host-safeguards"
"""The prefix makes browsers refuse it from any other host, for a part of the site, or insecure
(RFC 6265bis section 4.1.3.2). `http://127.0.0.1` and `http://localhost` count as secure."""

RENEWED_AFTER = timedelta(minutes=5)
"""How old the note of when something was last done may become in the cookie."""

CSRF_FIELD = "csrf"
CSRF_HEADER = "X-CSRF-Token"


@dataclass(frozen=True)
class Session:
    """Who has signed in, as of this request."""

    reviewer: Reviewer
    id: str
    csrf: str
    """Proves in a form that it is one of this session's pages'."""

    now: datetime
    """The store's clock, UTC."""

    single_keys: bool = True
    """Whether keys without a modifier do something."""

    @property
    def roles(self) -> frozenset[ConsoleRole]:
        """What they may do; an admin has all roles."""
        return self.reviewer.roles

    def may(self, role: ConsoleRole | str) -> bool:
        """Tell whether they have a role."""
        return ConsoleRole(role) in self.roles


@dataclass(frozen=True)
class Ticket:
    """What the cookie holds.

    Attributes:
        reviewer_id: whose it is.
        session_id: which of their sessions.
        epoch: the account's when it began.
        began_at: when it began, UTC, to the second.
        seen_at: when something was last done in it, give or take `RENEWED_AFTER`.
    """

    reviewer_id: str
    session_id: str
    epoch: int
    began_at: datetime
    seen_at: datetime


class Tickets:
    """Seals what the cookie holds, so that nobody else can make or change one.

    Args:
        secret: the same for all gateways, and no one else's.
    """

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._sealer = URLSafeSerializer(
            secret, salt="session", signer_kwargs={"digest_method": hashlib.sha256}
        )

    def sealed(self, ticket: Ticket) -> str:
        """Return the cookie's value."""
        began, seen = int(ticket.began_at.timestamp()), int(ticket.seen_at.timestamp())
        held = [ticket.reviewer_id, ticket.session_id, ticket.epoch, began, seen]
        return str(self._sealer.dumps(held))

    def opened(self, value: str) -> Ticket | None:
        """Return what a cookie holds, or None if it was not sealed here."""
        try:
            reviewer_id, session_id, epoch, began, seen = self._sealer.loads(value)
        except (BadData, ValueError, TypeError):
            return None
        times = (datetime.fromtimestamp(began, UTC), datetime.fromtimestamp(seen, UTC))
        return Ticket(reviewer_id, session_id, epoch, *times)

    def csrf(self, session_id: str) -> str:
        """Return the token of a session's forms; who has it cannot make the cookie from it."""
        return hmac.new(self._secret, b"csrf\0" + session_id.encode(), "sha256").hexdigest()


class SignInNeeded(Exception):
    """Nobody has signed in, or no longer."""


class RoleNeeded(Exception):
    """Whoever has signed in may not do this.

    Attributes:
        session: who it is.
        role: what they would need.
    """

    def __init__(self, session: Session, role: ConsoleRole) -> None:
        super().__init__(f"{session.reviewer.id} is no {role}")
        self.session = session
        self.role = role


class NotFromOurPage(Exception):
    """A form was not sent by one of our own pages, or by one of a session that is over.

    Attributes:
        session: who has signed in, if anybody has.
    """

    def __init__(self, session: Session | None) -> None:
        super().__init__("not from one of our pages")
        self.session = session


async def session_of(gateway: Parts, request: Request) -> Session | None:
    """Return who has signed in, as things stand now; None if nobody has.

    A stream that goes on asks again and again, so that somebody who is out hears no more.
    """
    ticket = gateway.tickets.opened(request.cookies.get(COOKIE, ""))
    if ticket is None:
        return None
    now, (account,) = await gateway.store.load([account_id(ticket.reviewer_id)])
    reviewer = gateway.directory.get(ticket.reviewer_id)
    if (
        reviewer is None
        or not isinstance(account, Account)
        or not account.holds(ticket.session_id, ticket.epoch)
        or has_lapsed(ticket.began_at, ticket.seen_at, now)
    ):
        return None
    if now - ticket.seen_at >= RENEWED_AFTER and not _is_stream(request):
        later = Ticket(ticket.reviewer_id, ticket.session_id, ticket.epoch, ticket.began_at, now)
        request.state.renewed = gateway.tickets.sealed(later)
    csrf = gateway.tickets.csrf(ticket.session_id)
    return Session(reviewer, ticket.session_id, csrf, now, account.single_keys)


async def _signed_in(request: Request, gateway: Gateway) -> Session:
    session = await session_of(gateway, request)
    if session is None:
        raise SignInNeeded
    return session


SignedIn = Annotated[Session, Depends(_signed_in)]
"""Who has signed in. Else a page sends the browser to sign in, and anything else is a 401."""


async def _operator(session: SignedIn) -> Session:
    if not session.may(ConsoleRole.OPERATOR):
        raise RoleNeeded(session, ConsoleRole.OPERATOR)
    return session


async def _admin(session: SignedIn) -> Session:
    if not session.may(ConsoleRole.ADMIN):
        raise RoleNeeded(session, ConsoleRole.ADMIN)
    return session


Operator = Annotated[Session, Depends(_operator)]
"""An operator who has signed in. Anybody else gets a 403 in words."""

Admin = Annotated[Session, Depends(_admin)]
"""An admin who has signed in."""


async def _from_our_page(request: Request, session: SignedIn) -> None:
    given = request.headers.get(CSRF_HEADER, "")
    if not given:
        given = str((await request.form()).get(CSRF_FIELD, ""))
    fits = hmac.compare_digest(given.encode("utf-8", "replace"), session.csrf.encode())
    if not (fits and comes_from_us(request, request.app.state.settings)):
        raise NotFromOurPage(session)


FromOurPage = Depends(_from_our_page)
"""For every POST of the console: only one of this session's own pages may send it."""


def comes_from_us(request: Request, settings: Settings) -> bool:
    """Tell whether a page of this very origin has sent a request, as far as the browser says.

    Fetch Metadata where there is some; else the origin. Neither is there in a request that no
    browser's page has made.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("Origin")
    if origin is None:
        return True
    ours = urlsplit(settings.public_url)
    own = (f"{ours.scheme}://{ours.netloc}", f"{request.url.scheme}://{request.url.netloc}")
    return origin in own


def new_session_id() -> str:
    """Return a fresh identifier of a session; 128 random bits, so that none is ever met twice."""
    return secrets.token_urlsafe(16)


def let_in(
    gateway: Parts, response: Response, account: Account, session_id: str, now: datetime
) -> None:
    """Give the browser a session that begins now."""
    ticket = Ticket(account.reviewer_id, session_id, account.epoch, now, now)
    _set_cookie(response, gateway.tickets.sealed(ticket))


def let_out(response: Response) -> None:
    """Take the session from the browser."""
    response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="lax")


def _set_cookie(response: Response, value: str) -> None:
    age = int(SESSION_AGE.total_seconds())
    response.set_cookie(COOKIE, value, age, path="/", secure=True, httponly=True, samesite="lax")


def own_path(wanted: str | None) -> str:
    """Return where to go after signing in: a page of the console, never anything else."""
    if not wanted or len(wanted) > 2000 or any(c <= " " or c in "\\\x7f" for c in wanted):
        return "/console"
    path = wanted.partition("#")[0].partition("?")[0]
    is_ours = path == "/console" or path.startswith("/console/")
    return wanted if is_ours and "//" not in path and "/." not in path else "/console"


def sign_in_path(request: Request) -> str:
    """Return the path of the sign-in page that comes back to where the request stands."""
    if request.method in ("GET", "HEAD") and not is_fetch(request):
        path, query = request.url.path, request.url.query
    else:  # of the page that made it
        headers = request.headers
        try:
            came_from = urlsplit(headers.get("HX-Current-URL") or headers.get("Referer", ""))
        except ValueError:  # what no browser sends
            return "/sign-in"
        path, query = came_from.path, came_from.query
    wanted = own_path(f"{path}?{query}" if query else path)
    return "/sign-in" if wanted == "/console" else f"/sign-in?next={quote(wanted, safe='/')}"


def _is_stream(request: Request) -> bool:
    return "text/event-stream" in request.headers.get("Accept", "")


def is_fetch(request: Request) -> bool:
    """Tell whether a script asks for a part of a page, or for a stream."""
    return "HX-Request" in request.headers or _is_stream(request)


class RenewedSessions:
    """Writes the cookie of a session in which something was done into whatever is answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state: Mapping[str, Any] = scope.setdefault("state", {})

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start" and (renewed := state.get("renewed")):
                headers = MutableHeaders(scope=message)
                given = headers.getlist("set-cookie")
                if not any(cookie.startswith(f"{COOKIE}=") for cookie in given):
                    carrier = Response()
                    _set_cookie(carrier, renewed)
                    headers.append("set-cookie", carrier.headers["set-cookie"])
            await send(message)

        await self._app(scope, receive, sending)
