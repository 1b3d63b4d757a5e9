"""Hearing outcomes when something goes wrong: nothing is invented, and nobody waits for ever."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from safeguards import ActionPublisher, Safeguards
from safeguards.errors import AuthenticationError, ProblemError, SafeguardsError
from safeguards.human_action import ActionStatus, HumanAction, HumanActionHandler
from safeguards.identifiers import new_id
from safeguards.notifications.channels import HumanInTheLoopChannel
from tests.deploy.running import eventually
from tests.receivers import Answer, HttpReceiver
from tests.stack import Stack

OUTCOME: dict[str, Any] = {
    "type": "outcome",
    "status": "APPROVED",
    "verdict": "require_approval",
    "agent_id": "asker",
    "approval_id": "apr_x",
    "decided_by": "alex",
    "decided_at": "2026-01-01T00:00:00Z",
}


def page(*entries: dict[str, Any], cursor: str = "1-0") -> bytes:
    return json.dumps({"entries": entries, "cursor": cursor}).encode()


def test_an_error_of_the_gateway_does_not_make_it_an_endpoint_of_others() -> None:
    """It would be polled, and given up by the agent's own clock."""
    with HttpReceiver() as gateway, Safeguards(gateway.url("/api"), "sgk_x") as client:
        gateway.answer(400, body=b"{}")
        with pytest.raises(ProblemError):
            client.request_approval("asker", "Title")
        assert [request.path for request in gateway.requests] == ["/api/outcomes"]


def test_an_entry_of_a_kind_unknown_here_is_passed_over() -> None:
    """A newer gateway may feed more; the outcome behind it is heard."""
    with HttpReceiver() as gateway, Safeguards(gateway.url("/api"), "sgk_x") as client:
        gateway.answer(200, body=page())
        gateway.answer(200, body=json.dumps({"id": "apr_x"}).encode())
        gateway.answer(200, body=page({"type": "reminder"}, OUTCOME, cursor="2-0"))
        assert client.request_approval("asker", "Title").id == "apr_x"
        assert client.wait("apr_x", 10).status is ActionStatus.APPROVED


def test_an_outcome_that_is_heard_ends_the_wait_for_what_was_published() -> None:
    """Also while a look at the action says that it is not known yet."""
    action_id = new_id("act")
    heard = {**OUTCOME, "action_id": action_id}
    unknown = Answer(404, body=b"{}")
    with (
        HttpReceiver(default=unknown) as gateway,
        Safeguards(gateway.url("/api"), "sgk_x") as client,
    ):
        gateway.answer(200, body=page())
        client.expect_publication(action_id)
        gateway.answer(404, body=b"{}")
        gateway.answer(200, body=page(heard, cursor="2-0"))
        gateway.answer(200, body=page(heard, cursor="2-0"))
        assert client.wait(action_id, 20).status is ActionStatus.APPROVED


@pytest.mark.parametrize("body", [b"", b"no JSON\n", b'{"entries":[]'])
def test_a_stream_that_breaks_off_or_makes_no_sense_is_opened_again(body: bytes) -> None:
    """Whatever stands between the agent and the gateway has done to it."""
    with HttpReceiver() as gateway, Safeguards(gateway.url("/api"), "sgk_x") as client:
        gateway.answer(200, body=page())
        gateway.answer(200, body=json.dumps({"id": "apr_x"}).encode())
        gateway.answer(200, headers={"Content-Type": "application/x-ndjson"}, body=body)
        gateway.answer(
            200,
            headers={"Content-Type": "application/x-ndjson"},
            body=page() + b"\n" + page(OUTCOME, cursor="2-0") + b"\n",
        )
        assert client.request_approval("asker", "Title").id == "apr_x"
        assert client.wait("apr_x", 10).status is ActionStatus.APPROVED


def test_who_waits_is_told_when_the_key_is_refused() -> None:
    """A wait ends with the error, and does not go on for ever; one refusal alone is no end."""
    refused = Answer(401, body=b"{}")
    with HttpReceiver(default=refused) as gateway:
        gateway.answer(200, body=page())
        gateway.answer(200, body=json.dumps({"id": "apr_x"}).encode())
        channel = HumanInTheLoopChannel()
        channel.initialize({"webhook_url": gateway.url("/api"), "api_key": "sgk_x"})
        handler = HumanActionHandler(channel)
        action = handler.request_action("Refused", "", "asker")
        with pytest.raises(AuthenticationError):
            handler.wait_for_action(action, 30)
        assert action.status is ActionStatus.PENDING
        assert len(gateway.requests) > 3
        handler.shutdown()
        channel.shutdown()


def test_who_waits_is_let_go_when_the_channel_is_shut_down(stack: Stack) -> None:
    channel = HumanInTheLoopChannel()
    channel.initialize({"webhook_url": stack.api, "api_key": stack.agent_key.api_key})
    handler = HumanActionHandler(channel)
    action = handler.request_action("Shut down", "", "asker")
    channel.shutdown()
    with pytest.raises(SafeguardsError, match="still open"):
        handler.wait_for_action(action, 10)
    handler.shutdown()


def test_an_action_taken_up_twice_is_heard_twice(stack: Stack) -> None:
    """Each has its own callbacks, and each is called once."""
    heard: list[str] = []
    channel = HumanInTheLoopChannel()
    channel.initialize({"webhook_url": stack.api, "api_key": stack.agent_key.api_key})
    handler = HumanActionHandler(channel)

    def hear(name: str) -> Any:
        def callback(action: HumanAction) -> None:
            heard.append(name)

        return callback

    first = handler.request_action("Twice", "", "asker", callbacks=[hear("first")])
    second = handler.resume_action(first.id, callbacks=[hear("second")])
    assert stack.respond(first.id, response="approve").is_success
    for action in (first, second):
        assert handler.wait_for_action(action, 10) is ActionStatus.APPROVED
    handler.shutdown()
    channel.shutdown()
    assert sorted(heard) == ["first", "second"]


def test_a_question_reaches_the_action(stack: Stack) -> None:
    channel = HumanInTheLoopChannel()
    channel.initialize({"webhook_url": stack.api, "api_key": stack.agent_key.api_key})
    handler = HumanActionHandler(channel)
    action = handler.request_action("A question", "", "asker")
    assert stack.respond(action.id, response="ask", comments="Why?").is_success
    eventually(lambda: bool(action.questions), "the question is heard")
    assert action.questions[0].question == "Why?"
    handler.answer_action(action, "Because")
    assert stack.respond(action.id, response="approve").is_success
    assert handler.wait_for_action(action, 10) is ActionStatus.APPROVED
    handler.shutdown()
    channel.shutdown()


def test_what_was_published_is_waited_for_at_once(stack: Stack) -> None:
    """It need not be known yet: the queue may be slow."""
    key = stack.create_key("--agent", "publisher", "--signing")
    assert key.signing_key is not None
    client = stack.client(key)
    broker = stack.setting("SAFEGUARDS_BROKER_URL")
    with ActionPublisher(broker, key.signing_key, client) as publisher:
        for number in range(5):
            action_id = publisher.publish("publisher", "read_prices", {"n": number})
            assert client.wait(action_id, 20).status is ActionStatus.APPROVED


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_client_made_before_a_fork_serves_the_child(stack: Stack) -> None:
    """The child has connections of its own."""
    client = stack.client()
    client.request_approval("asker", "Before the fork")
    child = os.fork()
    if child == 0:
        try:
            approval = client.request_approval("asker", "In the child")
            client.cancel(approval)
            done = client.wait(approval, 10).status is ActionStatus.CANCELLED
            os._exit(0 if done else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
