"""The JSON Schema by which editors check policy files: it and the services agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, FormatChecker

from safeguards.errors import ConfigurationError
from safeguards_runtime.policy_book import READY_MADE, load_policies, ready_made_names
from safeguards_runtime.policy_schema import policy_schema, schema_of
from services.safeguard_evaluator.command.cases import CaseFile

DEPLOY = Path("deploy")
DEFAULT = {"groups": ["reviewers"]}


def found(schema: str, content: Any) -> list[str]:
    """Return what a validator that knows nothing of us finds wrong, with its place."""
    validator = Draft202012Validator(json.loads(schema), format_checker=FormatChecker())
    as_json = json.loads(json.dumps(content, default=str))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(as_json)]


def file_of(**more: Any) -> dict[str, Any]:
    return {"version": 1, "approvals": {"default": DEFAULT}, **more}


def asking(**terms: Any) -> dict[str, Any]:
    return file_of(approvals={"default": {**DEFAULT, **terms}})


def having(**policy: Any) -> dict[str, Any]:
    own = {
        "own": {
            "uses": "velocity",
            "config": {"limits": [{"per": "agent", "over": "hour", "at_most": 3}]},
        }
    }
    return file_of(safeguards=own, policies=[{"name": "one", **policy}])


def accepted(path: Path, content: Any) -> bool:
    """Tell whether the services take a file."""
    path.write_text(yaml.safe_dump(content))
    try:
        load_policies(path)
    except ConfigurationError:
        return False
    return True


@pytest.mark.parametrize("schema", [policy_schema(), schema_of(CaseFile)])
def test_it_is_a_schema(schema: str) -> None:
    Draft202012Validator.check_schema(json.loads(schema))


@pytest.mark.parametrize(
    ("file", "schema", "command"),
    [
        ("policies.schema.json", policy_schema(), "schema"),
        ("policies.cases.schema.json", schema_of(CaseFile), "schema --cases"),
    ],
)
def test_what_editors_use_is_up_to_date(file: str, schema: str, command: str) -> None:
    assert (DEPLOY / file).read_text() == schema, f"safeguards policy {command} >deploy/{file}"
    used_by = DEPLOY / file.replace(".schema.json", ".yaml")
    assert used_by.read_text().startswith(f"# yaml-language-server: $schema={file}\n")


CASES = [DEPLOY / "policies.cases.yaml", *READY_MADE.glob("*.cases.yaml")]


@pytest.mark.parametrize(
    ("path", "schema"),
    [(DEPLOY / "policies.yaml", policy_schema()), *((path, schema_of(CaseFile)) for path in CASES)],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_what_ships_is_right(path: Path, schema: str) -> None:
    assert found(schema, yaml.safe_load(path.read_text())) == []


@pytest.mark.parametrize("name", ready_made_names())
def test_the_ready_made_policies_are_right(name: str) -> None:
    pack = yaml.safe_load((READY_MADE / f"{name}.yaml").read_text())
    assert found(policy_schema(), {**pack, **file_of()} | pack) == []


RIGHT = {
    "the least": file_of(),
    "signing in never": asking(sign_in_from="never"),
    "signing in": asking(sign_in_from="WARNING"),
    "editable by name": asking(editable=["*", "amount"]),
    "editable with limits": asking(
        editable={"amount": {"at_most": "asked", "at_least": "1.00"}, "to": {"one_of": ["a", 1]}}
    ),
    "escalation": asking(
        escalation=[{"after_seconds": 9, "groups": ["g"]}], remind_after_seconds=[1]
    ),
    "answered by": asking(answer_by=["console", "api"], quorum=2, four_eyes=True),
    "globs": having(
        match={
            "action_types": ["*pay[_-]*", "x?"],
            "agent_ids": ["a-*"],
            "arguments": {"a.b": ["*"]},
        }
    ),
    "abstaining": having(verdict="abstain", safeguards=["own"]),
    "a condition": having(arguments={"a": "money"}, condition='money(context.a) > money("1")'),
    "verdicts": having(safeguards=["own"], verdicts={"INFO": "allow", "CRITICAL": "deny"}),
    "in the shadow": having(mode="shadow", priority=-5, verdict="deny", reason="Why."),
    "ready-made": file_of(ready_made=["payments"], default_verdict="notify"),
    "no condition": having(condition=None),
}

WRONG = {
    "nothing": {},
    "a list": [],
    "another version": file_of(version=2),
    "no approvals": {"version": 1},
    "no default terms": file_of(approvals={"strict": DEFAULT}),
    "an unknown key": file_of(polices=[]),
    "an unknown key of a policy": having(verdcit="deny"),
    "an unknown key of terms": asking(timeout=3),
    "an unknown key of a match": having(match={"types": ["*"]}),
    "an unknown verdict": having(verdict="ask"),
    "a verdict for an unknown severity": having(verdicts={"HIGH": "deny"}),
    "an unknown severity": asking(sign_in_from="HIGH"),
    "no severity": asking(sign_in_from=None),
    "an unknown default": file_of(default_verdict="abstain"),
    "a glob that is no list": having(match={"action_types": "pay_*"}),
    "no glob": having(match={"action_types": []}),
    "an unknown type of an argument": having(arguments={"a": "float"}),
    "a time that is none": asking(timeout_seconds=0),
    "a quorum of too many": asking(quorum=21),
    "an answer by pigeon": asking(answer_by=["pigeon"]),
    "an unknown limit": asking(editable={"amount": {"at_least_": "1"}}),
    "a limit that is inexact": asking(editable={"amount": {"at_most": 1.5}}),
    "an unknown pack": file_of(ready_made=["payment"]),
    "no name": file_of(policies=[{"verdict": "deny"}]),
    "a priority that is too high": having(priority=1001),
    "a time limit that is too long": file_of(
        safeguards={"own": {"uses": "velocity", "time_limit_seconds": 11}}
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_the_services_accept_it_accepts(name: str, tmp_path: Path) -> None:
    assert accepted(tmp_path / "policies.yaml", RIGHT[name])
    assert found(policy_schema(), RIGHT[name]) == []


@pytest.mark.parametrize("name", WRONG)
def test_what_it_refuses_the_services_refuse(name: str, tmp_path: Path) -> None:
    assert found(policy_schema(), WRONG[name])
    assert not accepted(tmp_path / "policies.yaml", WRONG[name])


def test_every_key_of_a_policy_is_explained() -> None:
    schema = json.loads(policy_schema())
    explained = {"PolicyFile": schema, **{n: schema["$defs"][n] for n in ("Policy", "TermsConfig")}}
    for name, part in explained.items():
        bare = [key for key, value in part["properties"].items() if "description" not in value]
        assert bare in ([], ["match"], ["arguments"]), name
