"""The broker is lost while a worker has messages in hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from kombu.common import ignore_errors

from deploy.valkey import ValkeyServer
from safeguards.identifiers import new_id
from safeguards_runtime.messaging import make_app, publisher
from safeguards_runtime.settings import Settings
from safeguards_runtime.topology import Queue, Task


def test_a_dead_broker_is_let_go_with_a_message_in_hand(tmp_path: Path) -> None:
    """What Celery does when the connection is lost does not end the worker: the message is given
    out again."""
    with ValkeyServer.broker(tmp_path) as broker:
        app = make_app(Settings(broker_url=broker.url))
        publisher(app)(Task.ADVANCE, [new_id("apr")])
        connection = app.connection_for_read()
        taken: list[object] = []
        # A worker has more than one channel, and this depends on it.
        channels = connection.default_channel, connection.channel()
        for channel, queue in zip(channels, (Queue.APPROVALS, Queue.NOTIFY), strict=True):
            queues = [app.amqp.queues[queue.value]]
            app.amqp.TaskConsumer(channel, queues=queues, on_message=taken.append).consume()
        connection.drain_events(timeout=10)
        with pytest.raises(TimeoutError):  # it asks for the next one meanwhile
            connection.drain_events(timeout=0.1)
        assert len(taken) == 1
        broker.kill()
        connection.collect()
        ignore_errors(connection, connection.close)
        app.close()


def test_a_task_that_outlives_its_connection_does_not_end_the_worker(tmp_path: Path) -> None:
    """Its acknowledgement fails as on any broken connection, which Celery notes and goes on."""
    with ValkeyServer.broker(tmp_path) as broker:
        app = make_app(Settings(broker_url=broker.url))
        connection = app.connection_for_read()
        channel, errors = connection.default_channel, connection.connection_errors
        connection.close()
        with pytest.raises(errors, match="connection of this channel is gone"):
            channel.basic_ack("a message in hand")
        app.close()
