"""An action: what an agent wants to do, the verdict on it, and how it ended."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from safeguards.canonical import digest
from safeguards.contracts import ActionSubmission, ActionView, Outcome, Verdict
from safeguards.identifiers import twin_id
from safeguards.types import ActionStatus
from safeguards_runtime.records.events import ACTION_RESOLVED, ALERT_RAISED
from safeguards_runtime.records.judgement import Judgement
from safeguards_runtime.records.record import Change, Record, Refusal
from safeguards_runtime.records.window import Ledger
from safeguards_runtime.topology import Service

EVALUATE = "evaluate"
OPEN_APPROVAL = "open_approval"
SETTLE = "settle"


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

    on_behalf_of: str | None = None
    """The person the agent says it acts for."""

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
        """Return the lists of actions, of all and of its agent; and where a grant let it through,
        of those of the grant, of its agent, and of its agent and type."""
        names = {"actions", f"actions:agent:{self.agent_id}"}
        if self.judgement is not None and self.judgement.grant is not None:
            names.add(uses_index(self.judgement.grant.grant_id))
            names |= {granted_index(self.agent_id), granted_index(self.agent_id, self.action_type)}
        return frozenset(names)

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


def uses_index(grant_id: str) -> str:
    """Return the list of the actions that a grant let through."""
    return f"grant:{grant_id}:uses"


def granted_index(agent_id: str, action_type: str | None = None) -> str:
    """Return the list of an agent's actions that any grant let through; of one type."""
    # Last, since an agent's name may hold anything.
    name = "actions:granted" + (f":type:{action_type}" if action_type is not None else "")
    return f"{name}:agent:{agent_id}"


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
        on_behalf_of=submission.on_behalf_of,
        key_id=key_id,
        callback_url=submission.callback_url,
        timeout_seconds=submission.timeout_seconds,
        created_at=now,
    ).posted(now, Service.EVALUATOR, EVALUATE)
    detail = {"action_type": action.action_type, "digest": action.digest}
    actor = f"agent:{action.agent_id}"
    names = {"agents": action.agent_id, "action_types": action.action_type}
    return Change(None, action, "submitted", actor, now, detail, claims=claims or {}, names=names)


def askers(agent_id: str, owner: str | None, on_behalf_of: str | None) -> tuple[str, ...]:
    """Return who asks: the agent, its owner, the person it acts for."""
    return tuple(dict.fromkeys(who for who in (agent_id, owner, on_behalf_of) if who))


def judge(action: Action, judgement: Judgement, now: datetime) -> Change | None:
    """Apply a verdict. None if the action was judged before or withdrawn meanwhile."""
    if action.status.is_final or action.judgement is not None:
        return _taken_over(action, Service.EVALUATOR, now)
    action_before = action
    action = action.struck(Service.EVALUATOR).model_copy(update={"judgement": judgement})
    detail = judgement.told()
    if judgement.grant is not None:
        detail["grant"] = judgement.grant.model_dump(mode="json")
    feed: tuple[Outcome, ...] = ()
    match judgement.verdict:
        case Verdict.REQUIRE_APPROVAL:
            action = action.posted(now, Service.TRACKER, OPEN_APPROVAL)
        case Verdict.DENY:
            action = _ended(action, ActionStatus.REJECTED, now, "; ".join(judgement.reasons))
        case Verdict.ALLOW | Verdict.NOTIFY:
            given = judgement.grant
            words, by = (given.words(), given.decided_by) if given else ("", "policy")
            action = _ended(action, ActionStatus.APPROVED, now, words, by)
    if judgement.verdict is Verdict.NOTIFY:
        action = action.posted(now, Service.NOTIFIER, ALERT_RAISED)
    if action.outcome is not None:
        feed = (action.outcome,)
    event = f"judged_{judgement.verdict.value}"
    counts = judgement.counted()
    return Change(action_before, action, event, "policy", now, detail, feed, counts=counts)


def judged_again(action: Action, judgement: Judgement, now: datetime) -> Change | None:
    """Note what the action counts by other arguments that its agent proposes. None if nothing is
    counted otherwise."""
    before = action.judgement
    if before is None or action.status.is_final or before.reservations == judgement.reservations:
        return None
    update = {"reservations": judgement.reservations, "counting": judgement.counting}
    counted = before.model_copy(update=update)
    after = action.model_copy(update={"judgement": counted})
    return Change(action, after, "counted_again", Service.EVALUATOR.value, now)


def counted(action: Action, ledger: Ledger) -> tuple[Change, ...]:
    """Count what an action counts once it may run, in the very write by which it may: nothing is
    judged in between. Settling it afterwards finds it counted."""
    judged = action.judgement
    if judged is None or action.status.is_final:
        return ()
    ledger.allow(judged.reservations)
    held = [one.model_copy(update={"once_allowed": False}) for one in judged.reservations]
    update = {"judgement": judged.model_copy(update={"reservations": tuple(held)})}
    after = action.model_copy(update=update)
    change = Change(action, after, "counted", Service.EVALUATOR.value, ledger.now)
    return (change, *ledger.changes())


def settled(action: Action, now: datetime) -> Change:
    """Note that the windows of safeguards say of an ended action what is true of it."""
    after = action.struck(Service.EVALUATOR)
    return Change(action, after, "settled", Service.EVALUATOR.value, now)


def is_to_be_settled(action: Action) -> bool:
    """Tell whether an action has ended and what it counts has not been set right."""
    owed = action.owes(Service.EVALUATOR)
    return action.status.is_final and any(entry.event == SETTLE for entry in owed)


def _to_settle(action: Action, now: datetime) -> Action:
    """Return an ended action; where it counts in windows, to be settled."""
    judged = action.judgement
    modified = action.outcome is not None and bool(action.outcome.modifications)
    if judged is None or not (judged.reservations or (modified and judged.counting)):
        return action
    return action.posted(now, Service.EVALUATOR, SETTLE)


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
    ended = _to_settle(ended.struck(Service.EVALUATOR).struck(Service.TRACKER), now)
    assert ended.outcome is not None  # noqa: S101 - _ended sets it
    return Change(action, ended, "withdrawn", actor, now, feed=(ended.outcome,))


def close(action: Action, outcome: Outcome, now: datetime) -> Change | None:
    """Carry the outcome of its approval over. The agent has heard it already."""
    if action.status.is_final:
        return None
    update = {"status": outcome.status, "outcome": outcome}
    after = _to_settle(action.model_copy(update=update).struck(Service.TRACKER), now)
    detail = {"status": outcome.status.value, "decided_by": outcome.decided_by}
    return Change(action, after, "closed", Service.TRACKER.value, now, detail)


def told(action: Action, events: tuple[str, ...], deliveries: int, now: datetime) -> Change:
    """Note that the notifier has planned the deliveries of `events`."""
    after = action.struck(Service.NOTIFIER, *events)
    detail = {"events": list(events), "deliveries": deliveries}
    return Change(action, after, "notified", Service.NOTIFIER.value, now, detail)
