"""The rules of an action, without I/O."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeguards.canonical import digest
from safeguards.contracts import ActionSubmission, Outcome, Verdict
from safeguards.types import ActionStatus
from safeguards_runtime.records import Action, Refusal, opening
from safeguards_runtime.records import action as rules
from safeguards_runtime.topology import Service
from tests.runtime.samples import assert_chained, at, done, judgement, submitted


def _judged(verdict: Verdict, **submission: Any) -> Action:
    change = rules.judge(submitted(**submission), judgement(verdict, reasons=("because",)), at(1))
    return done(change, Action)


def test_a_submission_is_to_be_evaluated() -> None:
    """The evaluator is owed it, at once by a hint and after the grace by the agenda."""
    action = submitted()
    assert (action.status, set(action.due())) == (ActionStatus.PENDING, {Service.EVALUATOR})
    assert action.due()[Service.EVALUATOR] == at(5)


@pytest.mark.parametrize("verdict", [Verdict.ALLOW, Verdict.NOTIFY])
def test_an_allowed_action_has_its_outcome_at_once(verdict: Verdict) -> None:
    """Approved by the policy, with the digest of what may run."""
    action = _judged(verdict)
    assert action.outcome is not None
    assert (action.status, action.outcome.decided_by) == (ActionStatus.APPROVED, "policy")
    assert action.outcome.approved_digest == digest(action.context)


def test_a_denied_action_says_why() -> None:
    action = _judged(Verdict.DENY)
    assert action.outcome is not None
    assert (action.status, action.outcome.comments) == (ActionStatus.REJECTED, "because")
    assert action.outcome.approved_digest is None


def test_an_action_that_needs_approval_has_no_outcome() -> None:
    """The tracker is owed it; nothing is heard yet."""
    change = rules.judge(submitted(), judgement(Verdict.REQUIRE_APPROVAL), at(1))
    action = done(change, Action)
    assert change is not None
    assert (change.feed, action.outcome, set(action.due())) == ((), None, {Service.TRACKER})


def test_only_notify_tells_people() -> None:
    told = {verdict: _judged(verdict).owes(Service.NOTIFIER) for verdict in Verdict}
    assert [verdict for verdict, entries in told.items() if entries] == [Verdict.NOTIFY]


@pytest.mark.parametrize("verdict", [Verdict.ALLOW, Verdict.NOTIFY, Verdict.DENY])
def test_an_outcome_is_called_back(verdict: Verdict) -> None:
    action = _judged(verdict, callback_url="https://agent.example/done")
    assert "action.resolved" in [entry.event for entry in action.owes(Service.NOTIFIER)]


def test_an_action_is_judged_once() -> None:
    """A second evaluation, by a message that came twice, changes nothing."""
    for verdict in Verdict:
        assert rules.judge(_judged(verdict), judgement(Verdict.ALLOW), at(2)) is None


def test_a_withdrawn_action_is_not_judged() -> None:
    """The evaluator comes late: the action stays cancelled, and one outcome was heard."""
    withdrawn = done(rules.withdraw(submitted(), at(1)), Action)
    assert withdrawn.status is ActionStatus.CANCELLED
    assert rules.judge(withdrawn, judgement(Verdict.ALLOW), at(2)) is None
    assert withdrawn.due() == {}


def test_what_waits_for_its_approval_can_be_withdrawn() -> None:
    """Judged, but not yet open: nothing is left for the tracker."""
    withdrawn = done(rules.withdraw(_judged(Verdict.REQUIRE_APPROVAL), at(2)), Action)
    assert withdrawn.due() == {}


@pytest.mark.parametrize("verdict", [Verdict.ALLOW, Verdict.DENY])
def test_what_has_ended_is_not_withdrawn(verdict: Verdict) -> None:
    with pytest.raises(Refusal) as refused:
        rules.withdraw(_judged(verdict), at(2))
    assert refused.value.code == "already_decided"


def test_withdrawing_again_changes_nothing() -> None:
    """As with an approval: the answer to the first request may have been lost."""
    withdrawn = done(rules.withdraw(submitted(), at(1)), Action)
    assert rules.withdraw(withdrawn, at(2)) is None


def test_a_withdrawal_is_called_back_as_every_outcome_is() -> None:
    """Whether the approval was open already makes no difference to who asked to be called."""
    action = submitted(callback_url="https://agent.example/done")
    withdrawn = done(rules.withdraw(action, at(1)), Action)
    assert [entry.event for entry in withdrawn.owes(Service.NOTIFIER)] == ["action.resolved"]


def test_the_outcome_of_its_approval_is_carried_over_once() -> None:
    """Without being heard again: the agent has heard it from the approval."""
    action = _judged(Verdict.REQUIRE_APPROVAL)
    opened = opening.open_for(action, at(2))
    assert opened is not None
    action = done(opened[1], Action)
    outcome = Outcome(
        status=ActionStatus.APPROVED,
        verdict=Verdict.REQUIRE_APPROVAL,
        agent_id="trader",
        decided_by="alex",
        decided_at=at(3),
    )
    change = rules.close(action, outcome, at(4))
    closed = done(change, Action)
    assert change is not None
    assert (change.feed, closed.outcome, closed.due()) == ((), outcome, {})
    assert rules.close(closed, outcome, at(5)) is None


def test_a_withdrawn_action_is_not_closed_by_another_outcome() -> None:
    """Cancelled stays cancelled."""
    withdrawn = done(rules.withdraw(submitted(), at(1)), Action)
    approved = _judged(Verdict.ALLOW).outcome
    assert approved is not None
    assert rules.close(withdrawn, approved, at(2)) is None


STEPS = ["withdraw", "open", "close", "told", *Verdict]


@given(st.lists(st.sampled_from(STEPS), max_size=12))
def test_whatever_happens_an_action_has_one_outcome(steps: list[str]) -> None:
    """In any order of events: one outcome at most, never replaced; a history that verifies."""
    change = rules.submit(
        submitted().id, _submission(), key_id="key_x", owner=None, now=at(0), claims=None
    )
    record, line = change.sealed()
    lines, heard = [line], 0
    for seconds, step in enumerate(steps, 1):
        assert isinstance(record, Action)
        before = record
        try:
            next_ = _step(record, step, seconds)
        except Refusal:
            continue
        if next_ is None:
            continue
        record, line = next_.sealed()
        assert isinstance(record, Action)
        lines.append(line)
        heard += len(next_.feed)
        assert before.outcome in (None, record.outcome)
    assert heard <= 1
    assert_chained(lines, record)


def _submission() -> ActionSubmission:
    return ActionSubmission(agent_id="trader", action_type="transaction", context={"amount": "1"})


def _step(action: Action, step: str, seconds: int) -> Any:
    now = at(seconds)
    match step:
        case "withdraw":
            return rules.withdraw(action, now)
        case "open":
            opened = opening.open_for(action, now)
            return opened and opened[1]
        case "close":
            outcome = _judged(Verdict.ALLOW).outcome
            assert outcome is not None
            return rules.close(action, outcome, now)
        case "told":
            events = tuple(entry.event for entry in action.owes(Service.NOTIFIER))
            return rules.told(action, events, 1, now) if events else None
        case _:
            return rules.judge(action, judgement(Verdict(step)), now)
