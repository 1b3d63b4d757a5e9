"""`make bench`: measures the whole stack beside its floor, prints a table and writes JSON."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from tests.bench.floor import Floor
from tests.bench.latency import QUICK, Plan, decision_latency
from tests.bench.report import Figure, print_table, write_json
from tests.bench.sides import FloorSide, SafeguardsSide
from tests.stack import Stack

JSON_FILE = Path(".safeguards/bench.json")


def measured(plan: Plan) -> list[Figure]:
    """Start both sides, measure every figure, and stop them."""
    with tempfile.TemporaryDirectory(prefix="safeguards-bench-") as name:
        folder = Path(name)
        # Mail would measure its receiver; an hour, so that no approval ends by itself.
        with (
            Stack(folder, channels=("log",), timeout_seconds=3600) as stack,
            Floor(folder / "floor") as floor,
        ):
            return asyncio.run(_measured(stack, floor, plan))


async def _measured(stack: Stack, floor: Floor, plan: Plan) -> list[Figure]:
    async with SafeguardsSide(stack) as ours, FloorSide(floor) as bare:
        return await decision_latency(ours, bare, plan)


def main(
    quick: Annotated[bool, typer.Option("--quick", help="A few of each: shows that it works.")] = (
        False
    ),
    rounds: Annotated[int | None, typer.Option(min=1, help="Turns of each side.")] = None,
    decisions: Annotated[int | None, typer.Option(min=1, help="Measured in each turn.")] = None,
    json_file: Annotated[Path, typer.Option("--json", help="Where to write JSON.")] = JSON_FILE,
) -> None:
    """Measure decision latency beside that of a bare FastAPI and Redis stream.

    Compare ratios: the figures themselves are this machine's at this moment.
    """
    plan = QUICK if quick else Plan()
    plan = replace(plan, rounds=rounds or plan.rounds, decisions=decisions or plan.decisions)
    figures = measured(plan)
    print_table(figures)
    write_json(figures, json_file, asdict(plan))
    print(f"written to {json_file}")


if __name__ == "__main__":
    typer.run(main)
