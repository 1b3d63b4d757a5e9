"""Pausing an agent: who, why, and that it is told in the history."""

from __future__ import annotations

import pytest

from safeguards_runtime.records import AgentState, Refusal, agent_state
from safeguards_runtime.records.agent_state import PAUSED_INDEX, state_id
from tests.runtime.samples import NOW, at, done


def paused(reason: str = "It errs.") -> AgentState:
    change = agent_state.pause(None, "trader", paused_by="olga", reason=reason, now=NOW)
    return done(change, AgentState)


def test_a_pause_says_who_and_why() -> None:
    state = paused("  It errs.\n")
    assert state.id == state_id("trader")
    assert state.is_paused
    assert (state.paused_at, state.paused_by, state.reason) == (NOW, "olga", "It errs.")
    assert state.words() == "trader is paused by olga: It errs."
    assert state.indexes() == {PAUSED_INDEX}


def test_pausing_twice_keeps_the_first_reason() -> None:
    again = agent_state.pause(paused(), "trader", paused_by="sam", reason="Too.", now=at(1))
    assert again is None


@pytest.mark.parametrize(
    ("reason", "code"),
    [("", "reason_required"), (" \n", "reason_required"), ("x" * 501, "reason_too_long")],
)
def test_a_reason_is_asked_for(reason: str, code: str) -> None:
    with pytest.raises(Refusal) as refused:
        paused(reason)
    assert refused.value.code == code


def test_it_goes_on_and_can_be_paused_again() -> None:
    change = agent_state.resume(paused(), resumed_by="sam", now=at(60))
    state = done(change, AgentState)
    assert change
    assert (change.event, change.actor) == ("resumed", "reviewer:sam")
    assert change.detail["paused_by"] == "olga"
    assert not state.is_paused
    assert state.indexes() == frozenset()
    assert agent_state.resume(state, resumed_by="sam", now=at(61)) is None
    assert agent_state.resume(None, resumed_by="sam", now=at(61)) is None
    again = agent_state.pause(state, "trader", paused_by="sam", reason="Again.", now=at(62))
    assert done(again, AgentState).revision == 3
