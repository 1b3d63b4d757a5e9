"""Compliance rules of financial services: who the customer is, and what screening found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from safeguards.configuration import Config
from safeguards.plugins.action_words import type_matches
from safeguards.plugins.texts import folded
from safeguards.types import AlertSeverity, SafetyAlert

_YES = frozenset({"true", "yes", "verified", "passed", "approved"})
_NO = frozenset({"false", "no", "none", "clear", "cleared", "not_found"})


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
        said = _said(context, field, worst=False)
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
        said = _said(context, field, worst=True)
        if said is not False:
            title = "Screening found something" if said else "Screening is missing"
            story = "is set" if said else "does not say that screening found nothing"
            alerts.append(
                SafetyAlert(
                    title, f"{field} {story}.", AlertSeverity.ERROR, {**about, "field": field}
                )
            )
    return alerts


def _said(context: Mapping[str, Any], field: str, *, worst: bool) -> bool | None:
    """Return what an action says of a rule, None if neither yes nor no. Of several places that a
    field may stand for, the worst counts: which of them is read when it runs cannot be told."""
    said = {_plainly(value) for value in _arguments(context, field)} or {None}
    return next(answer for answer in (worst, None, not worst) if answer in said)


def _arguments(value: Any, path: str) -> Iterator[Any]:
    """Yield whatever a path may stand for: `a.b` is that argument, and `b` in the argument `a`."""
    if not isinstance(value, Mapping):
        return
    if path in value:
        yield value[path]
    steps = path.split(".")
    for at in range(1, len(steps)):
        yield from _arguments(value.get(".".join(steps[:at])), ".".join(steps[at:]))


def _plainly(value: Any) -> bool | None:
    """Return what a value plainly says, yes or no; None if it says neither."""
    if isinstance(value, bool):
        return value
    if not isinstance(value, str):
        return None
    said = folded(value[:40]).strip().casefold().replace(" ", "_")
    return True if said in _YES else False if said in _NO else None
