"""The rules of an account: which sessions hold, and which passwords are taken."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from safeguards_runtime.records import Account, Refusal, account
from safeguards_runtime.records.account import SESSION_AGE, SignInMethod, check_password

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
NAMES = ("sam", "Sam Miller", "sam.miller@example.com")


def standing(change: object) -> Account:
    after = getattr(change, "after", None)
    assert isinstance(after, Account)
    return after


def signed_in(before: Account | None = None, session_id: str = "one") -> Account:
    return standing(account.signed_in(before, "sam", session_id, SignInMethod.OIDC, NOW))


def test_a_first_sign_in_makes_the_account() -> None:
    made = signed_in()
    assert made.id == account.account_id("sam")
    assert made.password_hash is None
    assert made.holds("one", 0)


def test_a_password_that_was_changed_meanwhile_lets_nobody_in() -> None:
    """Two ways at once: what was verified must be what is in force when the session begins."""
    before = standing(account.password_set(None, "sam", "new", NOW))
    with pytest.raises(Refusal, match="changed just now"):
        account.signed_in(before, "sam", "one", SignInMethod.PASSWORD, NOW, verified_hash="old")
    with pytest.raises(Refusal, match="changed just now"):
        account.password_set(before, "sam", "mine", NOW, verified_hash="old")
    with pytest.raises(Refusal, match="changed just now"):
        account.signed_in(None, "sam", "one", SignInMethod.PASSWORD, NOW, verified_hash=None)


def test_signing_out_ends_one_session_once() -> None:
    before = signed_in()
    after = standing(account.signed_out(before, "one", NOW))
    assert not after.holds("one", after.epoch)
    assert after.holds("two", after.epoch)
    assert account.signed_out(after, "one", NOW) is None


def test_what_has_ended_is_forgotten_when_it_would_be_over_anyway() -> None:
    before = standing(account.signed_out(signed_in(), "one", NOW))
    almost = standing(account.signed_out(before, "two", NOW + SESSION_AGE - timedelta(seconds=1)))
    assert set(almost.ended) == {"one", "two"}
    later = standing(account.signed_out(almost, "three", NOW + SESSION_AGE))
    assert set(later.ended) == {"two", "three"}


@pytest.mark.parametrize("how", ["everywhere", "set", "removed"])
def test_every_session_ends_with_the_epoch(how: str) -> None:
    before = standing(account.password_set(None, "sam", "hash", NOW))
    changes = {
        "everywhere": account.signed_out_everywhere(before, NOW),
        "set": account.password_set(before, "sam", "other", NOW),
        "removed": account.password_removed(before, NOW, "operator"),
    }
    after = standing(changes[how])
    assert not after.holds("one", before.epoch)
    assert after.epoch == before.epoch + 1


def test_nothing_is_done_where_there_is_nothing_to_do() -> None:
    assert account.signed_out_everywhere(None, NOW) is None
    assert account.password_removed(None, NOW, "operator") is None
    assert account.password_removed(signed_in(), NOW, "operator") is None
    assert account.single_keys_turned(signed_in(), True, NOW) is None


@pytest.mark.parametrize(
    ("age", "idle", "is_over"),
    [
        (timedelta(hours=12), timedelta(0), True),
        (timedelta(hours=12) - timedelta(seconds=1), timedelta(0), False),
        (timedelta(hours=2), timedelta(hours=2), True),
        (timedelta(hours=2), timedelta(hours=2) - timedelta(seconds=1), False),
    ],
)
def test_a_session_lapses(age: timedelta, idle: timedelta, is_over: bool) -> None:
    assert account.has_lapsed(NOW - age, NOW - idle, NOW) is is_over


def test_no_secret_is_in_a_line_of_history() -> None:
    made = account.password_set(None, "sam", "the hash", NOW)
    came = account.signed_in(
        standing(made), "sam", "the session", SignInMethod.PASSWORD, NOW,
        verified_hash="the hash", better_hash="a better hash", browser="x" * 500,
    )  # fmt: skip
    for change in (made, came):
        _, line = change.sealed()
        assert "hash" not in str(line.detail)
        assert "session" not in str(line.detail)
        assert line.actor == "reviewer:sam"
    assert len(came.detail["browser"]) == 200


@pytest.mark.parametrize("password", ["correct horse battery", "x1y2z3x1y2z3", "Sam and others"])
def test_a_password_that_is_taken(password: str) -> None:
    check_password(password, NAMES)


@pytest.mark.parametrize(
    "password",
    [
        "",
        "elevenchars",
        "aaaaaaaaaaaaaaaaaaaa",
        "SamMiller2026!",
        "sam sam sam sam",
        "Sam.Miller@example.com",
        "sammillersammiller",
        "x1y2" * 251,
    ],
)
def test_a_password_that_is_refused(password: str) -> None:
    with pytest.raises(Refusal):
        check_password(password, NAMES)
