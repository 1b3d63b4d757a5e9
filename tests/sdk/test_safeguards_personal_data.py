"""The safeguard for personal data."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeguards.types import AlertSeverity
from tests.sdk.judging import judged, titles


@pytest.mark.parametrize(
    "value",
    [
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "pay with 4111111111111111, please",
        4111111111111111,
        4111111111111111.0,
        "378282246310005",
        "5555 5555 5555 4444",
        "\uff14111 1111 1111 1111",
        "\u06641\u0661\u0661 1111 1111 1111",
        "4111\u200b 1111 1111 1111",
    ],
)
def test_a_card_number_is_found_however_it_is_written(value: Any) -> None:
    """With other digits, spaces, and what cannot be seen."""
    if isinstance(value, float):
        value = int(value)
    (alert,) = judged("personal_data", "post", {"rows": [{"note": value}]})
    assert alert.severity is AlertSeverity.ERROR
    assert alert.description == "There is a card number at /rows/0/note."
    assert "1111" not in str(alert)


@given(st.integers(0, 9), st.integers(0, 10**14 - 1))
def test_a_number_with_a_wrong_check_digit_is_no_card(digit: int, middle: int) -> None:
    """Of ten last digits one is right."""
    found = [
        last
        for last in range(10)
        if titles("personal_data", "post", {"note": f"4{middle:014d}{last}"})
    ]
    assert len(found) == 1


@pytest.mark.parametrize(
    ("context", "kind"),
    [
        ({"note": "ssn 536-90-4399"}, "a social security number"),
        ({"ssn": "536904399"}, "a social security number"),
        ({"employee": {"social_security_number": 536904399}}, "a social security number"),
        ({"note": "CF RSSMRA85T10A562S"}, "a national identity number"),
        ({"note": "my BSN is 111222333"}, "a national identity number"),
        ({"note": "756.9217.0769.85"}, "a national identity number"),
        ({"note": "529.982.247-25"}, "a national identity number"),
        ({"dni": "54362315K"}, "a national identity number"),
        ({"pesel": "44051401359"}, "a national identity number"),
    ],
)
def test_a_national_number_is_found(context: dict[str, Any], kind: str) -> None:
    """By its form, or by what it is called."""
    (alert,) = judged("personal_data", "post", context)
    assert kind in alert.description


@pytest.mark.parametrize(
    "text",
    [
        "order 111222333",
        "000-12-3456",
        "555-12-34567",
        "2026-11-25T10:00:00Z",
        "1732528800123",
        "448123456789012345",
        "10.0.0.1:8080",
        "+1 415 555 2671",
        "550e8400-e29b-41d4-a716-446655440000",
        "alice@example.com",
        "GB29 NWBK 6016 1331 9268 19",
    ],
)
def test_an_ordinary_number_is_none(text: str) -> None:
    """Nor is an account number, an address or a phone number, unless one asks for it."""
    assert judged("personal_data", "post", {"note": text}) == []


@pytest.mark.parametrize(
    ("kind", "context"),
    [
        ("iban", {"recipient": "GB29 NWBK 6016 1331 9268 19"}),
        ("iban", {"note": "to DE89370400440532013000 please"}),
        ("email", {"note": "ask alice@example.com"}),
        ("phone", {"note": "call +1 (415) 555-2671"}),
        ("phone", {"mobile": "0151 2345678"}),
        ("passport", {"passport_number": "X1234567"}),
        ("passport", {"note": "passport no: C01X00T47"}),
    ],
)
def test_further_kinds_are_found_if_asked_for(kind: str, context: dict[str, Any]) -> None:
    """And only those."""
    (alert,) = judged("personal_data", "post", context, {"kinds": [kind]})
    assert alert.metadata["kind"] == kind
    assert judged("personal_data", "post", context, {"kinds": ["card"]}) == []


def test_a_number_that_is_a_name_is_not_shown() -> None:
    """The alert is read by people, and kept."""
    (alert,) = judged("personal_data", "post", {"4111 1111 1111 1111": {"x": 1}})
    assert alert.metadata["places"] == ["/…"]
