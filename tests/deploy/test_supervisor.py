"""The supervisor, with real processes: order, restarts, and nothing left behind."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.merged_log import MergedLog
from deploy.supervisor import run_command
from tests.deploy.running import DEADLINE_SECONDS, Running, eventually, is_alive

LIVES = "import os, time; print('pid', os.getpid()); time.sleep(600)"
IGNORES_SIGTERM = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {LIVES}"
STUBBORN_CHILD = IGNORES_SIGTERM.replace("'pid'", "'child'")
HAS_A_CHILD = (
    "import os, subprocess, sys; print('pid', os.getpid());"
    f"subprocess.run([sys.executable, '-c', {STUBBORN_CHILD!r}])"
)
QUICK = {"backoff_seconds": 0.1, "poll_seconds": 0.02}


def stack(tmp_path: Path, *stages: list[dict[str, Any]], **timing: float) -> Running:
    description = tmp_path / "stack.json"
    description.write_text(json.dumps({"stages": stages, "timing": QUICK | timing}))
    return Running(["-m", "tests.deploy.stack_of_scripts", str(description)])


def lives(name: str) -> dict[str, Any]:
    return {"name": name, "code": LIVES}


def assert_ends(*process_ids: int) -> None:
    for process_id in process_ids:
        eventually(lambda: not is_alive(process_id), f"end of process {process_id}")  # noqa: B023


def test_a_stage_starts_when_the_one_before_it_is_ready(tmp_path: Path) -> None:
    ready_file = tmp_path / "ready"
    first = {**lives("first"), "ready_file": str(ready_file)}
    with stack(tmp_path, [first], [lives("second")]) as running:
        running.process_id("first")
        assert "second" not in running.output
        ready_file.touch()
        assert running.position("first is ready") < running.position(r"second +\| pid")
        running.position("started")


def test_a_killed_child_starts_again_later_each_time(tmp_path: Path) -> None:
    with stack(tmp_path, [lives("worker")]) as running:
        running.position("started")
        for death, delay in enumerate(("0.1", "0.2", "0.4"), start=1):
            os.kill(running.process_id("worker", death), signal.SIGKILL)
            running.position(
                rf"stack +\| worker ended \(killed by SIGKILL\); it starts again in {delay} s"
            )
        assert is_alive(running.process_id("worker", 4))


def test_the_wait_before_a_restart_has_a_limit(tmp_path: Path) -> None:
    with stack(tmp_path, [lives("worker")], max_backoff_seconds=0.15) as running:
        running.position("started")
        for death in (1, 2, 3):
            os.kill(running.process_id("worker", death), signal.SIGKILL)
        running.position("it starts again in 0.15 s", 2)


def test_a_child_that_was_up_long_enough_starts_again_soon(tmp_path: Path) -> None:
    with stack(tmp_path, [lives("worker")], steady_seconds=0) as running:
        running.position("started")
        for death in (1, 2, 3):
            os.kill(running.process_id("worker", death), signal.SIGKILL)
            running.position("it starts again in 0.1 s", death)


def test_an_exit_code_is_named(tmp_path: Path) -> None:
    code = "import sys; sys.stdin.read(); sys.exit(7)"  # its standard input is empty
    with stack(tmp_path, [{"name": "worker", "code": code}]) as running:
        running.position(r"worker ended \(exit code 7\)")


def test_lines_of_all_children_are_merged_under_their_names(tmp_path: Path) -> None:
    talks = (
        "import sys, time; print('out'); print('err', file=sys.stderr);"
        "print('\\x1b[2Jsteer'); print('x' * 200_000); sys.stdout.write('rest')"
    )
    with stack(tmp_path, [lives("a"), {"name": "longer", "code": talks}]) as running:
        for text in ("out", "err", r"⟨U\+001B⟩\[2Jsteer", "rest"):
            running.position(rf"^\d\d:\d\d:\d\d longer \| {text}$")
        running.position(r"^\d\d:\d\d:\d\d a      \| pid \d+$")
        long_lines = [line for line in running.lines if re.search(r"\| x+$", line)]
        assert sum(line.count("x") for line in long_lines) >= 200_000


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_the_stages_in_reverse_and_leaves_nobody(
    tmp_path: Path, number: signal.Signals
) -> None:
    parent = {"name": "parent", "code": HAS_A_CHILD}
    with stack(tmp_path, [lives("store")], [parent]) as running:
        pids = [running.process_id("store"), running.process_id("parent")]
        pids.append(int(running.match(r"\| child (\d+)").group(1)))
        running.position("started")
        running.send(number)
        assert running.wait() == 0
        assert running.position("stopping parent") < running.position("stopping store")
        assert_ends(*pids)


def test_a_signal_during_start_up_stops_what_has_started(tmp_path: Path) -> None:
    never = {**lives("never"), "ready_file": str(tmp_path / "never")}
    with stack(tmp_path, [lives("store")], [never], [lives("later")]) as running:
        pids = [running.process_id("store"), running.process_id("never")]
        running.send(signal.SIGTERM)
        assert running.wait() == 0
        assert_ends(*pids)
        assert "later" not in running.output


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    stubborn = {"name": "stubborn", "code": IGNORES_SIGTERM}
    with stack(tmp_path, [stubborn], stop_seconds=0.3) as running:
        process_id = running.process_id("stubborn")
        running.position("started")
        running.send(signal.SIGTERM)
        assert running.wait() == 0
        running.position(r"stubborn did not stop within 0\.3 s; killed")
        assert_ends(process_id)


def test_a_second_interrupt_kills_at_once(tmp_path: Path) -> None:
    stubborn = {"name": "stubborn", "code": IGNORES_SIGTERM}
    with stack(tmp_path, [lives("store")], [stubborn], stop_seconds=600) as running:
        pids = [running.process_id("store"), running.process_id("stubborn")]
        running.position("started")
        running.send(signal.SIGINT)
        running.position("stopping stubborn")
        running.send(signal.SIGINT)
        assert running.wait() == 1
        assert_ends(*pids)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of a parent's death")
def test_a_killed_supervisor_leaves_nobody(tmp_path: Path) -> None:
    with stack(tmp_path, [lives("store"), lives("worker")]) as running:
        pids = [running.process_id("store"), running.process_id("worker")]
        running.position("started")
        running.send(signal.SIGKILL)
        assert running.wait() == -signal.SIGKILL
        assert_ends(*pids)


def test_a_child_that_keeps_dying_fails_the_start_with_its_last_words(tmp_path: Path) -> None:
    dying = {"name": "dying", "code": "import sys; sys.exit('no such setting')"}
    dying["ready_file"] = str(tmp_path / "never")
    with stack(tmp_path, [lives("store")], [dying]) as running:
        process_id = running.process_id("store")
        assert running.wait() == 1
        running.position(r"error: dying ended 3 times in a row during start-up \(exit code 1\)")
        assert running.lines[-1] == "    no such setting"
        assert_ends(process_id)


def test_a_child_that_is_not_ready_in_time_fails_the_start(tmp_path: Path) -> None:
    slow = {**lives("slow"), "ready_file": str(tmp_path / "never")}
    with stack(tmp_path, [slow], ready_seconds=1) as running:
        process_id = running.process_id("slow")
        assert running.wait() == 1
        running.position(r"error: slow was not ready within 1 s\. Its last lines:")
        assert_ends(process_id)


def test_a_log_that_nobody_reads_any_more_stops_the_stack(tmp_path: Path) -> None:
    pids = tmp_path / "pid"
    code = (
        f"import os, time; open({str(pids)!r}, 'w').write(str(os.getpid()))\n"
        "while True: print('still here'); time.sleep(0.05)"
    )
    description = tmp_path / "stack.json"
    stages = [[{"name": "chatty", "code": code}]]
    description.write_text(json.dumps({"stages": stages, "timing": QUICK}))
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.deploy.stack_of_scripts", str(description)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    process.stdout.readline()
    eventually(lambda: pids.exists() and bool(pids.read_text()), "the child's start")
    process.stdout.close()
    assert process.wait(DEADLINE_SECONDS) != 0
    assert_ends(int(pids.read_text()))


async def test_a_command_returns_what_it_printed() -> None:
    argv = (sys.executable, "-c", "import os; print(os.environ['WORD'])")
    assert await run_command(argv, {"WORD": "heard"}, seconds=20) == "heard\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_names_are_coloured_on_a_terminal_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured, plain, file = Terminal(), Terminal(), io.StringIO()
    MergedLog(coloured, ["gateway"]).line("gateway", "up")
    MergedLog(file, ["gateway"]).line("gateway", "up")
    monkeypatch.setenv("NO_COLOR", "1")
    MergedLog(plain, ["gateway"]).line("gateway", "up")
    assert "\x1b[36mgateway\x1b[0m | up" in coloured.getvalue()
    assert "\x1b" not in plain.getvalue() + file.getvalue()
