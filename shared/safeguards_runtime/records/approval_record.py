"""An approval as it is kept: the record, and what is read off it. Its rules: `approval`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from safeguards.contracts import AlertView, ApprovalView, Outcome, Question
from safeguards.types import ActionStatus, AlertSeverity
from safeguards_runtime.records.judgement import Clause
from safeguards_runtime.records.record import Record
from safeguards_runtime.records.terms import Terms
from safeguards_runtime.records.traces import Claim, Earlier, View, Vote
from safeguards_runtime.topology import Service

UNREACHED_INDEX = "approvals:unreached"
"""The list of those that are waiting and have reached nobody."""

WAITING = "waiting"
"""The list of those that are open, by their deadlines."""

ENDED = "ended"
"""The list of those that have ended, by when they did."""


class Step(BaseModel):
    """What is done if nobody has answered by then."""

    model_config = ConfigDict(frozen=True)

    at: datetime
    event: str
    """REMINDED or ESCALATED."""


def made_title(agent_id: str, action_type: str) -> str:
    """Return the title of an approval for which the agent gave none."""
    return f"{agent_id} wants to run {action_type}"


class Approval(Record):
    """One question to people about one action."""

    services: ClassVar = (Service.TRACKER, Service.NOTIFIER, Service.EVALUATOR)
    is_news: ClassVar = True

    action_id: str | None = None
    agent_id: str
    action_type: str
    title: str
    description: str = ""
    context: dict[str, Any]
    """The arguments, as the agent has last asked for them. People are shown `shown_context`."""

    digest: str
    """Of all that a person is shown. A response names it, so that it binds to nothing else."""

    version: int = 1
    """Rises when what a person is shown changes; not with every revision of the record."""

    status: ActionStatus = ActionStatus.PENDING
    severity: AlertSeverity = AlertSeverity.WARNING
    reasons: tuple[str, ...] = ()
    alerts: tuple[AlertView, ...] = ()
    policies: tuple[str, ...] = ()
    """The policies that asked for it, by name."""

    clauses: tuple[Clause, ...] = ()
    """What in these policies asked for it."""

    policies_version: str = ""
    """Of the policies: the first 12 hexadecimal digits of their SHA-256. Empty if none judged."""

    terms: Terms
    askers: tuple[str, ...]
    on_behalf_of: str | None = None
    """The person the agent says it acts for."""

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

    reached_at: datetime | None = None
    """When a message that asks was first taken by what reaches a person. Noted only where silence
    is consent."""

    used_links: tuple[str, ...] = ()
    """SHA-256 of the review tokens by which it was decided, or an approval given."""

    questions: tuple[Question, ...] = ()
    paused_at: datetime | None = None
    """Since when the clock stands still for the agent to answer; None while it runs."""

    paused_until: datetime | None = None
    """When it goes on even if the agent has not answered. The deadline holds this already."""

    paused_seconds_used: float = 0
    """How long it stood still in the pauses that are over."""

    amendment: dict[str, Any] | None = None
    """Other arguments that the agent has answered with, while they wait to be judged."""

    votes: tuple[Vote, ...] = ()
    """Who has approved this version, where the terms want several. Kept when it has ended."""

    modifications: dict[str, Any] | None = None
    """What reviewers have changed, where one answer is not enough: it is shown, and is approved
    or not. Only what differs from the context."""

    modified_by: str | None = None
    """The reviewer who last changed something, while `modifications` stand."""

    changed_by: dict[str, str] = {}
    """Who changed each field of `modifications` to what it is."""

    earlier: Earlier | None = None
    """What was shown before the content last changed; None if it never has."""

    claim: Claim | None = None
    views: tuple[View, ...] = ()
    """Who first saw which version when, the earliest first."""

    outcome: Outcome | None = None

    @property
    def agents_title(self) -> str:
        """The title that the agent gave, or an empty text if it gave none and one was made."""
        return "" if self.title == made_title(self.agent_id, self.action_type) else self.title

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups whose members may answer: those of the terms, and those escalated to."""
        taken = self.terms.escalation[: self.escalated]
        added = (group for step in taken for group in step.groups)
        return tuple(dict.fromkeys((*self.terms.groups, *added)))

    @property
    def shown_context(self) -> dict[str, Any]:
        """The arguments as people are shown them: with what reviewers have changed."""
        return {**self.context, **(self.modifications or {})}

    @property
    def silence_approves(self) -> bool:
        """Whether it is approved if nobody answers, once somebody was told of it: nobody has asked
        anything, what is shown is what they were told of from the beginning, and it is not the
        consent of several that is wanted."""
        terms = self.terms
        is_as_told = self.version == 1 and not self.questions
        is_one = terms.quorum == 1 and not terms.four_eyes
        return terms.on_timeout == "approve" and is_as_told and is_one

    @property
    def needed(self) -> int:
        """How many more people must approve before it is; 0 when it has ended."""
        return 0 if self.status.is_final else max(0, self.terms.quorum - len(self.votes))

    @property
    def authors(self) -> frozenset[str]:
        """The reviewers who have changed what is shown."""
        last = {self.modified_by} if self.modified_by else set()
        return frozenset(last | set(self.changed_by.values()))

    @property
    def spoken(self) -> tuple[str, ...]:
        """The reviewers who cannot bring it nearer to approval: they have approved, also by
        somebody in their stead; or have changed what is shown, where others must approve that."""
        voted = [who for vote in self.votes for who in sorted(vote.people)]
        barred = sorted(self.authors) if self.terms.four_eyes else []
        return tuple(dict.fromkeys((*voted, *barred)))

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

    def ranks(self) -> Mapping[str, int]:
        """Return the lists of what waits, of all, of each group and of who has it in hand, by the
        deadline; and of what has ended, of all, of each group and of its likes, by when it did.
        Milliseconds since 1970."""
        if self.outcome is None:
            names = [waiting_rank(), *map(waiting_rank, self.groups)]
            names += [held_rank(self.claim.reviewer_id)] if self.claim else []
            return dict.fromkeys(names, _milliseconds(self.expires_at))
        names = [ended_rank(), *map(ended_rank, self.groups)]
        names.append(like_rank(self.agent_id, self.action_type))
        return dict.fromkeys(names, _milliseconds(self.outcome.decided_at))

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
            modifications=self.modifications,
            modified_by=self.modified_by,
            digest=self.digest,
            version=self.version,
            status=self.status,
            reasons=self.reasons,
            editable=self.editable_fields(),
            answer_by=self.terms.answer_by,
            quorum=self.terms.quorum,
            needed=self.needed,
            votes=tuple(vote.reviewer_id for vote in self.votes),
            claimed_by=self.claim.reviewer_id if self.claim else None,
            questions=self.questions,
            created_at=self.created_at,
            expires_at=self.expires_at,
            paused_at=self.paused_at,
            outcome=self.outcome,
        )


def index(agent_id: str | None, status: ActionStatus | None) -> str:
    """Return the list of approvals of an agent, in a status, of both, or of all."""
    name = "approvals"
    name += f":status:{status}" if status else ""
    # Last, since an agent's name may hold anything.
    return name + (f":agent:{agent_id}" if agent_id else "")


def waiting_rank(group: str | None = None) -> str:
    """Return the list of what waits by its deadline: of a group, or of all."""
    return WAITING if group is None else f"{WAITING}:group:{group}"


def held_rank(reviewer_id: str) -> str:
    """Return the list of what a reviewer has in hand, by its deadline."""
    return f"{WAITING}:held:{reviewer_id}"


def ended_rank(group: str | None = None) -> str:
    """Return the list of what has ended by when it did: of a group, or of all."""
    return ENDED if group is None else f"{ENDED}:group:{group}"


def like_rank(agent_id: str, action_type: str) -> str:
    """Return the list of what an agent has asked of one type, by when it was decided."""
    # Hashed, since an agent's name may hold anything and be long.
    name = f"{len(agent_id)}:{agent_id}:{action_type}"
    return f"like:{hashlib.sha256(name.encode()).hexdigest()}"


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
