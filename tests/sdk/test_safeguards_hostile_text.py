"""No text keeps a safeguard busy: the time that one takes grows with the text, not faster."""

from __future__ import annotations

from typing import Any

import pytest

from safeguards.types import SafetyAlert
from tests.sdk.judging import judged, titles

SIZE = 240_000
"""How many characters; the most that are searched are a few more."""

CONFIG: dict[str, dict[str, Any]] = {
    "external_recipients": {"links": True, "own_domains": ["example.com"]},
    "personal_data": {"kinds": ["card", "ssn", "national_id", "iban", "passport", "email"]},
}


def alerts(safeguard: str, context: dict[str, Any]) -> list[SafetyAlert]:
    return judged(safeguard, "send_mail", context, CONFIG.get(safeguard))


def filled(begin: str, piece: str, end: str = "") -> str:
    return begin + piece * ((SIZE - len(begin) - len(end)) // len(piece)) + end


# Each takes minutes where the time grows with the square of the length.
@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("safeguard", "field", "text"),
    [
        pytest.param("destructive", "query", filled("select 1 ", "a/*"), id="comments"),
        pytest.param("destructive", "sql", filled("drop ", "/*/", "*/"), id="comments-inside"),
        pytest.param("destructive", "command", filled("git -x", " ", "! push"), id="spaces"),
        pytest.param("destructive", "command", filled("deletemany(", " ", "!"), id="brackets"),
        pytest.param("destructive", "command", filled("rm", "\n"), id="lines"),
        pytest.param("destructive", "command", filled("git push -", "f", "_"), id="options"),
        pytest.param("destructive", "query", filled("mutation {", "#}"), id="mutation"),
        pytest.param("external_recipients", "to", filled("", "<a@"), id="addresses"),
        pytest.param("external_recipients", "body", filled("", "; www.a"), id="links"),
        pytest.param("external_recipients", "to", filled("", "?a@b"), id="headers"),
        pytest.param("external_recipients", "url", filled("", "\uff41\u3002"), id="full-width"),
        pytest.param("external_recipients", "to", filled("", "https:"), id="schemes"),
        pytest.param("external_recipients", "to", filled("a@", "\u0301\u0316"), id="marks-address"),
        pytest.param("personal_data", "body", filled("4", "\u0301\u0316"), id="marks"),
        pytest.param("secrets", "body", filled("password: ", "{"), id="placeholder"),
    ],
)
def test_a_long_text_is_judged_in_no_time(safeguard: str, field: str, text: str) -> None:
    """It would hold up all that is judged beside it."""
    alerts(safeguard, {field: text})


@pytest.mark.timeout(30)
@pytest.mark.parametrize("safeguard", ["destructive", "external_recipients", "secrets"])
def test_a_long_name_is_not_repeated_for_each_item(safeguard: str) -> None:
    """Pointers to ten thousand values below it would fill the memory."""
    context = {"to" + "x" * 200_000: ["a"] * 9_000}
    assert "Action cannot be searched" in {alert.title for alert in alerts(safeguard, context)}


@pytest.mark.parametrize("safeguard", ["destructive", "external_recipients", "personal_data"])
def test_a_text_counts_as_long_as_it_is_when_folded(safeguard: str) -> None:
    """One character may stand for eighteen."""
    few, many = "\ufdfa" * 10_000, "\ufdfa" * 20_000
    assert titles(safeguard, "send_mail", {"body": few}) == []
    assert titles(safeguard, "send_mail", {"body": many}) == ["Action cannot be searched"]
