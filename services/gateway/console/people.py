"""What people did, with their names: who ended a request, and how."""

from __future__ import annotations

from safeguards.text import visible
from safeguards.types import ActionStatus
from safeguards_runtime.records import AgentState
from services.gateway.parts import Parts
from services.gateway.wording import ENDINGS

NAME_LIMIT = 60


def person(gateway: Parts, reviewer_id: str) -> str:
    """Return the name of a reviewer; the id of one who is none any more. It is visible text."""
    known = gateway.directory.get(reviewer_id)
    name = known.name if known else reviewer_id
    return visible(name, single_line=True, limit=NAME_LIMIT)


def ending(
    gateway: Parts, status: ActionStatus, decided_by: str | None, decided_for: str | None = None
) -> str:
    """Return how a request ended and by whom: `Approved by Alex for Sam`. It is visible text.

    Args:
        gateway: knows the names.
        status: as it ended, or stands.
        decided_by: as in its outcome.
        decided_for: as in its outcome.
    """
    words = ENDINGS[status]
    if decided_by is None or decided_by == "nobody":
        return words if status is ActionStatus.TIMED_OUT else f"{words}: nobody answered"
    if decided_by == "policy":
        return f"{words} by policy"
    if decided_by.startswith("agent:"):
        return f"{words} by the agent"
    by = person(gateway, decided_by)
    return f"{words} by {by}" + (f" for {person(gateway, decided_for)}" if decided_for else "")


def pause_words(gateway: Parts, state: AgentState | None) -> str:
    """Return who has paused an agent, and why; empty if nobody has. It is visible text."""
    if state is None or not state.is_paused:
        return ""
    reason = visible(state.reason, single_line=True)
    return f"This agent has been paused by {person(gateway, state.paused_by or '')}: {reason}"
