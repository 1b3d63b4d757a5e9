"""A channel of one's own: a package that is installed, a name in two files, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from safeguards.webhooks import ApprovalRequested
from tests.deploy.running import eventually
from tests.example_channel import install
from tests.stack import Stack


@dataclass(frozen=True)
class OwnChannel:
    """A stack whose policies name two channels of one's own."""

    stack: Stack
    drop: Path
    """What the channel `drop` writes. Its folder does not exist at first."""

    plain: Path
    """What the channel `plain` writes."""

    def deliveries(self, approval_id: str, status: str) -> dict[str, Any]:
        """Return what `safeguards-admin` lists of an approval, by channel."""
        listed = self.stack.admin("deliveries", "list", "--status", status, "--json")
        rows = [row for row in json.loads(listed) if row["of"] == approval_id]
        return {row["channel"]: row for row in rows}

    def counted(self, event: str, channel: str) -> float:
        """Return how often `event` happened to deliveries of a channel, from the metrics."""
        metrics = httpx2.get(f"{self.stack.url}/metrics", timeout=30).text
        labels = {f'event="{event}"', f'channel="{channel}"'}
        for line in metrics.splitlines():
            found = re.fullmatch(r"safeguards_deliveries_total\{(.*)\} (\S+)", line)
            if found and set(found[1].split(",")) == labels:
                return float(found[2])
        return 0


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnChannel]:
    folder = tmp_path_factory.mktemp("own-channel")
    packages = install(folder / "packages")
    drop, plain = folder / "later" / "drop.jsonl", folder / "plain.jsonl"
    with Stack(
        folder,
        channels=("drop", "plain"),
        settings={"PYTHONPATH": str(packages), "DROP_TOKEN": "t0ken"},
        more_channels={
            "drop": {"kind": "file_drop", "config": {"path": str(drop), "token": "${DROP_TOKEN}"}},
            "plain": {"kind": "plain_drop", "config": {"path": str(plain)}},
        },
    ) as stack:
        yield OwnChannel(stack, drop, plain)


def test_what_it_could_not_deliver_is_listed_counted_and_replayed(own: OwnChannel) -> None:
    """As with any other channel: given up at first, then sent once more by an operator."""
    agent = own.stack.client()
    approval = agent.request_approval("advisor", "Pay the rent", {"amount": "900.00"})
    eventually(lambda: "drop" in own.deliveries(approval.id, "DEAD"), "the delivery is given up")
    dead = own.deliveries(approval.id, "DEAD")["drop"]
    assert dead["event"] == "approval.requested"
    assert "the folder of the file does not exist" in dead["error"]
    assert own.counted("died", "drop") >= 1

    own.drop.parent.mkdir()
    own.stack.admin("deliveries", "replay", dead["delivery_id"])
    eventually(lambda: bool(lines(own.drop)), "it is sent once more")
    [line] = lines(own.drop)
    assert line["id"] == dead["delivery_id"]
    assert line["event"] == "approval.requested"
    assert "Pay the rent" in line["subject"]
    assert line["token"] == "t0ken"
    data = ApprovalRequested.model_validate(line["data"])
    assert (data.approval_id, data.agent_id) == (approval.id, "advisor")
    assert "900.00" not in json.dumps(line["data"])
    eventually(lambda: "drop" in own.deliveries(approval.id, "SENT"), "it is listed as sent")
    assert own.counted("sent", "drop") >= 1


def test_the_least_that_a_channel_can_be_reaches_people(own: OwnChannel) -> None:
    """A class with `initialize`, `send_notification` and `shutdown` is enough for a request."""
    agent = own.stack.client()
    approval = agent.request_approval("advisor", "Buy a stapler", {"amount": "12.00"})
    eventually(
        lambda: any("Buy a stapler" in line["title"] for line in lines(own.plain)),
        "the channel was asked to send an alert",
    )
    [line] = [line for line in lines(own.plain) if "Buy a stapler" in line["title"]]
    assert "12.00" in line["description"]
    assert line["metadata"]["event"] == "approval.requested"
    assert line["metadata"]["data"]["approval_id"] == approval.id
    eventually(lambda: "plain" in own.deliveries(approval.id, "SENT"), "it is listed as sent")
    assert own.stack.respond(approval.id, response="approve").is_success
    assert agent.wait(approval, 10).status.allows
