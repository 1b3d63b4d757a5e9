"""The inbox: which requests wait for whoever has signed in, and what became of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from safeguards.identifiers import is_id
from safeguards.types import AlertSeverity
from safeguards_runtime.headlines.sentence import Headline, headline
from safeguards_runtime.records import Approval, Halts
from safeguards_runtime.records.approval import open_question
from safeguards_runtime.records.halts import HALTS_ID, halts_of
from services.gateway.console.bulk import MAX_AT_ONCE, may_be_answered_in_bulk
from services.gateway.console.listing import (
    Found,
    Reader,
    View,
    Wanted,
    counted,
    find,
    find_among,
    position,
    reader_of,
)
from services.gateway.console.people import ending, halt_words, person
from services.gateway.console.searching import SEARCHED_CHARACTERS
from services.gateway.console.session import Session, SignedIn
from services.gateway.pages import HEADERS, page
from services.gateway.parts import Gateway, Parts
from services.gateway.wording import RISKS, duration

MAX_NAMES = 200
"""How many agents and action types there are to choose from; others are found by searching."""

MAX_ASKED = 200

URGENT = timedelta(minutes=10)

VIEWS = {
    View.WAITING: "Waiting for me",
    View.IN_HAND: "In my hands",
    View.ALL: "All waiting",
    View.ANSWERED: "Answered",
}

EMPTY = {
    View.WAITING: ("Nothing waits for you", "When an agent needs your answer, it appears here."),
    View.IN_HAND: ("You have nothing in hand", "Take a request in hand, and others see that."),
    View.ALL: ("Nothing waits", "No agent waits for an answer."),
    View.ANSWERED: ("Nothing has been answered yet", "What has been decided is listed here."),
}

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Row:
    """A request as the list shows it. All texts are visible text."""

    approval: Approval
    headline: Headline
    asker: str
    moment: datetime
    """When it ends if nobody answers; when it ended."""

    moment_words: str
    left: str
    silence: str
    state: str
    """Who has it in hand, or what became of it."""

    notes: tuple[str, ...]
    halted: str
    """Who has halted the agent, or the type of action, and why."""

    is_urgent: bool
    """Whether little time is left."""

    may_be_ticked: bool
    may_be_claimed: bool

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.approval.status.is_final


@router.get("/console")
async def inbox(
    request: Request,
    session: SignedIn,
    gateway: Gateway,
    after: Annotated[str, Query(max_length=60)] = "",
) -> Response:
    """Show a list of requests: by default those that wait for the reader, the most urgent first."""
    wanted = Wanted.of(request.query_params)
    reader = reader_of(gateway, session.reviewer, session.now)
    # Where the news stood before the list was read: what comes after it is told by the stream.
    heard_until = gateway.news.last
    start = position(after)
    found = await find(gateway.store, wanted, reader, start)
    halts = halts_of(await gateway.store.get(HALTS_ID, Halts))
    rows = [_row(gateway, session, reader, asked, halts) for asked in found.approvals]
    shown = {
        "wanted": wanted,
        "rows": rows,
        "more": wanted.address(found.after) if found.after else "",
        "searched": found.searched,
        "in_part": found.in_part,
        "searched_characters": SEARCHED_CHARACTERS,
        "count": await _count(gateway, wanted, reader, found, start),
        "is_later_page": start is not None,
        "heard_until": heard_until,
        "views": [(name, wanted.seen_as(view).address(), view) for view, name in VIEWS.items()],
        "here": wanted.address(),
        "matching": wanted.address(path="/console/matching"),
        "empty": EMPTY[wanted.view],
        "plain": Wanted(wanted.view).address(),
        "risks": RISK_CHOICES,
        "choices": await _choices(gateway, wanted, reader, found.approvals),
        "offers_all": reader.reads_all,
        "max_at_once": MAX_AT_ONCE,
        "ticks": any(row.may_be_ticked for row in rows),
        "zone": session.reviewer.zone,
    }
    return page(gateway, request, "console/inbox.html", shown, session=session)


@router.get("/console/matching")
async def matching(
    request: Request,
    session: SignedIn,
    gateway: Gateway,
    id: Annotated[list[str] | None, Query(max_length=MAX_ASKED)] = None,
) -> Response:
    """Tell which of these requests belong to a list: of what is new, that is what it counts."""
    wanted = Wanted.of(request.query_params)
    reader = reader_of(gateway, session.reviewer, session.now)
    ids = [one for one in id or () if is_id(one, "apr")]
    found = [
        {"id": asked.id, "words": headline(asked).sentence}
        for asked in await find_among(gateway.store, wanted, reader, ids)
    ]
    return JSONResponse({"matching": found}, headers=HEADERS)


async def _count(gateway: Parts, wanted: Wanted, reader: Reader, found: Found, start: Any) -> str:
    """Return how many there are, in words."""
    if start is None and found.after is None:
        number = len(found.approvals)
        return f"{number} request{'' if number == 1 else 's'}"
    if wanted.is_filtered:
        return ""
    number, is_exact = await counted(gateway.store, wanted.lists(reader))
    about = "" if is_exact and wanted.view is not View.WAITING else "up to "
    return f"{about}{number:,} requests"


async def _choices(
    gateway: Parts, wanted: Wanted, reader: Reader, listed: Sequence[Approval]
) -> dict[str, list[str]]:
    """Return what may be chosen to filter by; what is chosen is among it. Who may not read what all
    groups are asked is told of the agents and types of the list alone, and may write others."""
    if reader.reads_all:
        agents = [name for name, _ in await gateway.store.names("agents", limit=MAX_NAMES)]
        types = [name for name, _ in await gateway.store.names("action_types", limit=MAX_NAMES)]
    else:
        agents = [asked.agent_id for asked in listed]
        types = [asked.action_type for asked in listed]
    policies = [policy.name for policy in gateway.book.policies]
    return {
        "agents": _with(agents, wanted.agent),
        "types": _with(types, wanted.action_type),
        "policies": _with(policies, wanted.policy),
    }


def _with(names: Sequence[str], chosen: str) -> list[str]:
    return sorted({*names, *([chosen] if chosen else [])}, key=str.casefold)


def _row(
    gateway: Parts,
    session: Session,
    reader: Reader,
    asked: Approval,
    halts: Halts,
) -> Row:
    outcome = asked.outcome
    moment = outcome.decided_at if outcome else asked.expires_at
    left = max(moment - session.now, timedelta(0))
    behalf = asked.on_behalf_of
    return Row(
        approval=asked,
        headline=headline(asked),
        asker=person(gateway, behalf) if behalf else "",
        moment=moment,
        moment_words=short_moment(moment, session.now, session.reviewer.zone),
        left="" if outcome else duration(left),
        silence=_silence(asked),
        state=_state(gateway, session, asked),
        notes=_notes(asked, reader),
        halted=halt_words(gateway, halts, asked),
        is_urgent=outcome is None and left < URGENT,
        may_be_ticked=may_be_answered_in_bulk(asked, reader),
        may_be_claimed=reader.is_awaited(asked) and asked.claim is None,
    )


def short_moment(moment: datetime, now: datetime, zone: ZoneInfo) -> str:
    """Return a time in the reader's zone as short as can be: without the date if it is today."""
    local, today = moment.astimezone(zone), now.astimezone(zone).date()
    if local.date() == today:
        return local.strftime("%H:%M %Z")
    return local.strftime("%-d %b, %H:%M %Z" if local.year == today.year else "%-d %b %Y")


def _silence(asked: Approval) -> str:
    if asked.silence_approves:
        return "approved if nobody answers"
    return "rejected if nobody answers"


def _state(gateway: Parts, session: Session, asked: Approval) -> str:
    if asked.outcome is not None:
        outcome = asked.outcome
        return ending(gateway, asked.status, outcome.decided_by, outcome.decided_for)
    if asked.claim is None:
        return ""
    if asked.claim.reviewer_id == session.reviewer.id:
        return "You have it in hand"
    return f"{person(gateway, asked.claim.reviewer_id)} has it in hand"


def _notes(asked: Approval, reader: Reader) -> tuple[str, ...]:
    """Return what else whoever decides what to open first wants to know."""
    if asked.status.is_final:
        return ()
    notes = []
    if asked.terms.quorum > 1:
        notes.append(f"{len(asked.votes)} of {asked.terms.quorum} approved")
    if reader.has_spoken(asked):
        notes.append("Others decide now")
    if reader.reviewer.is_among(asked.askers):
        notes.append("You asked: somebody else decides")
    if "console" not in asked.terms.answer_by:
        notes.append(f"Answered {asked.terms.how_answered()}")
    if asked.paused_at is not None:
        notes.append("Paused until the agent answers")
    elif open_question(asked) is not None:
        notes.append("The agent has not answered a question")
    if asked.escalated:
        notes.append("Escalated")
    return tuple(notes)


RISK_CHOICES = [(severity.value.lower(), RISKS[severity]) for severity in AlertSeverity]
