"""Signing in, and staying so: what a person may do, and what an attacker may not."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from safeguards_runtime.records import Account, Change
from safeguards_runtime.records.account import account_id
from services.gateway.console.session import COOKIE, Ticket, Tickets
from tests.console.doors import CHEAP, PEOPLE, Browser, Door, open_door, person
from tests.deploy.running import eventually


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with open_door(tmp_path_factory.mktemp("door")) as door:
        yield door


def attempt(client: Browser, name: str, password: str, **more: Any) -> Any:
    return client.post("/sign-in", data={"name": name, "password": password, **more})


def is_in(client: Browser) -> bool:
    return bool(client.get("/console/account").status_code == 200)


@pytest.mark.parametrize("name", ["sam", " sam ", "sam@example.com", "Sam@Example.COM"])
def test_by_name_or_mail_address_and_password(door: Door, name: str) -> None:
    with door.browser() as client:
        answer = attempt(client, name, door.passwords["sam"])
        assert answer.status_code == 303
        assert answer.headers["location"] == "/console"
        assert is_in(client)


def test_the_cookie_can_be_read_and_sent_by_nobody_else(door: Door) -> None:
    with door.browser() as client:
        cookie = attempt(client, "sam", door.passwords["sam"]).headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    parts = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert parts == {"httponly", "secure", "path=/", "samesite=lax", "max-age=43200"}


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("sam", "kim opens the door"),
        ("nobody", "sam opens the door"),
        ("olga", "sam opens the door"),  # has none
        ("olga", ""),
        ("", ""),
        ("sam\0", "sam opens the door"),
        ("s\u00e4m" * 2000, "x" * 20000),
    ],
)
def test_whatever_is_wrong_the_words_are_the_same(door: Door, name: str, password: str) -> None:
    with door.browser(**{"X-Forwarded-For": "192.0.2.1"}) as client:
        answer = attempt(client, name, password)
    assert answer.status_code == 403
    assert "That name and password do not belong together." in answer.text
    assert "set-cookie" not in answer.headers
    assert password == "" or password not in answer.text


def test_a_name_that_nobody_has_takes_as_long(door: Door) -> None:
    """Nora's hash is made as costly as they are in use. Compared by the quickest of several."""

    async def make_costly(store: Any) -> None:
        from argon2 import PasswordHasher

        given = PasswordHasher().hash(door.passwords["nora"])

        def rule(standing: Account | None, now: Any) -> Change:
            assert standing is not None
            after = standing.model_copy(update={"password_hash": given})
            return Change(standing, after, "password_set", "test", now)

        await store.apply(account_id("nora"), Account, rule)

    door.with_store(make_costly)
    seconds: dict[str, list[float]] = {"nora": [], "nobody": []}
    with door.browser() as client:
        for turn in range(8):
            client.headers["X-Forwarded-For"] = f"192.0.2.{100 + turn}"
            for name, taken in seconds.items():
                start = time.perf_counter()
                attempt(client, name, "something else entirely")
                taken.append(time.perf_counter() - start)
    known, unknown = min(seconds["nora"]), min(seconds["nobody"])
    assert 0.6 < known / unknown < 1.67, seconds


def test_attempts_run_out_for_names_that_are_and_are_not(door: Door) -> None:
    """From one address for one name; not for others, nor for that name from elsewhere."""
    for name in ("kim", "nobody-at-all"):
        with door.browser(**{"X-Forwarded-For": "192.0.2.2"}) as client:
            for _ in range(10):
                assert attempt(client, name, "wrong").status_code == 403
            refused = attempt(client, name, door.passwords["kim"])
            assert refused.status_code == 429
            assert 0 < int(refused.headers["Retry-After"]) <= 900
            assert "Try again in 15 minutes." in refused.text
            assert attempt(client, "sam", door.passwords["sam"]).status_code == 303
    with door.browser(**{"X-Forwarded-For": "192.0.2.3"}) as client:
        assert attempt(client, "kim", door.passwords["kim"]).status_code == 303


def test_one_address_locks_nobody_out_elsewhere(door: Door) -> None:
    """What is refused unseen does not count against the person."""
    with door.browser(**{"X-Forwarded-For": "192.0.2.40"}) as stranger:
        refused = [attempt(stranger, "kim", "wrong").status_code for _ in range(130)]
    assert refused.count(403) == 10
    with door.browser(**{"X-Forwarded-For": "192.0.2.41"}) as kim:
        assert attempt(kim, "kim", door.passwords["kim"]).status_code == 303


def test_attempts_run_out_for_an_address_whatever_the_names(door: Door) -> None:
    with door.browser(**{"X-Forwarded-For": "192.0.2.4"}) as client:
        for turn in range(50):
            assert attempt(client, f"guess-{turn}", "wrong").status_code == 403
        assert attempt(client, "sam", door.passwords["sam"]).status_code == 429


def test_only_failures_count(door: Door) -> None:
    with door.browser(**{"X-Forwarded-For": "192.0.2.5"}) as client:
        for _ in range(12):
            assert attempt(client, "sam", door.passwords["sam"]).status_code == 303


@pytest.mark.parametrize(
    "wanted",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example/console",
        "javascript:alert(1)",
        "/console\r\nSet-Cookie: a=b",
        "/console/..//evil.example",
        "/console//evil.example",
        "/\t/evil.example",
        "/api/v1/approvals",
        "/consoleevil",
        "",
        "/console/" + "x" * 3000,
    ],
)
def test_it_leads_to_our_own_pages_only(door: Door, wanted: str) -> None:
    with door.browser() as client:
        shown = client.get("/sign-in", params={"next": wanted}).text
        assert 'name="next" value="/console"' in shown
        answer = attempt(client, "sam", door.passwords["sam"], next=wanted)
        assert answer.headers["location"] == "/console"
        assert client.get("/sign-in", params={"next": wanted}).headers["location"] == "/console"


def test_it_leads_back_to_the_page_that_was_wanted(door: Door) -> None:
    with door.browser() as client:
        away = client.get("/console/account?changed=keys")
        assert away.status_code == 303
        assert away.headers["location"] == "/sign-in?next=/console/account%3Fchanged%3Dkeys"
        form = {"name": "sam", "password": door.passwords["sam"]}
        form["next"] = "/console/account?changed=keys"
        assert client.post("/sign-in", data=form).headers["location"] == form["next"]


def test_a_fetch_is_told_so_and_sent_nowhere(door: Door) -> None:
    with door.browser() as client:
        part = client.get("/console/account", headers={"HX-Request": "true"})
        stream = client.get("/console/account", headers={"Accept": "text/event-stream"})
        sent = client.post("/console/account/keys", data={"single_keys": "on"})
    assert (part.status_code, stream.status_code, sent.status_code) == (401, 401, 401)
    assert "You are signed out." in part.text
    assert "<html" not in part.text
    assert "Nothing was sent." in sent.text


def test_an_address_that_is_none_leads_nowhere(door: Door) -> None:
    """No browser says that it comes from there; it is answered as if nothing were said."""
    fetched = {"HX-Request": "true", "HX-Current-URL": "http://[x"}
    with door.browser() as client:
        part = client.get("/console", headers=fetched)
        sent = client.post("/console/bulk", headers={"Referer": "http://["})
    assert (part.status_code, sent.status_code) == (401, 401)
    assert 'href="/sign-in"' in part.text


@pytest.mark.parametrize("charset", ["undefined", "unicode_escape", "utf-7", "punycode", "idna"])
@pytest.mark.parametrize("path", ["/sign-in", "/console/bulk", "/console/account/keys"])
def test_a_form_is_in_utf_8(door: Door, path: str, charset: str) -> None:
    """Another charset may make no text of it."""
    with door.signed_in() as client:
        for given, statuses in ((charset, {400}), ("UTF-8", {200, 303, 403, 422})):
            kind = f'multipart/form-data; boundary=b; charset="{given}"'
            fields = ("name", "\\ud800"), ("seal", "\\ud800"), ("csrf", client.csrf())
            parts = (
                f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
                for name, value in fields
            )
            body = "".join(parts) + "--b--\r\n"
            answer = client.post(path, content=body, headers={"Content-Type": kind})
            assert answer.status_code in statuses, (given, answer.text[:300])


def test_the_first_page_knows_who_is_there(door: Door) -> None:
    with door.browser() as stranger, door.signed_in() as sam:
        assert stranger.get("/").headers["location"] == "/sign-in"
        assert sam.get("/").headers["location"] == "/console"
        assert sam.get("/sign-in").headers["location"] == "/console"


def test_a_session_never_begins_with_what_the_browser_brought(door: Door) -> None:
    """Signing in makes a new one, and ends the one before (no fixation)."""
    with door.signed_in() as client:
        before = client.held[COOKIE]
        attempt(client, "sam", door.passwords["sam"])
        assert client.held[COOKIE] != before
        with door.browser() as old:
            old.held[COOKIE] = before
            assert not is_in(old)


def test_a_copied_cookie_is_worth_nothing_after_signing_out(door: Door) -> None:
    with door.signed_in() as client, door.signed_in() as other, door.browser() as thief:
        thief.held[COOKIE] = client.held[COOKIE]
        assert is_in(thief)
        left = client.post("/sign-out", data={"csrf": client.csrf()})
        assert left.headers["location"] == "/sign-in?out"
        assert COOKIE not in client.held
        assert not is_in(thief)
        assert is_in(other), "another session of the same person goes on"


def test_signing_out_everywhere_ends_every_session(door: Door) -> None:
    with door.signed_in() as here, door.signed_in() as there, door.signed_in("kim") as kim:
        here.post("/sign-out/everywhere", data={"csrf": here.csrf()})
        assert not is_in(there)
        assert is_in(kim)


@pytest.mark.parametrize(
    "spoilt", ["", "x", "a.b", "W10.e30", "\u00e4", "null.AAAA", '"quoted"', "x" * 5000]
)
def test_what_was_not_sealed_here_is_nothing(door: Door, spoilt: str) -> None:
    with door.browser() as client:
        cookie = (b"Cookie", f"{COOKIE}={spoilt}".encode())
        assert client.get("/console/account", headers=[cookie]).status_code == 303


def test_a_seal_made_with_another_secret_is_nothing(door: Door) -> None:
    with door.signed_in() as client, door.browser() as forger:
        kept = door.with_store(lambda store: store.secret("sessions"))
        ticket = Tickets(kept).opened(client.held[COOKIE])
        assert ticket is not None
        forger.held[COOKIE] = Tickets("another secret").sealed(ticket)
        assert not is_in(forger)
        assert ticket.session_id not in Tickets(kept).csrf(ticket.session_id)


@pytest.mark.parametrize(
    ("age", "idle", "holds"),
    [
        (timedelta(hours=11), timedelta(minutes=1), True),
        (timedelta(hours=12), timedelta(minutes=1), False),
        (timedelta(hours=3), timedelta(hours=1, minutes=59), True),
        (timedelta(hours=3), timedelta(hours=2), False),
    ],
)
def test_it_lasts_twelve_hours_and_two_without_use(
    door: Door, age: timedelta, idle: timedelta, holds: bool
) -> None:
    with door.signed_in() as client:
        tickets = Tickets(door.with_store(lambda store: store.secret("sessions")))
        ticket = tickets.opened(client.held[COOKIE])
        assert ticket is not None
        now = ticket.began_at
        older = Ticket("sam", ticket.session_id, ticket.epoch, now - age, now - idle)
        client.held[COOKIE] = tickets.sealed(older)
        assert is_in(client) is holds
        if holds and idle > timedelta(minutes=5):
            renewed = tickets.opened(client.held[COOKIE])
            assert renewed is not None
            assert renewed.seen_at >= now
            assert renewed.began_at == older.began_at


def test_a_stream_keeps_no_session_alive(door: Door) -> None:
    with door.signed_in() as client:
        tickets = Tickets(door.with_store(lambda store: store.secret("sessions")))
        ticket = tickets.opened(client.held[COOKIE])
        assert ticket is not None
        hour = timedelta(hours=1)
        older = Ticket("sam", ticket.session_id, ticket.epoch, ticket.began_at - hour,
                       ticket.began_at - hour)  # fmt: skip
        client.held[COOKIE] = tickets.sealed(older)
        headers = {"Accept": "text/event-stream"}
        assert "set-cookie" not in client.get("/console/account", headers=headers).headers
        assert "set-cookie" in client.get("/console/account").headers


def test_whoever_is_no_longer_in_the_directory_is_out(door: Door) -> None:
    with door.signed_in("kim") as kim:
        door.write_people([one for one in PEOPLE if one["id"] != "kim"])
        try:
            eventually(lambda: not is_in(kim), "Kim is out", 5)
            assert attempt(kim, "kim", door.passwords["kim"]).status_code == 403
        finally:
            door.write_people(PEOPLE)
            back = {"name": "kim", "password": door.passwords["kim"]}
            eventually(lambda: kim.post("/sign-in", data=back).status_code == 303, "back", 5)


def test_whoever_loses_a_role_has_lost_it(door: Door) -> None:
    with door.signed_in("alex") as alex:
        assert ">admin<" in alex.get("/console/account").text
        door.write_people([person("alex"), *PEOPLE[1:]])
        try:
            eventually(lambda: ">admin<" not in alex.get("/console/account").text, "no admin", 5)
            refused = alex.get("/console/audit")
            assert refused.status_code == 403
            assert "This is for an operator" in refused.text
        finally:
            door.write_people(PEOPLE)
            eventually(lambda: ">admin<" in alex.get("/console/account").text, "admin", 5)


def test_a_form_needs_the_token_of_its_session(door: Door) -> None:
    with door.signed_in() as sam, door.signed_in("kim") as kim:
        for csrf in ("", "x", kim.csrf(), "\u00e4", sam.csrf()[:-1]):
            refused = sam.post("/console/account/keys", data={"csrf": csrf, "single_keys": "on"})
            assert refused.status_code == 403, csrf
            assert "Nothing was done" in refused.text
        headers = {"X-CSRF-Token": sam.csrf()}
        assert sam.post("/console/account/keys", headers=headers).status_code == 303


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 303),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "none"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "OWN"}, 403),
        ({"Origin": "OWN"}, 303),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({}, 303),
    ],
)
def test_a_form_comes_from_our_own_origin(door: Door, headers: dict[str, str], status: int) -> None:
    with door.signed_in() as sam:
        csrf = sam.csrf()
        del sam.headers["Sec-Fetch-Site"]
        given = {name: door.url if value == "OWN" else value for name, value in headers.items()}
        sent = sam.post("/console/account/keys", data={"csrf": csrf}, headers=given)
        assert sent.status_code == status
        form = {"name": "sam", "password": door.passwords["sam"]}
        assert sam.post("/sign-in", data=form, headers=given).status_code == status


def test_a_new_password_ends_all_other_sessions(door: Door) -> None:
    old, new = door.passwords["sam"], "four words \u00e4nd a half"
    with door.signed_in() as here, door.signed_in() as there:
        form = {"csrf": here.csrf(), "current": old, "new": new, "again": new}
        try:
            done = here.post("/console/account/password", data=form)
            assert done.headers["location"] == "/console/account?changed=password"
            assert is_in(here)
            assert not is_in(there)
            with door.browser() as again:
                assert attempt(again, "sam", old).status_code == 403
                # Another keyboard writes the same letter in two parts.
                assert attempt(again, "sam", new.replace("\u00e4", "a\u0308")).status_code == 303
        finally:
            door.with_store(door.set_passwords)


@pytest.mark.parametrize(
    ("changes", "words", "status"),
    [
        ({"current": "wrong"}, "This is not your password.", 403),
        ({"again": "something else"}, "not the same both times", 422),
        ({"new": "short"}, "at least 12 characters", 422),
        ({"new": "sam 12345 SAM"}, "other than your own name", 422),
        ({"new": "Sam@Example.com"}, "other than your own name", 422),
        ({"new": "aaaaaaaaaaaaaaaa"}, "different characters", 422),
        ({"new": "x1y2" * 400}, "at most 1,000", 422),
    ],
)
def test_a_new_password_that_is_refused(
    door: Door, changes: dict[str, str], words: str, status: int
) -> None:
    with door.signed_in() as sam:
        form = {"current": door.passwords["sam"], "new": "a new one entirely", **changes}
        form = {"csrf": sam.csrf(), "again": form["new"], **form}
        refused = sam.post("/console/account/password", data=form)
        assert refused.status_code == status
        assert words in refused.text
        assert is_in(sam)


def test_guessing_the_current_password_runs_out_too(door: Door) -> None:
    with door.signed_in("nora") as nora:
        nora.headers["X-Forwarded-For"] = "192.0.2.6"
        form = {"csrf": nora.csrf(), "new": "a new one entirely", "again": "a new one entirely"}
        for _ in range(10):
            sent = nora.post("/console/account/password", data={**form, "current": "guess"})
            assert sent.status_code == 403
        sent = nora.post("/console/account/password", data={**form, "current": "guess"})
        assert sent.status_code == 429


def test_a_hash_of_old_parameters_is_made_anew(door: Door) -> None:
    door.with_store(door.set_passwords)
    before = door.account("sam")
    door.signed_in("sam").close()
    after = door.account("sam")
    assert before is not None
    assert after is not None
    assert CHEAP.memory_cost == 64
    assert "m=64," in (before.password_hash or "")
    assert "m=65536," in (after.password_hash or "")


def test_single_keys_are_turned_off_and_on(door: Door) -> None:
    with door.signed_in() as sam:
        csrf = sam.csrf()
        sam.post("/console/account/keys", data={"csrf": csrf})
        assert 'data-single-keys="off"' in sam.get("/console/account").text
        sam.post("/console/account/keys", data={"csrf": csrf, "single_keys": "on"})
        assert 'data-single-keys="on"' in sam.get("/console/account").text


def test_the_account_shows_where_one_has_signed_in(door: Door) -> None:
    agent = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140 Safari/537.36 <b>"
    with door.browser(**{"X-Forwarded-For": "203.0.113.7", "User-Agent": agent}) as sam:
        attempt(sam, "sam", door.passwords["sam"])
        page = sam.get("/console/account").text
    assert "203.0.113.7, Chrome on Linux" in page
    assert "<b>" not in page


def test_nothing_secret_is_in_the_history(door: Door) -> None:
    door.signed_in().close()
    lines = door.with_store(lambda store: store.history(account_id("sam")))
    written = " ".join(line.model_dump_json() for line in lines)
    assert "signed_in" in written
    assert "$argon2" not in written
    assert "opens the door" not in written


def test_the_pages_may_not_be_framed_or_kept(door: Door) -> None:
    with door.browser() as client:
        headers = client.get("/sign-in").headers
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"


def admin(door: Door, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Run `safeguards-admin reviewers` on the gateway's store."""
    return subprocess.run(
        [sys.executable, "-m", "safeguards_runtime.admin", "reviewers", *arguments],
        env=door.environment,
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_passwords_by_command(door: Door) -> None:
    """Set at random, from a pipe, taken away; and somebody is signed out from afar."""
    with door.browser() as olga:
        password = admin(door, "set-password", "olga", "--random").stdout.strip()
        assert attempt(olga, "olga", password).status_code == 303
        assert "olga is signed out" in admin(door, "sign-out", "olga").stdout
        assert not is_in(olga)
        admin(door, "set-password", "olga", "--stdin", given="three words here\n")
        assert attempt(olga, "olga", "three words here").status_code == 303
        assert "password=set" in admin(door, "list").stdout
        assert "has no password" in admin(door, "remove-password", "olga").stdout
        assert not is_in(olga)
        assert attempt(olga, "olga", "three words here").status_code == 403


def test_commands_that_are_refused(door: Door) -> None:
    weak = admin(door, "set-password", "sam", "--stdin", given="short\n")
    assert (weak.returncode, weak.stdout) == (1, "")
    assert "at least 12 characters" in weak.stderr
    unknown = admin(door, "set-password", "nobody", "--random")
    assert "'nobody' is not in the reviewers file" in unknown.stderr
    assert "has never signed in" in admin(door, "sign-out", "nobody").stderr
