"""The short form of `make bench`: that it measures and reports, never how fast."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import httpx2

from tests.bench.floor import Floor
from tests.bench.report import Figure, Goal, percentile

ROWS = [
    f"decision latency, {waiting} waiting, {word}" for waiting in (1, 20) for word in ("p50", "p99")
]


def test_the_short_form_prints_every_row_and_writes_json(tmp_path: Path) -> None:
    """`python -m tests.bench --quick` runs both sides to the end."""
    written = tmp_path / "made" / "bench.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--quick", "--json", str(written)],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(written.read_text())
    assert [figure["name"] for figure in report["figures"]] == ROWS
    for figure in report["figures"]:
        assert figure["name"] in done.stdout
        assert min(figure["ours"], figure["floor"], figure["ratio"]) > 0
        assert {side: len(turns) for side, turns in figure["rounds"].items()} == {
            "ours": report["plan"]["rounds"],
            "floor": report["plan"]["rounds"],
        }


def test_the_floor_wakes_who_waits_for_one_and_who_waits_for_all(tmp_path: Path) -> None:
    """Both of its long polls hear a response; one that nobody sends is not heard."""
    with Floor(tmp_path) as floor, httpx2.Client(base_url=floor.url, timeout=30) as http:
        http.post("/respond/first", json={"response": "approve"}).raise_for_status()
        assert http.get("/wait/first?wait=10").json() == {"id": "first", "heard": True}
        assert http.get("/wait/second").json() == {"id": "second", "heard": False}
        assert http.get("/wait?after=0&wait=10").json() == {"ids": ["first"], "cursor": 1}
        assert http.get("/wait?after=1").json() == {"ids": [], "cursor": 1}


def test_a_goal_is_a_limit_on_the_ratio() -> None:
    """A latency may be at most so much of the floor's, a throughput must be at least so much."""
    latency = Figure("latency", "ms", ours=3.0, floor=2.0, goal=Goal.at_most(1.2))
    throughput = Figure("cycles", "1/s", ours=3.0, floor=2.0, goal=Goal.at_least(0.9))
    assert latency.ratio == throughput.ratio == 1.5
    assert not latency.is_met
    assert throughput.is_met


def test_percentiles_are_values_that_were_measured() -> None:
    """By the nearest rank: of a hundred values the p99 is the second largest."""
    values = [float(value) for value in range(100, 0, -1)]
    assert percentile(values, 0.5) == 50.0
    assert percentile(values, 0.99) == 99.0
    assert percentile([7.0], 0.99) == 7.0
