"""The password of `make run`'s one reviewer: made once, kept in the data folder, printed."""

from __future__ import annotations

import json
import secrets
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.data_folder import write_private
from safeguards_runtime.passwords import Passwords
from safeguards_runtime.records import Account, Change, account
from safeguards_runtime.records.account import OPERATOR, account_id
from safeguards_runtime.store import Store

if TYPE_CHECKING:
    from deploy.local import Stack

REVIEWER = "alex"
"""Whom the shipped reviewers file knows."""

PASSWORD_FILE = "demo_reviewer_password.json"  # noqa: S105 - a file's name


async def how_to_sign_in(stack: Stack) -> str:
    """Return how to sign in to the console: as whom, and with what, made on first use."""
    if stack.has_own_reviewers:
        return "`safeguards-admin reviewers set-password ID` lets somebody sign in"
    path = stack.folder.path / PASSWORD_FILE
    password = await ensure_password(stack.store_url, stack.settings.store_replicas, path)
    if password is None:
        return f"sign in as {REVIEWER}, with the password set since"
    return f"sign in as {REVIEWER}, password {password}"


async def ensure_password(store_url: str, replicas: int, path: Path) -> str | None:
    """Give the reviewer a password unless they have one.

    Args:
        store_url: where their account is.
        replicas: of the store's.
        path: the file that keeps it.

    Returns:
        The password, or None if it has been changed since it was made here.
    """
    store = Store(store_url, replicas=replicas)
    try:
        standing = await store.get(account_id(REVIEWER), Account)
        if standing is not None and standing.password_hash is not None:
            return _kept(path, standing.password_hash)
        password = secrets.token_urlsafe(15)
        password_hash = await Passwords().hash(password)

        def rule(standing: Account | None, now: datetime) -> Change:
            return account.password_set(standing, REVIEWER, password_hash, now, actor=OPERATOR)

        # First the file: a password that nobody knows would be of no use to anybody.
        kept = {"reviewer": REVIEWER, "password": password, "password_hash": password_hash}
        write_private(path, json.dumps(kept, indent=2) + "\n")
        await store.apply(account_id(REVIEWER), Account, rule)
        return password
    finally:
        await store.close()


def _kept(path: Path, password_hash: str) -> str | None:
    """Return the password that was kept for this hash."""
    try:
        found = json.loads(path.read_text())
        return str(found["password"]) if found["password_hash"] == password_hash else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
