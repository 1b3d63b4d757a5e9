"""Actions that have been: written to a store by the rules that the services write by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from safeguards.contracts import ActionSubmission, ResponseKind, ResponseSubmission, Verdict
from safeguards.identifiers import earliest_id, new_id
from safeguards_runtime.records import Action, Approval, Change, Record, handling, opening
from safeguards_runtime.records import action as action_rules
from safeguards_runtime.records import approval as approval_rules
from safeguards_runtime.store import Store
from services.safeguard_evaluator.trying_out import Asked, Desk

R = TypeVar("R", bound=Record)

LOOKS_AFTER, ANSWERS_AFTER = timedelta(seconds=60), timedelta(seconds=90)
"""When the reviewer opens a request and when they answer, since it was made: half a minute."""


@dataclass(frozen=True)
class Lived:
    """An action, when it was published, and what the reviewer answers if they are asked.

    Attributes:
        response: None if nobody answers.
        modifications: what the reviewer changes.
    """

    submission: ActionSubmission
    at: datetime
    response: ResponseKind | None = ResponseKind.APPROVE
    modifications: dict[str, str] | None = None


async def record(store: Store, desk: Desk, lived: Sequence[Lived]) -> list[str]:
    """Write actions with their verdicts and what came of them; return their ids."""
    changes = [
        action_rules.submit(
            _id_of(one.at), one.submission, key_id=new_id("key"), owner=None, now=one.at
        )
        for one in lived
    ]
    actions = await _written(store, Action, changes)
    judgements = []
    for one, made in zip(lived, actions, strict=True):
        desk.now = one.at
        asked = Asked(made.action_type, made.context, made.agent_id, made.id)
        judgements.append(await desk.allow(asked))
    actions = await _written(
        store,
        Action,
        [
            action_rules.judge(made, judgement, one.at)
            for one, made, judgement in zip(lived, actions, judgements, strict=True)
        ],
    )
    asking = [
        (one, made)
        for one, made in zip(lived, actions, strict=True)
        if made.judgement and made.judgement.verdict is Verdict.REQUIRE_APPROVAL
    ]
    opened = [opening.open_for(made, one.at) for one, made in asking]
    written = await store.commit([changes for changes in opened if changes])
    approvals = {one.id: one for pair in written for one in pair or () if isinstance(one, Approval)}
    asking = [(one, made) for one, made in asking if one.response is not None]
    await _answered(store, [(one, approvals[made.approval_id]) for one, made in asking])
    return [made.id for made in actions]


def _id_of(moment: datetime) -> str:
    """Return a fresh identifier as if it were made then."""
    until_then = earliest_id("act", moment)
    return until_then + new_id("act")[len(until_then) :]


async def _answered(store: Store, asked: Sequence[tuple[Lived, Approval]]) -> None:
    """Let the reviewer look and answer, and the tracker close the actions."""
    seen = await _written(
        store,
        Approval,
        [handling.viewed(approval, "alex", one.at + LOOKS_AFTER) for one, approval in asked],
    )
    ended = await _written(
        store,
        Approval,
        [_response(one, approval) for (one, _), approval in zip(asked, seen, strict=True)],
    )
    by_id = {approval.action_id: approval for approval in ended if approval.action_id}

    def close(made: Action, now: datetime) -> Change | None:
        outcome = by_id[made.id].outcome
        return action_rules.close(made, outcome, outcome.decided_at) if outcome else None

    await store.apply_all(by_id, Action, close)


def _response(one: Lived, approval: Approval) -> Change | None:
    assert one.response is not None
    response = ResponseSubmission(
        response=one.response, version=approval.version, modifications=one.modifications
    )
    return approval_rules.respond(
        approval,
        response,
        reviewer_id="alex",
        groups={"reviewers"},
        via="console",
        now=one.at + ANSWERS_AFTER,
    )


async def _written(store: Store, kind: type[R], changes: Sequence[Change | None]) -> list[R]:
    written = await store.commit([[change] for change in changes if change is not None])
    records = [record for records in written for record in records or ()]
    assert len(records) == len(changes)
    return [record for record in records if isinstance(record, kind)]
