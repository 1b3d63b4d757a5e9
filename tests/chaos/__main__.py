"""`make chaos`: breaks the running system in every way, and checks what was promised."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from tests.chaos.checker import Invariant
from tests.chaos.faults import FAULTS, MIXED
from tests.chaos.power import STRACE
from tests.chaos.trial import Fault, Result, run, summary

JSON_FILE = Path(".safeguards/chaos.json")
WIDTH = 110
SHOWN = 5
"""How many violations of an invariant are printed."""


def main(
    fault: Annotated[
        list[str] | None, typer.Option(help="Only faults with this word in their name.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the load and of the faults' moments.")] = 1,
    rate: Annotated[float, typer.Option(min=1, help="Actions a second.")] = 50,
    strikes: Annotated[int | None, typer.Option(min=1, help="Of each fault.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Keep journals and logs here.")] = None,
    json_file: Annotated[Path, typer.Option("--json", help="Where to write JSON.")] = JSON_FILE,
) -> None:
    """Run the whole stack under load, break it, and check six invariants after each fault.

    The same seed gives the same load and the same faults in the same order.
    """
    chosen = [
        one
        for one in (*FAULTS, MIXED)
        if not fault or any(word.lower() in one.name for word in fault)
    ]
    if not chosen:
        raise typer.BadParameter("no fault has such a name; there are: " + _names())
    if folder and folder.exists():
        raise typer.BadParameter(f"{folder} exists: name a folder that does not")
    if any(one.is_traced for one in chosen) and STRACE is None:
        raise typer.BadParameter("the power cuts need strace: install it, or name other faults")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that nothing is left running
    with tempfile.TemporaryDirectory(prefix="safeguards-chaos-") as made:
        results: list[Result] = []
        for one in chosen:
            print(f"{one.name} ...", flush=True)
            place = (folder or Path(made)) / one.name.replace(" ", "-")
            results.append(_run(one, place, seed, rate, strikes))
            _print_line(results[-1])
            _write(results, json_file)
    _print_table(results)
    print(f"written to {json_file}")
    if any(any(found.violations.values()) for found in results):
        sys.exit(1)


def _names() -> str:
    return ", ".join(one.name for one in (*FAULTS, MIXED))


def _run(fault: Fault, place: Path, seed: int, rate: float, strikes: int | None) -> Result:
    place.mkdir(parents=True)  # an earlier run's data would be taken for this one's
    return asyncio.run(run(fault, place, seed=seed, rate=rate, strikes=strikes))


def _write(results: list[Result], json_file: Path) -> None:
    """Write what is known so far: a run takes long."""
    json_file.parent.mkdir(parents=True, exist_ok=True)
    json_file.write_text(json.dumps([summary(result) for result in results], indent=2) + "\n")


def _print_line(result: Result) -> None:
    """Say at once what one trial found."""
    counts = " ".join(f"{name}={len(found)}" for name, found in result.violations.items())
    print(
        f"{result.fault}: {result.strikes} strikes, {result.kills} kills, "
        f"{result.actions} actions ({result.load:.0f}/s), {counts}",
        flush=True,
    )
    for name, found in result.violations.items():
        for words in found[:SHOWN]:
            print(f"  {name}: {words}", flush=True)


def _print_table(results: list[Result]) -> None:
    table = Table(title="Violations after each fault")
    for column in ("fault", "strikes", "kills", "actions", "per s", "told", "settled"):
        table.add_column(column, justify="left" if column == "fault" else "right")
    for invariant in Invariant:
        table.add_column(str(invariant), justify="right")
    for result in results:
        table.add_row(
            result.fault,
            str(result.strikes),
            str(result.kills),
            str(result.actions),
            f"{result.load:.0f}",
            str(result.deliveries),
            f"{result.settled_seconds:.0f} s",
            *(str(len(result.violations[invariant])) for invariant in Invariant),
        )
    Console(width=WIDTH).print(table)


if __name__ == "__main__":
    app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    app.command()(main)
    app()
