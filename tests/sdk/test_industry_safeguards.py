"""The built-in safeguards for industries."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeguards.errors import ConfigurationError
from safeguards.plugins import BUILT_IN, Safeguard
from safeguards.plugins.amounts import read_amount
from safeguards.plugins.industry import FinancialServicesSafeguard, HealthcareSafeguard
from safeguards.types import Agent, AlertSeverity, SafetyAlert


class Advisor(Agent):
    """An agent."""

    def run(self, **kwargs: Any) -> Any:
        """Do nothing."""


AGENT = Advisor("financial_advisor")


def financial(**config: Any) -> FinancialServicesSafeguard:
    """An initialized safeguard, by default with the seed's configuration."""
    safeguard = FinancialServicesSafeguard()
    safeguard.initialize(
        config
        or {
            "restricted_actions": ["high_risk_investment"],
            "transaction_limits": {AGENT.id: Decimal("1000.00")},
        }
    )
    return safeguard


def transaction(amount: Any) -> dict[str, Any]:
    """An action that moves money."""
    return {"action_type": "transaction", "amount": amount}


def test_an_amount_over_the_limit_is_an_error_that_names_both() -> None:
    """The description is a sentence; the metadata has the exact strings."""
    (alert,) = financial().validate_agent_action(AGENT, transaction(Decimal("2500.00")))
    assert alert.severity is AlertSeverity.ERROR
    assert alert.description == "2500.00 exceeds the limit of 1000.00 for financial_advisor."
    assert alert.metadata == {
        "safeguard": "financial_services",
        "agent_id": "financial_advisor",
        "action_type": "transaction",
        "amount": "2500.00",
        "limit": "1000.00",
    }


@pytest.mark.parametrize("amount", ["1000.00", "1000", 1000, Decimal("1E+3"), "0", "0.01"])
def test_an_amount_up_to_the_limit_is_no_alert(amount: Any) -> None:
    """However it is written."""
    assert financial().validate_agent_action(AGENT, transaction(amount)) == []


@pytest.mark.parametrize(
    "amount",
    [
        -1.0,
        float("nan"),
        1e300,
        0.12345678901234567,
        True,
        None,
        "",
        "NaN",
        "Infinity",
        "1e3",
        "+5",
        "-5",
        " 5",
        "5\n",
        "1_000",
        "1,000",
        "\uff11\uff10\uff10\uff10",
        "\u0665",
        ".5",
        "5.",
        "0x10",
        "9" * 41,
        10**41,
        -1,
        Decimal("-0"),
        Decimal("-1"),
        Decimal("NaN"),
        Decimal("Infinity"),
        Decimal("1E+999999"),
        [5],
        {"value": 5},
        b"5",
    ],
)
def test_an_amount_that_cannot_be_read_is_an_error(amount: Any) -> None:
    """Whatever is not plainly an amount counts as over every limit."""
    (alert,) = financial().validate_agent_action(AGENT, transaction(amount))
    assert (alert.severity, alert.title) == (AlertSeverity.ERROR, "Amount cannot be read")


@given(st.text(max_size=12) | st.floats() | st.integers() | st.decimals())
def test_whatever_is_let_through_is_within_the_limit(amount: Any) -> None:
    """No way of writing an amount gets more than the limit past the safeguard."""
    if not financial().validate_agent_action(AGENT, transaction(amount)):
        assert 0 <= Decimal(repr(amount) if isinstance(amount, float) else amount) <= 1000


@given(st.decimals(min_value=0, max_value=10**12, places=2))
def test_a_json_number_is_read_as_it_was_written(amount: Decimal) -> None:
    """Agents write numbers: fifteen digits are exact."""
    assert read_amount(json.loads(format(amount, "f"))) == amount


@given(st.decimals(min_value=0, max_value=10**15, places=2))
def test_amounts_are_exact(amount: Decimal) -> None:
    """A string and the Decimal it stands for are one amount."""
    assert read_amount(format(amount, "f")) == amount == read_amount(amount)


@pytest.mark.parametrize("action_type", ["transaction", "wire_transfer", "Payment", "PAYMENTS"])
def test_moving_money_without_an_amount_is_an_error(action_type: str) -> None:
    """Leaving the amount out is no way around the limit."""
    (alert,) = financial().validate_agent_action(AGENT, {"action_type": action_type})
    assert (alert.severity, alert.title) == (AlertSeverity.ERROR, "No amount")


@pytest.mark.parametrize(
    "written",
    [
        "high_risk_investment",
        "High-Risk Investment",
        "high_risk\u200b_investment",
        "\uff28IGH_RISK_INVESTMENT",
    ],
)
def test_a_restricted_action_is_critical_in_any_spelling(written: str) -> None:
    """It needs no amount."""
    (alert,) = financial().validate_agent_action(AGENT, {"action_type": written})
    assert (alert.severity, alert.title) == (AlertSeverity.CRITICAL, "Restricted action")


def test_an_action_can_raise_several_alerts() -> None:
    """A reviewer sees every reason."""
    context = {"action_type": "high_risk_investment", "amount": "5000"}
    severities = [alert.severity for alert in financial().validate_agent_action(AGENT, context)]
    assert severities == [AlertSeverity.CRITICAL, AlertSeverity.ERROR]


def test_another_action_is_no_alert_and_a_strange_type_is() -> None:
    """An action type that is no string cannot be judged."""
    assert financial().validate_agent_action(AGENT, {"action_type": "report"}) == []
    assert financial().validate_agent_action(AGENT, {}) == []
    (alert,) = financial().validate_agent_action(AGENT, {"action_type": ["transaction"]})[:1]
    assert alert.title == "Action type cannot be read"


def test_the_limit_is_the_agents_own_or_that_of_all() -> None:
    """An agent without a limit has none to spend, once there are limits."""
    other = Advisor("other")
    shared = financial(transaction_limits={AGENT.id: "10", "*": "5"})
    assert shared.validate_agent_action(AGENT, transaction("10")) == []
    assert shared.validate_agent_action(other, transaction("5")) == []
    assert shared.validate_agent_action(other, transaction("6"))
    (alert,) = financial().validate_agent_action(other, transaction("1"))
    assert alert.title == "No transaction limit"
    unlimited = financial(restricted_actions=["x"])
    assert unlimited.validate_agent_action(other, transaction("1")) == []


def healthcare(**config: Any) -> HealthcareSafeguard:
    """An initialized safeguard."""
    safeguard = HealthcareSafeguard()
    safeguard.initialize(config)
    return safeguard


@pytest.mark.parametrize(
    "context",
    [
        {"patient": {"SSN": "x"}},
        {"rows": [{"notes": ["see 123-45-6789."]}]},
        {"note": "ssn \uff11\uff12\uff13-45-6789"},
        {"note": "patient MRN: 00123456"},
        {"Date of Birth": "1990-01-01"},
        {"patientId": "x"},
        {"x": {"123-45-6789": 1}},
        {"blob": b"123"},
    ],
)
def test_patient_data_is_found_wherever_it_stands(context: dict[str, Any]) -> None:
    """In keys and values, nested; the alert says where, never what."""
    (alert,) = healthcare().validate_agent_action(AGENT, {"action_type": "export", **context})
    assert alert.severity is AlertSeverity.ERROR
    assert "6789" not in str(alert)
    assert "00123456" not in str(alert)


@pytest.mark.parametrize(
    "context",
    [{"note": "call 555-1234"}, {"id": "2024-12-3456-7890"}, {"n": [1, 2.5, None, True]}],
)
def test_ordinary_data_is_no_alert(context: dict[str, Any]) -> None:
    """Numbers that only look a little alike are left alone."""
    assert healthcare().validate_agent_action(AGENT, {"action_type": "export", **context}) == []


def test_the_place_is_a_json_pointer() -> None:
    """Which a reviewer can follow (RFC 6901)."""
    (alert,) = healthcare().validate_agent_action(AGENT, {"rows": [{}, {"a/b": {"mrn": 1}}]})
    assert alert.metadata["places"] == ["/rows/1/a~1b/mrn"]


def test_restricted_operations_and_fields_can_be_chosen() -> None:
    """The given fields stand instead of the usual ones."""
    safeguard = healthcare(restricted_operations=["delete_record"], phi_fields=["blood type"])
    (alert,) = safeguard.validate_agent_action(AGENT, {"action_type": "Delete-Record"})
    assert alert.severity is AlertSeverity.CRITICAL
    assert safeguard.validate_agent_action(AGENT, {"blood_type": "0"})
    assert safeguard.validate_agent_action(AGENT, {"diagnosis": "x"}) == []


def test_what_is_too_deep_or_too_large_to_search_is_an_alert() -> None:
    """Searching is bounded, and what was not searched is not passed."""
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"x": deep}
    cycle: list[Any] = []
    cycle.append(cycle)
    for context in ({"x": deep}, {"x": cycle}, {"x": [0] * 20_000}, {"x": "y" * 300_000}):
        (alert,) = healthcare().validate_agent_action(AGENT, context)
        assert alert.title == "Action cannot be searched"


class Strict(Safeguard):
    """A safeguard of one's own: one method."""

    name = "strict"

    def check(self, agent: Agent, context: dict[str, Any]) -> list[SafetyAlert]:
        """Find fault with everything."""
        return [SafetyAlert("No", str(context["number"]))]


def test_judging_does_not_depend_on_monitoring() -> None:
    """Monitoring keeps the last hundred alerts of an agent, and nothing else."""
    safeguard = Strict()
    safeguard.initialize({})
    assert len(safeguard.validate_agent_action(AGENT, {"number": -1})) == 1
    assert safeguard.recent_alerts(AGENT.id) == ()
    safeguard.monitor_agent(AGENT.id)
    for number in range(150):
        assert safeguard.validate_agent_action(AGENT, {"number": number})
    safeguard.monitor_agent(AGENT.id)
    kept = [alert.description for alert in safeguard.recent_alerts(AGENT.id)]
    assert kept == [str(number) for number in range(50, 150)]
    assert safeguard.monitored_agents == {AGENT.id}
    safeguard.stop_monitoring_agent(AGENT.id)
    safeguard.stop_monitoring_agent(AGENT.id)
    assert safeguard.recent_alerts(AGENT.id) == ()
    assert safeguard.validate_agent_action(AGENT, {"number": 1})


def test_nothing_is_judged_without_a_configuration() -> None:
    """An error is not an empty list of alerts."""
    safeguard = FinancialServicesSafeguard()
    with pytest.raises(ConfigurationError, match="call initialize"):
        safeguard.validate_agent_action(AGENT, transaction("1"))
    safeguard = financial()
    safeguard.shutdown()
    with pytest.raises(ConfigurationError, match="call initialize"):
        safeguard.validate_agent_action(AGENT, transaction("1"))


@pytest.mark.parametrize(
    ("name", "config", "said"),
    [
        ("financial_services", {"limits": {}}, "the key 'limits' is unknown"),
        ("financial_services", {"transaction_limits": {"a": None}}, "the limit of 'a': a NoneType"),
        ("financial_services", {"transaction_limits": {"a": "-1"}}, "'transaction_limits'"),
        ("financial_services", {"restricted_actions": "all"}, "'restricted_actions' is wrong"),
        ("healthcare", {"phi_field": []}, "did you mean 'phi_fields'?"),
    ],
)
def test_a_wrong_configuration_is_named(name: str, config: dict[str, Any], said: str) -> None:
    """The error says which key, and what to do."""
    with pytest.raises(ConfigurationError) as caught:
        BUILT_IN[name]().initialize(config)
    assert said in str(caught.value)


def test_a_safeguard_without_a_configuration_refuses_one() -> None:
    """A key that nobody reads is a mistake."""
    with pytest.raises(ConfigurationError, match="Strict has no configuration: remove 'x'"):
        Strict().initialize({"x": 1})
