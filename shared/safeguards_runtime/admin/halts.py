"""`safeguards-admin halts`: the kill switch, for when the console is not at hand."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from safeguards.errors import SafeguardsError
from safeguards.plugins import is_glob
from safeguards.text import visible
from safeguards_runtime.admin.console import AsJson, print_rows, with_store
from safeguards_runtime.records import Change, Halts, Refusal
from safeguards_runtime.records.account import OPERATOR
from safeguards_runtime.records.halts import (
    HALTS_ID,
    SEEN,
    Subject,
    halt,
    halts_of,
    meant,
    resume,
)
from safeguards_runtime.store import Store

MAX_SEEN = 10_000
MAX_SHOWN = 20

halts = typer.Typer(help="Agents and types of actions that are halted.", no_args_is_help=True)

Agent = Annotated[str, typer.Option(help="An agent: all that it wants.")]
Type = Annotated[
    str,
    typer.Option(
        "--type", help="A type of actions of every agent, or a glob of types, such as 'wire_*'."
    ),
]


@halts.command("begin")
def begin(
    reason: Annotated[str, typer.Option(help="Why: the agent and its operators are told.")],
    agent: Agent = "",
    type_: Type = "",
    is_sure: Annotated[
        bool, typer.Option("--yes", help="Do not ask about a glob, or what was never seen.")
    ] = False,
) -> None:
    """Deny all that an agent wants, or all actions of a type, from now on."""
    subject, name = _given(agent, type_)

    def rule(standing: Halts | None, now: datetime) -> Change | None:
        return halt(standing, subject, name, by=OPERATOR, reason=reason, now=now)

    async def seen(store: Store) -> list[str]:
        # Refused before it is asked about.
        rule(await store.get(HALTS_ID, Halts), await store.now())
        return [one for one, _ in await store.names(SEEN[subject], limit=MAX_SEEN)]

    try:
        if not is_sure:
            _ask(subject, name, meant(subject, name, with_store(seen)))
        standing = with_store(lambda store: store.apply(HALTS_ID, Halts, rule))
    except Refusal as refusal:
        raise SafeguardsError(refusal.detail) from None
    found = halts_of(standing).find(subject, name)
    if found is not None:
        typer.echo(found.words())


@halts.command("end")
def end(agent: Agent = "", type_: Type = "") -> None:
    """Let an agent, or a type of actions, go on. What was denied stays denied."""
    subject, name = _given(agent, type_)
    was_halted = False

    def rule(standing: Halts | None, now: datetime) -> Change | None:
        nonlocal was_halted
        change = resume(standing, subject, name, by=OPERATOR, now=now)
        was_halted = change is not None
        return change

    with_store(lambda store: store.apply(HALTS_ID, Halts, rule))
    if not was_halted:
        raise SafeguardsError(f"{name!r} is not halted: `halts list` shows what is")
    typer.echo(f"{visible(name, single_line=True)} may go on")


@halts.command("list")
def list_halts(as_json: AsJson = False) -> None:
    """List what is halted, the latest first."""
    standing = halts_of(with_store(lambda store: store.get(HALTS_ID, Halts)))
    rows = [
        {
            one.subject: one.name if as_json else visible(one.name, single_line=True),
            "by": one.by,
            "at": one.at.isoformat(),
            "reason": one.reason if as_json else visible(one.reason, single_line=True),
        }
        for one in standing.in_force[::-1]
    ]
    print_rows(rows, as_json)


def _given(agent: str, type_: str) -> tuple[Subject, str]:
    if bool(agent) == bool(type_):
        raise typer.BadParameter("give either --agent or --type")
    return ("agent", agent) if agent else ("type", type_)


def _ask(subject: Subject, name: str, found: list[str]) -> None:
    """Ask once more about what may be for more, or for less, than is meant."""
    if found and not (subject == "type" and is_glob(name)):
        return
    shown = [visible(one, single_line=True) for one in found[:MAX_SHOWN]]
    if len(found) > MAX_SHOWN:
        shown.append(f"and {len(found) - MAX_SHOWN:,} more")
    typer.echo(f"Of the {subject}s seen so far it is for {', '.join(shown) or 'none'}.", err=True)
    typer.confirm("Halt it?", abort=True, err=True)
