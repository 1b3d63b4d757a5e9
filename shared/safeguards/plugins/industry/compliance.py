"""Compliance rules of financial services: who the customer is, and what screening found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from safeguards.configuration import Config
from safeguards.plugins.action_words import type_matches
from safeguards.plugins.texts import folded
from safeguards.types import AlertSeverity, SafetyAlert

_YES = frozenset({"true", "yes", "verified", "passed", "approved"})
_NO = frozenset({"false", "no", "none", "clear", "cleared", "not_found"})
_MISSING = object()


class ComplianceConfig(Config):
    """Which actions must say what of their customer.

    Attributes:
        kyc_fields: the arguments that must say that the customer is known and verified (know your
            customer), such as `kyc_verified` or `customer.kyc_verified`.
        aml_flags: the arguments that must say that screening found nothing (anti-money laundering),
            such as `aml_flag` or `sanctions_hit`.
        action_types: globs of the types of actions that are held to this. Without any, it is what
            has an amount, or moves money by its name.
    """

    kyc_fields: tuple[str, ...] = ()
    aml_flags: tuple[str, ...] = ()
    action_types: tuple[str, ...] = ()


def is_held(rules: ComplianceConfig, action_type: str, moves_money: bool) -> bool:
    """Tell whether an action is held to the rules."""
    if not rules.kyc_fields and not rules.aml_flags:
        return False
    return type_matches(action_type, rules.action_types) if rules.action_types else moves_money


def violations(
    rules: ComplianceConfig, context: Mapping[str, Any], about: dict[str, Any]
) -> list[SafetyAlert]:
    """Return an ERROR for each rule that an action does not plainly keep. What is missing, or says
    neither yes nor no, keeps none."""
    alerts = []
    for field in rules.kyc_fields:
        said = _plainly(_argument(context, field))
        if said is not True:
            story = {None: "does not say", False: "denies"}[said]
            alerts.append(
                SafetyAlert(
                    "Customer not verified",
                    f"{field} {story} that the customer is verified.",
                    AlertSeverity.ERROR,
                    {**about, "field": field},
                )
            )
    for field in rules.aml_flags:
        said = _plainly(_argument(context, field))
        if said is not False:
            title = "Screening found something" if said else "Screening is missing"
            story = "is set" if said else "does not say that screening found nothing"
            alerts.append(
                SafetyAlert(
                    title, f"{field} {story}.", AlertSeverity.ERROR, {**about, "field": field}
                )
            )
    return alerts


def _argument(context: Mapping[str, Any], path: str) -> Any:
    value: Any = context
    if path in context:
        return context[path]
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return _MISSING
        value = value[name]
    return value


def _plainly(value: Any) -> bool | None:
    """Return what a value plainly says, yes or no; None if it says neither."""
    if isinstance(value, bool):
        return value
    if not isinstance(value, str):
        return None
    said = folded(value[:40]).strip().casefold().replace(" ", "_")
    return True if said in _YES else False if said in _NO else None
