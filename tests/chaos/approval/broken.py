"""Broken products, each with one defect that the machine must find."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

from pydantic import BaseModel

from safeguards.canonical import digest
from safeguards.contracts import AnswerSubmission, ResponseSubmission
from safeguards.types import ActionStatus
from safeguards_runtime.records import ApiKey, Approval, Change, Record, Refusal, approval, waiting
from safeguards_runtime.reviewers import Reviewer
from safeguards_runtime.store import Store
from safeguards_runtime.store.encoding import record_key
from safeguards_runtime.topology import Service
from services.gateway.approvals import withdrawn
from services.gateway.idempotency import Claim
from services.gateway.problems import not_found
from services.notifier.planning import plan
from tests.chaos.approval.product import Product, advance, answer
from tests.chaos.approval.stepped import SteppedStore

M = TypeVar("M", bound=BaseModel)


Judge = Callable[[Approval, ResponseSubmission, Reviewer, datetime], Change | None]


def honest(
    record: Approval, sent: ResponseSubmission, reviewer: Reviewer, now: datetime
) -> Change | None:
    """Judge a response as the gateway has it judged."""
    return approval.respond(
        record,
        sent,
        reviewer_id=reviewer.id,
        groups=reviewer.groups,
        is_asker=reviewer.is_among(record.askers),
        via="api",
        now=now,
    )


def responding(judge: Judge) -> Product:
    """Return a product that judges responses otherwise."""

    async def respond(
        store: Store, approval_id: str, sent: ResponseSubmission, reviewer: Reviewer, _: str
    ) -> Approval | None:
        def rule(record: Approval | None, now: datetime) -> Change | None:
            if record is None:
                raise not_found("approval", approval_id)
            return judge(record, sent, reviewer, now)

        return await store.apply(approval_id, Approval, rule)

    return Product(respond=respond)


def with_(model_: M, **fields: Any) -> M:
    """Return a copy of a record or body with other values."""
    return model_.model_copy(update=fields)


def _without_repeats(
    record: Approval, sent: ResponseSubmission, reviewer: Reviewer, now: datetime
) -> Change | None:
    change = honest(record, sent, reviewer, now)
    if change is None and record.outcome:
        raise Refusal("already_decided", "", outcome=record.outcome.model_dump(mode="json"))
    return change


def _approving_what_was_asked(
    record: Approval, sent: ResponseSubmission, reviewer: Reviewer, now: datetime
) -> Change | None:
    change = honest(record, sent, reviewer, now)
    if change is None or change.event != "modified":
        return change
    assert isinstance(change.after, Approval)
    assert change.after.outcome is not None
    outcome = with_(change.after.outcome, approved_digest=digest(record.context))
    return replace(change, after=with_(change.after, outcome=outcome), feed=(outcome,))


def unheard(change: Change | None, event: str) -> Change | None:
    """Return a change, without what the agent hears if it is of this event."""
    return replace(change, feed=()) if change and change.event == event else change


def timing_out(time_out: Callable[[Approval, datetime], Change | None]) -> Product:
    """Return a product whose tracker lets approvals time out otherwise, and goes on as ever."""

    async def look(store: Store, ids: Sequence[str]) -> None:
        await store.apply_all([i for i in ids if i.startswith("apr_")], Approval, time_out)
        await advance(store, ids)

    return Product(advance=look)


async def _striking_what_is_not_closed(store: Store, ids: Sequence[str]) -> None:
    await advance(store, ids)
    approvals = [i for i in ids if i.startswith("apr_")]
    await store.apply_all(approvals, Approval, approval.closed, of=Service.TRACKER)


async def _leaving_actions_open(store: Store, ids: Sequence[str]) -> None:
    await advance(store, [i for i in ids if i.startswith("act_")])
    approvals = [i for i in ids if i.startswith("apr_")]
    await store.apply_all(approvals, Approval, waiting.time_out, of=Service.TRACKER)


async def _answering_in_place(
    store: Store, approval_id: str, submission: AnswerSubmission, claim: Claim | None
) -> None:
    def rule(record: Approval | None, now: datetime) -> Change | None:
        if record is None:
            raise not_found("approval", approval_id)
        claims = claim.claims() if claim else {}
        change = approval.answer(record, submission, now, claims=claims)
        return change and replace(change, after=with_(change.after, version=record.version))

    await store.apply(approval_id, Approval, rule)


async def _answering_with_old_votes(
    store: Store, approval_id: str, submission: AnswerSubmission, claim: Claim | None
) -> None:
    before = await store.get(approval_id, Approval)
    await answer(store, approval_id, submission, claim)

    def rule(record: Approval | None, now: datetime) -> Change | None:
        if record is None or before is None or not before.votes or record.version == before.version:
            return None
        return Change(record, with_(record, votes=before.votes), "counted", "nobody", now)

    await store.apply(approval_id, Approval, rule)


async def _answering_again(
    store: Store, approval_id: str, submission: AnswerSubmission, claim: Claim | None
) -> None:
    is_taken = claim and await store.redis.get(claim.key)
    await answer(store, approval_id, submission, None if is_taken else claim)


async def _withdrawing_what_is_decided(store: Store, approval_id: str, key: ApiKey) -> None:
    def rule(record: Approval | None, now: datetime) -> Change | None:
        return approval.cancel(with_(record, outcome=None), now) if record else None

    if await store.apply(approval_id, Approval, rule) is None:
        await withdrawn(store, approval_id, key)


def _forgetting_somebody(*arguments: Any) -> tuple[Change, ...] | None:
    changes = plan(*arguments)
    return changes and changes[: max(1, len(changes) - 1)]


class _Blind(SteppedStore):
    """Sets without comparing."""

    async def commit(self, transactions: Sequence[Sequence[Change]]) -> list[list[Record] | None]:
        return await super().commit([[await self._based(c) for c in cs] for cs in transactions])

    async def _based(self, change: Change) -> Change:
        revision = int(await self.redis.hget(record_key(change.after.id), "r") or 0)
        before = with_(change.before or change.after, revision=revision)
        return replace(change, before=before) if revision else change


class _Stubborn(SteppedStore):
    """Compares; but if the record has moved on, it writes what it has judged all the same."""

    async def apply(self, record_id: str, kind: Any, rule: Any, *, seen: Any = None) -> Any:
        change: Change | None = None
        while True:
            now, (record,) = await self.load([record_id])
            if change is None or record is None:
                judged = rule(record, now)
                change = judged[0] if isinstance(judged, tuple) and judged else judged or None
            else:
                change = replace(change, before=record)
            if change is None:
                return record
            (written,) = await self.commit([[change]])
            if written is not None:
                return written[0]


class _Meddling(SteppedStore):
    """Puts back on the agenda what it has looked at, even if that has moved on meanwhile."""

    async def _settle(
        self, records: Sequence[Record], missing: Sequence[str], of: Service, now: datetime
    ) -> None:
        await self._turn()
        revisions = [int(await self.redis.hget(record_key(r.id), "r")) for r in records]
        late = [with_(r, revision=at) for r, at in zip(records, revisions, strict=True)]
        await Store._settle(self, late, missing, of, now)


class _Hoarding(SteppedStore):
    """Leaves a record in the lists in which it stood."""

    async def commit(self, transactions: Sequence[Sequence[Change]]) -> list[list[Record] | None]:
        return await super().commit([[self._based(c) for c in cs] for cs in transactions])

    def _based(self, change: Change) -> Change:
        if change.before is None:
            return change
        kept = {name: getattr(change.before, name) for name in ("revision", "history_hash")}
        return replace(change, before=with_(change.after, **kept))


MOMENT = timedelta(microseconds=1)
BROKEN: dict[str, Product] = {
    "the last response wins": responding(lambda r, *given: honest(with_(r, outcome=None), *given)),
    "whoever asks may answer": responding(lambda r, *given: honest(with_(r, askers=()), *given)),
    "anybody may answer": responding(
        lambda r, sent, who, now: honest(r, sent, with_(who, groups={*r.terms.groups}), now)
    ),
    "any version will do": responding(
        lambda r, sent, *given: honest(r, with_(sent, version=r.version, digest=None), *given)
    ),
    "a response counts at the deadline": responding(
        lambda r, sent, who, now: honest(r, sent, who, now - MOMENT * (now == r.expires_at))
    ),
    "a question is not heard": responding(lambda *given: unheard(honest(*given), "asked")),
    "a repeat is refused": responding(_without_repeats),
    "what was asked runs, not what was approved": responding(_approving_what_was_asked),
    "one approval is enough": responding(
        lambda r, *given: honest(with_(r, terms=with_(r.terms, quorum=1)), *given)
    ),
    "one person approves twice": responding(
        lambda r, *given: honest(
            with_(r, votes=tuple(with_(vote, reviewer_id="another") for vote in r.votes)), *given
        )
    ),
    "an approval counts for the next version": Product(answer=_answering_with_old_votes),
    "an answer makes no new version": Product(answer=_answering_in_place),
    "a repeated answer answers the next question": Product(answer=_answering_again),
    "a decision is withdrawn": Product(withdraw=_withdrawing_what_is_decided),
    "a time-out is not heard": timing_out(
        lambda r, now: unheard(waiting.time_out(r, now), "timed_out")
    ),
    "a time-out comes early": timing_out(lambda r, now: waiting.time_out(r, now + MOMENT)),
    "a time-out ends what was decided": timing_out(
        lambda r, now: waiting.time_out(with_(r, status=ActionStatus.PENDING), now)
    ),
    "an action is taken for closed": Product(advance=_striking_what_is_not_closed),
    "an action is never closed": Product(advance=_leaving_actions_open),
    "somebody is not told": Product(plan=_forgetting_somebody),
    "a commit does not compare": Product(store=_Blind),
    "a conflict is overruled": Product(store=_Stubborn),
    "an agenda is written by who is late": Product(store=_Meddling),
    "a list is never left": Product(store=_Hoarding),
}
