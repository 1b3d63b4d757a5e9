"""`safeguards policy`: files checked, cases judged, verdicts explained."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from safeguards.errors import ConfigurationError, SafeguardsError
from services.safeguard_evaluator.command import app
from tests import example_safeguard, installing, misbehaving_safeguards
from tests.deploy.running import is_alive

SCRIPT = Path(sys.executable).with_name("safeguards")

POLICIES = """\
version: 1
safeguards:
  finance: {uses: financial_services, config: {transaction_limits: {"*": "1000.00"}}}
approvals:
  default: {groups: [reviewers]}
  strict: {groups: [reviewers], quorum: 2, timeout_seconds: 60}
policies:
  - name: payments
    match: {action_types: ["*transfer*"]}
    safeguards: [finance]
    approval: strict
  - name: abroad
    reason: The money leaves the country.
    match: {action_types: [transfer], arguments: {country: ["CH", "US"]}}
    verdict: require_approval
  - name: large
    match: {action_types: [transfer]}
    arguments: {amount: money}
    condition: money(context.amount) > money("500.00")
    verdict: notify
  - name: night
    mode: shadow
    match: {action_types: [transfer]}
    verdict: deny
    reason: It is late.
  - name: others
    match: {agent_ids: ["night-*"]}
    priority: -5
"""

CASES = """\
policies: policies.yaml
cases:
  - name: a little
    action: {action_type: transfer, context: {amount: "5.00"}}
    expect: {verdict: allow, policies: [payments]}
  - name: too much
    action: {action_type: transfer, context: {amount: "1000.01"}}
    expect: {verdict: require_approval, policies: [payments]}
"""


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    path = tmp_path / "policies.yaml"
    path.write_text(POLICIES)
    (tmp_path / "policies.cases.yaml").write_text(CASES)
    return path


def script(
    *arguments: str | Path, given: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    """Run the installed command, with settings of its own."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SAFEGUARDS_")}
    return subprocess.run(
        [SCRIPT, "policy", *arguments],
        input=given,
        env={**clean, **more},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def printed(*arguments: str | Path, given: str = "") -> str:
    """Return what the command prints; raise what `main` would print in one line."""
    result = CliRunner().invoke(app, ["policy", *map(str, arguments)], input=given)
    if result.exception is not None:
        raise result.exception
    return result.output


def action(context: dict[str, Any], action_type: str = "transfer") -> str:
    return json.dumps({"agent_id": "trader", "action_type": action_type, "context": context})


def with_safeguard(safeguard: str) -> str:
    """Return policies that have every action judged by one safeguard."""
    return textwrap.dedent(f"""\
        version: 1
        safeguards: {{own: {safeguard}}}
        approvals: {{default: {{groups: [reviewers]}}}}
        policies: [{{name: own, safeguards: [own]}}]
        """)


def test_what_ships_is_right_and_does_what_its_cases_say() -> None:
    """Without a file, those of the settings are taken."""
    assert script("check").stdout.startswith("ok: 3 policies, 2 safeguards, version ")
    assert script("test").stdout == "ok: 6 cases\n"


def test_a_mistake_is_one_line_on_standard_error(policies: Path) -> None:
    policies.write_text(POLICIES.replace("finance: {uses: financial_", "finance: {uses: finacial_"))
    done = script("check", policies)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"safeguards: {policies}: safeguards.finance (line 3): ")


def test_a_file_that_is_not_there_is_one_line() -> None:
    done = script("explain", "--action", "no-such-file.json")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "no-such-file.json" in done.stderr


def test_each_mistake_has_its_line(policies: Path) -> None:
    wrong = POLICIES.replace("[finance]", "[finanse]").replace("context.amount", "context.amont")
    policies.write_text(wrong)
    with pytest.raises(ConfigurationError) as refused:
        printed("check", policies)
    assert "policies.0.safeguards.0 (line 10)" in str(refused.value)
    assert "policies.2.condition (line 19)" in str(refused.value)


def test_whoever_is_asked_must_be_there(policies: Path, tmp_path: Path) -> None:
    """As in the services, the reviewers are looked at too."""
    reviewers = tmp_path / "reviewers.yaml"
    person = "{id: kim, name: Kim, email: kim@example.com, groups: [%s]}"
    reviewers.write_text(f"version: 1\nreviewers:\n  - {person % 'managers'}\n")
    with pytest.raises(ConfigurationError, match=r"line 5\).*no reviewer is in the group"):
        printed("check", policies, "--reviewers", reviewers)


def test_a_channel_that_is_not_there_is_warned_of(policies: Path, tmp_path: Path) -> None:
    """It is left out, as in the services: people may be reached by the others."""
    policies.write_text(POLICIES.replace("quorum: 2", "channels: [log, pager]"))
    channels = tmp_path / "channels.yaml"
    channels.write_text("version: 1\nchannels: {log: {kind: log}}\n")
    done = script("check", policies, "--channels", channels)
    assert done.returncode == 0
    assert done.stdout.startswith("ok: 5 policies")
    place = "approvals.strict.channels (line 6)"
    assert done.stderr == f"warning: there is no such channel: {place}: 'pager'\n"


def test_editors_get_the_schema_of_both_kinds_of_files() -> None:
    assert json.loads(printed("schema"))["required"] == ["version", "approvals"]
    assert json.loads(printed("schema", "--cases"))["required"] == ["policies", "cases"]


def test_cases_that_come_out_as_they_say(policies: Path) -> None:
    assert printed("test", policies.with_name("policies.cases.yaml")) == "ok: 2 cases\n"
    assert printed("test", policies) == "ok: 2 cases\n"


def test_a_case_that_fails_says_what_was_expected_and_what_came(policies: Path) -> None:
    policies.write_text(POLICIES.replace("1000.00", "2000.00"))
    cases = policies.with_name("policies.cases.yaml")
    done = script("test", cases)
    assert done.returncode == 1
    assert done.stderr == "safeguards: 1 of 2 cases failed\n"
    assert done.stdout.splitlines()[:2] == [
        f"{cases}:6: too much",
        "  expected require_approval, came notify",
    ]
    assert "  expected of the policies: payments; came: large" in done.stdout


def test_a_missing_alert_fails_a_case(policies: Path) -> None:
    cases = policies.with_name("policies.cases.yaml")
    cases.write_text(CASES.replace("policies: [payments]}\n  -", "alerts: [First time]}\n  -"))
    result = CliRunner().invoke(app, ["policy", "test", str(cases)])
    assert "expected of the alerts: First time; came: none" in result.output
    assert isinstance(result.exception, SafeguardsError)


@pytest.mark.parametrize(
    ("right", "wrong", "place"),
    [
        ("verdict: allow", "verdict: alow", r"cases\.0\.expect\.verdict \(line 5\)"),
        ("action_type: transfer", "action: transfer", r"cases\.0\.action\.action \(line 4\)"),
        ("name: too much", "nam: too much", r"cases\.1\.nam \(line 6\)"),
        ("policies: policies.yaml", "policies: others.yaml", r"others\.yaml: cannot be read"),
        ("name: too", 'at: "0001-01-01T00:00:00+14:00"\n    name: too', r"cases\.1\.at \(line 6\)"),
        ("name: too", "at: 9999-12-31T23:00:00-14:00\n    name: too", r"cases\.1\.at \(line 6\)"),
    ],
)
def test_a_mistake_in_cases_has_its_line(
    policies: Path, right: str, wrong: str, place: str
) -> None:
    cases = policies.with_name("policies.cases.yaml")
    cases.write_text(CASES.replace(right, wrong, 1))
    with pytest.raises(ConfigurationError, match=place):
        printed("test", cases)


def test_the_time_of_a_case_is_its_own(policies: Path) -> None:
    """A case comes out the same by day and by night."""
    hours = '{time_zone: UTC, from: "09:00", to: "17:00"}'
    policies.write_text(with_safeguard(f"{{uses: time_of_day, config: {hours}}}"))
    cases = policies.with_name("policies.cases.yaml")
    case = "{name: %s, at: %s, action: {action_type: pay}, expect: {verdict: %s}}"
    day = case % ("day", "2026-03-02T16:59:00Z", "allow")
    night = case % ("night", "2026-03-02T17:01:00Z", "require_approval")
    cases.write_text(f"policies: policies.yaml\ncases:\n  - {day}\n  - {night}\n")
    assert printed("test", cases) == "ok: 2 cases\n"


def test_a_plugin_is_asked(policies: Path, tmp_path: Path) -> None:
    """A safeguard of one's own judges as it does in the services."""
    packages = example_safeguard.install(tmp_path / "packages")
    policies.write_text(with_safeguard("{uses: blocked_words, config: {words: [bomb]}}"))
    asked = action({"text": "a bomb"})
    done = script("explain", policies, "--action", "-", given=asked, PYTHONPATH=str(packages))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("require_approval: transfer by trader")
    assert "safeguards.own: require_approval: A blocked word: " in done.stdout


def test_a_plugins_process_ends_with_the_command(
    policies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = tmp_path / "packages"
    kinds = misbehaving_safeguards.KINDS
    installing.register(packages, "misbehaving", group="safeguards.plugins", **kinds)
    monkeypatch.syspath_prepend(packages)
    policies.write_text(with_safeguard("{uses: misbehaving, time_limit_seconds: 5}"))
    given = action({"do": "process"})
    found = json.loads(printed("explain", policies, "--action", "-", "--json", given=given))
    [clause] = found["matched"][0]["clauses"]
    assert not is_alive(int(clause["words"].removeprefix("Found: ")))


def test_an_explanation_names_each_policy_and_why(policies: Path) -> None:
    done = script("explain", policies, "--action", "-", given=action({"amount": "1500.00"}))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("require_approval: transfer by trader (policies ")
    assert "5 policies looked at, 3 for this action" in lines
    assert "payments: require_approval (decides, priority 0)" in lines
    assert "large: notify (milder, priority 0)" in lines
    assert '  condition: true: money(context.amount) > money("500.00")' in lines
    assert "night: deny (shadow, priority 0)" in lines
    assert "abroad: not for this action: it is for the arguments country: CH, US" in lines
    assert "others: not for this action: it is for the agents night-*" in lines
    assert any(line.startswith("  asks 2 of reviewers, ") for line in lines)


def test_an_explanation_for_a_program(policies: Path, tmp_path: Path) -> None:
    path = tmp_path / "action.json"
    path.write_text(action({"amount": "5.00", "country": "us"}))
    found = json.loads(printed("explain", policies, "--action", path, "--json"))
    assert found["verdict"] == "require_approval"
    assert found["reasons"] == ["The money leaves the country."]
    assert found["terms"]["groups"] == ["reviewers"]
    assert [one["policy"] for one in found["matched"]] == ["payments", "abroad", "night"]
    assert found["unmatched"][0] == {
        "policy": "large",
        "why": 'its condition is false: money(context.amount) > money("500.00")',
    }


def test_what_the_services_would_not_load_is_not_explained(policies: Path) -> None:
    """No service gives that verdict. A file that is named stands for itself, without reviewers."""
    policies.write_text(POLICIES.replace("groups: [reviewers]", "groups: [nobody]"))
    given = action({"amount": "1.00"})
    done = script("explain", "--action", "-", given=given, SAFEGUARDS_POLICIES_FILE=str(policies))
    assert (done.returncode, done.stdout) == (1, "")
    assert "no reviewer is in the group 'nobody'" in done.stderr
    assert "allow: transfer by trader" in printed("explain", policies, "--action", "-", given=given)


def test_a_condition_that_cannot_be_told_is_explained(policies: Path) -> None:
    found = json.loads(printed("explain", policies, "--action", "-", "--json", given=action({})))
    large = next(one for one in found["matched"] if one["policy"] == "large")
    assert large["role"] == "decides"
    assert "amount" in large["condition_value"]
    assert large["verdict"] == "require_approval"


def test_an_outranked_policy_is_said_to_be(policies: Path) -> None:
    policies.write_text(POLICIES.replace('agent_ids: ["night-*"]', 'agent_ids: ["*"]'))
    found = json.loads(
        printed("explain", policies, "--action", "-", "--json", given=action({"amount": "1.00"}))
    )
    roles = {one["policy"]: one["role"] for one in found["matched"]}
    assert roles == {"payments": "decides", "night": "shadow", "others": "outranked"}
    assert found["terms"] is None


def test_an_explanation_names_the_globs_that_match_alone(policies: Path) -> None:
    globs = '["*sell*", "*transfer*", "*buy*", "Trans-*"]'
    policies.write_text(POLICIES.replace('["*transfer*"]', globs))
    given = action({"amount": "1.00"})
    found = json.loads(printed("explain", policies, "--action", "-", "--json", given=given))
    assert found["matched"][0]["action_types"] == ["*transfer*"]


def test_one_that_abstains_is_said_to_have_nothing_to_say(policies: Path) -> None:
    guard = "  - {name: guard, safeguards: [finance], verdict: abstain}\n"
    head, rest = POLICIES.split("policies:\n")
    policies.write_text(f"{head}policies:\n{guard}{rest}")

    def role(amount: str) -> str:
        given = action({"amount": amount})
        found = json.loads(printed("explain", policies, "--action", "-", "--json", given=given))
        roles: dict[str, str] = {one["policy"]: one["role"] for one in found["matched"]}
        return roles["guard"]

    assert (role("1.00"), role("1500.00")) == ("abstains", "decides")


def test_what_is_no_action_is_refused(policies: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"standard input: is no action: context: "):
        printed("explain", policies, "--action", "-", given='{"agent_id": "a", "action_type": "b"}')


def test_an_action_that_cannot_be_read_is_named(tmp_path: Path, policies: Path) -> None:
    path = tmp_path / "action.json"
    path.write_bytes(b"\xff{}")
    with pytest.raises(ConfigurationError, match=r"action\.json: is no action: .* UTF-8"):
        printed("explain", policies, "--action", str(path))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ('{"agent_id": "a", "agent_id": "b"}', "the name 'agent_id' is repeated in one object"),
        ('{"context": {"amount": NaN}}', "NaN is not JSON"),
        ('{"context": ' + "[" * 100_000, "it nests too deep"),
        ("{", "it is no valid JSON"),
    ],
)
def test_what_the_gateway_would_not_read_is_not_explained(
    policies: Path, given: str, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        printed("explain", policies, "--action", "-", given=given)


def test_a_pipe_is_no_policy_file(tmp_path: Path) -> None:
    """To open one would be to wait for ever for whoever writes to it."""
    pipe = tmp_path / "policies.yaml"
    os.mkfifo(pipe)
    done = script("check", pipe)
    assert done.returncode == 1
    assert done.stderr == f"safeguards: {pipe}: cannot be read: it is no regular file\n"


def test_nothing_an_agent_wrote_steers_the_terminal(policies: Path) -> None:
    """Control characters in an alert's words are shown, not obeyed."""
    given = action({"amount": "5\u001b[2J\u202e", "currency": "\u001b]0;x\u0007"})
    done = script("explain", policies, "--action", "-", given=given)
    assert done.returncode == 0, done.stderr
    assert not {"\u001b", "\u202e", "\u0007"} & set(done.stdout)
