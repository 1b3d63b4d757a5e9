"""The gateway's application: `uvicorn services.gateway.app:create_app --factory`."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from types import FrameType
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import Depends, FastAPI, Response
from fastapi.responses import PlainTextResponse
from fastapi.templating import Jinja2Templates
from itsdangerous import URLSafeTimedSerializer
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.middleware.body_limit import RequestBodyLimitMiddleware

from safeguards.canonical import MAX_BYTES
from safeguards.text import visible
from safeguards_runtime.channels import ChannelLoader
from safeguards_runtime.messaging import HintSender, make_app, publisher
from safeguards_runtime.passwords import Passwords
from safeguards_runtime.reloading import Reloaded, watched
from safeguards_runtime.rules import rules_in_force
from safeguards_runtime.settings import Settings, load_settings
from safeguards_runtime.store import Store
from safeguards_runtime.telemetry import configure_logging
from services.gateway import actions, approvals, review, slack
from services.gateway.background import Background
from services.gateway.console import (
    account,
    bulk,
    grants,
    inbox,
    live,
    nowhere,
    oidc,
    operations,
    requests,
    sign_in,
)
from services.gateway.console.oidc import OpenIdProvider
from services.gateway.console.session import RenewedSessions, Tickets
from services.gateway.console.turned_away import add_session_handlers
from services.gateway.feed import FeedTail
from services.gateway.limits import TooLargeAsProblem, in_utf8
from services.gateway.metrics import exposition
from services.gateway.news import NewsTail
from services.gateway.parts import HERE, Gateway, Parts
from services.gateway.problems import PROBLEM_RESPONSE, add_problem_handlers
from services.gateway.static_files import static_files
from services.gateway.tail import StreamTail

DESCRIPTION = """
Lets AI agents ask people before they do something risky.

Errors are problem documents (RFC 9457). `Idempotency-Key` is honoured on every POST of an agent.
Money is a decimal string.
"""

BACKGROUND_SECONDS = 5.0
"""How long what goes on after its answer is waited for at the end."""


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
        dependencies=[Depends(in_utf8)],
    )
    app.state.settings = settings
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=MAX_BYTES)
    app.add_middleware(TooLargeAsProblem)
    add_problem_handlers(app)
    app.include_router(actions.router)
    app.include_router(approvals.router)
    app.include_router(review.router)
    app.include_router(slack.router)
    app.include_router(sign_in.router)
    app.include_router(oidc.router)
    app.include_router(account.router)
    app.include_router(inbox.router)
    app.include_router(requests.router)
    app.include_router(bulk.router)
    app.include_router(grants.router)
    app.include_router(live.router)
    app.include_router(operations.router)
    app.include_router(nowhere.router)
    add_session_handlers(app)
    app.add_middleware(RenewedSessions)
    app.mount("/static", static_files(HERE / "static"), name="static")
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
    templates.env.filters["moment"] = _moment
    feed = FeedTail(store)
    news = NewsTail(store)
    background = Background()
    channels = watched(
        Reloaded(
            settings.channels_file,
            ChannelLoader(allow_private=settings.allow_private_webhooks),
            name="channels",
        )
    )
    session_secret = await store.secret("sessions")
    app.state.parts = Parts(
        settings=settings,
        store=store,
        hints=hints,
        feed=feed,
        news=news,
        rules=rules_in_force(settings),
        channels=channels,
        background=background,
        templates=templates,
        tickets=Tickets(session_secret),
        passwords=Passwords(),
        openid_provider=OpenIdProvider(settings, session_secret) if settings.oidc_issuer else None,
        seals=URLSafeTimedSerializer(await store.secret("forms"), salt="review"),
    )
    await store.check_durability()
    await feed.start()
    await news.start()
    _release_on_signals(feed, news)
    try:
        yield
    finally:
        await feed.stop()
        await news.stop()
        await background.finish(BACKGROUND_SECONDS)
        for channel in channels.current.values():
            await channel.sender.aclose()
        await hints.close()
        await store.close()


def _moment(moment: datetime, zone: ZoneInfo) -> str:
    """Return a time in the reader's zone, as pages show it."""
    return moment.astimezone(zone).strftime("%-d %B %Y, %H:%M:%S %Z")


def _release_on_signals(*tails: StreamTail) -> None:
    """Let long polls and streams go when the server is told to stop: it would wait for them before
    `lifespan` could tell them."""
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        servers_own = signal.getsignal(number)

        def release(number: int, frame: FrameType | None, servers_own: Any = servers_own) -> None:
            for tail in tails:
                loop.call_soon_threadsafe(tail.release)
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
    async def metrics(gateway: Gateway) -> Response:
        """Return the metrics of this process and of the store, for Prometheus."""
        # So that a refused file shows before anybody asks for anything.
        _ = gateway.rules.current, gateway.channels.current
        return Response(await exposition(gateway.store), media_type=CONTENT_TYPE_LATEST)
