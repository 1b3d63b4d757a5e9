"""What people did, with their names: who ended a request, and how."""

from __future__ import annotations

from safeguards.text import visible
from safeguards.types import ActionStatus
from safeguards_runtime.records import Approval, Halts
from safeguards_runtime.records.account import OPERATOR
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


def actor(gateway: Parts, by: str) -> str:
    """Return the name of who did something, from how histories name them. It is visible text."""
    if by == OPERATOR:
        return "an operator by command"
    return person(gateway, by.removeprefix("reviewer:"))


def halt_words(gateway: Parts, halts: Halts, asked: Approval) -> str:
    """Return who has halted an agent or its type of action, and why, while it waits for people;
    empty if nobody has. It is visible text."""
    found = halts.on(asked.agent_id, asked.action_type) if asked.outcome is None else None
    return found.words(actor(gateway, found.by)) if found else ""
