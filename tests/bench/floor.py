"""The floor: the least that a long poll on a durable stream costs, with nothing of ours in it.

A bare FastAPI application on a Valkey whose settings are the store's. `POST /open/{id}` is one
HSET and `POST /respond/{id}` one XADD, synced to disk; one XREAD tails the stream and wakes who
waits. No authentication, no rules, no history, no indexes, nobody is told: what a figure costs
above this is what Safeguards does for it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
from fastapi import FastAPI, Request
from redis.asyncio import Redis

from deploy.valkey import ValkeyServer, free_port
from tests.bench.processes import Child, python, server

STREAM = "floor"
STORE_URL = "FLOOR_STORE_URL"


class Tail:
    """Follows the stream by one connection, and wakes whoever waits for what comes."""

    def __init__(self, redis: Any) -> None:
        self._redis = redis
        self._ids: list[str] = []
        self._heard: set[str] = set()
        self._more = asyncio.Event()

    async def follow(self) -> None:
        """Read the stream for ever."""
        last = "0-0"
        while True:
            streams = await self._redis.xread({STREAM: last}, block=1000)
            for _, rows in streams:
                for last, fields in rows:  # noqa: B007 - where the next read goes on
                    self._ids.append(fields["id"])
                    self._heard.add(fields["id"])
            # Whoever comes from now on waits for what comes from now on.
            self._more.set()
            self._more = asyncio.Event()

    async def after(self, cursor: int, wait_seconds: float) -> list[str]:
        """Return the ids after the first `cursor`, as soon as there are any."""
        if cursor >= len(self._ids):
            await _set_within(self._more, wait_seconds)
        return self._ids[cursor:]

    async def has(self, record_id: str, wait_seconds: float) -> bool:
        """Tell whether an id has come, as soon as it has."""
        deadline = time.monotonic() + wait_seconds
        while record_id not in self._heard:
            if not await _set_within(self._more, deadline - time.monotonic()):
                return False
        return True


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return False
    return True


def create_app() -> FastAPI:
    """Return the application: `uvicorn tests.bench.floor:create_app --factory`."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        redis: Any = Redis.from_url(os.environ[STORE_URL], decode_responses=True)
        app.state.redis, app.state.tail = redis, Tail(redis)
        following = asyncio.get_running_loop().create_task(app.state.tail.follow())
        yield
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await redis.aclose()

    app = FastAPI(lifespan=lifespan)

    @app.get("/ready")
    async def ready(request: Request) -> dict[str, Any]:
        return {"ready": await request.app.state.redis.ping()}

    @app.post("/open/{record_id}")
    async def open_(record_id: str, question: dict[str, Any], request: Request) -> dict[str, Any]:
        await request.app.state.redis.hset(f"question:{record_id}", mapping=question)
        return {"id": record_id}

    @app.post("/respond/{record_id}")
    async def respond(record_id: str, response: dict[str, Any], request: Request) -> dict[str, Any]:
        await request.app.state.redis.xadd(STREAM, {"id": record_id, **response})
        return {"id": record_id}

    @app.get("/wait")
    async def wait_for_any(request: Request, after: int, wait: float = 0) -> dict[str, Any]:
        ids = await request.app.state.tail.after(after, wait)
        return {"ids": ids, "cursor": after + len(ids)}

    @app.get("/wait/{record_id}")
    async def wait_for_one(record_id: str, request: Request, wait: float = 0) -> dict[str, Any]:
        return {"id": record_id, "heard": await request.app.state.tail.has(record_id, wait)}

    return app


class Floor:
    """The floor as it runs: a Valkey, and uvicorn in a process of its own.

    Attributes:
        url: where the application listens.
        process_id: of the application.

    Args:
        folder: for the Valkey's data.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server = ValkeyServer.store(folder)
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        with ExitStack() as exits:
            exits.enter_context(server(self._server))
            # fmt: off
            argv = python(
                "-m", "uvicorn", "tests.bench.floor:create_app", "--factory",
                "--host", "127.0.0.1", "--port", str(self._port),
                # As deploy.local starts the gateway.
                "--no-access-log", "--no-server-header", "--timeout-graceful-shutdown", "3",
                "--log-level", "warning",
            )
            # fmt: on
            environment = {**os.environ, STORE_URL: self._server.url}
            log = self._folder / "floor.log"
            # Killed in the end: a long poll would hold up a gentle stop.
            child = exits.enter_context(Child(argv, environment, self._is_ready, log))
            self.process_id = child.process_id
            self._exits = exits.pop_all()
        return self

    def _is_ready(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/ready", timeout=5).is_success
        except httpx2.HTTPError:
            return False

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exits.__exit__(exc_type, exc, traceback)
