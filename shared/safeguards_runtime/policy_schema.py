"""The form of configuration files as JSON Schema, by which editors complete and check them."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import CoreSchema

from safeguards.plugins import BUILT_IN
from safeguards_runtime.policies import PolicyFile, SafeguardConfig
from safeguards_runtime.policy_book import ready_made_names

_LINE_BREAK = re.compile(r"(?<!\n)\n(?!\n)")


def policy_schema() -> str:
    """Return the JSON Schema of a policy file, as text.

    What only the whole file can tell, such as names that stand for nothing, it does not know.
    """
    schema = _schema(PolicyFile)
    schema["properties"]["ready_made"]["items"] = {"enum": list(ready_made_names())}
    safeguard = schema["$defs"][SafeguardConfig.__name__]["properties"]
    # Editors complete the built-in ones; those of one's own have any name.
    known = {"enum": sorted(BUILT_IN)}
    safeguard["uses"]["anyOf"] = [known, *safeguard["uses"]["anyOf"]]
    return _text(schema)


def schema_of(model: type[BaseModel]) -> str:
    """Return the JSON Schema (draft 2020-12) of what a model reads, as text."""
    return _text(_schema(model))


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(schema_generator=_Generator)


def _text(schema: dict[str, Any]) -> str:
    return json.dumps(_unwrapped(schema), indent=2, ensure_ascii=False) + "\n"


def _unwrapped(value: Any) -> Any:
    """Return a schema whose descriptions are not broken into lines: editors do that."""
    if isinstance(value, list):
        return [_unwrapped(item) for item in value]
    if not isinstance(value, dict):
        return value
    unwrapped = {key: _unwrapped(item) for key, item in value.items()}
    if isinstance(words := value.get("description"), str):
        unwrapped["description"] = _LINE_BREAK.sub(" ", words.strip())
    return unwrapped


class _Generator(GenerateJsonSchema):
    """Says which draft it follows, and gives no titles: they would only repeat the keys."""

    def generate(self, schema: CoreSchema, mode: JsonSchemaMode = "validation") -> JsonSchemaValue:
        """Return the schema, with its draft."""
        return {"$schema": self.schema_dialect, **super().generate(schema, mode)}

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Give no field a title."""
        return False
