"""An account: how a reviewer signs in to the console, and which of their sessions still hold.

There is no record of a session: what a browser holds is sealed, and holds good while the account
has not ended it. An account is made when its reviewer first signs in, or is given a password.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from safeguards.identifiers import named_id
from safeguards_runtime.records.record import Change, Record, Refusal

SESSION_AGE = timedelta(hours=12)
"""How long a session lasts at most."""

IDLE_AGE = timedelta(hours=2)
"""How long one lasts in which nothing is done."""

MIN_PASSWORD = 12
MAX_PASSWORD = 1000
"""Characters of a password; see `check_password`."""

OPERATOR = "operator"
"""The actor of what is done by command."""


class SignInMethod(StrEnum):
    """How somebody has signed in."""

    PASSWORD = "password"  # noqa: S105 - the name of a way, not a password
    """By a password."""

    OIDC = "oidc"
    """By the operator's OpenID provider."""


class Account(Record):
    """How a reviewer signs in. Its secret is not kept, only the password's hash."""

    reviewer_id: str
    password_hash: str | None = None
    """Argon2id in its PHC form; None for who signs in by OpenID Connect only."""

    password_set_at: datetime | None = None
    epoch: int = 0
    """Sessions of an earlier one have ended, all of them."""

    ended: dict[str, datetime] = {}
    """The sessions that have been signed out, each with the time; kept while they would hold."""

    single_keys: bool = True
    """Whether keys without a modifier do something in the console."""

    def holds(self, session_id: str, epoch: int) -> bool:
        """Tell whether a session has not been ended."""
        return epoch == self.epoch and session_id not in self.ended


def account_id(reviewer_id: str) -> str:
    """Return the identifier of a reviewer's account."""
    return named_id("acc", reviewer_id)


def has_lapsed(began_at: datetime, seen_at: datetime, now: datetime) -> bool:
    """Tell whether a session is over by its age, or because nothing was done in it."""
    return now >= began_at + SESSION_AGE or now >= seen_at + IDLE_AGE


def check_password(password: str, names: Iterable[str]) -> None:
    """Refuse a new password that is too short, or no more than who it is for.

    Args:
        password: the new one, normalized.
        names: the person's id, name and mail address.

    Raises:
        Refusal: `weak_password`, in words for whoever chose it.
    """
    if len(password) < MIN_PASSWORD:
        raise Refusal("weak_password", f"Take at least {MIN_PASSWORD} characters.")
    if len(password) > MAX_PASSWORD:
        raise Refusal("weak_password", f"Take at most {MAX_PASSWORD:,} characters.")
    if len(set(password)) < 4:
        raise Refusal("weak_password", "Take more than three different characters.")
    own = {_bare(part) for name in names for part in (name, name.partition("@")[0])}
    if _bare(password) in own - {""}:
        raise Refusal("weak_password", "Take something other than your own name.")


def _bare(text: str) -> str:
    """Return the letters of a text, once where they repeat themselves: of `AlexAlex1`, `alex`."""
    letters = "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalpha())
    again = (letters + letters).find(letters, 1)
    return letters[:again] if 0 < again < len(letters) else letters


def signed_in(
    account: Account | None,
    reviewer_id: str,
    session_id: str,
    method: SignInMethod,
    now: datetime,
    *,
    address: str = "",
    browser: str = "",
    verified_hash: str | None = None,
    better_hash: str | None = None,
    instead_of: str | None = None,
) -> Change:
    """Begin a session.

    Args:
        account: as it stands in the store, or None.
        reviewer_id: whose it is.
        session_id: the new session's.
        method: how they proved who they are.
        now: the store's clock, UTC.
        address: where they came from.
        browser: what they came with.
        verified_hash: what their password fitted.
        better_hash: the same password hashed as is done today.
        instead_of: the session that this browser had until now; it ends.

    Raises:
        Refusal: `password_changed` since it was verified.
    """
    if method is SignInMethod.PASSWORD and (
        account is None or account.password_hash != verified_hash
    ):
        raise Refusal("password_changed", "Your password was changed just now. Sign in anew.")
    before = account
    account = account or Account(id=account_id(reviewer_id), reviewer_id=reviewer_id)
    update: dict[str, Any] = {"ended": _ended(account, instead_of, now)}
    if better_hash is not None:
        update["password_hash"] = better_hash
    detail = {"method": method.value, "address": address[:100], "browser": browser[:200]}
    after = account.model_copy(update=update)
    return Change(before, after, "signed_in", _by(reviewer_id), now, detail)


def signed_out(account: Account, session_id: str, now: datetime) -> Change | None:
    """End one session. None if it has ended before."""
    if session_id in account.ended:
        return None
    after = account.model_copy(update={"ended": _ended(account, session_id, now)})
    return Change(account, after, "signed_out", _by(account.reviewer_id), now)


def signed_out_everywhere(
    account: Account | None, now: datetime, actor: str | None = None
) -> Change | None:
    """End all sessions. None if there never was one."""
    if account is None:
        return None
    after = account.model_copy(update={"epoch": account.epoch + 1, "ended": {}})
    return Change(account, after, "signed_out_everywhere", actor or _by(account.reviewer_id), now)


def password_set(
    account: Account | None,
    reviewer_id: str,
    password_hash: str,
    now: datetime,
    *,
    actor: str | None = None,
    verified_hash: str | None = None,
) -> Change:
    """Set a password. Every session ends: whoever knew the old one has to leave.

    Args:
        account: as it stands in the store, or None.
        reviewer_id: whose it is.
        password_hash: the new password's.
        now: the store's clock, UTC.
        actor: who does it; the reviewer themself unless given.
        verified_hash: what the old password fitted, where it had to be given.

    Raises:
        Refusal: `password_changed` since it was verified.
    """
    if verified_hash is not None and (account is None or account.password_hash != verified_hash):
        raise Refusal("password_changed", "Your password was changed just now. Try again.")
    before = account
    account = account or Account(id=account_id(reviewer_id), reviewer_id=reviewer_id)
    update = {
        "password_hash": password_hash,
        "password_set_at": now,
        "epoch": account.epoch + 1,
        "ended": {},
    }
    after = account.model_copy(update=update)
    return Change(before, after, "password_set", actor or _by(reviewer_id), now)


def password_removed(account: Account | None, now: datetime, actor: str) -> Change | None:
    """Take the password away; every session ends. None if there is none."""
    if account is None or account.password_hash is None:
        return None
    update: dict[str, Any] = {
        "password_hash": None,
        "password_set_at": None,
        "epoch": account.epoch + 1,
        "ended": {},
    }
    return Change(account, account.model_copy(update=update), "password_removed", actor, now)


def single_keys_turned(account: Account, is_on: bool, now: datetime) -> Change | None:
    """Let keys without a modifier do something in the console, or nothing. None if it is so."""
    if account.single_keys == is_on:
        return None
    event = "single_keys_on" if is_on else "single_keys_off"
    after = account.model_copy(update={"single_keys": is_on})
    return Change(account, after, event, _by(account.reviewer_id), now)


def _ended(account: Account, session_id: str | None, now: datetime) -> dict[str, datetime]:
    """Return the ended sessions with one more, without those that would be over anyway."""
    kept = {one: at for one, at in account.ended.items() if now < at + SESSION_AGE}
    return {**kept, session_id: now} if session_id else kept


def _by(reviewer_id: str) -> str:
    return f"reviewer:{reviewer_id}"
