"""Publishing actions while the broker is away."""

from __future__ import annotations

from pathlib import Path

import redis

from deploy.valkey import ValkeyServer
from safeguards.identifiers import is_id
from safeguards.publisher import QUEUE, ActionPublisher
from tests.deploy.running import eventually
from tests.stack import Stack


def test_a_broker_that_is_away_keeps_no_agent_from_publishing(stack: Stack, tmp_path: Path) -> None:
    """It goes on, and what was published meanwhile is on the queue when the broker is back."""
    key = stack.create_key("--agent", "trader", "--signing").signing_key
    with ValkeyServer.broker(tmp_path) as broker:
        publisher = ActionPublisher(broker.url, key or {}, stack.client())
        try:
            publisher.publish("trader", "transaction", {"amount": "1.00"})
            broker.kill()
            action_id = publisher.publish("trader", "transaction", {"amount": "2.00"})
            assert is_id(action_id, "act")
            assert publisher.unconfirmed == 2
            broker.start()
            with redis.Redis.from_url(broker.url) as client:
                eventually(lambda: client.llen(QUEUE) >= 2, "both are published again")
        finally:
            publisher.close(timeout=0)
