"""The files in which the audit is taken away: CSV (RFC 4180) and JSON lines."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from safeguards.contracts import HistoryView
from safeguards_runtime.store.trail import Step

UNBROKEN = "unbroken"

COLUMNS = (
    "at",
    "kind",
    "record_id",
    "sequence",
    "event",
    "actor",
    "agent_id",
    "detail",
    "previous",
    "hash",
    "chain",
)

_FORMULA_BEGINNINGS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")

_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True)
class Line:
    """One line of a history, where it stands, and whether its record's history is whole."""

    step: Step
    history: HistoryView
    breaks_at: int | None = None
    """The first line of the record's history that is not as it was written; None if all are."""

    def cells(self) -> dict[str, Any]:
        """Return it by `COLUMNS`, as JSON types."""
        history = self.history.model_dump(mode="json")
        chain = UNBROKEN if self.breaks_at is None else f"broken at {self.breaks_at}"
        return {
            **history,
            "kind": kind_of(self.step.record_id),
            "record_id": self.step.record_id,
            "agent_id": self.step.agent_id,
            "chain": chain,
        }


def kind_of(record_id: str) -> str:
    """Return the prefix that says what kind of record it is."""
    return record_id.partition("_")[0]


def harmless(cell: str) -> str:
    """Return a text as it may stand in a cell: no spreadsheet takes it for a formula.

    One that would begin a formula gets an apostrophe before it (OWASP, CSV Injection).
    """
    return f"'{cell}" if cell.lstrip(" ").startswith(_FORMULA_BEGINNINGS) else cell


def csv_row(cells: dict[str, Any]) -> str:
    """Return one line of CSV, every cell in quotes; the detail as JSON in ASCII."""
    detail = json.dumps(cells["detail"], sort_keys=True)
    texts = [harmless(str({**cells, "detail": detail}[name])) for name in COLUMNS]
    return _written(texts)


def json_line(cells: dict[str, Any]) -> str:
    """Return one line of JSON."""
    return json.dumps({name: cells[name] for name in COLUMNS}) + "\n"


def _written(texts: list[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerow(texts)
    return buffer.getvalue()


@dataclass(frozen=True)
class Format:
    """How lines are written into a file."""

    media_type: str
    begin: str
    row: Callable[[dict[str, Any]], str]

    async def written(self, lines: AsyncIterator[Line]) -> AsyncIterator[bytes]:
        """Yield the file, piece by piece."""
        waiting = [self.begin]
        length = len(self.begin)
        async for line in lines:
            waiting.append(self.row(line.cells()))
            length += len(waiting[-1])
            if length >= _CHUNK_BYTES:
                yield "".join(waiting).encode()
                waiting, length = [], 0
        yield "".join(waiting).encode()


FORMATS = {
    "csv": Format("text/csv; charset=utf-8; header=present", _written(list(COLUMNS)), csv_row),
    "jsonl": Format("application/jsonl; charset=utf-8", "", json_line),
}
