"""The insights: how requests ended and how fast, in pictures and in figures."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from safeguards_runtime.records import Approval
from safeguards_runtime.records.approval_record import ended_rank
from safeguards_runtime.store import Store
from services.gateway.console.operations import pictures
from services.gateway.console.operations.figures import HASTY_SECONDS, Ended, insights
from services.gateway.console.people import person
from services.gateway.console.session import Operator
from services.gateway.pages import page
from services.gateway.parts import Gateway
from services.gateway.wording import duration

router = APIRouter()

MAX_REQUESTS = 5000
CHUNK_LENGTH = 250


@router.get("/insights")
async def show(
    request: Request,
    gateway: Gateway,
    session: Operator,
    days: Annotated[Literal["7", "30", "90"], Query()] = "30",
) -> Response:
    """Show how the requests of the last days ended."""
    zone = session.reviewer.zone
    today = session.now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    since = today - timedelta(days=int(days) - 1)
    requests, is_all = await _ended(gateway.store, int(since.timestamp() * 1000))
    found = insights(requests, since, session.now, zone)
    people = {who: person(gateway, who) for who in found.by_reviewer}
    shown = {
        "days": days,
        "choices": ("7", "30", "90"),
        "found": found,
        "people": people,
        "is_all": is_all,
        "since": since,
        "counted_from": min((one.ended_at for one in requests), default=since),
        "max_requests": MAX_REQUESTS,
        "hasty_seconds": HASTY_SECONDS,
        "by_day": pictures.columns(found.days),
        "by_policy": pictures.bars(found.by_policy),
        "by_agent": pictures.bars(found.by_agent),
        "times": pictures.histogram(found.times, found.overall),
        "haste": pictures.shares(found.by_reviewer, people),
        "span": _span,
    }
    return page(gateway, request, "console/operations/insights.html", shown, session=session)


def _span(seconds: float | None) -> str:
    """Return a time in words; `none` where there is none."""
    if seconds is None:
        return "none"
    return f"{seconds:.1f} s" if seconds < 10 else duration(timedelta(seconds=seconds))


async def _ended(store: Store, since: int) -> tuple[list[Ended], bool]:
    """Return what is counted of the requests that ended since a moment in milliseconds, at most the
    latest 5,000, and whether these are all."""
    found: list[Ended] = []
    after: tuple[int, str] | None = None
    looked_at = 0
    while looked_at < MAX_REQUESTS:
        part = await store.ranked(ended_rank(), after=after, limit=CHUNK_LENGTH, descending=True)
        wanted = [record_id for at, record_id in part if at >= since]
        _, records = await store.load(wanted)
        counted = [Ended.of(record) for record in records if isinstance(record, Approval)]
        found += [one for one in counted if one is not None]
        looked_at += len(wanted)
        if len(wanted) < CHUNK_LENGTH:
            return found, True
        after = part[-1]
    rest = await store.ranked(ended_rank(), after=after, limit=1, descending=True)
    return found, not any(at >= since for at, _ in rest)
