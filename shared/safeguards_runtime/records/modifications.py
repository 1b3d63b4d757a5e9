"""What a reviewer may change in the arguments of an action: typed, and only what is editable."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from decimal import Decimal
from typing import Any

from safeguards.canonical import canonical_json
from safeguards_runtime.records.record import Refusal
from safeguards_runtime.records.terms import FieldLimit, limit_of

_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def checked(
    context: dict[str, Any],
    editable: Collection[str],
    modifications: dict[str, Any],
    standing: dict[str, Any] | None = None,
    limits: Mapping[str, FieldLimit] | None = None,
) -> dict[str, Any]:
    """Return all that then differs from the context, each field editable and of the type it had.

    Args:
        context: the arguments that the agent asks for.
        editable: the fields that may be changed.
        modifications: the fields that a reviewer changes, from what they are shown.
        standing: what reviewers have changed before, and is shown. A field that is set back to
            what the agent asks for is changed no more.
        limits: what a field may be changed to, by its name, or `*` for all others.

    Raises:
        Refusal: `not_editable`, `wrong_type`, `outside_limits`, `nothing_changed`.
    """
    for name, value in modifications.items():
        if name not in editable:
            may = ", ".join(editable) or "nothing"
            raise Refusal(
                "not_editable", f"{name!r} may not be edited; editable: {may}", field=name
            )
        kind = field_type(context[name])
        if not fits(kind, value):
            raise Refusal("wrong_type", f"{name!r} must be of type {kind}", field=name, type=kind)
        broken = limit_of(limits or {}, name).broken_by(value, context[name])
        if broken is not None:
            raise Refusal("outside_limits", f"{name!r} must be {broken}", field=name)
    before = standing or {}
    if not differing({**context, **before}, modifications):
        what = "is shown" if standing else "was asked"
        raise Refusal("nothing_changed", f"nothing differs from what {what}: approve it instead")
    return differing(context, {**before, **modifications})


def differing(context: dict[str, Any], modifications: dict[str, Any]) -> dict[str, Any]:
    """Return those modifications that differ from the context in meaning."""
    return {
        name: value for name, value in modifications.items() if not _same(context.get(name), value)
    }


def field_type(value: Any) -> str:
    """Return the type of a field: decimal (a string that is one), string, integer, number,
    boolean, array, object or null."""
    match value:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "decimal" if _DECIMAL.fullmatch(value) else "string"
        case list():
            return "array"
        case dict():
            return "object"
        case _:
            return "null"


def fits(kind: str, value: Any) -> bool:
    """Tell whether `value` may stand in a field of type `kind` (see `field_type`)."""
    actual = field_type(value)
    match kind:
        case "string":
            return isinstance(value, str)
        case "number":
            return actual in ("number", "integer")
        case "null":
            return True
        case _:
            return actual == kind


def _same(before: Any, after: Any) -> bool:
    """Tell whether two values of one type mean the same; `2500.0` and `2500.00` do."""
    if field_type(before) == "decimal" == field_type(after):
        return Decimal(before) == Decimal(after)
    return canonical_json(before) == canonical_json(after)
