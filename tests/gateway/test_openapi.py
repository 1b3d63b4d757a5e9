"""The API's description says what the API does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.stack import Stack

OPERATIONS = {
    ("post", "/api/v1/actions"),
    ("get", "/api/v1/actions/{action_id}"),
    ("post", "/api/v1/request-approval"),
    ("get", "/api/v1/approvals"),
    ("get", "/api/v1/approvals/{approval_id}"),
    ("get", "/api/v1/approvals/{approval_id}/history"),
    ("post", "/api/v1/approvals/{approval_id}/responses"),
    ("post", "/api/v1/approvals/{approval_id}/answers"),
    ("delete", "/api/v1/approvals/{approval_id}"),
    ("get", "/api/v1/events"),
    ("get", "/api/v1/outcomes"),
}


@pytest.fixture(scope="module")
def document(stack: Stack) -> dict[str, Any]:
    with httpx2.Client(base_url=stack.url) as http:
        found: dict[str, Any] = http.get("/openapi.json").json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def test_every_operation_is_described_and_nothing_else(document: dict[str, Any]) -> None:
    """What the design promises; pages and probes are no part of the API."""
    assert document["openapi"].startswith("3.")
    assert {(method, path) for method, path, _ in operations(document)} == OPERATIONS


def test_every_operation_has_a_summary_and_a_description(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        assert operation["summary"], (method, path)
        assert operation["description"], (method, path)
        assert operation["tags"], (method, path)


def test_operation_ids_differ(document: dict[str, Any]) -> None:
    """So that clients can be generated."""
    ids = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(ids)) == len(ids)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name in re.findall(r"#/components/schemas/([\w.-]+)", str(document)):
        assert name in schemas


def test_every_operation_needs_an_api_key(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        assert operation["security"], (method, path)


def test_every_parameter_of_a_path_is_described(document: dict[str, Any]) -> None:
    for _, path, operation in operations(document):
        named = {p["name"] for p in operation.get("parameters", ()) if p["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path))


def test_success_says_what_it_returns(document: dict[str, Any]) -> None:
    """Every 200 and 202 refers to a model, `/outcomes` too; a stream of events has no end."""
    for method, path, operation in operations(document):
        for status, response in operation["responses"].items():
            if status in ("200", "202") and "text/event-stream" not in response["content"]:
                schema = response["content"]["application/json"]["schema"]
                assert "$ref" in str(schema), (method, path)


def test_errors_are_described_as_problem_documents(document: dict[str, Any]) -> None:
    """As they really come (RFC 9457), not as the framework's own shape."""
    for method, path, operation in operations(document):
        errors = {s: r for s, r in operation["responses"].items() if s[0] in "45d"}
        assert errors, (method, path)
        for status, response in errors.items():
            assert list(response["content"]) == ["application/problem+json"], (method, path, status)


def test_bodies_refuse_unknown_fields(document: dict[str, Any]) -> None:
    """And the description says so."""
    schemas = document["components"]["schemas"]
    for name in ("ActionSubmission", "ApprovalSubmission", "ResponseSubmission"):
        assert schemas[name]["additionalProperties"] is False


def test_the_docs_are_shown(stack: Stack) -> None:
    with httpx2.Client(base_url=stack.url) as http:
        assert http.get("/docs").status_code == 200
