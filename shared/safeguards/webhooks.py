"""What is posted as a webhook, and how a receiver reads it.

Bodies are thin: they say what happened to which record, and never carry an action's arguments or
an agent's description of it. A receiver that wants those fetches them with its API key. Only an
outcome is whole, since the agent that waits for it goes on with it.

    event = receive(request.body, request.headers, "whsec_…")
    match event.data:
        case ApprovalRequested(approval_id=approval_id):
            …
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import AwareDatetime, Field, ValidationError
from standardwebhooks import Webhook

from safeguards.contracts import Outcome, Verdict, Wire
from safeguards.errors import ConfigurationError, SafeguardsError, SignatureError
from safeguards.types import ActionStatus, AlertSeverity

MIN_SECRET_BYTES = 24
"""The shortest secret that the Standard Webhooks specification allows."""

_SECRET_PREFIX = "whsec_"  # noqa: S105 - a prefix, not a secret


class _OpenApproval(Wire):
    """An approval that waits for an answer, as far as a webhook tells of it."""

    approval_id: str
    action_id: str | None = None
    """None where an agent asked people directly."""

    agent_id: str
    action_type: str
    title: str
    version: int
    """Of what is shown. A response names it."""

    digest: str
    """SHA-256 of what is shown, as 64 hexadecimal digits. A response names it."""

    status: ActionStatus
    severity: AlertSeverity
    created_at: datetime
    expires_at: datetime
    answer_by: tuple[str, ...] = ()
    """The ways in which it may be decided: `console`, `email` (a mail's link), `slack`, `api`."""


class ApprovalRequested(_OpenApproval):
    """`approval.requested`: a person must decide."""


class ApprovalReminded(_OpenApproval):
    """`approval.reminded`: nobody has decided yet."""


class ApprovalEscalated(_OpenApproval):
    """`approval.escalated`: nobody has decided yet, and further people are asked."""


class ApprovalAnswered(_OpenApproval):
    """`approval.answered`: the agent answered a reviewer's question, which made a new version."""


class ApprovalChanged(_OpenApproval):
    """`approval.changed`: a reviewer changed what is asked, which made a new version; others must
    approve it."""


class ApprovalHandedOver(_OpenApproval):
    """`approval.handed_over`: a reviewer has put it into another's hands."""


class ApprovalUnreachable(_OpenApproval):
    """`approval.unreachable`: no message has reached anybody who may decide."""


class ApprovalResolved(Outcome):
    """`approval.resolved`: it has ended; the whole outcome."""

    type: Literal["outcome"] = Field("outcome", exclude=True)
    approval_id: str


class ActionResolved(Outcome):
    """`action.resolved`: an action has ended without a question to people; the whole outcome."""

    type: Literal["outcome"] = Field("outcome", exclude=True)
    action_id: str


class AlertSummary(Wire):
    """One finding of a safeguard, without its description."""

    safeguard: str
    title: str
    severity: AlertSeverity


class AlertRaised(Wire):
    """`alert.raised`: an action goes ahead, and people are told.

    An alert that a process of one's own sends through a `NotificationManager` belongs to no
    record: it has a `description` and `metadata`, and names no action.
    """

    title: str
    severity: AlertSeverity
    """The highest of the alerts."""

    action_id: str | None = None
    agent_id: str | None = None
    action_type: str | None = None
    digest: str | None = None
    status: ActionStatus | None = None
    verdict: Verdict | None = None
    alerts: tuple[AlertSummary, ...] = ()
    description: str | None = None
    metadata: dict[str, Any] | None = None


EventData = (
    ApprovalRequested
    | ApprovalReminded
    | ApprovalEscalated
    | ApprovalAnswered
    | ApprovalChanged
    | ApprovalHandedOver
    | ApprovalResolved
    | ApprovalUnreachable
    | ActionResolved
    | AlertRaised
)

EVENTS: Mapping[str, type[EventData]] = {
    "approval.requested": ApprovalRequested,
    "approval.reminded": ApprovalReminded,
    "approval.escalated": ApprovalEscalated,
    "approval.answered": ApprovalAnswered,
    "approval.changed": ApprovalChanged,
    "approval.handed_over": ApprovalHandedOver,
    "approval.resolved": ApprovalResolved,
    "approval.unreachable": ApprovalUnreachable,
    "action.resolved": ActionResolved,
    "alert.raised": AlertRaised,
}
"""What the `data` of each type of webhook is. The names are wire format."""


@dataclass(frozen=True)
class Event:
    """One webhook whose signature was checked.

    Attributes:
        id: the same in every attempt to deliver it, so that a repeat can be told.
        type: what happened, such as `approval.requested`.
        timestamp: when it happened, aware.
        data: by its type; a dict where the sender is newer and this version does not know it.
    """

    id: str
    type: str
    timestamp: datetime
    data: EventData | dict[str, Any]


class _Body(Wire):
    type: str
    timestamp: AwareDatetime
    data: dict[str, Any]


def receive(payload: bytes, headers: Mapping[str, str], secret: str) -> Event:
    """Check a webhook that the application received, and read it.

    Args:
        payload: the request's body, as it came.
        headers: the request's headers, with `webhook-id`, `webhook-timestamp` and
            `webhook-signature` (Standard Webhooks, standardwebhooks.com, version 1.0).
        secret: `whsec_…`. While it is exchanged for another one, either is good.

    Raises:
        SignatureError: the signature is missing, wrong, or older than five minutes.
        SafeguardsError: it is signed, but its body is not what its type says.
        ConfigurationError: the secret is none.
    """
    webhook = Webhook(signing_key(secret))
    try:
        webhook.verify(payload, dict(headers), json_parse=False)
    except Exception as error:
        # The library raises its own error for a wrong signature, and others for junk.
        raise SignatureError("this webhook is not signed with the secret") from error
    try:
        body = _Body.model_validate_json(payload)
        model = EVENTS.get(body.type)
        data = model.model_validate(body.data) if model else body.data
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, line['loc'])) or 'the body'}: {line['msg']}"
            for line in error.errors(include_input=False)
        )
        raise SafeguardsError(
            f"this webhook is signed, but does not carry what its type says: {wrong}"
        ) from error
    lowered = {name.lower(): value for name, value in headers.items()}
    return Event(lowered["webhook-id"], body.type, body.timestamp, data)


def signing_key(secret: str) -> bytes:
    """Return the key in a Standard Webhooks secret: `whsec_` and base64 of 24 bytes or more.

    Raises:
        ConfigurationError: if it is anything else. The secret is not in the message.
    """
    encoded = secret.removeprefix(_SECRET_PREFIX)
    if encoded == secret:
        raise ConfigurationError("a webhook secret begins with 'whsec_'")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = None
    if key is None:
        raise ConfigurationError("a webhook secret is 'whsec_' and then base64")
    if len(key) < MIN_SECRET_BYTES:
        raise ConfigurationError(
            f"a webhook secret has at least {MIN_SECRET_BYTES} bytes, not {len(key)}"
        )
    return key


def signed_headers(message_id: str, body: str, secrets: Sequence[str]) -> dict[str, str]:
    """Return the headers that sign `body` as of now, once for each secret.

    Args:
        message_id: the same in every attempt.
        body: what is posted.
        secrets: newest first; a receiver that knows any of them accepts it.

    Raises:
        ConfigurationError: if there is no secret, or one is none.
    """
    if not secrets:
        raise ConfigurationError("a webhook needs a secret to be signed with")
    now = datetime.now(UTC)
    signatures = [Webhook(signing_key(secret)).sign(message_id, now, body) for secret in secrets]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
