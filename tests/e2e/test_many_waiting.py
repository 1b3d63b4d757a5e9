"""One agent process with a thousand open questions."""

from __future__ import annotations

import re
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2

from safeguards.human_action import ActionStatus, HumanAction, HumanActionHandler
from safeguards.notifications.channels import HumanInTheLoopChannel
from tests.deploy.running import eventually
from tests.stack import Stack

COUNT = 1000


def waiting_requests(stack: Stack) -> int:
    text = httpx2.get(f"{stack.url}/metrics").text
    match = re.search(r"^safeguards_waiting_requests (\d+)", text, re.MULTILINE)
    assert match
    return int(match[1])


def test_a_thousand_wait_by_one_connection(tmp_path: Path) -> None:
    """Each is answered in its own way, each waiter and each callback hears its own outcome, once;
    and one request at a time waits at the gateway."""
    answers = ["approve", "reject"]
    called: Counter[str] = Counter()
    lock = threading.Lock()

    def count(action: HumanAction) -> None:
        with lock:
            called[action.id] += 1

    with Stack(tmp_path, channels=(), timeout_seconds=600) as stack:
        channel = HumanInTheLoopChannel()
        channel.initialize({"webhook_url": stack.api, "api_key": stack.agent_key.api_key})
        handler = HumanActionHandler(channel)
        with ThreadPoolExecutor(16) as threads:
            actions = list(
                threads.map(
                    lambda n: handler.request_action(
                        f"Question {n}", "", "asker", {"number": n}, callbacks=[count]
                    ),
                    range(COUNT),
                )
            )
            eventually(lambda: waiting_requests(stack) == 1, "one request waits")
            assert len({action.id for action in actions}) == COUNT
            reviewer = stack.http(stack.reviewer_keys["alex"])

            def respond(n: int) -> int:
                body = {"response": answers[n % 2], "version": 1, "comments": f"about {n}"}
                path = f"/approvals/{actions[n].id}/responses"
                return reviewer.post(path, json=body).status_code

            with reviewer:
                assert set(threads.map(respond, range(COUNT))) == {200}
        for n, action in enumerate(actions):
            wanted = ActionStatus.REJECTED if n % 2 else ActionStatus.APPROVED
            assert handler.wait_for_action(action, 10) is wanted
            assert action.comments == f"about {n}"
        handler.shutdown()
        channel.shutdown()
        assert called == Counter(dict.fromkeys((action.id for action in actions), 1))
