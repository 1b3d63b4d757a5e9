"""Who has an approval in hand, and who has seen it: it decides nothing, stops nobody. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from datetime import datetime
from typing import Any

from safeguards.contracts import HistoryView
from safeguards.text import visible
from safeguards_runtime.records.approval_record import Approval
from safeguards_runtime.records.eligibility import answers_for
from safeguards_runtime.records.ending import must_be_open
from safeguards_runtime.records.events import HANDED_OVER
from safeguards_runtime.records.record import Change, Refusal
from safeguards_runtime.records.traces import Claim, View
from safeguards_runtime.topology import Service

MAX_VIEWS = 50
"""How many views an approval keeps: those of older versions go first."""

MAX_NOTE = 1000
"""How many characters may go with what is handed over."""


def claim(
    approval: Approval,
    reviewer_id: str,
    groups: Set[str],
    now: datetime,
    *,
    is_asker: bool = False,
    mandates: Mapping[str, Set[str]] | None = None,
) -> Change | None:
    """Take an approval in hand, also out of another's. It warns others, and stops nobody.

    Args:
        approval: as it stands in the store.
        reviewer_id: who takes it.
        groups: the groups the reviewer belongs to.
        now: the store's clock, UTC.
        is_asker: whether the reviewer is among `approval.askers`, under whatever name.
        mandates: the groups of those for whom they stand in now; see `approval.respond`.

    Returns:
        The change; None if they have it in hand already.

    Raises:
        Refusal: `self_approval`, `not_a_reviewer`, `already_decided`, `expired`.
    """
    absent = answers_for(approval, reviewer_id, groups, is_asker=is_asker, mandates=mandates)
    must_be_open(approval, now)
    before = approval.claim
    if before is not None and before.reviewer_id == reviewer_id:
        return None
    taken = Claim(reviewer_id=reviewer_id, stands_in_for=absent, at=now)
    after = approval.model_copy(update={"claim": taken}).struck(Service.NOTIFIER, HANDED_OVER)
    detail = {"for": absent, "from": before.reviewer_id if before else None}
    return _change(approval, after, "claimed", reviewer_id, now, detail)


def release(approval: Approval, reviewer_id: str, now: datetime) -> Change | None:
    """Let go what one has in hand. None if nobody has it.

    Raises:
        Refusal: `not_yours` if another has it in hand.
    """
    standing = approval.claim
    if standing is None:
        return None
    if standing.reviewer_id != reviewer_id:
        raise Refusal("not_yours", f"{standing.reviewer_id} has it in hand, not you")
    after = approval.model_copy(update={"claim": None}).struck(Service.NOTIFIER, HANDED_OVER)
    return _change(approval, after, "released", reviewer_id, now, {})


def hand_over(
    approval: Approval,
    by: str,
    groups: Set[str],
    to: str,
    to_groups: Set[str],
    now: datetime,
    *,
    note: str = "",
    is_asker: bool = False,
    mandates: Mapping[str, Set[str]] | None = None,
    to_is_asker: bool = False,
    to_mandates: Mapping[str, Set[str]] | None = None,
) -> Change | None:
    """Put an approval into another reviewer's hands, who is told.

    Args:
        approval: as it stands in the store.
        by: who hands it over; it need not be in their hands.
        groups: the groups that one belongs to.
        to: who is to have it.
        to_groups: the groups that one belongs to.
        now: the store's clock, UTC.
        note: up to `MAX_NOTE` characters for whom it is handed to.
        is_asker, mandates: of `by`; see `claim`.
        to_is_asker, to_mandates: of `to`; see `claim`.

    Returns:
        The change; None if it was handed to them so before.

    Raises:
        Refusal: `self_approval`, `not_a_reviewer`, `already_decided`, `expired`, `handed_to_self`,
            `note_too_long`.
    """
    answers_for(approval, by, groups, is_asker=is_asker, mandates=mandates)
    must_be_open(approval, now)
    if to == by:
        raise Refusal("handed_to_self", "take it in hand instead of handing it to yourself")
    absent = _named(to, approval, to_groups, is_asker=to_is_asker, mandates=to_mandates)
    if len(note) > MAX_NOTE:
        raise Refusal("note_too_long", f"a note has at most {MAX_NOTE} characters", field="note")
    before = approval.claim
    given = Claim(reviewer_id=to, stands_in_for=absent, at=now, handed_by=by, note=note)
    if before is not None and before == given.model_copy(update={"at": before.at}):
        return None
    after = approval.model_copy(update={"claim": given}).struck(Service.NOTIFIER, HANDED_OVER)
    after = after.posted(now, Service.NOTIFIER, HANDED_OVER)
    detail = {"to": to, "for": absent, "note": note}
    return _change(approval, after, "handed_over", by, now, detail)


def without_notes(history: Iterable[HistoryView]) -> list[HistoryView]:
    """Return a history without the notes that reviewers wrote to one another."""
    return [
        line.model_copy(update={"detail": {k: v for k, v in line.detail.items() if k != "note"}})
        for line in history
    ]


def _named(
    to: str,
    approval: Approval,
    groups: Set[str],
    *,
    is_asker: bool,
    mandates: Mapping[str, Set[str]] | None,
) -> str | None:
    """Return for whom another would answer; a refusal says that it is about that one."""
    try:
        return answers_for(approval, to, groups, is_asker=is_asker, mandates=mandates)
    except Refusal as refusal:
        name = visible(to, single_line=True, limit=200)
        why = {
            "self_approval": f"{name} asks for it, and may not answer",
            "not_a_reviewer": f"{name} is not in a group that may answer",
        }
        raise Refusal(refusal.code, why[refusal.code], field="to") from refusal


def viewed(approval: Approval, reviewer_id: str, now: datetime) -> Change | None:
    """Note that somebody who may read it has seen this version. It is the same version after it.

    Returns:
        The change; None if that is noted, if it has ended, or if there is no room for more.
    """
    seen = (reviewer_id, approval.version)
    if approval.status.is_final or seen in ((v.reviewer_id, v.version) for v in approval.views):
        return None
    views = list(approval.views)
    if len(views) >= MAX_VIEWS:
        older = next((v for v in views if v.version < approval.version), None)
        if older is None:
            return None
        views.remove(older)
    views.append(View(reviewer_id=reviewer_id, version=approval.version, at=now))
    after = approval.model_copy(update={"views": tuple(views)})
    return _change(approval, after, "viewed", reviewer_id, now, {"version": approval.version})


def _change(
    before: Approval,
    after: Approval,
    event: str,
    reviewer_id: str,
    now: datetime,
    detail: dict[str, Any],
) -> Change:
    known = {name: value for name, value in detail.items() if value}
    return Change(before, after, event, f"reviewer:{reviewer_id}", now, known)
