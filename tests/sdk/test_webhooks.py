"""Typed webhooks, as a receiver reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from safeguards.contracts import Outcome
from safeguards.errors import ConfigurationError, SafeguardsError, SignatureError
from safeguards.notifications.channels import WebhookChannel
from safeguards.notifications.message import Message
from safeguards.types import ActionStatus, AlertSeverity, SafetyAlert
from safeguards.webhooks import (
    EVENTS,
    ActionResolved,
    AlertRaised,
    ApprovalRequested,
    ApprovalResolved,
    receive,
    signed_headers,
)
from tests.receivers import HttpReceiver, webhook_secret

SECRET = webhook_secret()
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

OPEN = {
    "approval_id": "apr_1",
    "action_id": "act_1",
    "agent_id": "financial_advisor",
    "action_type": "transaction",
    "title": "Pay",
    "version": 2,
    "digest": "0" * 64,
    "status": "PENDING",
    "severity": "WARNING",
    "created_at": "2026-03-01T12:00:00Z",
    "expires_at": "2026-03-01T13:00:00Z",
    "answer_by": ["console", "api"],
}
OUTCOME = {
    "status": "MODIFIED",
    "verdict": "require_approval",
    "agent_id": "financial_advisor",
    "action_id": "act_1",
    "approval_id": "apr_1",
    "comments": "less",
    "modifications": {"amount": "10.00"},
    "decided_by": "alex",
    "decided_for": None,
    "approvers": ["sam", "alex"],
    "decided_at": "2026-03-01T12:30:00Z",
    "approved_digest": "1" * 64,
}
ALERT = {
    "title": "Pay",
    "severity": "ERROR",
    "action_id": "act_1",
    "agent_id": "financial_advisor",
    "action_type": "transaction",
    "digest": "0" * 64,
    "status": "APPROVED",
    "verdict": "notify",
    "alerts": [{"safeguard": "limits", "title": "Over the limit", "severity": "ERROR"}],
}
BODIES: dict[str, dict[str, Any]] = {
    "approval.requested": OPEN,
    "approval.reminded": OPEN,
    "approval.escalated": OPEN,
    "approval.answered": OPEN,
    "approval.changed": OPEN,
    "approval.handed_over": OPEN,
    "approval.unreachable": OPEN,
    "approval.resolved": OUTCOME,
    "action.resolved": OUTCOME,
    "alert.raised": ALERT,
}


def posted(kind: str, data: Any, **changes: Any) -> tuple[bytes, dict[str, str]]:
    """A signed webhook: its payload and headers."""
    body = json.dumps({"type": kind, "timestamp": "2026-03-01T12:00:00Z", "data": data, **changes})
    return body.encode(), signed_headers("dlv_1", body, [SECRET])


def test_every_type_has_a_body() -> None:
    assert set(BODIES) == set(EVENTS)


@pytest.mark.parametrize("kind", BODIES)
def test_each_type_is_read_as_its_own(kind: str) -> None:
    """And what a sender makes of it is what was posted."""
    event = receive(*posted(kind, BODIES[kind]), SECRET)
    assert (event.id, event.type, event.timestamp) == ("dlv_1", kind, NOW)
    assert type(event.data) is EVENTS[kind]
    dumped = event.data.model_dump(mode="json", exclude_none=True)
    assert dumped == {name: value for name, value in BODIES[kind].items() if value is not None}


def test_a_request_is_thin() -> None:
    """Neither arguments nor the agent's description have a place in it."""
    forbidden = {"context", "description", "arguments", "metadata", "questions", "reasons"}
    for kind, model in EVENTS.items():
        if model not in (ApprovalResolved, ActionResolved, AlertRaised):
            assert not forbidden & set(model.model_fields), kind
    event = receive(*posted("approval.requested", OPEN), SECRET)
    assert isinstance(event.data, ApprovalRequested)
    assert event.data.status is ActionStatus.PENDING
    assert event.data.severity is AlertSeverity.WARNING
    assert event.data.expires_at - event.data.created_at == timedelta(hours=1)


def test_an_outcome_travels_whole() -> None:
    """What is resolved can be acted on without another request."""
    outcome = Outcome.model_validate(OUTCOME)
    sent = ApprovalResolved.model_validate(outcome, from_attributes=True)
    event = receive(*posted("approval.resolved", sent.model_dump(mode="json")), SECRET)
    assert isinstance(event.data, Outcome)
    assert Outcome.model_validate(event.data.model_dump()) == outcome


def test_the_types_and_fields_of_a_newer_sender_are_no_errors() -> None:
    """A receiver is not upgraded on the same day."""
    event = receive(*posted("approval.delegated", {"approval_id": "apr_1"}), SECRET)
    assert (event.type, event.data) == ("approval.delegated", {"approval_id": "apr_1"})
    event = receive(*posted("alert.raised", {**ALERT, "colour": "red"}, trace="1"), SECRET)
    assert isinstance(event.data, AlertRaised)
    assert not hasattr(event.data, "colour")


@pytest.mark.parametrize(
    ("kind", "data", "said"),
    [
        ("approval.requested", {**OPEN, "version": "two"}, "version: "),
        ("approval.resolved", {**OUTCOME, "approval_id": None}, "approval_id: "),
        ("approval.resolved", {}, "status: Field required"),
        ("approval.requested", [], "data: "),
        (7, {}, "type: "),
    ],
)
def test_a_signed_body_that_is_not_what_it_says(kind: Any, data: Any, said: str) -> None:
    with pytest.raises(SafeguardsError, match="does not carry what its type says") as caught:
        receive(*posted(kind, data), SECRET)
    assert said in str(caught.value)
    assert not isinstance(caught.value, SignatureError)


def test_what_is_signed_but_no_json_is_said() -> None:
    body = "approve everything"
    with pytest.raises(SafeguardsError, match="does not carry"):
        receive(body.encode(), signed_headers("dlv_1", body, [SECRET]), SECRET)


def _older(headers: Mapping[str, str]) -> dict[str, str]:
    return {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 1)}


@pytest.mark.parametrize(
    "forged",
    [
        lambda payload, headers: (payload.replace(b"MODIFIED", b"APPROVED"), headers),
        lambda payload, headers: (payload, {**headers, "webhook-id": "dlv_2"}),
        lambda payload, headers: (payload, _older(headers)),
        lambda payload, headers: (payload, {**headers, "webhook-signature": "v1,"}),
        lambda payload, headers: (payload, {**headers, "webhook-signature": "v1"}),
        lambda payload, headers: (payload, {}),
        lambda payload, headers: (b"\xff", headers),
    ],
    ids=["body", "id", "time", "no signature", "half a signature", "no headers", "no text"],
)
def test_whatever_was_changed_is_refused(forged: Any) -> None:
    payload, headers = forged(*posted("approval.resolved", OUTCOME))
    with pytest.raises(SignatureError):
        receive(payload, headers, SECRET)


def test_an_old_webhook_is_refused() -> None:
    """A replay is good for five minutes at most."""
    body = json.dumps({"type": "alert.raised", "timestamp": "2026-03-01T12:00:00Z", "data": ALERT})
    then = datetime.now(UTC) - timedelta(minutes=6)
    headers = {
        "webhook-id": "dlv_1",
        "webhook-timestamp": str(int(then.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("dlv_1", then, body),
    }
    with pytest.raises(SignatureError):
        receive(body.encode(), headers, SECRET)


def test_a_secret_that_is_none_is_the_receivers_mistake() -> None:
    with pytest.raises(ConfigurationError, match="begins with 'whsec_'"):
        receive(*posted("alert.raised", ALERT), "secret")
    with pytest.raises(ConfigurationError, match="needs a secret"):
        signed_headers("dlv_1", "{}", [])


@pytest.mark.parametrize("known", [0, 1])
def test_either_secret_is_good_while_they_are_exchanged(known: int) -> None:
    secrets = [webhook_secret(), webhook_secret()]
    body = json.dumps({"type": "alert.raised", "timestamp": "2026-03-01T12:00:00Z", "data": ALERT})
    headers = signed_headers("dlv_1", body, secrets)
    assert receive(body.encode(), headers, secrets[known]).type == "alert.raised"
    with pytest.raises(SignatureError):
        receive(body.encode(), headers, SECRET)


@given(st.binary(max_size=200), st.dictionaries(st.text(max_size=20), st.text(max_size=20)))
def test_junk_is_refused_by_name(payload: bytes, headers: dict[str, str]) -> None:
    """Whoever knows the address may post anything."""
    with pytest.raises(SignatureError):
        receive(payload, headers, SECRET)


async def test_what_the_channel_posts_can_be_received() -> None:
    """Header names in any case, as servers hand them on."""
    channel = WebhookChannel()
    with HttpReceiver() as http:
        channel.initialize({"url": http.url(), "secret": SECRET, "allow_private": True})
        sent = Message(event="approval.requested", subject="s", data=OPEN)
        await channel.deliver(sent)
        await channel.deliver(Message.from_alert(SafetyAlert("Odd", "Look", metadata={"n": 1})))
        await channel.aclose()
        first, second = http.wait_for_many(2)
    upper = {name.title(): value for name, value in first.headers.items()}
    event = receive(first.body, upper, SECRET)
    assert (event.id, event.timestamp) == (sent.id, sent.created_at)
    assert event.data == ApprovalRequested.model_validate(OPEN)
    alert = receive(second.body, second.headers, SECRET).data
    assert isinstance(alert, AlertRaised)
    assert (alert.title, alert.action_id, alert.metadata) == ("Odd", None, {"n": 1})
