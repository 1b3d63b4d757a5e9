"""What somebody is answered who has not signed in, may not do this, or was sent by another site."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from safeguards_runtime.reviewer import ConsoleRole
from services.gateway.console.session import (
    COOKIE,
    NotFromOurPage,
    RoleNeeded,
    SignInNeeded,
    is_fetch,
    let_out,
    sign_in_path,
)
from services.gateway.pages import HEADERS, page

NEEDED = {
    ConsoleRole.REVIEWER: "a reviewer",
    ConsoleRole.OPERATOR: "an operator",
    ConsoleRole.ADMIN: "an admin",
}


def add_session_handlers(app: FastAPI) -> None:
    """Make `app` answer in pages where the dependencies of `session` refuse."""

    @app.exception_handler(SignInNeeded)
    async def sign_in(request: Request, _: SignInNeeded) -> Response:
        path = sign_in_path(request)
        if request.method in ("GET", "HEAD") and not is_fetch(request):
            response: Response = RedirectResponse(path, 303, HEADERS)
        else:
            shown = {"path": path, "is_fragment": is_fetch(request)}
            gateway = request.app.state.parts
            response = page(gateway, request, "console/signed_out.html", shown, status=401)
        # Not where it did not come along: another site's form must not sign anybody out.
        if COOKIE in request.cookies:
            let_out(response)
        return response

    @app.exception_handler(RoleNeeded)
    async def role(request: Request, error: RoleNeeded) -> Response:
        gateway = request.app.state.parts
        admins = [r for r in gateway.directory.reviewers if ConsoleRole.ADMIN in r.roles]
        shown = {"needed": NEEDED[error.role], "role": error.role, "admins": admins}
        return page(
            gateway, request, "console/forbidden.html", shown, session=error.session, status=403
        )

    @app.exception_handler(NotFromOurPage)
    async def foreign(request: Request, error: NotFromOurPage) -> Response:
        gateway = request.app.state.parts
        return page(
            gateway, request, "console/forbidden.html", {}, session=error.session, status=403
        )
