"""The floor of tasks: a stock Celery worker on a broker without fsync, as ours has it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from celery import Celery

from deploy.valkey import ValkeyServer
from tests.bench import floor_tasks
from tests.bench.processes import Child, server, stock_worker
from tests.bench.sinks import Sinks

QUEUE = "celery"
HELD = "held"
"""Where messages wait for the clock to start."""


class FloorWorker:
    """A worker of `floor_tasks` in a process of its own.

    Args:
        folder: for the broker and the log.
        model: the process id of the worker whose kind and size of pool it has.
        sinks: where its tasks send to.
    """

    def __init__(self, folder: Path, model: int, sinks: Sinks) -> None:
        self._folder = folder
        self._model = model
        self._sinks = sinks
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        with self._exits as exits:
            broker = ValkeyServer.broker(self._folder / "broker")
            exits.enter_context(server(broker))
            self._redis: Any = redis.Redis.from_url(broker.url)
            exits.callback(self._redis.close)
            self.app = Celery(
                "floor-client", broker=broker.url, backend=broker.url, set_as_current=False
            )
            exits.callback(self.app.close)
            environment = {
                **os.environ,
                floor_tasks.BROKER_URL: broker.url,
                floor_tasks.WEBHOOK_URL: self._sinks.url,
                floor_tasks.SMTP_PORT: str(self._sinks.smtp_port),
            }
            argv = stock_worker("tests.bench.floor_tasks:app", self._model)
            log = self._folder / "worker.log"
            self._child = exits.enter_context(Child(argv, environment, self._is_ready, log))
            self._exits = exits.pop_all()
        return self

    def _is_ready(self) -> bool:
        # Sent once, and answered as soon as the worker takes tasks.
        if not hasattr(self, "_first"):
            self._first = self.app.send_task(floor_tasks.ANSWER, args=[{}])
        return bool(self._first.ready())

    @property
    def process_id(self) -> int:
        """The process id."""
        return self._child.process_id

    def hold(self, task: str, arguments: Sequence[Sequence[Any]]) -> None:
        """Publish one message for each of `arguments`, where the worker does not see them yet."""
        with self.app.producer_pool.acquire(block=True) as producer:
            for each in arguments:
                self.app.send_task(task, args=each, queue=HELD, producer=producer)

    def release(self) -> None:
        """Give the worker all that was held, at once."""
        self._redis.rename(HELD, QUEUE)

    def is_done(self) -> bool:
        """Tell whether every message has been taken and, of tasks that acknowledge late, done."""
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.llen(QUEUE)
            pipe.hlen("unacked")
            return not any(pipe.execute())

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exits.__exit__(exc_type, exc, traceback)
