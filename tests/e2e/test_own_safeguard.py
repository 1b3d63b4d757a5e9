"""A safeguard of one's own: a package that is installed, a name in the policy file, and no more."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from safeguards import Safeguards
from safeguards.contracts import ActionView, Verdict
from safeguards_runtime.safeguard_kinds import KINDS
from tests import installing, misbehaving_safeguards
from tests.deploy.running import eventually, is_alive
from tests.example_safeguard import install
from tests.stack import Stack

RULES: dict[str, Any] = {
    "safeguards": {
        "words": {"uses": "blocked_words", "config": {"words": ["bluebird"]}},
        "strange": {"uses": "misbehaving", "time_limit_seconds": 3.0},
    },
    "policies": [
        {"name": "notes", "match": {"action_types": ["post_note"]}, "safeguards": ["words"]},
        {"name": "odd", "match": {"action_types": ["be_odd"]}, "safeguards": ["strange"]},
    ],
}


@dataclass(frozen=True)
class Clerk:
    """An agent whose actions safeguards of one's own judge."""

    stack: Stack
    client: Safeguards

    def submit(self, action_type: str, **context: Any) -> str:
        """Submit an action; return its id."""
        return self.client.submit("clerk", action_type, context).id

    def now(self, action_id: str) -> ActionView:
        """Return an action as it stands."""
        view = self.client.get(action_id)
        assert isinstance(view, ActionView)
        return view

    def judged(self, action_id: str) -> ActionView:
        """Return an action as it stands once it has a verdict."""
        eventually(lambda: self.now(action_id).verdict is not None, "it has a verdict")
        return self.now(action_id)

    def asked(self, action_type: str, **context: Any) -> ActionView:
        """Submit an action, and return it with its verdict."""
        return self.judged(self.submit(action_type, **context))

    def waits_for_people(self, action_id: str) -> None:
        """Return when an approval is open for an action."""
        eventually(lambda: self.now(action_id).approval_id is not None, "people are asked")


@pytest.fixture(scope="module")
def clerk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Clerk]:
    folder = tmp_path_factory.mktemp("own-safeguard")
    packages = install(folder / "packages")
    kinds = misbehaving_safeguards.KINDS
    installing.register(packages, "misbehaving", group=KINDS.group, **kinds)
    settings = {"PYTHONPATH": str(packages)}
    with Stack(folder, channels=("log",), settings=settings, more_rules=RULES) as stack:
        yield Clerk(stack, stack.client())


def test_its_alert_is_seen_and_holds_the_action_for_a_person(clerk: Clerk) -> None:
    held = clerk.asked("post_note", note={"text": "The Bluebird starts on Monday"})
    assert held.verdict is Verdict.REQUIRE_APPROVAL
    [alert] = held.alerts
    assert (alert.safeguard, alert.title, alert.severity) == ("words", "A blocked word", "WARNING")
    assert alert.description == "/note/text contains the word 'bluebird', which is blocked"
    clerk.waits_for_people(held.id)

    allowed = clerk.asked("post_note", note={"text": "Lunch is at noon"})
    assert (allowed.verdict, allowed.alerts) == (Verdict.ALLOW, ())


def test_one_that_hangs_is_answered_for_by_a_person_and_holds_up_nobody(clerk: Clerk) -> None:
    """Twenty others, half of which a safeguard of one's own judges too, get verdicts meanwhile."""
    assert clerk.asked("be_odd", do="pass").verdict is Verdict.ALLOW
    hanging = clerk.submit("be_odd", do="hold")
    begin = time.monotonic()
    others = [clerk.asked(kind, text="Lunch") for kind in ["post_note", "read_note"] * 10]
    took = time.monotonic() - begin
    assert {one.verdict for one in others} == {Verdict.ALLOW}
    assert clerk.now(hanging).verdict is None, f"the others took {took:.2f} s"

    asked = clerk.judged(hanging)
    assert time.monotonic() - begin < 10
    assert asked.verdict is Verdict.REQUIRE_APPROVAL
    [alert] = asked.alerts
    assert (alert.safeguard, alert.severity) == ("strange", "ERROR")
    assert alert.description == "strange did not answer within 3 s: a person decides."
    clerk.waits_for_people(hanging)


@pytest.mark.parametrize("deed", ["raise", "exit", "crash", "nothing"])
def test_one_that_fails_is_answered_for_by_a_person(deed: str, clerk: Clerk) -> None:
    """And the next action is judged as if nothing had happened."""
    asked = clerk.asked("be_odd", do=deed, value=1)
    assert asked.verdict is Verdict.REQUIRE_APPROVAL
    [alert] = asked.alerts
    assert alert.title == "A safeguard failed"
    assert alert.description.startswith("strange ")
    assert alert.description.endswith(": a person decides.")
    assert clerk.asked("be_odd", do="pass").verdict is Verdict.ALLOW


def test_a_worker_that_is_killed_while_it_waits_loses_nothing(clerk: Clerk) -> None:
    """The next one takes the action up from the agenda; and no process of the first is left."""
    assert clerk.asked("be_odd", do="pass").verdict is Verdict.ALLOW
    [alert] = clerk.asked("be_odd", do="process").alerts
    waiting = clerk.submit("be_odd", do="sleep", value=2)
    time.sleep(0.5)
    clerk.stack.kill("safeguard-evaluator")
    eventually(lambda: not is_alive(int(alert.description)), "the safeguard's process is gone")
    assert clerk.judged(waiting).verdict is Verdict.ALLOW
