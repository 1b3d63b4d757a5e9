"""Values of an action as text that people edit, and what they typed as values again."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from safeguards.text import visible
from safeguards_runtime.records import Approval
from safeguards_runtime.records.modifications import field_type, fits
from services.gateway.problems import Problem
from services.gateway.strict_json import parse


class Field(NamedTuple):
    """A field of the context that may be edited, as a form shows it."""

    name: str
    kind: str
    text: str


def editable_fields(asked: Approval) -> list[Field]:
    """Return what a form can edit: not what it could not show as it is, and give back so."""
    fields = [
        Field(name, field_type(asked.context[name]), text_of(asked.context[name]))
        for name in asked.editable_fields()
    ]
    return [
        field
        for field in fields
        if visible(field.text) == field.text and visible(field.name, single_line=True) == field.name
    ]


def text_of(value: Any) -> str:
    """Return a value of the context as a form shows it, and as it is compared."""
    if isinstance(value, str):
        return value.replace("\r\n", "\n")
    return json.dumps(value, ensure_ascii=False, indent=1)


def value_of(field: str, kind: str, text: str) -> Any:
    """Return what was typed as a value of a kind (see `modifications.field_type`).

    Raises:
        ValueError: naming the field, if it is none.
    """
    if kind in ("string", "decimal"):
        return text.strip() if kind == "decimal" else text
    try:
        value = parse(text.encode())
    except Problem as error:
        raise ValueError(f"{field}: this is no {kind}") from error
    if not fits(kind, value):
        raise ValueError(f"{field}: this is no {kind}")
    return value


def changes(context: dict[str, Any], typed: dict[str, str]) -> dict[str, Any]:
    """Return the fields whose text was changed, each read as the type that it has.

    Raises:
        ValueError: naming the first field that cannot be read.
    """
    changed = {}
    for field, value in typed.items():
        before = context.get(field)
        text = value.replace("\r\n", "\n")
        if text != text_of(before):
            changed[field] = value_of(field, field_type(before), text)
    return changed
