"""The safeguard for healthcare: restricted operations, who must approve, patient data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any, ClassVar

from pydantic import Field

from safeguards.configuration import Config, read_config
from safeguards.plugins.action_words import type_matches
from safeguards.plugins.arguments import TooMuchError, walk
from safeguards.plugins.base import Safeguard
from safeguards.plugins.names import compact_name, compatible
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

MAX_TEXT = 256 * 1024
"""How many characters of an action are searched."""

_PLACES_NAMED = 20

_PATTERNS = {
    "a social security number": re.compile(r"(?<![0-9-])[0-9]{3}-[0-9]{2}-[0-9]{4}(?![0-9-])"),
    "a medical record number": re.compile(
        r"\bmrn\b[\s:#=-]{0,4}(?=[a-z-]{0,4}[0-9])[a-z0-9-]{4,20}"
    ),
}


class HealthcareConfig(Config):
    """What `HealthcareSafeguard` is initialized with.

    Attributes:
        restricted_operations: the action types that no agent may do unseen.
        required_roles: who must approve which action types, by glob:
            `{"prescribe_*": ["physician"]}`. Any one of the roles is enough. The alert says who;
            that they are asked is for the policy, whose approval names a group for the role.
        phi_fields: the names of protected fields, instead of the usual ones.
    """

    restricted_operations: tuple[str, ...] = ()
    required_roles: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]] = Field(
        default_factory=dict
    )
    phi_fields: tuple[str, ...] = DEFAULT_PHI_FIELDS


class HealthcareSafeguard(Safeguard):
    """Alerts on restricted operations, on those that a role must approve, and on protected
    health information in the arguments."""

    name: ClassVar[str] = "healthcare"

    def configure(self, config: dict[str, Any]) -> None:
        """Take `restricted_operations`, `required_roles` and `phi_fields`. See `HealthcareConfig`.

        Raises:
            ConfigurationError: naming the key that is unknown or wrong.
        """
        parsed = read_config(HealthcareConfig, config, type(self).__name__)
        self._restricted = frozenset(compact_name(name) for name in parsed.restricted_operations)
        self._required_roles = dict(parsed.required_roles)
        self._phi_fields = frozenset(compact_name(name) for name in parsed.phi_fields)

    def check(self, agent: Agent, context: dict[str, Any]) -> list[SafetyAlert]:
        """Return a CRITICAL alert for a restricted operation, an ERROR for one that people of a
        role must approve, and for protected data.

        The alerts say where the data stands, as JSON pointers (RFC 6901), never what it is.
        """
        action_type = visible(str(context.get("action_type")), single_line=True, limit=100)
        about = {"safeguard": self.name, "agent_id": agent.id, "action_type": action_type}
        alerts = []
        written = str(context.get("action_type"))
        if compact_name(written) in self._restricted:
            alerts.append(
                SafetyAlert(
                    title="Restricted operation",
                    description=f"{action_type} is a restricted operation.",
                    severity=AlertSeverity.CRITICAL,
                    metadata=about,
                )
            )
        alerts += self._roles(written, about)
        found: dict[str, list[str]] = {}
        try:
            for pointer, kind in self._findings(context):
                found.setdefault(kind, []).append(pointer)
        except TooMuchError:
            title = "Action cannot be searched"
            story = "The arguments are too deep or too large to be searched for patient data."
            alerts.append(SafetyAlert(title, story, AlertSeverity.ERROR, about))
        alerts += [_finding(kind, places, about) for kind, places in found.items()]
        return alerts

    def _roles(self, action_type: str, about: dict[str, Any]) -> Iterator[SafetyAlert]:
        """Yield an alert for each rule by which people of a role must approve this."""
        for glob, roles in self._required_roles.items():
            if type_matches(action_type, (glob,)):
                who = " or ".join(roles)
                yield SafetyAlert(
                    title=f"Needs approval: {who}",
                    description=f"{about['action_type']} needs the approval of a {who}.",
                    severity=AlertSeverity.ERROR,
                    metadata={**about, "roles": list(roles)},
                )

    def _findings(self, context: dict[str, Any]) -> Iterator[tuple[str, str]]:
        """Yield where something stands, and what it is."""
        characters = 0
        for pointer, key, value in walk(context):
            if key is not None and compact_name(key) in self._phi_fields:
                yield pointer, "a protected field"
            for text in (key, value):
                if isinstance(text, str):
                    characters += len(text)
                    if characters > MAX_TEXT:
                        raise TooMuchError
                    folded = compatible(text).casefold()
                    yield from (
                        (pointer, kind) for kind, p in _PATTERNS.items() if p.search(folded)
                    )
            if not isinstance(value, str | int | float | Decimal | dict | list | tuple | None):
                yield pointer, "a value that cannot be searched"


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
    folded = compatible(pointer).casefold()
    if any(pattern.search(folded) for pattern in _PATTERNS.values()):
        for pattern in _PATTERNS.values():
            folded = pattern.sub("…", folded)
        pointer = folded
    return visible(pointer, single_line=True, limit=200)
