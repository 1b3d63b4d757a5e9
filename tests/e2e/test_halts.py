"""The kill switch: once a halt is acknowledged nothing of it is allowed, whoever judges it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import httpx2
import pytest

from safeguards import Safeguards
from safeguards.contracts import Verdict
from safeguards.identifiers import twin_id
from safeguards.types import ActionStatus
from safeguards_runtime.records import Change, Halts
from safeguards_runtime.records.halts import HALTS_ID, Subject, halt, resume
from safeguards_runtime.store import Store, trail
from safeguards_runtime.topology import Service
from tests.deploy.running import Running, eventually
from tests.e2e.test_amendments import answered, evaluator_stands_still
from tests.e2e.test_windows import judged
from tests.stack import Stack

RULES: dict[str, Any] = {
    "safeguards": {
        "pace": {
            "uses": "velocity",
            "config": {"limits": [{"per": "agent", "over": "hour", "at_most": 100_000}]},
        }
    },
    "policies": [
        {"name": "free", "match": {"action_types": ["pour_*"]}, "verdict": "allow"},
        {"name": "paced", "match": {"action_types": ["paced_*"]}, "safeguards": ["pace"]},
        {
            "name": "asked",
            "match": {"action_types": ["ask_*"]},
            "verdict": "require_approval",
            "approval": "default",
        },
    ],
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("halts")
    with Stack(folder, channels=["email"], timeout_seconds=300, more_rules=RULES) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def second(stack: Stack) -> Iterator[Running]:
    """A second evaluator."""
    with stack.another(Service.EVALUATOR) as running:
        eventually(lambda: "ready" in running.output, "the second evaluator is ready")
        yield running


@pytest.fixture
def agent(stack: Stack) -> Safeguards:
    return stack.client()


@pytest.fixture
def http(stack: Stack) -> Iterator[httpx2.Client]:
    with stack.http() as client:
        yield client


@pytest.fixture
async def store(stack: Stack) -> Any:
    opened = Store(stack.setting("SAFEGUARDS_STORE_URL"))
    yield opened
    await opened.close()


async def halted(store: Store, subject: Subject, name: str) -> None:
    def rule(standing: Halts | None, now: datetime) -> Change | None:
        return halt(standing, subject, name, by="reviewer:alex", reason="Stop.", now=now)

    await store.apply(HALTS_ID, Halts, rule)


async def resumed(store: Store, subject: Subject, name: str) -> None:
    def rule(standing: Halts | None, now: datetime) -> Change | None:
        return resume(standing, subject, name, by="reviewer:alex", now=now)

    await store.apply(HALTS_ID, Halts, rule)


@pytest.mark.parametrize(("subject", "kind"), [("type", "pour_water"), ("agent", "paced_steps")])
async def test_nothing_is_allowed_after_the_acknowledgement(
    agent: Safeguards, store: Store, subject: Subject, kind: str
) -> None:
    """Hundreds are under way when it is halted. Two evaluators judge them, many at once: those that
    count in a window, and those that do not. What the store has written behind the halt allows
    nothing, and denies each that was still to be judged."""
    name = f"crowd-{kind}-{subject}"
    what = name if subject == "agent" else f"{kind[:4]}*"

    def submit(_: int) -> str:
        return agent.submit(name, kind, {"amount": "1"}).id

    def all_of_them() -> list[str]:
        with ThreadPoolExecutor(16) as at_once:
            return list(at_once.map(submit, range(400)))

    submitting = asyncio.create_task(asyncio.to_thread(all_of_them))
    while await store.counted(f"actions:agent:{name}") < 150:
        continue
    await halted(store, subject, what)
    try:
        ids = await submitting
        before, after = await _once_judged(store, frozenset(ids))
    finally:
        await resumed(store, subject, what)
    assert (before["judged_allow"], after["judged_deny"]) == (before.total(), after.total())
    assert before, "none was judged before it was halted: there was no race"
    assert after, "all were judged before it was halted: there was no race"


async def _once_judged(store: Store, ids: frozenset[str]) -> tuple[Counter[str], Counter[str]]:
    """Return how actions were judged before the last halt and after it, once all are; in the order
    in which the store has written it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        before: Counter[str] = Counter()
        after: Counter[str] = Counter()
        async for steps in trail.forward(store):
            likely = [one for one in steps if one.record_id in ids or one.record_id == HALTS_ID]
            lines = await trail.lines(store, likely) if likely else []
            for line in lines:
                if line.event == "halted":
                    before += after
                    after.clear()
                elif line.event.startswith("judged_"):
                    after[line.event] += 1
        if (before + after).total() == len(ids):
            return before, after
        await asyncio.sleep(0.1)
    pytest.fail(f"not all are judged: {before}, {after}")


@contextmanager
def stands_still(process: Running) -> Iterator[None]:
    os.kill(process.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process.process.pid, signal.SIGCONT)


def test_whatever_waits_for_a_verdict_while_it_is_halted_is_denied(
    stack: Stack, second: Running, http: httpx2.Client, agent: Safeguards
) -> None:
    """Also other arguments, which an agent had answered a question with before it was halted."""
    asked = agent.submit("walker", "ask_way", {"to": "Rome"})
    approval_id = twin_id("apr", asked.id)

    def question() -> bool:
        answer = stack.respond(approval_id, response="ask", comments="By train?")
        return answer.status_code == 200

    eventually(question, "it is open")
    with evaluator_stands_still(stack), stands_still(second):
        assert answered(http, approval_id, {"to": "Rome by train"}).status_code == 200
        late = agent.submit("walker", "ask_way", {"to": "Athens"})
        begin(stack, "--type", "ask_way", "--reason", "The roads are closed.")
    try:
        words = "actions of type ask_way are halted by an operator: The roads are closed."
        for request_id in (approval_id, late.id):
            outcome = agent.wait(request_id, 20)
            assert (outcome.status, outcome.decided_by) == (ActionStatus.REJECTED, "policy")
            assert outcome.comments == words
    finally:
        stack.admin("halts", "end", "--type", "ask_way")


def test_people_may_still_decide_on_what_waits(
    stack: Stack, http: httpx2.Client, agent: Safeguards
) -> None:
    """As it is; the agent may not put anything new to them."""
    asked = agent.submit("walker", "ask_price", {"of": "shoes"})
    approval_id = twin_id("apr", asked.id)
    eventually(lambda: http.get(f"/approvals/{approval_id}").status_code == 200, "it is open")
    begin(stack, "--type", "ask_*", "--yes", "--reason", "Sold out.")
    try:
        assert stack.respond(approval_id, response="ask", comments="Which?").status_code == 200
        refused = answered(http, approval_id, {"of": "boots"})
        assert refused.status_code == 403
        assert refused.json()["type"].endswith(":halted")
        assert stack.respond(approval_id, response="approve").status_code == 200
        assert agent.wait(approval_id, 10).status is ActionStatus.APPROVED
    finally:
        stack.admin("halts", "end", "--type", "ask_*")


# --- from the command line ----------------------------------------------------------------------


def begin(stack: Stack, *arguments: str) -> str:
    return stack.admin("halts", "begin", *arguments)


def refused(stack: Stack, *arguments: str, typed: str = "") -> str:
    """Run a command that is refused; return what it says."""
    done = stack.admin_run("halts", *arguments, typed=typed)
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr


def test_an_operator_halts_and_resumes_by_command(stack: Stack, agent: Safeguards) -> None:
    agent.submit("pourer", "pour_tea", {})
    said = begin(stack, "--agent", "pourer", "--reason", "It spills.")
    assert said == "pourer is halted by an operator: It spills.\n"
    wanted = judged(agent, agent.submit("pourer", "pour_tea", {}))
    assert wanted.verdict is Verdict.DENY
    assert wanted.reasons == ("pourer is halted by an operator: It spills.",)
    (row,) = json.loads(stack.admin("halts", "list", "--json"))
    assert (row["agent"], row["by"], row["reason"]) == ("pourer", "operator", "It spills.")
    assert stack.admin("halts", "end", "--agent", "pourer") == "pourer may go on\n"
    assert judged(agent, agent.submit("pourer", "pour_tea", {})).verdict is Verdict.ALLOW
    assert stack.admin("halts", "list") == "none\n"


def test_a_glob_and_what_was_never_seen_are_asked_about(stack: Stack, agent: Safeguards) -> None:
    judged(agent, agent.submit("pourer", "pour_milk", {}))
    asked = refused(stack, "begin", "--type", "pour_*", "--reason", "Wet.", typed="n\n")
    assert "pour_milk" in asked
    assert "none" in refused(stack, "begin", "--type", "pour_milkk", "--reason", "Wet.")
    assert "none" in refused(stack, "begin", "--agent", "pourerr", "--reason", "Wet.")
    assert stack.admin("halts", "list") == "none\n"
    done = stack.admin_run("halts", "begin", "--type", "pour_*", "--reason", "Wet.", typed="y\n")
    try:
        assert done.stdout.strip() == "actions of type pour_* are halted by an operator: Wet."
        assert judged(agent, agent.submit("other", "pourMilk", {})).verdict is Verdict.DENY
    finally:
        stack.admin("halts", "end", "--type", "POUR.*")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["begin", "--type", "pour_milk", "--reason", " "], "say why"),
        (["begin", "--type", "pour_milk", "--reason", "x" * 501], "at most 500 characters"),
        (["begin", "--type", "pour_milk"], "--reason"),
        (["begin", "--reason", "Wet."], "either --agent or --type"),
        (["begin", "--type", "pour\u200b", "--reason", "Wet."], "cannot be seen"),
        (["end", "--type", "pour_milk"], "is not halted"),
    ],
)
def test_bad_input_is_refused_in_words(stack: Stack, arguments: list[str], said: str) -> None:
    assert said in refused(stack, *arguments)


def test_what_is_printed_is_what_is_there(stack: Stack) -> None:
    """No escape sequence of a reason reaches the terminal."""
    begin(stack, "--agent", "x", "--yes", "--reason", "\x1b[2J<b>Wet\u202e")
    try:
        shown = stack.admin("halts", "list")
    finally:
        stack.admin("halts", "end", "--agent", "x")
    assert "reason=⟨U+001B⟩[2J<b>Wet⟨U+202E⟩\n" in shown
