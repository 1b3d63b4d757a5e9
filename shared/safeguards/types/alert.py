"""What a safeguard says about an action."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class AlertSeverity(StrEnum):
    """How serious an alert is. Ordered: INFO < WARNING < ERROR < CRITICAL."""

    INFO = "INFO"
    """Worth knowing."""

    WARNING = "WARNING"
    """Worth a look."""

    ERROR = "ERROR"
    """Against a rule."""

    CRITICAL = "CRITICAL"
    """Must not happen unseen."""

    @property
    def rank(self) -> int:
        """The position in the order, from 0 (INFO) to 3 (CRITICAL)."""
        return list(AlertSeverity).index(self)

    def at_least(self, minimum: AlertSeverity) -> bool:
        """Tell whether this is as serious as `minimum`, or more."""
        return self.rank >= minimum.rank


@dataclass(frozen=True)
class SafetyAlert:
    """One finding of a safeguard, or one thing worth telling people.

    Attributes:
        title: a short sentence.
        description: the whole story, plain text.
        severity: how serious it is.
        metadata: further facts; JSON types and Decimal.
    """

    title: str
    description: str
    severity: AlertSeverity = AlertSeverity.WARNING
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Accept a severity given by its name."""
        object.__setattr__(self, "severity", AlertSeverity(self.severity))
