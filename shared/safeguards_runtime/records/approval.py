"""An approval: one question to people about one action. `respond` is where a response is judged."""

from __future__ import annotations

from collections.abc import Mapping, Set
from datetime import datetime, timedelta
from typing import Any, ClassVar

from safeguards.canonical import digest
from safeguards.contracts import (
    AnswerSubmission,
    ApprovalSubmission,
    ApprovalView,
    Outcome,
    Question,
    ResponseKind,
    ResponseSubmission,
    Verdict,
)
from safeguards.types import ActionStatus, AlertSeverity
from safeguards_runtime.records.action import Action, Terms, askers, content_digest
from safeguards_runtime.records.modifications import checked, differing
from safeguards_runtime.records.record import Change, Record, Refusal
from safeguards_runtime.topology import Service

REQUESTED = "approval.requested"
ANSWERED = "approval.answered"
RESOLVED = "approval.resolved"
CLOSE_ACTION = "close_action"

MAX_QUESTIONS = 20


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
    questions: tuple[Question, ...] = ()
    outcome: Outcome | None = None

    def timers(self) -> Mapping[Service, datetime]:
        """Return the deadline, while it is open."""
        return {} if self.status.is_final else {Service.TRACKER: self.expires_at}

    def indexes(self) -> frozenset[str]:
        """Return the lists of approvals: by status, by agent, by both."""
        return frozenset(
            index(agent_id, status)
            for agent_id in (None, self.agent_id)
            for status in (None, self.status)
        )

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


def index(agent_id: str | None, status: ActionStatus | None) -> str:
    """Return the list of approvals of an agent, in a status, of both, or of all."""
    name = "approvals"
    name += f":status:{status}" if status else ""
    # Last, since an agent's name may hold anything.
    return name + (f":agent:{agent_id}" if agent_id else "")


def request(
    approval_id: str,
    submission: ApprovalSubmission,
    terms: Terms,
    *,
    key_id: str,
    owner: str | None,
    now: datetime,
    claims: dict[str, str] | None = None,
) -> Change:
    """Open an approval that an agent asked for directly."""
    timeout = min(submission.timeout_seconds or terms.timeout_seconds, terms.timeout_seconds)
    approval = Approval(
        id=approval_id,
        agent_id=submission.agent_id,
        action_type=submission.action_type,
        title=submission.title,
        description=submission.description,
        context=submission.metadata,
        digest=content_digest(
            submission.agent_id,
            submission.action_type,
            submission.title,
            submission.description,
            submission.metadata,
        ),
        terms=terms,
        askers=askers(submission.agent_id, owner, submission.on_behalf_of),
        key_id=key_id,
        callback_url=submission.callback_url,
        created_at=now,
        expires_at=now + timedelta(seconds=timeout),
    )
    return _opened(approval, now, f"agent:{submission.agent_id}", claims or {})


def open_for(action: Action, now: datetime) -> tuple[Change, Change] | None:
    """Open the approval that a verdict requires: its own change, and the action's.

    The two are written together. None if the action was withdrawn or is open already.
    """
    judged = action.judgement
    if judged is None or action.status.is_final or not action.owes(Service.TRACKER):
        return None
    limit = judged.terms.timeout_seconds
    timeout = min(action.timeout_seconds or limit, limit)
    approval = Approval(
        id=action.approval_id,
        action_id=action.id,
        agent_id=action.agent_id,
        action_type=action.action_type,
        title=action.title or f"{action.agent_id} wants to run {action.action_type}",
        description=action.description,
        context=action.context,
        digest=action.digest,
        severity=max((a.severity for a in judged.alerts), key=_rank, default=AlertSeverity.WARNING),
        reasons=judged.reasons,
        terms=judged.terms,
        askers=action.askers,
        key_id=action.key_id,
        callback_url=action.callback_url,
        created_at=now,
        expires_at=now + timedelta(seconds=timeout),
    )
    handed = action.struck(Service.TRACKER)
    actor = Service.TRACKER.value
    return (
        _opened(approval, now, actor, {}),
        Change(action, handed, "approval_opened", actor, now, {"approval_id": approval.id}),
    )


def _rank(severity: AlertSeverity) -> int:
    return severity.rank


def _opened(approval: Approval, now: datetime, actor: str, claims: Mapping[str, str]) -> Change:
    approval = approval.posted(now, Service.NOTIFIER, REQUESTED)
    detail = {"digest": approval.digest, "expires_at": approval.expires_at.isoformat()}
    return Change(None, approval, "opened", actor, now, detail, claims=claims)


def respond(
    approval: Approval,
    response: ResponseSubmission,
    *,
    reviewer_id: str,
    groups: Set[str],
    is_asker: bool = False,
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
        via: the way it came in: `api`, `email`.
        now: the store's clock, UTC.

    Returns:
        The change; None if this very response was taken before (a repeat).

    Raises:
        Refusal: `self_approval`, `not_a_reviewer`, `already_decided`, `expired`, `stale_version`,
            `not_editable`, `wrong_type`, `nothing_changed`, `comments_required`,
            `too_many_questions`, `unexpected_modifications`.
    """
    _may_answer(approval, is_asker or reviewer_id in approval.askers, groups)
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
    if response.modifications and response.response is not ResponseKind.MODIFY:
        raise Refusal("unexpected_modifications", "only the response `modify` has modifications")
    if response.response is ResponseKind.ASK:
        return _ask(approval, response, reviewer_id, now)
    actor = f"reviewer:{reviewer_id}"
    status = _STATUS_OF[response.response]
    changes = None
    if status is ActionStatus.MODIFIED:
        changes = checked(
            approval.context, approval.editable_fields(), response.modifications or {}
        )
    ended = _resolved(approval, status, now, reviewer_id, response.comments, changes)
    detail: dict[str, Any] = {"via": via, "version": approval.version, "digest": approval.digest}
    if response.comments:
        detail["comments"] = response.comments
    if changes:
        detail["modifications"] = changes
    return _ending(approval, ended, actor, now, detail)


_STATUS_OF = {
    ResponseKind.APPROVE: ActionStatus.APPROVED,
    ResponseKind.MODIFY: ActionStatus.MODIFIED,
    ResponseKind.REJECT: ActionStatus.REJECTED,
}


def _may_answer(approval: Approval, is_asker: bool, groups: Set[str]) -> None:
    if is_asker:
        raise Refusal("self_approval", "whoever asks may not answer: somebody else must decide")
    if not groups & set(approval.terms.groups):
        wanted = ", ".join(approval.terms.groups)
        raise Refusal("not_a_reviewer", f"only members of these groups may answer: {wanted}")


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
    approval: Approval, response: ResponseSubmission, reviewer_id: str, now: datetime
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


def time_out(approval: Approval, now: datetime) -> Change | None:
    """End an approval that nobody answered in time. None if it is not time, or has ended."""
    if approval.status.is_final or now < approval.expires_at:
        return None
    actor = Service.TRACKER.value
    if approval.terms.on_timeout == "approve":
        ended = _resolved(approval, ActionStatus.APPROVED, now, "nobody", "nobody objected in time")
    else:
        ended = _resolved(approval, ActionStatus.TIMED_OUT, now, "nobody", "")
    return _ending(approval, ended, actor, now, {"on_timeout": approval.terms.on_timeout})


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
    ended = _resolved(approval, ActionStatus.CANCELLED, now, actor, "")
    return _ending(approval, ended, actor, now, {})


def _resolved(
    approval: Approval,
    status: ActionStatus,
    now: datetime,
    decided_by: str,
    comments: str,
    modifications: dict[str, Any] | None = None,
) -> Approval:
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
        decided_at=now,
        approved_digest=digest(context) if status.allows else None,
    )
    return approval.model_copy(update={"status": status, "outcome": outcome})


def _ending(
    before: Approval, ended: Approval, actor: str, now: datetime, detail: dict[str, Any]
) -> Change:
    """Return the change by which an approval ends: the agent hears it, the rest is posted."""
    outcome = ended.outcome
    assert outcome is not None  # noqa: S101 - _resolved sets it
    after = ended.struck(Service.NOTIFIER, REQUESTED, ANSWERED)
    if after.action_id is not None:
        after = after.posted(now, Service.TRACKER, CLOSE_ACTION)
    after = after.posted(now, Service.NOTIFIER, RESOLVED)
    return Change(before, after, ended.status.value.lower(), actor, now, detail, (outcome,))


def closed(approval: Approval, now: datetime) -> Change | None:
    """Note that the action behind it has been closed."""
    if not approval.owes(Service.TRACKER):
        return None
    after = approval.struck(Service.TRACKER)
    return Change(approval, after, "action_closed", Service.TRACKER.value, now)


def told(approval: Approval, events: tuple[str, ...], deliveries: int, now: datetime) -> Change:
    """Note that the notifier has planned the deliveries of `events`."""
    after = approval.struck(Service.NOTIFIER, *events)
    detail = {"events": list(events), "deliveries": deliveries}
    return Change(approval, after, "notified", Service.NOTIFIER.value, now, detail)
