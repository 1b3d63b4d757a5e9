"""What came of a replay, in lines for a person."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from safeguards.contracts import Verdict
from safeguards.text import visible
from services.safeguard_evaluator.replay.report import (
    STRICTEST_FIRST,
    Counts,
    Effort,
    Move,
    Report,
    Side,
    Trial,
)


def lines_of(report: Report) -> Iterator[str]:
    """Yield the report in lines."""
    first, last = (at.strftime("%Y-%m-%d %H:%M") for at in (report.first_at, report.last_at))
    yield f"{report.actions:,} actions, {first} to {last} UTC"
    yield ""
    yield from _table(report)
    yield ""
    yield from _assumptions(report)
    if report.changed is not None:
        moved = sum(move.actions for move in report.moves)
        yield ""
        yield f"{moved:,} actions get another verdict by {report.changed.file}"
        for move in report.moves:
            yield from _move(move, "  ")
    for trial in report.trials:
        yield ""
        yield from _trial(trial)


def _table(report: Report) -> Iterator[str]:
    sides = [report.in_force, *([report.changed] if report.changed else [])]
    then = report.then
    rows = [["", "then", *(side.file for side in sides)]]
    rows.append(["", "", *(side.version for side in sides)])
    for verdict in STRICTEST_FIRST:
        counts = [side.verdicts.get(verdict, 0) for side in sides]
        rows.append([verdict.value, f"{then.verdicts.get(verdict, 0):,}", *_with_change(counts)])
        if verdict is Verdict.REQUIRE_APPROVAL and any(side.granted for side in sides):
            granted = _with_change([side.granted for side in sides])
            rows.append(["  but granted", "", *granted])
        if verdict is Verdict.ALLOW and then.granted:
            rows.append(["  by a grant", f"{then.granted:,}"])
    if then.unknown:
        rows.append(["not known", f"{then.unknown:,}"])
    asked = _with_change([side.effort.questions for side in sides])
    rows.append(["questions to people", "", *asked])
    hours = [side.effort.hours for side in sides]
    rows.append(["reviewers' hours", "", *_with_change(hours, ",.1f")])
    columns = max(map(len, rows))
    rows = [row + [""] * (columns - len(row)) for row in rows]
    widths = [max(len(row[at]) for row in rows) for at in range(columns)]
    for name, *cells in rows:
        right = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        yield "  ".join([name.ljust(widths[0]), *right]).rstrip()


def _with_change(values: list[int] | list[float], form: str = ",") -> list[str]:
    """Return the values; behind two of them, how much more the second is."""
    told = [format(value, form) for value in values]
    if len(values) == 2:
        told.append(format(values[1] - values[0], f"+{form}"))
    return told


def _assumptions(report: Report) -> Iterator[str]:
    yield (f"One answer of one person: {report.seconds_per_question:g} s ({report.seconds_from}).")
    yield (
        "Each is judged by the windows of safeguards as they would have stood. Who was asked then "
        "answers as then, and a grant holds as then."
    )
    unanswered = max(
        side.unanswered for side in (report.in_force, report.changed) if isinstance(side, Side)
    )
    if unanswered:
        yield (
            f"Of the questions, {unanswered:,} have no answer on record: what they ask for counts "
            "as approved at once."
        )


def _move(move: Move, indent: str) -> Iterator[str]:
    yield f"{indent}{move.before} -> {move.after}: {move.actions:,}"
    yield f"{indent}  types: {_counts(move.action_types)}"
    yield f"{indent}  by: {_counts(move.policies_before)} -> {_counts(move.policies_after)}"
    # A file may have anything as an id, and a terminal obeys what it gets.
    examples = (visible(example, single_line=True) for example in move.examples)
    yield f"{indent}  such as: {', '.join(examples)}"


def _trial(trial: Trial) -> Iterator[str]:
    yield f"on trial: {trial.policy}, for {trial.actions:,} actions"
    yield f"  would say: {_counts(trial.said)}"
    if trial.said_then:
        yield f"  on record: {_counts(trial.said_then)}"
    if not trial.if_active:
        yield "  in force it would change no verdict"
        return
    yield f"  in force it would change, at {_effort(trial.effort)}"
    for move in trial.if_active:
        yield from _move(move, "    ")


def _effort(effort: Effort) -> str:
    return f"{effort.questions:+,} questions and {effort.hours:+,.1f} reviewers' hours"


def _counts(counts: Mapping[Verdict, int] | Counts) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in counts.items()) or "nothing"
