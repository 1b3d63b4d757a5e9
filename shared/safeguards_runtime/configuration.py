"""Configuration files: YAML, checked by a model, with errors that say where."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from safeguards.errors import ConfigurationError

M = TypeVar("M", bound=BaseModel)


class ConfigurationModel(BaseModel):
    """Base of what a configuration file holds: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def load_yaml(path: Path, model: type[M]) -> M:
    """Read a YAML file into `model`.

    Raises:
        ConfigurationError: naming the file, and each place in it that does not fit.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: is no YAML: {error}") from error
    try:
        return model.model_validate(content)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, line['loc'])) or 'the top'}: {line['msg']}"
            for line in error.errors()
        )
        raise ConfigurationError(f"{path}: {wrong}") from error
