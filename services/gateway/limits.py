"""Bodies that are too large, or forms in another charset: refused in the words of the others."""

from __future__ import annotations

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.problems import Problem

FORMS = (b"multipart/form-data", b"application/x-www-form-urlencoded")

TOO_LARGE = Problem(
    413, "body_too_large", "the body exceeds 256 KiB: send references, not contents"
)


async def in_utf8(request: Request) -> None:
    """Refuse a form in another charset than UTF-8: there are some that make no text of it.

    Raises:
        Problem: 400.
    """
    kind, options = parse_options_header(request.headers.get("Content-Type"))
    charset = options.get(b"charset", b"utf-8").lower()
    if kind in FORMS and charset not in (b"utf-8", b"utf8"):
        raise Problem(400, "unknown_charset", "send the form in UTF-8, as a browser does")


class TooLargeAsProblem:
    """Answers as a problem document where the framework refuses a body in plain text."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and replace a 413."""
        replaced = False

        async def replacing(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and message["status"] == 413:
                replaced = True
                await TOO_LARGE.response()(scope, receive, send)
            elif not replaced:
                await send(message)

        await self._app(scope, receive, replacing)
