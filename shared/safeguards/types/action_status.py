"""Where a question to people stands."""

from enum import StrEnum


class ActionStatus(StrEnum):
    """PENDING until exactly one of the others ends it, for good."""

    PENDING = "PENDING"
    """Nobody has decided yet."""

    APPROVED = "APPROVED"
    """May run as it was asked for."""

    MODIFIED = "MODIFIED"
    """May run with the reviewer's changes, and only with them."""

    REJECTED = "REJECTED"
    """May not run."""

    TIMED_OUT = "TIMED_OUT"
    """Nobody answered in time. May not run."""

    CANCELLED = "CANCELLED"
    """Withdrawn by the one who asked. May not run."""

    @property
    def is_final(self) -> bool:
        """Whether this is an outcome, after which nothing changes."""
        return self is not ActionStatus.PENDING

    @property
    def allows(self) -> bool:
        """Whether the agent may go on."""
        return self in (ActionStatus.APPROVED, ActionStatus.MODIFIED)
