"""The gateway's application: `uvicorn services.gateway.app:create_app --factory`."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.middleware.body_limit import RequestBodyLimitMiddleware

from safeguards.canonical import MAX_BYTES
from safeguards.errors import ConfigurationError
from safeguards.text import visible
from safeguards_runtime.messaging import HintSender, make_app, publisher
from safeguards_runtime.policies import load_policies
from safeguards_runtime.reviewers import load_directory
from safeguards_runtime.settings import Settings, load_settings
from safeguards_runtime.store import Store
from safeguards_runtime.telemetry import configure_logging
from services.gateway import actions, approvals, review
from services.gateway.feed import FeedTail
from services.gateway.limits import TooLargeAsProblem
from services.gateway.parts import HERE, Gateway, Parts
from services.gateway.problems import PROBLEM_RESPONSE, add_problem_handlers

DESCRIPTION = """
Lets AI agents ask people before they do something risky.

Errors are problem documents (RFC 9457). `Idempotency-Key` is honoured on every POST of an agent.
Money is a decimal string.
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """Return the gateway, its parts put together when it starts."""
    settings = settings or load_settings()
    configure_logging(settings, "gateway")
    app = FastAPI(
        title="Safeguards",
        version="0.1.0",
        description=DESCRIPTION,
        lifespan=_lifespan,
        responses={"default": PROBLEM_RESPONSE},
    )
    app.state.settings = settings
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=MAX_BYTES)
    app.add_middleware(TooLargeAsProblem)
    add_problem_handlers(app)
    app.include_router(actions.router)
    app.include_router(approvals.router)
    app.include_router(review.router)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    _add_operations(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Put the parts together, and take them apart at the end."""
    settings: Settings = app.state.settings
    hints = HintSender(publisher(make_app(settings)))
    store = Store(settings.store_url, on_hint=hints.hint, replicas=settings.store_replicas)
    templates = Jinja2Templates(directory=HERE / "templates")
    templates.env.filters["visible"] = visible
    feed = FeedTail(store)
    app.state.parts = Parts(
        settings=settings,
        store=store,
        hints=hints,
        feed=feed,
        policies=load_policies(settings.policies_file),
        directory=load_directory(settings.reviewers_file),
        templates=templates,
    )
    await store.check_durability()
    _check_groups(app.state.parts)
    await feed.start()
    _release_on_signals(feed)
    try:
        yield
    finally:
        await feed.stop()
        await hints.close()
        await store.close()


def _check_groups(parts: Parts) -> None:
    """Refuse policies that ask people who do not exist: nobody could ever answer.

    Raises:
        ConfigurationError: naming the terms and the group.
    """
    for name, terms in parts.policies.approvals.items():
        for group in terms.groups:
            if not parts.directory.members((group,)):
                raise ConfigurationError(
                    f"policies file: approvals.{name}: no reviewer is in the group {group!r}"
                )


def _release_on_signals(feed: FeedTail) -> None:
    """Let long polls go when the server is told to stop: it would wait for them before `lifespan`
    could tell them."""
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        servers_own = signal.getsignal(number)

        def release(number: int, frame: FrameType | None, servers_own: Any = servers_own) -> None:
            loop.call_soon_threadsafe(feed.release)
            if callable(servers_own):
                servers_own(number, frame)

        signal.signal(number, release)


def _add_operations(app: FastAPI) -> None:
    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> PlainTextResponse:
        """Say that the process runs."""
        return PlainTextResponse("ok\n")

    @app.get("/readyz", include_in_schema=False)
    async def readyz(gateway: Gateway) -> PlainTextResponse:
        """Say that the store answers; 503 if not."""
        await gateway.store.redis.ping()
        return PlainTextResponse("ready\n")

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        """Return the metrics of this process, for Prometheus."""
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/", include_in_schema=False)
    async def root(request: Request, gateway: Gateway) -> HTMLResponse:
        """Say where things are."""
        return gateway.templates.TemplateResponse(request, "root.html", {}, headers=review.HEADERS)
