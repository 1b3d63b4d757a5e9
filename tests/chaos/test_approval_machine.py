"""Any interleaving of what may be done to approvals, on a real Valkey, held against a model.

Hypothesis draws what happens and in which order, down to whose round trip comes next; the store's
time is drawn too, so that nothing waits and a failure comes again. After every step the whole store
is read and must be as the model says. `run_machine` runs it for as long as anybody likes.
"""

from __future__ import annotations

import asyncio
import functools
import tempfile
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pydantic import BaseModel

from deploy.valkey import ValkeyServer
from safeguards.canonical import digest
from safeguards.contracts import (
    ActionSubmission,
    AnswerSubmission,
    ApprovalSubmission,
    HistoryView,
    Outcome,
    OutcomePage,
    Question,
    ResponseSubmission,
    Verdict,
)
from safeguards.identifiers import new_id, twin_id
from safeguards.types import ActionStatus, AlertSeverity
from safeguards_runtime.records import (
    Action,
    ApiKey,
    Approval,
    Change,
    Delivery,
    Record,
    Refusal,
    action,
    approval,
)
from safeguards_runtime.records.action import Judgement, Terms
from safeguards_runtime.records.api_key import Role
from safeguards_runtime.reviewers import Directory, Reviewer
from safeguards_runtime.store import Store
from safeguards_runtime.store.encoding import FEED, agenda_key, decode, index_key, record_key
from safeguards_runtime.topology import Service
from services.approval_tracker.advancing import advance
from services.gateway.approvals import answered, judged, withdrawn
from services.gateway.problems import Problem, not_found
from services.notifier.planning import Route, plan
from tests.chaos import approval_model as model
from tests.chaos.approval_model import (
    AGENT,
    BASE,
    LEASED,
    MODIFICATIONS,
    Answer,
    Decision,
    Operation,
    Paper,
    Plan,
    Respond,
    Setup,
    State,
    Track,
    Withdraw,
    explanations,
    shown_digest,
)
from tests.runtime.samples import assert_chained

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

DATABASE = 11
"""Of this file's tests alone, so that others may use the same server."""

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
    "email": Route("email", "person", AlertSeverity.INFO),
    "hook": Route("webhook", "place", AlertSeverity.INFO),
}
KEY = ApiKey(
    id=new_id("key"),
    name=AGENT,
    role=Role.AGENT,
    agent_ids=(AGENT,),
    secret_hash="",
    created_at=BASE,
)


# --- whose turn it is ---------------------------------------------------------------------------


class Turns:
    """Lets several stores make their round trips one at a time, in an order that was drawn."""

    def __init__(self, order: Sequence[int]) -> None:
        self._order = list(order)
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._stirred = asyncio.Event()

    async def wait(self, number: int) -> None:
        """Wait until it is the turn of the store of this number."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting[number] = turn
        self._stirred.set()
        await turn

    async def gather(self, *running: Coroutine[Any, Any, T]) -> list[T]:
        """Run all to their ends; each moves only when all others wait for their turns."""
        tasks = [asyncio.ensure_future(coroutine) for coroutine in running]
        for task in tasks:
            task.add_done_callback(lambda _: self._stirred.set())
        while left := sum(not task.done() for task in tasks):
            if len(self._waiting) < left:
                self._stirred.clear()
                await self._stirred.wait()
                continue
            drawn = self._order.pop(0) if self._order else 0
            number = sorted(self._waiting)[drawn % left]
            self._waiting.pop(number).set_result(None)
        return [task.result() for task in tasks]


class Withheld(Exception):
    """The process stopped just before its commit."""

    def __init__(self, changes: tuple[Change, ...]) -> None:
        self.changes = changes


class SteppedStore(Store):
    """A store whose clock stands still and which waits for its turn before each round trip.

    Attributes:
        clock: the time that the rules are told.
        turns: who says when it is this store's turn, if anybody does.
        withholds: whether it stops before it writes.
        loses_reply: whether it does not hear that the next commit came about, and so tries again.
        written: all transactions that came about, of all stores of a run.
        writes: how many of them are this store's.
    """

    def __init__(self, url: str, number: int, written: list[tuple[Change, ...]]) -> None:
        super().__init__(url, max_connections=2)
        self.clock = BASE
        self.turns: Turns | None = None
        self.withholds = False
        self.loses_reply = False
        self.written = written
        self.writes = 0
        self._number = number

    async def _turn(self) -> None:
        if self.turns is not None:
            await self.turns.wait(self._number)

    async def load(self, ids: Sequence[str]) -> tuple[datetime, list[Record | None]]:
        """Load as ever, but tell the time that was drawn."""
        await self._turn()
        _, records = await super().load(ids)
        return self.clock, records

    async def commit(self, transactions: Sequence[Sequence[Change]]) -> list[list[Record] | None]:
        """Commit as ever, unless it withholds."""
        if not transactions:
            return []
        await self._turn()
        if self.withholds:
            raise Withheld(tuple(transactions[0]))
        results = await super().commit(transactions)
        for changes, records in zip(transactions, results, strict=True):
            if records is not None:
                self.written.append(tuple(changes))
                self.writes += 1
        if self.loses_reply:
            self.loses_reply = False
            return [None for _ in results]
        return results

    async def _settle(
        self, records: Sequence[Record], missing: Sequence[str], of: Service, now: datetime
    ) -> None:
        await self._turn()
        await super()._settle(records, missing, of, now)


# --- what is tested -----------------------------------------------------------------------------


async def answer(store: Store, approval_id: str, submission: AnswerSubmission) -> None:
    """Answer as the agent does: the first open question of what it has just seen."""
    now, (standing,) = await store.load([approval_id])
    if not isinstance(standing, Approval):
        raise not_found("approval", approval_id)
    await answered(store, (now, standing), submission)


@dataclass(frozen=True)
class Product:
    """The parts under test. The tests that show that the machine can fail put in broken ones."""

    store: type[SteppedStore] = SteppedStore
    respond: Callable[[Store, str, ResponseSubmission, Reviewer, str], Awaitable[Any]] = judged
    answer: Callable[[Store, str, AnswerSubmission], Awaitable[Any]] = answer
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
    )
    key: dict[str, Any] = {"key_id": KEY.id, "owner": ASKING["owner"]}
    if not setup.by_action:
        asked = ApprovalSubmission(title="Pay ACME", metadata=model.CONTEXT, **given)
        made, _ = await store.create(approval.request(new_id("apr"), asked, terms, now=now, **key))
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
            await product.answer(store, case.approval_id, said)
        case Withdraw():
            await product.withdraw(store, case.approval_id, KEY)
        case Track():
            await product.advance(store, case.ids(operation))
        case Plan():
            await take_over(product, store, case.ids(operation))


async def take_over(product: Product, store: Store, ids: Sequence[str]) -> None:
    """Have the notifier plan what actions and approvals owe it, as `Notifier.plan` does."""
    kinds: tuple[type[Action | Approval], ...] = (Action, Approval)
    for kind, prefix in zip(kinds, ("act_", "apr_"), strict=True):
        await store.apply_all(
            [i for i in ids if i.startswith(prefix)],
            kind,
            lambda record, now: product.plan(record, ROUTES, DIRECTORY, now),
            of=Service.NOTIFIER,
        )


# --- what is seen -------------------------------------------------------------------------------


@dataclass
class Found:
    """The whole store."""

    records: dict[str, Record] = field(default_factory=dict)
    events: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By id: the history, which has been found whole."""

    agendas: defaultdict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    """By id: the services on whose agendas it stands, and when."""

    indexes: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """By id: the lists it stands in."""

    feed: list[Outcome | Question] = field(default_factory=list)


async def read(redis: Any) -> Found:
    """Read the whole store, in two round trips."""
    found = Found()
    keys = [key.decode() for key in await redis.keys("*")]
    agendas = {agenda_key(service): service.value for service in Service}
    async with redis.pipeline(transaction=False) as pipe:
        for key in keys:
            if key == FEED:
                pipe.xrange(key)
            elif key in agendas or key.startswith(index_key("")):
                pipe.zrange(key, 0, -1, withscores=True)
            else:
                pipe.hgetall(key)
        rows = await pipe.execute()
    for key, row in zip(keys, rows, strict=True):
        if key == FEED:
            bodies = b",".join(fields[b"d"] for _, fields in row)
            page = OutcomePage.model_validate_json(b'{"cursor":"","entries":[' + bodies + b"]}")
            found.feed = list(page.entries)
        elif key in agendas:
            for name, score in row:
                found.agendas[name.decode()][agendas[key]] = score
        elif key.startswith(index_key("")):
            for name, _ in row:
                found.indexes[name.decode()].add(key.removeprefix(index_key("")))
        else:
            record_id = key.removeprefix(record_key(""))
            found.records[record_id], found.events[record_id] = parsed(record_id, (*row.items(),))
    return found


@functools.lru_cache(maxsize=1000)
def parsed(record_id: str, row: tuple[tuple[bytes, bytes], ...]) -> tuple[Record, tuple[str, ...]]:
    """Return a record and the events of its history, which is whole."""
    fields = dict(row)
    record = decode(record_id, fields.pop(b"r"), fields.pop(b"b"))
    assert record is not None
    lines = [HistoryView.model_validate_json(line) for line in fields.values()]
    lines.sort(key=lambda line: line.sequence)
    assert_chained(lines, record)
    return record, tuple(line.event for line in lines)


def check_whole(found: Found) -> None:
    """Check that every record stands in its lists and on its agendas, and nothing else does."""
    for record_id, record in found.records.items():
        lists, due = found.indexes[record_id], found.agendas[record_id]
        assert lists == record.indexes(), f"{record} stands in {lists}"
        assert set(due) == {service.value for service in record.due()}, f"{record} is due {due}"
    strays = {*found.indexes, *found.agendas} - set(found.records)
    assert not strays, f"there are no records {strays}"


def seen(found: Found, case: Case) -> State:
    """Return what is seen of one approval."""
    asked = found.records.get(case.approval_id)
    source = found.records.get(case.action_id or "")
    assert isinstance(asked, Approval | None)
    assert isinstance(source, Action | None)
    ids = {case.approval_id, case.action_id} - {None}
    heard = [e for e in found.feed if ids & {e.approval_id, getattr(e, "action_id", None)}]
    outcomes = [entry for entry in heard if isinstance(entry, Outcome)]
    ended = [record.outcome for record in (asked, source) if record and record.outcome]
    assert len(outcomes) == bool(ended), "exactly one outcome is heard if it has ended, else none"
    assert all(outcome == outcomes[0] for outcome in ended)
    state = State(
        case.state.setup,
        action=_paper(found, source),
        action_decision=_decision(source),
        heard=tuple(_entry(entry) for entry in heard),
    )
    if asked is None:
        return state
    finals = [event for event in found.events[asked.id] if event in FINAL]
    assert len(finals) == asked.status.is_final, "one final line if it has ended, else none"
    shown = (asked.context, asked.digest)
    assert shown == (model.CONTEXT, shown_digest(case.state.setup)), "what is shown never changes"
    return replace(
        state,
        approval=_paper(found, asked),
        deadline=asked.expires_at,
        version=asked.version,
        questions=tuple((q.asked_by, q.question, q.answer) for q in asked.questions),
        decision=_decision(asked),
    )


FINAL = ("approved", "modified", "rejected", "timed_out", "cancelled")


def _entry(entry: Outcome | Question) -> tuple[str, ...]:
    if isinstance(entry, Question):
        return ("question", entry.asked_by, entry.question)
    return ("outcome", entry.status.value, entry.decided_by)


def _paper(found: Found, record: Action | Approval | None) -> Paper | None:
    if record is None:
        return None
    deliveries = [
        made
        for made in found.records.values()
        if isinstance(made, Delivery) and made.source_id == record.id
    ]
    # Whatever was leased is due by the store's own clock, years after the machine's.
    soon = (BASE + timedelta(days=365)).timestamp() * 1000
    return Paper(
        history=found.events[record.id],
        owed=tuple((owed.service.value, owed.event, owed.at) for owed in record.outbox),
        timer=record.timers().get(Service.TRACKER),
        agenda=frozenset(
            (service, int(at) if at < soon else LEASED)
            for service, at in found.agendas[record.id].items()
        ),
        told=frozenset((d.event, d.version, d.channel, d.reviewer_id or "") for d in deliveries),
    )


def _decision(record: Action | Approval | None) -> Decision | None:
    if record is None or record.outcome is None:
        assert record is None or not record.status.is_final
        return None
    outcome = record.outcome
    assert outcome.status is record.status
    decision = Decision(
        outcome.status.value,
        outcome.decided_by,
        outcome.decided_at,
        outcome.comments,
        tuple((outcome.modifications or {}).items()),
    )
    assert outcome.approved_digest == decision.approved_digest, f"{outcome} approves another"
    return decision


# --- the machine --------------------------------------------------------------------------------

MEMBERS = st.sampled_from(model.MEMBERS)
QUESTIONS = st.sampled_from(["why?", "how?", "for whom?"])
FINALS = st.one_of(
    st.builds(Respond, MEMBERS, st.sampled_from(["approve", "reject"])),
    st.builds(Respond, MEMBERS, st.just("modify"), modifications=st.sampled_from(model.FITTING)),
)
ASKS = st.builds(Respond, MEMBERS, st.just("ask"), QUESTIONS)
CLUMSY = st.one_of(
    st.builds(Respond, MEMBERS, st.just("modify"), modifications=st.sampled_from(model.UNFIT)),
    st.builds(Respond, MEMBERS, st.just("approve"), modifications=st.sampled_from(model.FITTING)),
    st.just(Respond("alex", "ask")),
)
ANY_RESPONSES = st.builds(
    Respond,
    st.sampled_from(model.MEMBERS * 2 + model.ASKERS + model.OUTSIDERS),
    st.sampled_from(["approve", "modify", "modify", "reject", "ask"]),
    st.just("") | QUESTIONS,
    st.sampled_from(sorted(MODIFICATIONS)),
    st.sampled_from([0, 0, 0, -1, 1]),
    st.sampled_from(["right", "right", "right", "", "wrong"]),
)
ANSWERS = st.builds(Answer, st.sampled_from(["because", "so"]))
LOOKS = st.builds(Track, st.booleans(), st.booleans())
PLANS = st.builds(Plan)
WITHDRAWALS = st.builds(Withdraw)


def weighted(strategies: dict[st.SearchStrategy[Any], int]) -> st.SearchStrategy[Operation]:
    """Return a strategy that draws from each as often as its weight says."""
    return st.sampled_from([s for s, weight in strategies.items() for _ in range(weight)]).flatmap(
        lambda strategy: strategy
    )


RESPONSES = weighted({ASKS: 2, FINALS: 1, CLUMSY: 3, ANY_RESPONSES: 2})
OPERATIONS = weighted(
    {ASKS: 4, FINALS: 3, ANY_RESPONSES: 3, ANSWERS: 4, LOOKS: 4, PLANS: 2, WITHDRAWALS: 1}
)
INTERRUPTIONS = weighted({FINALS: 3, ANSWERS: 2, ASKS: 1, LOOKS: 1, PLANS: 1, WITHDRAWALS: 1})
CONTENDERS = 4
SETUPS = st.builds(Setup, st.booleans(), st.booleans(), st.booleans(), st.sampled_from([60, 600]))
NEWEST = -1
WHICH = st.sampled_from([NEWEST] * 5 + [0, 1, 2, 3])
LATE = st.sampled_from([False] * 23 + [True])
SEVERAL = st.lists(st.tuples(OPERATIONS, LATE), min_size=2, max_size=CONTENDERS)
ORDERS = st.lists(st.integers(0, CONTENDERS - 1), max_size=16)


@dataclass(frozen=True)
class Held:
    """What a process was about to write when it stopped."""

    case: Case
    operation: Operation
    progress: model.Progress
    changes: tuple[Change, ...]


class ApprovalMachine(RuleBasedStateMachine):
    """Approvals, and whatever may happen to them, in orders that come again."""

    url: ClassVar[str]
    product: ClassVar[Product] = Product()
    tally: ClassVar[Counter[str]]
    """How often there was which result, and how many steps there were."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.now = BASE
        self.written: list[tuple[Change, ...]] = []
        self.stores = [
            self.product.store(self.url, number, self.written) for number in range(CONTENDERS)
        ]
        self.cases: list[Case] = []
        self.held: list[Held] = []
        self.run(self.stores[0].redis.flushdb())

    def teardown(self) -> None:
        """Close the connections and the loop."""
        for store in self.stores:
            self.run(store.close())
        self.runner.close()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it on the machine's loop."""
        # Not the runner's own `run`, which sets a signal handler each time.
        return self.runner.get_loop().run_until_complete(coroutine)

    def case(self, which: int) -> Case:
        """Return an approval: the newest open one, or by its number."""
        waiting = [case for case in self.cases if case.state.decision is None]
        if which == NEWEST and waiting:
            return waiting[-1]
        return self.cases[which % len(self.cases)]

    def happen(
        self,
        case: Case,
        wanted: Sequence[Operation],
        late: Sequence[bool] = (),
        order: Sequence[int] | None = None,
    ) -> None:
        """Do things at the same time; what comes of them must be what some order leads to.

        Args:
            wanted: what is done, each by somebody who has looked at the approval just now.
            late: those to whom the deadline is there already.
            order: whose round trip comes next, each time; as it comes if None.
        """
        deadline = max(self.now, case.state.deadline or self.now)
        times = (deadline if is_late else self.now for is_late in (*late, *[False] * len(wanted)))
        operations = [one.aimed(case.state, now) for one, now in zip(wanted, times, strict=False)]
        self.now = max(operation.now for operation in operations)
        results = self.run(self._together(case, operations, order))
        self.tally.update(results)
        case.sent += [done for done in operations if isinstance(done, Respond)]
        case.allowed = explanations(case.state, operations, results)
        assert case.allowed, f"nothing explains {results} of {operations} on {case.state}"
        if len(case.allowed) == 1:
            (case.state,) = case.allowed

    async def _together(
        self, case: Case, operations: Sequence[Operation], order: Sequence[int] | None
    ) -> list[str]:
        turns = Turns(order) if order is not None else None
        running = []
        for store, operation in zip(self.stores, operations, strict=False):
            store.turns = turns
            running.append(perform(self.product, store, case, operation))
        results = await (turns or asyncio).gather(*running)
        for store in self.stores:
            store.turns = None
        return list(results)

    # --- what happens ---------------------------------------------------------------------------

    @initialize(first=SETUPS, second=SETUPS)
    def first_requests(self, first: Setup, second: Setup) -> None:
        """An agent asks twice."""
        for setup in (first, second):
            self.further_request(setup, True)

    @precondition(lambda self: 0 < len(self.cases) < 5)
    @rule(setup=SETUPS, opens=st.sampled_from([True, False]))
    def further_request(self, setup: Setup, opens: bool) -> None:
        """An agent asks once more; the tracker opens what must be opened, or has not come to it."""
        self.cases.append(self.run(open_case(self.stores[0], setup, self.now)))
        if opens and setup.by_action:
            self.happen(self.cases[-1], [Track()])

    @rule(which=WHICH, response=RESPONSES)
    def reviewer_responds(self, which: int, response: Operation) -> None:
        """In one of four ways, rightly or not."""
        self.happen(self.case(which), [response])

    @rule(which=WHICH, reviewer=MEMBERS, times=st.sampled_from([1] * 15 + [22]))
    def reviewer_asks(self, which: int, reviewer: str, times: int) -> None:
        """Once, or without end."""
        for number in range(times):
            self.happen(self.case(which), [Respond(reviewer, "ask", f"and {number}?")])

    @rule(which=WHICH, word=weighted({ANSWERS: 8, WITHDRAWALS: 1}))
    def agent_speaks(self, which: int, word: Operation) -> None:
        """It answers what it is asked, or withdraws."""
        self.happen(self.case(which), [word])

    @rule(which=WHICH, look=LOOKS | PLANS)
    def hint_comes(self, which: int, look: Operation) -> None:
        """The tracker or the notifier looks at what it is told to."""
        self.happen(self.case(which), [look])

    @rule(which=WHICH, index=st.integers(0, 20))
    def response_comes_again(self, which: int, index: int) -> None:
        """A response of before is replayed, exactly as it was: of who decided, or of who lost."""
        case = self.case(which)
        if case.sent:
            self.happen(case, [case.sent[index % len(case.sent)]])

    @rule(which=WHICH, several=SEVERAL, order=ORDERS)
    def several_at_once(
        self, which: int, several: list[tuple[Operation, bool]], order: list[int]
    ) -> None:
        """Several things, their round trips interleaved; to some the deadline is there already."""
        operations, late = zip(*several, strict=True)
        self.happen(self.case(which), operations, late, order)

    @rule(which=WHICH, look=LOOKS | PLANS, other=INTERRUPTIONS, order=ORDERS)
    def service_is_interrupted(
        self, which: int, look: Operation, other: Operation, order: list[int]
    ) -> None:
        """Something else happens between two round trips of the tracker or the notifier."""
        self.happen(self.case(which), [look, other], order=order)

    @rule(
        which=WHICH,
        until=st.sampled_from(["soon"] * 8 + ["the last moment", "the deadline", "later"]),
        tracked=st.booleans(),
    )
    def time_passes(self, which: int, until: str, tracked: bool) -> None:
        """Until a moment that matters; the tracker may look at it then."""
        case = self.case(which)
        deadline = case.state.deadline or self.now
        moments = {
            "soon": self.now + timedelta(seconds=2),
            "the last moment": deadline - timedelta(microseconds=1),
            "the deadline": deadline,
            "later": self.now + timedelta(seconds=30),
        }
        self.now = max(self.now, moments[until])
        if tracked:
            self.happen(case, [Track()])

    @rule(service=st.sampled_from([Service.TRACKER, Service.NOTIFIER]), dies=st.booleans())
    def clock_leases(self, service: Service, dies: bool) -> None:
        """A worker's clock leases what is due; the worker dies of it, or looks at all of it."""
        store = self.stores[0]
        store.clock = self.now
        ids, _ = self.run(store.lease(service, 1000))
        if not dies and service is Service.TRACKER:
            self.run(self.product.advance(store, ids))
        elif not dies:
            self.run(take_over(self.product, store, ids))
        kind = Track if service is Service.TRACKER else Plan
        for case in self.cases:
            looked = kind(case.action_id in ids, case.approval_id in ids, now=self.now)
            state = case.state
            for name in ("action", "approval"):
                paper = getattr(state, name)
                waits = paper and dict(paper.agenda).get(service.value, LEASED) != LEASED
                assert getattr(looked, name) or not waits, f"the {name} is due and was not leased"
                if getattr(looked, name):
                    state = replace(state, **{name: paper.leased(service.value)})
            case.allowed = {state} if dies else explanations(state, [looked], ["ok"])

    @rule(which=WHICH, operation=OPERATIONS)
    def process_stops_before_it_writes(self, which: int, operation: Operation) -> None:
        """Something is judged, and then for long nothing; see `process_goes_on`."""
        case = self.case(which)
        operation = operation.aimed(case.state, self.now)
        state, progress = model.until_it_writes(operation, case.state)
        store = self.stores[0]
        store.withholds = True
        try:
            result = self.run(perform(self.product, store, case, operation))
        except Withheld as withheld:
            result = "stopped"
            assert not isinstance(progress, str), f"{operation} would write; it ends in {progress}"
            self.held.append(Held(case, operation, progress, withheld.changes))
        else:
            assert result == progress, f"{operation} came to {result}, not {progress}"
        finally:
            store.withholds = False
        self.tally[result] += 1
        case.allowed = {state}

    @rule(which=WHICH, operation=OPERATIONS)
    def reply_is_lost(self, which: int, operation: Operation) -> None:
        """It is written, but whoever wrote it does not know, and does it once more."""
        case = self.case(which)
        operation = operation.aimed(case.state, self.now)
        state, expected = model.with_lost_reply(operation, case.state)
        store = self.stores[0]
        store.loses_reply = True
        result = self.run(perform(self.product, store, case, operation))
        store.loses_reply = False
        assert result == expected, f"{operation} without a reply came to {result}, not {expected}"
        self.tally[result] += 1
        case.allowed = {state}

    @rule(index=st.integers(0, 20))
    def process_goes_on(self, index: int) -> None:
        """It writes what it judged: only if the records have not moved on since."""
        if not self.held:
            return
        held = self.held[index % len(self.held)]
        case = held.case
        papers = {case.approval_id: case.state.approval, case.action_id: case.state.action}
        is_fresh = all(
            (change.before.revision if change.before else 0) == len(paper.history if paper else ())
            for change in held.changes
            if change.after.id in papers
            for paper in [papers[change.after.id]]
        )
        (written,) = self.run(self.stores[0].commit([held.changes]))
        assert (written is not None) == is_fresh, f"{is_fresh=}: {held}"
        self.tally["written late" if is_fresh else "stale"] += 1
        if is_fresh:
            case.allowed = {held.operation.step(case.state, held.progress)[0]}

    @rule(index=st.integers(0, 100))
    def commit_comes_again(self, index: int) -> None:
        """A transaction that was written is written again: the records have moved on, by it."""
        again = self.written[-1 - index % len(self.written)]
        assert self.run(self.stores[0].commit([again])) == [None], f"written twice: {again}"

    # --- what must hold -------------------------------------------------------------------------

    @invariant()
    def store_is_as_the_model_says(self) -> None:
        """Read everything, and hold it against the model."""
        self.tally["steps"] += 1
        found = self.run(read(self.stores[0].redis))
        check_whole(found)
        for case in self.cases:
            allowed = case.allowed or {case.state}
            state = seen(found, case)
            assert state in allowed, f"{state} is none of {allowed}"
            case.state, case.allowed = state, set()


class ConcurrentMachine(ApprovalMachine):
    """The same, and things that happen truly at the same time, so that nobody knows the order."""

    @rule(which=WHICH, several=SEVERAL)
    def several_race(self, which: int, several: list[tuple[Operation, bool]]) -> None:
        """Several things, each through a store of its own."""
        operations, late = zip(*several, strict=True)
        self.happen(self.case(which), operations, late)


# --- how it is run ------------------------------------------------------------------------------

SERIES = 10
"""After as many examples Hypothesis begins to repeat parts of what it drew: a new series draws
others. (In the same time that led to nearly three times as many different histories.)"""


def run_series(
    url: str,
    examples: int,
    seed: int,
    *,
    steps: int = 30,
    product: Product | None = None,
    kind: type[ApprovalMachine] = ConcurrentMachine,
    phases: Sequence[Phase] = tuple(Phase),
) -> Counter[str]:
    """Run a machine on a store server; return its tally.

    Raises:
        AssertionError: the store was not as the model says. What led to it is printed.
    """
    tally: Counter[str] = Counter()
    bound = {"url": url, "product": product or Product(), "tally": tally}
    for number in range(0, examples, SERIES):
        machine = hypothesis.seed(seed * 1_000_000 + number)(type("Machine", (kind,), bound))
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=min(SERIES, examples - number),
                stateful_step_count=steps,
                phases=phases,
                deadline=None,
                database=None,
                derandomize=False,  # since it is seeded
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
    return tally


def run_machine(examples: int, seed: int) -> int:
    """Run the machine on a store server of its own, for as long as anybody likes.

    Args:
        examples: how many runs, each of up to 50 steps from an empty store.
        seed: of what happens in them.

    Returns:
        How many steps were run and checked.

    Raises:
        AssertionError: the store was not as the model says. The shortest way to it is printed.
    """
    with tempfile.TemporaryDirectory() as folder, ValkeyServer.store(Path(folder)) as server:
        return run_series(server.url, examples, seed, steps=50)["steps"]


@pytest.fixture(scope="module")
def url(store_server: ValkeyServer) -> str:
    """Where the machines' store is."""
    return f"{store_server.url.rpartition('/')[0]}/{DATABASE}"


MUST_OCCUR = (
    *("done", "same", "ok", "stopped", "written late", "stale", "not_found", "self_approval"),
    *("not_a_reviewer", "expired", "stale_version", "unexpected_modifications", "nothing_changed"),
    *("wrong_type", "not_editable", "comments_required", "too_many_questions", "no_question"),
)


def test_whatever_happens_the_store_is_as_the_model_says(url: str) -> None:
    """Any interleaving of responses, replays, answers, time-outs, cancels and retries; and among
    them there was every refusal, and every outcome."""
    tally = run_series(url, 80, seed=6)
    words = {result.partition(":")[0] for result in tally}
    assert words >= set(MUST_OCCUR)
    ends = {result.rpartition(": ")[2] for result in tally if result.startswith("already")}
    assert ends == {event.upper() for event in FINAL}


# --- that it can fail ---------------------------------------------------------------------------

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
    await store.apply_all(approvals, Approval, approval.time_out, of=Service.TRACKER)


async def _answering_in_place(store: Store, approval_id: str, submission: AnswerSubmission) -> None:
    def rule(record: Approval | None, now: datetime) -> Change | None:
        if record is None:
            raise not_found("approval", approval_id)
        change = approval.answer(record, submission, now)
        return change and replace(change, after=with_(change.after, version=record.version))

    await store.apply(approval_id, Approval, rule)


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
                change = rule(record, now)
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
    "an answer makes no new version": Product(answer=_answering_in_place),
    "a decision is withdrawn": Product(withdraw=_withdrawing_what_is_decided),
    "a time-out is not heard": timing_out(
        lambda r, now: unheard(approval.time_out(r, now), "timed_out")
    ),
    "a time-out comes early": timing_out(lambda r, now: approval.time_out(r, now + MOMENT)),
    "a time-out ends what was decided": timing_out(
        lambda r, now: approval.time_out(with_(r, status=ActionStatus.PENDING), now)
    ),
    "an action is taken for closed": Product(advance=_striking_what_is_not_closed),
    "an action is never closed": Product(advance=_leaving_actions_open),
    "somebody is not told": Product(plan=_forgetting_somebody),
    "a commit does not compare": Product(store=_Blind),
    "a conflict is overruled": Product(store=_Stubborn),
    "an agenda is written by who is late": Product(store=_Meddling),
    "a list is never left": Product(store=_Hoarding),
}


@pytest.mark.parametrize("defect", BROKEN)
def test_a_broken_product_is_found(defect: str, url: str) -> None:
    """Each defect, alone, leads to a counterexample."""
    with pytest.raises(AssertionError):
        run_series(
            url,
            300,
            seed=3,
            product=BROKEN[defect],
            kind=ApprovalMachine,
            phases=[Phase.generate],
        )


APPROVES, REJECTS = Respond("alex", "approve"), Respond("sam", "reject")


@pytest.mark.parametrize(
    ("results", "count"),
    [
        (("done", "already_decided by alex: APPROVED"), 1),
        (("already_decided by sam: REJECTED", "done"), 1),
        (("done", "done"), 0),
        (("done", "already_decided by sam: REJECTED"), 0),
        (("already_decided by sam: REJECTED", "already_decided by alex: APPROVED"), 0),
        (("done", "same"), 0),
    ],
)
def test_of_two_at_once_one_wins(results: tuple[str, str], count: int) -> None:
    """The model explains that either was first, and nothing else."""
    state = model.opened(State(Setup(False, False, False, 60)), BASE)
    both = [operation.aimed(state, BASE) for operation in (APPROVES, REJECTS)]
    assert len(explanations(state, both, results)) == count
