"""The audit's files, and the chain of a history."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from safeguards.contracts import HistoryView
from safeguards.identifiers import new_id
from safeguards_runtime.records import Change, Endpoint, Record
from safeguards_runtime.records.chain import first_break
from safeguards_runtime.records.endpoint import endpoint_id
from safeguards_runtime.store.trail import Step
from services.gateway.console.operations.audit_files import (
    COLUMNS,
    Line,
    csv_row,
    harmless,
    json_line,
)

NOW = datetime(2026, 11, 25, tzinfo=UTC)
TEXTS = st.text(max_size=40) | st.sampled_from(
    ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", " =1", "\uff1d1"]
)


FORGERIES: list[dict[str, Any]] = [
    {"actor": "another"},
    {"event": "sent"},
    {"at": NOW - timedelta(days=1)},
    {"detail": {"a": 1}},
    {"previous": "1" * 64},
    {"hash": "1" * 64},
]


def history_of(length: int) -> tuple[list[HistoryView], Record]:
    lines = []
    before: Record | None = None
    for number in range(length):
        after = before or Endpoint(id=endpoint_id("x"), name="x", changed_at=NOW)
        change = Change(before, after, "failed", "test", NOW + timedelta(seconds=number))
        before, line = change.sealed()
        lines.append(line)
    assert before is not None
    return lines, before


@given(st.integers(1, 6))
def test_a_history_as_it_was_written_is_unbroken(length: int) -> None:
    lines, record = history_of(length)
    assert first_break(lines, record) is None
    assert first_break(lines[::-1], record) is None


@given(st.integers(1, 6), st.data())
def test_whatever_is_done_to_a_line_shows(length: int, data: st.DataObject) -> None:
    lines, record = history_of(length)
    at = data.draw(st.integers(0, length - 1))
    forgery = data.draw(st.sampled_from(FORGERIES))
    forged = lines[at].model_copy(update=forgery)
    assert first_break([*lines[:at], forged, *lines[at + 1 :]], record) == at + 1
    assert first_break(lines[:at] + lines[at + 1 :], record) == at + 1
    added = lines[-1].model_copy(update={"sequence": length + 1})
    assert first_break([*lines, added], record) == length + 1


def test_a_history_without_its_record_is_broken() -> None:
    lines, _ = history_of(2)
    assert first_break(lines, None) == 1


@given(TEXTS)
def test_no_cell_begins_a_formula(text: str) -> None:
    cell = harmless(text)
    assert not cell.lstrip(" ").startswith(
        ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b")
    )
    assert cell in (text, f"'{text}")


@given(actor=TEXTS, agent_id=TEXTS, detail=st.dictionaries(TEXTS, TEXTS, max_size=3))
def test_a_line_comes_back_from_either_file(
    actor: str, agent_id: str, detail: dict[str, str]
) -> None:
    line = Line(
        Step("1-0", new_id("apr"), 1, agent_id),
        HistoryView(
            sequence=1, at=NOW, event="opened", actor=actor, detail=detail, previous="", hash=""
        ),
    )
    (row,) = csv.reader(io.StringIO(csv_row(line.cells()), newline=""))
    read = dict(zip(COLUMNS, row, strict=True))
    assert read["actor"] == harmless(actor)
    assert read["agent_id"] == harmless(agent_id)
    assert json.loads(read["detail"]) == detail
    whole = json.loads(json_line(line.cells()))
    assert (whole["actor"], whole["agent_id"], whole["detail"]) == (actor, agent_id, detail)
    assert whole["chain"] == "unbroken"
