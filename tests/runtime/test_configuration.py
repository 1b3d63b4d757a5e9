"""Files that are no configuration: refused in words, and in bounded time and space."""

from __future__ import annotations

from pathlib import Path

import pytest

from safeguards.errors import ConfigurationError
from safeguards_runtime.configuration import MAX_NAMED
from safeguards_runtime.policy_book import load_policies

TERMS = "version: 1\napprovals: {default: {groups: [reviewers]}}\n"

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)
"""Ten thousand million values in five hundred characters."""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (BOMB, "stands for more than 1000000 values"),
        ("a: &a [*a]\n", "an alias stands for what contains it"),
        ("a: &a {b: {c: *a}}\n", "an alias stands for what contains it"),
        ("[" * 100_000, "is no YAML"),
        ("a: 1\na: 2\n", "'a' is given twice"),
        ("a: !!python/object/apply:os.getcwd []\n", "is no YAML"),
        ("\x00", "is no YAML"),
        ("", "the top"),
        ("- 1\n", "the top"),
    ],
)
def test_what_is_no_configuration_is_refused(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "policies.yaml"
    path.write_text(content)
    with pytest.raises(ConfigurationError) as caught:
        load_policies(path)
    assert words in str(caught.value)
    assert str(path) in str(caught.value)


def test_what_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policies.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match="is no YAML"):
        load_policies(path)


def test_of_very_many_mistakes_the_first_are_named_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "policies.yaml"
    lines = "".join(f"  - {{name: p{n}, approval: nobody}}\n" for n in range(1000))
    path.write_text(f"{TERMS}policies:\n{lines}")
    with pytest.raises(ConfigurationError) as caught:
        load_policies(path)
    said = str(caught.value)
    assert said.count("unknown approval") == MAX_NAMED
    assert "policies.0.approval (line 4)" in said
    assert said.endswith(f"and {1000 - MAX_NAMED} more")


def test_ten_thousand_policies_are_loaded_and_one_more_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "policies.yaml"
    many = [f"  - {{name: p{n}, match: {{action_types: [type_{n}]}}}}\n" for n in range(10_001)]
    path.write_text(f"{TERMS}policies:\n{''.join(many[:10_000])}")
    book = load_policies(path)
    assert [p.name for p in book.index.matching("a", "Type-9999", {})] == ["p9999"]
    path.write_text(f"{TERMS}policies:\n{''.join(many)}")
    with pytest.raises(ConfigurationError, match="at most 10000 items"):
        load_policies(path)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (
            "policies: [{name: p, verdcit: deny}]",
            "policies.0.verdcit (line 3): unknown key 'verdcit': did you mean 'verdict'?",
        ),
        (
            "policies: [{name: p, match: {types: [a]}}]",
            "policies.0.match.types (line 3): unknown key 'types': "
            "there are: action_types, agent_ids, arguments",
        ),
        ("polcies: []", "polcies (line 3): unknown key 'polcies': did you mean 'policies'?"),
        (
            "policies: [{name: p, verdict: require}]",
            "policies.0.verdict (line 3): must be one of allow, notify, require_approval, deny, "
            "abstain: did you mean 'require_approval'?",
        ),
        ("policies: [{verdict: deny}]", "policies.0.name (line 3): is missing"),
        ("policies: [p]", "policies.0 (line 3): must be keys with values"),
        ("safeguards: [s]", "safeguards (line 3): must be keys with values"),
        ("ready_made: reading", "ready_made (line 3): must be a list, such as [a, b]"),
        ("policies: [{name: p, priority: high}]", "policies.0.priority (line 3): must be a whole"),
        ("policies: [{name: p, match: {agent_ids: [1]}}]", "agent_ids.0 (line 3): must be text"),
    ],
)
def test_a_mistake_is_said_in_the_words_of_the_file(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "policies.yaml"
    path.write_text(f"{TERMS}{line}\n")
    with pytest.raises(ConfigurationError) as caught:
        load_policies(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert words in str(caught.value)
    assert ";" not in str(caught.value)


@pytest.mark.parametrize(
    ("editable", "place", "words"),
    [
        ("{amount: {at_mots: '1'}}", "editable.amount.at_mots", "did you mean 'at_most'?"),
        ("{amount: {at_most: 1.5}}", "editable.amount.at_most", "must be text"),
        ("amount", "editable", "must be a list, such as [a, b] or keys with values"),
        ("[1]", "editable.0", "must be text"),
    ],
)
def test_what_may_have_several_forms_is_explained_by_the_one_that_was_meant(
    tmp_path: Path, editable: str, place: str, words: str
) -> None:
    path = tmp_path / "policies.yaml"
    terms = f"  default:\n    groups: [reviewers]\n    editable: {editable}\n"
    path.write_text(f"version: 1\napprovals:\n{terms}")
    with pytest.raises(ConfigurationError) as caught:
        load_policies(path)
    assert f"approvals.default.{place} (line 5): " in str(caught.value)
    assert words in str(caught.value)
    assert ";" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('"\\e[2J\\e]0;owned\\a": 1', "[2J"),
        ("default_verdict: " + ":".join(["59"] * 3_000), "must be one of allow, notify"),
        ("default_verdict: [deny]", "must be one of allow, notify"),
    ],
)
def test_what_is_wrong_can_be_printed(tmp_path: Path, line: str, shown: str) -> None:
    """A terminal obeys what it gets; and a number may have more digits than are ever written."""
    path = tmp_path / "policies.yaml"
    path.write_text(f"{TERMS}{line}\n")
    with pytest.raises(ConfigurationError) as caught:
        load_policies(path)
    assert str(caught.value).isprintable()
    assert shown in str(caught.value)
