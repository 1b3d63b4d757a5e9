"""The ready-made policies: each file holds by itself, and all of them together."""

from __future__ import annotations

import pytest

from safeguards.contracts import Verdict
from safeguards_runtime.configuration import load_yaml
from safeguards_runtime.policy_book import READY_MADE, PolicyBook, book_of, ready_made_names
from services.safeguard_evaluator.command.cases import Case, CaseFile, differences, judge_case
from services.safeguard_evaluator.plugins import Plugins
from services.safeguard_evaluator.trying_out import Asked, Desk, ready_made
from tests.policies.desk import PACKS


def cases(pack: str) -> tuple[Case, ...]:
    found = load_yaml(READY_MADE / f"{pack}.cases.yaml", CaseFile)
    assert str(found.policies) == f"{pack}.yaml"
    return found.cases


ALL_CASES = [(pack, case) for pack in PACKS for case in cases(pack)]
NAMES = [f"{pack}: {case.name}" for pack, case in ALL_CASES]


@pytest.fixture(scope="module")
def everything() -> PolicyBook:
    return ready_made(*PACKS)


def test_there_are_these_ready_made_policies() -> None:
    """A file that is not listed here has no cases that are run."""
    assert set(ready_made_names()) == set(PACKS)


@pytest.mark.parametrize("pack", PACKS)
def test_each_file_stands_alone(pack: str) -> None:
    """Each can be switched on without the others, and has attacks and everyday among its cases."""
    assert ready_made(pack).policies
    verdicts = [case.expect.verdict.value for case in cases(pack)]
    assert len(verdicts) >= 12
    assert "allow" in verdicts
    assert "require_approval" in verdicts


def test_each_policy_that_asks_says_why(everything: PolicyBook) -> None:
    """A reviewer reads a reason, not the name of a policy."""
    unexplained = [
        policy.name
        for policy in everything.policies
        if policy.least is not Verdict.ALLOW and not policy.reason
    ]
    assert unexplained == []


def test_no_two_policies_have_one_name(everything: PolicyBook) -> None:
    """The later of two with one name would not be in force."""
    each = [policy.name for pack in PACKS for policy in ready_made(pack).policies]
    assert sorted(each) == sorted(policy.name for policy in everything.policies)


@pytest.mark.parametrize(("pack", "case"), ALL_CASES, ids=NAMES)
async def test_case(pack: str, case: Case, everything: PolicyBook) -> None:
    """Each case comes out as it says: with its own file alone, and with all of them."""
    for book in (ready_made(pack), everything):
        judgement = await judge_case(case, book, Plugins())
        assert tuple(differences(case.expect, judgement)) == (), judgement.reasons


def test_files_of_keys_are_the_same_for_commands_as_for_tools() -> None:
    """A condition cannot take a list from another file, so the list stands in both."""
    reading, code = (
        (READY_MADE / f"{pack}.yaml").read_text(encoding="utf-8")
        for pack in ("reading", "code-and-infrastructure")
    )
    start, end = reading.index("(^|[^A-Za-z0-9])\\\\.(env"), reading.index("|wallet\\\\.dat")
    assert reading[start:end] in code


@pytest.mark.parametrize(
    ("where", "verdict"),
    [
        ({"owner": "acme", "repo": "shop"}, Verdict.ALLOW),
        ({"owner": "elsewhere", "repo": "shop"}, Verdict.REQUIRE_APPROVAL),
        ({"project_id": "elsewhere/shop"}, Verdict.REQUIRE_APPROVAL),
    ],
)
async def test_who_says_where_they_are_at_home_is_asked_about_anywhere_else(
    where: dict[str, str], verdict: Verdict
) -> None:
    """An issue elsewhere tells others what is known within."""
    book = book_of(
        {
            "version": 1,
            "ready_made": list(PACKS),
            "approvals": {"default": {"groups": ["reviewers"]}},
            "safeguards": {"places": {"config": {"known": ["acme"]}}},
        }
    )
    judgement = await Desk(book).judge(Asked("create_issue", {**where, "title": "Tea"}))
    assert judgement.verdict is verdict
