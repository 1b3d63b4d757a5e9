"""Values of an action as text that people edit, and what they typed as values again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from safeguards.text import visible
from safeguards_runtime.records import Approval, Refusal
from safeguards_runtime.records.modifications import field_type, fits
from safeguards_runtime.records.terms import limit_of
from services.gateway.problems import Problem
from services.gateway.strict_json import parse

EDITABLE_LIMIT = 20_000
"""How many characters a value may have for a form to edit it."""

MAX_FIELDS = 300
"""How many values one form can edit."""


class Field(NamedTuple):
    """A field of the context that may be edited, as a form shows it."""

    name: str
    kind: str
    text: str
    limit: str = ""
    """What it may be changed to, in words; empty if to anything of its kind."""

    choices: tuple[str, ...] = ()
    """All that it may be, if that is so little: as it is first, unless that is among the others."""

    max_length: int | None = None
    """How many characters a text may have; None if any number, or if it has more as it is."""


def editable_fields(asked: Approval) -> list[Field]:
    """Return what a form can edit: not what it could not show as it is, and give back so; of very
    many the first 300."""
    fields = [_field(asked, name) for name in asked.editable_fields()[:MAX_FIELDS]]
    return [field for field in fields if _can_be_shown(field)]


def _field(asked: Approval, name: str) -> Field:
    shown, original = asked.shown_context[name], asked.context[name]
    kind, text = field_type(shown), text_of(shown)
    limit = limit_of(asked.terms.limits, name)
    possible = (True, False) if kind == "boolean" else limit.one_of or ()
    choices = [
        json.dumps(one) if kind == "null" else text_of(one)
        for one in possible
        if fits(kind, one) and limit.broken_by(one, original) is None
    ]
    max_length = limit.max_length if kind == "string" else None
    return Field(
        name,
        kind,
        text,
        limit=limit.words(original),
        choices=tuple(choices if text in choices else (text, *choices)) if possible else (),
        max_length=None if max_length is None or len(text) > max_length else max_length,
    )


def _can_be_shown(field: Field) -> bool:
    return (
        len(field.text) <= EDITABLE_LIMIT
        and visible(field.text) == field.text
        and visible(field.name, single_line=True) == field.name
    )


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
    if kind == "string":
        return text
    if kind == "decimal":
        if not fits(kind, text.strip()):
            raise ValueError(f"{field}: write a plain number, such as 1800.00")
        return text.strip()
    try:
        value = parse(text.encode())
    except Problem as error:
        raise ValueError(f"{field}: this is no {kind}") from error
    if not fits(kind, value):
        raise ValueError(f"{field}: this is no {kind}")
    return value


def changes(context: Mapping[str, Any], typed: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields whose text was changed, each read as the type that it has.

    Raises:
        Refusal: `wrong_type`, of the first field that cannot be read.
    """
    changed = {}
    for field, value in typed.items():
        before = context.get(field)
        text = value.replace("\r\n", "\n")
        if text != text_of(before):
            try:
                changed[field] = value_of(field, field_type(before), text)
            except ValueError as error:
                raise Refusal("wrong_type", str(error), field=field) from error
    return changed
