"""The agent answers a question with other arguments: judged, shown with what differs, and approved
or refused as exactly those."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import httpx2
import pytest

from safeguards import Safeguards
from safeguards.errors import ConflictError, DigestMismatchError, NotApprovedError, ProblemError
from safeguards.human_action import HumanActionHandler
from safeguards.identifiers import twin_id
from safeguards.notifications.channels import HumanInTheLoopChannel
from safeguards.types import ActionStatus
from tests.deploy.running import eventually
from tests.e2e.test_reaching_people import events
from tests.stack import Stack

TRIP = {"amount": Decimal("900.00"), "to": "Lisbon"}

RULES: dict[str, Any] = {
    "safeguards": {
        "travel": {"uses": "financial_services", "config": {"transaction_limits": {"*": "1000"}}}
    },
    "policies": [
        {
            "name": "travel",
            "match": {"action_types": ["book_*"]},
            "safeguards": ["travel"],
            "verdict": "require_approval",
            "verdicts": {
                "INFO": "notify",
                "WARNING": "require_approval",
                "ERROR": "deny",
                "CRITICAL": "deny",
            },
            "approval": "default",
        },
        {
            "name": "cars",
            "match": {"action_types": ["hire_car"], "arguments": {"country": ["DE"]}},
            "verdict": "require_approval",
            "approval": "abroad",
        },
    ],
}
"""People are asked about `book_…`; above 1000 it is denied without them. Two of them have to agree
to a car abroad."""

ABROAD = {"abroad": {"quorum": 2}}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose evaluator may be stopped for a while."""
    folder = tmp_path_factory.mktemp("amendments")
    more: dict[str, Any] = {"more_approvals": ABROAD, "more_rules": RULES}
    with Stack(folder, channels=["email"], timeout_seconds=300, **more) as running:
        yield running


@pytest.fixture
def agent(stack: Stack) -> Safeguards:
    return stack.client()


@pytest.fixture(scope="module")
def http(stack: Stack) -> Iterator[httpx2.Client]:
    with stack.http() as client:
        yield client


def submitted(stack: Stack, agent: Safeguards, agent_id: str = "traveller") -> str:
    """Submit a trip; return its approval's id once people have been asked, and one asks back."""
    approval_id = twin_id("apr", agent.submit(agent_id, "book_flight", TRIP).id)

    def is_open() -> bool:
        with stack.http() as client:
            return client.get(f"/approvals/{approval_id}").status_code == 200

    eventually(is_open, "people are asked")
    asked(stack, approval_id)
    return approval_id


def asked(stack: Stack, approval_id: str, question: str = "Is there a cheaper one?") -> None:
    answer = stack.respond(approval_id, response="ask", comments=question)
    assert answer.status_code == 200, answer.text


def answered(
    http: httpx2.Client, approval_id: str, context: dict[str, Any], key: str | None = None
) -> httpx2.Response:
    body = {"answer": "This one.", "context": context}
    headers = {"Idempotency-Key": key} if key else {}
    return http.post(f"/approvals/{approval_id}/answers", json=body, headers=headers)


def standing(http: httpx2.Client, approval_id: str) -> dict[str, Any]:
    found: dict[str, Any] = http.get(f"/approvals/{approval_id}").json()
    return found


def problem(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].rpartition("/")[2].rpartition(":")[2]


@contextmanager
def evaluator_stands_still(stack: Stack) -> Iterator[None]:
    """What waits to be judged is not, until the block ends."""
    process_id = stack.process_id("safeguard-evaluator")
    os.kill(process_id, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process_id, signal.SIGCONT)


def test_what_was_asked_for_directly_is_put_on_the_terms_of_the_new_arguments(
    stack: Stack, http: httpx2.Client
) -> None:
    """No agent gets by with one person where two would have been asked."""
    car = {"action_type": "hire_car", "country": "US"}
    body = {"agent_id": "traveller", "title": "Hire a car", "metadata": car}
    approval_id = http.post("/request-approval", json=body).json()["id"]
    asked(stack, approval_id)
    assert answered(http, approval_id, {**car, "country": "DE"}).status_code == 200
    for name, status in (("alex", "PENDING"), ("sam", "APPROVED")):
        stack.respond(approval_id, name, response="approve")
        assert standing(http, approval_id)["status"] == status


# --- over HTTP ----------------------------------------------------------------------------------


def test_until_they_are_judged_nobody_can_answer(
    stack: Stack, http: httpx2.Client, agent: Safeguards
) -> None:
    """Then it is a new version with another digest, which a mail tells of with what differs; who
    answers the one before is refused."""
    approval_id = submitted(stack, agent)
    before = standing(http, approval_id)
    with evaluator_stands_still(stack):
        answer = answered(http, approval_id, {"amount": "700.00", "to": "Lisbon"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["context"]["amount"] == "900.00"
        for response in ("approve", "reject"):
            assert problem(stack.respond(approval_id, response=response)) == (409, "being_judged")
    eventually(lambda: standing(http, approval_id)["version"] > 1, "the new ones are judged")
    now = standing(http, approval_id)
    assert (now["status"], now["context"]["amount"]) == ("PENDING", "700.00")
    assert now["digest"] != before["digest"]
    mail = stack.smtp.wait_for(lambda mail: "700.00" in mail.text)
    assert "900.00 → 700.00" in mail.text
    seen = {"version": before["version"], "digest": before["digest"]}
    late = stack.respond(approval_id, response="approve", **seen)
    assert problem(late) == (409, "stale_version")
    assert stack.respond(approval_id, response="approve").status_code == 200
    assert events(stack, approval_id).count("amended") == 1


def test_what_a_policy_denies_is_rejected_without_people(
    stack: Stack, http: httpx2.Client, agent: Safeguards
) -> None:
    """The agent hears why, as of an action that was denied at once."""
    approval_id = submitted(stack, agent)
    assert answered(http, approval_id, {"amount": "5000.00", "to": "Rome"}).status_code == 200
    outcome = agent.wait(approval_id, 10)
    assert (outcome.status, outcome.decided_by) == (ActionStatus.REJECTED, "policy")
    assert "5000.00" in outcome.comments
    with pytest.raises(NotApprovedError):
        outcome.approved_context({"amount": "5000.00", "to": "Rome"})
    action_id = twin_id("act", approval_id)
    eventually(
        lambda: http.get(f"/actions/{action_id}").json()["status"] == "REJECTED",
        "the action is closed",
    )


def test_a_halted_agent_tells_nobody_anything_new(
    stack: Stack, http: httpx2.Client, agent: Safeguards
) -> None:
    """What it asked for before stands, and people may decide on it as it is."""
    approval_id = submitted(stack, agent, "sleeper")
    stack.admin("halts", "begin", "--agent", "sleeper", "--reason", "it dreams")
    refused = answered(http, approval_id, {"amount": "1.00", "to": "Porto"})
    assert refused.status_code == 403
    assert "it dreams" in refused.json()["detail"]
    standing_now = standing(http, approval_id)
    assert (standing_now["status"], standing_now["version"]) == ("PENDING", 1)


def test_a_direct_request_is_amended_at_once(http: httpx2.Client, stack: Stack) -> None:
    """Nobody has judged it before, and nobody does now."""
    asking = {"agent_id": "traveller", "title": "Buy chairs", "metadata": {"amount": "90.00"}}
    approval_id = http.post("/request-approval", json=asking).json()["id"]
    asked(stack, approval_id)
    answer = answered(http, approval_id, {"amount": "80.00"})
    assert answer.status_code == 200, answer.text
    assert (answer.json()["version"], answer.json()["context"]) == (2, {"amount": "80.00"})
    assert stack.respond(approval_id, response="approve").status_code == 200


def test_it_stays_the_same_type_of_action(
    stack: Stack, http: httpx2.Client, agent: Safeguards
) -> None:
    """Judged or asked for directly: another type is refused, and the question stays open."""
    judged = submitted(stack, agent)
    body = {"action_type": "purchase", "amount": "90.00"}
    given = {"agent_id": "traveller", "title": "Buy", "metadata": body}
    direct = http.post("/request-approval", json=given).json()["id"]
    asked(stack, direct)
    for approval_id in (judged, direct):
        answer = answered(http, approval_id, {"amount": "1.00", "action_type": "wire"})
        assert problem(answer) == (422, "other_action_type")
        now = standing(http, approval_id)
        assert (now["version"], now["questions"][0].get("answer")) == (1, None)
    assert answered(http, direct, {**body, "amount": "80.00"}).status_code == 200


def test_an_answer_with_a_key_is_taken_once(
    stack: Stack, http: httpx2.Client, agent: Safeguards
) -> None:
    """Sent again it answers no other question, before it is judged and after; the same key with
    other arguments is refused."""
    approval_id = submitted(stack, agent)
    cheaper = {"amount": "700.00", "to": "Lisbon"}
    with evaluator_stands_still(stack):
        for _ in range(2):
            assert answered(http, approval_id, cheaper, "one").status_code == 200
        answer = answered(http, approval_id, {**cheaper, "amount": "1.00"}, "one")
        assert problem(answer) == (422, "idempotency_key_reused")
    eventually(lambda: standing(http, approval_id)["version"] == 2, "it is judged")
    asked(stack, approval_id, "And by train?")
    assert answered(http, approval_id, cheaper, "one").status_code == 200
    now = standing(http, approval_id)
    assert (now["version"], now["questions"][1].get("answer")) == (2, None)
    assert events(stack, approval_id).count("answered") == 1


# --- with the library ---------------------------------------------------------------------------


def test_the_agent_runs_what_was_approved_and_nothing_else(
    stack: Stack, agent: Safeguards, http: httpx2.Client
) -> None:
    """The new arguments, with their types; not those that it asked for first."""
    approval_id = submitted(stack, agent)
    cheaper = {**TRIP, "amount": Decimal("700.00")}
    agent.answer(approval_id, "This one.", context=cheaper)
    eventually(lambda: standing(http, approval_id)["version"] == 2, "it is judged")
    assert stack.respond(approval_id, response="approve").status_code == 200
    outcome = agent.wait(approval_id, 10)
    assert outcome.approved_context(cheaper) == cheaper
    with pytest.raises(DigestMismatchError):
        outcome.approved_context(TRIP)
    with pytest.raises(ConflictError):
        agent.answer(approval_id, "Or this.", context=TRIP)


def test_a_handler_answers_with_other_arguments(stack: Stack) -> None:
    """Its action has them from then on, and not where they are refused."""
    channel = HumanInTheLoopChannel()
    channel.initialize({"webhook_url": stack.api, "api_key": stack.agent_key.api_key})
    handler = HumanActionHandler(channel)
    try:
        first = {"amount": Decimal("90.00")}
        action = handler.request_action("Buy chairs", "", "traveller", first)
        asked(stack, action.id)
        with pytest.raises(ProblemError):
            handler.answer_action(action, "It is a wire.", {"action_type": "wire"})
        assert action.metadata == first
        cheaper = {"amount": Decimal("80.00")}
        handler.answer_action(action, "These.", cheaper)
        assert action.metadata == cheaper
        modified = stack.respond(action.id, response="modify", modifications={"amount": "75.00"})
        assert modified.status_code == 200, modified.text
        assert handler.wait_for_action(action, 10) is ActionStatus.MODIFIED
        assert action.response_data == {"amount": "75.00"}
    finally:
        handler.shutdown()
        channel.shutdown()
