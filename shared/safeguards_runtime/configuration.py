"""Configuration files: YAML, checked by a model, with errors that say where."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

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
        ConfigurationError: naming the file, and each place in it that does not fit, with its line.
    """
    try:
        content, root = _parsed(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise ConfigurationError(f"{path}: is no YAML: {error}") from error
    try:
        return model.model_validate(content)
    except ValidationError as error:
        wrong = "; ".join(
            f"{_place(root, line['loc'])}: {line['msg'].removeprefix('Value error, ')}"
            for line in error.errors()
        )
        raise ConfigurationError(f"{path}: {wrong}") from error


def _parsed(text: str) -> tuple[Any, yaml.Node | None]:
    """Return the content of a YAML document and its nodes, which know their lines.

    Raises:
        yaml.YAMLError: also for a key that is given twice, of which only one would count.
    """
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None, None
        _refuse_repeated_keys(root, set())
        return loader.construct_document(root), root
    finally:
        loader.dispose()


def _refuse_repeated_keys(node: yaml.Node, visited: set[int]) -> None:
    if id(node) in visited:  # by an alias
        return
    visited.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeated_keys(item, visited)
    elif isinstance(node, yaml.MappingNode):
        keys = set()
        for key, value in node.value:
            _refuse_repeated_keys(value, visited)
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in keys:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value!r} is given twice", problem_mark=key.start_mark
                )
            keys.add((key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key))


def _place(root: yaml.Node | None, location: tuple[int | str, ...]) -> str:
    """Return a place as `reviewers.1.email (line 12)`: the line of the last part that is there."""
    name = ".".join(map(str, location)) or "the top"
    line = None
    node = root
    for part in location:
        key, node = _child(node, part)
        if key is None:
            break
        line = key.start_mark.line + 1
    return f"{name} (line {line})" if line else name


def _child(node: yaml.Node | None, part: int | str) -> tuple[yaml.Node | None, yaml.Node | None]:
    """Return the node at which a part of a location begins, and its value."""
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key, value
    return None, None
