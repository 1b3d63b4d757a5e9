"""The chain of a history: each line's hash covers the line before, and the record names the last.

So a line that was changed, taken out or put in later shows, unless all that follow, and the record,
were written anew as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from safeguards.contracts import HistoryView
from safeguards_runtime.records.record import NO_HASH, Record, history_hash


def first_break(lines: Sequence[HistoryView], record: Record | None) -> int | None:
    """Return the number of the first line that is not as it was written; None if all are.

    Args:
        lines: of one record, all that were found, in any order.
        record: as it is stored; it says how many lines there are, and the hash of the last.
    """
    previous = NO_HASH
    count = record.revision if record else 0
    by_sequence = {line.sequence: line for line in lines}
    for sequence in range(1, count + 1):
        line = by_sequence.pop(sequence, None)
        if line is None or line.previous != previous or history_hash(line) != line.hash:
            return sequence
        previous = line.hash
    if by_sequence:
        return min(by_sequence)
    if record is None or record.history_hash != previous:
        return max(count, 1)
    return None
