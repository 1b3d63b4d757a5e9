"""The ready-made policies that there are, and which verdicts hold an action."""

from __future__ import annotations

from safeguards.contracts import Verdict

PACKS = (
    "reading",
    "payments",
    "messaging",
    "files-and-calendars",
    "databases",
    "code-and-infrastructure",
)
"""The ready-made policies that there are."""

HELD = (Verdict.REQUIRE_APPROVAL, Verdict.DENY)
"""The verdicts with which an action does not run by itself."""
