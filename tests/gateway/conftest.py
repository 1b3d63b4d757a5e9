"""Clients of the running stack: an agent's with a key for any agent, and each reviewer's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from tests.stack import Key, Stack

Asking = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def agent(stack: Stack) -> Iterator[httpx2.Client]:
    """A client with a key that may act for any agent."""
    with stack.http() as http:
        yield http


@pytest.fixture(scope="session")
def alex(stack: Stack) -> Iterator[httpx2.Client]:
    """A reviewer's client."""
    with stack.http(stack.reviewer_keys["alex"]) as http:
        yield http


@pytest.fixture(scope="session")
def one_agent(stack: Stack) -> Key:
    """A key for the agent `one-agent` alone; behind it stands Sam, who may not answer it."""
    return stack.create_key("--agent", "one-agent", "--owner", "sam")


@pytest.fixture(scope="session")
def other(stack: Stack, one_agent: Key) -> Iterator[httpx2.Client]:
    """A client with the key for `one-agent` alone."""
    with stack.http(one_agent) as http:
        yield http


@pytest.fixture(scope="session")
def ask(agent: httpx2.Client) -> Asking:
    """Ask people directly; return the approval."""

    def asking(context: dict[str, Any] | None = None, **body: Any) -> dict[str, Any]:
        metadata = {"amount": "2500.00", "payee": "ACME"} if context is None else context
        given = {"agent_id": "trader", "title": "Pay ACME", "metadata": metadata, **body}
        answer = agent.post("/request-approval", json=given)
        assert answer.status_code == 202, answer.text
        approval: dict[str, Any] = answer.json()
        return approval

    return asking
