"""The timeline of a request: every step, message and view, in words. No I/O.

What people and agents wrote stands apart from our words, so that it cannot pass for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from safeguards.contracts import HistoryView
from safeguards.text import visible
from safeguards_runtime.records import Approval, Delivery
from safeguards_runtime.records.delivery import CALLBACK, DeliveryStatus
from safeguards_runtime.records.terms import WAYS
from services.gateway.wording import duration

MAX_ENTRIES = 300
WORDS_LIMIT = 4_000
NAME_LIMIT = 80

Named = Callable[[str], str]
"""Returns the name of a reviewer by their id; visible, one line."""


@dataclass(frozen=True)
class Entry:
    """One thing that happened.

    Attributes:
        at: when, UTC.
        said: what, in our words; visible.
        quoted: what somebody wrote with it; visible.
        kind: `step`, `message` or `view`.
        is_fault: whether something went wrong.
    """

    at: datetime
    said: str
    quoted: str = ""
    kind: str = "step"
    is_fault: bool = False


def timeline(
    asked: Approval,
    history: Iterable[HistoryView],
    deliveries: Iterable[Delivery],
    named: Named,
) -> tuple[Entry, ...]:
    """Return what has happened to a request, the latest first, at most 300 entries."""
    entries = [entry for line in history for entry in _steps(line, named)]
    entries += [entry for delivery in deliveries for entry in _messages(delivery, named)]
    entries += [
        Entry(
            view.at,
            f"{named(view.reviewer_id)} has seen {_version(view.version)}",
            kind="view",
        )
        for view in asked.views
    ]
    entries.sort(key=lambda entry: entry.at, reverse=True)
    return tuple(entries[:MAX_ENTRIES])


def person(named: Named, reviewer_id: str, stood_in_for: str | None = None) -> str:
    """Return who it was by name: "B for A" where somebody stood in."""
    return " for ".join(named(who) for who in (reviewer_id, stood_in_for) if who)


# --- the steps ----------------------------------------------------------------------------------

# What our words say of each event of a history; {who} is whoever did it.
_SAID: Mapping[str, str] = {
    "opened": "{who} asked",
    "asked": "{who} asked the agent",
    "answered": "The agent answered",
    "voted": "{who} approved; others must as well",
    "approved": "{who} approved",
    "modified": "{who} approved with changes",
    "proposed": "{who} changed what is asked; others must approve",
    "rejected": "{who} rejected",
    "timed_out": "Time was up and nobody had answered",
    "cancelled": "{who} withdrew the request",
    "claimed": "{who} took it in hand",
    "released": "{who} let it go again",
    "handed_over": "{who} handed it over to {to}",
    "reminded": "Those who are asked were reminded",
    "escalated": "It went to more people: {groups}",
    "unreachable": "No message could reach anybody of {groups}",
    "amended": "The agent's new arguments were judged",
}
# What is told by other entries, or is housekeeping.
_PASSED_OVER = frozenset({"viewed", "notified", "reached", "action_closed", "waits_on", "moot"})


def _steps(line: HistoryView, named: Named) -> Iterator[Entry]:
    if line.event in _PASSED_OVER:
        return
    detail = line.detail
    said = _SAID.get(line.event, "{who}: " + visible(line.event.replace("_", " "), limit=80))
    words = {
        "who": _actor(line.actor, detail, named),
        "to": person(named, str(detail.get("to", ""))),
        "groups": _short(", ".join(map(str, detail.get("groups") or ()))),
    }
    quoted = [
        str(detail[key]) for key in ("question", "answer", "comments", "note") if detail.get(key)
    ]
    text = said.format(**words) + _policy(detail)
    if line.event == "opened" and detail.get("nobody_on_duty"):
        text += "; nobody who is asked first was on duty"
    if detail.get("via") in WAYS:
        text += f", {WAYS[detail['via']]}"
    if line.event == "asked" and detail.get("pause"):
        text += "; the clock stands still"
    yield Entry(line.at, text, visible("\n".join(quoted), limit=WORDS_LIMIT))


def _policy(detail: Mapping[str, Any]) -> str:
    """Return which policies wanted people to be asked, and their version."""
    names, version = detail.get("policies"), detail.get("policies_version")
    if not names or not version:
        return ""
    named = f"{'policy' if len(names) == 1 else 'policies'} {', '.join(map(str, names))}"
    return visible(f"; by {named} (policies {version})", single_line=True, limit=400)


def _actor(actor: str, detail: Mapping[str, Any], named: Named) -> str:
    kind, _, name = actor.partition(":")
    match kind:
        case "reviewer":
            return person(named, name, detail.get("for"))
        case "agent":
            return _short(name)
        case "policy":
            return "The policy"
        case _:
            return "The system"


def _version(number: int) -> str:
    return "it" if number == 1 else f"version {number}"


# --- the messages -------------------------------------------------------------------------------

_ABOUT: Mapping[str, str] = {
    "approval.requested": "The request",
    "approval.reminded": "A reminder",
    "approval.escalated": "The request",
    "approval.answered": "The agent's answer",
    "approval.resolved": "The outcome",
    "approval.unreachable": "That nobody could be reached",
    "approval.handed_over": "That it was handed over",
    "approval.changed": "The changes",
    "alert.raised": "The notice",
}
_KINDS: Mapping[str, str] = {"email": "mail", "slack": "Slack", "webhook": "webhook", "log": "log"}


def _messages(delivery: Delivery, named: Named) -> Iterator[Entry]:
    what = _ABOUT.get(delivery.event, visible(delivery.event, single_line=True, limit=NAME_LIMIT))
    if delivery.updates:
        what = "A change of the message"
    way = _KINDS.get(delivery.kind, visible(delivery.kind, single_line=True, limit=NAME_LIMIT))
    whom = "the agent's own address" if delivery.channel == CALLBACK else _short(delivery.channel)
    if delivery.reviewer_id:
        whom = person(named, delivery.reviewer_id, delivery.stands_in_for)
    said = f"{what} by {way} to {whom}"
    for number, attempt in enumerate(delivery.attempts, start=1):
        at = attempt.ended_at or attempt.started_at
        if attempt.error is not None:
            words = f"{said}: attempt {number} failed"
            yield Entry(at, words, visible(attempt.error, limit=500), "message", is_fault=True)
        elif attempt.ended_at is not None:
            took = duration(attempt.ended_at - attempt.started_at)
            yield Entry(
                at, f"{said}: sent" + (f", in {took}" if took != "0 s" else ""), "", "message"
            )
        else:
            yield Entry(at, f"{said}: being sent", "", "message")
    if delivery.status is DeliveryStatus.DEAD:
        at = delivery.attempts[-1].started_at if delivery.attempts else delivery.next_attempt_at
        words = visible(delivery.error, limit=500)
        yield Entry(at, f"{said}: given up", words, "message", is_fault=True)
    elif delivery.planned_at and not delivery.attempts:
        state = (
            "not sent, it had been answered"
            if delivery.status is DeliveryStatus.MOOT
            else "to be sent"
        )
        yield Entry(delivery.planned_at, f"{said}: {state}", "", "message")


def _short(text: str) -> str:
    return visible(text, single_line=True, limit=NAME_LIMIT)
