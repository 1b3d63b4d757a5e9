"""What policies say of what safeguards found: which of them decide, and in which words."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from pydantic import ValidationError

from safeguards.contracts import Verdict
from safeguards.errors import ConfigurationError
from safeguards.types import AlertSeverity, SafetyAlert
from safeguards_runtime.policy_book import Plugin, PolicyBook, book_of
from safeguards_runtime.records.judgement import Judgement
from safeguards_runtime.records.window import Ledger, Window
from services.safeguard_evaluator.verdicts import inspect, judge
from tests.runtime.samples import NOW

TERMS = {
    "default": {"groups": ["reviewers"]},
    "strict": {"groups": ["managers"], "quorum": 2},
}


@dataclass(frozen=True)
class Asked:
    """An action."""

    action_type: str = "send_money"
    context: dict[str, Any] = field(default_factory=dict)
    agent_id: str = "trader"
    id: str = "act_1"


def book(*policies: Mapping[str, Any], **more: Any) -> PolicyBook:
    """Return policies in force; each is named after its place unless it says so."""
    named = [{"name": f"p{at}", **policy} for at, policy in enumerate(policies)]
    return book_of({"version": 1, "approvals": TERMS, "policies": named, **more})


async def _nobody(plugin: Plugin, agent_id: str, context: dict[str, Any]) -> list[SafetyAlert]:
    raise AssertionError("no policy here uses a plugin")


def judged(policies: PolicyBook, asked: Asked | None = None, **given: Any) -> Judgement:
    """Return the verdict on an action that nothing came before."""
    inspection = asyncio.run(inspect(asked or Asked(), policies, given.pop("plugin", _nobody)))
    windows: dict[str, Window | None] = dict.fromkeys(inspection.window_ids)
    return judge(inspection, Ledger(windows, NOW), **given)


def test_the_strictest_verdict_wins() -> None:
    found = judged(
        book(
            {"verdict": "notify"},
            {"verdict": "require_approval", "reason": "Money leaves."},
            {"verdict": "allow"},
        )
    )
    assert (found.verdict, found.policies) == (Verdict.REQUIRE_APPROVAL, ("p1",))
    assert found.reasons == ("Money leaves.",)
    (clause,) = found.clauses
    assert (clause.policy, clause.part, clause.words) == ("p1", "verdict", "Money leaves.")


def test_only_those_of_the_highest_priority_decide() -> None:
    policies = book(
        {"verdict": "deny"},
        {"verdict": "notify", "priority": 10},
        {"verdict": "allow", "priority": 10},
    )
    found = judged(policies)
    assert (found.verdict, found.policies) == (Verdict.NOTIFY, ("p1",))


def test_a_condition_that_does_not_hold_is_no_policy_for_it() -> None:
    policies = book(
        {
            "verdict": "deny",
            "priority": 10,
            "arguments": {"amount": "money"},
            "condition": 'money(context.amount) > money("10000.00")',
        },
        {"verdict": "allow"},
    )
    assert judged(policies, Asked(context={"amount": "10000.00"})).verdict is Verdict.ALLOW
    found = judged(policies, Asked(context={"amount": "10000.000000000000001"}))
    assert found.verdict is Verdict.DENY
    assert found.clauses[0].part == "condition"


@pytest.mark.parametrize("amount", [None, "1e9", "NaN", " 5", "-5", ["5"], True])
def test_a_condition_that_cannot_be_evaluated_asks_whatever_its_priority(amount: Any) -> None:
    """It allows nothing, and keeps nothing stricter from deciding."""
    unsure = {"verdict": "allow", "condition": 'money(context.amount) < money("1.00")'}
    context = {} if amount is None else {"amount": amount}
    for priority in (-10, 10):
        policies = book({**unsure, "priority": priority}, {"verdict": "allow"})
        found = judged(policies, Asked(context=context))
        assert found.verdict is Verdict.REQUIRE_APPROVAL
        assert "the condition of policy p0 cannot be evaluated" in found.reasons[0]
    denied = book({**unsure, "priority": 10}, {"verdict": "deny"})
    assert judged(denied, Asked(context=context)).verdict is Verdict.DENY


def test_where_only_such_a_policy_matches_the_default_counts_too() -> None:
    unsure = {"verdict": "allow", "condition": "context.there == 1"}
    assert judged(book(unsure, default_verdict="allow")).verdict is Verdict.REQUIRE_APPROVAL
    found = judged(book(unsure, default_verdict="deny"))
    assert (found.verdict, found.policies) == (Verdict.DENY, ())
    assert found.reasons == ("no policy is for actions of type send_money",)


LIMIT = {"uses": "financial_services", "config": {"transaction_limits": {"*": "100"}}}
GUARD = {"verdict": "abstain", "safeguards": ["limit"]}


@pytest.mark.parametrize("default", list(Verdict))
def test_one_that_abstains_is_no_policy_for_what_its_safeguards_let_pass(default: Verdict) -> None:
    policies = book(GUARD, safeguards={"limit": LIMIT}, default_verdict=default)
    found = judged(policies, Asked(context={"amount": "100.00"}))
    assert (found.verdict, found.policies) == (default, ())


@pytest.mark.parametrize("priority", [-1000, 0, 1000])
def test_one_that_abstains_makes_a_verdict_stricter_whatever_the_priority(priority: int) -> None:
    others = [{"verdict": "allow", "priority": priority}, {"verdict": "notify", "priority": -1000}]
    policies = book(*others, GUARD, safeguards={"limit": LIMIT})
    over = Asked(context={"amount": "100.01"})
    found = judged(policies, over)
    assert (found.verdict, found.policies) == (Verdict.REQUIRE_APPROVAL, ("p2",))
    assert [alert.title for alert in found.alerts] == ["Transaction over the limit"]
    under = judged(policies, Asked(context={"amount": "100.00"}))
    assert under.verdict is (Verdict.NOTIFY if priority == -1000 else Verdict.ALLOW)


@pytest.mark.parametrize("mild", ["allow", "notify"])
def test_one_that_abstains_makes_no_verdict_milder(mild: str) -> None:
    """Neither that of a policy nor the default one."""
    guard = {**GUARD, "verdicts": {"ERROR": mild}}
    over = Asked(context={"amount": "100.01"})
    for others in ([{"verdict": "deny", "priority": -1000}], []):
        policies = book(guard, *others, safeguards={"limit": LIMIT}, default_verdict="deny")
        assert judged(policies, over).verdict is Verdict.DENY


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"verdict": "abstain"}, "needs safeguards"),
        ({**GUARD, "priority": 1}, "has no effect with verdict: abstain"),
    ],
)
def test_one_that_abstains_and_could_not_count_is_refused(
    policy: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        book(policy, safeguards={"limit": LIMIT})


def test_what_is_in_the_shadow_is_recorded_and_decides_nothing() -> None:
    policies = book(
        {"verdict": "deny", "mode": "shadow", "priority": 1000, "reason": "Too much."},
        {"verdict": "allow"},
    )
    found = judged(policies)
    assert (found.verdict, found.policies, found.reasons) == (Verdict.ALLOW, ("p1",), ())
    assert [(c.policy, c.verdict, c.words) for c in found.shadow] == [
        ("p0", Verdict.DENY, "Too much.")
    ]
    assert found.counted() == ("shadow:p0:deny",)


def test_people_are_asked_on_the_terms_that_need_the_most_of_them() -> None:
    policies = book(
        {"verdict": "require_approval"},
        {"verdict": "require_approval", "approval": "strict"},
    )
    assert judged(policies).terms.quorum == 2
    assert policies.terms_for("trader", "send_money", {}).quorum == 2


def test_a_policy_decides_by_its_alerts_and_says_whose_they_are() -> None:
    limit = {"uses": "financial_services", "config": {"transaction_limits": {"*": "100"}}}
    policies = book(
        {"safeguards": ["limit"]},
        {"safeguards": ["limit"], "verdicts": {"ERROR": "deny"}},
        safeguards={"limit": limit},
    )
    assert judged(policies, Asked(context={"amount": "100.00"})).verdict is Verdict.ALLOW
    found = judged(policies, Asked(context={"amount": "100.01"}))
    assert (found.verdict, found.policies) == (Verdict.DENY, ("p1",))
    assert [clause.part for clause in found.clauses] == ["safeguards.limit"]
    assert found.reasons[0].startswith("Transaction over the limit: 100.01 exceeds")
    assert len(found.version) == 12


@pytest.mark.parametrize("error", [TimeoutError(), ValueError("secret words"), KeyError("x")])
def test_a_plugin_that_fails_asks_even_where_its_alerts_would_not(error: Exception) -> None:
    async def failing(plugin: Plugin, agent_id: str, context: dict[str, Any]) -> list[SafetyAlert]:
        raise error

    mine = {"mine": {"uses": "financial_services"}}
    policy = {"safeguards": ["mine"], "verdicts": {"ERROR": "allow"}}
    policies = replace(
        book(policy, safeguards=mine), safeguards={}, plugins={"mine": Plugin("mine", {}, 1.0)}
    )
    found = judged(policies, plugin=failing)
    assert found.verdict is Verdict.REQUIRE_APPROVAL
    assert found.alerts[0].severity is AlertSeverity.ERROR
    assert "a person decides" in found.reasons[0]
    assert "secret words" not in found.model_dump_json()


def test_who_is_halted_may_do_nothing_and_counts_nothing() -> None:
    found = judged(book({"verdict": "allow", "priority": 1000}), halted="paused by Alex")
    assert (found.verdict, found.reasons) == (Verdict.DENY, ("paused by Alex",))


def test_arguments_are_matched_by_globs_whatever_their_type() -> None:
    policies = book(
        {"verdict": "deny", "match": {"arguments": {"to.country": ["KP", "I?"], "n": ["1*"]}}},
        {"verdict": "allow", "priority": -1},
    )
    hit = {"to": {"country": "ir"}, "n": 12}
    assert judged(policies, Asked(context=hit)).verdict is Verdict.DENY
    for miss in ({**hit, "n": 2}, {**hit, "to": {}}, {"to": {"country": ["FR"]}, "n": 1}, {}):
        assert judged(policies, Asked(context=miss)).verdict is Verdict.ALLOW
    assert judged(policies, Asked(context={**hit, "to": {"country": ["FR", "IR"]}})).verdict is (
        Verdict.DENY
    )


@pytest.mark.parametrize(
    "customer",
    [
        {"customer": {"country": "IR"}, "customer.country": "DE"},
        {"customer": {"country": "DE"}, "customer.country": "IR"},
        {"customer": {"country": " ir "}},
        {"customer": {"country": "\uff29\uff32"}},
        {"customer": {"country": "I\u200bR"}},
        {"customer": {"country": [["DE"], ["IR"]]}},
        {"customer": [{"country": "DE"}, {"country": "IR"}]},
        {"customer": [[{"country": {"code": 1}}, {"country": "IR"}]]},
    ],
)
def test_nothing_beside_an_argument_hides_it(customer: dict[str, Any]) -> None:
    arguments = {"customer.country": ["IR", "KP"]}
    denied = book({"verdict": "deny", "match": {"arguments": arguments}}, default_verdict="allow")
    assert judged(denied, Asked(context=customer)).verdict is Verdict.DENY
    arguments = {"customer.country": ["DE"]}
    allowed = book({"verdict": "allow", "match": {"arguments": arguments}})
    assert judged(allowed, Asked(context=customer)).verdict is Verdict.REQUIRE_APPROVAL


def test_an_argument_by_the_name_of_the_type_is_looked_at_too() -> None:
    policies = book({"safeguards": ["secrets"]}, safeguards={"secrets": {"uses": "secrets"}})
    for key in ("body", "action_type"):
        found = judged(policies, Asked("send_message", {key: "password: hunter2!x"}))
        assert found.verdict is Verdict.REQUIRE_APPROVAL, key
    of_itself = {"body": "hi", "action_type": "send_message"}
    assert judged(policies, Asked("send_message", of_itself)).verdict is Verdict.ALLOW


@pytest.mark.parametrize("verdict", ["allow", "notify"])
@pytest.mark.parametrize(
    ("to", "is_one"),
    [
        ("a@corp.com", True),
        (["a@corp.com", "b@corp.com"], True),
        (["a@corp.com", "x@evil.com"], False),
        ("x@evil.com,a@corp.com", False),
        ("x@evil.com;a@corp.com", False),
        ("x@evil.com\na@corp.com", False),
        ([], False),
        (None, False),
    ],
)
def test_what_lets_through_is_for_all_values_of_an_argument(
    verdict: str, to: Any, is_one: bool
) -> None:
    own = {"verdict": verdict, "priority": 5, "match": {"arguments": {"to": ["*@corp.com"]}}}
    found = judged(book(own, {"verdict": "deny"}), Asked(context={"to": to}))
    assert found.verdict is (Verdict(verdict) if is_one else Verdict.DENY)


@pytest.mark.parametrize("verdict", ["deny", "require_approval"])
@pytest.mark.parametrize(
    "to",
    [
        "x@evil.com",
        "x@evil.com, a@b.example",
        "a@b.example; X@Evil.com;",
        "Eve <x@evil.com>",
        '"x@evil.com" (Eve)',
        "a@b.example|x\uff20evil.com\uff0c c@b.example",
        "mailto:x@evil.com?subject=Hi",
        "x@evil.com.",
        {"email": "x@evil.com"},
        {"x@evil.com": "Eve"},
        [{"people": [{"address": ["Eve x@evil.com,"]}]}],
    ],
)
def test_what_holds_back_is_for_an_address_however_it_is_written(verdict: str, to: Any) -> None:
    policies = book(
        {"verdict": verdict, "match": {"arguments": {"to": ["*@evil.com"]}}},
        default_verdict="allow",
    )
    assert judged(policies, Asked(context={"to": to})).verdict is Verdict(verdict)
    misses: list[Any] = ["x@evil.com.example", "evil.com", {"to": "evil.com"}, [], {}, None]
    for miss in misses:
        assert judged(policies, Asked(context={"to": miss})).verdict is Verdict.ALLOW


def test_what_holds_back_is_for_each_entry_of_a_list_in_a_text() -> None:
    countries = {"country": ["north korea", "evil inc."]}
    policies = book({"verdict": "deny", "match": {"arguments": countries}})
    for said in ("Chad, North Korea", "Evil Inc., Others", {"names": "Chad;North Korea"}):
        assert judged(policies, Asked(context={"country": said})).verdict is Verdict.DENY


# Each takes minutes where the time grows with the square of the length.
@pytest.mark.timeout(30)
@pytest.mark.parametrize("piece", ["a@", "a ", ",", "<", "(", " .", "x@evil.com.", "a,b c\n", '"'])
def test_no_text_keeps_the_matching_of_an_argument_busy(piece: str) -> None:
    own = {"verdict": "deny", "match": {"arguments": {"to": ["*a*@*.evil.example"]}}}
    policies = book(own, default_verdict="allow")
    text = piece * (120_000 // len(piece))
    for to in (text, {"people": [text]}):
        assert judged(policies, Asked(context={"to": to})).verdict is Verdict.ALLOW


@pytest.mark.parametrize(
    "spelling", ["noteit", "NOTEIT", "NoteIt", "note.it", "note_it", "Note-It"]
)
def test_a_type_is_the_same_however_its_words_are_told_apart(spelling: str) -> None:
    for written in ("note_it", "noteit", "NoteIt"):
        policies = book({"verdict": "deny", "match": {"action_types": [written]}})
        assert judged(policies, Asked(spelling)).verdict is Verdict.DENY
    assert judged(policies, Asked("note_its")).verdict is Verdict.REQUIRE_APPROVAL


def test_what_lets_through_does_not_guess_where_words_end() -> None:
    """A glob that holds it back could not either: `delete_*` is not for `DELETEFILE`."""
    policies = book({"match": {"action_types": ["delete_file"]}})
    for spelling in ("delete_file", "DeleteFile", "delete.file"):
        assert judged(policies, Asked(spelling)).verdict is Verdict.ALLOW
    assert judged(policies, Asked("DELETEFILE")).verdict is Verdict.REQUIRE_APPROVAL


def test_mistakes_are_named_all_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        book(
            {"safeguards": ["finanse"], "approval": "nobody"},
            {"name": "p0", "condition": "context.amount >"},
            {"condition": 'context.amuont == "1"', "arguments": {"amount": "string"}},
            safeguards={"finance": {"uses": "financial_service"}},
            ready_made=["payment"],
        )
    said = str(caught.value)
    for words in (
        "policies.0.approval: policy 'p0': unknown approval 'nobody'",
        "two policies are named 'p0'",
        "did you mean 'payments'?",
        "safeguards.finance",
        "did you mean 'financial_services'?",
        "unknown safeguard 'finanse'",
        "policies.2.condition",
    ):
        assert words in said, said
