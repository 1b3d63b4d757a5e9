"""What every command does: find the stack, use its store, print rows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, TypeVar

import typer

from safeguards.errors import SafeguardsError
from safeguards.identifiers import Prefix, is_id
from safeguards_runtime.settings import Settings, load_settings
from safeguards_runtime.store import Store

T = TypeVar("T")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LISTED = 500
"""How many rows a list has at most."""


def settings() -> Settings:
    """Return the settings: of the environment, else of the stack that `make run` has started."""
    return load_settings(env_file=load_settings().data_dir / "stack.env")


def with_store(work: Callable[[Store], Coroutine[Any, Any, T]]) -> T:
    """Return the result of `work` on the stack's store."""

    async def run() -> T:
        used = settings()
        store = Store(used.store_url, replicas=used.store_replicas)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


def checked(record_id: str, prefix: Prefix) -> str:
    """Return an identifier that somebody typed.

    Raises:
        SafeguardsError: if it is none of this kind.
    """
    if not is_id(record_id, prefix):
        raise SafeguardsError(f"{record_id!r} is no identifier of the form {prefix}_…")
    return record_id


def print_rows(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Print one line for each row, or all of them as JSON."""
    if as_json:
        typer.echo(json.dumps(rows))
        return
    if not rows:
        typer.echo("none")
    for row in rows:
        typer.echo("  ".join(f"{name}={value}" for name, value in row.items()))
