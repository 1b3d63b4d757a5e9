"""The page of a request, for somebody who has signed in: look at it, answer, take it in hand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse

from safeguards.identifiers import is_id
from safeguards_runtime.records import Approval, Change, Refusal, handling
from safeguards_runtime.reviewers import Reviewer
from services.gateway.console.answering import answered, refused
from services.gateway.console.arguments import found
from services.gateway.console.listing import reader_of
from services.gateway.console.request_page import Visit, request_page
from services.gateway.console.session import FromOurPage, Session, SignedIn
from services.gateway.pages import HEADERS, page
from services.gateway.parts import Gateway, Parts
from services.gateway.problems import Problem

router = APIRouter(prefix="/console/requests", include_in_schema=False)

Rule = Callable[[Approval, datetime], Change | None]
"""Judges a request as it stands at a time."""


@router.get("/{approval_id}")
async def show(approval_id: str, request: Request, gateway: Gateway, session: SignedIn) -> Response:
    """Show a request. It changes nothing: that it was seen is told by `view`."""
    visit = await _visit(gateway, session, approval_id)
    if visit is None:
        return _no_such_request(gateway, request, session)
    return await request_page(gateway, request, visit)


@router.post("/{approval_id}", dependencies=[FromOurPage])
async def decide(
    approval_id: str, request: Request, gateway: Gateway, session: SignedIn
) -> Response:
    """Take the reviewer's response, then show the page as it now is."""
    visit = await _visit(gateway, session, approval_id)
    if visit is None:
        return _no_such_request(gateway, request, session)
    return await answered(gateway, request, visit, lambda: _visit(gateway, session, approval_id))


@router.get("/{approval_id}/arguments")
async def argument(
    approval_id: str, at: str, request: Request, gateway: Gateway, session: SignedIn
) -> Response:
    """Return all of an argument that the page shows in part, by its JSON pointer."""
    visit = await _visit(gateway, session, approval_id)
    return whole(visit, at) or _no_such_request(gateway, request, session)


def whole(visit: Visit | None, pointer: str) -> Response | None:
    """Return an argument as plain text, None if there is none at this pointer."""
    if visit is None:
        return None
    try:
        text = found(visit.approval.shown_context, pointer)
    except LookupError:
        return None
    return PlainTextResponse(text, headers=HEADERS)


@router.post("/{approval_id}/views", dependencies=[FromOurPage])
async def view(approval_id: str, gateway: Gateway, session: SignedIn) -> Response:
    """Note that the page has been looked at. Its script says so once a person does something
    there, so that what only fetches pages does not count."""
    visit = await _visit(gateway, session, approval_id)
    if visit is not None:
        await seen(gateway, visit)
    return Response(status_code=204, headers=HEADERS)


async def seen(gateway: Parts, visit: Visit) -> None:
    """Note that a visitor has looked at a request."""

    def rule(standing: Approval, now: datetime) -> Change | None:
        return handling.viewed(standing, visit.reviewer.id, now)

    await _apply(gateway, visit, rule)


@router.post("/{approval_id}/claim", dependencies=[FromOurPage])
async def claim(
    approval_id: str, request: Request, gateway: Gateway, session: SignedIn
) -> Response:
    """Take a request in hand."""
    reviewer = session.reviewer

    def rule(standing: Approval, now: datetime) -> Change | None:
        rights = _rights(gateway, reviewer, standing, now)
        return handling.claim(standing, reviewer.id, reviewer.groups, now, **rights)

    return await _handled(gateway, request, session, approval_id, rule)


@router.post("/{approval_id}/release", dependencies=[FromOurPage])
async def release(
    approval_id: str, request: Request, gateway: Gateway, session: SignedIn
) -> Response:
    """Let a request go that one has in hand."""

    def rule(standing: Approval, now: datetime) -> Change | None:
        return handling.release(standing, session.reviewer.id, now)

    return await _handled(gateway, request, session, approval_id, rule)


@router.post("/{approval_id}/hand-over", dependencies=[FromOurPage])
async def hand_over(
    approval_id: str, request: Request, gateway: Gateway, session: SignedIn
) -> Response:
    """Hand a request over to another reviewer, who is told."""
    form = await request.form()
    reviewer, note = session.reviewer, str(form.get("note", "")).replace("\r\n", "\n").strip()
    other = gateway.directory.get(str(form.get("to", "")))

    def rule(standing: Approval, now: datetime) -> Change | None:
        if other is None:
            raise Refusal("not_a_reviewer", "Choose to whom it goes.", field="to")
        theirs = _rights(gateway, other, standing, now)
        return handling.hand_over(
            standing,
            reviewer.id,
            reviewer.groups,
            other.id,
            other.groups,
            now,
            note=note,
            to_is_asker=theirs["is_asker"],
            to_mandates=theirs["mandates"],
            **_rights(gateway, reviewer, standing, now),
        )

    return await _handled(gateway, request, session, approval_id, rule)


def _rights(
    gateway: Parts, reviewer: Reviewer, standing: Approval, now: datetime
) -> dict[str, Any]:
    """Return what the rules ask of a reviewer beside their groups."""
    wards = gateway.directory.mandates(reviewer, now)
    return {
        "is_asker": reviewer.is_among(standing.askers),
        "mandates": {w.id: w.groups for w in wards if not w.is_among(standing.askers)},
    }


async def _handled(
    gateway: Parts, request: Request, session: Session, approval_id: str, rule: Rule
) -> Response:
    """Apply a rule of `handling`, then go back to the page."""
    visit = await _visit(gateway, session, approval_id)
    if visit is None:
        return _no_such_request(gateway, request, session)
    try:
        await _apply(gateway, visit, rule)
    except (Refusal, Problem) as error:
        visit = await _visit(gateway, session, approval_id) or visit
        return await refused(gateway, request, visit, error, await request.form())
    return RedirectResponse(visit.path, 303, HEADERS)


async def _apply(gateway: Parts, visit: Visit, rule: Rule) -> None:
    def judged(standing: Approval | None, now: datetime) -> Change | None:
        return rule(standing or visit.approval, now)

    await gateway.store.apply(visit.approval.id, Approval, judged)


async def _visit(gateway: Parts, session: Session, approval_id: str) -> Visit | None:
    """Return what somebody who has signed in looks at; None if there is no such request that they
    may read."""
    if not is_id(approval_id, "apr"):
        return None
    now, (asked,) = await gateway.store.load([approval_id])
    reader = reader_of(gateway, session.reviewer, now)
    if not isinstance(asked, Approval) or not reader.may_read(asked.groups):
        return None
    path = f"/console/requests/{approval_id}"
    return Visit(asked, session.reviewer, now, path, session=session)


def _no_such_request(gateway: Parts, request: Request, session: Session) -> Response:
    template = "console/request_unknown.html"
    return page(gateway, request, template, {"by_link": False}, session=session, status=404)
