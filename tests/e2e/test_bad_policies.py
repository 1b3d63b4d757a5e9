"""Policies and actions as nobody should write them: nothing slips past, and nothing is held up."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx2
import pytest
import yaml

from safeguards import Safeguards
from safeguards.contracts import ActionView, Verdict
from safeguards.types import ActionStatus
from tests.console.doors import Browser
from tests.deploy.running import eventually
from tests.gateway.test_reloading import file_of, refused_files
from tests.stack import REVIEWERS, Stack

EUROS = {"per": "agent", "over": "day", "at_most": "100.00", "currency": "EUR"}
MONEY = {"amount": "money"}

RULES: dict[str, Any] = {
    "safeguards": {
        "budget": {
            "uses": "spending",
            "config": {"limits": [{"per": "agent", "over": "day", "at_most": "100.00"}]},
        },
        "euros": {"uses": "spending", "config": {"limits": [EUROS]}},
        "hundred": {
            "uses": "financial_services",
            "config": {"transaction_limits": {"*": "100.00"}},
        },
    },
    "policies": [
        {"name": "budget", "match": {"action_types": ["spend"]}, "safeguards": ["budget"]},
        {"name": "euros", "match": {"action_types": ["spend_euros"]}, "safeguards": ["euros"]},
        {"name": "limit", "match": {"action_types": ["invest"]}, "safeguards": ["hundred"]},
        {
            "name": "small",
            "match": {"action_types": ["tip"]},
            "arguments": MONEY,
            "condition": 'money(context.amount) <= money("100.00")',
        },
        {
            "name": "untyped",
            "match": {"action_types": ["lend"]},
            "condition": 'money(context.amount) <= money("100.00")',
        },
        {
            "name": "exploding",
            "match": {"action_types": ["write_text"]},
            "condition": '!context.text.matches("(a+)+$")',
        },
        {"name": "notes", "match": {"action_types": ["write_note"]}},
    ],
}

LIMITED = ("spend", "invest", "tip", "lend")
"""Types of actions with a limit of 100.00, each by another way of having one."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own, since its files change. Alex looks after it."""
    alex, *others = REVIEWERS["reviewers"]
    people = {**REVIEWERS, "reviewers": [{**alex, "roles": ["reviewer", "operator"]}, *others]}
    # In a circle: who is asked is asked again, and in the end once more.
    circle = {
        "timeout_seconds": 60,
        "escalation": [
            {"after_seconds": 1, "groups": ["reviewers"]},
            {"after_seconds": 2, "groups": ["others", "reviewers"]},
            {"after_seconds": 3, "groups": ["reviewers"]},
        ],
    }
    with Stack(
        tmp_path_factory.mktemp("bad-policies"),
        channels=("email",),
        timeout_seconds=600,
        more_approvals={"go_in_circles": circle},
        more_rules=RULES,
        reviewers=people,
    ) as running:
        yield running


@pytest.fixture
def agent(stack: Stack) -> Safeguards:
    return stack.client()


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx2.Client]:
    with stack.http() as client:
        yield client


def judged(agent: Safeguards, action_id: str) -> ActionView:
    """Return an action once it has a verdict."""

    def standing() -> ActionView:
        view = agent.get(action_id)
        assert isinstance(view, ActionView)
        return view

    eventually(lambda: standing().verdict is not None, "it is judged")
    return standing()


def submit(http: httpx2.Client, agent_id: str, action_type: str, context: str) -> str:
    """Submit an action whose arguments are written in JSON just so; return its id."""
    body = f'{{"agent_id": "{agent_id}", "action_type": "{action_type}", "context": {context}}}'
    headers = {"Content-Type": "application/json"}
    answer = http.post("/actions", content=body.encode(), headers=headers)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


# --- numbers ------------------------------------------------------------------------------------

EXACT = {
    '"99.99"': "99.99",
    '"100"': "100",
    "100.00": "100",
    "1e2": "100",
    "0.1": "0.1",
    '"100.01"': "100.01",
    '"100.000000000000000001"': "100.000000000000000001",
    "100.01": "100.01",
    "1.0001e2": "100.01",
    "101": "101",
    '"0099.99"': "99.99",
    "100.00000000000000001": "100",
}
"""Numbers that are read as they are written; those of JSON as doubles (RFC 8259 section 6)."""

UNREADABLE = (
    *('"+5"', '"-5"', "-5", '"1e1"', '"1E1"', '"1e-1"', '" 5"', '"5 "', '"\\u00a05"', '"\\u200b5"'),
    *('"\\u0665"', '"\\uff15"', '"\\u096b"', '"\\u00b2"', '"\\u2167"', '"\\u4e94"', '"\\u22125"'),
    *('"NaN"', '"nan"', '"sNaN"', '"Infinity"', '"-Infinity"', '"1,000"', '"1.000,00"', '"5."'),
    *('".5"', '"5_0"', '"0x10"', '"5 EUR"', '"€5"', '""', "null", "true", "[]", '["5"]', "{}"),
    *("99.99999999999999", "1e-300", f'"{"9" * 60}"', '"5\\u00005"'),
)
"""What is no amount, or not exactly one."""


@pytest.mark.parametrize("action_type", LIMITED)
def test_a_number_is_read_exactly_or_a_person_is_asked(
    action_type: str, http: httpx2.Client, agent: Safeguards
) -> None:
    """However a limit is written. Each agent has a budget of its own."""
    written = [*EXACT, *UNREADABLE]
    ids = [
        submit(http, f"{action_type}-{at}", action_type, f'{{"amount": {value}}}')
        for at, value in enumerate(written)
    ]
    found = {value: judged(agent, i).verdict for value, i in zip(written, ids, strict=True)}
    allowed = {value for value, verdict in found.items() if verdict is Verdict.ALLOW}
    assert allowed == {value for value, exact in EXACT.items() if Decimal(exact) <= 100}
    held = {value for value, verdict in found.items() if verdict is Verdict.REQUIRE_APPROVAL}
    assert held == set(written) - allowed


def test_what_has_no_currency_is_within_no_limit_of_one(
    http: httpx2.Client, agent: Safeguards
) -> None:
    for at, (context, verdict) in enumerate(
        {
            '{"amount": "1.00", "currency": "EUR"}': Verdict.ALLOW,
            '{"amount": "1.00", "currency": "eur"}': Verdict.ALLOW,
            '{"amount": "1.00"}': Verdict.REQUIRE_APPROVAL,
            '{"amount": "1.00", "currency": ""}': Verdict.REQUIRE_APPROVAL,
            '{"amount": "1.00", "currency": null}': Verdict.REQUIRE_APPROVAL,
            '{"amount": "1.00", "currency": "USD"}': Verdict.REQUIRE_APPROVAL,
            '{"amount": "1.00", "currency": ["EUR"]}': Verdict.REQUIRE_APPROVAL,
            '{"currency": "EUR"}': Verdict.REQUIRE_APPROVAL,
        }.items()
    ):
        asked = judged(agent, submit(http, f"euros-{at}", "spend_euros", context))
        assert asked.verdict is verdict, context


# --- actions ------------------------------------------------------------------------------------


def test_a_thousand_arguments_are_judged_and_shown(stack: Stack, agent: Safeguards) -> None:
    """The mail and the page about it are readable, and an answer goes through."""
    context: dict[str, Any] = {f"argument_{n:03}": f"value {n}" for n in range(999)}
    context["amount"] = "100.01"
    asked = judged(agent, agent.submit("thousandfold", "spend", context).id)
    assert asked.verdict is Verdict.REQUIRE_APPROVAL
    assert [alert.title for alert in asked.alerts] == ["Over the spending limit"]
    eventually(lambda: judged(agent, asked.id).approval_id is not None, "people are asked")
    mail = stack.smtp.wait_for(lambda mail: "thousandfold" in mail.text)
    assert "Over the spending limit" in mail.text
    approval_id = judged(agent, asked.id).approval_id
    assert approval_id is not None
    with signed_in(stack, "alex") as alex:
        page = alex.get(f"/console/requests/{approval_id}")
    assert page.status_code == 200
    assert all(name in page.text for name in context)
    assert stack.respond(approval_id, response="approve").status_code == 200
    assert agent.wait(asked, 10).status is ActionStatus.APPROVED


def test_a_pattern_that_would_explode_holds_up_nobody(agent: Safeguards) -> None:
    """Nor does a long text that it nearly matches."""
    long = agent.submit("clerk", "write_text", {"text": "a" * 200_000 + "b"})
    notes = [agent.submit("clerk", "write_note", {"at": at}) for at in range(10)]
    assert {judged(agent, note.id).verdict for note in notes} == {Verdict.ALLOW}
    assert judged(agent, long.id).verdict is Verdict.ALLOW


def test_a_condition_that_needs_what_is_not_there_asks_a_person(agent: Safeguards) -> None:
    asked = judged(agent, agent.submit("clerk", "write_text", {"body": "Hello"}).id)
    assert asked.verdict is Verdict.REQUIRE_APPROVAL
    [reason] = [reason for reason in asked.reasons if "exploding" in reason]
    assert reason == (
        "the condition of policy exploding cannot be evaluated: the condition needs text, which "
        "this action does not have"
    )


# --- groups -------------------------------------------------------------------------------------


def test_who_is_asked_in_a_circle_may_answer(stack: Stack, agent: Safeguards) -> None:
    """Escalation that comes back to those it began with comes to its end, and asks nobody
    without end."""
    metadata = {"action_type": "go_in_circles"}
    approval_id = agent.request_approval("clerk", "Go round", metadata).id

    def escalated() -> int:
        return [line["event"] for line in stack.history(approval_id)].count("escalated")

    eventually(lambda: escalated() == 3, "it has been escalated as often as the policy says")
    stack.smtp.wait_for(lambda mail: "lee@example.com" in mail.recipients)
    answer = stack.respond(approval_id, "lee", response="approve")
    assert answer.status_code == 200, answer.text
    assert answer.json()["outcome"]["decided_by"] == "lee"


# --- files --------------------------------------------------------------------------------------


def signed_in(stack: Stack, who: str) -> Browser:
    """Return a client of somebody who has signed in to the console."""
    client = Browser(stack.url, {})
    answer = client.post("/sign-in", data={"name": who, "password": stack.passwords[who]})
    assert answer.status_code == 303, answer.text
    return client


def policies(stack: Stack) -> dict[str, Any]:
    """Return what the policy file holds."""
    content: dict[str, Any] = yaml.safe_load(file_of(stack, "policies").read_text())
    return content


def with_policy(stack: Stack, **policy: Any) -> str:
    """Return the policy file with one more policy."""
    content = policies(stack)
    return yaml.safe_dump({**content, "policies": [*content["policies"], policy]})


LAUGHS = "\n".join(
    ["a0: &a0 [ha]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))]
)

BAD: dict[str, tuple[str, str]] = {
    "an unknown safeguard": (
        "policies",
        r"policies\.\d+\.safeguards\.0 \(line \d+\): policy 'new': unknown safeguard 'bugdet': "
        r"did you mean 'budget'\?",
    ),
    "a condition of a field that is not there": ("policies", r"condition \(line \d+\): .*amuont"),
    "a condition that is too deep": ("policies", r"condition \(line \d+\): .*at most"),
    "an alias for what contains it": (
        "policies",
        r"an alias stands for what contains it(.|\n)*line \d+",
    ),
    "a billion laughs": ("policies", r"it stands for more than 1000000 values"),
    "a loop of groups": ("reviewers", r"groups that include each other in a loop"),
}


def written(stack: Stack, name: str) -> str:
    """Return a file with such a mistake."""
    policy = {"name": "new", "match": {"action_types": ["write_note"]}, "verdict": "deny"}
    condition = {"amount": "money"}
    match name:
        case "an unknown safeguard":
            return with_policy(stack, **policy, safeguards=["bugdet"])
        case "a condition of a field that is not there":
            wrong = 'money(context.amuont) > money("1")'
            return with_policy(stack, **policy, arguments=condition, condition=wrong)
        case "a condition that is too deep":
            return with_policy(stack, **policy, condition="(" * 2000 + "true" + ")" * 2000)
        case "an alias for what contains it":
            return yaml.safe_dump(policies(stack)) + "\nmore: &more {in: *more}\n"
        case "a billion laughs":
            return yaml.safe_dump(policies(stack)) + LAUGHS
        case _:
            content = yaml.safe_load(file_of(stack, "reviewers").read_text())
            groups = {"one": {"includes": ["two"]}, "two": {"includes": ["one"]}}
            return yaml.safe_dump({**content, "groups": groups})


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_and_everybody_sees_it(
    name: str, stack: Stack, agent: Safeguards
) -> None:
    """What was in force before stays; the mistake is named, with its line where it has one; and
    once it is mended nothing is left of it."""
    kind, words = BAD[name]
    path = file_of(stack, kind)
    good = path.read_text()
    seen = len(stack.running.output)
    try:
        path.write_text(written(stack, name))
        eventually(lambda: refused_files(stack) == {kind}, "it is shown as refused")
        with signed_in(stack, "sam") as sam, signed_in(stack, "alex") as alex:
            assert "is refused: what was in force before stays" in sam.get("/console").text
            reason = alex.get("/console/policies").text
        assert re.search(words, html.unescape(reason)), reason
        note = agent.submit("clerk", "write_note", {"after": name})
        assert judged(agent, note.id).verdict is Verdict.ALLOW
        refused = rf"safeguard-evaluator.*refused.*file={kind}"
        eventually(
            lambda: bool(re.search(refused, stack.running.output[seen:])), "the evaluator says so"
        )
    finally:
        path.write_text(good)
    eventually(lambda: refused_files(stack) == set(), "the good one is in force")


def test_ten_thousand_policies_come_into_force_while_all_goes_on(
    stack: Stack, agent: Safeguards
) -> None:
    """Every action has a verdict meanwhile, by the old policies or by the new; then by the new; and
    the console shows them."""
    path = file_of(stack, "policies")
    good = path.read_text()
    content = policies(stack)
    number = 10_000 - len(content["policies"])
    many = [
        {
            "name": f"many-{n}",
            "match": {"action_types": [f"do_{n}", f"*_{n}_*"]},
            "arguments": MONEY,
            "condition": f'money(context.amount) > money("{n}.00")',
            "verdict": "deny",
        }
        for n in range(number)
    ]
    text = yaml.dump(
        {**content, "policies": [*content["policies"], *many]}, Dumper=yaml.CSafeDumper
    )
    try:
        path.write_text(text)
        verdicts: list[Verdict | None] = []

        def is_in_force() -> bool:
            note = judged(agent, agent.submit("clerk", "write_note", {"n": len(verdicts)}).id)
            verdicts.append(note.verdict)
            asked = judged(agent, agent.submit("clerk", f"do_{number - 1}", {"amount": "99999"}).id)
            return asked.verdict is Verdict.DENY

        eventually(is_in_force, "the new ones are in force")
        assert set(verdicts) == {Verdict.ALLOW}
        eventually(lambda: refused_files(stack) == set(), "none is refused")

        with signed_in(stack, "alex") as alex:
            eventually(
                lambda: "10,000 policies" in alex.get("/console/policies").text,
                "the console shows them",
            )
            found = alex.get("/console/policies", params={"action_type": f"do_{number - 1}"}).text
            assert "1 policy of 10,000" in found
            assert f"many-{number - 1}" in found
    finally:
        path.write_text(good)
