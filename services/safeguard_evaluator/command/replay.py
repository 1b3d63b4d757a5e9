"""`safeguards policy replay` and `export`: recorded actions, judged once more and written out."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from safeguards.errors import SafeguardsError
from safeguards_runtime.admin.console import AsJson, settings
from safeguards_runtime.store import Store
from services.safeguard_evaluator.replay.inspecting import Source
from services.safeguard_evaluator.replay.lines import Lines
from services.safeguard_evaluator.replay.recorded import EPOCH, recorded_actions
from services.safeguard_evaluator.replay.report import Report, Tally
from services.safeguard_evaluator.replay.rerun import rerun
from services.safeguard_evaluator.replay.wording import lines_of

AHEAD_FROM = 2000
"""From how many actions on a second process is worth its start."""

COLLECT_AFTER = (100_000, 50, 100)
"""For how many new objects, and how many times that, the collector of garbage looks for some."""

Since = Annotated[datetime | None, typer.Option(help="From this time on, UTC.")]
Until = Annotated[datetime | None, typer.Option(help="Before this time, UTC.")]


def replay_actions(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE", help="The changed policy file; only the one in force unless given."
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The one in force; that of the settings unless given."),
    ] = None,
    exported: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="Actions in JSON lines; the store's else."),
    ] = None,
    since: Since = None,
    until: Until = None,
    seconds_per_question: Annotated[
        float | None,
        typer.Option(
            min=0, help="What one answer takes one person; as long as it took unless given."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Judge recorded actions by a changed policy file and by the one in force: what each denies,
    asks about and allows, what moves, and the hours of reviewers; and what policies on trial
    (`mode: shadow`) would have said.

    The actions are judged in the order of their times, with the windows of safeguards as they would
    have stood. Who was asked then answers as then; a question that nobody was asked counts as
    approved at once. A grant lets through what it let through then. What was halted is not looked
    at. Nothing is written to the store.

    A line of a file has `at`, `agent_id`, `action_type` and `context`, and may have what
    `safeguards policy export` writes beside them. Lines that are no actions are named and left
    out, and the command ends with 1.
    """
    in_force = Source.load(against or settings().policies_file)
    changed = Source.load(file) if file else None
    with _collecting_rarely(), _actions(exported, _utc(since), _utc(until)) as lines:
        tally = Tally(in_force, changed)
        asyncio.run(_rerun(lines, in_force, changed, tally))
        report = tally.report(seconds_per_question, lines.broken)
        faults = "; ".join(lines.faults)
        more = "; …" if lines.broken > len(lines.faults) else ""
        where = exported or "the store"
    if report is None:
        raise SafeguardsError(f"{where}: no action of that time{faults and f': {faults}{more}'}")
    _print(report, as_json=as_json)
    if report.left_out:
        raise SafeguardsError(
            f"{where}: lines that are no actions were left out: {report.left_out}: {faults}{more}"
        )


async def _rerun(lines: Lines, in_force: Source, changed: Source | None, tally: Tally) -> None:
    with _progress("judging", len(lines)) as advance:
        ahead = len(lines) >= AHEAD_FROM
        async for judged in rerun(lines, in_force, changed, ahead=ahead):
            tally.add(judged)
            advance(1)
            await asyncio.sleep(0)  # so that Ctrl-C is heard


def _print(report: Report, *, as_json: bool) -> None:
    if as_json:
        typer.echo(report.model_dump_json())
        return
    for line in lines_of(report):
        typer.echo(line)


def export_actions(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; a new file.")],
    since: Since = None,
    until: Until = None,
) -> None:
    """Write the recorded actions to a file, one line of JSON each, for `safeguards policy replay`
    elsewhere.

    The lines hold the arguments as agents gave them, secrets too: only you may read the file.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise SafeguardsError(f"{file} is there already: name a new file") from None
    try:
        with os.fdopen(descriptor, "wb") as written:
            number = asyncio.run(_write(written, _utc(since), _utc(until)))
    except BaseException:
        file.unlink()
        raise
    typer.echo(f"{number} actions written to {file}")


@contextmanager
def _collecting_rarely() -> Iterator[None]:
    """Spare the collector of garbage a fifth of the time: it finds next to nothing."""
    usual = gc.get_threshold()
    gc.set_threshold(*COLLECT_AFTER)
    try:
        yield
    finally:
        gc.set_threshold(*usual)


@contextmanager
def _actions(
    exported: Path | None, since: datetime | None, until: datetime | None
) -> Iterator[Lines]:
    """Yield the actions of a file, or of the store."""
    if exported is not None:
        # Looked at before it is opened: to open a pipe is to wait for whoever writes to it.
        if exported.exists() and not exported.is_file():
            raise SafeguardsError(f"{exported}: is no file that can be read twice")
        with exported.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            with _progress("reading", size) as advance:
                lines = Lines(file, since, until, advance)
            yield lines
        return
    # It has no name: nobody else can open it, and it is gone when it is closed.
    with tempfile.TemporaryFile() as file:
        asyncio.run(_write(file, since, until))
        yield Lines(file)


async def _write(file: BinaryIO, since: datetime | None, until: datetime | None) -> int:
    """Write the recorded actions of a time to a file; return how many they are."""
    number = 0
    store = Store(settings().store_url)
    try:
        length = await store.counted_between("actions", since or EPOCH, until, prefix="act")
        with _progress("reading", length) as advance:
            async for actions in recorded_actions(store, since, until):
                file.writelines(action.line() for action in actions)
                number += len(actions)
                advance(len(actions))
    finally:
        await store.close()
    file.flush()
    return number


@contextmanager
def _progress(label: str, length: int) -> Iterator[Callable[[int], None]]:
    """Show how far it is, on a terminal; yield what is told of each step."""
    hidden = not sys.stderr.isatty()
    step = max(1, length // 200)
    with typer.progressbar(
        length=length, label=label, file=sys.stderr, hidden=hidden, update_min_steps=step
    ) as bar:
        yield bar.update


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment else None
