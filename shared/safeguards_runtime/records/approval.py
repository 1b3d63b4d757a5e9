"""An approval: one question to people about one action. `respond` is where a response is judged.

How one is opened is in `opening`; what happens while nobody answers in `waiting`.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from datetime import datetime
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from safeguards.canonical import digest
from safeguards.contracts import (
    AnswerSubmission,
    ApprovalView,
    Outcome,
    Question,
    ResponseKind,
    ResponseSubmission,
    Verdict,
)
from safeguards.types import ActionStatus, AlertSeverity
from safeguards_runtime.records.action import Terms
from safeguards_runtime.records.events import (
    ANSWERED,
    ASKING,
    RESOLVED,
)
from safeguards_runtime.records.modifications import checked, differing
from safeguards_runtime.records.record import Change, Record, Refusal
from safeguards_runtime.topology import Service

CLOSE_ACTION = "close_action"
UNREACHED = "unreached"

MAX_QUESTIONS = 20


class Step(BaseModel):
    """What is done if nobody has answered by then."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    event: str
    """REMINDED or ESCALATED."""


class Approval(Record):
    """One question to people about one action."""

    services: ClassVar = (Service.TRACKER, Service.NOTIFIER)

    action_id: str | None = None
    agent_id: str
    action_type: str
    title: str
    description: str = ""
    context: dict[str, Any]
    digest: str
    """Of all that a person is shown. A response names it, so that it binds to nothing else."""

    version: int = 1
    """Rises when what a person is shown changes; not with every revision of the record."""

    status: ActionStatus = ActionStatus.PENDING
    severity: AlertSeverity = AlertSeverity.WARNING
    reasons: tuple[str, ...] = ()
    terms: Terms
    askers: tuple[str, ...]
    key_id: str
    callback_url: str | None = None
    created_at: datetime
    expires_at: datetime
    steps: tuple[Step, ...] = ()
    """What is still to come while nobody answers, the earliest first."""

    escalated: int = 0
    """How many steps of the terms' escalation have been taken."""

    reminders: int = 0
    unreached_at: datetime | None = None
    """Since when nobody is known to have been reached."""

    used_links: tuple[str, ...] = ()
    """SHA-256 of the review tokens by which it was decided."""

    questions: tuple[Question, ...] = ()
    outcome: Outcome | None = None

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups whose members may answer: those of the terms, and those escalated to."""
        taken = self.terms.escalation[: self.escalated]
        added = (group for step in taken for group in step.groups)
        return tuple(dict.fromkeys((*self.terms.groups, *added)))

    def timers(self) -> Mapping[Service, datetime]:
        """Return the next step or the deadline, while it is open."""
        if self.status.is_final:
            return {}
        return {Service.TRACKER: min((self.expires_at, *(step.at for step in self.steps)))}

    def indexes(self) -> frozenset[str]:
        """Return the lists of approvals: by status, by agent, by both; those that are waiting and
        have reached nobody."""
        names = {
            index(agent_id, status)
            for agent_id in (None, self.agent_id)
            for status in (None, self.status)
        }
        if self.unreached_at and not self.status.is_final:
            names.add(UNREACHED_INDEX)
        return frozenset(names)

    def editable_fields(self) -> tuple[str, ...]:
        """Return the fields of the context that a reviewer may change, in the context's order."""
        allowed = self.terms.editable
        return tuple(
            name
            for name in self.context
            if name != "action_type" and ("*" in allowed or name in allowed)
        )

    def view(self) -> ApprovalView:
        """Return what the agent and the reviewers may see."""
        return ApprovalView(
            id=self.id,
            action_id=self.action_id,
            agent_id=self.agent_id,
            action_type=self.action_type,
            title=self.title,
            description=self.description,
            context=self.context,
            digest=self.digest,
            version=self.version,
            status=self.status,
            reasons=self.reasons,
            editable=self.editable_fields(),
            questions=self.questions,
            created_at=self.created_at,
            expires_at=self.expires_at,
            outcome=self.outcome,
        )


UNREACHED_INDEX = "approvals:unreached"
"""The list of those that are waiting and have reached nobody."""


def index(agent_id: str | None, status: ActionStatus | None) -> str:
    """Return the list of approvals of an agent, in a status, of both, or of all."""
    name = "approvals"
    name += f":status:{status}" if status else ""
    # Last, since an agent's name may hold anything.
    return name + (f":agent:{agent_id}" if agent_id else "")


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
        via: the way it came in: `api`, `email`, `slack`.
        now: the store's clock, UTC.

    Returns:
        The change; None if this very response was taken before (a repeat).

    Raises:
        Refusal: `self_approval`, `not_a_reviewer`, `already_decided`, `expired`, `stale_version`,
            `link_used`, `not_editable`, `wrong_type`, `nothing_changed`, `comments_required`,
            `too_many_questions`, `unexpected_modifications`.
    """
    is_asker = is_asker or reviewer_id in approval.askers
    stood_in_for = _answers_for(approval, is_asker, groups, mandates or {})
    if approval.outcome is not None:
        if _is_repeat(approval, approval.outcome, response, reviewer_id):
            return None
        raise _already_decided(approval.outcome)
    if now >= approval.expires_at:
        raise Refusal("expired", f"time was up at {approval.expires_at.isoformat()}")
    if response.version != approval.version or response.digest not in (None, approval.digest):
        raise Refusal(
            "stale_version",
            "the request has changed since it was shown; look at it again before you decide",
            version=approval.version,
            digest=approval.digest,
        )
    if link is not None and link in approval.used_links:
        raise Refusal("link_used", "this link has been used: a link is good for one decision")
    if response.modifications and response.response is not ResponseKind.MODIFY:
        raise Refusal("unexpected_modifications", "only the response `modify` has modifications")
    if response.response is ResponseKind.ASK:
        return _ask(approval, response, reviewer_id, stood_in_for, now)
    actor = f"reviewer:{reviewer_id}"
    status = _STATUS_OF[response.response]
    changes = None
    if status is ActionStatus.MODIFIED:
        changes = checked(
            approval.context, approval.editable_fields(), response.modifications or {}
        )
    ended = resolved(approval, status, now, reviewer_id, response.comments, changes, stood_in_for)
    if link is not None:
        ended = ended.model_copy(update={"used_links": (*approval.used_links, link)})
    detail: dict[str, Any] = {"via": via, "version": approval.version, "digest": approval.digest}
    if stood_in_for:
        detail["for"] = stood_in_for
    if response.comments:
        detail["comments"] = response.comments
    if changes:
        detail["modifications"] = changes
    return ending(approval, ended, actor, now, detail)


_STATUS_OF = {
    ResponseKind.APPROVE: ActionStatus.APPROVED,
    ResponseKind.MODIFY: ActionStatus.MODIFIED,
    ResponseKind.REJECT: ActionStatus.REJECTED,
}


def _answers_for(
    approval: Approval, is_asker: bool, groups: Set[str], mandates: Mapping[str, Set[str]]
) -> str | None:
    """Return for whom the reviewer would answer: None for themself.

    Raises:
        Refusal: `self_approval`, `not_a_reviewer`.
    """
    if is_asker:
        raise Refusal("self_approval", "whoever asks may not answer: somebody else must decide")
    wanted = set(approval.groups)
    if groups & wanted:
        return None
    for absent, their_groups in mandates.items():
        if their_groups & wanted:
            return absent
    names = ", ".join(approval.groups)
    raise Refusal("not_a_reviewer", f"only members of these groups may answer: {names}")


def _is_repeat(
    approval: Approval, outcome: Outcome, response: ResponseSubmission, reviewer_id: str
) -> bool:
    """Tell whether this is the response that decided, sent again because its answer was lost."""
    changes = differing(approval.context, response.modifications or {})
    return (
        outcome.decided_by == reviewer_id
        and outcome.status is _STATUS_OF.get(response.response)
        and outcome.comments == response.comments
        and (outcome.modifications or {}) == changes
    )


def _already_decided(outcome: Outcome) -> Refusal:
    word = outcome.status.value.lower().replace("_", " ")
    return Refusal(
        "already_decided",
        f"already {word} by {outcome.decided_by}",
        outcome=outcome.model_dump(mode="json"),
    )


def _ask(
    approval: Approval,
    response: ResponseSubmission,
    reviewer_id: str,
    stood_in_for: str | None,
    now: datetime,
) -> Change | None:
    if not response.comments.strip():
        raise Refusal("comments_required", "put the question to the agent in `comments`")
    asked_already = any(
        (question.asked_by, question.question) == (reviewer_id, response.comments)
        for question in approval.questions
        if question.answer is None
    )
    if asked_already:
        return None
    if len(approval.questions) >= MAX_QUESTIONS:
        raise Refusal("too_many_questions", f"{MAX_QUESTIONS} questions were asked: decide instead")
    question = Question(
        approval_id=approval.id,
        agent_id=approval.agent_id,
        asked_by=reviewer_id,
        asked_at=now,
        question=response.comments,
    )
    after = approval.model_copy(update={"questions": (*approval.questions, question)})
    detail = {"question": response.comments}
    if stood_in_for:
        detail["for"] = stood_in_for
    return Change(approval, after, "asked", f"reviewer:{reviewer_id}", now, detail, (question,))


def open_question(approval: Approval) -> int | None:
    """Return the position of the first question without an answer, or None."""
    for position, question in enumerate(approval.questions):
        if question.answer is None:
            return position
    return None


def answer(
    approval: Approval,
    submission: AnswerSubmission,
    now: datetime,
    position: int | None = None,
    claims: Mapping[str, str] | None = None,
) -> Change | None:
    """Take the agent's answer to a question; it makes a new version, of the same arguments.

    Args:
        approval: as it stands in the store.
        submission: what the agent sent.
        now: the store's clock, UTC.
        position: which question; the first open one unless given.
        claims: the idempotency key, if any.

    Returns:
        The change; None if this question has been given this very answer (a repeat).

    Raises:
        Refusal: `already_decided`, `expired`, `no_question`.
    """
    if position is None:
        position = open_question(approval)
    given = approval.questions[-1 if position is None else position :][:1]
    if given and given[0].answer == submission.answer:
        return None
    if approval.outcome is not None:
        raise _already_decided(approval.outcome)
    if now >= approval.expires_at:
        raise Refusal("expired", f"time was up at {approval.expires_at.isoformat()}")
    if position is None or approval.questions[position].answer is not None:
        raise Refusal("no_question", "there is no open question to answer")
    questions = list(approval.questions)
    questions[position] = questions[position].model_copy(
        update={"answer": submission.answer, "answered_at": now}
    )
    after = approval.model_copy(
        update={
            "questions": tuple(questions),
            "version": approval.version + 1,
        }
    ).posted(now, Service.NOTIFIER, ANSWERED)
    detail = {"answer": submission.answer, "version": after.version}
    actor = f"agent:{approval.agent_id}"
    return Change(approval, after, "answered", actor, now, detail, claims=claims or {})


def cancel(approval: Approval, now: datetime) -> Change | None:
    """Withdraw an approval. None if it was withdrawn before.

    Raises:
        Refusal: `already_decided` if it ended in another way.
    """
    if approval.status is ActionStatus.CANCELLED:
        return None
    if approval.outcome is not None:
        raise _already_decided(approval.outcome)
    actor = f"agent:{approval.agent_id}"
    ended = resolved(approval, ActionStatus.CANCELLED, now, actor, "")
    return ending(approval, ended, actor, now, {})


def resolved(
    approval: Approval,
    status: ActionStatus,
    now: datetime,
    decided_by: str,
    comments: str,
    modifications: dict[str, Any] | None = None,
    decided_for: str | None = None,
) -> Approval:
    """Return the approval with its outcome."""
    context = {**approval.context, **(modifications or {})}
    outcome = Outcome(
        status=status,
        verdict=Verdict.REQUIRE_APPROVAL,
        agent_id=approval.agent_id,
        action_id=approval.action_id,
        approval_id=approval.id,
        comments=comments,
        modifications=modifications,
        decided_by=decided_by,
        decided_for=decided_for,
        decided_at=now,
        approved_digest=digest(context) if status.allows else None,
    )
    return approval.model_copy(update={"status": status, "outcome": outcome})


def ending(
    before: Approval, ended: Approval, actor: str, now: datetime, detail: dict[str, Any]
) -> Change:
    """Return the change by which an approval ends: the agent hears it, the rest is posted."""
    outcome = ended.outcome
    assert outcome is not None  # noqa: S101 - _resolved sets it
    after = ended.struck(Service.NOTIFIER, *ASKING).struck(Service.TRACKER, UNREACHED)
    if after.action_id is not None:
        after = after.posted(now, Service.TRACKER, CLOSE_ACTION)
    after = after.posted(now, Service.NOTIFIER, RESOLVED)
    return Change(before, after, ended.status.value.lower(), actor, now, detail, (outcome,))


def closed(approval: Approval, now: datetime) -> Change | None:
    """Note that the action behind it has been closed."""
    if not owes_closing(approval):
        return None
    after = approval.struck(Service.TRACKER, CLOSE_ACTION)
    return Change(approval, after, "action_closed", Service.TRACKER.value, now)


def owes_closing(approval: Approval) -> bool:
    """Tell whether the action behind it is still to be closed."""
    return any(entry.event == CLOSE_ACTION for entry in approval.owes(Service.TRACKER))
