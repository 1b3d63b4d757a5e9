"""The reviewers file: what it says of people, and every mistake in it named with its place."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from safeguards.errors import ConfigurationError
from safeguards_runtime.reviewer import ConsoleRole
from safeguards_runtime.reviewers import Directory, Reviewer, load_directory


def person(reviewer_id: str = "alex", **given: Any) -> dict[str, Any]:
    """Return a reviewer as the file has one."""
    return {"id": reviewer_id, "name": reviewer_id.title(), "groups": ["reviewers"], **given}


def directory(*people: dict[str, Any], **given: Any) -> Directory:
    """Return the directory of a file."""
    return Directory.model_validate({"version": 1, "reviewers": people, **given})


def reviewer(**given: Any) -> Reviewer:
    """Return a reviewer."""
    return Reviewer.model_validate(person(**given))


# --- how they are reached -----------------------------------------------------------------------


def test_a_channels_own_address_comes_before_its_kinds() -> None:
    alex = reviewer(
        email="alex@example.com",
        slack_user="T1/U1",
        addresses={"pager": "+1", "sms": "+2", "team-mail": "team@example.com"},
    )
    assert alex.address_for("pager", "sms") == "+1"
    assert alex.address_for("other-pager", "sms") == "+2"
    assert alex.address_for("team-mail", "email") == "team@example.com"
    assert alex.address_for("mail", "email") == "alex@example.com"
    assert alex.address_for("chat", "slack") == "U1"
    assert alex.address_for("hook", "webhook") is None


def test_a_slack_user_may_be_bound_to_a_workspace() -> None:
    people = directory(
        person("alex", slack_user="T1/U1"),
        person("sam", slack_user="T2/U1"),
        person("lee", slack_user="W3"),
    )
    found = {
        (team, user): getattr(people.by_slack_user(team, user), "id", None)
        for team, user in [("T1", "U1"), ("T2", "U1"), ("T3", "U1"), (None, "U1"), ("T9", "W3")]
    }
    assert found == {
        ("T1", "U1"): "alex",
        ("T2", "U1"): "sam",
        ("T3", "U1"): None,
        (None, "U1"): None,
        ("T9", "W3"): "lee",
    }


def test_whom_no_channel_can_reach_is_warned_about(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "reviewers.yaml"
    people = [person("alex", email="a@b"), person("sam"), person("lee", addresses={"sms": "+1"})]
    path.write_text(yaml.safe_dump({"version": 1, "reviewers": people}))
    load_directory(path)
    said = capsys.readouterr().out + caplog.text
    assert "no channel can reach" in said
    assert "sam" in said
    assert "alex" not in said
    assert "lee" not in said


# --- what they may do in the console -------------------------------------------------------------


def test_roles_are_a_reviewers_unless_given_and_an_admins_are_all() -> None:
    assert reviewer().roles == {ConsoleRole.REVIEWER}
    assert reviewer(roles=["admin"]).roles == set(ConsoleRole)
    assert reviewer(roles=["operator"], groups=[]).roles == {ConsoleRole.OPERATOR}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"roles": ["boss"]}, "roles"),
        ({"roles": []}, "roles"),
        ({"roles": ["operator"]}, "needs the role reviewer"),  # a group's members may answer
    ],
)
def test_roles_that_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        reviewer(**given)


def test_a_reviewer_is_found_by_mail_address_and_by_no_other() -> None:
    people = directory(person("kim", email="Kim@Example.com"))
    assert getattr(people.by_email("kim@example.COM"), "id", None) == "kim"
    # The Kelvin sign, which `casefold` takes for a K.
    assert people.by_email("\u212aim@example.com") is None
    assert people.by_email("kim+x@example.com") is None
    assert people.by_email("") is None


# --- groups within groups -----------------------------------------------------------------------


def test_members_of_an_included_group_belong_to_the_one_that_includes_it() -> None:
    people = directory(
        person("alex", groups=["cash"]),
        person("sam", groups=["treasury"]),
        person("lee", groups=["finance"]),
        groups={"finance": {"includes": ["treasury"]}, "treasury": {"includes": ["cash"]}}
        | {"cash": None},
    )
    assert [r.id for r in people.members(("finance",))] == ["alex", "sam", "lee"]
    assert [r.id for r in people.members(("treasury",))] == ["alex", "sam"]
    assert [r.id for r in people.members(("cash", "treasury"))] == ["alex", "sam"]
    alex = people.get("alex")
    assert alex is not None
    assert alex.groups == {"cash", "treasury", "finance"}


def test_without_a_section_groups_are_what_reviewers_say() -> None:
    assert [r.id for r in directory(person(groups=["any"])).members(("any",))] == ["alex"]


WRONG: dict[str, tuple[list[dict[str, Any]], dict[str, Any], str]] = {
    "a loop": ([], {"groups": {"a": {"includes": ["b"]}, "b": {"includes": ["a"]}}}, "loop: "),
    "a group in itself": ([], {"groups": {"a": {"includes": ["a"]}}}, "a includes a"),
    "an unknown included group": ([], {"groups": {"a": {"includes": ["b"]}}}, "a includes 'b'"),
    "a group that is not declared": ([person()], {"groups": {"a": None}}, "alex.*'reviewers'"),
    "an id twice": ([person(), person()], {}, "same id: alex"),
    "a mail address twice": (
        [person(email="a@example.com"), person("sam", email="A@example.com")],
        {},
        "same email: a@example.com",
    ),
    "a Slack user twice": (
        [person(slack_user="U1"), person("sam", slack_user="T1/U1")],
        {},
        "same slack_user: U1",
    ),
    "an unknown delegate": ([person(delegate="bo")], {}, "'alex': no delegate 'bo'"),
    "being one's own delegate": ([person(delegate="alex")], {}, "own delegate"),
    "an unknown time zone": ([person(time_zone="Mars/Base")], {}, "time_zone.*Mars/Base"),
    "a folder of time zones": ([person(time_zone="Europe")], {}, "no time zone"),
    "a time without offset": (
        [person(away_until=datetime(2026, 1, 1, 12))],
        {},
        "away_until",
    ),
    "a number for a date": ([person(away_until=20261224)], {}, "away_until.*write a date"),
    "no date": ([person(away_until="soon")], {}, "away_until.*write a date"),
    "hours of no day": ([person(working_hours={"monday": "09:00-17:00"})], {}, "the days are"),
    "a day twice": (
        [person(working_hours={"mon-fri": "09:00-17:00", "fri": "09:00-12:00"})],
        {},
        "fri is given twice",
    ),
    "no hours at all": ([person(working_hours={})], {}, "working_hours"),
    "hours that are a number": ([person(working_hours={"mon": 900})], {}, "in quotes"),
    "an hour too many": ([person(working_hours={"mon": "09:00-25:00"})], {}, "00:00 to 24:00"),
    "an empty span": ([person(quiet_hours="09:00-09:00")], {}, "is empty"),
    "being always quiet": ([person(quiet_hours="00:00-24:00")], {}, "is always"),
    "no Slack user": ([person(slack_user="@alex")], {}, "slack_user"),
    "an address with a line break": ([person(addresses={"sms": "1\n2"})], {}, "addresses"),
    "an unknown key": ([person(emial="a@b")], {}, "emial"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, name: str) -> None:
    people, given, words = WRONG[name]
    path = tmp_path / "reviewers.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "reviewers": people, **given}))
    with pytest.raises(ConfigurationError, match=words) as caught:
        load_directory(path)
    assert str(caught.value).startswith(str(path))


def test_a_mistake_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "reviewers.yaml"
    path.write_text(
        "version: 1\n"
        "reviewers:\n"
        "  - {id: alex, name: Alex, groups: [reviewers]}\n"
        "  - id: sam\n"
        "    email: nowhere\n"
        "    groups: [reviewers]\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        load_directory(path)
    assert "reviewers.1.email (line 5): " in str(caught.value)
    assert "reviewers.1.name (line 4): " in str(caught.value)


def test_a_key_that_is_given_twice_is_a_mistake(tmp_path: Path) -> None:
    """YAML would let the second take the place of the first without a word."""
    path = tmp_path / "reviewers.yaml"
    path.write_text("version: 1\nreviewers: []\nreviewers: []\n")
    with pytest.raises(ConfigurationError, match=r"(?s)'reviewers' is given twice.*line 3"):
        load_directory(path)


# --- away ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("until", "back_at"),
    [
        ("2026-12-24", datetime(2026, 12, 23, 23, 0, tzinfo=UTC)),
        ("2026-12-24T12:00+01:00", datetime(2026, 12, 24, 11, 0, tzinfo=UTC)),
        ("2026-12-24T00:00:00+00:00", datetime(2026, 12, 24, 0, 0, tzinfo=UTC)),
    ],
)
def test_who_is_away_is_back_when_the_day_begins_where_they_are(
    until: str, back_at: datetime
) -> None:
    alex = reviewer(time_zone="Europe/Berlin", away_until=until)
    assert alex.back_at() == back_at
    assert alex.is_away(back_at.replace(year=2025))
    assert not alex.is_away(back_at)


def test_the_shipped_file_has_one_reviewer() -> None:
    people = load_directory(Path("deploy/reviewers.yaml"))
    assert [(r.id, r.is_reachable) for r in people.reviewers] == [("alex", True)]


@pytest.mark.parametrize(
    "spelling",
    [
        *("alex", "ALEX@example.com", "alex+x@EXAMPLE.com", "Alex <alex@example.com>"),
        *("mailto:alex@example.com", "U0ALEX", "reviewer:alex", "alex@example.com (Alex)"),
    ],
)
def test_whoever_asks_is_known_in_every_way_they_are_written(spelling: str) -> None:
    """An asker who may not answer is not let through by another way to write them."""
    about = {"id": "alex", "name": "Alex", "email": "alex@example.com", "slack_user": "U0ALEX"}
    alex = Reviewer.model_validate({**about, "groups": ["reviewers"]})
    sam = Reviewer.model_validate({"id": "sam", "name": "Sam", "groups": ["reviewers"]})
    assert alex.is_among([spelling])
    assert not sam.is_among([spelling])
