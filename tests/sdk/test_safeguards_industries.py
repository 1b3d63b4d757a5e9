"""Limits by type and currency, compliance, and roles that must approve."""

from __future__ import annotations

from typing import Any

import pytest

from safeguards.errors import ConfigurationError
from safeguards.plugins import BUILT_IN
from safeguards.types import AlertSeverity
from tests.sdk.judging import judged, titles

BY_TYPE = {"transaction_limits": {"*": "1000"}, "type_limits": {"wire_*": {"*": "500.00"}}}
BY_CURRENCY = {"transaction_limits": {"*": {"EUR": "1000", "jpy": "150000"}}}
RULES = {
    "compliance": {"kyc_fields": ["customer.kyc_verified"], "aml_flags": ["aml_flag"]},
}
CLEAN = {"amount": "5", "customer": {"kyc_verified": True}, "aml_flag": False}


@pytest.mark.parametrize("action_type", ["wire_transfer", "wireTransfer", "Wire Transfer"])
def test_a_type_has_a_limit_of_its_own_in_every_spelling(action_type: str) -> None:
    """Beside that of the agent."""
    assert titles("financial_services", action_type, {"amount": "500"}, BY_TYPE) == []
    (alert,) = judged("financial_services", action_type, {"amount": "500.01"}, BY_TYPE)
    assert alert.title == "Transaction over the limit"
    assert alert.description == f"500.01 exceeds the limit of 500.00 for {action_type} by worker."
    both = titles("financial_services", action_type, {"amount": "2000"}, BY_TYPE)
    assert both == ["Transaction over the limit"] * 2
    assert titles("financial_services", "card_payment", {"amount": "501"}, BY_TYPE) == []


def test_an_agent_without_a_limit_for_a_type_has_none_to_spend() -> None:
    """As with the limits of agents."""
    config = {"type_limits": {"payment": {"other": "5"}}}
    assert titles("financial_services", "payment", {"amount": "1"}, config) == [
        "No transaction limit"
    ]


@pytest.mark.parametrize(
    ("context", "title"),
    [
        ({"amount": "1000", "currency": "EUR"}, None),
        ({"amount": "1000", "currency": "eur"}, None),
        ({"amount": "150000", "currency": "JPY"}, None),
        ({"amount": "1000.01", "currency": "EUR"}, "Transaction over the limit"),
        ({"amount": "1"}, "No currency"),
        ({"amount": "1", "currency": None}, "No currency"),
        ({"amount": "1", "currency": ""}, "No currency"),
        ({"amount": "1", "currency": "USD"}, "No transaction limit in USD"),
        ({"amount": "1", "currency": "\u20ac"}, "Currency cannot be read"),
        ({"amount": "1", "currency": "EUR "}, "Currency cannot be read"),
        ({"amount": "1", "currency": "\uff25UR"}, "Currency cannot be read"),
        ({"amount": "1", "currency": ["EUR"]}, "Currency cannot be read"),
    ],
)
def test_a_limit_by_currency_is_for_that_currency(
    context: dict[str, Any], title: str | None
) -> None:
    """And an action that names none has none."""
    found = titles("financial_services", "payment", context, BY_CURRENCY)
    assert found == ([title] if title else [])


@pytest.mark.parametrize(
    ("change", "title"),
    [
        ({}, None),
        ({"customer": {"kyc_verified": "Verified"}, "aml_flag": "clear"}, None),
        ({"customer": {"kyc_verified": False}}, "Customer not verified"),
        ({"customer": {"kyc_verified": "pending"}}, "Customer not verified"),
        ({"customer": {"kyc_verified": 1}}, "Customer not verified"),
        ({"customer": {}}, "Customer not verified"),
        ({"customer": None}, "Customer not verified"),
        ({"aml_flag": True}, "Screening found something"),
        ({"aml_flag": "yes"}, "Screening found something"),
        ({"aml_flag": None}, "Screening is missing"),
        ({"aml_flag": "?"}, "Screening is missing"),
        ({"aml_flag": 0}, "Screening is missing"),
    ],
)
def test_compliance_must_be_plainly_said(change: dict[str, Any], title: str | None) -> None:
    """What is missing or cannot be read keeps no rule."""
    alerts = judged("financial_services", "payment", {**CLEAN, **change}, RULES)
    assert [alert.title for alert in alerts] == ([title] if title else [])
    assert all(alert.severity is AlertSeverity.ERROR for alert in alerts)


def test_compliance_is_for_what_moves_money_or_for_chosen_types() -> None:
    """Nobody is screened to write a report."""
    assert titles("financial_services", "report", {}, RULES) == []
    chosen = {"compliance": {**RULES["compliance"], "action_types": ["open_*"]}}
    assert len(titles("financial_services", "openAccount", {}, chosen)) == 2
    assert titles("financial_services", "payment", {"amount": "1"}, chosen) == []


@pytest.mark.parametrize("action_type", ["prescribe_drug", "prescribeDrug", "Prescribe-Drug"])
def test_an_operation_that_a_role_must_approve_says_so(action_type: str) -> None:
    """The policy asks the people of that role."""
    config = {"required_roles": {"prescribe_*": ["physician", "pharmacist"]}}
    (alert,) = judged("healthcare", action_type, {"dose": "5 mg"}, config)
    assert (alert.title, alert.severity) == (
        "Needs approval: physician or pharmacist",
        AlertSeverity.ERROR,
    )
    assert alert.metadata["roles"] == ["physician", "pharmacist"]
    assert judged("healthcare", "book_room", {}, config) == []


@pytest.mark.parametrize(
    ("name", "config", "said"),
    [
        ("financial_services", {"type_limits": {"x": {"*": "-1"}}}, "'type_limits'"),
        ("financial_services", {"transaction_limits": {"*": {}}}, "it names no currency"),
        ("financial_services", {"transaction_limits": {"*": {"euro": "1"}}}, "three letters"),
        ("financial_services", {"compliance": {"kyc": []}}, "'compliance.kyc' is unknown"),
        ("healthcare", {"required_roles": {"x": []}}, "'required_roles.x' is wrong"),
    ],
)
def test_a_wrong_configuration_is_named(name: str, config: dict[str, Any], said: str) -> None:
    """The error says which key."""
    with pytest.raises(ConfigurationError) as caught:
        BUILT_IN[name]().initialize(config)
    assert said in str(caught.value)
