"""A safeguard of one's own in a process of its own: what it does wrong harms nobody else."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from safeguards import background_loop
from safeguards.errors import ConfigurationError
from safeguards.types import AlertSeverity, SafetyAlert
from safeguards_runtime import isolation, isolation_outages
from safeguards_runtime.isolated_process import IsolatedError
from safeguards_runtime.isolation import Isolated, IsolatedTimeoutError
from safeguards_runtime.isolation_outages import Outages
from safeguards_runtime.safeguard_kinds import KINDS
from tests import installing, misbehaving_safeguards
from tests.deploy.running import eventually, is_alive

Make = Callable[..., Isolated]


def is_gone(process_id: int) -> bool:
    return not is_alive(process_id)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the safeguards that misbehave are installed."""
    kinds = misbehaving_safeguards.KINDS
    folder = installing.register(tmp_path / "packages", "misbehaving", group=KINDS.group, **kinds)
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture
async def make(installed: Path) -> AsyncIterator[Make]:
    made: list[Isolated] = []

    def one(time_limit_seconds: float = 5.0, **config: Any) -> Isolated:
        made.append(Isolated("misbehaving", config, time_limit_seconds))
        return made[-1]

    yield one
    for isolated in made:
        await isolated.aclose()


async def do(
    isolated: Isolated, deed: str, value: Any = None, *, agent_id: str = "clerk"
) -> list[SafetyAlert]:
    return await isolated.check(agent_id, {"action_type": "act", "do": deed, "value": value})


async def process_of(isolated: Isolated) -> int:
    [alert] = await do(isolated, "process")
    return int(alert.description)


async def test_alerts_cross_as_they_are(make: Make) -> None:
    """Their text visible, whatever it was made of; and all that is no JSON as text."""
    isolated = make()
    assert await do(isolated, "pass") == []
    assert await do(isolated, "find", "pay\u202e to\x00 ü") == [
        SafetyAlert(
            "Found", "pay⟨U+202E⟩ to⟨U+0000⟩ ü", AlertSeverity.WARNING, {"on": "2026-01-01"}
        )
    ]


async def test_the_configuration_crosses_as_the_file_has_it(make: Make) -> None:
    """Dates and numbers as YAML has them, not as text."""
    config = {"at_most": 1.5, "names": ["é", None], "until": date(2026, 1, 1)}
    [alert] = await do(make(**config), "configuration")
    assert alert.description == repr(config)


@pytest.mark.parametrize("limit", [0, -1, 10.1, float("nan"), float("inf")])
def test_a_time_limit_has_limits(limit: float) -> None:
    with pytest.raises(ConfigurationError, match="a time limit is more than 0 and at most 10 s"):
        Isolated("misbehaving", {}, limit)


def test_a_configuration_is_what_yaml_can_hold() -> None:
    with pytest.raises(ConfigurationError, match="'misbehaving' is not what YAML can hold"):
        Isolated("misbehaving", {"x": object()})


async def test_what_goes_wrong_in_a_check_is_named_and_the_process_lives_on(make: Make) -> None:
    isolated = make()
    process = await process_of(isolated)
    for deed, value, said in (
        ("raise", None, r"raised ZeroDivisionError \(misbehaving_safeguards.py:\d+\)"),
        ("quit", 0, r"raised SystemExit \(misbehaving_safeguards.py:\d+\)"),
        ("recurse", 0, r"raised RecursionError \(misbehaving_safeguards.py:\d+\)"),
        ("nothing", None, "answered with NoneType, which is no list of alerts"),
        ("texts", None, "answered with str, which is no alert"),
        ("many", 10_000, "answered with 10000 alerts: 100 are the most"),
        ("large", 10_000_000, "answered with more than 128 KiB"),
        ("wrong", None, r"answered with what is no alert \(alerts/0/title: string_type\)"),
        ("large", 20_001, r"answered with what is no alert .*description: string_too_long"),
        ("endless", None, "answered with an alert that cannot be written as JSON"),
    ):
        with pytest.raises(IsolatedError, match=f"^{said}") as caught:
            await do(isolated, deed, value)
        assert not isinstance(caught.value, TimeoutError)
    assert await process_of(isolated) == process
    assert len(await do(isolated, "many", 100)) == 100


@pytest.mark.parametrize(
    ("deed", "value", "said"),
    [
        ("exit", 3, "ended itself with status 3"),
        ("exit", 0, "ended itself with status 0"),
        ("crash", None, "crashed (SIGSEGV)"),
        ("leak", 20, "needs more than 1024 MiB"),
    ],
)
async def test_a_process_that_is_lost_is_started_anew(
    deed: str, value: Any, said: str, make: Make
) -> None:
    isolated = make()
    process = await process_of(isolated)
    with pytest.raises(IsolatedError) as caught:
        await do(isolated, deed, value)
    assert str(caught.value) == said
    assert await process_of(isolated) != process
    eventually(lambda: not is_alive(process), "the first one is gone")


@pytest.mark.parametrize("deed", ["hang", "hold"])
async def test_one_that_hangs_is_ended_in_time_and_holds_up_nobody(deed: str, make: Make) -> None:
    """Also one that lets no other line of Python run."""
    hanging, other = make(0.5), make()
    process = await process_of(hanging)
    await do(other, "pass")
    begin = time.monotonic()
    waiting = asyncio.create_task(do(hanging, deed))
    while not waiting.done():
        await do(other, "pass")
    assert 0.4 < time.monotonic() - begin < 2
    with pytest.raises(IsolatedTimeoutError, match=r"^did not answer within 0\.5 s$") as caught:
        await waiting
    assert isinstance(caught.value, TimeoutError)
    eventually(lambda: not is_alive(process), "the process is gone")
    assert await do(hanging, "pass") == []


async def test_the_start_of_a_process_is_nobodys_time(make: Make) -> None:
    """Many wait for it, each with a limit that it takes far longer than."""
    isolated = make(0.1)
    found = await asyncio.gather(*(do(isolated, "find", str(n)) for n in range(20)))
    assert [alert.description for (alert,) in found] == [str(n) for n in range(20)]


async def test_checks_wait_for_one_another_but_not_for_ever(make: Make) -> None:
    isolated = make(1.0)
    await do(isolated, "pass")
    begin = time.monotonic()
    slow = (do(isolated, "sleep", 0.4) for _ in range(10))
    found = await asyncio.gather(*slow, return_exceptions=True)
    assert time.monotonic() - begin < 4
    busy = [str(error) for error in found if isinstance(error, IsolatedError)]
    assert set(busy) == {"was busy with others for 2 s"}
    assert 3 <= len(busy) <= 7
    assert found.count([]) == 10 - len(busy)


async def test_one_that_hangs_again_and_again_costs_nobody_time(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Out of service after three, those that wait included; then one check tries again."""
    monkeypatch.setattr(isolation_outages, "OUT_OF_SERVICE_SECONDS", 2.0)
    isolated = make(0.2)
    for _ in range(2):
        with pytest.raises(IsolatedTimeoutError):
            await do(isolated, "hang")
    third = asyncio.create_task(do(isolated, "hang"))
    await asyncio.sleep(0)
    waiting = [asyncio.create_task(do(isolated, "pass")) for _ in range(3)]
    with pytest.raises(IsolatedTimeoutError):
        await third
    begin = time.monotonic()
    for task in (*waiting, do(isolated, "pass")):
        with pytest.raises(IsolatedError, match=r"^is out of service for [12] s: it failed again"):
            await task
    assert time.monotonic() - begin < 0.1

    await asyncio.sleep(2.0)
    trying = asyncio.create_task(do(isolated, "hang"))
    await asyncio.sleep(0)
    with pytest.raises(IsolatedError, match="is out of service: one check tries whether"):
        await do(isolated, "pass")
    with pytest.raises(IsolatedTimeoutError):
        await trying
    with pytest.raises(IsolatedError, match="is out of service for"):
        await do(isolated, "pass")
    await asyncio.sleep(2.0)
    assert await do(isolated, "pass") == []
    with pytest.raises(IsolatedTimeoutError):
        await do(isolated, "hang")
    assert await do(isolated, "pass") == []


async def test_an_agent_that_makes_it_hang_harms_no_other(make: Make) -> None:
    """Neither while it hangs, nor after that: it is out of service for that agent alone."""
    isolated = make(0.5)
    hanging = [asyncio.create_task(do(isolated, "hang", agent_id="bad")) for _ in range(5)]
    await asyncio.sleep(0)
    for _ in range(4):
        assert await do(isolated, "pass", agent_id="good") == []
    said = [str(error) for error in await asyncio.gather(*hanging, return_exceptions=True)]
    assert said[0] == "did not answer within 0.5 s"
    for _ in range(3):
        with pytest.raises(IsolatedError):
            await do(isolated, "hang", agent_id="bad")
    with pytest.raises(IsolatedError, match=r"again and again on actions of this agent$"):
        await do(isolated, "pass", agent_id="bad")
    assert await do(isolated, "pass", agent_id="good") == []


async def test_it_is_out_of_service_for_all_if_it_hangs_for_several(make: Make) -> None:
    isolated = make(0.2)
    for agent_id in ("one", "one", "other"):
        with pytest.raises(IsolatedTimeoutError):
            await do(isolated, "hang", agent_id=agent_id)
    for agent_id in ("one", "other", "third"):
        with pytest.raises(IsolatedError, match=r"^is out of service .* again and again$"):
            await do(isolated, "pass", agent_id=agent_id)


def test_one_agent_alone_does_not_keep_it_out_of_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation_outages, "OUT_OF_SERVICE_SECONDS", 0.0)
    outages = Outages()
    for agent_id in ("bad", "bad", "good"):
        outages.lost(agent_id)
    assert outages.is_on_trial
    monkeypatch.setattr(isolation_outages, "OUT_OF_SERVICE_SECONDS", 60.0)
    for _ in range(4):
        outages.lost("bad")
    outages.refuse("good")
    with pytest.raises(IsolatedError):
        outages.refuse("bad")
    outages.answered("good")
    assert not outages.is_on_trial
    assert outages.is_on_trial_for("bad")


async def test_one_that_cannot_be_loaded_is_not_tried_for_every_action(make: Make) -> None:
    for config, said in (
        ({"do": "raise"}, "could not be loaded: the safeguard 'misbehaving' could not be init"),
        ({"do": "exit", "value": 4}, "ended itself with status 4 while it was loaded"),
    ):
        isolated = make(**config)
        with pytest.raises(IsolatedError, match=f"^{said}"):
            await do(isolated, "pass")
        with pytest.raises(IsolatedError, match=r"^is out of service for"):
            await do(isolated, "pass", agent_id="another")


async def test_one_that_hangs_while_it_is_loaded_is_ended(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "READY_SECONDS", 3.0)
    with pytest.raises(IsolatedError, match=r"^was not ready within 3 s"):
        await do(make(do="hang"), "pass")


async def test_what_it_prints_and_reads_disturbs_nothing(make: Make) -> None:
    isolated = make()
    [alert] = await do(isolated, "print", 100_000)
    assert alert.description == "read ''"
    assert await do(isolated, "pass") == []


async def test_it_sees_no_settings(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFEGUARDS_STORE_URL", "redis://:s3cret@store")
    monkeypatch.setenv("SLACK_TOKEN", "s3cret")
    monkeypatch.setenv("TZ", "UTC")
    [alert] = await do(make(), "environment")
    names = alert.description.split()
    assert {"PATH", "PYTHONPATH", "TZ"} <= set(names)
    assert not [name for name in names if "SAFEGUARDS" in name or "SLACK" in name]


async def test_an_answer_that_nobody_waits_for_is_never_the_next_ones(make: Make) -> None:
    isolated = make()
    await do(isolated, "pass")
    given_up = asyncio.create_task(do(isolated, "sleep", 0.2))
    await asyncio.sleep(0.05)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    [alert] = await do(isolated, "find", "mine")
    assert alert.description == "mine"


async def test_what_it_has_started_ends_with_it(make: Make, tmp_path: Path) -> None:
    started = tmp_path / "started"
    with pytest.raises(IsolatedTimeoutError):
        await do(make(1.0), "start", str(started))
    for process in map(int, started.read_text().split()):
        eventually(partial(is_gone, process), "it is gone")


async def test_closing_lets_what_was_begun_come_to_its_end(make: Make) -> None:
    """And a check that comes too late is answered, by a process that ends after it."""
    isolated = make()
    process = await process_of(isolated)
    under_way = [asyncio.create_task(do(isolated, "sleep", 0.1)) for _ in range(3)]
    await asyncio.sleep(0)
    await isolated.aclose()
    assert [task.result() for task in under_way] == [[], [], []]
    assert not is_alive(process)
    later = await process_of(isolated)
    assert later != process
    assert not is_alive(later)


def test_it_serves_any_loop_and_is_closed_on_all(installed: Path) -> None:
    """As in a worker, on its background loop; and as in a command, on one that ends."""
    isolated = Isolated("misbehaving", {}, 5.0)
    process = background_loop.run(process_of(isolated))

    async def command() -> int:
        async with aclosing(isolated):
            return await process_of(isolated)

    assert asyncio.run(command()) != process
    assert background_loop.run(process_of(isolated)) == process
    isolated.close()
    assert not is_alive(process)


WORKER = """
import asyncio, sys
from safeguards import background_loop
from safeguards_runtime.isolation import Isolated

idle, busy = (Isolated("misbehaving", {}, 2.0) for _ in range(2))

async def main():
    for one in (idle, busy):
        [alert] = await one.check("clerk", {"do": "process"})
        print(alert.description, flush=True)
    if sys.argv[1] != "idle":
        asyncio.get_running_loop().create_task(busy.check("clerk", {"do": sys.argv[1]}))

background_loop.run(main())
if sys.argv[2] == "wait":
    sys.stdin.read()
"""


@pytest.mark.parametrize("deed", ["idle", "hang", "hold"])
@pytest.mark.parametrize("ending", ["SIGKILL", "SIGTERM", "end"])
def test_nothing_outlives_the_worker(deed: str, ending: str, installed: Path) -> None:
    """Killed while a safeguard hangs, too; and a worker that just ends says nothing of it."""
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, deed, "end" if ending == "end" else "wait"],
        env={**os.environ, "PYTHONPATH": str(installed)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with worker:
        assert worker.stdout is not None
        assert worker.stderr is not None
        processes = [int(worker.stdout.readline()) for _ in range(2)]
        if ending != "end":
            assert all(map(is_alive, processes))
            time.sleep(0.1)
            worker.send_signal(signal.Signals[ending])
        worker.wait(10)
        assert worker.stderr.read() == ""
    eventually(lambda: not any(map(is_alive, processes)), "both are gone")
