"""An approval: one question to people about one action. `respond` is where a response is judged.

How one is opened is in `opening`, what happens while nobody answers in `waiting`, who has it in
hand in `handling`. What `respond` leads to is in `voting`, `questions` and `ending`.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from datetime import datetime

from safeguards.contracts import ResponseKind, ResponseSubmission
from safeguards_runtime.records import questions, voting
from safeguards_runtime.records.approval_record import (
    ENDED,
    UNREACHED_INDEX,
    WAITING,
    Approval,
    Step,
    ended_rank,
    held_rank,
    index,
    like_rank,
    waiting_rank,
)
from safeguards_runtime.records.eligibility import answers_for
from safeguards_runtime.records.ending import (
    CLOSE_ACTION,
    UNREACHED,
    cancel,
    closed,
    ending,
    must_be_open,
    owes_closing,
    resolved,
)
from safeguards_runtime.records.questions import MAX_QUESTIONS, amended, answer, open_question
from safeguards_runtime.records.record import Change, Refusal
from safeguards_runtime.records.voting import Answer

__all__ = [
    "CLOSE_ACTION",
    "ENDED",
    "MAX_QUESTIONS",
    "UNREACHED",
    "UNREACHED_INDEX",
    "WAITING",
    "Approval",
    "Step",
    "amended",
    "answer",
    "cancel",
    "closed",
    "ended_rank",
    "ending",
    "held_rank",
    "index",
    "like_rank",
    "open_question",
    "owes_closing",
    "resolved",
    "respond",
    "waiting_rank",
]


def respond(
    approval: Approval,
    response: ResponseSubmission,
    *,
    reviewer_id: str,
    groups: Set[str],
    is_asker: bool = False,
    mandates: Mapping[str, Set[str]] | None = None,
    link: str | None = None,
    via: str,
    now: datetime,
) -> Change | None:
    """Judge what one reviewer answers. This is the only place where that is done.

    Args:
        approval: as it stands in the store.
        response: what the reviewer sent.
        reviewer_id: who it is; whoever calls has made sure of it.
        groups: the groups the reviewer belongs to.
        is_asker: whether the reviewer is among `approval.askers`, under whatever name.
        mandates: the groups of each reviewer who is away and for whom this one stands in now;
            without those who ask.
        link: SHA-256 of the review token that it came by, if it came by one.
        via: the way it came in: `api`, `email`, `slack`, `console`.
        now: the store's clock, UTC.

    Returns:
        The change; None if this very response was taken before (a repeat). Where several people
        must approve, it may be one that ends nothing: then `after.needed` says how many more must.

    Raises:
        Refusal: `self_approval`, `not_a_reviewer`, `already_decided`, `expired`, `being_judged`,
            `stale_version`, `link_used`, `not_editable`, `wrong_type`, `nothing_changed`,
            `not_this_way`, `outside_limits`, `four_eyes`, `already_voted`, `comments_required`,
            `too_many_questions`, `no_pause_left`, `unexpected_modifications`, `unexpected_pause`.
    """
    stood_in_for = answers_for(approval, reviewer_id, groups, is_asker=is_asker, mandates=mandates)
    if voting.is_repeat(approval, response, reviewer_id):
        return None
    must_be_open(approval, now)
    if approval.amendment is not None:
        raise Refusal(
            "being_judged",
            "the agent has just answered with other arguments, which are being judged: look at "
            "it again in a moment",
        )
    _check_shown(approval, response)
    if response.response is not ResponseKind.ASK and via not in approval.terms.answer_by:
        how = approval.terms.how_answered()
        raise Refusal("not_this_way", f"this request is answered {how} only")
    if link is not None and link in approval.used_links:
        raise Refusal("link_used", "this link has been used: a link is good for one decision")
    if response.modifications and response.response is not ResponseKind.MODIFY:
        raise Refusal("unexpected_modifications", "only the response `modify` has modifications")
    if response.pause and response.response is not ResponseKind.ASK:
        raise Refusal("unexpected_pause", "only the response `ask` can stop the clock")
    given = Answer(response, reviewer_id, stood_in_for, via, link, now)
    match response.response:
        case ResponseKind.ASK:
            return questions.ask(approval, given)
        case ResponseKind.APPROVE:
            return voting.approve(approval, given)
        case ResponseKind.MODIFY:
            return voting.modify(approval, given)
        case ResponseKind.REJECT:
            return voting.reject(approval, given)


def _check_shown(approval: Approval, response: ResponseSubmission) -> None:
    """Make sure that what the reviewer saw is what stands there.

    Raises:
        Refusal: `stale_version`.
    """
    if response.version != approval.version or response.digest not in (None, approval.digest):
        raise Refusal(
            "stale_version",
            "the request has changed since it was shown; look at it again before you decide",
            version=approval.version,
            digest=approval.digest,
        )
