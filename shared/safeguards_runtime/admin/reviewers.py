"""`safeguards-admin reviewers`: who may sign in to the console."""

from __future__ import annotations

import secrets
import sys
from datetime import datetime
from typing import Annotated

import typer

from safeguards.errors import SafeguardsError
from safeguards_runtime.admin.console import AsJson, print_rows, settings, with_store
from safeguards_runtime.passwords import Passwords, normalized
from safeguards_runtime.records import Account, Change, Refusal, account
from safeguards_runtime.records.account import OPERATOR, account_id
from safeguards_runtime.reviewers import Reviewer, load_directory
from safeguards_runtime.store import Store

reviewers = typer.Typer(help="Who may sign in to the console.", no_args_is_help=True)


@reviewers.command("set-password")
def set_password(
    reviewer_id: Annotated[str, typer.Argument(metavar="ID")],
    from_stdin: Annotated[
        bool, typer.Option("--stdin", help="Read it from the first line of standard input.")
    ] = False,
    random: Annotated[bool, typer.Option("--random", help="Make one, and print it.")] = False,
) -> None:
    """Set a reviewer's password; asks for it unless told otherwise. All their sessions end."""
    if from_stdin and random:
        raise typer.BadParameter("give --stdin or --random, not both")
    reviewer = _reviewer(reviewer_id)
    if random:
        password = secrets.token_urlsafe(15)
    elif from_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = typer.prompt("New password", hide_input=True, confirmation_prompt=True)
    try:
        account.check_password(normalized(password), reviewer.names)
    except Refusal as refusal:
        raise SafeguardsError(refusal.detail) from None

    async def work(store: Store) -> None:
        password_hash = await Passwords().hash(password)

        def rule(standing: Account | None, now: datetime) -> Change:
            return account.password_set(standing, reviewer.id, password_hash, now, actor=OPERATOR)

        await store.apply(account_id(reviewer.id), Account, rule)

    with_store(work)
    typer.echo(password if random else f"{reviewer.id} has a new password")


@reviewers.command("sign-out")
def sign_out(reviewer_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """End all sessions of somebody, at once; also of one who is no reviewer any more."""

    def rule(standing: Account | None, now: datetime) -> Change | None:
        return account.signed_out_everywhere(standing, now, OPERATOR)

    standing = with_store(lambda store: store.apply(account_id(reviewer_id), Account, rule))
    if standing is None:
        raise SafeguardsError(f"{reviewer_id!r} has never signed in")
    typer.echo(f"{reviewer_id} is signed out everywhere")


@reviewers.command("remove-password")
def remove_password(reviewer_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
    """Take somebody's password away, and end all their sessions; for one who has left, too."""

    def rule(standing: Account | None, now: datetime) -> Change | None:
        return account.password_removed(standing, now, OPERATOR)

    standing = with_store(lambda store: store.apply(account_id(reviewer_id), Account, rule))
    if standing is None:
        raise SafeguardsError(f"{reviewer_id!r} has never had a password")
    typer.echo(f"{reviewer_id} has no password")


@reviewers.command("list")
def list_reviewers(as_json: AsJson = False) -> None:
    """List the reviewers of the file, and whether each has a password."""
    known = load_directory(settings().reviewers_file).reviewers

    async def work(store: Store) -> list[Account | None]:
        _, records = await store.load([account_id(reviewer.id) for reviewer in known])
        return [record if isinstance(record, Account) else None for record in records]

    rows = [
        {
            "id": reviewer.id,
            "name": reviewer.name,
            "email": reviewer.email,
            "roles": ", ".join(sorted(reviewer.roles)),
            "groups": ", ".join(sorted(reviewer.groups)),
            "password": "set" if standing and standing.password_hash else "none",
        }
        for reviewer, standing in zip(known, with_store(work), strict=True)
    ]
    print_rows(rows, as_json)


def _reviewer(reviewer_id: str) -> Reviewer:
    found = load_directory(settings().reviewers_file).get(reviewer_id)
    if found is None:
        raise SafeguardsError(f"{reviewer_id!r} is not in the reviewers file")
    return found
