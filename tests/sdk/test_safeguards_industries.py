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
    assert titles("financial_services", "wire", {"amount": "501"}, BY_TYPE) == []


@pytest.mark.parametrize(
    ("action_type", "context"),
    [
        ("investment", {"total": "2500"}),
        ("investment", {"Amount": "2500"}),
        ("investment", {"amount\u200b ": "2500"}),
        ("buyInvestment", {"order": {"legs": [{"amount": "2500"}]}}),
        ("investment", {"amount": "1", "quantity": 2500}),
        ("wire_money", {"Amount": "600"}),
        ("wire_money", {"order": {"amount": "600"}}),
    ],
)
def test_a_limit_holds_wherever_the_amount_stands(
    action_type: str, context: dict[str, Any]
) -> None:
    """Whatever it is called, at any depth, and for how many."""
    found = set(titles("financial_services", action_type, context, BY_TYPE))
    assert found == {"Transaction over the limit"}


@pytest.mark.parametrize(
    ("context", "title"),
    [
        ({"amount": "1", "Amount": "2500"}, "Several amounts"),
        ({"amount": "1", "total": "2500"}, "Several amounts"),
        ({"amount": "1", "items": [{"amount": "2500"}]}, "Several amounts"),
        ({"amount": "1", "items": [{"amount": "1"}]}, "Several amounts"),
        ({"amount": None}, "Amount cannot be read"),
        ({"amount": None, "total": "1"}, "Amount cannot be read"),
        ({"amount": "", "total": "1"}, "Amount cannot be read"),
        ({"total": "1e9"}, "Amount cannot be read"),
        ({"amount": "1", "quantity": "many"}, "Quantity cannot be read"),
        ({"rows": [0] * 20_000}, "Arguments cannot be searched"),
    ],
)
def test_an_amount_that_cannot_be_told_is_an_error(context: dict[str, Any], title: str) -> None:
    """One within the limit does not vouch for another beside it, whatever the action is called."""
    for action_type in ("payment", "report"):
        (alert,) = judged("financial_services", action_type, context, BY_TYPE)
        assert (alert.title, alert.severity) == (title, AlertSeverity.ERROR)


def test_one_amount_may_be_said_twice() -> None:
    """Side by side it is still one."""
    context = {"amount": "1000", "total": "1000.00", "to": ["a", "b"], "currency": "\u20ac"}
    assert titles("financial_services", "payment", context, BY_TYPE) == []


@pytest.mark.parametrize("action_type", ["buy_gold", "BuyGold", "buygold", "BUY-GOLD"])
def test_a_type_with_limits_must_have_an_amount(action_type: str) -> None:
    """Leaving it out is no way around them, nor is writing the type in one word."""
    config = {"type_limits": {"buy_gold": {"*": "5"}}}
    assert titles("financial_services", action_type, {}, config) == ["No amount"]
    assert titles("financial_services", action_type, {"amount": "5"}, config) == []
    over = ["Transaction over the limit"]
    assert titles("financial_services", action_type, {"amount": "6"}, config) == over
    assert titles("financial_services", "buy_golden_apple", {}, config) == []


@pytest.mark.parametrize("joined", ["{0}{1}{2}", "{0}{1}-{2}", "{0}_{1}{2}", "{0}.{1}{2}"])
def test_what_is_restricted_is_so_in_one_word_too(joined: str) -> None:
    """Joining words is no way around it; a longer name is another action."""
    finance = {"restricted_actions": ["high_risk_investment"]}
    health = {"restricted_operations": ["delete_patient_record"]}
    for case in (str.lower, str.upper, str.title):
        action = case(joined.format("high", "risk", "investment"))
        assert titles("financial_services", action, {}, finance) == ["Restricted action"]
        operation = case(joined.format("delete", "patient", "record"))
        assert titles("healthcare", operation, {}, health) == ["Restricted operation"]
    assert titles("financial_services", "lowhighriskinvestment", {}, finance) == []


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
        ({"amount": "1", "to": ["a", "b"]}, "No currency"),
        ({"amount": "1", "currency": None}, "No currency"),
        ({"amount": "1", "currency": ""}, "No currency"),
        ({"amount": "1", "currency": "USD"}, "No transaction limit in USD"),
        ({"amount": "1", "currency": "\u20ac"}, "Currency cannot be read"),
        ({"amount": "1", "currency": "EUR "}, "Currency cannot be read"),
        ({"amount": "1", "currency": "\uff25UR"}, "Currency cannot be read"),
        ({"amount": "1", "currency": ["EUR"]}, "Currency cannot be read"),
        ({"amount": "1000.01", "order": {"Currency": "EUR"}}, "Transaction over the limit"),
        ({"amount": "150000", "currency": "JPY", "Currency": "EUR"}, "Several currencies"),
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


@pytest.mark.parametrize(
    ("change", "title"),
    [
        ({"customer.kyc_verified": True}, None),
        ({"customer": {}, "customer.kyc_verified": True}, None),
        ({"customer": {"kyc_verified": False}, "customer.kyc_verified": True}, "not verified"),
        ({"customer": {"kyc_verified": None}, "customer.kyc_verified": True}, "not verified"),
        ({"customer.kyc_verified": False}, "not verified"),
        ({"screening.flag": False}, None),
        ({"screening": {"flag": True}, "screening.flag": False}, "found something"),
        ({"screening": {"flag": "?"}, "screening.flag": False}, "is missing"),
        ({"screening": {"flag": False}, "screening.flag": True}, "found something"),
    ],
)
def test_every_argument_that_a_rule_may_mean_must_keep_it(
    change: dict[str, Any], title: str | None
) -> None:
    """Which of them is read when the action runs cannot be told."""
    rules = {"kyc_fields": ["customer.kyc_verified"], "aml_flags": ["screening.flag"]}
    context = {**CLEAN, "screening": {"flag": False}, **change}
    found = titles("financial_services", "payment", context, {"compliance": rules})
    assert len(found) == (title is not None)
    assert title is None or title in found[0]


def test_compliance_is_for_what_moves_money_or_for_chosen_types() -> None:
    """Nobody is screened to write a report."""
    assert titles("financial_services", "report", {}, RULES) == []
    assert len(titles("financial_services", "investment", {"total": "1"}, RULES)) == 2
    chosen = {"compliance": {**RULES["compliance"], "action_types": ["open_*"]}}
    assert len(titles("financial_services", "openAccount", {}, chosen)) == 2
    by_name = {"compliance": {**RULES["compliance"], "action_types": ["open_account"]}}
    assert len(titles("financial_services", "openaccount", {}, by_name)) == 2
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
