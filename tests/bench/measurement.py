"""What every measurement has in common: two sides that take turns, and what one turn found."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from tests.bench.parts import Parts
from tests.bench.plan import Plan
from tests.bench.report import Figure, Goal

POLL_SECONDS = 0.02
TURN_SECONDS = 120.0
"""How long a turn may take. Far beyond that something is broken."""

IsDone = Callable[[], Awaitable[bool]]


@dataclass(frozen=True)
class Measurement:
    """One kind of figure.

    Attributes:
        topic: what `--only` looks for a word in; the names of its rows begin with it.
        measure: returns its rows.
    """

    topic: str
    measure: Callable[[Parts, Plan], Awaitable[list[Figure]]]


async def in_turns(
    sides: Mapping[str, Callable[[], Awaitable[list[float]]]], rounds: int
) -> dict[str, list[list[float]]]:
    """Let each side take its turn, round by round, so that a noisy moment hits all of them.

    Returns:
        What each side measured, turn by turn.
    """
    measured: dict[str, list[list[float]]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, turn in sides.items():
            measured[name].append(await turn())
    return measured


async def until(is_done: IsDone, what: str) -> None:
    """Wait until something is done that only another process can tell of.

    Raises:
        TimeoutError: naming `what`, after `TURN_SECONDS`.
    """
    deadline = time.monotonic() + TURN_SECONDS
    while not await is_done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {TURN_SECONDS:.0f} s: {what}")
        await asyncio.sleep(POLL_SECONDS)


def rates(
    name: str, turns: Mapping[str, list[list[float]]], goal: Goal | None, **options: Any
) -> Figure:
    """Return the row of a rate, of which each turn measured one: the medians over the turns."""
    rounds = {side: tuple(rate for turn in each for rate in turn) for side, each in turns.items()}
    base = median(rounds["base"]) if "base" in rounds else None
    return Figure(name, "1/s", median(rounds["ours"]), base, goal, rounds=rounds, **options)
