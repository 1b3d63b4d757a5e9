"""The kinds of safeguards that a policy file may name: the built-in ones and one's own."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest

from safeguards.errors import ConfigurationError
from safeguards.plugins import BUILT_IN, Safeguard
from safeguards.types import Agent, SafetyAlert
from safeguards_runtime.safeguard_kinds import KINDS, is_built_in, safeguard_of
from tests import installing
from tests.example_safeguard import install

HERE = "tests.runtime.test_safeguard_kinds"

register = partial(installing.register, group=KINDS.group)


class Numbered(Safeguard):
    """One that trips over its configuration."""

    name: ClassVar[str] = "numbered"

    def configure(self, config: dict[str, Any]) -> None:
        self._number = int(config["number"])

    def check(self, agent: Agent, context: dict[str, Any]) -> list[SafetyAlert]:
        return []


class Broken(Numbered):
    """One that cannot be made."""

    def __init__(self) -> None:
        raise OSError("no such device")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose packages count as installed."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def test_a_built_in_safeguard_is_made_by_its_name() -> None:
    config = {"restricted_actions": ["speculate"]}
    safeguard = safeguard_of("financial_services", config)
    assert type(safeguard) is BUILT_IN["financial_services"]
    assert is_built_in("financial_services")
    assert not is_built_in("blocked_words")


def test_a_safeguard_of_ones_own_is_made_and_initialized(installed: Path) -> None:
    register(installed, "numbers", numbered=f"{HERE}:Numbered")
    safeguard = safeguard_of("numbered", {"number": "7"})
    assert isinstance(safeguard, Numbered)
    assert safeguard._number == 7


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("finacial_services", "'finacial_services' is unknown: did you mean 'financial_services'?"),
        ("qqq", "the safeguard 'qqq' is unknown: it may be one of "),
        ("", "the safeguard '' is unknown: it may be one of "),
    ],
)
def test_an_unknown_safeguard_is_named(kind: str, said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        safeguard_of(kind, {})
    assert said in str(caught.value)


def test_the_safeguards_of_packages_are_among_those_that_were_meant(installed: Path) -> None:
    register(installed, "numbers", numbered=f"{HERE}:Numbered")
    with pytest.raises(ConfigurationError, match="did you mean 'numbered'"):
        safeguard_of("nubmered", {})


def test_only_a_safeguard_that_is_asked_for_can_be_broken(installed: Path) -> None:
    """A package that cannot be loaded harms nobody who does not use it."""
    register(
        installed,
        "broken",
        missing="no_such_module:Safeguard",
        nameless=f"{HERE}:NoSuchSafeguard",
        failing=f"{HERE}:Broken",
        abstract="safeguards.plugins:Safeguard",
        strange="builtins:dict",
        counting="tests.misbehaving_safeguards:Counting",
    )
    assert safeguard_of("healthcare", {"restricted_operations": ["delete_patient_record"]})
    for kind, said in {
        "missing": "cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'",
        "nameless": "cannot be loaded: AttributeError",
        "failing": "cannot be loaded: OSError: no such device",
        "abstract": "cannot be loaded: TypeError",
        "strange": "is no safeguard: builtins:dict does not derive from safeguards.plugins.Safegu",
        "counting": "is a WindowSafeguard: only the built-in ones may count over windows of time",
    }.items():
        with pytest.raises(ConfigurationError) as caught:
            safeguard_of(kind, {})
        assert f"the safeguard {kind!r} of the package 'broken' {said}" in str(caught.value)


def test_a_configuration_that_does_not_fit_is_named_without_its_values(installed: Path) -> None:
    register(installed, "numbers", numbered=f"{HERE}:Numbered")
    with pytest.raises(ConfigurationError, match="'numbered' misses the key 'number' in config"):
        safeguard_of("numbered", {"n": 1})
    with pytest.raises(ConfigurationError, match="could not be initialized: ValueError") as caught:
        safeguard_of("numbered", {"number": "S3CRET"})
    assert "S3CRET" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="the key 'restricted_action' is unknown"):
        safeguard_of("financial_services", {"restricted_action": []})


def test_nobody_takes_the_name_of_a_built_in_safeguard(installed: Path) -> None:
    register(installed, "usurper", healthcare=f"{HERE}:Numbered")
    said = "the package 'usurper' registers a safeguard 'healthcare', which is a built-in one"
    with pytest.raises(ConfigurationError, match=said):
        safeguard_of("healthcare", {})


def test_two_packages_may_not_register_the_same_safeguard(installed: Path) -> None:
    register(installed, "one", mine=f"{HERE}:Numbered")
    register(installed, "two", mine=f"{HERE}:Broken")
    said = "'mine' is registered more than once: the package 'one', the package 'two'"
    with pytest.raises(ConfigurationError, match=said):
        safeguard_of("mine", {})


IN_ANOTHER_PROCESS = """
from safeguards_runtime.remote_agent import RemoteAgent
from safeguards_runtime.safeguard_kinds import safeguard_of

safeguard = safeguard_of("blocked_words", {"words": ["Bluebird"]})
context = {"action_type": "send_email", "to": ["a@example.com"], "body": {"text": "On bluebird."}}
for alert in safeguard.validate_agent_action(RemoteAgent("clerk"), context):
    print(alert.severity, alert.title, alert.description)
"""


def test_a_package_that_is_installed_is_found_and_used(tmp_path: Path) -> None:
    """By a process that knows nothing of it but its name."""
    packages = install(tmp_path / "site")

    def run(**environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", IN_ANOTHER_PROCESS],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    assert "the safeguard 'blocked_words' is unknown" in run().stderr
    done = run(PYTHONPATH=str(packages))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "WARNING A blocked word /body/text contains the word 'bluebird', which is blocked"
    ]
