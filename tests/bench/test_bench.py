"""The short form of `make bench`: that it measures and reports, never how fast."""

from __future__ import annotations

import json
import smtplib
import subprocess
import sys
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx2
import pytest
import redis

from deploy.valkey import ValkeyServer
from safeguards_runtime.records import Approval, Delivery
from safeguards_runtime.records import delivery as delivery_rules
from safeguards_runtime.store import Store
from services.notifier.planning import plan
from services.notifier.routing import World
from tests.bench import clones, work
from tests.bench.clones import Template
from tests.bench.floor import Floor
from tests.bench.report import Figure, Goal, percentile, print_table
from tests.bench.sinks import Sinks

ALONE = {
    "idle stack, resident memory": "stated",
    "idle stack, share of one core": "at most 2.0 %",
    "webhooks to receivers of 50 ms, 1 notifier": "stated",
    "actions replayed: 2,000 by the command": "at most 60.0 s",
    "memory in the store for a pending approval of 1 kB": "at most 3.0 kB",
}
COMPARED = {
    "growth of decision latency, 3,000 pending, p50": "at most 1.3x",
    "growth of the list's first page, 3,000 pending, p50": "at most 1.3x",
    "growth of the console's list, 3,000 pending, p50": "at most 1.3x",
    "decision latency, 1 waiting, p50": "at most 1.2x",
    "decision latency, 1 waiting, p99": "at most 2.0x",
    "decision latency, 20 waiting, p50": "at most 1.2x",
    "decision latency, 20 waiting, p99": "at most 2.0x",
    "verdict latency of an allowed action, p50": "at most 1.3x",
    "open-and-decide cycles, 20 open": "at least 0.9x",
    "webhooks delivered by one notifier": "at least 2.0x",
    "webhooks to receivers of 50 ms, 2 notifiers": "at least 1.8x",
    "messages posted to Slack by one notifier": "at least 1.0x",
    "mails delivered by one notifier": "at least 3.0x",
    "actions evaluated by one evaluator": "at least 1.0x",
    "actions replayed: by two files, in process": "at least 0.5x",
    "evaluation by many policies: 50, in process": "at least 0.5x",
    "evaluation by many policies: 1,000, in process": "at least 0.8x",
    "evaluation by many policies: 50, one evaluator": "at least 0.5x",
    "evaluation by many policies: 1,000, one evaluator": "at least 0.8x",
}


def test_the_short_form_prints_every_row_and_writes_json(tmp_path: Path) -> None:
    """`python -m tests.bench --quick` runs every side to the end."""
    written = tmp_path / "made" / "bench.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--quick", "--json", str(written)],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(written.read_text())
    goals = {figure["name"]: figure["goal"] or "stated" for figure in report["figures"]}
    assert goals == ALONE | COMPARED
    for figure in report["figures"]:
        assert figure["name"] in done.stdout
        assert figure["ours"] >= 0
        if figure["name"] in ALONE:
            assert (figure["base"], figure["ratio"]) == (None, None)
        else:
            assert figure["ratio"] == figure["ours"] / figure["base"] > 0
            turns = {side: len(values) for side, values in figure["rounds"].items()}
            assert turns == dict.fromkeys(("ours", "base"), report["plan"]["rounds"])


def test_only_what_is_asked_for_is_measured(tmp_path: Path) -> None:
    """A word that no topic has is an error, before anything is started."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--only", "nonsense"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "none of the topics has such a word" in done.stderr


def test_the_floor_wakes_who_waits_for_one_and_who_waits_for_all(tmp_path: Path) -> None:
    """Both of its long polls hear a response; one that nobody sends is not heard."""
    with Floor(tmp_path) as floor, httpx2.Client(base_url=floor.url, timeout=30) as http:
        http.post("/open/first", json={"title": "May I?"}).raise_for_status()
        http.post("/respond/first", json={"response": "approve"}).raise_for_status()
        assert http.get("/wait/first?wait=10").json() == {"id": "first", "heard": True}
        assert http.get("/wait/second").json() == {"id": "second", "heard": False}
        assert http.get("/wait?after=0&wait=10").json() == {"ids": ["first"], "cursor": 1}
        assert http.get("/wait?after=1").json() == {"ids": [], "cursor": 1}


def test_the_receivers_count_what_they_take(tmp_path: Path) -> None:
    """Posts at once and posts that take their time, and mails, several over one connection."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "a@example.com", "b@example.com", "Hello"
    mail.set_content("A line.\n.\nAnother, after one that is a dot.\n")
    with Sinks(tmp_path) as sinks:
        with httpx2.Client(timeout=30) as http:
            for url in (sinks.url, sinks.url, sinks.slow_url):
                assert http.post(url, content=b"x" * 100_000).status_code == 200
        with smtplib.SMTP("127.0.0.1", sinks.smtp_port, "localhost", timeout=30) as smtp:
            for _ in range(2):
                assert smtp.send_message(mail) == {}
        assert sinks.counts() == {"posts": 3, "mails": 2}


async def test_a_clone_is_what_is_really_written_but_for_its_ids(tmp_path: Path) -> None:
    """Of two approvals written alike by the rules, a clone of one equals the other."""
    with ValkeyServer.store(tmp_path) as server:
        store = Store(server.url)
        now = await store.now()
        first, second = [await _told_of(store, now) for _ in range(2)]
        template = await Template.of(store, first)
        (clone,) = clones.write(server.url, template, 1)
        await store.close()
        with redis.Redis.from_url(server.url, decode_responses=True) as client:
            whole = _everything(client)
            assert _about(whole, clone) == _about(whole, second)
            assert len(_about(whole, clone)) > 20
            clones.remove(server.url, template, [clone])
            left = _everything(client)
            assert left == [line for line in whole if line not in _lines(whole, clone)]
            assert client.config_get("appendfsync") == {"appendfsync": "always"}


async def _told_of(store: Store, now: Any) -> str:
    """Write an approval of which two reviewers have been told; return its id."""
    (written,) = await store.commit([[work.request("email", now)]])
    assert written
    asked = written[0]
    assert isinstance(asked, Approval)
    changes = plan(asked, World(work.ROUTES, work.DIRECTORY, now))
    assert changes
    (records,) = await store.commit([changes])
    ids = [record.id for record in records or () if isinstance(record, Delivery)]
    await store.apply_all(ids, Delivery, lambda record, _: delivery_rules.start(record, now, None))
    await store.apply_all(ids, Delivery, lambda record, _: delivery_rules.succeed(record, 1, now))
    return asked.id


def _everything(client: Any) -> list[str]:
    """Return all that is in a store, one line for each field or member."""
    lines = []
    for key in client.scan_iter():
        kind = client.type(key)
        if kind == "stream":  # what has happened, not what there is
            continue
        if kind == "hash":
            entries = client.hgetall(key)
        elif kind == "zset":
            entries = dict(client.zrange(key, 0, -1, withscores=True))
        else:
            entries = {"": client.get(key)}
        lines += [f"{key} {name} {value}" for name, value in entries.items()]
    return sorted(lines)


def _names(lines: list[str], approval_id: str) -> dict[str, str]:
    """Return the ids of an approval and its deliveries, each with a name that others' have too."""
    names = {approval_id: "THE-APPROVAL"}
    for line in lines:
        key, name, value = line.split(" ", 2)
        if name == "b" and f'"source_id":"{approval_id}"' in value:
            names[key.removeprefix("sg:")] = f"THE-DELIVERY-TO-{json.loads(value)['reviewer_id']}"
    return names


def _lines(lines: list[str], approval_id: str) -> list[str]:
    names = _names(lines, approval_id)
    return [line for line in lines if any(name in line for name in names)]


def _about(lines: list[str], approval_id: str) -> list[str]:
    """Return the lines about an approval, with names in the place of its ids."""
    found = "\n".join(_lines(lines, approval_id))
    for record_id, name in _names(lines, approval_id).items():
        found = found.replace(record_id, name)
    return sorted(found.split("\n"))


def test_a_goal_is_a_limit_on_the_ratio_or_on_what_stands_alone() -> None:
    """A latency may be at most so much of the floor's, a throughput must be at least so much."""
    latency = Figure("latency", "ms", ours=3.0, base=2.0, goal=Goal.at_most(1.2))
    throughput = Figure("cycles", "1/s", ours=3.0, base=2.0, goal=Goal.at_least(0.9))
    alone = Figure("memory", "kB", ours=3.0, goal=Goal.at_most(4.0))
    stated = Figure("memory", "kB", ours=3.0)
    assert latency.ratio == throughput.ratio == 1.5
    assert (alone.ratio, stated.ratio) == (None, None)
    assert (latency.is_met, throughput.is_met, alone.is_met) == (False, True, True)
    assert stated.is_met is None
    assert (latency.aim, alone.aim, stated.aim) == ("at most 1.2x", "at most 4.0 kB", "")


def test_the_table_tells_what_is_missed_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    """What a goal allows for is told beside it; a base that is no floor is named below."""
    print_table(
        [
            Figure(
                "posts", "1/s", 150.0, 100.0, Goal.at_least(1.8), limited_by="the cores are full"
            ),
            Figure("pages", "ms", 2.5, 2.0, Goal.at_most(1.3), base_name="that with few"),
            Figure("memory", "MB", 500.0, note="9 processes"),
        ]
    )
    printed = capsys.readouterr().out
    assert "at least 1.8x: missed, the cores are full" in printed
    assert "at most 1.3x: met" in printed
    assert "pages: beside that with few" in printed
    assert "stated" in printed
    assert "memory: 9 processes" in printed


def test_percentiles_are_values_that_were_measured() -> None:
    """By the nearest rank: of a hundred values the p99 is the second largest."""
    values = [float(value) for value in range(100, 0, -1)]
    assert percentile(values, 0.5) == 50.0
    assert percentile(values, 0.99) == 99.0
    assert percentile([7.0], 0.99) == 7.0
