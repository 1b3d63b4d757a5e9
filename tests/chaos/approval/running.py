"""How the machine is run: `run_machine` runs it for as long as anybody likes."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from deploy.valkey import ValkeyServer
from tests.chaos.approval.machine import ApprovalMachine, ConcurrentMachine
from tests.chaos.approval.product import Product

SERIES = 10
"""After as many examples Hypothesis begins to repeat parts of what it drew: a new series draws
others. (In the same time that led to nearly three times as many different histories.)"""


def run_series(
    url: str,
    examples: int,
    seed: int,
    *,
    steps: int = 30,
    product: Product | None = None,
    kind: type[ApprovalMachine] = ConcurrentMachine,
    phases: Sequence[Phase] = tuple(Phase),
) -> Counter[str]:
    """Run a machine on a store server; return its tally.

    Raises:
        AssertionError: the store was not as the model says. What led to it is printed.
    """
    tally: Counter[str] = Counter()
    bound = {"url": url, "product": product or Product(), "tally": tally}
    for number in range(0, examples, SERIES):
        machine = hypothesis.seed(seed * 1_000_000 + number)(type("Machine", (kind,), bound))
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=min(SERIES, examples - number),
                stateful_step_count=steps,
                phases=phases,
                deadline=None,
                database=None,
                derandomize=False,  # since it is seeded
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
    return tally


def run_machine(examples: int, seed: int) -> int:
    """Run the machine on a store server of its own, for as long as anybody likes.

    Args:
        examples: how many runs, each of up to 50 steps from an empty store.
        seed: of what happens in them.

    Returns:
        How many steps were run and checked.

    Raises:
        AssertionError: the store was not as the model says. The shortest way to it is printed.
    """
    with tempfile.TemporaryDirectory() as folder, ValkeyServer.store(Path(folder)) as server:
        return run_series(server.url, examples, seed, steps=50)["steps"]
