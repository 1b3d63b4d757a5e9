"""`GET /outcomes` as a stream: a page a line, each as soon as something happens."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2

from tests.gateway.conftest import Asking
from tests.stack import Stack

NDJSON = "application/x-ndjson"


@contextmanager
def streamed(client: httpx2.Client, **query: Any) -> Iterator[Iterator[dict[str, Any]]]:
    """Open a stream; give its pages as they come."""
    headers = {"Accept": NDJSON}
    with client.stream("GET", "/outcomes", params=query, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith(NDJSON)
        yield (json.loads(line) for line in response.iter_lines())


def test_each_decision_is_a_line_as_soon_as_it_is_made(
    stack: Stack, agent: httpx2.Client, ask: Asking
) -> None:
    """The first line comes at once; one answer brings all that happens meanwhile."""
    first, second = ask()["id"], ask()["id"]
    cursor = agent.get("/outcomes").json()["cursor"]
    with streamed(agent, after=cursor, wait=60) as pages:
        started = time.monotonic()
        assert next(pages)["entries"] == []
        for approval_id in (first, second):
            stack.respond(approval_id, response="approve")
            (entry,) = next(pages)["entries"]
            assert (entry["approval_id"], entry["status"]) == (approval_id, "APPROVED")
        assert time.monotonic() - started < 60, "it did not wait for the end"


def test_each_page_names_the_cursor_to_go_on_from(
    stack: Stack, agent: httpx2.Client, ask: Asking
) -> None:
    """Whoever is cut off between two lines misses nothing and hears nothing twice."""
    ids = [ask()["id"] for _ in range(3)]
    cursor = agent.get("/outcomes").json()["cursor"]
    stack.respond(ids[0], response="approve")
    heard: list[str] = []
    for approval_id in (*ids[1:], None):
        with streamed(agent, after=cursor, wait=30) as pages:
            page = next(page for page in pages if page["entries"])
        heard += [entry["approval_id"] for entry in page["entries"]]
        cursor = page["cursor"]
        if approval_id:
            stack.respond(approval_id, response="reject")
    assert heard == ids


def test_it_ends_when_the_time_is_up(agent: httpx2.Client) -> None:
    """So that the key is looked at again; the last page brings the cursor on."""
    cursor = agent.get("/outcomes").json()["cursor"]
    with streamed(agent, after=cursor, wait=0.2) as pages:
        assert [page["entries"] for page in pages] == [[], []]


def test_a_wrong_cursor_and_a_wrong_key_are_problems_and_no_streams(
    stack: Stack, agent: httpx2.Client
) -> None:
    headers = {"Accept": NDJSON}
    wrong = agent.get("/outcomes", params={"after": "x", "wait": 5}, headers=headers)
    assert (wrong.status_code, wrong.json()["type"]) == (
        422,
        "urn:safeguards:problem:invalid_cursor",
    )
    headers["Authorization"] = f"Bearer sgk_{'0' * 32}_{'x' * 43}"
    refused = agent.get("/outcomes", params={"after": "0-0", "wait": 5}, headers=headers)
    assert refused.status_code == 401


def test_only_ones_own_agents_are_streamed(
    stack: Stack, agent: httpx2.Client, other: httpx2.Client, ask: Asking
) -> None:
    foreign = ask()["id"]
    mine = other.post("/request-approval", json={"agent_id": "one-agent", "title": "x"}).json()
    cursor = other.get("/outcomes").json()["cursor"]
    with streamed(other, after=cursor, wait=30) as pages:
        stack.respond(foreign, response="approve")
        stack.respond(mine["id"], response="reject")
        page = next(page for page in pages if page["entries"])
    assert [entry["approval_id"] for entry in page["entries"]] == [mine["id"]]
