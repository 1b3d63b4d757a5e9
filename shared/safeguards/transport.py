"""HTTP to the gateway: one request with its attempts, and problems as errors."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import httpx2

from safeguards.errors import (
    AuthenticationError,
    ConfigurationError,
    ConflictError,
    GatewayUnreachableError,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    ProblemError,
)

ERROR_OF_STATUS: Mapping[int, type[ProblemError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    409: ConflictError,
    413: InvalidRequestError,
    415: InvalidRequestError,
    422: InvalidRequestError,
}

ATTEMPTS = 9
"""How often a request is sent that may be repeated; over ten to twenty seconds in all."""

LONGEST_PAUSE_SECONDS = 4.0

AT_ONCE = 32
"""How many requests are under way at once, beside the one that listens."""

REPEATABLE = (429, 502, 503, 504)

NDJSON = "application/x-ndjson"


class Transport:
    """Requests to one gateway (or an endpoint like it), from one event loop.

    Args:
        base_url: where the API begins.
        api_key: sent as a bearer token (RFC 6750).
    """

    def __init__(self, base_url: str, api_key: str) -> None:
        url = base_url.rstrip("/")
        if not url.startswith(("http://", "https://")):
            raise ConfigurationError(f"the gateway's address begins with http(s)://, not {url!r}")
        if not api_key or not api_key.isascii() or not api_key.isprintable():
            raise ConfigurationError("the API key is missing or not one: it looks like sgk_…")
        self._base_url = url
        self._headers = {"Authorization": f"Bearer {api_key}", "User-Agent": "safeguards"}
        self._client: httpx2.AsyncClient | None = None
        self._slots = asyncio.Semaphore(AT_ONCE)

    def _open(self) -> httpx2.AsyncClient:
        if self._client is None:
            self._client = httpx2.AsyncClient(
                headers=self._headers,
                timeout=httpx2.Timeout(10.0),
                limits=httpx2.Limits(max_connections=AT_ONCE + 8, max_keepalive_connections=16),
                follow_redirects=False,
            )
        return self._client

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def get(self, path: str) -> Any:
        """Return the JSON under a path, after several attempts if need be."""
        async with self._slots:
            return await self._repeated("GET", path)

    async def stream(
        self, path: str, query: Mapping[str, str], seconds: float
    ) -> AsyncGenerator[Any, None]:
        """Yield the JSON of each line of one answer, as it comes. One attempt.

        Args:
            path: under the base.
            query: its query.
            seconds: how long the answer may take, and so each line. One that comes whole, from an
                endpoint that does not stream, is a line.
        """
        headers = {"Accept": NDJSON, "Accept-Encoding": "identity"}
        timeout = httpx2.Timeout(10.0, read=seconds + 10)
        url = self._base_url + path
        try:
            async with self._open().stream(
                "GET", url, params=query, headers=headers, timeout=timeout
            ) as response:
                if not (response.is_success and _is_ndjson(response)):
                    await response.aread()
                    yield _content(response)
                    return
                begun, lines = bytearray(), 0
                async for chunk in response.aiter_bytes():
                    *ends, rest = chunk.split(b"\n")
                    for end in ends:
                        yield json.loads(bytes(begun + end))
                        begun.clear()
                        lines += 1
                    begun += rest
                if not lines:
                    raise ValueError("its answer was empty")
        except (httpx2.TransportError, OSError, ValueError) as error:
            raise self._unreachable(error) from error

    async def post(
        self, path: str, body: dict[str, Any], *, idempotency_key: str | None = None
    ) -> Any:
        """Post JSON and return the answer's. Repeated only with an idempotency key."""
        async with self._slots:
            if idempotency_key is None:
                return await self._once("POST", path, body=body)
            return await self._repeated(
                "POST", path, body=body, headers={"Idempotency-Key": idempotency_key}
            )

    async def delete(self, path: str) -> None:
        """Delete what is under a path."""
        async with self._slots:
            await self._repeated("DELETE", path)

    async def _repeated(self, method: str, path: str, **parts: Any) -> Any:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._once(method, path, **parts)
            except GatewayUnreachableError:
                if attempt == ATTEMPTS:
                    raise
            except ProblemError as error:
                if attempt == ATTEMPTS or error.status not in REPEATABLE:
                    raise
            pause = min(0.1 * 2**attempt, LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(random.uniform(0.5, 1) * pause)  # noqa: S311 - only spreads
        raise AssertionError("the last attempt returns or raises")

    async def _once(
        self,
        method: str,
        path: str,
        *,
        body: dict[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = 10.0,
    ) -> Any:
        url = self._base_url + path
        try:
            response = await self._open().request(
                method, url, json=body, params=query, headers=headers, timeout=seconds
            )
        except (httpx2.TransportError, OSError) as error:
            raise self._unreachable(error) from error
        return _content(response)

    def _unreachable(self, error: Exception) -> GatewayUnreachableError:
        reason = str(error) or type(error).__name__
        return GatewayUnreachableError(f"{self._base_url} did not answer: {reason}")


def _is_ndjson(response: httpx2.Response) -> bool:
    return str(response.headers.get("Content-Type", "")).startswith(NDJSON)


def _content(response: httpx2.Response) -> Any:
    """Return the JSON of a whole response, or raise the error that it tells of."""
    content = _json(response)
    if response.is_success:
        return content
    problem = content if isinstance(content, dict) else {"title": response.reason_phrase}
    raise ERROR_OF_STATUS.get(response.status_code, ProblemError)(response.status_code, problem)


def _json(response: httpx2.Response) -> Any:
    """Return the body's JSON, or None if it is none."""
    try:
        return response.json() if response.content else None
    except ValueError:
        return None
