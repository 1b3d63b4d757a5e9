"""What a delivery says: the message to people about an action or an approval. No I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from safeguards.contracts import Outcome
from safeguards.notifications.message import Answerable, Link, Message, Thread
from safeguards.notifications.rendering import argument_label
from safeguards.text import visible
from safeguards.types import ActionStatus, AlertSeverity
from safeguards_runtime.headlines.sentence import headline
from safeguards_runtime.records import Action, Approval, Delivery
from safeguards_runtime.records.events import (
    ALERT_RAISED,
    ANSWERED,
    CHANGED,
    ESCALATED,
    HANDED_OVER,
    REMINDED,
    REQUESTED,
    UNREACHABLE,
)
from safeguards_runtime.records.modifications import differing
from safeguards_runtime.records.terms import AnsweredBy
from services.notifier.bodies import body
from services.notifier.planning import is_moot

VALUE_LIMIT = 1000
"""How many characters of one argument a message shows; the page behind its link shows all."""

TITLE_LIMIT = 150

ENTRIES_LIMIT = 20
"""How many requests a digest names; the page behind its link lists all."""

_LEADS = {
    REQUESTED: "Approval needed",
    REMINDED: "Reminder",
    ESCALATED: "Escalated to you",
    ANSWERED: "The agent has answered",
    CHANGED: "Changed by a reviewer",
    HANDED_OVER: "Handed over to you",
}


@dataclass(frozen=True)
class Reader:
    """Who a message is written for.

    Attributes:
        zone: in which times are given.
        absent: the name of whoever is away and in whose stead it is sent, or empty.
    """

    zone: ZoneInfo | None = None
    absent: str = ""


def compose(
    delivery: Delivery,
    source: Action | Approval,
    reader: Reader,
    review_url: str | None,
    console_url: str | None = None,
) -> Message:
    """Return the message of a delivery.

    Args:
        delivery: what is to be sent; its id is the message's.
        source: the action or approval that it tells of.
        reader: for whom.
        review_url: the recipient's own link, if this message asks.
        console_url: the request's page in the console, for those who sign in.
    """
    if isinstance(source, Action) and delivery.event == ALERT_RAISED:
        message = _alert(delivery, source)
    elif isinstance(source, Approval) and source.outcome is None:
        message = _request(delivery, source, reader, review_url, console_url)
    else:
        message = _outcome(delivery, source)
    thread = None
    if delivery.thread_id:
        thread = Thread(delivery.thread_id, delivery.begins_thread, delivery.thread_reference)
    return replace(message, thread=thread, data=body(delivery, source))


def digest(leader: Delivery, messages: Sequence[Message], list_url: str | None) -> Message:
    """Return the one message that stands for several to the same recipient.

    Args:
        leader: the delivery under whose id it is sent.
        messages: what the deliveries would have said one by one, in any order.
        list_url: where all of them are listed for the recipient, if they ask.
    """
    ordered = sorted(messages, key=lambda m: (-m.severity.rank, m.created_at))
    waiting = sum(1 for message in messages if message.answerable)
    count = len(messages)
    subject = f"{count} notices"
    if leader.asks:
        subject = f"{count} requests: {waiting} {'waits' if waiting == 1 else 'wait'} for an answer"
    if leader.asks and waiting == count:
        subject = f"{count} requests wait for your answer"
    return Message(
        id=leader.id,
        event="digest",
        subject=subject,
        severity=ordered[0].severity,
        link=Link("See all of them", list_url) if list_url else None,
        footer="They came faster than one message for each would have been of use.",
        entries=tuple(ordered[:ENTRIES_LIMIT]),
        left_out=max(0, count - ENTRIES_LIMIT),
        data={"deliveries": count},
        created_at=max(message.created_at for message in messages),
    )


def plain(delivery: Delivery, source: Action | Approval, review_url: str | None) -> Message:
    """Return the least that a message can say, for when it cannot be composed as it should."""
    what = "An approval is needed" if delivery.asks else "There is news of an action"
    return Message(
        id=delivery.id,
        event=delivery.event,
        subject=f"{what} ({source.id})",
        severity=AlertSeverity.WARNING,
        link=_link(delivery, source, review_url, None) if isinstance(source, Approval) else None,
        footer="This message could not be written in full; the page behind its link is complete.",
        data=body(delivery, source),
    )


def _request(
    delivery: Delivery,
    asked: Approval,
    reader: Reader,
    review_url: str | None,
    console_url: str | None,
) -> Message:
    deadline = _moment(asked.expires_at, reader.zone)
    lead = _LEADS.get(delivery.event, "Nobody could be reached")
    if delivery.event == HANDED_OVER and delivery.reviewer_id is None and asked.claim:
        lead = f"Handed over to {visible(asked.claim.reviewer_id, single_line=True, limit=60)}"
    leading = (*_handed(delivery, asked), *_wanted(asked), *_amended(delivery, asked))
    facts = [*leading, *_facts(asked), ("Answer by", deadline)]
    if reader.absent:
        facts.insert(0, ("In the stead of", reader.absent))
    is_open = not is_moot(delivery, asked) and delivery.updates is None
    answerable = Answerable(
        asked.id,
        asked.version,
        asked.digest,
        editable=bool(asked.editable_fields()),
        is_whole=_is_whole(asked),
        is_decided_here=_way(delivery) in asked.terms.answer_by,
    )
    return Message(
        id=delivery.id,
        event=delivery.event,
        created_at=_happened_at(delivery, asked),
        subject=f"{lead}: {_what(asked)} (until {deadline})",
        severity=asked.severity,
        facts=tuple(facts),
        agent_words=asked.description,
        reasons=_reasons(asked),
        link=_link(delivery, asked, review_url, console_url if is_open else None),
        footer=_footer(delivery, asked, reader, is_open=is_open),
        answerable=answerable if is_open and delivery.event != UNREACHABLE else None,
    )


def _way(delivery: Delivery) -> AnsweredBy:
    """Return by which way what is answered from a message comes in."""
    return "slack" if delivery.kind == "slack" else "email"


def _link(
    delivery: Delivery, asked: Approval, review_url: str | None, console_url: str | None
) -> Link | None:
    """Return where to answer; where that is neither here nor in the console, where to look."""
    ways = asked.terms.answer_by
    if review_url and "email" in ways:
        return Link("Review and answer", review_url)
    is_elsewhere = review_url is not None or _way(delivery) not in ways
    if console_url and "console" in ways and is_elsewhere:
        return Link("Open in the console", console_url)
    return Link("Look at it", review_url) if review_url else None


def _is_whole(asked: Approval) -> bool:
    """Tell whether a message holds all of the request: no title or value is shortened, and of the
    conversation there is no more than the one answer that it shows."""
    answered = [question for question in asked.questions if question.answer]
    return (
        len(visible(asked.agents_title, single_line=True)) <= TITLE_LIMIT
        and len(answered) <= 1
        and all(
            len(_text(value)) <= VALUE_LIMIT
            for shown in (asked.context, asked.shown_context)
            for value in shown.values()
        )
    )


def _handed(delivery: Delivery, asked: Approval) -> tuple[tuple[str, str], ...]:
    """Return who has handed it over, and with what words."""
    claim = asked.claim
    if delivery.event != HANDED_OVER or claim is None or claim.handed_by is None:
        return ()
    note = (("Their note", claim.note),) if claim.note else ()
    return (("Handed over by", claim.handed_by), *note)


def _wanted(asked: Approval) -> tuple[tuple[str, str], ...]:
    """Return how many people must approve, who has, and what a reviewer has changed for that."""
    rows: list[tuple[str, str]] = []
    terms = asked.terms
    if terms.quorum > 1:
        so_far = ", ".join(vote.reviewer_id for vote in asked.votes)
        people = f"{terms.quorum} people must approve"
        rows.append(("Approvals", f"{people}; so far {so_far}" if so_far else people))
    if asked.modified_by:
        who = asked.modified_by
        words = f"{who}, whose own approval does not count" if terms.four_eyes else who
        rows.append(("Changed by", words))
    return (*rows, *_changes(asked, asked.modifications))


def _amended(delivery: Delivery, asked: Approval) -> tuple[tuple[str, str], ...]:
    """Return what the agent has changed with the answer that is told of."""
    earlier = asked.earlier
    if delivery.event != ANSWERED or earlier is None or earlier.version != asked.version - 1:
        return ()
    before, after = earlier.context, asked.shown_context
    removed = [(f"{name} (removed)", _value(before[name])) for name in before.keys() - after.keys()]
    changed = [
        (f"{name} (changed)", f"{_value(before[name])} → {_value(value)}")
        if name in before
        else (f"{name} (added)", _value(value))
        for name, value in after.items()
        if name not in before or differing(before, {name: value})
    ]
    return (*changed, *sorted(removed))


def _happened_at(delivery: Delivery, asked: Approval) -> datetime:
    later = None if delivery.event == REQUESTED else delivery.planned_at
    return later or asked.created_at


def _reasons(asked: Approval) -> tuple[str, ...]:
    reasons = [*asked.reasons, *_policy(asked)]
    last = asked.questions[-1] if asked.questions else None
    if last and last.answer:
        reasons.append(
            f"{last.asked_by} asked: {last.question} — the agent answered: {last.answer}"
        )
    return tuple(reasons)


def _policy(asked: Approval) -> tuple[str, ...]:
    """Return which policies asked for it, and the version of all of them."""
    if not asked.policies:
        return ()
    version = f"; policies {asked.policies_version}" if asked.policies_version else ""
    word = "Policy" if len(asked.policies) == 1 else "Policies"
    return (f"{word} {', '.join(asked.policies)}{version}",)


def _footer(delivery: Delivery, asked: Approval, reader: Reader, *, is_open: bool) -> str:
    """Return how it is answered, if not from the message; and what happens while nobody does."""
    if not is_open:
        return "This has changed since: answer the newer message instead."
    silence = "approved" if asked.silence_approves else "rejected"
    words = [f"If nobody answers by {_moment(asked.expires_at, reader.zone)}, it is {silence}."]
    coming = next((step for step in asked.steps if step.event == ESCALATED), None)
    if coming and asked.escalated < len(asked.terms.escalation):
        groups = ", ".join(asked.terms.escalation[asked.escalated].groups)
        words.insert(0, f"At {_moment(coming.at, reader.zone)} it goes to {groups} as well.")
    if _way(delivery) not in asked.terms.answer_by:
        words.insert(0, f"This request is answered {asked.terms.how_answered()}.")
    return " ".join(words)


def _alert(delivery: Delivery, source: Action) -> Message:
    judged = source.judgement
    severity = judged.severity if judged else AlertSeverity.INFO
    agent = visible(source.agent_id, single_line=True)
    return Message(
        id=delivery.id,
        event=delivery.event,
        created_at=source.created_at,
        subject=f"{severity}: {agent} goes ahead: {_what(source)}",
        severity=severity,
        facts=_facts(source),
        agent_words=source.description,
        reasons=judged.reasons if judged else (),
        footer="The policy allows this. You are told, not asked.",
    )


def _outcome(delivery: Delivery, source: Action | Approval) -> Message:
    outcome = source.outcome
    if outcome is None:
        raise ValueError(f"{source.id} has no outcome to tell of")
    return Message(
        id=delivery.id,
        event=delivery.event,
        created_at=outcome.decided_at,
        subject=f"{_ENDED[outcome.status]}: {_what(source)}",
        severity=source.severity if isinstance(source, Approval) else AlertSeverity.INFO,
        facts=(*_decided(outcome), *_changes(source, outcome.modifications), *_facts(source)),
        reasons=(),
        agent_words="",
        footer=_comment(outcome),
    )


_ENDED = {
    ActionStatus.APPROVED: "Approved",
    ActionStatus.MODIFIED: "Approved with changes",
    ActionStatus.REJECTED: "Rejected",
    ActionStatus.TIMED_OUT: "Timed out",
    ActionStatus.CANCELLED: "Withdrawn",
}


def _decider(outcome: Outcome) -> str:
    """Return who decided: "B for A" where somebody stood in."""
    return " for ".join(who for who in (outcome.decided_by, outcome.decided_for) if who)


def _comment(outcome: Outcome) -> str:
    return f"{_decider(outcome)} wrote: {outcome.comments}" if outcome.comments else ""


def _decided(outcome: Outcome) -> tuple[tuple[str, str], ...]:
    """Return who decided; where several approved, all of them."""
    decided = ("Decided by", _decider(outcome))
    if len(outcome.approvers) < 2:
        return (decided,)
    return (decided, ("Approved by", ", ".join(outcome.approvers)))


def _changes(
    source: Action | Approval, changed: Mapping[str, Any] | None
) -> tuple[tuple[str, str], ...]:
    return tuple(
        (f"{name} (changed)", f"{_value(source.context.get(name))} → {_value(value)}")
        for name, value in (changed or {}).items()
    )


def _facts(source: Action | Approval) -> tuple[tuple[str, str], ...]:
    """Return who wants to do what, with which arguments, from the real payload: of what is still
    asked, as it would run."""
    context = source.context
    if isinstance(source, Approval) and source.outcome is None:
        context = source.shown_context
    rows = [("Agent", source.agent_id), ("Action", source.action_type)]
    rows += [
        (argument_label(name), _value(value))
        for name, value in context.items()
        if (name, value) != ("action_type", source.action_type)
    ]
    return tuple(rows)


def _what(source: Action | Approval) -> str:
    """Return what a message is about, as its subject says it: the title that the agent gave, or
    what would run, or was allowed to, in one sentence, unless its arguments could mean something
    else."""
    title = source.agents_title if isinstance(source, Approval) else source.title
    said = (title or "").strip()
    if not said:
        made = headline(source)
        said = made.sentence if not made.is_ambiguous else source.title or source.action_type
    return visible(said, single_line=True, limit=TITLE_LIMIT)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _value(value: Any) -> str:
    text = _text(value)
    return text if len(text) <= VALUE_LIMIT else text[: VALUE_LIMIT - 1] + "…"


def _moment(moment: datetime, zone: ZoneInfo | None) -> str:
    local = moment.astimezone(zone or UTC)
    return local.strftime("%-d %b %Y %H:%M:%S %Z")
