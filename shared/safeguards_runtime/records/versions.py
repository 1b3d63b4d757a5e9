"""A new version of what is shown: a response to the one before decides nothing. No I/O."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from safeguards_runtime.records.action import content_digest
from safeguards_runtime.records.approval_record import Approval
from safeguards_runtime.records.traces import Earlier


def next_version(approval: Approval) -> Approval:
    """Return the next version of the same content: whoever has approved must look again."""
    return approval.model_copy(update={"version": approval.version + 1, "votes": ()})


def rewritten(
    approval: Approval,
    context: dict[str, Any],
    modifications: dict[str, Any] | None,
    actor: str,
    now: datetime,
) -> Approval:
    """Return the next version, with other content, of which the digest is taken anew.

    Args:
        approval: as it stands in the store.
        context: the arguments that the agent asks for.
        modifications: what reviewers have changed in them, if anything.
        actor: who makes this version: `reviewer:alex`, `agent:trader`.
        now: the store's clock, UTC.

    Raises:
        InvalidContentError: the content as a whole is larger than 256 KiB.
    """
    earlier = Earlier(
        version=approval.version,
        title=approval.title,
        description=approval.description,
        context=approval.shown_context,
        changed_by=actor,
        at=now,
    )
    update = {
        "context": context,
        "modifications": modifications or None,
        "modified_by": None,
        "changed_by": {},
        "earlier": earlier,
        "digest": shown_digest(approval, {**context, **(modifications or {})}),
    }
    return next_version(approval).model_copy(update=update)


def shown_digest(approval: Approval, shown: dict[str, Any]) -> str:
    """Return the digest that an approval has when `shown` are the arguments.

    Raises:
        InvalidContentError: it is larger than 256 KiB.
    """
    return content_digest(
        approval.agent_id, approval.action_type, approval.title, approval.description, shown
    )
