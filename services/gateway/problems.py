"""Errors as problem documents (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException

from safeguards.errors import InvalidContentError
from safeguards_runtime.records import Refusal
from safeguards_runtime.store import NotReplicatedError, StoreBusyError

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"

STATUS_OF_REFUSAL: dict[str, int] = {
    "already_decided": 409,
    "expired": 409,
    "stale_version": 409,
    "being_judged": 409,
    "already_voted": 409,
    "no_question": 409,
    "self_approval": 403,
    "not_a_reviewer": 403,
    "four_eyes": 403,
    "not_yours": 403,
    "not_this_way": 403,
}
"""The status of each refusal of a rule; the others are 422."""


PROBLEM_RESPONSE: dict[str, Any] = {
    "description": "What is wrong, and what to do about it (RFC 9457).",
    "content": {
        MEDIA_TYPE: {
            "schema": {
                "type": "object",
                "required": ["type", "title", "status", "detail"],
                "properties": {
                    "type": {"type": "string", "format": "uri"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                },
            }
        }
    },
}
"""The response of every operation that refuses, for the OpenAPI document."""


class Problem(Exception):
    """An error that the client is told of.

    Attributes:
        status: the HTTP status code.
        code: a stable word for the reason, the last part of the problem's `type`.
        detail: what is wrong, and what to do about it.
        extra: extension members (RFC 9457 section 3.2).
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = headers
        self.extra = extra

    @classmethod
    def of(cls, refusal: Refusal) -> Problem:
        """Return the problem that tells of a rule's refusal."""
        status = STATUS_OF_REFUSAL.get(refusal.code, 422)
        return cls(status, refusal.code, refusal.detail, **refusal.extra)

    def response(self) -> Response:
        """Return the problem document."""
        body = {
            **self.extra,
            "type": f"urn:safeguards:problem:{self.code}",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        headers = dict(self.headers or {})
        return JSONResponse(body, self.status, headers, media_type=MEDIA_TYPE)


def not_found(what: str, record_id: str) -> Problem:
    """Return the problem for an id that is unknown, or somebody else's."""
    return Problem(404, "not_found", f"there is no {what} {record_id[:80]!r} that this key may see")


def add_problem_handlers(app: FastAPI) -> None:
    """Make `app` answer every error with a problem document."""

    @app.exception_handler(Problem)
    async def problem(_: Request, error: Problem) -> Response:
        return error.response()

    @app.exception_handler(Refusal)
    async def refusal(_: Request, error: Refusal) -> Response:
        return Problem.of(error).response()

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> Response:
        errors = [
            {"pointer": _pointer(line["loc"]), "detail": line["msg"]} for line in error.errors()
        ]
        detail = "; ".join(f"{line['pointer']}: {line['detail']}" for line in errors[:5])
        return Problem(422, "invalid_request", detail[:2000], errors=errors[:50]).response()

    @app.exception_handler(InvalidContentError)
    async def content(_: Request, error: InvalidContentError) -> Response:
        return Problem(422, "invalid_request", str(error)).response()

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> Response:
        if isinstance(error.__cause__, Problem):
            # Raised while the body was read, where FastAPI makes one error of all.
            return error.__cause__.response()
        code = HTTPStatus(error.status_code).name.lower()
        return Problem(error.status_code, code, error.detail, error.headers).response()

    @app.exception_handler(RedisError)
    @app.exception_handler(StoreBusyError)
    @app.exception_handler(NotReplicatedError)
    async def store(request: Request, error: Exception) -> Response:
        log.error("the store did not take it", path=request.url.path, error=str(error))
        detail = "the store is not available: send the same request again"
        return Problem(503, "store_unavailable", detail, {"Retry-After": "1"}).response()

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> Response:
        detail = "something went wrong here; the log says what"
        return Problem(500, "internal_error", detail).response()


def _pointer(location: tuple[int | str, ...]) -> str:
    """Return a place in the request as a JSON pointer (RFC 6901), after the part it stands in."""
    where, *path = location
    escaped = (str(step).replace("~", "~0").replace("/", "~1") for step in path)
    return f"{where}/{'/'.join(escaped)}" if path else str(where)
