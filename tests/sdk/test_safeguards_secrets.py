"""The safeguard for secrets."""

from __future__ import annotations

from typing import Any

import pytest

from safeguards.types import AlertSeverity
from tests.sdk.judging import judged, titles

# Made up, and put together here, so that nobody who scans this project takes them for real.
_LETTERS = "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3fG5"
GITHUB = "ghp_" + _LETTERS
SLACK = "xoxb-" + "123456789012-1234567890123-AbCdEfGhIjKlMnOpQrStUvWx"
STRIPE = "sk_" + "live_51H8aB3dE5gH7jK9mN1pQ3sT5"
KEY = (
    "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEpAIBAAKCAQEA75XZ" + _LETTERS * 20 + "\n"
    "-----END RSA " + "PRIVATE KEY-----"
)


@pytest.mark.parametrize("secret", [GITHUB, SLACK, STRIPE, KEY])
@pytest.mark.parametrize(
    "form", ["{}", "Hi, use this: {} . Bye", "{}\n\n-- \nBob", "naïve \u4e16 {}"]
)
def test_a_key_or_token_is_found_by_its_form(secret: str, form: str) -> None:
    """In an argument of any name; the alert says where, and not what."""
    (alert,) = judged("secrets", "send_email", {"x": 1, "mail": [{"body": form.format(secret)}]})
    assert (alert.title, alert.severity) == ("Secret in the arguments", AlertSeverity.ERROR)
    assert alert.description == "There is a key or token at /mail/0/body."
    assert secret[:12] not in str(alert)


def test_a_token_is_found_though_invisible_characters_stand_in_it() -> None:
    """A reviewer would not see them either."""
    assert titles("secrets", "post", {"body": GITHUB[:9] + "\u200b" + GITHUB[9:]})


def test_a_secret_that_is_a_name_is_found_and_not_shown() -> None:
    """Nor is it in the places of what stands below it."""
    (alert,) = judged("secrets", "post", {GITHUB: {"note": GITHUB}})
    assert alert.metadata["places"] == ["/…", "/…/note"]
    assert GITHUB not in str(alert)


@pytest.mark.parametrize(
    "field", ["password", "Password", "dbPassword", "client-secret", "API_KEY", "openaiApiKey"]
)
def test_a_secret_is_known_by_the_name_of_its_argument(field: str) -> None:
    """In any spelling, with anything before it."""
    (alert,) = judged("secrets", "connect", {"options": {field: "correct horse"}})
    assert alert.description == f"There is what is a secret by its name at /options/{field}."
    assert "horse" not in str(alert)


@pytest.mark.parametrize(
    "context",
    [
        {"password": ""},
        {"password": None},
        {"password": "********"},
        {"api_key": "${API_KEY}"},
        {"api_key": "<your key>"},
        {"password_policy": "at least twelve letters"},
        {"next_page_token": "3"},
        {"max_tokens": 4096},
    ],
)
def test_a_placeholder_is_no_secret(context: dict[str, Any]) -> None:
    """Nor is a setting with a like name."""
    assert judged("secrets", "connect", context) == []


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("The password is hunter2!x", "a password"),
        ("user: bob\npassword: Winter2024", "a password"),
        ("Secret key is 1a7b3d.", "a key"),
        ('"api_key" = "ab12-cd34"', "a key"),
        ("Your Facebook security code is 463820", "a one-time code"),
        ("verification code: 12 34 56", "a one-time code"),
        ("verification code: \u0661\u0662\u0663\u0664\u0665\u0666", "a one-time code"),
    ],
)
def test_a_password_in_a_sentence_is_found(text: str, kind: str) -> None:
    """What an agent was talked into passing on."""
    (alert,) = judged("secrets", "send_email", {"body": text})
    assert alert.description == f"There is {kind} at /body."


@pytest.mark.parametrize(
    "text",
    [
        "The password is required!",
        "Your password is incorrect.",
        "Use the password reset link",
        "The API key is in the vault",
        "api_key: $API_KEY_2",
        "The security code of conduct is attached",
        "https://example.com:8080/a@b",
        "DE89 3704 0044 0532 0130 00",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "550e8400-e29b-41d4-a716-446655440000",
    ],
)
def test_what_only_speaks_of_one_is_none(text: str) -> None:
    """Nor is a digest, a UUID or an account number."""
    assert judged("secrets", "send_email", {"body": text}) == []


def test_fields_can_be_chosen() -> None:
    """They stand instead of the usual ones."""
    config = {"secret_fields": ["door code"]}
    assert titles("secrets", "post", {"doorCode": "4711"}, config)
    assert titles("secrets", "post", {"password": "correct horse"}, config) == []
