"""Which policies an action meets, and who is the one that asks."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.valkey import ValkeyServer
from safeguards.errors import ConfigurationError
from safeguards_runtime.policies import PolicyFile, load_policies
from safeguards_runtime.reviewers import Reviewer
from safeguards_runtime.store import Store

SHIPPED = load_policies(Path("deploy/policies.yaml"))


@pytest.mark.parametrize(
    "action_type",
    ["get_patient_record", "get_Patient_record", "GET-PATIENT-RECORD", "getPatientRecord"],
)
def test_another_spelling_meets_the_same_policy(action_type: str) -> None:
    """Case and separators are the agent's choice, and must not lead past a policy."""
    assert "health-records" in [p.name for p in SHIPPED.matching("a", action_type)]


@pytest.mark.parametrize(
    "action_type", ["search_Investment", "high-risk-investment", "Transaction"]
)
def test_payments_by_any_spelling(action_type: str) -> None:
    assert "payments" in [p.name for p in SHIPPED.matching("a", action_type)]


def test_an_unknown_name_in_a_policy_is_an_error(tmp_path: Path) -> None:
    """Said with the file, the policy and the name."""
    path = tmp_path / "policies.yaml"
    path.write_text(
        "version: 1\n"
        "approvals: {default: {groups: [reviewers]}}\n"
        "policies: [{name: pay, safeguards: [finanse]}]\n"
    )
    with pytest.raises(ConfigurationError, match=r"policies.yaml.*'pay'.*'finanse'"):
        load_policies(path)


def test_what_no_policy_is_for_is_asked_about() -> None:
    assert PolicyFile.model_validate(
        {"version": 1, "approvals": {"default": {"groups": ["g"]}}}
    ).default_verdict == ("require_approval")


ALEX = Reviewer(
    id="alex", name="Alex Reviewer", email="alex@example.com", groups=frozenset({"reviewers"})
)


@pytest.mark.parametrize(
    "name",
    [
        *("alex", "Alex", " alex ", "\uff41lex", "al\u034fex", "alex reviewer", "Alex  Reviewer"),
        *("alex@example.com", "ALEX@example.com", "alex+work@example.com"),
    ],
)
def test_whoever_asks_is_known_by_any_spelling(name: str) -> None:
    assert ALEX.is_among(["somebody", name])


@pytest.mark.parametrize("name", ["alexa", "ale", "", "sam@example.com"])
def test_others_are_others(name: str) -> None:
    assert not ALEX.is_among([name])


async def test_a_store_that_may_forget_is_refused(
    tmp_path: Path, store_server: ValkeyServer
) -> None:
    """`everysec` would lose decisions that were answered with 2xx."""
    with ValkeyServer.broker(tmp_path / "forgetful") as server:
        forgetful = Store(server.url)
        with pytest.raises(ConfigurationError, match="appendfsync always"):
            await forgetful.check_durability()
        await forgetful.close()
    durable = Store(store_server.url)
    await durable.check_durability()
    await durable.close()
