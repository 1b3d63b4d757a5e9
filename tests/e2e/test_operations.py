"""What operators see: Flower with its workers and queues, keys, and scaling of one channel."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import httpx2
from celery import Celery

from safeguards.types import ActionStatus
from safeguards_runtime.topology import Queue
from tests.deploy.running import eventually
from tests.stack import Stack


def flower(stack: Stack) -> httpx2.Client:
    password = (stack.folder / "data" / "flower.password").read_text().strip()
    port = stack.environment["SAFEGUARDS_FLOWER_PORT"]
    return httpx2.Client(
        base_url=f"http://127.0.0.1:{port}", auth=("operator", password), timeout=30
    )


def test_flower_shows_every_worker_and_queue(stack: Stack) -> None:
    with flower(stack) as http:
        seen: dict[str, list[str]] = {}

        def all_there() -> bool:
            workers = http.get("/api/workers", params={"refresh": "true"}).json()
            seen.clear()
            for name, worker in workers.items():
                seen[name.partition("@")[0]] = [q["name"] for q in worker["active_queues"]]
            return len(seen) == 3

        eventually(all_there, "three workers are shown")
        assert {queue for queues in seen.values() for queue in queues} == set(Queue)
        lengths = http.get("/api/queues/length").json()["active_queues"]
        assert {queue["name"] for queue in lengths} == set(Queue)


def test_flower_asks_who_is_there(stack: Stack) -> None:
    """Neither its pages nor its API are open. (Its /metrics are, to whoever is on the machine.)"""
    port = stack.environment["SAFEGUARDS_FLOWER_PORT"]
    for path in ("/", "/api/workers", "/api/queues/length", "/workers", "/broker", "/tasks"):
        assert httpx2.get(f"http://127.0.0.1:{port}{path}").status_code == 401, path


def test_nothing_private_is_in_the_log(stack: Stack) -> None:
    """Arguments, comments, keys and links stay out of it."""
    agent = stack.client()
    approval = agent.request_approval("trader", "Secret title", {"note": "private-argument"})
    stack.smtp.wait_for(lambda mail: "Secret title" in mail.subject, timeout=10)
    assert stack.respond(approval.id, response="reject", comments="private-comment").is_success
    agent.wait(approval, 10)
    log = stack.running.output
    assert stack.agent_key.api_key not in log
    for secret in ("private-argument", "private-comment", "Secret title", "/review/"):
        assert secret not in log


def test_a_revoked_key_is_refused_at_once(stack: Stack) -> None:
    key = stack.create_key("--agent", "short-lived")
    with stack.http(key) as http:
        assert http.get("/outcomes").status_code == 200
        stack.admin("keys", "revoke", key.key_id)
        assert http.get("/outcomes").status_code == 401
    listed = json.loads(stack.admin("keys", "list", "--json"))
    assert next(row for row in listed if row["key_id"] == key.key_id)["revoked_at"]


def test_keys_are_not_kept_in_clear(stack: Stack) -> None:
    """What is on disk does not open the gateway."""
    secret = stack.agent_key.api_key.rpartition("_")[2].encode()
    files = [path for path in (stack.folder / "data" / "store").rglob("*") if path.is_file()]
    assert any(stack.agent_key.key_id.encode() in path.read_bytes() for path in files)
    assert not any(secret in path.read_bytes() for path in files)


def test_one_channel_is_scaled_by_another_worker(stack: Stack) -> None:
    """A second process for the mail queue alone joins in."""
    argv = [sys.executable, "-m", "celery", "-A", "services.notifier.app:app", "worker"]
    argv += ["--pool", "threads", "--concurrency", "2", "--hostname", "mail-2@%h"]
    argv += ["-Q", Queue.NOTIFY_EMAIL, "--without-gossip", "--without-mingle"]
    env_file = (stack.folder / "data" / "stack.env").read_text()
    settings = dict(re.findall(r"^(SAFEGUARDS_\w+)='(.*)'$", env_file, re.MULTILINE))
    worker = subprocess.Popen(
        argv,
        env={**os.environ, **settings},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with flower(stack) as http:

            def joined() -> bool:
                workers = http.get("/api/workers", params={"refresh": "true"}).json()
                return any(name.startswith("mail-2@") for name in workers)

            eventually(joined, "the second worker is shown")
    finally:
        worker.terminate()
        assert worker.wait(30) == 0


def test_nobody_switches_a_worker_off_through_the_broker(stack: Stack) -> None:
    """Agents publish to the broker; remote control only looks."""
    control = Celery(broker=stack.setting("SAFEGUARDS_BROKER_URL"), set_as_current=False).control
    control.cancel_consumer(Queue.APPROVALS.value)
    control.shutdown()
    agent = stack.client()
    approval = agent.request_approval("trader", "Soon over", {}, timeout_seconds=1)
    assert agent.wait(approval, 10).status is ActionStatus.TIMED_OUT
    assert len(control.ping(timeout=2)) == 3
