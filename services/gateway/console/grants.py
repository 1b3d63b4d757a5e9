"""The permissions that reviewers have given for more of the same: what they let through, and
taking them back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal, NamedTuple

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from safeguards.identifiers import is_id
from safeguards.text import visible
from safeguards_runtime.headlines.sentence import Headline, headline_of
from safeguards_runtime.records import Action, Change, Grant, Refusal, grant
from safeguards_runtime.records.action import uses_index
from safeguards_runtime.records.bounds import Bound
from safeguards_runtime.reviewer import ConsoleRole
from safeguards_runtime.store import Store
from services.gateway.console.people import person
from services.gateway.console.session import FromOurPage, Session, SignedIn
from services.gateway.pages import HEADERS, page
from services.gateway.parts import Gateway, Parts
from services.gateway.problems import Problem
from services.gateway.typed_text import text_of
from services.gateway.wording import duration

router = APIRouter(prefix="/console/grants", include_in_schema=False)

PAGE_LENGTH = 50
SCAN_LENGTH = 200
MAX_OPEN = 1000
"""How many that hold one page shows."""

TEXT_LIMIT = 200
BOUNDS_SHOWN = 6

Whose = Literal["all", "mine"]


class BoundInWords(NamedTuple):
    """What one argument may be: its name, and the words; both visible."""

    name: str
    rule: str
    words: str


@dataclass(frozen=True)
class GrantRow:
    """A grant as pages show it.

    Attributes:
        headline: what it is for, as of the request that it was given with.
        is_up_to: whether the amount in the headline is the most that it may be.
        bounds: those that may be something else first.
        standing: of `Grant.standing`.
        left: how long it still holds, in words.
        giver: the name of who gave it; visible.
        ended: how it ended, in words; empty if it holds.
    """

    grant: Grant
    headline: Headline
    is_up_to: bool
    bounds: tuple[BoundInWords, ...]
    standing: str
    left: str
    giver: str
    ended: str

    @property
    def path(self) -> str:
        """Its page."""
        return f"/console/grants/{self.grant.id}"


class LetThrough(NamedTuple):
    """An action that a grant let through.

    Attributes:
        headline: what it did.
        differing: the arguments that its grant does not fix, with their values; visible.
        number: which use of the grant it was.
        giver: the name of who gave the grant; visible.
    """

    action: Action
    headline: Headline
    differing: tuple[tuple[str, str], ...]
    grant_id: str
    number: int
    of: int
    giver: str


@router.get("")
async def show_all(
    request: Request,
    gateway: Gateway,
    session: SignedIn,
    whose: Whose = "all",
    before: Annotated[str | None, Query(max_length=60)] = None,
) -> Response:
    """List the grants that somebody may read: those that hold first, then those that have ended."""
    cursor = before if before and is_id(before, "grt") else None
    by = session.reviewer.id if whose == "mine" else None
    holding: list[Grant] = []
    if cursor is None:
        holding, _ = await _readable(gateway, session, by, None, MAX_OPEN, is_open=True)
    ended, later = await _readable(gateway, session, by, cursor, PAGE_LENGTH, is_open=False)
    rows = [_row(gateway, one, session.now) for one in (*holding, *ended)]
    shown = {
        "whose": whose,
        "is_first": cursor is None,
        "holding": [row for row in rows if row.standing == "in_force"],
        "ended": [row for row in rows if row.standing != "in_force"],
        "later": later,
        "zone": session.reviewer.zone,
        "bounds_shown": BOUNDS_SHOWN,
    }
    return page(gateway, request, "console/grants.html", shown, session=session)


@router.get("/{grant_id}")
async def show_one(
    grant_id: str,
    request: Request,
    gateway: Gateway,
    session: SignedIn,
    before: Annotated[str | None, Query(max_length=60)] = None,
) -> Response:
    """Show a grant, what it let through, and how to take it back."""
    return await _grant_page(gateway, request, session, grant_id, before=before)


@router.post("/{grant_id}/revoke", dependencies=[FromOurPage])
async def revoke(grant_id: str, request: Request, gateway: Gateway, session: SignedIn) -> Response:
    """Take a grant back: what it would let through is asked about from now on."""

    def rule(standing: Grant | None, now: datetime) -> Change | None:
        if standing is None:
            raise Problem(404, "not_found", "there is no such grant")
        is_operator = session.may(ConsoleRole.OPERATOR)
        reviewer = session.reviewer
        return grant.revoke(standing, reviewer.id, reviewer.groups, now, is_operator=is_operator)

    if await _grant(gateway, session, grant_id) is None:
        return _no_such_grant(gateway, request, session)
    try:
        await gateway.store.apply(grant_id, Grant, rule)
    except (Refusal, Problem) as error:
        return await _grant_page(gateway, request, session, grant_id, problem=error.detail)
    return RedirectResponse(f"/console/grants/{grant_id}", 303, HEADERS)


async def let_through(
    gateway: Parts, index: str, *, before: str | None = None, limit: int = PAGE_LENGTH
) -> list[LetThrough]:
    """Return actions that grants let through, the latest first.

    Args:
        gateway: knows the store and the names.
        index: `action.uses_index` of a grant, or `action.granted_index` of an agent.
        before: from after the action of this id.
        limit: how many at most.
    """
    ids = await gateway.store.listed(index, before=before, limit=limit)
    _, records = await gateway.store.load(ids)
    actions = [record for record in records if isinstance(record, Action)]
    grants = await _grants_of(gateway.store, actions)
    found = (_let_through(gateway, one, grants) for one in actions)
    return [one for one in found if one is not None]


def _let_through(gateway: Parts, one: Action, grants: Mapping[str, Grant]) -> LetThrough | None:
    use = one.judgement.grant if one.judgement else None
    if use is None:
        return None
    standing = grants.get(use.grant_id)
    bounds = standing.bounds if standing else {}
    return LetThrough(
        action=one,
        headline=headline_of(one.action_type, one.context),
        differing=tuple(
            (_short(name), _short(text_of(value)))
            for name, value in one.context.items()
            if name in bounds and bounds[name].rule != "equal"
        ),
        grant_id=use.grant_id,
        number=use.number,
        of=use.of,
        giver=person(gateway, use.given_by),
    )


async def _grants_of(store: Store, actions: Sequence[Action]) -> dict[str, Grant]:
    used = {a.judgement.grant.grant_id for a in actions if a.judgement and a.judgement.grant}
    _, records = await store.load(sorted(used))
    return {record.id: record for record in records if isinstance(record, Grant)}


async def _readable(
    gateway: Parts,
    session: Session,
    given_by: str | None,
    before: str | None,
    limit: int,
    *,
    is_open: bool,
) -> tuple[list[Grant], str | None]:
    """Return grants that somebody may read, the latest first, and where the next page begins."""
    index = grant.listed(given_by, is_open=is_open)
    found: list[Grant] = []
    while True:
        ids = await gateway.store.listed(index, before=before, limit=SCAN_LENGTH)
        _, records = await gateway.store.load(ids)
        for record in records:
            if isinstance(record, Grant) and _may_read(session, record):
                found.append(record)
                if len(found) == limit:
                    return found, record.id
        if len(ids) < SCAN_LENGTH:
            return found, None
        before = ids[-1]


def _may_read(session: Session, standing: Grant) -> bool:
    reviewer = session.reviewer
    is_operator = session.may(ConsoleRole.OPERATOR)
    return grant.may_revoke(standing, reviewer.id, reviewer.groups, is_operator=is_operator)


async def _grant(gateway: Parts, session: Session, grant_id: str) -> Grant | None:
    """Return a grant, or None if there is none that they may read."""
    standing = await gateway.store.get(grant_id, Grant) if is_id(grant_id, "grt") else None
    return standing if standing and _may_read(session, standing) else None


async def _grant_page(
    gateway: Parts,
    request: Request,
    session: Session,
    grant_id: str,
    *,
    before: str | None = None,
    problem: str = "",
) -> Response:
    standing = await _grant(gateway, session, grant_id)
    if standing is None:
        return _no_such_grant(gateway, request, session)
    cursor = before if before and is_id(before, "act") else None
    uses = await let_through(gateway, uses_index(grant_id), before=cursor)
    shown = {
        "row": _row(gateway, standing, session.now),
        "uses": uses,
        "later": uses[-1].action.id if len(uses) == PAGE_LENGTH else None,
        "zone": session.reviewer.zone,
        "problem": problem,
    }
    status = 422 if problem else 200
    return page(gateway, request, "console/grant.html", shown, session=session, status=status)


def _no_such_grant(gateway: Parts, request: Request, session: Session) -> Response:
    return page(gateway, request, "console/grant.html", {}, session=session, status=404)


def _row(gateway: Parts, standing: Grant, now: datetime) -> GrantRow:
    bounds = [_in_words(name, bound) for name, bound in standing.bounds.items()]
    like = {name: b.value for name, b in standing.bounds.items() if b.rule != "any"}
    exact = {name: b.value for name, b in standing.bounds.items() if b.rule == "equal"}
    headline = headline_of(standing.action_type, like)
    how = standing.standing(now)
    return GrantRow(
        grant=standing,
        headline=headline,
        is_up_to=headline.amount != headline_of(standing.action_type, exact).amount,
        bounds=tuple(sorted(bounds, key=lambda bound: bound.rule == "equal")),
        standing=how,
        left=duration(standing.expires_at - now),
        giver=person(gateway, standing.given_by),
        ended=_ended(gateway, standing, how),
    )


def _ended(gateway: Parts, standing: Grant, how: str) -> str:
    if how == "revoked":
        return f"Revoked by {person(gateway, standing.revoked_by or '')}"
    return {"used_up": "Used up", "expired": "Ran out"}.get(how, "")


def _in_words(name: str, bound: Bound) -> BoundInWords:
    match bound.rule:
        case "at_most":
            words = f"at most {Decimal(bound.value):,f}"
        case "any":
            words = _ANY.get(bound.type, "anything")
        case _:
            words = _short(text_of(bound.value)) or "empty text"
    return BoundInWords(_short(name), bound.rule, words)


_ANY = {"string": "any text", "boolean": "true or false", "array": "any list"}


def _short(text: str) -> str:
    return visible(text, single_line=True, limit=TEXT_LIMIT)
