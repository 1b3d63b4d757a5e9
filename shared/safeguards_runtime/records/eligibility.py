"""Who may answer an approval, and for whom. No I/O."""

from __future__ import annotations

from collections.abc import Mapping, Set

from safeguards_runtime.records.approval_record import Approval
from safeguards_runtime.records.record import Refusal


def answers_for(
    approval: Approval,
    reviewer_id: str,
    groups: Set[str],
    *,
    is_asker: bool = False,
    mandates: Mapping[str, Set[str]] | None = None,
) -> str | None:
    """Return for whom a reviewer would answer: None for themself.

    Args:
        approval: as it stands in the store.
        reviewer_id: who it is.
        groups: the groups the reviewer belongs to.
        is_asker: whether the reviewer is among `approval.askers`, under whatever name.
        mandates: the groups of each reviewer who is away and for whom this one stands in now;
            without those who ask.

    Raises:
        Refusal: `self_approval`, `not_a_reviewer`.
    """
    if is_asker or reviewer_id in approval.askers:
        raise Refusal("self_approval", "whoever asks may not answer: somebody else must decide")
    wanted = set(approval.groups)
    if groups & wanted:
        return None
    absent = [who for who, their_groups in (mandates or {}).items() if their_groups & wanted]
    if not absent:
        names = ", ".join(approval.groups)
        raise Refusal("not_a_reviewer", f"only members of these groups may answer: {names}")
    # Rather for somebody whose approval has not been given yet.
    voted = {who for vote in approval.votes for who in vote.people}
    return next((who for who in absent if who not in voted), absent[0])
