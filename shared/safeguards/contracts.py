"""What travels between agents and the gateway: the bodies of `/api/v1`, checked on both sides."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    field_validator,
)

from safeguards.canonical import canonical_json, digest, jsonable
from safeguards.errors import DigestMismatchError, NotApprovedError
from safeguards.types import ActionStatus, AlertSeverity


class Verdict(StrEnum):
    """What the evaluator decided about an action. Ordered from mild to strict."""

    ALLOW = "allow"
    """The agent may go on."""

    NOTIFY = "notify"
    """The agent may go on, and people are told."""

    REQUIRE_APPROVAL = "require_approval"
    """A person must decide."""

    DENY = "deny"
    """The agent may not go on."""

    @property
    def rank(self) -> int:
        """The position in the order, from 0 (allow) to 3 (deny)."""
        return list(Verdict).index(self)


class ResponseKind(StrEnum):
    """What one reviewer answers."""

    APPROVE = "approve"
    MODIFY = "modify"
    REJECT = "reject"
    ASK = "ask"
    """A question back to the agent. It decides nothing; the approval stays open."""


def _content(value: dict[str, Any]) -> dict[str, Any]:
    """Refuse what has no canonical form, or is too large or too deep."""
    canonical_json(value)
    return value


def _field_name(value: str) -> str:
    if not value.isprintable():
        raise ValueError("may hold printable characters only")
    if value != value.strip():
        raise ValueError("may not begin or end with a space")
    return value


Name = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_field_name)]
"""An identifier that somebody else chose: printable, without spaces around it, 1 to 200 characters.
"""

ActionType = Annotated[str, Field(max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/-]*$")]
"""The kind of an action: ASCII letters, digits and `_.:/-`, since policies go by it."""

Title = Annotated[str, Field(min_length=1, max_length=500)]
Prose = Annotated[str, Field(max_length=20_000)]
Content = Annotated[dict[str, Any], BeforeValidator(jsonable), AfterValidator(_content)]
"""The arguments of an action: JSON types, Decimals as strings, within the limits of `canonical`."""

MAX_TIMEOUT_SECONDS = 30 * 24 * 3600
TimeoutSeconds = Annotated[int, Field(ge=1, le=MAX_TIMEOUT_SECONDS)]


_ACTION_TYPE: TypeAdapter[str] = TypeAdapter(ActionType)


class Contract(BaseModel):
    """Base of every body: unknown fields and values of another type are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Wire(BaseModel):
    """Base of what the gateway answers: fields that a newer gateway adds are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ActionSubmission(Contract):
    """`POST /actions`: judge this action."""

    agent_id: Name
    action_type: ActionType
    context: Content = Field(description="The arguments of the action; money as decimal strings.")
    title: Title | None = None
    description: Prose = ""
    on_behalf_of: Name | None = Field(
        None, description="The person the agent acts for, who may then not answer."
    )
    callback_url: Annotated[str, Field(max_length=2000, pattern=r"^https?://")] | None = Field(
        None, description="Where the outcome is posted as a signed webhook."
    )
    timeout_seconds: TimeoutSeconds | None = Field(
        None, description="How long people have to answer; at most what the policy gives."
    )


class ApprovalSubmission(Contract):
    """`POST /request-approval`: ask people directly, without evaluation."""

    title: Title
    agent_id: Name
    description: Prose = ""
    metadata: Content = Field(
        default_factory=dict, description="The arguments; `action_type` in it names the action."
    )
    on_behalf_of: Name | None = None
    callback_url: Annotated[str, Field(max_length=2000, pattern=r"^https?://")] | None = None
    timeout_seconds: TimeoutSeconds | None = None

    @field_validator("metadata")
    @classmethod
    def _names_its_type(cls, value: dict[str, Any]) -> dict[str, Any]:
        if "action_type" in value:
            _ACTION_TYPE.validate_python(value["action_type"], strict=True)
        return value

    @property
    def action_type(self) -> str:
        """The kind of the action: what `metadata` names, else `request`."""
        return str(self.metadata.get("action_type", "request"))


class ResponseSubmission(Contract):
    """`POST /approvals/{id}/responses`: what one reviewer answers."""

    response: Annotated[ResponseKind, Field(strict=False)]
    version: Annotated[int, Field(ge=1, description="The version that the reviewer saw.")]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        None, description="The digest of what the reviewer saw."
    )
    comments: Annotated[str, Field(max_length=4000)] = ""
    modifications: Content | None = None
    pause: bool = Field(
        False, description="With `ask`: the clock stands still until the agent has answered."
    )


class AnswerSubmission(Contract):
    """`POST /approvals/{id}/answers`: what the agent answers to a reviewer's question.

    It may come with other arguments, all of them, for the same type of action. Those are judged
    by the policies like the first, and what people approve then is those.
    """

    answer: Annotated[str, Field(min_length=1, max_length=4000)]
    context: Content | None = Field(
        None, description="The arguments as they are to be now, if they change."
    )


def _like(before: Any, after: Any) -> Any:
    """Return a reviewer's value in the type of what it replaces."""
    return Decimal(after) if isinstance(before, Decimal) and isinstance(after, str) else after


class Outcome(Wire):
    """How a question ended. The same for an action that needed no person."""

    type: Literal["outcome"] = "outcome"
    status: ActionStatus
    verdict: Verdict
    agent_id: str
    action_id: str | None = None
    approval_id: str | None = None
    comments: str = ""
    modifications: dict[str, Any] | None = None
    decided_by: str
    """A reviewer's id, `policy`, `grant:…` (a reviewer's permission for the likes of what they
    approved), `nobody` (a time-out), or `agent:…` (withdrawn)."""

    decided_for: str | None = None
    """The reviewer who was away, if somebody decided in their stead."""

    approvers: tuple[str, ...] = ()
    """The reviewers who have approved what may run, the one who decided last; empty unless people
    did."""

    decided_at: datetime
    approved_digest: str | None = None
    """SHA-256 of the canonical JSON of the context that may run; None unless it may."""

    def approved_context(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments that may run: what was asked for, with the reviewer's changes.

        A changed value gets the type of what it replaces: a Decimal stays a Decimal.

        Args:
            asked: the arguments as the agent has them.

        Raises:
            NotApprovedError: nothing may run.
            DigestMismatchError: these are not the arguments that were shown and approved.
        """
        if not self.status.allows:
            raise NotApprovedError(self)
        changes = self.modifications or {}
        context = {
            **asked,
            **{name: _like(asked.get(name), value) for name, value in changes.items()},
        }
        if self.approved_digest and digest(context) != self.approved_digest:
            raise DigestMismatchError("these are not the arguments that were approved: ask anew")
        return context


class Question(Wire):
    """What a reviewer asked the agent, and the agent's answer once there is one."""

    type: Literal["question"] = "question"
    approval_id: str
    agent_id: str
    asked_by: str
    asked_at: datetime
    question: str
    answer: str | None = None
    answered_at: datetime | None = None


class AlertView(Wire):
    """One finding of a safeguard."""

    safeguard: str
    title: str
    description: str
    severity: AlertSeverity


class ActionView(Wire):
    """`GET /actions/{id}`: an action as it stands."""

    id: str
    agent_id: str
    action_type: str
    context: dict[str, Any]
    digest: str
    status: ActionStatus
    verdict: Verdict | None = None
    alerts: tuple[AlertView, ...] = ()
    reasons: tuple[str, ...] = ()
    approval_id: str | None = None
    created_at: datetime
    outcome: Outcome | None = None


class ApprovalView(Wire):
    """`GET /approvals/{id}`: an approval as it stands."""

    id: str
    action_id: str | None = None
    agent_id: str
    action_type: str
    title: str
    description: str
    context: dict[str, Any]
    """The arguments as the agent has asked for them."""

    modifications: dict[str, Any] | None = None
    """What a reviewer has changed while others must still approve. It belongs to what is shown."""

    modified_by: str | None = None
    digest: str
    """Of all that is shown."""

    version: int
    status: ActionStatus
    reasons: tuple[str, ...] = ()
    editable: tuple[str, ...] = ()
    answer_by: tuple[str, ...] = ()
    """The ways in which it may be decided: `console`, `email` (a mail's link), `slack`, `api`."""

    quorum: int = 1
    """How many people must approve."""

    needed: int = 1
    """How many more must, as it stands."""

    votes: tuple[str, ...] = ()
    """The reviewers who have approved this version, where several must."""

    claimed_by: str | None = None
    """The reviewer who has it in hand. Others may answer all the same."""

    questions: tuple[Question, ...] = ()
    created_at: datetime
    expires_at: datetime
    paused_at: datetime | None = None
    """Since when the clock stands still for the agent's answer."""

    outcome: Outcome | None = None


class ApprovalPage(Wire):
    """`GET /approvals`: newest first; `cursor` continues, None at the end."""

    approvals: tuple[ApprovalView, ...]
    cursor: str | None = None


class OutcomePage(Wire):
    """`GET /outcomes`: what happened after a cursor.

    `gap` says that entries between the cursor and these are no longer kept: ask for each
    approval that is still waited for.
    """

    entries: tuple[Annotated[Outcome | Question, Field(discriminator="type")], ...] = ()
    cursor: str
    gap: bool = False


class HistoryView(Wire):
    """One step of a record; `hash` covers it and the step before."""

    sequence: int
    at: datetime
    event: str
    actor: str
    detail: dict[str, Any] = Field(default_factory=dict)
    previous: str
    hash: str
