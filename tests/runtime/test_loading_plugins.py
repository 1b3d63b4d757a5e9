"""Policies that use safeguards of one's own: whatever their code does, loading comes to an end."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from safeguards.errors import ConfigurationError
from safeguards_runtime import isolation
from safeguards_runtime.policy_book import load_policies
from safeguards_runtime.reloading import Reloaded
from safeguards_runtime.safeguard_kinds import KINDS
from tests import installing

MODULES = {
    "fine": "",
    "hanging": "time.sleep(3600)",
    "ending": "os._exit(3)",
    "leaving": "sys.exit('no')",
    "failing": "1 / 0",
}
"""Packages, by what they do when they are imported."""

MODULE = """\
import os, sys, time
from safeguards.plugins import Safeguard
{deed}
class Own(Safeguard):
    def configure(self, config):
        self._words = config["words"]
    def check(self, agent, context):
        return []
"""


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "packages"
    kinds = {name: f"{name}_own_package:Own" for name in MODULES}
    installing.register(folder, "own", group=KINDS.group, **kinds)
    for name, deed in MODULES.items():
        (folder / f"{name}_own_package.py").write_text(MODULE.format(deed=deed))
    monkeypatch.syspath_prepend(folder)


def written(path: Path, **uses: str) -> Path:
    safeguards = {
        name: {"uses": kind, "config": {} if name == "wordless" else {"words": ["a"]}}
        for name, kind in uses.items()
    }
    approvals = {"default": {"groups": ["reviewers"]}}
    content = {"version": 1, "approvals": approvals, "safeguards": safeguards}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def test_the_code_of_others_is_not_run_here(tmp_path: Path) -> None:
    book = load_policies(written(tmp_path / "policies.yaml", own="fine", same="fine"))
    assert set(book.plugins) == {"own", "same"}
    assert "fine_own_package" not in sys.modules


def test_each_that_cannot_be_loaded_is_named_with_its_line(tmp_path: Path) -> None:
    kinds = {name: name for name in MODULES}
    path = written(tmp_path / "policies.yaml", **kinds, wordless="fine", unknown="fime")
    with pytest.raises(ConfigurationError) as refused:
        load_policies(path)
    said = str(refused.value)
    for name, why in {
        "hanging": "was not ready within 10 s",
        "ending": "ended itself with status 3 while it was loaded",
        "leaving": "ended itself with status 1 while it was loaded",
        "failing": "could not be loaded: the safeguard 'failing' of the package 'own' cannot",
        "wordless": "could not be loaded: the safeguard 'fine' misses the key 'words' in config",
        "unknown": "the safeguard 'fime' is unknown: did you mean 'fine'?",
    }.items():
        lines = path.read_text().splitlines()
        place = f"safeguards.{name} (line {lines.index(f'  {name}:') + 1}): "
        assert place in said
        assert why in said.partition(place)[2].partition(";")[0]
    assert "safeguards.fine " not in said


def test_what_was_in_force_stays_while_a_plugin_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / "policies.yaml", own="fine")
    policies = Reloaded(path, load_policies, name="hanging policies")
    before = policies.current
    written(path, own="hanging")
    monkeypatch.setattr(isolation, "READY_SECONDS", 1.0)
    policies.look()
    assert policies.current is before
    assert "was not ready within 1 s" in str(policies.error)
