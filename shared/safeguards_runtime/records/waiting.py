"""What happens to an approval while nobody answers: reminders, escalation, the deadline. No I/O."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from safeguards.types import ActionStatus
from safeguards_runtime.records.approval_record import Approval, Step
from safeguards_runtime.records.ending import UNREACHED, ending, resolved
from safeguards_runtime.records.events import ASKING, ESCALATED, REMINDED, UNREACHABLE
from safeguards_runtime.records.record import Change
from safeguards_runtime.records.rota import ALWAYS, Rota
from safeguards_runtime.records.terms import Terms
from safeguards_runtime.topology import Service


def deadline(terms: Terms, seconds: int, now: datetime, rota: Rota) -> datetime:
    """Return when `seconds` have passed: of working time, if the terms count only that."""
    if terms.working_hours:
        return rota.after(terms.groups, now, seconds)
    return now + timedelta(seconds=seconds)


def steps(approval: Approval, now: datetime, rota: Rota) -> tuple[Step, ...]:
    """Return what is done, and when, as long as nobody answers."""
    terms = approval.terms
    wanted = [(seconds, REMINDED) for seconds in terms.remind_after_seconds]
    wanted += [(step.after_seconds, ESCALATED) for step in terms.escalation]
    coming = [
        Step(at=deadline(terms, seconds, now, rota), event=event)
        for seconds, event in sorted(wanted)
    ]
    return tuple(step for step in coming if step.at < approval.expires_at)


def begun(approval: Approval, now: datetime, rota: Rota) -> tuple[Approval, bool]:
    """Return an approval that is asked from now on, with its steps; and whether anybody who is
    asked first is on duty. If nobody is, all are asked at once."""
    after = approval.model_copy(update={"steps": steps(approval, now, rota)})
    covered = approval.terms.working_hours or rota.is_covered(
        after.groups, now, after.severity, without=after.askers
    )
    if after.terms.escalation and not covered:
        return escalated(after, len(after.terms.escalation)), False
    return after, True


def escalated(approval: Approval, level: int) -> Approval:
    """Return the approval with so many steps of its escalation taken."""
    coming = [step for step in approval.steps if step.event == ESCALATED]
    gone = coming[: level - approval.escalated]
    left = tuple(step for step in approval.steps if step not in gone)
    return approval.model_copy(update={"escalated": level, "steps": left})


def advance(
    approval: Approval, now: datetime, rota: Rota = ALWAYS, *, is_halted: bool = False
) -> Change | None:
    """Do what is due while nobody answers: remind, escalate, or end it. None if nothing is.

    Args:
        approval: as it stands in the store.
        now: the store's clock, UTC.
        rota: who is on duty when.
        is_halted: whether the agent, or the type of action, is halted.
    """
    if approval.status.is_final:
        return None
    if now >= approval.expires_at:
        return time_out(approval, now, is_halted=is_halted)
    unreached = any(entry.event == UNREACHED for entry in approval.owes(Service.TRACKER))
    due = [step for step in approval.steps if step.at <= now]
    if not (due or unreached):
        return None
    if unreached and approval.terms.on_unreachable == "reject":
        return _given_up(approval, now)
    after = approval.struck(Service.TRACKER, UNREACHED)
    events: list[str] = []
    climbs = sum(step.event == ESCALATED for step in due) or int(unreached)
    after = _climbed(after, climbs, now, rota)
    coming = tuple(step for step in after.steps if step.at > now)
    after = after.model_copy(update={"steps": coming})
    if after.escalated > approval.escalated:
        events.append(ESCALATED)
    if any(step.event == REMINDED for step in due):
        after = after.model_copy(update={"reminders": after.reminders + 1})
        events.append(REMINDED)
    for event in events:
        after = after.posted(now, Service.NOTIFIER, event)
    what = "escalated" if ESCALATED in events else "reminded" if events else "waits_on"
    detail: dict[str, Any] = {"groups": list(after.groups)}
    return Change(approval, after, what, Service.TRACKER.value, now, detail)


def _climbed(approval: Approval, steps: int, now: datetime, rota: Rota) -> Approval:
    """Take so many steps of the escalation; all, if nobody of the next groups is on duty."""
    chain = approval.terms.escalation
    level = min(approval.escalated + steps, len(chain))
    added = [group for step in chain[approval.escalated : level] for group in step.groups]
    useless = (*approval.askers, *approval.spoken)
    if added and not rota.is_covered(added, now, approval.severity, without=useless):
        level = len(chain)
    return escalated(approval, level)


def _given_up(approval: Approval, now: datetime) -> Change:
    actor = Service.TRACKER.value
    words = "nobody who may answer could be reached"
    ended = resolved(approval, ActionStatus.REJECTED, now, "nobody", words)
    return ending(approval, ended, actor, now, {"on_unreachable": approval.terms.on_unreachable})


def time_out(approval: Approval, now: datetime, *, is_halted: bool = False) -> Change | None:
    """End an approval that nobody answered in time. None if it is not time, or has ended.

    Args:
        is_halted: whether the agent, or the type of action, is halted: then silence is no consent.
    """
    if approval.status.is_final or now < approval.expires_at:
        return None
    actor = Service.TRACKER.value
    was_told = approval.reached_at is not None and approval.unreached_at is None
    if approval.silence_approves and was_told and not is_halted:
        ended = resolved(approval, ActionStatus.APPROVED, now, "nobody", "nobody objected in time")
    else:
        ended = resolved(approval, ActionStatus.TIMED_OUT, now, "nobody", "")
    return ending(approval, ended, actor, now, {"on_timeout": approval.terms.on_timeout})


def reached(approval: Approval, now: datetime) -> Change | None:
    """Note that a message that asks was taken by what reaches a person. None if that is known, or
    is of no consequence."""
    is_wanted = approval.silence_approves and not approval.status.is_final
    if not is_wanted or approval.reached_at is not None:
        return None
    after = approval.model_copy(update={"reached_at": now})
    return Change(approval, after, "reached", Service.NOTIFIER.value, now)


def told(
    approval: Approval,
    events: tuple[str, ...],
    deliveries: int,
    now: datetime,
    *,
    reaches: bool = True,
) -> Change:
    """Note that the notifier has planned the deliveries of `events`.

    Args:
        reaches: whether any of them may reach a person, if they ask.
    """
    after = approval.struck(Service.NOTIFIER, *events)
    detail: dict[str, Any] = {"events": list(events), "deliveries": deliveries}
    counts: tuple[str, ...] = ()
    if not reaches:
        detail["reached"] = False
    if not reaches and approval.unreached_at is None:
        after = _unreached(after, now)
        counts = (UNREACHABLE,)
    elif not reaches and ESCALATED in events:
        # That is known; but those further up have not been tried.
        after = _handed_on(after, now)
    elif reaches and approval.unreached_at and ASKING & set(events):
        after = after.model_copy(update={"unreached_at": None}).struck(Service.TRACKER, UNREACHED)
    actor = Service.NOTIFIER.value
    return Change(approval, after, "notified", actor, now, detail, counts=counts)


def unreached(approval: Approval, now: datetime) -> Change | None:
    """Note that no message has reached anybody who may answer. None if that is known, or is of no
    consequence any more."""
    if approval.status.is_final or approval.unreached_at:
        return None
    after = _unreached(approval, now)
    detail = {"groups": list(approval.groups)}
    return Change(
        approval, after, "unreachable", Service.NOTIFIER.value, now, detail, counts=(UNREACHABLE,)
    )


def _unreached(approval: Approval, now: datetime) -> Approval:
    after = approval.model_copy(update={"unreached_at": now})
    return _handed_on(after.posted(now, Service.NOTIFIER, UNREACHABLE), now)


def _handed_on(approval: Approval, now: datetime) -> Approval:
    """Let the tracker see to it that nobody was reached, if the terms want more than waiting."""
    if approval.terms.on_unreachable == "wait":
        return approval
    return approval.posted(now, Service.TRACKER, UNREACHED)
