"""How risks, outcomes and durations are said."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from safeguards.types import ActionStatus, AlertSeverity

RISKS: Mapping[AlertSeverity, str] = {
    AlertSeverity.INFO: "Low risk",
    AlertSeverity.WARNING: "Medium risk",
    AlertSeverity.ERROR: "High risk",
    AlertSeverity.CRITICAL: "Critical risk",
}

ENDINGS: Mapping[ActionStatus, str] = {
    ActionStatus.PENDING: "Waiting",
    ActionStatus.APPROVED: "Approved",
    ActionStatus.MODIFIED: "Approved with changes",
    ActionStatus.REJECTED: "Rejected",
    ActionStatus.TIMED_OUT: "Timed out",
    ActionStatus.CANCELLED: "Withdrawn",
}


def duration(span: timedelta) -> str:
    """Return how long a span is, in its two largest units: `2 h 5 min`, `40 s`."""
    seconds = max(0, round(span.total_seconds()))
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    said = []
    for name, size in units:
        count, seconds = divmod(seconds, size)
        if count:
            said.append(f"{count} {name}")
        elif said:
            break
    return " ".join(said[:2]) or "0 s"
