"""Which policies an action meets, and who is the one that asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from deploy.valkey import ValkeyServer
from safeguards.errors import ConfigurationError
from safeguards.types import AlertSeverity
from safeguards_runtime.policies import PolicyFile, TermsConfig
from safeguards_runtime.policy_book import PolicyBook, book_of, load_policies
from safeguards_runtime.records.terms import Terms
from safeguards_runtime.reviewers import Reviewer
from safeguards_runtime.store import Store

SHIPPED = load_policies(Path("deploy/policies.yaml"))


@pytest.mark.parametrize(
    "action_type",
    ["get_patient_record", "get_Patient_record", "GET-PATIENT-RECORD", "getPatientRecord"],
)
def test_another_spelling_meets_the_same_policy(action_type: str) -> None:
    """Case and separators are the agent's choice, and must not lead past a policy."""
    assert "health-records" in [p.name for p in SHIPPED.index.matching("a", action_type, {})]


@pytest.mark.parametrize(
    "action_type", ["search_Investment", "high-risk-investment", "Transaction"]
)
def test_payments_by_any_spelling(action_type: str) -> None:
    assert "payments" in [p.name for p in SHIPPED.index.matching("a", action_type, {})]


def book_for(*action_types: str) -> PolicyBook:
    policies = [{"name": "one", "match": {"action_types": action_types}}]
    approvals = {"default": {"groups": ["reviewers"]}}
    return book_of({"version": 1, "approvals": approvals, "policies": policies})


@pytest.mark.parametrize(
    "action_type",
    [
        *("stripe.create_payment", "stripe/create/payment", "stripe:create:payment"),
        *("stripe__payment", "stripe#payment", "stripe payment", "stripe\u00a0payment"),
        *("stripe\u2215payment", "stripe\u00b7payment", "stripe@payment", "stripe|payment!"),
        *("StripePayment", "stripe_pay\u0338ment", "stripe_pay\u200bment", "stripe\uff0epayment"),
    ],
)
def test_no_separator_leads_past_a_policy(action_type: str) -> None:
    for glob in ("*_payment*", "stripe*payment", "stripe[_/]*", "*.payment", "Stripe/*"):
        assert book_for(glob).index.of_type(action_type), glob


@pytest.mark.parametrize(
    ("written", "action_type"),
    [
        ("github/delete-repo", "github_delete_repo"),
        ("deleteRepo", "delete/repo"),
        ("delete_repo", "DeleteRepo"),
        ("[!a-c]elete-*", "delete:repo"),
    ],
)
def test_a_policy_may_use_any_spelling_too(written: str, action_type: str) -> None:
    assert book_for(written).index.of_type(action_type)
    assert not book_for(written).index.of_type(f"un{action_type}")


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


@pytest.mark.parametrize("glob", ["[", "[abc", "a[]", "[!]", "[a]b[c"])
@pytest.mark.parametrize("where", ["action_types", "agent_ids", "arguments.to"])
def test_a_bracket_that_nothing_closes_is_an_error(tmp_path: Path, where: str, glob: str) -> None:
    """The policy would load, and be for nothing."""
    path = tmp_path / "policies.yaml"
    key, _, argument = where.partition(".")
    globs = f"{{{argument}: ['{glob}']}}" if argument else f"['{glob}']"
    path.write_text(
        "version: 1\n"
        "approvals: {default: {groups: [reviewers]}}\n"
        "policies:\n"
        "  - name: closed\n"
        "    match: {arguments: {to: ['[[]', '[]]', '[!]a]', '[a-z]]', 'a]']}}\n"
        "  - name: open\n"
        f"    match: {{{key}: {globs}}}\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        load_policies(path)
    place = f"policies.1.match.{where}.0 (line 7)"
    assert f"{place}: no ] closes a [ in it: write [abc] for one of" in str(caught.value)
    assert str(caught.value).count("(line ") == 1


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


# --- how people are asked -----------------------------------------------------------------------


def terms(**given: Any) -> TermsConfig:
    return TermsConfig.model_validate({"groups": ["reviewers"], **given})


def test_what_a_policy_says_of_asking_is_what_the_approval_keeps() -> None:
    step = {"after_seconds": 180, "groups": ["managers"], "channels": ["slack"]}
    written = {
        "groups": ["reviewers"],
        "channels": ["email", "slack"],
        "order": "chain",
        "timeout_seconds": 300,
        "on_timeout": "reject",
        "editable": {"amount": {"at_most": "asked"}},
        "answer_by": ["console", "api"],
        "remind_after_seconds": [60, 120],
        "escalation": [step, {"after_seconds": 240, "groups": ["board"]}],
        "working_hours": True,
        "on_unreachable": "reject",
        "sign_in_from": "ERROR",
        "quorum": 2,
        "four_eyes": True,
    }
    kept = terms(**written).terms().model_dump(mode="json")
    kept["escalation"][1].pop("channels")
    limits = kept.pop("limits")
    assert limits["amount"]["at_most"] == "asked"
    assert kept == {**written, "editable": ["amount"]}


def test_what_a_policy_leaves_out_is_what_terms_have() -> None:
    """The defaults stand in two places, and must be the same."""
    written = terms().terms()
    bare = {
        name: value
        for name, value in written.model_dump().items()
        if Terms.model_fields[name].is_required()
    }
    assert Terms.model_validate(bare) == written


def test_a_link_may_always_be_enough() -> None:
    assert terms(sign_in_from="never").terms().sign_in_from is None
    assert terms().terms().sign_in_from is AlertSeverity.CRITICAL


WRONG_TERMS: dict[str, tuple[dict[str, Any], str]] = {
    "nobody to ask": ({"groups": []}, "groups"),
    "another order": ({"order": "random"}, "order"),
    "reminders out of order": ({"remind_after_seconds": [120, 60]}, "after the one before"),
    "a reminder twice": ({"remind_after_seconds": [60, 60]}, "after the one before"),
    "a reminder at once": ({"remind_after_seconds": [0]}, "remind_after_seconds.0"),
    "a reminder when time is up": (
        {"remind_after_seconds": [300], "timeout_seconds": 300},
        "300 s is not before timeout_seconds",
    ),
    "too many reminders": (
        {"remind_after_seconds": list(range(1, 22)), "timeout_seconds": 300},
        "remind_after_seconds",
    ),
    "steps out of order": (
        {
            "escalation": [
                {"after_seconds": 120, "groups": ["a"]},
                {"after_seconds": 60, "groups": ["b"]},
            ]
        },
        "escalation: each must come after",
    ),
    "a step when time is up": (
        {"escalation": [{"after_seconds": 301, "groups": ["a"]}]},
        "escalation: 301 s is not before",
    ),
    "a step to nobody": ({"escalation": [{"after_seconds": 60, "groups": []}]}, "escalation.0"),
    "a misspelt key of a step": (
        {"escalation": [{"after_secs": 60, "groups": ["a"]}]},
        "after_secs",
    ),
    "too many steps": (
        {"escalation": [{"after_seconds": n, "groups": ["a"]} for n in range(1, 22)]},
        "escalation",
    ),
    "giving up in another way": ({"on_unreachable": "approve"}, "on_unreachable"),
    "no severity to sign in from": ({"sign_in_from": None}, "a severity, or never"),
    "an unknown severity": ({"sign_in_from": "HIGH"}, "sign_in_from"),
}


@pytest.mark.parametrize("name", WRONG_TERMS)
def test_wrong_terms_are_named_with_their_place(tmp_path: Path, name: str) -> None:
    given, words = WRONG_TERMS[name]
    path = tmp_path / "policies.yaml"
    approvals = {"default": {"groups": ["reviewers"], **given}}
    path.write_text(yaml.safe_dump({"version": 1, "approvals": approvals}))
    with pytest.raises(ConfigurationError, match=r"policies\.yaml: approvals\.default") as caught:
        load_policies(path)
    assert words in str(caught.value)


@pytest.mark.parametrize("given", [{"quorum": 2}, {"four_eyes": True}])
def test_silence_does_not_approve_for_several(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="silence is not the approval of several"):
        terms(on_timeout="approve", **given)


@pytest.mark.parametrize("quorum", [0, 21])
def test_a_quorum_is_of_one_to_twenty_people(quorum: int) -> None:
    with pytest.raises(ValidationError):
        terms(quorum=quorum)


@pytest.mark.parametrize("first", ["lenient", "strict"])
@pytest.mark.parametrize("strict", [{"on_timeout": "reject"}, {"quorum": 2}])
def test_of_several_ways_to_ask_the_strictest_is_taken(first: str, strict: dict[str, Any]) -> None:
    """Whichever policy stands first."""
    lenient = {"groups": ["reviewers"], "on_timeout": "approve"}
    approvals = {
        "default": {"groups": ["reviewers"]},
        "lenient": lenient,
        "strict": {"groups": ["reviewers"], **strict},
    }
    other = "strict" if first == "lenient" else "lenient"
    match = {"action_types": ["pay"]}
    policies = [{"name": name, "match": match, "approval": name} for name in (first, other)]
    book = book_of({"version": 1, "approvals": approvals, "policies": policies})
    terms = book.terms_for("trader", "pay", {})
    assert (terms.on_timeout, terms.quorum) == ("reject", strict.get("quorum", 1))
