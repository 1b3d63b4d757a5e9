"""Processes are killed while actions go round: each action still reaches exactly one outcome."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import httpx2

from safeguards.contracts import Outcome
from safeguards.human_action import ActionStatus, HumanActionHandler
from safeguards.identifiers import twin_id
from safeguards.notifications.channels import HumanInTheLoopChannel
from tests.deploy.running import eventually
from tests.stack import Stack

SERVICES = ("gateway", "safeguard-evaluator", "approval-tracker", "notifier")
FINAL_EVENTS = {"approved", "modified", "rejected", "timed_out", "cancelled"}


class Reviewer(threading.Thread):
    """A person who approves whatever is open, again and again, and is not put off by errors."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(daemon=True)
        self._stack = stack
        self._stop_asked = threading.Event()
        self.accepted: set[str] = set()

    def run(self) -> None:
        with self._stack.http(self._stack.reviewer_keys["alex"]) as http:
            while not self._stop_asked.wait(0.05):
                try:
                    page = http.get("/approvals", params={"status": "PENDING", "limit": 200})
                    for approval in page.json()["approvals"]:
                        self._approve(http, approval)
                except (httpx2.TransportError, ValueError, KeyError):
                    continue

    def _approve(self, http: httpx2.Client, approval: dict[str, object]) -> None:
        body = {"response": "approve", "version": approval["version"]}
        answer = http.post(f"/approvals/{approval['id']}/responses", json=body)
        if answer.status_code == 200:
            self.accepted.add(str(approval["id"]))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_asked.set()
        self.join()


def test_every_action_reaches_exactly_one_outcome(tmp_path: Path) -> None:
    """In the midst of a hundred actions each service is killed once, then all at once, the Valkey
    servers among them; the supervisor starts them again."""
    count = 100
    chance = random.Random(7)
    with Stack(tmp_path, channels=("email", "webhook"), timeout_seconds=120) as stack:
        agent = stack.client()
        done = threading.Semaphore(0)

        def ask(n: int) -> tuple[str, Outcome]:
            amount = "2500.00" if n % 3 else "5.00"
            action = agent.submit("trader", "transaction", {"amount": amount, "n": n})
            done.release()
            return action.id, agent.wait(action, 60)

        with Reviewer(stack) as reviewer, ThreadPoolExecutor(8) as threads:
            heard = [threads.submit(ask, n) for n in range(count)]
            for victim in (*SERVICES, None):
                for _ in range(chance.randrange(10, 20)):
                    done.acquire(timeout=30)
                if victim:
                    stack.kill(victim)
                else:
                    stack.kill_everything()
            outcomes = dict(result.result(90) for result in heard)

        assert len(outcomes) == count
        approved = {twin_id("apr", i) for i, o in outcomes.items() if o.approval_id}
        assert len(approved) == count - (count + 2) // 3
        assert {outcome.status for outcome in outcomes.values()} == {ActionStatus.APPROVED}
        assert reviewer.accepted <= approved
        for approval_id in approved:
            events = [line["event"] for line in stack.history(approval_id)]
            assert len([event for event in events if event in FINAL_EVENTS]) == 1, events
        eventually(lambda: told(stack) >= approved, "each outcome is told", 90)


def told(stack: Stack) -> set[str]:
    """Return the approvals whose outcome the webhook has heard of."""
    bodies = [request.json for request in stack.webhook.requests]
    return {b["data"]["approval_id"] for b in bodies if b["type"] == "approval.resolved"}


def test_time_is_up_while_every_worker_is_down(tmp_path: Path) -> None:
    """What fell due meanwhile is carried out when they are back."""
    with Stack(tmp_path, channels=(), timeout_seconds=60) as stack:
        agent = stack.client()
        approval = agent.request_approval("trader", "Soon", {}, timeout_seconds=2)
        stack.kill_everything()
        assert agent.wait(approval, 60).status is ActionStatus.TIMED_OUT


def test_a_whole_stack_that_was_stopped_goes_on(tmp_path: Path) -> None:
    """The data is kept: an agent that crashed takes its action up again by its id."""
    with Stack(tmp_path, channels=(), timeout_seconds=120) as stack:
        approval = stack.client().request_approval("trader", "Before", {"amount": "1.00"})
        assert stack.stop() == 0
        stack.start()

        channel = HumanInTheLoopChannel()
        channel.initialize({"webhook_url": stack.api, "api_key": stack.agent_key.api_key})
        handler = HumanActionHandler(channel)
        heard: list[ActionStatus] = []
        action = handler.resume_action(approval.id, callbacks=[lambda a: heard.append(a.status)])
        assert (action.title, action.metadata) == ("Before", {"amount": "1.00"})
        assert stack.respond(approval.id, response="approve").status_code == 200
        assert handler.wait_for_action(action, 10) is ActionStatus.APPROVED
        handler.shutdown()
        channel.shutdown()
        assert heard == [ActionStatus.APPROVED]
