"""JSON bodies read strictly (RFC 8259, I-JSON RFC 7493): what is ambiguous is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

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
        text = body.decode("utf-8")
        return json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except RecursionError as error:
        detail = f"the body nests deeper than {MAX_DEPTH}: flatten it"
        raise Problem(422, "too_deep", detail) from error
    except ValueError as error:
        raise Problem(400, "invalid_json", f"the body is no valid JSON: {error}") from error


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON: leave the field out")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, value in pairs:
        if name in members:
            raise ValueError(f"the name {name[:80]!r} is repeated in one object")
        members[name] = value
    return members
