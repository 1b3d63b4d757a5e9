"""What a channel is given to send: one message, not yet rendered for any medium."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from safeguards.identifiers import new_id
from safeguards.types import AlertSeverity, SafetyAlert


@dataclass(frozen=True)
class Link:
    """Where the reader can go: a label and an absolute URL that we made ourselves."""

    label: str
    url: str


@dataclass(frozen=True)
class Answerable:
    """What a message that can be answered on the spot is bound to.

    Attributes:
        approval_id: the question.
        version: of what the message shows.
        digest: SHA-256 of what the message shows, as 64 hexadecimal digits.
        editable: whether there are fields that a reviewer may change.
        is_whole: whether the message holds all of what would run. If not, nobody may approve
            from the message itself.
        is_decided_here: whether it may be decided from the message itself. If not, that is done
            by another way, and the message only shows it.
    """

    approval_id: str
    version: int
    digest: str
    editable: bool
    is_whole: bool = True
    is_decided_here: bool = True


@dataclass(frozen=True)
class Thread:
    """To which conversation a message belongs.

    Attributes:
        id: of the conversation: the same for all that one recipient is told about one thing.
        begins: whether this message begins it.
        reference: what the channel returned for the message that began it, or None.
    """

    id: str
    begins: bool
    reference: str | None = None


@dataclass(frozen=True)
class Message:
    """One message to people. Every text in it may come from an agent and is hostile.

    Attributes:
        id: the delivery's identifier. The same in every attempt, so that a receiver can tell a
            repeat (`webhook-id`, `Message-ID`).
        event: what happened, such as `approval.requested`, `approval.resolved`, `alert.raised`.
        subject: one line that says what is asked, or what happened.
        severity: how serious it is.
        facts: labelled values in reading order, made by us from the real payload.
        agent_words: what the agent says about it, shown as the agent's own words.
        words_of: whose words `agent_words` are, if they are a safeguard's.
        reasons: why it was stopped, one sentence each.
        link: where to answer, or None.
        footer: what happens if nobody answers, and when.
        answerable: what an answer on the spot is bound to; None if there is nothing to answer.
        thread: the conversation it belongs to, or None.
        entries: of a digest: the messages that it stands for, the most urgent first, each with
            its own `subject`, `facts`, `severity`, `link` and `answerable`; otherwise empty.
        left_out: how many more a digest stands for than `entries` shows.
        data: the body of a webhook; JSON types only.
        created_at: aware UTC.
    """

    event: str
    subject: str
    severity: AlertSeverity = AlertSeverity.INFO
    facts: tuple[tuple[str, str], ...] = ()
    agent_words: str = ""
    words_of: Literal["agent", "safeguard"] = "agent"
    reasons: tuple[str, ...] = ()
    link: Link | None = None
    footer: str = ""
    answerable: Answerable | None = None
    thread: Thread | None = None
    entries: tuple[Message, ...] = ()
    left_out: int = 0
    data: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: new_id("dlv"))
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @classmethod
    def from_alert(cls, alert: SafetyAlert) -> Message:
        """Return the message that tells people about `alert`."""
        return cls(
            event="alert.raised",
            subject=f"{alert.severity}: {alert.title}",
            severity=alert.severity,
            facts=tuple((str(key), str(value)) for key, value in alert.metadata.items()),
            agent_words=alert.description,
            words_of="safeguard",
            data={
                "title": alert.title,
                "description": alert.description,
                "severity": alert.severity.value,
                "metadata": alert.metadata,
            },
        )
