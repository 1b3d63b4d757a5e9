"""Approving and changing what is asked, by one person or by several. No I/O.

Where the terms want one answer, an approval or a modification ends it. Where they want several, an
approval is a vote, and a modification makes a new version on which the votes begin anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from safeguards.canonical import canonical_json
from safeguards.contracts import Outcome, ResponseKind, ResponseSubmission
from safeguards.types import ActionStatus
from safeguards_runtime.records.approval_record import Approval
from safeguards_runtime.records.ending import ending, resolved
from safeguards_runtime.records.events import CHANGED
from safeguards_runtime.records.modifications import checked, differing
from safeguards_runtime.records.record import Change, Refusal
from safeguards_runtime.records.traces import Vote
from safeguards_runtime.records.versions import rewritten
from safeguards_runtime.topology import Service


@dataclass(frozen=True)
class Answer:
    """A reviewer's response, of which it is known that they may give it.

    Attributes:
        response: what they sent.
        reviewer_id: who it is.
        stood_in_for: the reviewer in whose stead they answer, if in anybody's.
        via: the way it came in.
        link: SHA-256 of the review token that it came by, if it came by one.
        at: the store's clock, UTC.
    """

    response: ResponseSubmission
    reviewer_id: str
    stood_in_for: str | None
    via: str
    link: str | None
    at: datetime

    @property
    def actor(self) -> str:
        """Who did it, as a history names it."""
        return f"reviewer:{self.reviewer_id}"

    def vote(self) -> Vote:
        """Return it as an approval among several."""
        return Vote(
            reviewer_id=self.reviewer_id,
            stood_in_for=self.stood_in_for,
            at=self.at,
            via=self.via,
            comments=self.response.comments,
        )

    def detail(self, approval: Approval, **further: Any) -> dict[str, Any]:
        """Return what the history says of it, bound to what was shown."""
        detail = {"via": self.via, "version": approval.version, "digest": approval.digest}
        given = {"for": self.stood_in_for, "comments": self.response.comments, **further}
        return {**detail, **{name: value for name, value in given.items() if value}}

    def links(self, approval: Approval) -> tuple[str, ...]:
        """Return the links that are used up with this one."""
        return (*approval.used_links, *((self.link,) if self.link is not None else ()))


def approve(approval: Approval, answer: Answer) -> Change:
    """Approve what is shown: the last approval that is needed ends it.

    Raises:
        Refusal: `four_eyes`, `already_voted`.
    """
    vote = answer.vote()
    if approval.terms.four_eyes and vote.people & approval.authors:
        raise Refusal("four_eyes", "who has changed it may not approve it: somebody else must")
    voted = {who for earlier in approval.votes for who in earlier.people}
    if vote.people & voted:
        who = " and ".join(sorted(vote.people & voted))
        raise Refusal("already_voted", f"the approval of {who} is counted already")
    votes = (*approval.votes, vote)
    if len(votes) >= approval.terms.quorum:
        return _approved(approval, answer, votes)
    after = approval.model_copy(update={"votes": votes, "used_links": answer.links(approval)})
    return Change(
        approval,
        after,
        "voted",
        answer.actor,
        answer.at,
        answer.detail(approval, needed=after.needed),
    )


def _approved(approval: Approval, answer: Answer, votes: tuple[Vote, ...]) -> Change:
    changes = approval.modifications
    approvers = tuple(vote.reviewer_id for vote in votes)
    is_shared = len(votes) > 1
    ended = resolved(
        approval,
        ActionStatus.MODIFIED if changes else ActionStatus.APPROVED,
        answer.at,
        answer.reviewer_id,
        answer.response.comments,
        changes,
        answer.stood_in_for,
        approvers=approvers,
    ).model_copy(update={"used_links": answer.links(approval)})
    if is_shared:
        ended = ended.model_copy(update={"votes": votes})
    further = {"modifications": changes, "approvers": list(approvers) if is_shared else None}
    detail = answer.detail(approval, **further)
    return ending(approval, ended, answer.actor, answer.at, detail)


def reject(approval: Approval, answer: Answer) -> Change:
    """Reject it: one is enough."""
    ended = resolved(
        approval,
        ActionStatus.REJECTED,
        answer.at,
        answer.reviewer_id,
        answer.response.comments,
        None,
        answer.stood_in_for,
    ).model_copy(update={"used_links": answer.links(approval)})
    return ending(approval, ended, answer.actor, answer.at, answer.detail(approval))


def modify(approval: Approval, answer: Answer) -> Change:
    """Change what is asked: that ends it where one answer is enough, and is put to the others
    where it is not.

    Raises:
        Refusal: `not_editable`, `wrong_type`, `nothing_changed`.
        InvalidContentError: with the changes it is larger than 256 KiB.
    """
    given = answer.response.modifications or {}
    changes = checked(
        approval.context,
        approval.editable_fields(),
        given,
        approval.modifications,
        approval.terms.limits,
    )
    if approval.terms.quorum > 1 or approval.terms.four_eyes:
        return _proposed(approval, answer, changes)
    ended = resolved(
        approval,
        ActionStatus.MODIFIED,
        answer.at,
        answer.reviewer_id,
        answer.response.comments,
        changes,
        answer.stood_in_for,
        approvers=(answer.reviewer_id,),
    ).model_copy(update={"used_links": answer.links(approval)})
    detail = answer.detail(approval, modifications=changes)
    return ending(approval, ended, answer.actor, answer.at, detail)


def _proposed(approval: Approval, answer: Answer, changes: Mapping[str, Any]) -> Change:
    """Make the version on which the others have to decide."""
    shown = approval.shown_context
    given = differing(shown, answer.response.modifications or {})
    authors = {name: approval.changed_by.get(name, answer.reviewer_id) for name in changes}
    authors |= {name: answer.reviewer_id for name in given if name in changes}
    after = rewritten(approval, approval.context, dict(changes), answer.actor, answer.at)
    update: dict[str, Any] = {"used_links": answer.links(approval)}
    if changes:
        update |= {"modified_by": answer.reviewer_id, "changed_by": authors}
    if not approval.terms.four_eyes:
        update["votes"] = (answer.vote(),)
    after = after.model_copy(update=update).posted(answer.at, Service.NOTIFIER, CHANGED)
    detail = answer.detail(approval, needed=after.needed, made=after.version)
    detail["modifications"] = dict(changes)
    return Change(approval, after, "proposed", answer.actor, answer.at, detail)


def is_repeat(approval: Approval, response: ResponseSubmission, reviewer_id: str) -> bool:
    """Tell whether this very response was taken before, and is sent again because its answer was
    lost."""
    if response.response is ResponseKind.MODIFY and _made(approval, response, reviewer_id):
        return True
    # What has ended stays at the version that was decided on.
    if response.version != approval.version or response.digest not in (None, approval.digest):
        return False
    if approval.outcome is not None:
        return _decided(approval, approval.outcome, response, reviewer_id)
    return (
        response.response is ResponseKind.APPROVE
        and not response.modifications
        and any(vote.reviewer_id == reviewer_id for vote in approval.votes)
    )


def _made(approval: Approval, response: ResponseSubmission, reviewer_id: str) -> bool:
    """Tell whether this modification made what is shown."""
    earlier = approval.earlier
    if earlier is None or earlier.changed_by != f"reviewer:{reviewer_id}":
        return False
    proposed = {**earlier.context, **(response.modifications or {})}
    return (
        earlier.version == response.version
        and proposed.keys() == approval.context.keys()
        and not differing(approval.shown_context, proposed)
    )


def _decided(
    approval: Approval, outcome: Outcome, response: ResponseSubmission, reviewer_id: str
) -> bool:
    """Tell whether this response is the one that decided, or one of those that did."""
    kind, changes = response.response, response.modifications or {}
    if kind is ResponseKind.APPROVE and outcome.status.allows:
        # What was shown was approved: as asked for, or as others had changed it.
        as_shown = canonical_json(outcome.modifications) == canonical_json(approval.modifications)
        said = {vote.reviewer_id: vote.comments for vote in approval.votes}
        if outcome.decided_by not in said:
            said[outcome.decided_by] = outcome.comments
        is_theirs = reviewer_id in outcome.approvers and said[reviewer_id] == response.comments
        return as_shown and is_theirs and not differing(approval.context, changes)
    decides = {
        ResponseKind.MODIFY: ActionStatus.MODIFIED,
        ResponseKind.REJECT: ActionStatus.REJECTED,
    }
    return (
        outcome.decided_by == reviewer_id
        and outcome.status is decides.get(kind)
        and outcome.comments == response.comments
        and (outcome.modifications or {}) == differing(approval.context, changes)
    )
