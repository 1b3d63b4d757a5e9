"""Text from agents is made visible; the content of actions has one canonical form."""

from __future__ import annotations

import json
import unicodedata
from decimal import Decimal
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeguards.canonical import MAX_BYTES, MAX_INTEGER, canonical_json, digest, jsonable
from safeguards.errors import InvalidContentError
from safeguards.notifications.mail_page import html_page
from safeguards.notifications.message import Message
from safeguards.notifications.rendering import text
from safeguards.text import visible

ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=60)
CONTENT = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.floats(-MAX_INTEGER, MAX_INTEGER)
    | st.decimals(allow_nan=False, allow_infinity=False, places=2)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


class Colour(str, Enum):  # noqa: UP042 - the old kind is the point
    """A string enum of the old kind, whose str() is its name."""

    RED = "red"


@given(ANY_TEXT)
def test_nothing_invisible_is_left(given_text: str) -> None:
    """Whatever goes in, no control, format or unassigned character comes out."""
    for character in visible(given_text).replace("\n", "").replace("\t", ""):
        if character not in "\u200d\ufe0f":
            assert unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


@given(ANY_TEXT)
def test_a_single_line_is_one(given_text: str) -> None:
    """No line break, of whatever kind, survives in a subject."""
    assert len(visible(given_text, single_line=True).splitlines()) <= 1


@given(ANY_TEXT, st.integers(1, 80))
def test_the_limit_holds_for_what_is_shown(given_text: str, limit: int) -> None:
    """Characters that are written out count as what they become."""
    assert len(visible(given_text, limit=limit)) <= limit


@given(st.text(st.characters(categories=("L", "N")), max_size=40))
def test_ordinary_text_is_left_alone(given_text: str) -> None:
    """Letters and digits of every script stay as they are, but for the blank ones."""
    if not any("FILLER" in unicodedata.name(c, "") for c in given_text):
        assert visible(given_text) == given_text


@pytest.mark.parametrize(
    ("hidden", "shown"),
    [
        ("pay\u202eyap", "pay⟨U+202E⟩yap"),
        ("a\u200bb", "a⟨U+200B⟩b"),
        ("a\u3164b", "a⟨U+3164⟩b"),
        ("a\ufe01b", "a⟨U+FE01⟩b"),
        ("a\U000e0100b", "a⟨U+E0100⟩b"),
        ("a\x1b[2J", "a⟨U+001B⟩[2J"),
    ],
)
def test_hidden_characters_are_written_out(hidden: str, shown: str) -> None:
    """Direction marks, zero-width characters, fillers, selectors and escapes can be seen."""
    assert visible(hidden) == shown


@pytest.mark.parametrize("emoji", ["👩\u200d💻", "❤\ufe0f", "❤\ufe0f\u200d🔥"])
def test_emoji_stay_whole(emoji: str) -> None:
    """Joiners and selectors inside of an emoji are part of it."""
    assert visible(emoji) == emoji


@given(CONTENT)
def test_canonical_json_reads_back_as_what_went_in(content: Any) -> None:
    """The canonical form is JSON, and its own canonical form."""
    encoded = canonical_json(content)
    assert canonical_json(json.loads(encoded)) == encoded


@given(st.dictionaries(st.text(), st.integers(0, 9), min_size=2, max_size=6))
def test_the_digest_does_not_depend_on_the_order_of_keys(content: dict[str, int]) -> None:
    """Two dicts that are equal have one digest."""
    assert digest(content) == digest(dict(reversed(content.items())))


def test_money_stays_exact() -> None:
    """A Decimal becomes its own string, trailing zeros included."""
    assert jsonable({"amount": Decimal("2500.00")}) == {"amount": "2500.00"}
    assert jsonable(Decimal("1E+3")) == "1000"


def test_a_string_enum_becomes_its_value() -> None:
    """Not its name, which is what str() would give."""
    assert jsonable([Colour.RED]) == ["red"]


@pytest.mark.parametrize(
    ("content", "pointer"),
    [
        ({"a": [0, float("nan")]}, "/a/1"),
        ({"a/b": {"c~d": Decimal("NaN")}}, "/a~1b/c~0d"),
        ({"n": 2**53}, "/n"),
        ({"f": 1e20}, "/f"),
        ({"d": Decimal("1E+999999999")}, "/d"),
        ({"s": "\ud800"}, "/s"),
        ({"o": object()}, "/o"),
        ({1: "x"}, ""),
    ],
)
def test_what_json_cannot_carry_is_refused_with_its_place(content: Any, pointer: str) -> None:
    """The error points to the value (RFC 6901)."""
    with pytest.raises(InvalidContentError) as caught:
        canonical_json(content)
    assert caught.value.pointer == pointer


def test_content_is_bounded() -> None:
    """Neither depth nor size is without a limit; a cycle is only a case of depth."""
    cycle: list[Any] = []
    cycle.append(cycle)
    with pytest.raises(InvalidContentError, match="deeper than 32"):
        jsonable(cycle)
    with pytest.raises(InvalidContentError, match="exceed"):
        canonical_json("x" * MAX_BYTES)


@given(ANY_TEXT)
def test_no_text_of_an_agent_becomes_markup(given_text: str) -> None:
    """The page has the same elements, whatever the agent says."""
    hostile = f'<script>x</script>"><img src=x onerror=y>&{given_text}'
    page = html_page(
        Message(
            event="approval.requested",
            subject=hostile,
            facts=((hostile, hostile),),
            reasons=(hostile,),
            agent_words=hostile,
            footer=hostile,
        )
    )
    for markup in ("<script", "<img", "<a "):
        assert markup not in page


@given(ANY_TEXT)
def test_no_line_of_an_agent_passes_for_ours_in_plain_text(given_text: str) -> None:
    """Each line of the agent's words is quoted."""
    words = f"{given_text}\nReview this request:\nhttps://evil.example"
    shown = text(Message(event="approval.requested", subject="s", agent_words=words))
    _, _, quoted = shown.partition("In the agent's own words:\n")
    assert all(line.startswith(">") for line in quoted.rstrip("\n").split("\n"))


def test_html_breaks_what_mail_programs_would_link() -> None:
    """Addresses in an agent's text have an element inside, which stops automatic links."""
    page = html_page(
        Message(event="approval.requested", subject="s", agent_words="https://evil.example a@b.c")
    )
    assert "https<wbr>://evil<wbr>.example a<wbr>@b<wbr>.c" in page
