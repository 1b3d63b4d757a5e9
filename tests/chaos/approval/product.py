"""What is tested: the product's own functions, and how they do each operation of the model."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from safeguards.contracts import (
    ActionSubmission,
    AnswerSubmission,
    ApprovalSubmission,
    ResponseSubmission,
    Verdict,
)
from safeguards.identifiers import new_id, twin_id
from safeguards.types import AlertSeverity
from safeguards_runtime.records import (
    Action,
    ApiKey,
    Approval,
    Change,
    Refusal,
    action,
    opening,
    waiting,
)
from safeguards_runtime.records.api_key import Role
from safeguards_runtime.records.judgement import Judgement
from safeguards_runtime.records.rota import ALWAYS
from safeguards_runtime.records.terms import Terms
from safeguards_runtime.reviewers import Directory, Reviewer
from safeguards_runtime.store import Store
from safeguards_runtime.topology import Service
from services.approval_tracker.advancing import advance as tracker_advance
from services.gateway.approvals import answered, judged, withdrawn
from services.gateway.idempotency import Claim
from services.gateway.problems import Problem, not_found
from services.notifier.planning import plan
from services.notifier.routing import Route, World
from tests.chaos.approval import model
from tests.chaos.approval.model import AGENT, BASE, MODIFICATIONS, Setup, State, shown_digest
from tests.chaos.approval.operations import Answer, Operation, Plan, Respond, Track, Withdraw
from tests.chaos.approval.stepped import SteppedStore

DIRECTORY = Directory(
    version=1,
    reviewers=tuple(
        Reviewer(id=name, name=name.title(), email=f"{name}@example.com", groups=frozenset({group}))
        for names, group in (
            (model.MEMBERS + model.ASKERS, "reviewers"),
            (model.OUTSIDERS, "others"),
        )
        for name in names
    ),
)
ASKING = {"owner": "Pat@example.com", "on_behalf_of": "KIM"}
"""The askers, each in another spelling than the directory's."""

ROUTES = {
    "email": Route("email", "email", "person", "people", False, AlertSeverity.INFO),
    "hook": Route("hook", "webhook", "place", "programs", False, AlertSeverity.INFO),
}
KEY = ApiKey(
    id=new_id("key"),
    name=AGENT,
    role=Role.AGENT,
    agent_ids=(AGENT,),
    secret_hash="",
    created_at=BASE,
)


CLAIM = "sg:claim:"
"""What the store's keys of idempotency keys begin with; an approval's id and the key follow."""

REQUESTS = itertools.count()
"""Numbers the requests: one that is repeated is another request."""


async def answer(
    store: Store, approval_id: str, submission: AnswerSubmission, claim: Claim | None
) -> None:
    """Answer as the agent does: the first open question of what it has just seen."""
    now, (standing,) = await store.load([approval_id])
    if not isinstance(standing, Approval):
        raise not_found("approval", approval_id)
    await answered(store, (now, standing), submission, claim)


async def advance(store: Store, ids: Sequence[str]) -> None:
    """Look at records as the tracker does, with somebody on duty at all times."""
    await tracker_advance(store, ids, ALWAYS)


@dataclass(frozen=True)
class Product:
    """The parts under test. The tests that show that the machine can fail put in broken ones."""

    store: type[SteppedStore] = SteppedStore
    respond: Callable[[Store, str, ResponseSubmission, Reviewer, str], Awaitable[Any]] = judged
    answer: Callable[[Store, str, AnswerSubmission, Claim | None], Awaitable[Any]] = answer
    withdraw: Callable[[Store, str, ApiKey], Awaitable[None]] = withdrawn
    advance: Callable[[Store, Sequence[str]], Coroutine[Any, Any, None]] = advance
    plan: Callable[..., tuple[Change, ...] | None] = plan


@dataclass(eq=False)
class Case:
    """One approval and the action behind it.

    Attributes:
        state: as it was seen last.
        allowed: what the model allows now.
        sent: every response so far, to be replayed.
    """

    state: State
    approval_id: str
    action_id: str | None
    allowed: set[State] = field(default_factory=set)
    sent: list[Respond] = field(default_factory=list)

    def ids(self, operation: Track | Plan) -> list[str]:
        """Return the ids that a service is told to look at."""
        actions = [self.action_id] if operation.action and self.action_id else []
        return actions + [self.approval_id] * operation.approval


async def open_case(store: SteppedStore, setup: Setup, now: datetime) -> Case:
    """Ask for an approval, or submit an action and have it judged to need one."""
    store.clock = now
    given: dict[str, Any] = {"agent_id": AGENT, "on_behalf_of": ASKING["on_behalf_of"]}
    if setup.has_callback:
        given["callback_url"] = "https://agent.example.com/outcome"
    terms = Terms(
        groups=("reviewers",),
        channels=tuple(ROUTES),
        timeout_seconds=setup.timeout_seconds,
        on_timeout="approve" if setup.silence_approves else "reject",
        editable=model.EDITABLE,
        quorum=setup.quorum,
    )
    key: dict[str, Any] = {"key_id": KEY.id, "owner": ASKING["owner"]}
    if not setup.by_action:
        asked = ApprovalSubmission(title="Pay ACME", metadata=model.CONTEXT, **given)
        made, _ = await store.create(opening.request(new_id("apr"), asked, terms, now=now, **key))
        return Case(model.opened(State(setup), now), made.id, None)
    submitted = ActionSubmission(action_type="transaction", context=model.CONTEXT, **given)
    made, _ = await store.create(action.submit(new_id("act"), submitted, now=now, **key))
    judgement = Judgement(verdict=Verdict.REQUIRE_APPROVAL, terms=terms)
    await store.apply_all([made.id], Action, lambda r, now: action.judge(r, judgement, now))
    return Case(model.judged(setup, now), twin_id("apr", made.id), made.id)


async def perform(product: Product, store: SteppedStore, case: Case, operation: Operation) -> str:
    """Do it; return its result as the model words it."""
    store.clock = operation.now
    before = store.writes
    try:
        await _performed(product, store, case, operation)
    except (Refusal, Problem) as refused:
        outcome = refused.extra.get("outcome")
        if outcome:
            return f"already_decided by {outcome['decided_by']}: {outcome['status']}"
        version = refused.extra.get("version")
        return f"{refused.code}: {version}" if version else refused.code
    if isinstance(operation, Track | Plan):
        return "ok"
    return "done" if store.writes > before else "same"


async def _performed(
    product: Product, store: SteppedStore, case: Case, operation: Operation
) -> None:
    match operation:
        case Respond():
            digests = {"right": shown_digest(case.state.setup), "wrong": "0" * 64}
            submission = ResponseSubmission.model_validate(
                {
                    "response": operation.kind,
                    "version": operation.version,
                    "digest": digests.get(operation.digest),
                    "comments": operation.comments,
                    "modifications": MODIFICATIONS[operation.modifications].sent,
                }
            )
            reviewer = DIRECTORY.get(operation.reviewer)
            assert reviewer is not None
            await product.respond(store, case.approval_id, submission, reviewer, "api")
        case Answer():
            said = AnswerSubmission(answer=operation.text)
            key = f"{CLAIM}{case.approval_id}:{operation.key}"
            claim = Claim(key, case.approval_id, operation.text, str(next(REQUESTS)))
            await product.answer(store, case.approval_id, said, claim if operation.key else None)
        case Withdraw():
            await product.withdraw(store, case.approval_id, KEY)
        case Track():
            await product.advance(store, case.ids(operation))
        case Plan():
            await take_over(product, store, case.ids(operation))


async def take_over(product: Product, store: Store, ids: Sequence[str]) -> None:
    """Have the notifier plan what actions and approvals owe it, as `Notifier.plan` does; what it
    plans arrives at once."""

    def told(record: Action | Approval, now: datetime) -> tuple[Change, ...] | None:
        changes = product.plan(record, World(ROUTES, DIRECTORY, now))
        return changes and tuple(_arrived(change, now) for change in changes)

    kinds: tuple[type[Action | Approval], ...] = (Action, Approval)
    for kind, prefix in zip(kinds, ("act_", "apr_"), strict=True):
        await store.apply_all(
            [i for i in ids if i.startswith(prefix)],
            kind,
            told,
            of=Service.NOTIFIER,
        )


def _arrived(change: Change, now: datetime) -> Change:
    """Return the change of an approval with it noted that its message has reached somebody."""
    noted = waiting.reached(change.after, now) if isinstance(change.after, Approval) else None
    return replace(change, after=noted.after) if noted else change
