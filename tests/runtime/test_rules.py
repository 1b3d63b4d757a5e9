"""Policies and reviewers in force: only ever such that fit each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.local import prepare
from safeguards.errors import ConfigurationError
from safeguards_runtime.policy_book import book_of
from safeguards_runtime.reviewers import Directory
from safeguards_runtime.rules import Rules, load_rules, rules_in_force, unknown_channels
from safeguards_runtime.settings import Settings
from tests.deploy.running import eventually

MANAGERS = {"after_seconds": 60, "groups": ["managers"]}


def policies(groups: tuple[str, ...] = ("reviewers",), **terms: Any) -> dict[str, Any]:
    return {"version": 1, "approvals": {"default": {"groups": list(groups), **terms}}}


def reviewers(*groups: str, **given: Any) -> dict[str, Any]:
    people = [{"id": "alex", "name": "Alex", "email": "a@b", "groups": list(groups), **given}]
    return {"version": 1, "reviewers": people}


@pytest.fixture
def files(tmp_path: Path) -> Settings:
    """Settings that name two good files."""
    settings = Settings(
        policies_file=tmp_path / "policies.yaml",
        reviewers_file=tmp_path / "reviewers.yaml",
        data_dir=tmp_path / "data",
    )
    write(settings.policies_file, policies())
    write(settings.reviewers_file, reviewers("reviewers"))
    return settings


def write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(content))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (policies(("reviewers", "ghosts")), r"approvals\.default\.groups.*line 5.*'ghosts'"),
        (policies(escalation=[MANAGERS]), r"default\.escalation\.0\.groups.*line 6.*'managers'"),
        (policies(quorum=2), r"default\.quorum.*: 2 must approve, and .* has 1 in all"),
        (policies(four_eyes=True, editable=["*"]), r"default\.quorum.*: 1 must .*four_eyes"),
    ],
)
def test_policies_that_ask_nobody_are_refused(
    files: Settings, content: dict[str, Any], words: str
) -> None:
    write(files.policies_file, content)
    with pytest.raises(ConfigurationError, match=words):
        load_rules(files)


def test_nothing_is_started_where_policies_ask_nobody(files: Settings) -> None:
    write(files.policies_file, policies(("ghosts",)))
    with pytest.raises(ConfigurationError, match="ghosts"):
        prepare(files)
    assert not files.data_dir.exists()


def test_a_policy_for_nobody_changes_nothing_until_somebody_is_there(files: Settings) -> None:
    rules = rules_in_force(files)
    write(files.policies_file, policies(escalation=[MANAGERS]))
    eventually(lambda: bool(rules.current and rules.error), "the policies are refused", 10)
    assert "managers" in str(rules.error)
    assert rules.current.policies.approvals["default"].escalation == ()
    write(files.reviewers_file, reviewers("reviewers", "managers"))
    eventually(lambda: bool(rules.current.policies.approvals["default"].escalation), "taken", 10)
    assert rules.error is None


def test_the_last_member_of_a_group_that_is_asked_cannot_leave(files: Settings) -> None:
    rules = rules_in_force(files)
    write(files.reviewers_file, reviewers("others"))
    eventually(lambda: bool(rules.current and rules.error), "the reviewers are refused", 10)
    assert rules.current.directory.members(("reviewers",))


def test_members_of_an_included_group_are_enough() -> None:
    directory = Directory.model_validate(
        {**reviewers("treasury"), "groups": {"finance": {"includes": ["treasury"]}, "treasury": {}}}
    )
    rules = Rules(book_of(policies(("finance",))), directory)
    assert rules.directory.members(("finance",))


def test_channels_that_do_not_exist_are_named_with_their_place() -> None:
    terms = policies(channels=["email", "fax"], escalation=[{**MANAGERS, "channels": ["pager"]}])
    people = reviewers("reviewers", "managers", channels=["log", "drum"])
    rules = Rules(book_of(terms), Directory.model_validate(people))
    assert unknown_channels(rules, {"email", "log"}) == (
        "approvals.default.channels: 'fax'",
        "approvals.default.escalation.0.channels: 'pager'",
        "reviewers.alex.channels: 'drum'",
    )


# --- the evaluator's ----------------------------------------------------------------------------


def test_a_policy_whose_safeguard_cannot_be_built_changes_nothing(files: Settings) -> None:
    judges = rules_in_force(files)
    before = judges.current
    wrong = {"finance": {"uses": "financial_services", "config": {"transaction_limits": "lots"}}}
    write(files.policies_file, {**policies(timeout_seconds=60), "safeguards": wrong})
    eventually(lambda: bool(judges.current and judges.error), "the policies are refused", 10)
    assert judges.current is before
    right = {"finance": {"uses": "financial_services"}}
    write(files.policies_file, {**policies(timeout_seconds=60), "safeguards": right})
    eventually(lambda: judges.current is not before, "the new policies are taken", 10)
    assert set(judges.current.book.safeguards) == {"finance"}
    assert judges.current.policies.approvals["default"].timeout_seconds == 60
    assert judges.error is None


def test_new_reviewers_leave_the_safeguards_as_they_are(files: Settings) -> None:
    """One may keep something in mind between two actions."""
    right = {"finance": {"uses": "financial_services"}}
    write(files.policies_file, {**policies(("reviewers",)), "safeguards": right})
    judges = rules_in_force(files)
    kept = judges.current
    write(files.reviewers_file, reviewers("others"))
    eventually(lambda: bool(judges.current and judges.error), "the reviewers are refused", 10)
    write(files.reviewers_file, reviewers("others", "reviewers"))
    eventually(lambda: bool(judges.current and not judges.error), "the reviewers are taken", 10)
    assert judges.current.book is kept.book
    assert judges.current.directory.members(("others",))
