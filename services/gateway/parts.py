"""The gateway's parts, put together once and handed to the routes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi.templating import Jinja2Templates

from safeguards_runtime.messaging import HintSender
from safeguards_runtime.policies import PolicyFile
from safeguards_runtime.reviewers import Directory
from safeguards_runtime.settings import Settings
from safeguards_runtime.store import Store
from services.gateway.feed import FeedTail

HERE = Path(__file__).parent


@dataclass
class Parts:
    """What the routes work with."""

    settings: Settings
    store: Store
    hints: HintSender
    feed: FeedTail
    policies: PolicyFile
    directory: Directory
    templates: Jinja2Templates


async def _parts(request: Request) -> Parts:
    return cast(Parts, request.app.state.parts)


Gateway = Annotated[Parts, Depends(_parts)]
