"""What reviewers ask the agent, what it answers, and the clock that may stand still meanwhile.

An answer may come with other arguments. Where the first ones were judged by the policies, those are
as well, before anybody can approve them. No I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from safeguards.canonical import canonical_json
from safeguards.contracts import AnswerSubmission, Question, Verdict
from safeguards.types import ActionStatus, AlertSeverity
from safeguards_runtime.records.approval_record import Approval
from safeguards_runtime.records.ending import ending, must_be_open, resolved
from safeguards_runtime.records.events import ANSWERED
from safeguards_runtime.records.judgement import Judgement
from safeguards_runtime.records.record import Change, Refusal
from safeguards_runtime.records.rota import ALWAYS, Rota
from safeguards_runtime.records.terms import Terms
from safeguards_runtime.records.versions import next_version, rewritten, shown_digest
from safeguards_runtime.records.voting import Answer
from safeguards_runtime.records.waiting import begun
from safeguards_runtime.topology import Service

MAX_QUESTIONS = 20

JUDGE = "judge_amendment"
"""What the evaluator owes: a judgement of the arguments that the agent has answered with."""


def ask(approval: Approval, given: Answer) -> Change | None:
    """Put a reviewer's question to the agent. None if it is asked already.

    Raises:
        Refusal: `comments_required`, `too_many_questions`, `no_pause_left`.
    """
    words, now = given.response.comments, given.at
    if not words.strip():
        raise Refusal("comments_required", "put the question to the agent in `comments`")
    asked_already = any(
        (question.asked_by, question.question) == (given.reviewer_id, words)
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
        asked_by=given.reviewer_id,
        asked_at=now,
        question=words,
    )
    after = approval.model_copy(update={"questions": (*approval.questions, question)})
    detail: dict[str, Any] = {"question": words}
    if given.stood_in_for:
        detail["for"] = given.stood_in_for
    if given.response.pause:
        after = _paused(after, now)
        detail |= {"pause": True, "expires_at": after.expires_at.isoformat()}
    return Change(approval, after, "asked", given.actor, now, detail, (question,))


def open_question(approval: Approval) -> int | None:
    """Return the position of the first question without an answer, or None."""
    for position, question in enumerate(approval.questions):
        if question.answer is None:
            return position
    return None


# --- the clock ----------------------------------------------------------------------------------


def _paused(approval: Approval, now: datetime) -> Approval:
    """Return the approval with the clock stopped, for what its terms leave for that.

    Raises:
        Refusal: `no_pause_left`.
    """
    if approval.paused_until is not None and now < approval.paused_until:
        return approval
    approval = _resumed(approval, now)
    allowed = timedelta(seconds=approval.terms.timeout_seconds - approval.paused_seconds_used)
    if allowed <= timedelta():
        raise Refusal(
            "no_pause_left",
            f"the clock has stood still for {approval.terms.timeout_seconds} s in all, which is "
            "as long as it may: ask without a pause",
        )
    moved = _moved(approval, allowed, now)
    return moved.model_copy(update={"paused_at": now, "paused_until": now + allowed})


def _resumed(approval: Approval, now: datetime) -> Approval:
    """Return the approval with its clock running; what is left of the pause is taken back."""
    since, until = approval.paused_at, approval.paused_until
    if since is None or until is None:
        return approval
    used = approval.paused_seconds_used + (min(now, until) - since).total_seconds()
    update = {"paused_at": None, "paused_until": None, "paused_seconds_used": used}
    return _moved(approval, min(now, until) - until, now).model_copy(update=update)


def _moved(approval: Approval, by: timedelta, now: datetime) -> Approval:
    """Return the approval with all that is still to come moved: a step that is due is not."""
    steps = tuple(
        step.model_copy(update={"at": step.at + by}) if step.at > now else step
        for step in approval.steps
    )
    return approval.model_copy(update={"expires_at": approval.expires_at + by, "steps": steps})


# --- the agent's answer -------------------------------------------------------------------------


def answer(
    approval: Approval,
    submission: AnswerSubmission,
    now: datetime,
    position: int | None = None,
    claims: Mapping[str, str] | None = None,
    *,
    terms: Terms | None = None,
    rota: Rota = ALWAYS,
) -> Change | None:
    """Take the agent's answer to a question; it makes a new version. Other arguments are judged
    first, where those that they replace were; until `amended`, nobody can answer.

    Args:
        approval: as it stands in the store.
        submission: what the agent sent.
        now: the store's clock, UTC.
        position: which question; the first open one unless given.
        claims: the idempotency key, if any.
        terms: on which people are asked about other arguments that no policy judges.
        rota: who is on duty when.

    Returns:
        The change; None if this question has been given this very answer (a repeat).

    Raises:
        Refusal: `already_decided`, `expired`, `no_question`, `other_action_type`.
        InvalidContentError: with the new arguments it is larger than 256 KiB.
    """
    if position is None:
        position = open_question(approval)
    given = approval.questions[-1 if position is None else position :][:1]
    if given and given[0].answer == submission.answer and _stands(approval, submission.context):
        return None
    must_be_open(approval, now)
    if position is None or approval.questions[position].answer is not None:
        raise Refusal("no_question", "there is no open question to answer")
    actor = f"agent:{approval.agent_id}"
    after = _given(approval, position, submission.answer, now)
    detail: dict[str, Any] = {"answer": submission.answer}
    context = submission.context
    if context is None or _same(context, approval.shown_context):
        after = next_version(after).posted(now, Service.NOTIFIER, ANSWERED)
    elif approval.action_id is None:
        _check_type(approval, context)
        after = rewritten(after, context, None, actor, now)
        if terms is not None and terms != approval.terms:
            after = _on_other_terms(after, terms, now, rota)
        after = after.posted(now, Service.NOTIFIER, ANSWERED)
    else:
        _check_type(approval, context)
        # Refused now, if it is too large to be shown, rather than when it has been judged.
        detail["proposed_digest"] = shown_digest(approval, context)
        after = after.struck(Service.EVALUATOR, JUDGE).posted(now, Service.EVALUATOR, JUDGE)
        after = after.model_copy(update={"amendment": context})
    detail |= {"version": after.version, "digest": after.digest}
    return Change(approval, after, "answered", actor, now, detail, claims=claims or {})


def _given(approval: Approval, position: int, words: str, now: datetime) -> Approval:
    """Return the approval with an answer; the clock runs on once no question waits for one."""
    questions = list(approval.questions)
    update = {"answer": words, "answered_at": now}
    questions[position] = questions[position].model_copy(update=update)
    after = approval.model_copy(update={"questions": tuple(questions)})
    return _resumed(after, now) if open_question(after) is None else after


def _stands(approval: Approval, context: dict[str, Any] | None) -> bool:
    """Tell whether the arguments of an answer are those that it has led to."""
    if context is None:
        return True
    return any(
        _same(context, standing)
        for standing in (approval.amendment, approval.context, approval.shown_context)
    )


def _same(one: dict[str, Any], other: dict[str, Any] | None) -> bool:
    return canonical_json(one) == canonical_json(other)


def _check_type(approval: Approval, context: Mapping[str, Any]) -> None:
    """Make sure that new arguments are for the same type of action.

    Raises:
        Refusal: `other_action_type`.
    """
    kinds = (approval.action_type, approval.context.get("action_type", approval.action_type))
    if context.get("action_type", approval.action_type) not in kinds:
        raise Refusal(
            "other_action_type",
            f"an answer may change the arguments of {approval.action_type}, and not make it "
            "another action: withdraw it, and ask anew",
            field="action_type",
        )


def amended(
    approval: Approval, judgement: Judgement, now: datetime, rota: Rota = ALWAYS
) -> Change | None:
    """Apply the verdict on the arguments that the agent has answered with.

    They are put to people whatever the verdict, since people were asked and have not answered;
    unless it is that they are denied.

    Args:
        approval: as it stands in the store.
        judgement: of the arguments in `approval.amendment`.
        now: the store's clock, UTC.
        rota: who is on duty when.

    Returns:
        The change; None if nothing waits to be judged.
    """
    actor = "policy"
    if approval.amendment is None or approval.status.is_final:
        if not approval.owes(Service.EVALUATOR):
            return None
        after = approval.struck(Service.EVALUATOR)
        return Change(approval, after, "moot", Service.EVALUATOR.value, now)
    if now >= approval.expires_at:
        # Its time is up: the tracker ends it.
        after = approval.struck(Service.EVALUATOR)
        return Change(approval, after, "moot", Service.EVALUATOR.value, now)
    detail = judgement.told()
    agent = f"agent:{approval.agent_id}"
    after = rewritten(approval, approval.amendment, None, agent, now)
    after = after.struck(Service.EVALUATOR, JUDGE).model_copy(
        update={
            "amendment": None,
            "severity": _severity(judgement),
            "reasons": judgement.reasons,
            "alerts": judgement.alerts,
            "policies": judgement.policies,
            "clauses": judgement.clauses,
            "policies_version": judgement.version,
        }
    )
    # Here the version is the request's.
    detail |= {"policies_version": judgement.version}
    detail |= {"version": after.version, "digest": after.digest}
    if judgement.verdict is Verdict.DENY:
        words = "; ".join(judgement.reasons)[:4000]
        ended = resolved(after, ActionStatus.REJECTED, now, actor, words, verdict=judgement.verdict)
        return ending(approval, ended, actor, now, detail)
    if judgement.verdict is Verdict.REQUIRE_APPROVAL and judgement.terms != approval.terms:
        after = _on_other_terms(after, judgement.terms, now, rota)
    after = after.posted(now, Service.NOTIFIER, ANSWERED)
    return Change(approval, after, "amended", actor, now, detail)


def _severity(judgement: Judgement) -> AlertSeverity:
    """Return the severity of the question: as of any that no alert speaks of, at the least, where
    the policies would not have asked it."""
    if judgement.verdict is Verdict.REQUIRE_APPROVAL:
        return judgement.severity
    return max(judgement.severity, AlertSeverity.WARNING, key=lambda severity: severity.rank)


def _on_other_terms(approval: Approval, terms: Terms, now: datetime, rota: Rota) -> Approval:
    """Return the approval on the terms of the new arguments, which are asked about anew: their
    steps begin now, within the time that is left."""
    update = {"terms": terms, "escalated": 0, "unreached_at": None}
    running = _resumed(approval, now).model_copy(update=update)
    after, _ = begun(running.struck(Service.TRACKER), now, rota)
    until = approval.paused_until
    if until is None or until <= now:
        return after
    # Another question waits, for which the clock stands still as before.
    moved = _moved(after, until - now, now)
    return moved.model_copy(update={"paused_at": now, "paused_until": until})
