"""What people did to decide an approval, and how long each had it before them. No I/O."""

from __future__ import annotations

from dataclasses import dataclass

from safeguards.contracts import Outcome
from safeguards.types import ActionStatus
from safeguards_runtime.records.approval_record import Approval

NOBODY = "nobody"
BY_PEOPLE = frozenset({ActionStatus.APPROVED, ActionStatus.MODIFIED, ActionStatus.REJECTED})


@dataclass(frozen=True)
class Answered:
    """One reviewer's answer to one version of a request."""

    reviewer_id: str
    seconds_since_view: float | None
    """Since they first saw that version in the console; None if they did not."""


def is_by_people(outcome: Outcome) -> bool:
    """Tell whether it was people who decided."""
    # Changed arguments may be refused by a policy: nobody has decided that.
    return outcome.status in BY_PEOPLE and outcome.decided_by not in (NOBODY, "policy")


def answers(approval: Approval) -> tuple[Answered, ...]:
    """Return the answers to the version that was decided: the votes, and the one that ended it.
    None if no person decided it."""
    outcome = approval.outcome
    if outcome is None or not is_by_people(outcome):
        return ()
    given = {vote.reviewer_id: vote.at for vote in approval.votes}
    given.setdefault(outcome.decided_by, outcome.decided_at)
    seen = {
        view.reviewer_id: view.at for view in approval.views if view.version == approval.version
    }
    return tuple(
        Answered(who, (at - seen[who]).total_seconds() if who in seen else None)
        for who, at in given.items()
    )
