"""The safeguard for healthcare: restricted operations and protected health information."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, ClassVar

from safeguards.configuration import Config, read_config
from safeguards.plugins.industry.base import IndustrySafeguard, plain_name
from safeguards.text import visible
from safeguards.types import Agent, AlertSeverity, SafetyAlert

DEFAULT_PHI_FIELDS = (
    "ssn",
    "social_security_number",
    "mrn",
    "medical_record_number",
    "patient_id",
    "patient_name",
    "date_of_birth",
    "dob",
    "diagnosis",
    "medication",
    "prescription",
    "lab_results",
    "insurance_id",
    "health_plan_number",
)
"""The names under which protected health information usually stands (45 CFR 164.514(b)(2))."""

MAX_DEPTH = 32
"""How deep an action's arguments are searched."""

MAX_VALUES = 10_000
"""How many values of an action are searched."""

MAX_TEXT = 256 * 1024
"""How many characters of an action are searched."""

_PLACES_NAMED = 20

_PATTERNS = {
    "a social security number": re.compile(r"(?<![0-9-])[0-9]{3}-[0-9]{2}-[0-9]{4}(?![0-9-])"),
    "a medical record number": re.compile(
        r"\bmrn\b[\s:#=-]{0,4}(?=[a-z-]{0,4}[0-9])[a-z0-9-]{4,20}"
    ),
}


class _TooMuchError(Exception):
    """An action is too deep or too large to be searched."""


class HealthcareConfig(Config):
    """What `HealthcareSafeguard` is initialized with.

    Attributes:
        restricted_operations: the action types that no agent may do unseen.
        phi_fields: the names of protected fields, instead of the usual ones.
    """

    restricted_operations: tuple[str, ...] = ()
    phi_fields: tuple[str, ...] = DEFAULT_PHI_FIELDS


class HealthcareSafeguard(IndustrySafeguard):
    """Alerts on restricted operations, and on protected health information in the arguments."""

    name: ClassVar[str] = "healthcare"

    def configure(self, config: dict[str, Any]) -> None:
        """Take `restricted_operations` and `phi_fields`. See `HealthcareConfig`.

        Raises:
            ConfigurationError: naming the key that is unknown or wrong.
        """
        parsed = read_config(HealthcareConfig, config, type(self).__name__)
        self._restricted = frozenset(plain_name(name) for name in parsed.restricted_operations)
        self._phi_fields = frozenset(plain_name(name) for name in parsed.phi_fields)

    def check(self, agent: Agent, context: dict[str, Any]) -> list[SafetyAlert]:
        """Return a CRITICAL alert for a restricted operation, an ERROR for protected data.

        The alerts say where the data stands, as JSON pointers (RFC 6901), never what it is.
        """
        action_type = visible(str(context.get("action_type")), single_line=True, limit=100)
        about = {"safeguard": self.name, "agent_id": agent.id, "action_type": action_type}
        alerts = []
        if plain_name(str(context.get("action_type"))) in self._restricted:
            alerts.append(
                SafetyAlert(
                    title="Restricted operation",
                    description=f"{action_type} is a restricted operation.",
                    severity=AlertSeverity.CRITICAL,
                    metadata=about,
                )
            )
        found: dict[str, list[str]] = {}
        try:
            for pointer, kind in self._findings(context):
                found.setdefault(kind, []).append(pointer)
        except _TooMuchError:
            title = "Action cannot be searched"
            story = "The arguments are too deep or too large to be searched for patient data."
            alerts.append(SafetyAlert(title, story, AlertSeverity.ERROR, about))
        alerts += [_finding(kind, places, about) for kind, places in found.items()]
        return alerts

    def _findings(self, context: dict[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield where something stands, and what it is."""
        characters = 0
        for pointer, key, value in _walk(context):
            if key is not None and plain_name(key) in self._phi_fields:
                yield pointer, "a protected field"
            for text in (key, value):
                if isinstance(text, str):
                    characters += len(text)
                    if characters > MAX_TEXT:
                        raise _TooMuchError
                    folded = unicodedata.normalize("NFKC", text).casefold()
                    yield from (
                        (pointer, kind) for kind, p in _PATTERNS.items() if p.search(folded)
                    )
            if not isinstance(value, str | int | float | Decimal | dict | list | tuple | None):
                yield pointer, "a value that cannot be searched"


def _walk(context: dict[str, Any]) -> Iterator[tuple[str, str | None, Any]]:
    """Yield each value with its pointer and its key, without recursion."""
    left: list[tuple[str, str | None, Any, int]] = [("", None, context, 0)]
    for _ in range(MAX_VALUES):
        if not left:
            return
        pointer, key, value, depth = left.pop()
        yield pointer, key, value
        children: list[tuple[str, str | None, Any]] = []
        if isinstance(value, dict):
            children = [(str(key), str(key), item) for key, item in value.items()]
        elif isinstance(value, list | tuple):
            children = [(str(index), None, item) for index, item in enumerate(value)]
        too_deep = children and depth >= MAX_DEPTH
        if too_deep or len(left) + len(children) > MAX_VALUES:
            raise _TooMuchError
        left += [
            (f"{pointer}/{step.replace('~', '~0').replace('/', '~1')}", key, item, depth + 1)
            for step, key, item in reversed(children)
        ]
    if left:
        raise _TooMuchError


def _finding(kind: str, places: list[str], about: dict[str, Any]) -> SafetyAlert:
    named = [_place(pointer) for pointer in places[:_PLACES_NAMED]]
    more = f" and {len(places) - len(named)} more" if len(places) > len(named) else ""
    return SafetyAlert(
        title="Protected health information",
        description=f"There is {kind} at {', '.join(named)}{more}.",
        severity=AlertSeverity.ERROR,
        metadata={**about, "places": named},
    )


def _place(pointer: str) -> str:
    """Return a pointer without the patient data that its keys may hold."""
    folded = unicodedata.normalize("NFKC", pointer).casefold()
    if any(pattern.search(folded) for pattern in _PATTERNS.values()):
        for pattern in _PATTERNS.values():
            folded = pattern.sub("…", folded)
        pointer = folded
    return visible(pointer, single_line=True, limit=200)
