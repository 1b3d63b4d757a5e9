"""What the console knows of an agent: whether somebody has paused it. No I/O."""

from __future__ import annotations

from datetime import datetime

from safeguards.identifiers import named_id
from safeguards_runtime.records.record import Change, Record, Refusal

PAUSED_INDEX = "agents:paused"
"""The list of the agents that are paused."""

MAX_REASON_LENGTH = 500


class AgentState(Record):
    """An agent that has been paused once. One that never was has no record."""

    agent_id: str
    paused_at: datetime | None = None
    paused_by: str | None = None
    """A reviewer's id."""

    reason: str = ""

    @property
    def is_paused(self) -> bool:
        """Whether its actions are denied."""
        return self.paused_at is not None

    def indexes(self) -> frozenset[str]:
        """Return the list of paused agents, while it is."""
        return frozenset({PAUSED_INDEX}) if self.is_paused else frozenset()

    def words(self) -> str:
        """Return who has paused it, and why."""
        return f"{self.agent_id} is paused by {self.paused_by}: {self.reason}"


def state_id(agent_id: str) -> str:
    """Return the identifier of what is known of an agent."""
    return named_id("agt", agent_id)


def pause(
    state: AgentState | None, agent_id: str, *, paused_by: str, reason: str, now: datetime
) -> Change | None:
    """Deny an agent's actions from now on, and refuse its questions. None if it is paused already.

    Args:
        state: as it stands in the store; None if the agent was never paused.
        agent_id: the agent.
        paused_by: the id of the reviewer who does it.
        reason: why; the agent and those who look after it are told.
        now: the store's clock, UTC.

    Raises:
        Refusal: `reason_required`, `reason_too_long`.
    """
    reason = reason.strip()
    if state is not None and state.is_paused:
        return None
    if not reason:
        raise Refusal("reason_required", "say why: the agent and its operators are told")
    if len(reason) > MAX_REASON_LENGTH:
        raise Refusal("reason_too_long", f"say it in at most {MAX_REASON_LENGTH} characters")
    before = state or AgentState(id=state_id(agent_id), agent_id=agent_id)
    update = {"paused_at": now, "paused_by": paused_by, "reason": reason}
    after = before.model_copy(update=update)
    return Change(state, after, "paused", f"reviewer:{paused_by}", now, {"reason": reason})


def resume(state: AgentState | None, *, resumed_by: str, now: datetime) -> Change | None:
    """Let an agent go on. None if it is not paused. What was denied meanwhile stays denied.

    Args:
        state: as it stands in the store; None if the agent was never paused.
        resumed_by: the id of the reviewer who does it.
        now: the store's clock, UTC.
    """
    if state is None or state.paused_at is None:
        return None
    after = state.model_copy(update={"paused_at": None, "paused_by": None, "reason": ""})
    detail = {"paused_at": state.paused_at.isoformat(), "paused_by": state.paused_by}
    return Change(state, after, "resumed", f"reviewer:{resumed_by}", now, detail)
