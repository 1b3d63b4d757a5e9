"""`safeguards policy replay` and `export`: files, the store, and what stands in neither."""

from __future__ import annotations

import json
import os
import pty
import random
import signal
import stat
import subprocess
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.valkey import ValkeyServer
from safeguards.contracts import ActionSubmission, ResponseKind
from safeguards.errors import SafeguardsError
from safeguards_runtime.policy_book import load_policies
from safeguards_runtime.store import Store
from services.safeguard_evaluator.command import app
from services.safeguard_evaluator.trying_out import Desk
from tests.deploy.running import eventually, is_alive
from tests.safeguard_evaluator.recording import Lived, record
from tests.safeguard_evaluator.test_command import SCRIPT, printed, script

DATABASE = 6
"""Of this module's tests alone, so that others may use the same server."""

POLICIES = """\
version: 1
safeguards:
  spending:
    uses: spending
    config: {limits: [{per: agent, over: day, at_most: "100.00"}]}
approvals: {default: {groups: [reviewers], editable: ["*"]}}
policies:
  - {name: payments, match: {action_types: [pay]}, safeguards: [spending]}
  - {name: night, mode: shadow, match: {action_types: [look]}, verdict: deny}
default_verdict: allow
"""
MORNING = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "old.yaml"
    path.write_text(POLICIES)
    return path


@pytest.fixture
def new(tmp_path: Path) -> Path:
    path = tmp_path / "new.yaml"
    path.write_text(POLICIES.replace("100.00", "500.00").replace("mode: shadow, ", ""))
    return path


def line(minutes: float, amount: str = "60", action_type: str = "pay", **more: Any) -> str:
    at = (MORNING + timedelta(minutes=minutes)).isoformat()
    context = {"amount": amount, "currency": "EUR"}
    given = {"at": at, "agent_id": "trader", "action_type": action_type, "context": context}
    return json.dumps({**given, **more})


def exported(tmp_path: Path, *lines: str | bytes) -> Path:
    path = tmp_path / "actions.jsonl"
    path.write_bytes(b"".join((x if isinstance(x, bytes) else x.encode()) + b"\n" for x in lines))
    return path


def replayed(*arguments: str | Path) -> dict[str, Any]:
    """Return the report, of this process."""
    report: dict[str, Any] = json.loads(printed("replay", *arguments, "--json"))
    return report


def replayed_by_script(*arguments: str | Path, **environment: str) -> dict[str, Any]:
    """Return the report of the installed command, with settings of its own."""
    done = script("replay", *arguments, "--json", **environment)
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_a_changed_file_is_held_against_the_one_in_force(
    tmp_path: Path, old: Path, new: Path
) -> None:
    actions = exported(tmp_path, line(0), line(1), line(2, action_type="look"))
    done = script("replay", new, "--against", old, "--from", actions)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "3 actions, 2026-03-02 09:00 to 2026-03-02 09:02 UTC"
    cells = [row.split() for row in lines]
    assert ["deny", "0", "0", "1", "+1"] in cells
    assert ["require_approval", "0", "1", "0", "-1"] in cells
    assert ["allow", "0", "2", "2", "+0"] in cells
    assert ["reviewers'", "hours", "0.0", "0.0", "-0.0"] in cells
    assert "  require_approval -> allow: 1" in lines
    assert "    such as: line 2" in lines
    assert f"2 actions get another verdict by {new}" in lines


def test_the_file_in_force_alone_tells_of_its_policies_on_trial(tmp_path: Path, old: Path) -> None:
    actions = exported(tmp_path, line(0), line(1, action_type="look"))
    lines = printed("replay", "--against", old, "--from", actions).splitlines()
    assert "on trial: night, for 1 actions" in lines
    assert "    allow -> deny: 1" in lines
    assert not any("another verdict" in row for row in lines)


def test_without_a_word_it_is_the_settings_file_that_is_in_force(tmp_path: Path) -> None:
    found = replayed_by_script("--from", exported(tmp_path, line(0, action_type="read_file")))
    assert found["in_force"]["file"].endswith("deploy/policies.yaml")


def test_the_order_of_the_lines_does_not_matter(tmp_path: Path, old: Path, new: Path) -> None:
    """Actions are judged in the order of their times."""
    lines = [line(n, str(n % 7 * 10), id=f"act_{n}") for n in range(60)]
    ordered = replayed(new, "--against", old, "--from", exported(tmp_path, *lines))
    random.Random(1).shuffle(lines)
    shuffled = replayed(new, "--against", old, "--from", exported(tmp_path, *lines))
    assert shuffled == ordered
    assert ordered["moves"]


def test_only_the_actions_of_a_time_are_meant(tmp_path: Path, old: Path) -> None:
    actions = exported(tmp_path, line(0), line(10), line(24 * 60))
    times = ("--since", "2026-03-02 09:10:00", "--until", "2026-03-03")
    assert replayed("--against", old, "--from", actions, *times)["actions"] == 1


BROKEN = {
    "cut off": (b'{"at": "2026-03-02', "is no JSON"),
    "binary": (b"\x00\xff\xfe\x80", "is no JSON"),
    "a list": (b"[]", "the line: "),
    "no time": (b'{"agent_id": "a"}', "at: Field required"),
    "a time without a zone": (line(0).replace("+00:00", "").encode(), "at: "),
    "a time out of reach": (line(0).replace("2026-", "0001-").encode(), "at: "),
    "no type": (line(0).replace("action_type", "type").encode(), "action_type: Field required"),
    "an unknown key": (line(0, because="x").encode(), "because: Extra inputs"),
    "no number": (line(0).replace('"60"', "NaN").encode(), "context: "),
    "an unknown verdict": (line(0, verdict="perhaps").encode(), "verdict: "),
    "an outcome without a time": (line(0, outcome={"status": "APPROVED"}).encode(), "outcome.at: "),
    "a line without end": (b" " * (4 << 20) + b"{}", "is longer than 4 MiB"),
    "nested without end": (line(0).replace('"60"', "[" * 5000 + "]" * 5000).encode(), ""),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_line_that_is_no_action_is_named_and_the_rest_is_judged(
    name: str, tmp_path: Path, old: Path
) -> None:
    broken, words = BROKEN[name]
    actions = exported(tmp_path, line(0), broken, "", line(1))
    command = ["policy", "replay", "--against", str(old), "--from", str(actions), "--json"]
    done = CliRunner().invoke(app, command)
    assert isinstance(done.exception, SafeguardsError)
    start = f"{actions}: lines that are no actions were left out: 1: line 2: {words}"
    assert str(done.exception).startswith(start)
    assert "\n" not in str(done.exception)
    report = json.loads(done.output)
    assert (report["actions"], report["left_out"]) == (2, 1)


@pytest.mark.parametrize("content", [b"", b"\n\n", os.urandom(5000)])
def test_a_file_without_an_action_is_an_error(content: bytes, tmp_path: Path, old: Path) -> None:
    actions = tmp_path / "actions.jsonl"
    actions.write_bytes(content)
    done = script("replay", "--against", old, "--from", actions)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{actions}: no action of that time" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_pipe_is_refused(tmp_path: Path, old: Path) -> None:
    """It cannot be read twice."""
    named = tmp_path / "pipe"
    os.mkfifo(named)
    for pipe in ("/dev/stdin", named):
        done = script("replay", "--against", old, "--from", pipe, given=line(0))
        assert done.returncode == 1
        assert "is no file that can be read twice" in done.stderr


def test_nothing_in_a_file_steers_the_terminal(tmp_path: Path, old: Path, new: Path) -> None:
    strange: dict[str, Any] = {"id": "\u001b[2J\u202e", "\u001b]0;x\u0007": 1}
    actions = exported(tmp_path, line(0), line(1, id="\u001b[2J\u202e"), line(2, **strange))
    done = script("replay", new, "--against", old, "--from", actions)
    assert "such as: " in done.stdout
    assert not {"\u001b", "\u202e", "\u0007"} & set(done.stdout + done.stderr)


def test_the_bar_is_for_terminals(tmp_path: Path, old: Path) -> None:
    """It goes to standard error; what is printed stays as it is."""
    actions = exported(tmp_path, *(line(n) for n in range(50)))
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [SCRIPT, "policy", "replay", "--against", old, "--from", actions, "--json"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        timeout=60,
        check=True,
    )
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "judging" in shown
    assert "100%" in shown
    assert json.loads(done.stdout)["actions"] == 50


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="it looks at /proc")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_the_second_process_ends_with_the_command(
    how: signal.Signals, tmp_path: Path, old: Path
) -> None:
    """Interrupted from a terminal, or killed."""
    actions = exported(tmp_path, *(line(n) for n in range(20_000)))
    process = subprocess.Popen(
        [SCRIPT, "policy", "replay", "--against", old, "--from", actions],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        # What a shell starts in the background ignores it, and so do those it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    eventually(lambda: len(children.read_text().split()) == 2, "the second process has started")
    started = [int(pid) for pid in children.read_text().split()]
    if how is signal.SIGINT:
        os.killpg(process.pid, how)
    else:
        process.kill()
    assert process.wait(30) != 0
    eventually(lambda: not any(map(is_alive, started)), "no process is left")


# With a store.


@pytest.fixture
def store_url(store_server: ValkeyServer) -> str:
    return f"{store_server.url.rpartition('/')[0]}/{DATABASE}"


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    made = Store(store_url)
    await made.redis.flushdb()
    yield made
    await made.close()


def lived(minutes: float, amount: str, **more: Any) -> Lived:
    submission = ActionSubmission(
        agent_id="trader", action_type="pay", context={"amount": amount, "currency": "EUR"}
    )
    return Lived(submission, MORNING + timedelta(minutes=minutes), **more)


DAY = [
    lived(0, "60"),
    lived(10, "60"),
    lived(20, "70", response=ResponseKind.REJECT),
    lived(30, "80", response=ResponseKind.MODIFY, modifications={"amount": "10"}),
    lived(40, "90", response=None),
]


async def reader_of(store: Store, url: str) -> str:
    """Return where the store is for somebody who may read and nothing else."""
    rights = ["reset", "on", ">secret", "~*", "+@read", "+@connection", "+time"]
    await store.redis.execute_command("ACL", "SETUSER", "reader", *rights)
    return "redis://reader:secret@" + url.partition("@")[2]


async def test_what_is_recorded_is_judged_once_more_and_not_touched(
    store: Store, store_url: str, tmp_path: Path, old: Path, new: Path
) -> None:
    """An export says the same as the store; and neither needs a right to write."""
    ids = await record(store, Desk(load_policies(old)), DAY)
    reader = {"SAFEGUARDS_STORE_URL": await reader_of(store, store_url)}
    reader["SAFEGUARDS_STORE_REPLICAS"] = "1"
    from_store = replayed_by_script(new, "--against", old, **reader)
    assert from_store["then"]["verdicts"] == {"require_approval": 4, "allow": 1}
    assert from_store["in_force"]["verdicts"] == {"require_approval": 4, "allow": 1}
    assert from_store["in_force"]["unanswered"] == 1
    assert from_store["changed"]["verdicts"] == {"allow": 5}
    assert from_store["moves"][0]["examples"] == ids[1:4]
    assert from_store["seconds_from"].endswith("3 recorded answers is known")
    path = tmp_path / "exported.jsonl"
    done = script("export", path, **reader)
    assert (done.returncode, done.stdout) == (0, f"5 actions written to {path}\n")
    assert replayed_by_script(new, "--against", old, "--from", path) == from_store


async def test_an_export_tells_what_came_of_each_and_is_for_its_owner_alone(
    store: Store, store_url: str, tmp_path: Path, old: Path
) -> None:
    ids = await record(store, Desk(load_policies(old)), DAY)
    path = tmp_path / "exported.jsonl"
    old_mask = os.umask(0)
    try:
        done = script("export", path, SAFEGUARDS_STORE_URL=store_url)
    finally:
        os.umask(old_mask)
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = [json.loads(one) for one in path.read_text().splitlines()]
    assert [one["id"] for one in lines] == ids
    assert lines[0]["outcome"] == {
        "status": "APPROVED",
        "at": "2026-03-02T09:00:00Z",
        "by": "policy",
    }
    assert [one.get("outcome", {}).get("status") for one in lines] == [
        *("APPROVED", "APPROVED", "REJECTED", "MODIFIED"),
        None,
    ]
    assert lines[3]["outcome"]["context"] == {"amount": "10", "currency": "EUR"}
    assert lines[3]["outcome"]["answer_seconds"] == [30.0]
    assert lines[4]["verdict"] == "require_approval"


async def test_only_what_was_recorded_in_a_time_is_exported(
    store: Store, store_url: str, tmp_path: Path, old: Path
) -> None:
    """From the first moment on, to before the last."""
    days = [lived(24 * 60 * day, "1") for day in range(6)]
    ids = await record(store, Desk(load_policies(old)), days)
    path = tmp_path / "exported.jsonl"
    times = ("--since", "2026-03-03 09:00:00", "--until", "2026-03-05 09:00:00")
    done = script("export", path, *times, SAFEGUARDS_STORE_URL=store_url)
    assert done.returncode == 0, done.stderr
    assert [json.loads(one)["id"] for one in path.read_text().splitlines()] == ids[1:3]


async def test_an_export_overwrites_nothing(
    store: Store, store_url: str, tmp_path: Path, old: Path
) -> None:
    path = tmp_path / "exported.jsonl"
    path.write_text("mine")
    done = script("export", path, SAFEGUARDS_STORE_URL=store_url)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert path.read_text() == "mine"


def test_a_store_that_is_away_is_one_line_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "exported.jsonl"
    done = script("export", path, SAFEGUARDS_STORE_URL="redis://127.0.0.1:1/0")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert not path.exists()


async def test_a_store_without_an_action_is_an_error(
    store: Store, store_url: str, old: Path
) -> None:
    done = script("replay", "--against", old, SAFEGUARDS_STORE_URL=store_url)
    assert done.returncode == 1
    assert done.stderr == "safeguards: the store: no action of that time\n"
