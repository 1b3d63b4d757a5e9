"""How webhooks to receivers that take their time scale with the number of notifier processes.

Further processes are started as `deploy.local` has started its one: with the same command and
environment, under names of their own. Each round has its turn of each number.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from statistics import median

from celery import Celery

from safeguards_runtime.topology import Service
from tests.bench.measurement import Measurement, in_turns, rates
from tests.bench.parts import Parts
from tests.bench.plan import Plan
from tests.bench.processes import Child, command_of, environment_of
from tests.bench.report import Figure, Goal
from tests.bench.sinks import SLOW_SECONDS
from tests.bench.throughput import WARM_UP_PARTS, Ours

FULL = 0.95
"""The share of all cores, busy in the median turn, from which they are taken to be full."""

TOPIC = f"webhooks to receivers of {SLOW_SECONDS * 1000:.0f} ms"


async def _scaling(parts: Parts, plan: Plan) -> list[Figure]:
    usage: dict[int, str] = {}
    cores: dict[int, list[float]] = {number: [] for number in plan.processes}
    async with contextlib.aclosing(Ours(parts)) as ours:

        async def turn(processes: int) -> list[float]:
            with _further_notifiers(parts, processes - 1):
                await ours.webhooks(plan.slow_webhooks // WARM_UP_PARTS, "slow")
                rate = await ours.webhooks(plan.slow_webhooks, "slow")
            usage[processes] = ours.usage
            cores[processes].append(ours.cores)
            return [rate]

        turns = {str(number): partial(turn, number) for number in plan.processes}
        measured = await in_turns(turns, plan.rounds)
    figures = []
    for position, number in enumerate(plan.processes):
        name = f"{TOPIC}, {number} notifier{'s' if number > 1 else ''}"
        sides = {"ours": measured[str(number)]}
        fewer = plan.processes[position - 1] if position else None
        if fewer:
            sides["base"] = measured[str(fewer)]
        goal = Goal.at_least(1.8) if fewer == 1 else None
        figures.append(
            rates(
                name,
                sides,
                goal,
                base_name=f"the row above, {fewer} at work",
                note=usage[number],
                limited_by="the cores are full" if median(cores[number]) >= FULL else "",
            )
        )
    return figures


@contextmanager
def _further_notifiers(parts: Parts, number: int) -> Iterator[None]:
    """Run so many more notifiers beside that of the stack."""
    model = parts.stack.process_id(Service.NOTIFIER)
    command, environment = command_of(model), environment_of(model)
    app = Celery(broker=environment["SAFEGUARDS_BROKER_URL"], set_as_current=False)
    with contextlib.closing(app), ExitStack() as exits:
        for extra in range(number):
            name = f"{Service.NOTIFIER}-{extra}"
            argv = [*command]
            argv[argv.index("--hostname") + 1] = f"{name}@%h"
            ping = partial(_answers, app, f"{name}@{socket.gethostname()}")
            log = parts.folder / f"{name}.log"
            exits.enter_context(Child(argv, environment, ping, log, is_gentle=True))
        yield


def _answers(app: Celery, name: str) -> bool:
    return bool(app.control.ping(destination=[name], timeout=0.5))


SCALING = Measurement(TOPIC, _scaling)
