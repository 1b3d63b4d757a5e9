"""An action: what an agent wants to do, the verdict on it, and how it ended."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from safeguards.canonical import digest
from safeguards.contracts import ActionSubmission, ActionView, AlertView, Outcome, Verdict
from safeguards.identifiers import twin_id
from safeguards.types import ActionStatus, AlertSeverity
from safeguards_runtime.records.events import ACTION_RESOLVED, ALERT_RAISED
from safeguards_runtime.records.record import Change, Record, Refusal
from safeguards_runtime.topology import Service

EVALUATE = "evaluate"
OPEN_APPROVAL = "open_approval"


class Escalation(BaseModel):
    """One step of an escalation chain: whom to ask as well, and when."""

    model_config = ConfigDict(frozen=True)

    after_seconds: int
    """Since the approval was opened."""

    groups: tuple[str, ...]
    channels: tuple[str, ...] = ()
    """Those of the terms unless given."""


class Terms(BaseModel):
    """How people are asked: what a policy says of the approval that it requires."""

    model_config = ConfigDict(frozen=True)

    groups: tuple[str, ...]
    channels: tuple[str, ...]
    """By name, in the order in which they are tried."""

    order: Literal["all", "chain"] = "all"
    """All channels at once; or one after the other, the next where the one before fails."""

    timeout_seconds: int
    on_timeout: str
    editable: tuple[str, ...]
    remind_after_seconds: tuple[int, ...] = ()
    """When those who were asked are asked again, in seconds since the approval was opened."""

    escalation: tuple[Escalation, ...] = ()
    working_hours: bool = False
    """Whether seconds count only while somebody of the groups is at work."""

    on_unreachable: Literal["wait", "escalate", "reject"] = "escalate"
    """What follows when no message has reached anybody who may answer."""

    sign_in_from: AlertSeverity | None = AlertSeverity.CRITICAL
    """From this severity on the link in a mail is not enough to answer by. None: it always is."""


class Judgement(BaseModel):
    """What the evaluator found: the verdict, why, and on what terms people are asked."""

    model_config = ConfigDict(frozen=True)

    verdict: Verdict
    alerts: tuple[AlertView, ...] = ()
    reasons: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    terms: Terms


class Action(Record):
    """What an agent wants to do."""

    services: ClassVar = (Service.EVALUATOR, Service.TRACKER, Service.NOTIFIER)

    agent_id: str
    action_type: str
    context: dict[str, Any]
    title: str | None = None
    description: str = ""
    digest: str
    askers: tuple[str, ...]
    """Who may not answer: the agent, its owner, and the person it acts for."""

    key_id: str
    """The API key that it came with; its secret signs the callback."""

    callback_url: str | None = None
    timeout_seconds: int | None = None
    created_at: datetime
    judgement: Judgement | None = None
    status: ActionStatus = ActionStatus.PENDING
    outcome: Outcome | None = None

    @property
    def approval_id(self) -> str:
        """The approval's identifier, if a person must decide."""
        return twin_id("apr", self.id)

    def indexes(self) -> frozenset[str]:
        """Return the lists of actions, of all and of its agent."""
        return frozenset({"actions", f"actions:agent:{self.agent_id}"})

    def view(self) -> ActionView:
        """Return what the agent may see."""
        judged = self.judgement
        asked = judged is not None and judged.verdict is Verdict.REQUIRE_APPROVAL
        return ActionView(
            id=self.id,
            agent_id=self.agent_id,
            action_type=self.action_type,
            context=self.context,
            digest=self.digest,
            status=self.status,
            verdict=judged.verdict if judged else None,
            alerts=judged.alerts if judged else (),
            reasons=judged.reasons if judged else (),
            approval_id=self.approval_id if asked else None,
            created_at=self.created_at,
            outcome=self.outcome,
        )


def content_digest(
    agent_id: str, action_type: str, title: str | None, description: str, context: dict[str, Any]
) -> str:
    """Return the digest of all that a person is shown of an action."""
    return digest(
        {
            "agent_id": agent_id,
            "action_type": action_type,
            "title": title,
            "description": description,
            "context": context,
        },
        depth=-1,
    )


def submit(
    action_id: str,
    submission: ActionSubmission,
    *,
    key_id: str,
    owner: str | None,
    now: datetime,
    claims: dict[str, str] | None = None,
) -> Change:
    """Take in an action, to be evaluated.

    Args:
        action_id: a fresh `act_…`.
        submission: what the agent sent.
        key_id: the API key that it came with.
        owner: the person that the key belongs to, who may then not answer.
        now: the store's clock, UTC.
        claims: the idempotency key, if any.
    """
    action = Action(
        id=action_id,
        agent_id=submission.agent_id,
        action_type=submission.action_type,
        context=submission.context,
        title=submission.title,
        description=submission.description,
        digest=content_digest(
            submission.agent_id,
            submission.action_type,
            submission.title,
            submission.description,
            submission.context,
        ),
        askers=askers(submission.agent_id, owner, submission.on_behalf_of),
        key_id=key_id,
        callback_url=submission.callback_url,
        timeout_seconds=submission.timeout_seconds,
        created_at=now,
    ).posted(now, Service.EVALUATOR, EVALUATE)
    detail = {"action_type": action.action_type, "digest": action.digest}
    actor = f"agent:{action.agent_id}"
    return Change(None, action, "submitted", actor, now, detail, claims=claims or {})


def askers(agent_id: str, owner: str | None, on_behalf_of: str | None) -> tuple[str, ...]:
    """Return who asks: the agent, its owner, the person it acts for."""
    return tuple(dict.fromkeys(who for who in (agent_id, owner, on_behalf_of) if who))


def judge(action: Action, judgement: Judgement, now: datetime) -> Change | None:
    """Apply a verdict. None if the action was judged before or withdrawn meanwhile."""
    if action.status.is_final or action.judgement is not None:
        return _taken_over(action, Service.EVALUATOR, now)
    action_before = action
    action = action.struck(Service.EVALUATOR).model_copy(update={"judgement": judgement})
    detail = {
        "verdict": judgement.verdict.value,
        "policies": list(judgement.policies),
        "reasons": list(judgement.reasons),
    }
    feed: tuple[Outcome, ...] = ()
    match judgement.verdict:
        case Verdict.REQUIRE_APPROVAL:
            action = action.posted(now, Service.TRACKER, OPEN_APPROVAL)
        case Verdict.DENY:
            action = _ended(action, ActionStatus.REJECTED, now, "; ".join(judgement.reasons))
        case Verdict.ALLOW | Verdict.NOTIFY:
            action = _ended(action, ActionStatus.APPROVED, now, "")
    if judgement.verdict is Verdict.NOTIFY:
        action = action.posted(now, Service.NOTIFIER, ALERT_RAISED)
    if action.outcome is not None:
        feed = (action.outcome,)
    event = f"judged_{judgement.verdict.value}"
    return Change(action_before, action, event, "policy", now, detail, feed)


def _taken_over(action: Action, service: Service, now: datetime) -> Change | None:
    """Strike what is no longer to be done, if anything is left of it."""
    if not action.owes(service):
        return None
    return Change(action, action.struck(service), "moot", service.value, now)


def _ended(
    action: Action, status: ActionStatus, now: datetime, comments: str, decided_by: str = "policy"
) -> Action:
    verdict = action.judgement.verdict if action.judgement else Verdict.REQUIRE_APPROVAL
    outcome = Outcome(
        status=status,
        verdict=verdict,
        agent_id=action.agent_id,
        action_id=action.id,
        comments=comments[:4000],
        decided_by=decided_by,
        decided_at=now,
        approved_digest=digest(action.context) if status.allows else None,
    )
    ended = action.model_copy(update={"status": status, "outcome": outcome})
    return ended.posted(now, Service.NOTIFIER, ACTION_RESOLVED) if ended.callback_url else ended


def withdraw(action: Action, now: datetime) -> Change | None:
    """Withdraw an action for which no approval is open yet. None if it was withdrawn before.

    Raises:
        Refusal: `already_decided` if it ended in another way.
    """
    if action.status is ActionStatus.CANCELLED:
        return None
    if action.status.is_final:
        raise Refusal("already_decided", f"the action has ended: {action.status}")
    actor = f"agent:{action.agent_id}"
    ended = _ended(action, ActionStatus.CANCELLED, now, "", actor)
    ended = ended.struck(Service.EVALUATOR).struck(Service.TRACKER)
    assert ended.outcome is not None  # noqa: S101 - _ended sets it
    return Change(action, ended, "withdrawn", actor, now, feed=(ended.outcome,))


def close(action: Action, outcome: Outcome, now: datetime) -> Change | None:
    """Carry the outcome of its approval over. The agent has heard it already."""
    if action.status.is_final:
        return None
    update = {"status": outcome.status, "outcome": outcome}
    after = action.model_copy(update=update).struck(Service.TRACKER)
    detail = {"status": outcome.status.value, "decided_by": outcome.decided_by}
    return Change(action, after, "closed", Service.TRACKER.value, now, detail)


def told(action: Action, events: tuple[str, ...], deliveries: int, now: datetime) -> Change:
    """Note that the notifier has planned the deliveries of `events`."""
    after = action.struck(Service.NOTIFIER, *events)
    detail = {"events": list(events), "deliveries": deliveries}
    return Change(action, after, "notified", Service.NOTIFIER.value, now, detail)
