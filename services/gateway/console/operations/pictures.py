"""The geometry of the insights' pictures: where each bar is, in percent of the width and pixels.

Widths are percentages, so that a picture is as wide as its place while its words keep their size.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from services.gateway.console.operations.figures import SPANS, Haste, Tally
from services.gateway.wording import duration

HEIGHT = 160
"""Of a picture with columns, without what is written below them, in pixels."""

ROW_HEIGHT = 48
MAX_BARS = 12

KINDS = ("approved", "changed", "rejected", "timed_out", "withdrawn")
"""How a request may have ended: the attributes of `Tally`, from below in a column."""


@dataclass(frozen=True)
class Piece:
    """A rectangle; `x` and `width` in percent, `y` and `height` in pixels."""

    kind: str
    x: float
    width: float
    y: float
    height: float


@dataclass(frozen=True)
class Mark:
    """Words in a picture.

    Attributes:
        x: where, in percent.
        anchor: which part of the words is there: start, middle or end.
    """

    x: float
    text: str
    anchor: str = "middle"


@dataclass(frozen=True)
class Columns:
    """A picture with columns beside each other."""

    pieces: tuple[Piece, ...]
    marks: tuple[Mark, ...]
    top: int
    """What the upper edge stands for."""

    height: int = HEIGHT


@dataclass(frozen=True)
class Bar:
    """A row with a name, a bar, and what it says at its end."""

    name: str
    pieces: tuple[Piece, ...]
    text: str
    y: float


@dataclass(frozen=True)
class Bars:
    """A picture with bars below each other, the longest first."""

    rows: tuple[Bar, ...]
    left_out: int
    """How many there is no room for: the table has them."""

    @property
    def height(self) -> int:
        """In pixels."""
        return len(self.rows) * ROW_HEIGHT


def columns(days: Mapping[date, Tally]) -> Columns:
    """Draw a column for each day, in pieces by how its requests ended."""
    top = _round_up(max((tally.total for tally in days.values()), default=0))
    step = 100 / max(len(days), 1)
    gap = min(step * 0.2, 1.0)
    pieces = []
    for n, tally in enumerate(days.values()):
        y = float(HEIGHT)
        for kind in KINDS:
            height = getattr(tally, kind) / top * HEIGHT
            y -= height
            if height:
                x = round(n * step + gap / 2, 3)
                width = round(step - gap, 3)
                pieces.append(Piece(kind, x, width, round(y, 2), round(height, 2)))
    return Columns(tuple(pieces), _dates(list(days)), top)


def _dates(days: Sequence[date]) -> tuple[Mark, ...]:
    if not days:
        return ()
    said = [f"{day.day} {day:%b}" for day in days]
    if len(days) == 1:
        return (Mark(50, said[0]),)
    middle = len(days) // 2
    at = (middle + 0.5) * 100 / len(days)
    return (Mark(0, said[0], "start"), Mark(at, said[middle]), Mark(100, said[-1], "end"))


def bars(groups: Mapping[str, Tally]) -> Bars:
    """Draw a bar for each group, in pieces by how its requests ended."""
    longest = max((tally.total for tally in groups.values()), default=0)
    rows = []
    for n, (name, tally) in enumerate(list(groups.items())[:MAX_BARS]):
        x = 0.0
        pieces = []
        for kind in KINDS:
            width = getattr(tally, kind) / max(longest, 1) * 100
            if width:
                pieces.append(_bar_piece(kind, x, width, n))
            x += width
        rows.append(Bar(name, tuple(pieces), f"{tally.total:,}", n * ROW_HEIGHT))
    return Bars(tuple(rows), max(0, len(groups) - MAX_BARS))


def shares(reviewers: Mapping[str, Haste], names: Mapping[str, str]) -> Bars:
    """Draw for each reviewer which share of their answers came too soon."""
    timed = [(who, haste) for who, haste in reviewers.items() if haste.timed]
    rows = []
    for n, (who, haste) in enumerate(timed[:MAX_BARS]):
        width = 100 * haste.hasty / haste.timed
        track = _bar_piece("track", 0, 100, n)
        pieces = (track, _bar_piece("rejected", 0, width, n)) if width else (track,)
        text = f"{haste.hasty:,} of {haste.timed:,}"
        rows.append(Bar(names[who], pieces, text, n * ROW_HEIGHT))
    return Bars(tuple(rows), max(0, len(timed) - MAX_BARS))


def histogram(times: Sequence[int], overall: Tally) -> Columns:
    """Draw how many decisions took how long. Each column is named by where it ends."""
    top = _round_up(max(times, default=0))
    step = 100 / len(times)
    pieces = tuple(
        Piece("time", round(n * step + 0.5, 3), round(step - 1, 3), _y(count, top), _h(count, top))
        for n, count in enumerate(times)
        if count
    )
    ends = [_short(seconds) for seconds in SPANS]
    marks = tuple(Mark(round((n + 1) * step, 3), end) for n, end in enumerate(ends))
    return Columns(pieces, marks, top)


def _short(seconds: int) -> str:
    return duration(timedelta(seconds=seconds)).replace(" min", "m").replace(" ", "")


def _bar_piece(kind: str, x: float, width: float, row: int) -> Piece:
    return Piece(kind, round(x, 3), round(width, 3), row * ROW_HEIGHT + 24, 12)


def _y(count: int, top: int) -> float:
    return round(HEIGHT - count / top * HEIGHT, 2)


def _h(count: int, top: int) -> float:
    return round(count / top * HEIGHT, 2)


def _round_up(count: int) -> int:
    """Return a round number that is not less: 1, 2, 3, 4, 5, 6, 8, 10, 20, …"""
    if count <= 1:
        return 1
    power = 10 ** math.floor(math.log10(count))
    return next(int(n * power) for n in (1, 2, 3, 4, 5, 6, 8, 10) if n * power >= count)
