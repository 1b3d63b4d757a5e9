"""What may become of an approval, said once more in a small model of its own, without the product's
rules, so that a test can hold the one against the other.

A `State` is all that anybody can see of one approval and of the action behind it. An operation
takes it onward step by step, where a step is what happens in one instant, and ends with a result:
`done`, `same` (nothing changed), `ok` (it does not say), or why it is refused. `explanations` says
in which states operations that ran at the same time may have left it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from safeguards_runtime.topology import HINT_GRACE_SECONDS, LEASE_SECONDS, Service

BASE = datetime(2020, 1, 1, tzinfo=UTC)
"""When every run begins. Long past, so that to the store's own clock, which leases, all is due."""

AGENT = "trader"
MEMBERS = ("alex", "sam")
ASKERS = ("kim", "pat")
"""For whom the agent acts, and who owns its key: members too, who may not answer."""

OUTSIDERS = ("olga",)
CONTEXT = {"amount": "2500.00", "payee": "ACME", "account": "77"}
EDITABLE = ("amount", "payee")
QUESTIONS = 20

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Modification:
    """What a reviewer may send as modifications: what really changes, and why it is refused."""

    sent: dict[str, Any] | None
    effect: Fields = ()
    refusal: str = ""


MODIFICATIONS = {
    "": Modification(None, (), "nothing_changed"),
    "empty": Modification({}, (), "nothing_changed"),
    "lower": Modification({"amount": "10.00"}, (("amount", "10.00"),)),
    "lower, and the rest": Modification(
        {"amount": "10.00", "payee": "ACME"}, (("amount", "10.00"),)
    ),
    "lowest": Modification({"amount": "1.00"}, (("amount", "1.00"),)),
    "respelt": Modification({"amount": "2500.0"}, (), "nothing_changed"),
    "in words": Modification({"amount": "ten"}, (("amount", "ten"),), "wrong_type"),
    "account": Modification({"account": "78"}, (("account", "78"),), "not_editable"),
}
FITTING = [name for name, wanted in MODIFICATIONS.items() if not wanted.refusal]
UNFIT = [name for name, wanted in MODIFICATIONS.items() if wanted.refusal and wanted.sent]


@dataclass(frozen=True)
class Setup:
    """How an approval comes about: for an action, or asked for directly."""

    by_action: bool
    silence_approves: bool
    has_callback: bool
    timeout_seconds: int


def sha256(value: Any) -> str:
    """Return the SHA-256 of canonical JSON (RFC 8785), which this is for ASCII strings."""
    encoded = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(encoded.encode()).hexdigest()


def shown_digest(setup: Setup) -> str:
    """Return the digest of what a reviewer is shown."""
    shown = {"agent_id": AGENT, "description": "", "context": CONTEXT}
    if setup.by_action:
        return sha256({**shown, "action_type": "transaction", "title": None})
    return sha256({**shown, "action_type": "request", "title": "Pay ACME"})


@dataclass(frozen=True)
class Decision:
    """How it ended."""

    status: str
    by: str
    at: datetime
    comments: str = ""
    changes: Fields = ()

    @property
    def approved_digest(self) -> str | None:
        """The digest of exactly what may run, if anything may."""
        allows = self.status in ("APPROVED", "MODIFIED")
        return sha256({**CONTEXT, **dict(self.changes)}) if allows else None

    @property
    def refusal(self) -> str:
        """What everybody hears who comes later."""
        return f"already_decided by {self.by}: {self.status}"


Owed = tuple[str, str, datetime]
"""A service, the event it must hear of, and since when."""

Message = tuple[str, int, str, str]
"""An event, the version it shows, the channel, and the reviewer or nobody."""

LEASED = -1
"""The time of an agenda's entry that some clock has leased."""


@dataclass(frozen=True)
class Paper:
    """What an approval and an action have in common.

    Attributes:
        history: the events.
        owed: the outbox.
        timer: when the tracker must look at it, apart from what is owed.
        agenda: each service on whose agenda it stands, and the milliseconds at which.
        told: the deliveries that were made for it.
    """

    history: tuple[str, ...]
    owed: tuple[Owed, ...] = ()
    timer: datetime | None = None
    agenda: frozenset[tuple[str, int]] = frozenset()
    told: frozenset[Message] = frozenset()

    def owes(self, service: str) -> bool:
        """Tell whether something is owed to a service."""
        return any(owed[0] == service for owed in self.owed)

    def changed(
        self, event: str, *, strike: Iterable[str] = (), post: Iterable[Owed] = (), **fields: Any
    ) -> Paper:
        """Return it with one more line, without what is owed to `strike`, with `post`."""
        left = (owed for owed in self.owed if owed[0] not in strike)
        owed = (*left, *post)
        after = replace(self, history=(*self.history, event), owed=owed, **fields)
        return replace(after, agenda=_entries(after.due()))

    def due(self) -> dict[str, datetime]:
        """Return when each service must look at it."""
        times = {Service.TRACKER.value: [self.timer]} if self.timer else {}
        for service, _, since in self.owed:
            times.setdefault(service, []).append(since + timedelta(seconds=HINT_GRACE_SECONDS))
        return {service: min(filter(None, found)) for service, found in times.items()}

    def settled(self, now: datetime) -> Paper:
        """Return it after somebody looked at it in vain: what is overdue waits as for a lease."""
        later = now + timedelta(seconds=LEASE_SECONDS)
        due = {service: at if at > now else later for service, at in self.due().items()}
        return replace(self, agenda=_entries(due))

    def leased(self, service: str) -> Paper:
        """Return it after a clock has leased it."""
        entries = ((name, LEASED if name == service else at) for name, at in self.agenda)
        return replace(self, agenda=frozenset(entries))


def _entries(due: Mapping[str, datetime]) -> frozenset[tuple[str, int]]:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return frozenset(
        (service, (at - epoch) // timedelta(milliseconds=1)) for service, at in due.items()
    )


Progress = tuple[Any, ...]
"""How far an operation has come, and what it has seen on its way."""


@dataclass(frozen=True)
class State:
    """All that can be seen of one approval and the action behind it."""

    setup: Setup
    approval: Paper | None = None
    action: Paper | None = None
    deadline: datetime | None = None
    version: int = 1
    questions: tuple[tuple[str, str, str | None], ...] = ()
    """By whom, what, and the answer."""

    decision: Decision | None = None
    action_decision: Decision | None = None
    heard: tuple[tuple[str, ...], ...] = ()
    """What the agent has heard, in this order."""

    @property
    def lines(self) -> int:
        """How many lines of history there are."""
        return sum(len(paper.history) for paper in (self.approval, self.action) if paper)


def judged(setup: Setup, now: datetime) -> State:
    """Return an action for which an approval must be opened."""
    owed = ((Service.TRACKER.value, "open_approval", now),)
    paper = Paper(("submitted",)).changed("judged_require_approval", post=owed)
    return State(setup, action=paper)


def opened(state: State, now: datetime) -> State:
    """Return it with its approval open."""
    deadline = now + timedelta(seconds=state.setup.timeout_seconds)
    owed = ((Service.NOTIFIER.value, "approval.requested", now),)
    paper = Paper((), timer=deadline).changed("opened", post=owed)
    return replace(state, approval=paper, deadline=deadline)


def _ended(state: State, decision: Decision) -> State:
    """Return it with its approval ended: the agent has heard it, the rest is owed."""
    assert state.approval is not None
    owed = [(Service.TRACKER.value, "close_action", decision.at)] if state.action else []
    owed.append((Service.NOTIFIER.value, "approval.resolved", decision.at))
    return replace(
        state,
        decision=decision,
        approval=state.approval.changed(
            decision.status.lower(), strike=[Service.NOTIFIER], post=owed, timer=None
        ),
        heard=(*state.heard, ("outcome", decision.status, decision.by)),
    )


@dataclass(frozen=True)
class Operation:
    """Something that is done to an approval, when the store's time is `now`."""

    now: datetime = field(default=BASE, repr=False, kw_only=True)

    def aimed(self, state: State, now: datetime) -> Self:
        """Return it as it is done at a time, by somebody who has looked at this state."""
        return replace(self, now=now)

    def step(self, state: State, progress: Progress) -> tuple[State, Progress | str]:
        """Return what its next step leads to: the state, and its further progress or its result."""
        raise NotImplementedError


@dataclass(frozen=True)
class Respond(Operation):
    """A reviewer answers.

    Attributes:
        seen: which version is named: the standing one (0), or so many before or after it.
        digest: which digest is named: `right`, `wrong` or none.
        modifications: a key of `MODIFICATIONS`.
    """

    reviewer: str
    kind: str
    comments: str = ""
    modifications: str = ""
    seen: int = 0
    digest: str = "right"
    version: int = field(default=0, repr=False)

    def aimed(self, state: State, now: datetime) -> Self:
        """Return it with the version it names, which a replay does already."""
        return replace(self, version=self.version or max(1, state.version + self.seen), now=now)

    def step(self, state: State, progress: Progress) -> tuple[State, str]:
        """Judge it, in one instant."""
        if state.approval is None or state.deadline is None:
            return state, "not_found"
        if self.reviewer in ASKERS:
            return state, "self_approval"
        if self.reviewer not in MEMBERS:
            return state, "not_a_reviewer"
        status = {"approve": "APPROVED", "modify": "MODIFIED", "reject": "REJECTED"}.get(self.kind)
        wanted = MODIFICATIONS[self.modifications]
        changes = Decision(str(status), self.reviewer, self.now, self.comments, wanted.effect)
        if state.decision is not None:
            repeats = replace(changes, at=state.decision.at) == state.decision
            return state, "same" if repeats else state.decision.refusal
        if self.now >= state.deadline:
            return state, "expired"
        if self.version != state.version or self.digest == "wrong":
            return state, f"stale_version: {state.version}"
        if wanted.sent and self.kind != "modify":
            return state, "unexpected_modifications"
        if self.kind == "ask":
            return self._ask(state, state.approval)
        if self.kind == "modify" and wanted.refusal:
            return state, wanted.refusal
        return _ended(state, changes), "done"

    def _ask(self, state: State, approval: Paper) -> tuple[State, str]:
        if not self.comments:
            return state, "comments_required"
        if (self.reviewer, self.comments, None) in state.questions:
            return state, "same"
        if len(state.questions) >= QUESTIONS:
            return state, "too_many_questions"
        after = replace(
            state,
            approval=approval.changed("asked"),
            questions=(*state.questions, (self.reviewer, self.comments, None)),
            heard=(*state.heard, ("question", self.reviewer, self.comments)),
        )
        return after, "done"


@dataclass(frozen=True)
class Answer(Operation):
    """The agent answers the first question that was open when it spoke."""

    text: str

    def step(self, state: State, progress: Progress) -> tuple[State, Progress | str]:
        """Look for the question; then answer it."""
        if state.approval is None or state.deadline is None:
            return state, "not_found"
        first = next((n for n, asked in enumerate(state.questions) if asked[2] is None), None)
        if not progress:
            return state, (first,)
        position = first if progress[0] is None else progress[0]
        meant = state.questions[-1 if position is None else position :][:1]
        if meant and meant[0][2] == self.text:
            return state, "same"
        if state.decision is not None:
            return state, state.decision.refusal
        if self.now >= state.deadline:
            return state, "expired"
        if position is None or meant[0][2] is not None:
            return state, "no_question"
        questions = list(state.questions)
        questions[position] = (*questions[position][:2], self.text)
        owed = (Service.NOTIFIER.value, "approval.answered", self.now)
        after = replace(
            state,
            approval=state.approval.changed("answered", post=[owed]),
            questions=tuple(questions),
            version=state.version + 1,
        )
        return after, "done"


@dataclass(frozen=True)
class Withdraw(Operation):
    """The agent withdraws: the approval, or the action before its approval is open."""

    def step(self, state: State, progress: Progress) -> tuple[State, str]:
        """Withdraw what there is, in one instant."""
        standing = state.decision if state.approval else state.action_decision
        if standing is not None:
            return state, "same" if standing.status == "CANCELLED" else standing.refusal
        decision = Decision("CANCELLED", f"agent:{AGENT}", self.now)
        if state.approval:
            return _ended(state, decision), "done"
        assert state.action is not None
        told = (Service.NOTIFIER.value, "action.resolved", self.now)
        post = [told] if state.setup.has_callback else []
        after = replace(
            state,
            action=state.action.changed("withdrawn", strike=[Service.TRACKER], post=post),
            action_decision=decision,
            heard=(*state.heard, ("outcome", decision.status, decision.by)),
        )
        return after, "done"


@dataclass(frozen=True)
class _Look(Operation):
    """A service looks at the action, the approval or both."""

    action: bool = True
    approval: bool = True

    def aimed(self, state: State, now: datetime) -> Self:
        """Return it for what there is: nobody hints at a record before it is there."""
        action, approval = self.action and state.action, self.approval and state.approval
        return replace(self, action=bool(action), approval=bool(approval), now=now)


@dataclass(frozen=True)
class Track(_Look):
    """The tracker does what is to be done."""

    def step(self, state: State, progress: Progress) -> tuple[State, Progress | str]:
        """Open; then expire, close the action, and strike that off the approval."""
        stages: list[Callable[[State, bool], tuple[State, bool]]] = [self._open] * self.action
        stages += [self._expire, self._close, self._strike] * self.approval
        if not stages:
            return state, "ok"
        at, seen = progress or (0, False)
        state, seen = stages[at](state, seen)
        return state, (at + 1, seen) if at + 1 < len(stages) else "ok"

    def _open(self, state: State, _: bool) -> tuple[State, bool]:
        assert state.action is not None
        if not state.action.owes(Service.TRACKER):
            return replace(state, action=state.action.settled(self.now)), False
        handed = state.action.changed("approval_opened", strike=[Service.TRACKER])
        return opened(replace(state, action=handed), self.now), False

    def _expire(self, state: State, _: bool) -> tuple[State, bool]:
        """Return also whether there is an action to close."""
        assert state.deadline is not None
        if state.decision is None and self.now >= state.deadline:
            status, why = "TIMED_OUT", ""
            if state.setup.silence_approves:
                status, why = "APPROVED", "nobody objected in time"
            state = _ended(state, Decision(status, "nobody", self.now, why))
        return state, state.approval is not None and state.approval.owes(Service.TRACKER)

    def _close(self, state: State, seen: bool) -> tuple[State, bool]:
        if not seen or state.action is None:
            return state, False
        if state.action_decision is not None:
            return replace(state, action=state.action.settled(self.now)), True
        closed = state.action.changed("closed", strike=[Service.TRACKER])
        return replace(state, action=closed, action_decision=state.decision), True

    def _strike(self, state: State, seen: bool) -> tuple[State, bool]:
        assert state.approval is not None
        if seen and state.approval.owes(Service.TRACKER):
            after = state.approval.changed("action_closed", strike=[Service.TRACKER])
        else:
            after = state.approval.settled(self.now)
        return replace(state, approval=after), False


@dataclass(frozen=True)
class Plan(_Look):
    """The notifier takes over what the action, the approval or both owe it."""

    def step(self, state: State, progress: Progress) -> tuple[State, Progress | str]:
        """Plan for the action; then for the approval."""
        if self.action and not progress:
            assert state.action is not None
            state = replace(state, action=self._planned(state.action, state))
            return state, ("action",) if self.approval else "ok"
        if self.approval:
            assert state.approval is not None
            state = replace(state, approval=self._planned(state.approval, state))
        return state, "ok"

    def _planned(self, paper: Paper, state: State) -> Paper:
        if not paper.owes(Service.NOTIFIER):
            return paper.settled(self.now)
        told = set(paper.told)
        for service, event, _ in paper.owed:
            if service != Service.NOTIFIER:
                continue
            if event in ("approval.requested", "approval.answered"):
                told |= {(event, state.version, "email", member) for member in MEMBERS}
            elif state.setup.has_callback:
                told.add((event, state.version, "callback", ""))
            if event.startswith("approval."):
                told.add((event, state.version, "hook", ""))
        return paper.changed("notified", strike=[Service.NOTIFIER], told=frozenset(told))


def until_it_writes(operation: Operation, state: State) -> tuple[State, Progress | str]:
    """Return the state just before an operation first writes, and its progress until there.

    If it writes nothing, its result is returned in place of the progress.
    """
    progress: Progress | str = ()
    while not isinstance(progress, str):
        after, further = operation.step(state, progress)
        if after.lines > state.lines:
            break
        state, progress = after, further
    return state, progress


def with_lost_reply(operation: Operation, state: State) -> tuple[State, Progress | str]:
    """Return what becomes of an operation that does not hear of its first write, and so does once
    more what it did last; and its result."""
    state, progress = until_it_writes(operation, state)
    if isinstance(progress, str):
        return state, progress
    state, _ = operation.step(state, progress)
    while not isinstance(progress, str):
        state, progress = operation.step(state, progress)
    return state, "done" if progress == "same" else progress


def explanations(
    state: State, operations: Sequence[Operation], results: Sequence[str]
) -> set[State]:
    """Return every state in which these operations may leave the records.

    Args:
        state: as it was before any of them began.
        operations: what ran at the same time.
        results: what came of each.
    """
    found: set[State] = set()
    visited = set()
    ahead: list[tuple[State, tuple[Progress | str, ...]]] = [(state, ((),) * len(operations))]
    while ahead:
        standing, progresses = ahead.pop()
        if (standing, progresses) in visited:
            continue
        visited.add((standing, progresses))
        if all(isinstance(progress, str) for progress in progresses):
            found.add(standing)
        for number, (operation, progress) in enumerate(zip(operations, progresses, strict=True)):
            if isinstance(progress, str):
                continue
            after, further = operation.step(standing, progress)
            if not isinstance(further, str) or further == results[number]:
                moved = (*progresses[:number], further, *progresses[number + 1 :])
                ahead.append((after, moved))
    return found
