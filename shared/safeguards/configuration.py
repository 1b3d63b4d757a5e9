"""Reading the `config` that channels and safeguards are initialized with."""

from __future__ import annotations

import difflib
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from safeguards.errors import ConfigurationError


class Config(BaseModel):
    """Base of every configuration: frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


ConfigT = TypeVar("ConfigT", bound=Config)


def read_config(model: type[ConfigT], config: dict[str, Any], part: str) -> ConfigT:
    """Return `config` as a `model`.

    Args:
        model: what the keys mean.
        config: as a user wrote it.
        part: whose configuration it is, such as `EmailChannel`, for the errors.

    Raises:
        ConfigurationError: naming every key that is missing, unknown or wrong. Values never
            stand in the message, since they may be secrets.
    """
    if not isinstance(config, dict):
        raise ConfigurationError(f"{part}: config is a dict, not {type(config).__name__}")
    try:
        return model.model_validate(config)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        said = "; ".join(_sentence(problem["loc"], problem, model) for problem in problems)
    # Outside of the except block: the original error's traceback could show the values.
    raise ConfigurationError(f"{part}: {said}")


def _sentence(location: tuple[int | str, ...], problem: Any, model: type[Config]) -> str:
    key = ".".join(str(step) for step in location)
    if problem["type"] == "missing":
        return f"the key {key!r} is missing: add it"
    if problem["type"] == "extra_forbidden":
        known = sorted(field.alias or name for name, field in model.model_fields.items())
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it may be one of {', '.join(known)}"
        return f"the key {key!r} is unknown: {hint}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"the key {key!r} is wrong: {message}" if key else message
