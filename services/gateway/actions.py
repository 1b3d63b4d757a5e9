"""The agents' way in: submit actions, ask people directly, hear what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from safeguards.contracts import (
    ActionSubmission,
    ActionView,
    ApprovalSubmission,
    ApprovalView,
    OutcomePage,
)
from safeguards.identifiers import is_id, new_id, twin_id
from safeguards_runtime.records import Action, ApiKey, Approval, action, opening
from services.gateway.feed import Entry, FeedTail
from services.gateway.idempotency import Claim, IdempotencyKey, create_once
from services.gateway.keys import Agent, must_not_be_halted, must_speak_for
from services.gateway.parts import Gateway, Parts
from services.gateway.problems import Problem, not_found
from services.gateway.strict_json import StrictRoute
from services.gateway.tail import order
from services.gateway.waiting import Wait

router = APIRouter(prefix="/api/v1", tags=["agents"], route_class=StrictRoute)

PAGE_LENGTH = 500
NDJSON = "application/x-ndjson"
UNBUFFERED = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Headers that keep proxies from holding a stream back."""


@router.post("/actions", status_code=202)
async def submit_action(
    submission: ActionSubmission,
    request: Request,
    response: Response,
    caller: Agent,
    gateway: Gateway,
    idempotency_key: IdempotencyKey = None,
) -> ActionView:
    """Submit an action to be judged. It is on disk when this returns."""
    key, now = caller.key, caller.now
    must_speak_for(key, submission.agent_id)
    action_id = new_id("act")
    claim = await Claim.of(request, key, idempotency_key, action_id)
    record, created = await create_once(
        gateway.store,
        Action,
        claim,
        lambda claims: action.submit(
            action_id, submission, key_id=key.id, owner=key.owner, now=now, claims=claims
        ),
    )
    response.headers["Location"] = f"/api/v1/actions/{record.id}"
    if not created:
        response.headers["Idempotency-Replayed"] = "true"
    return record.view()


@router.get("/actions/{action_id}")
async def get_action(action_id: str, caller: Agent, gateway: Gateway, wait: Wait = 0) -> ActionView:
    """Return an action; with `wait`, as soon as it has an outcome."""
    if not is_id(action_id, "act"):
        raise not_found("action", action_id)
    deadline = asyncio.get_running_loop().time() + wait
    is_over = wait == 0
    with gateway.feed.subscribed([action_id]) as heard:
        while True:
            view = await _action_view(gateway, action_id)
            if view is None or not caller.key.speaks_for(view.agent_id):
                raise not_found("action", action_id)
            if view.status.is_final or is_over:
                return view
            is_over = not await gateway.feed.more(heard, deadline)


async def _action_view(gateway: Parts, action_id: str) -> ActionView | None:
    """Return the action, with its approval's outcome where the action has not got it yet."""
    _, (record, asked) = await gateway.store.load([action_id, twin_id("apr", action_id)])
    if not isinstance(record, Action):
        return None
    view = record.view()
    decided = isinstance(asked, Approval) and asked.action_id == action_id and asked.outcome
    if not view.status.is_final and isinstance(asked, Approval) and decided:
        view = view.model_copy(update={"status": asked.status, "outcome": asked.outcome})
    return view


@router.post("/request-approval", status_code=202)
async def request_approval(
    submission: ApprovalSubmission,
    request: Request,
    response: Response,
    caller: Agent,
    gateway: Gateway,
    idempotency_key: IdempotencyKey = None,
) -> ApprovalView:
    """Ask people directly, without evaluation: what policies deny is asked about as well; only what
    is halted is refused. The approval is on disk when this returns."""
    key, now = caller.key, caller.now
    must_speak_for(key, submission.agent_id)
    await must_not_be_halted(gateway.store, submission.agent_id, submission.action_type)
    approval_id = new_id("apr")
    claim = await Claim.of(request, key, idempotency_key, approval_id)
    terms = gateway.book.terms_for(submission.agent_id, submission.action_type, submission.metadata)
    record, created = await create_once(
        gateway.store,
        Approval,
        claim,
        lambda claims: opening.request(
            approval_id,
            submission,
            terms,
            key_id=key.id,
            owner=key.owner,
            now=now,
            claims=claims,
            rota=gateway.directory,
        ),
    )
    response.headers["Location"] = f"/api/v1/approvals/{record.id}"
    if not created:
        response.headers["Idempotency-Replayed"] = "true"
    return record.view()


@router.get(
    "/outcomes",
    response_model=OutcomePage,
    responses={200: {"content": {NDJSON: {"schema": {"type": "string"}}}}},
)
async def outcomes(
    request: Request,
    caller: Agent,
    gateway: Gateway,
    after: Annotated[
        str | None, Query(max_length=60, description="The cursor of the page before.")
    ] = None,
    wait: Wait = 0,
) -> Response:
    """Return what happened after a cursor to all that this key's agents asked.

    Without a cursor it returns the cursor of this moment, to begin from. One connection serves
    everything that an agent process waits for.

    With `Accept: application/x-ndjson` the answer goes on for as long as `wait` says, a page a
    line: the first at once, the others as soon as something happens.
    """
    feed = gateway.feed
    if after is None:
        return Response(_Page([], feed.last, False).json(), media_type="application/json")
    try:
        order(after)
    except ValueError as error:
        raise Problem(422, "invalid_cursor", f"after: {error}") from error
    pages = _pages(feed, caller.key, after, wait)
    if NDJSON in request.headers.get("accept", ""):
        lines = (page.json() + "\n" async for page in pages)
        return StreamingResponse(lines, media_type=NDJSON, headers=UNBUFFERED)
    async with aclosing(pages):
        async for page in pages:
            if page.entries or page.gap:
                break
    return Response(page.json(), media_type="application/json")


class _Page(NamedTuple):
    """An OutcomePage. The entries are JSON already, as they were written to the feed."""

    entries: list[Entry]
    cursor: str
    gap: bool

    def json(self) -> str:
        bodies = ",".join(entry.body for entry in self.entries)
        gap = str(self.gap).lower()
        return f'{{"entries":[{bodies}],"cursor":"{self.cursor}","gap":{gap}}}'


async def _pages(
    feed: FeedTail, key: ApiKey, cursor: str, wait: float
) -> AsyncGenerator[_Page, None]:
    """Yield what there is after `cursor`, then more as soon as there is more, for `wait` seconds.

    The first page and the last may be empty: they bring the cursor on.
    """
    deadline = asyncio.get_running_loop().time() + wait
    with feed.subscribed(key.agent_ids) as heard:
        heard.set()
        is_in_time = True
        while is_in_time:
            is_in_time = await feed.more(heard, deadline)
            entries, cursor, gap = await feed.after(cursor, key.agent_ids, PAGE_LENGTH)
            yield _Page(entries, cursor, gap)
            if len(entries) == PAGE_LENGTH:
                heard.set()
