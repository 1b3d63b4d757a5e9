"""Differences hide nothing: what is left out is counted, and texts are cut around the change."""

from __future__ import annotations

from typing import Any

import pytest

from services.gateway.console.differences import (
    MAX_NAMED,
    MAX_SHOWN,
    TEXT_LIMIT,
    difference_of_text,
    differences,
)


def test_fields_that_are_not_shown_are_counted_and_named() -> None:
    before = {f"field_{n}": "1" for n in range(MAX_SHOWN + MAX_NAMED + 7)}
    after = dict.fromkeys(before, "2")
    *shown, more = differences(before, after)
    assert len(shown) == MAX_SHOWN
    assert (more.word, more.count) == ("left_out", MAX_NAMED + 7)
    assert more.name.startswith(f"field_{MAX_SHOWN}, field_{MAX_SHOWN + 1}, ")
    assert more.name.endswith(", …")
    *_, last = differences(before, {**before, **dict(list(after.items())[: MAX_SHOWN + 1])})
    assert (last.word, last.count, last.name) == ("left_out", 1, f"field_{MAX_SHOWN}")
    whole = differences(before, {**before, **dict(list(after.items())[:MAX_SHOWN])})
    assert {one.word for one in whole} == {"changed"}


@pytest.mark.parametrize("same", [TEXT_LIMIT - 1, 2_500, 50_000])
@pytest.mark.parametrize("character", ["a", "\u202e", "\U000e0041"])
def test_a_long_text_is_cut_around_its_first_difference(same: int, character: str) -> None:
    before, after = character * same + "X" + "b" * 9_000, character * same + "Y" + "b" * 9_000
    for (one,) in (
        differences({"t": before}, {"t": after}),
        difference_of_text("t", before, after),
    ):
        assert one.begins == same + 1
        assert one.before is not None
        assert one.after is not None
        assert one.before.startswith("…")
        assert "X" in one.before
        assert "Y" in one.after
        assert max(len(one.before), len(one.after)) <= TEXT_LIMIT + 1


def test_a_text_that_goes_on_differs_where_the_other_ends() -> None:
    (one,) = differences({"t": "a" * 5_000}, {"t": "a" * 5_000 + "!"})
    assert (one.before, one.after) == ("…" + "a" * 100, "…" + "a" * 100 + "!")
    assert one.begins == 5_001
    (short,) = differences({"t": "a"}, {"t": "b"})
    assert (short.before, short.after, short.begins) == ("a", "b", 0)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (5, "5"),
        (None, "null"),
        (True, "true"),
        (["x"], '[\n "x"\n]'),
        ("\u202e", "⟨U+202E⟩"),
        ("a\r\nb", "a\nb"),
        ("a" * 9_000 + "\r\n", "a" * 9_000 + "\n"),
        ("", "nothing"),
    ],
)
def test_what_differs_never_looks_the_same(before: Any, after: Any) -> None:
    (one,) = differences({"x": before}, {"x": after})
    assert one.word == "changed"
    assert one.before != one.after
    assert differences({"x": before}, {"x": before}) == ()


def test_numbers_that_are_the_same_do_not_differ() -> None:
    """As in canonical JSON (RFC 8785, section 3.2.2.3); a number is not a truth value."""
    assert differences({"x": 1, "y": 0.0}, {"x": 1.0, "y": -0.0}) == ()
    assert len(differences({"x": 1}, {"x": True})) == 1
