"""Who may do nothing: the agents that somebody has paused."""

from __future__ import annotations

from safeguards_runtime.records import AgentState
from safeguards_runtime.records.agent_state import PAUSED_INDEX, state_id
from safeguards_runtime.store import Store
from services.safeguard_evaluator.judging import Halted


async def halted_now(store: Store) -> Halted:
    """Return why an agent may do nothing, as it is now."""
    (ids,) = await store.listed_whole([PAUSED_INDEX])
    _, records = await store.load(ids) if ids else (None, [])
    paused = {record.id: record for record in records if isinstance(record, AgentState)}

    def halted(agent_id: str, action_type: str) -> str | None:
        state = paused.get(state_id(agent_id)) if paused else None
        return state.words() if state is not None and state.is_paused else None

    return halted
