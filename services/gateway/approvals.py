"""Approvals over HTTP: read them, answer them, withdraw them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request

from safeguards.contracts import (
    AnswerSubmission,
    ApprovalPage,
    ApprovalView,
    HistoryView,
    ResponseSubmission,
)
from safeguards.identifiers import is_id, twin_id
from safeguards.types import ActionStatus
from safeguards_runtime.records import (
    Action,
    ApiKey,
    Approval,
    Change,
    Record,
    Refusal,
    action,
    approval,
    grant,
    handling,
)
from safeguards_runtime.records.api_key import Role
from safeguards_runtime.records.grant import GrantWish
from safeguards_runtime.records.rota import ALWAYS, Rota
from safeguards_runtime.records.terms import Terms
from safeguards_runtime.reviewers import Reviewer
from safeguards_runtime.store import Store
from safeguards_runtime.store.store import ClaimedError, Seen
from services.gateway.deciding import decide
from services.gateway.idempotency import Claim, IdempotencyKey
from services.gateway.keys import (
    Agent,
    Caller,
    ReviewerOfKey,
    Visitor,
    must_not_be_halted,
    must_speak_for,
)
from services.gateway.parts import Gateway, Parts
from services.gateway.problems import Problem, not_found
from services.gateway.strict_json import StrictRoute
from services.gateway.waiting import Wait

SCAN_LENGTH = 200
"""How many approvals of a list are looked at by one round trip."""

router = APIRouter(prefix="/api/v1/approvals", tags=["approvals"], route_class=StrictRoute)


@router.get("")
async def list_approvals(
    caller: Caller,
    gateway: Gateway,
    status: ActionStatus | None = None,
    agent_id: Annotated[str | None, Query(max_length=200)] = None,
    cursor: Annotated[str | None, Query(max_length=60)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> ApprovalPage:
    """List approvals, newest first: an agent's own, or those a reviewer may answer."""
    key = caller.key
    if cursor is not None and not is_id(cursor, "apr"):
        raise Problem(422, "invalid_cursor", "cursor: use the `cursor` of the page before")
    if key.role is Role.AGENT and agent_id is None and "*" not in key.agent_ids:
        if len(key.agent_ids) > 1:
            names = ", ".join(key.agent_ids)
            raise Problem(422, "agent_id_missing", f"say which agent's: ?agent_id=… of {names}")
        agent_id = key.agent_ids[0]
    if key.role is Role.AGENT and agent_id is not None:
        must_speak_for(key, agent_id)
    index = approval.index(agent_id, status)
    groups = _groups_of(key, gateway, caller.now)
    found: list[ApprovalView] = []
    while True:
        ids = await gateway.store.listed(index, before=cursor, limit=SCAN_LENGTH)
        _, records = await gateway.store.load(ids)
        for record in records:
            if isinstance(record, Approval) and _may_see(key, groups, record):
                found.append(record.view())
                if len(found) == limit:
                    return ApprovalPage(approvals=tuple(found), cursor=record.id)
        if len(ids) < SCAN_LENGTH:
            return ApprovalPage(approvals=tuple(found))
        cursor = ids[-1]


def _groups_of(key: ApiKey, gateway: Parts, now: datetime) -> frozenset[str] | None:
    """Return the groups that a key's reviewer may answer for: their own, and those of whom they
    stand in for. None if the key is no reviewer's."""
    reviewer = gateway.directory.get(key.reviewer_id) if key.reviewer_id else None
    if reviewer is None:
        return None
    wards = gateway.directory.mandates(reviewer, now)
    return reviewer.groups.union(*(ward.groups for ward in wards))


def _may_see(key: ApiKey, groups: frozenset[str] | None, record: Approval) -> bool:
    """Tell whether a key may read an approval: its agent's, or one its reviewer may answer."""
    if groups is not None:
        return bool(groups & set(record.groups))
    return key.speaks_for(record.agent_id)


@router.get("/{approval_id}")
async def get_approval(
    approval_id: str, caller: Caller, gateway: Gateway, wait: Wait = 0
) -> ApprovalView:
    """Return an approval; with `wait`, as soon as it has an outcome."""
    record = _visible(gateway, caller, approval_id)
    deadline = asyncio.get_running_loop().time() + wait
    with gateway.feed.subscribed([approval_id]) as heard:
        # What is heard of has changed since: it may have been before this subscribed.
        heard.set()
        while not record.status.is_final and await gateway.feed.more(heard, deadline):
            record = await gateway.store.get(approval_id, Approval) or record
    return record.view()


def _visible(gateway: Parts, caller: Visitor, approval_id: str) -> Approval:
    """Return the approval that the path names.

    Raises:
        Problem: 404 if there is none that the caller may see.
    """
    record, key = caller.named, caller.key
    groups = _groups_of(key, gateway, caller.now)
    if not isinstance(record, Approval) or not _may_see(key, groups, record):
        raise not_found("approval", approval_id)
    return record


@router.get("/{approval_id}/history")
async def get_history(approval_id: str, caller: Caller, gateway: Gateway) -> list[HistoryView]:
    """Return every step of an approval, each hashed onto the one before. Agents do not read what
    reviewers write to one another; the hashes cover it."""
    _visible(gateway, caller, approval_id)
    lines = await gateway.store.history(approval_id)
    return handling.without_notes(lines) if caller.key.role is Role.AGENT else lines


@router.post("/{approval_id}/responses")
async def respond(
    approval_id: str,
    submission: ResponseSubmission,
    caller: Caller,
    reviewer: ReviewerOfKey,
    gateway: Gateway,
) -> ApprovalView:
    """Answer as the reviewer of this key. When this returns 200 the answer is final, on disk, and
    on its way to the agent."""
    seen = (caller.now, _visible(gateway, caller, approval_id))
    record = await judged(
        gateway.store,
        approval_id,
        submission,
        reviewer,
        "api",
        wards=gateway.directory.mandates(reviewer, caller.now),
        seen=seen,
    )
    return record.view()


async def judged(
    store: Store,
    approval_id: str,
    submission: ResponseSubmission,
    reviewer: Reviewer,
    via: str,
    *,
    wards: Sequence[Reviewer] = (),
    link: str | None = None,
    wish: GrantWish | None = None,
    seen: Seen | None = None,
) -> Approval:
    """Have one reviewer's response judged by the approval's own rules, and write what follows.

    Args:
        via: the way it came in: `api`, `email`, `slack`.
        wards: the reviewers who are away and for whom this one stands in now.
        link: SHA-256 of the review token that it came by, if it came by one.
        wish: the permission for like actions that is given with it, both or neither.
        seen: as `Store.apply`.

    Raises:
        Refusal: what `approval.respond` raises, and `grant.give`.
        Problem: 404 if there is no such approval.
    """

    def rule(record: Approval | None, now: datetime) -> tuple[Change, ...]:
        if record is None:
            raise not_found("approval", approval_id)
        change = judgement(record, submission, reviewer, via, now, wards=wards, link=link)
        if change is None or wish is None:
            return (change,) if change else ()
        return grant.give(change, wish, reviewer_id=reviewer.id, groups=reviewer.groups, via=via)

    record = await decide(store, approval_id, rule, seen=seen)
    if record is None:
        raise not_found("approval", approval_id)
    return record


def judgement(
    record: Approval,
    submission: ResponseSubmission,
    reviewer: Reviewer,
    via: str,
    now: datetime,
    *,
    wards: Sequence[Reviewer] = (),
    link: str | None = None,
) -> Change | None:
    """Return what would follow from one reviewer's response; nothing is written. See `judged`.

    Raises:
        Refusal: what `approval.respond` raises.
    """
    return approval.respond(
        record,
        submission,
        reviewer_id=reviewer.id,
        groups=reviewer.groups,
        is_asker=reviewer.is_among(record.askers),
        mandates={w.id: w.groups for w in wards if not w.is_among(record.askers)},
        link=link,
        via=via,
        now=now,
    )


@router.post("/{approval_id}/answers")
async def answer(
    approval_id: str,
    submission: AnswerSubmission,
    request: Request,
    caller: Agent,
    gateway: Gateway,
    idempotency_key: IdempotencyKey = None,
) -> ApprovalView:
    """Answer a reviewer's question, as the agent. It makes a new version to decide on."""
    standing = _visible(gateway, caller, approval_id)
    await must_not_be_halted(gateway.store, standing.agent_id, standing.action_type)
    claim = await Claim.of(request, caller.key, idempotency_key, approval_id)
    terms = None
    if submission.context is not None and standing.action_id is None:
        kind = (standing.agent_id, standing.action_type)
        terms = gateway.book.terms_for(*kind, submission.context)
    seen = (caller.now, standing)
    record = await answered(gateway.store, seen, submission, claim, terms, gateway.directory)
    return record.view()


async def answered(
    store: Store,
    seen: tuple[datetime, Approval],
    submission: AnswerSubmission,
    claim: Claim | None = None,
    terms: Terms | None = None,
    rota: Rota = ALWAYS,
) -> Approval:
    """Write the agent's answer to the question that is the first open one in what it has seen.

    Args:
        store: where the approval is.
        seen: as `Store.apply`.
        submission: the answer.
        claim: the idempotency key, if any.
        terms: as `approval.answer`; so with `rota`.

    Raises:
        Refusal: what `approval.answer` raises.
        Problem: 422 if the idempotency key was used with another body.
    """
    _, standing = seen
    position = approval.open_question(standing)
    claims = claim.claims() if claim else {}

    def rule(record: Approval | None, now: datetime) -> Change | None:
        standing_now = record or standing
        return approval.answer(
            standing_now, submission, now, position, claims, terms=terms, rota=rota
        )

    try:
        record = await store.apply(standing.id, Approval, rule, seen=seen)
    except (ClaimedError, Refusal):
        # A request that was taken before answers no other question, and is not refused for what
        # has happened since.
        holder = await store.holder(claim.key) if claim else None
        if claim is None or holder is None:
            raise
        record = await store.get(claim.made_before(holder), Approval)
    return record or standing


@router.delete("/{approval_id}", status_code=204)
async def withdraw(approval_id: str, caller: Agent, gateway: Gateway) -> None:
    """Withdraw an approval, or the action that would need one before it is open."""
    if not is_id(approval_id, "apr"):
        raise not_found("approval", approval_id)
    await withdrawn(gateway.store, approval_id, caller.key)


async def withdrawn(store: Store, approval_id: str, key: ApiKey) -> None:
    """Withdraw what an agent's key has asked for.

    Raises:
        Refusal: `already_decided`.
        Problem: 404 if there is nothing that the key speaks for.
    """

    def rule(records: Sequence[Record | None], now: datetime) -> tuple[Change, ...]:
        source, asked = records
        # A twin that was asked for directly is another matter.
        twin = isinstance(asked, Approval) and asked.action_id in (None, twin_id("act", asked.id))
        record = asked if twin else source
        if not isinstance(record, Approval | Action) or not key.speaks_for(record.agent_id):
            raise not_found("approval", approval_id)
        if isinstance(record, Approval):
            change = approval.cancel(record, now)
        else:
            change = action.withdraw(record, now)
        return (change,) if change else ()

    # The action first: an approval that is opened in between is then seen, or the action's change
    # is refused.
    await store.apply_together([twin_id("act", approval_id), approval_id], rule)
