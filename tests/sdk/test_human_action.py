"""`HumanActionHandler`: callbacks, time-outs, callbacks over HTTP, and endpoints of others."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from standardwebhooks import Webhook

from safeguards.errors import (
    AuthenticationError,
    ConfigurationError,
    GatewayUnreachableError,
    InvalidContentError,
    PermissionDeniedError,
    SafeguardsError,
    SignatureError,
)
from safeguards.human_action import ActionStatus, HumanAction, HumanActionHandler
from safeguards.notifications.channels import HumanInTheLoopChannel
from safeguards.types import SafetyAlert
from tests.deploy.running import eventually
from tests.receivers import HttpReceiver, closed_port, webhook_secret
from tests.stack import Key, Stack


@contextmanager
def handler_on(url: str, api_key: str, **config: Any) -> Iterator[HumanActionHandler]:
    channel = HumanInTheLoopChannel()
    channel.initialize({"webhook_url": url, "api_key": api_key, **config})
    handler = HumanActionHandler(channel)
    yield handler
    handler.shutdown()
    channel.shutdown()


@pytest.fixture
def handler(stack: Stack) -> Iterator[HumanActionHandler]:
    with handler_on(stack.api, stack.agent_key.api_key) as made:
        yield made


def test_a_callback_is_called_once_for_a_time_out(handler: HumanActionHandler) -> None:
    """And one that fails does not keep the others from being called."""
    heard: list[ActionStatus] = []
    handler.set_timeout(1)

    def fail(action: HumanAction) -> None:
        raise ValueError("a callback of the user's fails")

    action = handler.request_action(
        "Silence", "", "asker", callbacks=[fail, lambda action: heard.append(action.status)]
    )
    assert handler.wait_for_action(action, 10) is ActionStatus.TIMED_OUT
    eventually(lambda: bool(heard), "the callback is called")
    handler.shutdown()
    assert heard == [ActionStatus.TIMED_OUT]


def test_a_wait_that_ends_early_leaves_the_action_open(
    stack: Stack, handler: HumanActionHandler
) -> None:
    """It is PENDING then, and may be waited for again."""
    action = handler.request_action("Patience", "", "asker", {"amount": Decimal("1.00")})
    assert handler.wait_for_action(action, timeout=0.05) is ActionStatus.PENDING
    assert stack.respond(action.id, response="approve").is_success
    assert handler.wait_for_action(action, timeout=10) is ActionStatus.APPROVED
    assert action.metadata == {"amount": Decimal("1.00")}


def test_an_action_is_cancelled(handler: HumanActionHandler) -> None:
    action = handler.request_action("Never mind", "", "asker")
    handler.cancel_action(action)
    assert handler.wait_for_action(action, 10) is ActionStatus.CANCELLED


def test_an_alert_asks_people(stack: Stack) -> None:
    """The channel is a notification channel, too."""
    channel = HumanInTheLoopChannel()
    alert = SafetyAlert("Look at this", "Why", metadata={"agent_id": "alerting"})
    assert channel.send_notification(alert) is False, "not initialized"
    channel.initialize({"webhook_url": stack.api, "api_key": stack.agent_key.api_key})
    assert channel.send_notification(alert) is True
    with stack.http() as http:
        page = http.get("/approvals", params={"agent_id": "alerting"}).json()
    assert [approval["title"] for approval in page["approvals"]] == ["Look at this"]
    channel.shutdown()


@pytest.fixture
def agent_key(stack: Stack) -> Key:
    return stack.create_key("--agent", "asker")


def test_a_callback_that_the_application_received(stack: Stack, agent_key: Key) -> None:
    """It ends the action, once, and its signature is checked first."""
    heard: list[ActionStatus] = []
    with HttpReceiver() as application:
        config = {
            "callback_url": application.url("/outcome"),
            "callback_secret": agent_key.callback_secret,
        }
        with handler_on(stack.api, agent_key.api_key, **config) as handler:
            action = handler.request_action(
                "Call back", "", "asker", callbacks=[lambda a: heard.append(a.status)]
            )
            assert stack.respond(action.id, response="reject", comments="no").is_success
            request = application.wait_for(timeout=10)
            forged = request.body.replace(b"REJECTED", b"APPROVED")
            with pytest.raises(SignatureError):
                handler.process_response(forged, request.headers)
            with pytest.raises(SignatureError):
                handler.process_response(request.body, {})
            ended = handler.process_response(request.body, request.headers)
            assert (ended.status, ended.comments) == (ActionStatus.REJECTED, "no")
            assert handler.wait_for_action(action, 10) is ActionStatus.REJECTED
            assert handler.process_response(request.body, request.headers).id == action.id
        assert heard == [ActionStatus.REJECTED]


def test_a_callback_for_another_purpose_is_refused(stack: Stack) -> None:
    """A signed body that carries no outcome, or a channel without a secret."""
    secret = webhook_secret()
    body = json.dumps({"type": "alert.raised", "data": {}})
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "msg",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign("msg", now, body),
    }
    with (
        handler_on(stack.api, stack.agent_key.api_key, callback_secret=secret) as handler,
        pytest.raises(SafeguardsError, match="does not carry"),
    ):
        handler.process_response(body.encode(), headers)
    with (
        handler_on(stack.api, stack.agent_key.api_key) as handler,
        pytest.raises(ConfigurationError, match="callback_secret"),
    ):
        handler.process_response(body.encode(), headers)


def test_what_cannot_be_asked_is_said_at_once(stack: Stack, agent_key: Key) -> None:
    """A wrong key, a foreign agent, a float that is none, a gateway that is away."""
    wrong = agent_key.api_key[:-3] + "AAA"
    with handler_on(stack.api, wrong) as handler, pytest.raises(AuthenticationError):
        handler.request_action("Who am I", "", "asker")
    with handler_on(stack.api, agent_key.api_key) as handler:
        with pytest.raises(PermissionDeniedError, match="foreign"):
            handler.request_action("Not mine", "", "foreign")
        with pytest.raises(InvalidContentError, match="/metadata/amount"):
            handler.request_action("NaN", "", "asker", {"amount": float("nan")})
        with pytest.raises(ConfigurationError):
            handler.set_timeout(0)


def test_a_gateway_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """After several attempts the agent is told."""
    monkeypatch.setattr("safeguards.transport.ATTEMPTS", 2)
    with (
        handler_on(f"http://127.0.0.1:{closed_port()}/api", "sgk_x") as handler,
        pytest.raises(GatewayUnreachableError, match="did not answer"),
    ):
        handler.request_action("Anybody?", "", "asker")


class ForeignEndpoint(ThreadingHTTPServer):
    """An approval endpoint of somebody else's, which knows no long poll."""

    def __init__(self) -> None:
        self.answers: dict[str, dict[str, Any]] = {}
        self.asked: list[dict[str, Any]] = []
        self.polls = 0
        super().__init__(("127.0.0.1", 0), _ForeignRequest)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/api"


class _ForeignRequest(BaseHTTPRequestHandler):
    server: ForeignEndpoint

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        self._answer(200, {"id": f"foreign-{len(self.server.asked)}"})

    def do_GET(self) -> None:
        if not self.path.startswith("/api/approvals/"):
            self._answer(404, {})
            return
        self.server.polls += 1
        answer = self.server.answers.get(self.path.rpartition("/")[2])
        self._answer(200, answer or {"status": "pending"})

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def foreign() -> Iterator[ForeignEndpoint]:
    with ForeignEndpoint() as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield server
        server.shutdown()
        serving.join()


def test_an_endpoint_that_cannot_long_poll_is_asked_by_the_interval(
    foreign: ForeignEndpoint,
) -> None:
    with handler_on(foreign.url, "their-key", poll_interval=0.05, timeout_seconds=60) as handler:
        action = handler.request_action("Theirs", "Words", "asker", {"amount": Decimal("2.50")})
        assert foreign.asked[0]["metadata"] == {"amount": "2.50"}
        assert foreign.asked[0]["timeout_seconds"] == 60
        eventually(lambda: foreign.polls >= 2, "it is asked again")
        foreign.answers[action.id] = {
            "status": "modified",
            "comments": "less",
            "response_data": {"amount": "1.00"},
        }
        assert handler.wait_for_action(action, 10) is ActionStatus.MODIFIED
        assert (action.response_data, action.comments) == ({"amount": "1.00"}, "less")


def test_an_endpoint_that_never_answers_times_out_here(foreign: ForeignEndpoint) -> None:
    with handler_on(foreign.url, "their-key", poll_interval=0.05, timeout_seconds=1) as handler:
        action = handler.request_action("Theirs", "", "asker")
        assert handler.wait_for_action(action, 10) is ActionStatus.TIMED_OUT
