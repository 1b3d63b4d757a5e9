"""Bodies of requests, read as strict JSON: what is ambiguous is refused."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from safeguards import strict_json
from safeguards.canonical import MAX_DEPTH
from services.gateway.problems import Problem


class StrictRequest(Request):
    """A request whose JSON has neither NaN nor repeated names."""

    async def json(self) -> Any:
        """Return the parsed body.

        Raises:
            Problem: 400 if it is no JSON, or ambiguous; 422 if it nests too deep to be read.
        """
        if not hasattr(self, "_json"):
            self._json = parse(await self.body())
        return self._json


class StrictRoute(APIRoute):
    """A route that reads its body by `StrictRequest`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, given strict requests."""
        handler = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handler(StrictRequest(request.scope, request.receive))

        return strict


def parse(body: bytes) -> Any:
    """Parse strict JSON.

    Raises:
        Problem: as `StrictRequest.json`.
    """
    try:
        return strict_json.parse(body)
    except RecursionError as error:
        detail = f"the body nests deeper than {MAX_DEPTH}: flatten it"
        raise Problem(422, "too_deep", detail) from error
    except ValueError as error:
        raise Problem(400, "invalid_json", f"the body is no valid JSON: {error}") from error
