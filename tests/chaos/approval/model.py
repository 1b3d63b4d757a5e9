"""All that can be seen of an approval, in a small model of its own without the product's rules.

A `State` is all of one approval and of the action behind it; `operations` says what is done to it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from safeguards_runtime.topology import HINT_GRACE_SECONDS, LEASE_SECONDS, Service

BASE = datetime(2020, 1, 1, tzinfo=UTC)
"""When every run begins. Long past, so that to the store's own clock, which leases, all is due."""

AGENT = "trader"
MEMBERS = ("alex", "sam")
ASKERS = ("kim", "pat")
"""For whom the agent acts, and who owns its key: members too, who may not answer."""

OUTSIDERS = ("olga",)
CONTEXT = {"amount": "2500.00", "payee": "ACME", "account": "77"}
EDITABLE = ("amount", "payee")
MAX_QUESTIONS = 20

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Modification:
    """What a reviewer may send as modifications: what really changes, and why it is refused."""

    sent: dict[str, Any] | None
    effect: Fields = ()
    refusal: str = ""


MODIFICATIONS = {
    "": Modification(None, (), "nothing_changed"),
    "empty": Modification({}, (), "nothing_changed"),
    "lower": Modification({"amount": "10.00"}, (("amount", "10.00"),)),
    "lower, and the rest": Modification(
        {"amount": "10.00", "payee": "ACME"}, (("amount", "10.00"),)
    ),
    "lowest": Modification({"amount": "1.00"}, (("amount", "1.00"),)),
    "respelt": Modification({"amount": "2500.0"}, (), "nothing_changed"),
    "in words": Modification({"amount": "ten"}, (("amount", "ten"),), "wrong_type"),
    "account": Modification({"account": "78"}, (("account", "78"),), "not_editable"),
}
FITTING = [name for name, wanted in MODIFICATIONS.items() if not wanted.refusal]
UNFIT = [name for name, wanted in MODIFICATIONS.items() if wanted.refusal and wanted.sent]


@dataclass(frozen=True)
class Setup:
    """How an approval comes about: for an action, or asked for directly."""

    by_action: bool
    silence_approves: bool
    has_callback: bool
    timeout_seconds: int
    quorum: int = 1


def sha256(value: Any) -> str:
    """Return the SHA-256 of canonical JSON (RFC 8785), which this is for ASCII strings."""
    encoded = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(encoded.encode()).hexdigest()


def shown_digest(setup: Setup) -> str:
    """Return the digest of what a reviewer is shown."""
    shown = {"agent_id": AGENT, "description": "", "context": CONTEXT}
    if setup.by_action:
        return sha256({**shown, "action_type": "transaction", "title": None})
    return sha256({**shown, "action_type": "request", "title": "Pay ACME"})


@dataclass(frozen=True)
class Decision:
    """How it ended."""

    status: str
    by: str
    at: datetime
    comments: str = ""
    changes: Fields = ()
    approvers: tuple[str, ...] = ()

    @property
    def approved_digest(self) -> str | None:
        """The digest of exactly what may run, if anything may."""
        allows = self.status in ("APPROVED", "MODIFIED")
        return sha256({**CONTEXT, **dict(self.changes)}) if allows else None

    @property
    def refusal(self) -> str:
        """What everybody hears who comes later."""
        return f"already_decided by {self.by}: {self.status}"


Owed = tuple[str, str, datetime]
"""A service, the event it must hear of, and since when."""

Message = tuple[str, int, str, str]
"""An event, the version it shows, the channel, and the reviewer or nobody."""

LEASED = -1
"""The time of an agenda's entry that some clock has leased."""


@dataclass(frozen=True)
class Paper:
    """What an approval and an action have in common.

    Attributes:
        history: the events.
        owed: the outbox.
        timer: when the tracker must look at it, apart from what is owed.
        agenda: each service on whose agenda it stands, and the milliseconds at which.
        told: the deliveries that were made for it.
    """

    history: tuple[str, ...]
    owed: tuple[Owed, ...] = ()
    timer: datetime | None = None
    agenda: frozenset[tuple[str, int]] = frozenset()
    told: frozenset[Message] = frozenset()

    def owes(self, service: str) -> bool:
        """Tell whether something is owed to a service."""
        return any(owed[0] == service for owed in self.owed)

    def changed(
        self, event: str, *, strike: Iterable[str] = (), post: Iterable[Owed] = (), **fields: Any
    ) -> Paper:
        """Return it with one more line, without what is owed to `strike`, with `post`."""
        left = (owed for owed in self.owed if owed[0] not in strike)
        owed = (*left, *post)
        after = replace(self, history=(*self.history, event), owed=owed, **fields)
        return replace(after, agenda=_entries(after.due()))

    def due(self) -> dict[str, datetime]:
        """Return when each service must look at it."""
        times = {Service.TRACKER.value: [self.timer]} if self.timer else {}
        for service, _, since in self.owed:
            times.setdefault(service, []).append(since + timedelta(seconds=HINT_GRACE_SECONDS))
        return {service: min(filter(None, found)) for service, found in times.items()}

    def settled(self, now: datetime) -> Paper:
        """Return it after somebody looked at it in vain: what is overdue waits as for a lease."""
        later = now + timedelta(seconds=LEASE_SECONDS)
        due = {service: at if at > now else later for service, at in self.due().items()}
        return replace(self, agenda=_entries(due))

    def leased(self, service: str) -> Paper:
        """Return it after a clock has leased it."""
        entries = ((name, LEASED if name == service else at) for name, at in self.agenda)
        return replace(self, agenda=frozenset(entries))


def _entries(due: Mapping[str, datetime]) -> frozenset[tuple[str, int]]:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return frozenset(
        (service, (at - epoch) // timedelta(milliseconds=1)) for service, at in due.items()
    )


@dataclass(frozen=True)
class State:
    """All that can be seen of one approval and the action behind it."""

    setup: Setup
    approval: Paper | None = None
    action: Paper | None = None
    deadline: datetime | None = None
    version: int = 1
    questions: tuple[tuple[str, str, str | None], ...] = ()
    """By whom, what, and the answer."""

    votes: Fields = ()
    """Who has approved this version, where several must, and in what words."""

    decision: Decision | None = None
    action_decision: Decision | None = None
    heard: tuple[tuple[str, ...], ...] = ()
    """What the agent has heard, in this order."""

    claims: frozenset[tuple[str, str]] = frozenset()
    """The idempotency keys that were taken, and the answers that they came with."""

    @property
    def lines(self) -> int:
        """How many lines of history there are."""
        return sum(len(paper.history) for paper in (self.approval, self.action) if paper)


def judged(setup: Setup, now: datetime) -> State:
    """Return an action for which an approval must be opened."""
    owed = ((Service.TRACKER.value, "open_approval", now),)
    paper = Paper(("submitted",)).changed("judged_require_approval", post=owed)
    return State(setup, action=paper)


def opened(state: State, now: datetime) -> State:
    """Return it with its approval open."""
    deadline = now + timedelta(seconds=state.setup.timeout_seconds)
    owed = ((Service.NOTIFIER.value, "approval.requested", now),)
    paper = Paper((), timer=deadline).changed("opened", post=owed)
    return replace(state, approval=paper, deadline=deadline)


def ended(state: State, decision: Decision) -> State:
    """Return it with its approval ended: the agent has heard it, the rest is owed."""
    assert state.approval is not None
    owed = [(Service.TRACKER.value, "close_action", decision.at)] if state.action else []
    owed.append((Service.NOTIFIER.value, "approval.resolved", decision.at))
    return replace(
        state,
        decision=decision,
        approval=state.approval.changed(
            decision.status.lower(), strike=[Service.NOTIFIER], post=owed, timer=None
        ),
        heard=(*state.heard, ("outcome", decision.status, decision.by)),
    )
