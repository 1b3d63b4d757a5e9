"""What is wrong with a configuration file, in the words of those who write it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Location = tuple[int | str, ...]

_FORM = re.compile(r"(?:tuple|dict|list|str-enum|literal)?\[.*\]")
"""A part of pydantic's places that is no key: as which of several forms something was read."""

_KINDS = {
    "tuple_type": "a list, such as [a, b]",
    "dict_type": "keys with values",
    "model_type": "keys with values",
    "string_type": "text (what looks like something else needs quotes)",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
}


class Problem(NamedTuple):
    """One thing that is wrong with a file."""

    location: Location
    """The keys and positions that lead to it."""

    words: str


def problems_of(error: ValidationError, model: type[BaseModel]) -> Iterator[Problem]:
    """Yield what a model has found wrong with the content of a file.

    Args:
        error: what it has raised.
        model: that of the whole file.
    """
    found: dict[Location, list[ErrorDetails]] = {}
    for one in error.errors(include_url=False):
        place = tuple(part for part in one["loc"] if not _FORM.fullmatch(str(part)))
        found.setdefault(place, []).append(one)
    further_out = {place[:length] for place in found for length in range(len(place))}
    for place, errors in found.items():
        # One of several forms is right, or there is too little only because what there is is wrong.
        if place in further_out and all(one["type"] in (*_KINDS, "too_short") for one in errors):
            continue
        yield Problem(place, _words(errors, place, model))


def hint(name: str, known: Collection[str]) -> str:
    """Return what somebody may have meant by a name that is not known."""
    near = difflib.get_close_matches(name, known, n=1)
    return (
        f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(sorted(known)) or 'none'}"
    )


def _words(errors: list[ErrorDetails], place: Location, model: type[BaseModel]) -> str:
    kind, context = errors[0]["type"], errors[0].get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key {place[-1]!r}: {hint(str(place[-1]), _keys(model, place))}"
    if kind == "missing":
        return "is missing"
    if kind in ("enum", "literal_error"):
        expected = ", ".join(one["ctx"]["expected"] for one in errors if "expected" in one["ctx"])
        allowed = re.findall(r"'([^']*)'", expected)
        if not allowed:
            return f"must be {context['expected']}"
        given = errors[0]["input"]
        near = difflib.get_close_matches(given if isinstance(given, str) else "", allowed, n=1)
        meant = f": did you mean {near[0]!r}?" if near else ""
        return f"must be one of {', '.join(allowed)}{meant}"
    if all(one["type"] in _KINDS for one in errors):
        return f"must be {' or '.join(dict.fromkeys(_KINDS[one['type']] for one in errors))}"
    words = errors[0]["msg"].removeprefix("Value error, ").replace(" after validation", "")
    return re.sub(r"^[A-Z]\w+ should ", "must ", words)


def _keys(model: type[BaseModel], place: Location) -> Collection[str]:
    """Return the keys that are known where an unknown one stands."""
    for part in place[:-1]:
        field = model.model_fields.get(str(part))
        if field is not None:
            model = next(_models(field.annotation), model)
    return model.model_fields.keys()


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the models in a type, not those in models."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
