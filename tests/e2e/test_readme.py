"""What the README promises is tried as it is printed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from pathlib import Path

import safeguards
from tests.deploy.running import eventually
from tests.stack import Stack

README = Path("README.md").read_text()


def test_the_first_agent_runs_as_printed(stack: Stack, tmp_path: Path) -> None:
    """Only its address is replaced. The reviewer lowers the amount, and is obeyed."""
    (program,) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert len([line for line in program.splitlines() if line.strip()]) <= 20
    program = program.replace("http://127.0.0.1:8000", stack.url)
    keys = tmp_path / ".safeguards"
    keys.mkdir()
    (keys / "demo_agent_key.json").write_text(json.dumps({"api_key": stack.agent_key.api_key}))
    running = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    reviewer = threading.Thread(target=lower_the_amount, args=(stack,))
    reviewer.start()
    printed, _ = running.communicate(timeout=60)
    reviewer.join()
    assert printed == "invested 400.00: Large investment purchase\n"


def lower_the_amount(stack: Stack) -> None:
    query = {"status": "PENDING", "agent_id": "financial_advisor"}
    with stack.http() as http:
        found: list[str] = []

        def is_open() -> bool:
            page = http.get("/approvals", params=query).json()
            found[:] = [approval["id"] for approval in page["approvals"]]
            return bool(found)

        eventually(is_open, "the approval is open")
    changes = {"amount": "400.00"}
    assert stack.respond(found[0], response="modify", modifications=changes).is_success


def test_every_path_it_names_is_there() -> None:
    for path in re.findall(r"`((?:shared|deploy|tests|services)/[\w./]*)`", README):
        assert Path(path).exists(), path


def test_what_the_package_offers() -> None:
    """The public names, which do not change without a word in the changelog."""
    assert set(safeguards.__all__) == {
        "ActionPublisher",
        "ActionStatus",
        "Agent",
        "AlertSeverity",
        "AsyncSafeguards",
        "HumanAction",
        "HumanActionHandler",
        "NotApprovedError",
        "Outcome",
        "Question",
        "SafetyAlert",
        "Safeguards",
        "SafeguardsError",
        "Verdict",
        "require_approval",
    }
