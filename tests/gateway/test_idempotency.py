"""`Idempotency-Key`: a request that is sent again makes nothing new."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.gateway.conftest import Asking
from tests.stack import Stack

BODIES: dict[str, dict[str, Any]] = {
    "/actions": {"agent_id": "one-agent", "action_type": "wipe", "context": {"n": 1}},
    "/request-approval": {"agent_id": "one-agent", "title": "Wipe", "metadata": {"n": 1}},
}
PATHS = pytest.mark.parametrize("path", BODIES)


def post(
    client: httpx2.Client, path: str, key: str, body: dict[str, Any] | None = None
) -> httpx2.Response:
    return client.post(path, json=body or BODIES[path], headers={"Idempotency-Key": key})


@PATHS
def test_the_same_request_again_gets_what_the_first_one_made(
    agent: httpx2.Client, path: str
) -> None:
    """The same status, record and location, marked as a replay."""
    key = uuid4().hex
    first, again = post(agent, path, key), post(agent, path, key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["location"] == first.headers["location"]
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"


@PATHS
def test_the_location_leads_to_the_record(agent: httpx2.Client, path: str) -> None:
    made = post(agent, path, uuid4().hex)
    found = agent.get(made.headers["location"].removeprefix("/api/v1"))
    assert found.json()["id"] == made.json()["id"]


@PATHS
def test_the_same_body_written_in_another_way_is_the_same_request(
    agent: httpx2.Client, path: str
) -> None:
    """White space and the order of the fields do not matter."""
    key = uuid4().hex
    first = post(agent, path, key)
    again = post(agent, path, key, dict(reversed(BODIES[path].items())))
    assert again.json()["id"] == first.json()["id"]


@PATHS
def test_the_same_key_with_another_body_is_refused(agent: httpx2.Client, path: str) -> None:
    """422, and what the first request made is not changed."""
    key = uuid4().hex
    made = post(agent, path, key).json()
    field = "context" if path == "/actions" else "metadata"
    refused = post(agent, path, key, {**BODIES[path], field: {"n": 2}})
    assert refused.status_code == 422
    assert refused.json()["type"] == "urn:safeguards:problem:idempotency_key_reused"
    assert post(agent, path, key).json()["id"] == made["id"]


@PATHS
def test_of_many_at_once_one_makes_the_record(agent: httpx2.Client, path: str) -> None:
    """Twenty at once: all are answered with one and the same record."""
    key = uuid4().hex
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: post(agent, path, key), range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1


@PATHS
def test_of_many_bodies_at_once_one_is_taken(agent: httpx2.Client, path: str) -> None:
    """Different bodies under one key: one is taken, every other refused."""
    key = uuid4().hex
    field = "context" if path == "/actions" else "metadata"
    with ThreadPoolExecutor(10) as pool:
        answers = list(
            pool.map(lambda n: post(agent, path, key, {**BODIES[path], field: {"n": n}}), range(10))
        )
    assert sorted(answer.status_code for answer in answers) == [202] + [422] * 9


def test_keys_of_different_callers_do_not_meet(agent: httpx2.Client, other: httpx2.Client) -> None:
    """Two API keys that happen to use the same word each make their own record; neither sees the
    other's."""
    key = uuid4().hex
    first, second = post(agent, "/actions", key), post(other, "/actions", key)
    assert first.json()["id"] != second.json()["id"]
    assert "idempotency-replayed" not in second.headers


def test_keys_of_different_endpoints_do_not_meet(agent: httpx2.Client) -> None:
    key = uuid4().hex
    assert {post(agent, path, key).status_code for path in BODIES} == {202}


def test_a_refused_request_does_not_use_up_its_key(agent: httpx2.Client) -> None:
    """Mended, it is sent again under the same key."""
    key = uuid4().hex
    wrong = {**BODIES["/actions"], "timeout_seconds": 0}
    assert post(agent, "/actions", key, wrong).status_code == 422
    assert post(agent, "/actions", key).status_code == 202


def test_the_record_is_replayed_as_it_stands(stack: Stack, agent: httpx2.Client) -> None:
    """Who repeats the request after the decision learns of the decision."""
    key = uuid4().hex
    made = post(agent, "/request-approval", key).json()
    assert stack.respond(made["id"], response="reject", comments="no").status_code == 200
    again = post(agent, "/request-approval", key).json()
    assert (again["status"], again["outcome"]["comments"]) == ("REJECTED", "no")


def test_an_answer_that_is_sent_again_answers_no_other_question(
    stack: Stack, agent: httpx2.Client, ask: Asking
) -> None:
    """With an Idempotency-Key: its reply was lost, and two questions were open."""
    approval_id = ask()["id"]
    for reviewer, question in (("alex", "why?"), ("sam", "for whom?")):
        assert stack.respond(approval_id, reviewer, response="ask", comments=question).is_success
    url, headers = f"/approvals/{approval_id}/answers", {"Idempotency-Key": uuid4().hex}
    for _ in range(2):
        answered = agent.post(url, json={"answer": "the offices"}, headers=headers)
        assert answered.status_code == 200, answered.text
        answers = [question["answer"] for question in answered.json()["questions"]]
        assert answers == ["the offices", None]
        assert answered.json()["version"] == 2
    assert stack.respond(approval_id, response="reject").status_code == 200
    late = agent.post(url, json={"answer": "the offices"}, headers=headers)
    assert (late.status_code, late.json()["status"]) == (200, "REJECTED")
    other = agent.post(url, json={"answer": "nobody"}, headers=headers)
    assert other.status_code == 422
    assert other.json()["type"].endswith("idempotency_key_reused")
