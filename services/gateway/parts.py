"""The gateway's parts, put together once and handed to the routes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

from fastapi import Depends, Request
from fastapi.templating import Jinja2Templates
from itsdangerous import URLSafeTimedSerializer

from safeguards_runtime.channels import Channel
from safeguards_runtime.messaging import HintSender
from safeguards_runtime.passwords import Passwords
from safeguards_runtime.policy_book import PolicyBook
from safeguards_runtime.reloading import InForce
from safeguards_runtime.reviewers import Directory
from safeguards_runtime.rules import Rules
from safeguards_runtime.settings import Settings
from safeguards_runtime.store import Store
from services.gateway.background import Background
from services.gateway.feed import FeedTail
from services.gateway.news import NewsTail

if TYPE_CHECKING:
    from services.gateway.console.oidc import OpenIdProvider
    from services.gateway.console.session import Tickets

HERE = Path(__file__).parent


@dataclass
class Parts:
    """What the routes work with."""

    settings: Settings
    store: Store
    hints: HintSender
    feed: FeedTail
    news: NewsTail
    rules: InForce[Rules]
    channels: InForce[Mapping[str, Channel]]
    background: Background
    templates: Jinja2Templates
    seals: URLSafeTimedSerializer
    """Seals what a page showed into its form, so that an answer binds to that."""

    tickets: Tickets
    """Seals and opens what the browsers of those hold who have signed in."""

    passwords: Passwords
    openid_provider: OpenIdProvider | None
    """By which people may sign in beside a password."""

    @property
    def book(self) -> PolicyBook:
        """The policies in force: the next request may meet others."""
        return self.rules.current.book

    @property
    def directory(self) -> Directory:
        """The reviewers in force: the next request may meet others."""
        return self.rules.current.directory


async def _parts(request: Request) -> Parts:
    return cast(Parts, request.app.state.parts)


Gateway = Annotated[Parts, Depends(_parts)]
