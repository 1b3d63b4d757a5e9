"""The audit: every line of every history, found by who, what and when, and taken away whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Annotated, Literal
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from safeguards.contracts import HistoryView
from safeguards.identifiers import is_id
from safeguards_runtime.store import Store, trail
from safeguards_runtime.store.trail import Step
from services.gateway.console.operations.audit_files import FORMATS, Line, kind_of
from services.gateway.console.session import Operator
from services.gateway.pages import HEADERS, page
from services.gateway.parts import Gateway

router = APIRouter()

PAGE_LENGTH = 50
SCAN_LENGTH = 20_000
"""How many lines are looked through for one page."""

MAX_CHECKED = 20_000
"""How many records' checks an export remembers: most of a record's lines stand close together."""

KINDS = {
    "apr": "Requests",
    "act": "Actions",
    "dlv": "Deliveries",
    "grt": "Grants",
    "hlt": "Halts",
    "acc": "Accounts",
    "key": "API keys",
    "ept": "Channels",
    "msg": "Messages set aside",
}
"""What the histories are of, by the prefix of the identifier."""

Text = Annotated[str, Query(max_length=250)]


@dataclass(frozen=True)
class Wanted:
    """Which lines are wanted. Empty texts leave nothing out."""

    kind: str
    agent: str
    actor: str
    record: str
    first: date | None
    last: date | None
    wrong: str
    """What was given and is none of what it should be, in words."""

    zone: ZoneInfo

    @property
    def since(self) -> datetime | None:
        """The first moment."""
        return datetime.combine(self.first, time(), self.zone) if self.first else None

    @property
    def until(self) -> datetime | None:
        """The first moment that is not meant."""
        if self.last is None:
            return None
        return datetime.combine(self.last + timedelta(days=1), time(), self.zone)

    def query(self, **more: str) -> str:
        """Return it as it stands in an address."""
        given = {
            "kind": self.kind,
            "agent": self.agent,
            "actor": self.actor,
            "record": self.record,
            "from": self.first.isoformat() if self.first else "",
            "to": self.last.isoformat() if self.last else "",
            **more,
        }
        return urlencode({name: value for name, value in given.items() if value})

    def may_have(self, step: Step) -> bool:
        """Tell whether a step may be wanted, before its line is read."""
        return (
            self.kind in ("", kind_of(step.record_id))
            and self.agent in ("", step.agent_id)
            and self.record in ("", step.record_id)
        )

    def has(self, line: HistoryView) -> bool:
        """Tell whether a line is wanted, of a step that may be."""
        return (
            (not self.actor or line.actor in (self.actor, f"reviewer:{self.actor}"))
            and (self.since is None or line.at >= self.since)
            and (self.until is None or line.at < self.until)
        )


def _day(text: str) -> date | None:
    """Return a day that somebody wrote; None for an empty text.

    Raises:
        ValueError: it is none, or too far away to have a moment in every zone.
    """
    if not text:
        return None
    day = date.fromisoformat(text)
    if not 1970 <= day.year <= 9000:
        raise ValueError("too far away")
    return day


def _wanted(
    session: Operator,
    kind: Text = "",
    agent: Text = "",
    actor: Text = "",
    record: Text = "",
    first: Annotated[str, Query(alias="from", max_length=40)] = "",
    last: Annotated[str, Query(alias="to", max_length=40)] = "",
) -> Wanted:
    wrong = []
    days: list[date | None] = []
    for text in (first, last):
        try:
            days.append(_day(text))
        except ValueError:
            days.append(None)
            wrong.append(f"{text!r} is no day: write it like 2026-11-25")
    if kind and kind not in KINDS:
        wrong.append(f"{kind!r} is no kind of record")
    record = record.strip()
    if record and not is_id(record):
        wrong.append(f"{record!r} is no identifier of a record")
    return Wanted(
        kind=kind if kind in KINDS else "",
        agent=agent.strip(),
        actor=actor.strip(),
        record=record,
        first=days[0],
        last=days[1],
        wrong="; ".join(wrong),
        zone=session.reviewer.zone,
    )


Filters = Annotated[Wanted, Depends(_wanted)]


@router.get("/audit")
async def show(
    request: Request,
    gateway: Gateway,
    session: Operator,
    wanted: Filters,
    before: Annotated[str, Query(max_length=40, pattern=r"^([0-9]+-[0-9]+)?$")] = "",
) -> Response:
    """Show the latest lines of all histories."""
    found, further = await _page_of(gateway.store, wanted, before)
    checks = await trail.breaks(gateway.store, list({line.step.record_id for line in found}))
    shown = {
        "lines": found,
        "checks": checks,
        "kinds": KINDS,
        "wanted": wanted,
        "further": further and f"/console/audit?{wanted.query(before=further)}",
        "is_filtered": bool(wanted.query()),
        "scan_length": SCAN_LENGTH,
        "csv": f"/console/audit/export?{wanted.query(format='csv')}",
        "jsonl": f"/console/audit/export?{wanted.query(format='jsonl')}",
    }
    status = 422 if wanted.wrong else 200
    template = "console/operations/audit.html"
    return page(gateway, request, template, shown, session=session, status=status)


@router.get("/audit/export")
async def export(
    request: Request,
    gateway: Gateway,
    session: Operator,
    wanted: Filters,
    format_: Annotated[Literal["csv", "jsonl"], Query(alias="format")] = "csv",
) -> Response:
    """Send every line that is wanted, the earliest first, up to the moment of asking."""
    if wanted.wrong:
        return await show(request, gateway, session, wanted)
    file = FORMATS[format_]
    day = session.now.astimezone(wanted.zone).date()
    headers = {
        **HEADERS,
        "Content-Disposition": f'attachment; filename="safeguards-audit-{day}.{format_}"',
    }
    lines = _all(gateway.store, wanted, session.now)
    return StreamingResponse(file.written(lines), headers=headers, media_type=file.media_type)


async def _page_of(store: Store, wanted: Wanted, before: str) -> tuple[list[Line], str | None]:
    """Return one page of lines, the latest first, and the position to go on from, if any."""
    found: list[Line] = []
    looked_at = 0
    last = None
    start = before or None
    async for steps in trail.backward(store, since=wanted.since, until=wanted.until, before=start):
        likely = [step for step in steps if wanted.may_have(step)]
        for line in await _read(store, likely):
            if len(found) == PAGE_LENGTH:
                return found, found[-1].step.position
            if wanted.has(line.history):
                found.append(line)
        looked_at += len(steps)
        last = steps[-1].position
        if looked_at >= SCAN_LENGTH:
            return found, last
    return found, None


async def _all(store: Store, wanted: Wanted, now: datetime) -> AsyncIterator[Line]:
    """Yield every wanted line up to now, the earliest first, with its record's check."""
    checks: dict[str, int | None] = {}
    until = min(wanted.until or now, now)
    async for steps in trail.forward(store, since=wanted.since, until=until):
        likely = [step for step in steps if wanted.may_have(step)]
        lines = [line for line in await _read(store, likely) if wanted.has(line.history)]
        if len(checks) > MAX_CHECKED:
            checks.clear()
        unknown = {line.step.record_id for line in lines} - checks.keys()
        checks |= await trail.breaks(store, list(unknown))
        for line in lines:
            yield replace(line, breaks_at=checks[line.step.record_id])


async def _read(store: Store, steps: Sequence[Step]) -> list[Line]:
    if not steps:
        return []
    lines = await trail.lines(store, steps)
    return [Line(step, line) for step, line in zip(steps, lines, strict=True)]
