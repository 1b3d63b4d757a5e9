"""What runs during a benchmark, each part started when it is first asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from safeguards_runtime.store import Store
from safeguards_runtime.topology import Service
from tests.bench.floor import Floor
from tests.bench.floor_worker import FloorWorker
from tests.bench.sinks import Sinks
from tests.stack import Stack


class Parts:
    """The stack, the floors and the receivers. All end with the `with` block.

    Args:
        folder: for their data.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._exits = ExitStack()

    @cached_property
    def stack(self) -> Stack:
        """The stack; a webhook is told, unless an approval's own terms say otherwise."""
        return self._exits.enter_context(self.another_stack())

    @contextmanager
    def another_stack(self) -> Iterator[Stack]:
        """Run a stack of its own, in a folder that goes with it."""
        with tempfile.TemporaryDirectory(prefix="stack-", dir=self.folder) as name:
            channels = Path(name) / "sink-channels.yaml"
            channels.write_text(yaml.safe_dump({"version": 1, "channels": self._channels()}))
            stack = Stack(
                Path(name),
                channels=("webhook",),
                timeout_seconds=3600,  # so that no approval ends by itself
                settings={"SAFEGUARDS_CHANNELS_FILE": str(channels)},
            )
            with ExitStack() as exits:
                exits.push(stack)  # before it starts: what has started ends even if not all does
                yield stack.__enter__()

    def _channels(self) -> dict[str, Any]:
        secret = "whsec_" + "c2FmZWd1YXJkcy1iZW5jaG1hcmstc2VjcmV0LTMyYnk="
        mail = {"smtp_server": "127.0.0.1", "smtp_port": self.sinks.smtp_port, "use_tls": False}
        return {
            "log": {"kind": "log"},
            "webhook": {"kind": "webhook", "config": {"url": self.sinks.url, "secret": secret}},
            "slow": {"kind": "webhook", "config": {"url": self.sinks.slow_url, "secret": secret}},
            "slack": {
                "kind": "slack",
                "max_per_second": 1_000_000,  # a limit of Slack's, not of ours
                "config": {"webhook_url": self.sinks.url},
            },
            "email": {"kind": "email", "config": {**mail, "sender": "sg@example.com"}},
        }

    @cached_property
    def sinks(self) -> Sinks:
        """The receivers of webhooks and mails."""
        return self._exits.enter_context(Sinks(self.folder))

    @cached_property
    def floor(self) -> Floor:
        """The floor of decisions: a bare FastAPI application."""
        return self._exits.enter_context(Floor(self.folder / "floor"))

    @cached_property
    def floor_evaluator(self) -> FloorWorker:
        """The floor of verdicts: a stock worker with a pool like the evaluator's."""
        return self._floor_worker(Service.EVALUATOR)

    @cached_property
    def floor_notifier(self) -> FloorWorker:
        """The floor of deliveries: a stock worker with a pool like the notifier's."""
        return self._floor_worker(Service.NOTIFIER)

    def _floor_worker(self, service: Service) -> FloorWorker:
        folder = self.folder / f"floor-{service}"
        model = self.stack.process_id(service)
        return self._exits.enter_context(FloorWorker(folder, model, self.sinks))

    def store(self) -> Store:
        """Return a client of the stack's store, for the running event loop."""
        return Store(self.stack.setting("SAFEGUARDS_STORE_URL"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exits.__exit__(exc_type, exc, traceback)
