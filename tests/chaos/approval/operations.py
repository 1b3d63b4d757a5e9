"""What may be done to an approval, and what becomes of it, said once more by the model.

An operation takes a `State` onward step by step, where a step is what happens in one instant, and
ends with a result: `done`, `same` (nothing changed), `ok` (it does not say), or why it is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Self

from safeguards_runtime.topology import Service
from tests.chaos.approval.model import (
    AGENT,
    ASKERS,
    BASE,
    MAX_QUESTIONS,
    MEMBERS,
    MODIFICATIONS,
    Decision,
    Paper,
    State,
    ended,
    opened,
)

Progress = tuple[Any, ...]
"""How far an operation has come, and what it has seen on its way."""


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
        """Return it with the version it names, which a replay does already. Where several must
        approve, nobody changes anything here: they approve instead."""
        kind = "approve" if self.kind == "modify" and state.setup.quorum > 1 else self.kind
        version = self.version or max(1, state.version + self.seen)
        return replace(self, kind=kind, version=version, now=now)

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
        by = (*dict(state.votes), self.reviewer) if self.kind in ("approve", "modify") else ()
        changes = Decision(str(status), self.reviewer, self.now, self.comments, wanted.effect, by)
        if state.decision is not None:
            return state, "same" if self._repeats(state, changes) else state.decision.refusal
        if self._voted(state):
            return state, "same"
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
        if self.kind == "approve" and state.setup.quorum > 1:
            votes = (*state.votes, (self.reviewer, self.comments))
            if len(votes) < state.setup.quorum:
                return replace(state, approval=state.approval.changed("voted"), votes=votes), "done"
            state = replace(state, votes=votes)
        return ended(state, changes), "done"

    def _repeats(self, state: State, changes: Decision) -> bool:
        """Tell whether it is what ended it, or one of the approvals that did."""
        decision = state.decision
        assert decision is not None
        if self.version != state.version or self.digest == "wrong":
            return False
        if state.setup.quorum > 1 and self.kind == "approve":
            voted = (self.reviewer, self.comments) in state.votes
            return voted and self.reviewer in decision.approvers and not changes.changes
        return replace(changes, at=decision.at) == decision

    def _voted(self, state: State) -> bool:
        """Tell whether it is an approval that counts already."""
        return (
            self.kind == "approve"
            and self.reviewer in dict(state.votes)
            and (self.version, self.digest == "wrong") == (state.version, False)
            and not MODIFICATIONS[self.modifications].sent
        )

    def _ask(self, state: State, approval: Paper) -> tuple[State, str]:
        if not self.comments:
            return state, "comments_required"
        if (self.reviewer, self.comments, None) in state.questions:
            return state, "same"
        if len(state.questions) >= MAX_QUESTIONS:
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
    """The agent answers the first question that was open when it spoke.

    Attributes:
        key: the idempotency key, if any: the answer is taken once with it, for one question only.
    """

    text: str
    key: str = ""

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
        if self.key in dict(state.claims):
            repeats = (self.key, self.text) in state.claims
            return state, "same" if repeats else "idempotency_key_reused"
        if state.decision is not None:
            return state, state.decision.refusal
        if self.now >= state.deadline:
            return state, "expired"
        if position is None or meant[0][2] is not None:
            return state, "no_question"
        claims = {(self.key, self.text)} if self.key else set()
        questions = list(state.questions)
        questions[position] = (*questions[position][:2], self.text)
        owed = (Service.NOTIFIER.value, "approval.answered", self.now)
        after = replace(
            state,
            approval=state.approval.changed("answered", post=[owed]),
            questions=tuple(questions),
            version=state.version + 1,
            votes=(),
            claims=state.claims | claims,
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
            return ended(state, decision), "done"
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
            if state.setup.silence_approves and _could_object(state):
                status, why = "APPROVED", "nobody objected in time"
            state = ended(state, Decision(status, "nobody", self.now, why))
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


def _could_object(state: State) -> bool:
    """Tell whether silence is consent: people were told of what stands there, and nobody has asked
    anything. Where several must approve, nobody's silence stands for them."""
    assert state.approval is not None
    were_told = ("approval.requested", 1, "email", MEMBERS[0]) in state.approval.told
    return were_told and state.version == 1 and not state.questions and state.setup.quorum == 1


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
        people_are_asked = False
        for service, event, _ in paper.owed:
            if service != Service.NOTIFIER:
                continue
            if event in ("approval.requested", "approval.answered"):
                # For several reasons at once, people get one message, for the first of them.
                if not people_are_asked or (event, state.version, "email", MEMBERS[0]) in told:
                    silent = [member for member in MEMBERS if member not in dict(state.votes)]
                    told |= {(event, state.version, "email", member) for member in silent}
                people_are_asked = True
            elif state.setup.has_callback:
                told.add((event, state.version, "callback", ""))
            if event.startswith("approval."):
                told.add((event, state.version, "hook", ""))
        return paper.changed("notified", strike=[Service.NOTIFIER], told=frozenset(told))
