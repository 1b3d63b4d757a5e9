"""The machine: does to the product what is drawn, and holds the store against the model."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from safeguards_runtime.records import Change
from safeguards_runtime.topology import Service
from tests.chaos.approval.drawn import (
    ANSWERS,
    CONTENDERS,
    INTERRUPTIONS,
    LOOKS,
    MEMBERS,
    NEWEST,
    OPERATIONS,
    ORDERS,
    PLANS,
    RESPONSES,
    SETUPS,
    SEVERAL,
    WHICH,
    WITHDRAWALS,
    weighted,
)
from tests.chaos.approval.explaining import explanations, until_it_writes, with_lost_reply
from tests.chaos.approval.model import BASE, LEASED, Setup
from tests.chaos.approval.operations import Answer, Operation, Plan, Progress, Respond, Track
from tests.chaos.approval.product import Case, Product, open_case, perform, take_over
from tests.chaos.approval.seen import check_whole, read, seen
from tests.chaos.approval.stepped import Turns, Withheld

T = TypeVar("T")


@dataclass(frozen=True)
class Held:
    """What a process was about to write when it stopped."""

    case: Case
    operation: Operation
    progress: Progress
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

    @rule(which=WHICH, reviewer=MEMBERS, again=st.sampled_from(["because", "so"]))
    def agent_repeats(self, which: int, reviewer: str, again: str) -> None:
        """It answers, and with the same key once more when there is another question."""
        case = self.case(which)
        for text in ("because", again):
            self.happen(case, [Respond(reviewer, "ask", "why?")])
            self.happen(case, [Answer(text, "one")])

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
        if isinstance(operation, Answer):
            # Only by writing is a key found to be taken.
            operation = replace(operation, key="")
        operation = operation.aimed(case.state, self.now)
        state, progress = until_it_writes(operation, case.state)
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
        state, expected = with_lost_reply(operation, case.state)
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
