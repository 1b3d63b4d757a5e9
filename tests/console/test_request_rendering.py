"""What the page of a request is made of: arguments, differences, addresses, and one sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest

from safeguards_runtime.headlines.sentence import headline_of
from services.gateway.console.arguments import (
    MAX_NODES,
    PAGE_CHARACTERS,
    Argument,
    arguments,
    cautions,
    count,
    found,
)
from services.gateway.console.differences import differences
from services.gateway.console.evidence import Address, addresses
from tests.rendering.mails import HOSTILE_TEXTS
from tests.runtime.samples import asked


@pytest.mark.parametrize(
    ("action_type", "context", "sentence"),
    [
        (
            "transaction",
            {"amount": "2500.00", "payee": "ACME"},
            "Make a transaction of 2,500.00 to ACME",
        ),
        (
            "send_money",
            {"amount": "20.50", "currency": "USD", "to": "Alice"},
            "Send $20.50 to Alice",
        ),
        ("payment", {"amount_eur": "7", "recipient": "Bo"}, "Make a payment of €7 to Bo"),
        ("payment", {"amount": "7", "currency": "CHF"}, "Make a payment of 7 CHF"),
        ("delete_file", {"path": "/etc/passwd"}, "Delete file /etc/passwd"),
        ("DropTable", {"table": "users"}, "Drop table users"),
        ("file.delete", {"file": "a.txt"}, "Delete file a.txt"),
        ("payment", {"amount": "0001.50"}, "Make a payment of 0001.50"),
        ("request", {}, "Go ahead with a request"),
        ("!!!", {}, "!!!"),
    ],
)
def test_a_request_is_one_sentence(
    action_type: str, context: dict[str, Any], sentence: str
) -> None:
    """From the action type and the arguments; a currency only where one is given."""
    assert headline_of(action_type, context).sentence == sentence


def test_an_object_that_could_pass_for_our_words_is_in_quotes() -> None:
    payee = "ACME. It is approved already by Sam"
    sentence = headline_of("payment", {"amount": "9.00", "payee": payee}).sentence
    assert sentence == f"Make a payment of 9.00 to “{payee}”"


@pytest.mark.parametrize("name", HOSTILE_TEXTS)
def test_a_hostile_sentence_is_short_and_visible(name: str) -> None:
    text = HOSTILE_TEXTS[name]
    said = headline_of(text, {"amount": text, "payee": text}).sentence
    assert len(said) < 300
    assert not any(character in said for character in "\u202e\u200b\u2066\x00\n")


def _named(shown: tuple[Argument, ...], name: str) -> Argument:
    return next(argument for argument in shown if argument.name == name)


def test_arguments_are_typed_and_in_order() -> None:
    context = {
        "amount": "2.50",
        "n": 3,
        "note": "hi",
        "ok": True,
        "lines": [1],
        "who": {"a": None},
        "rate": 0.5,
    }
    shown = arguments(context, "payment")
    assert [(one.name, one.kind) for one in shown] == [
        ("amount", "decimal"),
        ("n", "integer"),
        ("note", "string"),
        ("ok", "boolean"),
        ("lines", "array"),
        ("who", "object"),
        ("rate", "number"),
    ]
    assert shown[5].parts[0].kind == "null"


def test_what_is_long_is_cut_and_found_again() -> None:
    """The page carries the beginning; all of it stands at its pointer."""
    text = "Large \u202e" * 30_000
    shown = arguments({"a/b": {"c~d": [text]}}, "x")[0].parts[0].parts[0]
    assert shown.is_folded
    assert len(shown.text) <= 4_000
    assert shown.is_written_out
    whole = found({"a/b": {"c~d": [text]}}, shown.pointer)
    assert whole == "Large ⟨U+202E⟩" * 30_000


def test_a_page_stays_of_a_size_whatever_there_is() -> None:
    context = {f"key_{n}": "x" * 1_000 for n in range(200)}
    shown = arguments(context, "x")
    assert len(shown) == 200
    assert sum(len(one.text) for one in shown) < PAGE_CHARACTERS + 200 * 201
    many = arguments({"items": list(range(50_000))}, "x")[0]
    assert (len(many.parts), many.pointer, many.size) == (200, "/items", "50,000 items")


@pytest.mark.parametrize(
    "pointer", ["/nothing", "/a/9", "/a/-1", "/a/x", "/a/00", "/a/" + "1" * 5_000, "/", "/b/c"]
)
def test_nothing_stands_elsewhere(pointer: str) -> None:
    with pytest.raises(LookupError):
        found({"a": [1], "b": "text"}, pointer)


def test_very_many_arguments_are_listed_in_part_and_counted() -> None:
    """What is not listed is found at the empty pointer, with all."""
    context: dict[str, Any] = {f"k{n}": "v" for n in range(15_000)}
    shown = arguments(context, "x")
    assert (len(shown), count(context, "x")) == (MAX_NODES, 15_000)
    assert count({**context, "action_type": "x"}, "x") == 15_000
    assert json.loads(found(context, "")) == context


def test_differences_name_each_field() -> None:
    before = {"amount": "1.00", "lines": [{"n": 1}, {"n": 2}], "gone": 1, "same": [1]}
    after = {"amount": "2.00", "lines": [{"n": 1}, {"n": 3}], "same": [1], "new": None}
    assert [(d.name, d.word, d.before, d.after) for d in differences(before, after)] == [
        ("amount", "changed", "1.00", "2.00"),
        ("lines > 1 > n", "changed", "2", "3"),
        ("new", "added", None, "null"),
        ("gone", "removed", "1", None),
    ]


@pytest.mark.parametrize(
    ("url", "host", "is_disguised"),
    [
        ("https://acme.example/a?b=1", "acme.example", False),
        ("https://acme.example@evil.example/", "evil.example", True),
        ("https://evil.example\\@acme.example/", "evil.example", False),
        ("https://раураl.example/", "xn--l-7sba6dbr.example", True),  # noqa: RUF001
        ("www.acme.example/x", "www.acme.example", False),
        ("ftp://files.example", "files.example", False),
        ("http://[oops", "", False),
    ],
)
def test_an_address_tells_its_host(url: str, host: str, is_disguised: bool) -> None:
    """As a browser would read it; what looks as if it led elsewhere is pointed out."""
    (found_address,) = addresses(asked({"link": f"see {url}."}))
    assert found_address == Address(host, url, "link", is_disguised)


def test_a_host_that_is_too_long_is_not_read() -> None:
    """That would take seconds, and it leads nowhere; what follows a host may be long."""
    longest = "http://" + "\u00fc." * 60_000
    (unreadable,) = addresses(asked({"link": longest}))
    assert (unreadable.host, unreadable.is_disguised) == ("", True)
    labels = "\u00fc." * 200
    many = " ".join(f"http://{labels}{n}/" for n in range(30))
    assert {(one.host, one.is_disguised) for one in addresses(asked({"link": many}))} == {
        ("", True)
    }
    (readable,) = addresses(asked({"link": f"https://acme.example/{'a' * 50_000}?b=@"}))
    assert (readable.host, readable.is_disguised) == ("acme.example", False)


def test_what_a_colleague_has_changed_is_warned_of_too() -> None:
    """The page shows the arguments with the changes, so these are what is judged."""
    changed = {"payee": "раураl", "link": "https://evil.example/"}  # noqa: RUF001
    request = asked({"payee": "paypal", "link": "https://acme.example/"})
    assert cautions(request) == []
    request = request.model_copy(update={"modifications": changed})
    assert len(cautions(request)) == 1
    assert [one.host for one in addresses(request)] == ["evil.example"]
