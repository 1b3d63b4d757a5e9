"""Bodies that are too large, refused in the words of the others."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.problems import Problem

TOO_LARGE = Problem(
    413, "body_too_large", "the body exceeds 256 KiB: send references, not contents"
)


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
