"""Configuration files: YAML, checked by a model, with errors that say where."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from safeguards.errors import ConfigurationError
from safeguards.text import visible
from safeguards_runtime.configuration_problems import Problem, problems_of

M = TypeVar("M", bound=BaseModel)

MAX_NODES = 1_000_000
"""How many values a file has at most, each alias counted as what it stands for."""

MAX_DEPTH = 64
"""How deep a file may be nested. (The reader in C ends the process by what is nested deeper than
its stack.)"""

MAX_NAMED = 20
"""How many problems an error names."""

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ConfigurationModel(BaseModel):
    """Base of what a configuration file holds: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


@dataclass(frozen=True)
class Document(Generic[M]):
    """A configuration file as it was read."""

    path: Path
    content: M
    root: yaml.Node | None

    def lines(self, key: str) -> dict[tuple[int | str, ...], int]:
        """Return the line, from 1, of everything under a key of the file, by its location."""
        found: dict[tuple[int | str, ...], int] = {}
        begin, value = _child(self.root, key)
        left: list[tuple[tuple[int | str, ...], yaml.Node | None, yaml.Node | None]]
        left = [((key,), begin, value)]
        while left:
            location, begin, value = left.pop()
            if begin is not None:
                found[location] = begin.start_mark.line + 1
            left += [((*location, part), *child) for part, child in _children(value)]
        return found

    def refusal(self, problems: Iterable[Problem]) -> ConfigurationError:
        """Return the error that names the problems, each with its place and its line."""
        return _refusal(self.path, self.root, problems)


@contextlib.contextmanager
def uncollected() -> Iterator[None]:
    """Let the garbage collector rest while a large file is loaded. It would look through all that
    was read, which is no garbage, again and again: that doubles the time, and stops all threads."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def load_yaml(path: Path, model: type[M]) -> M:
    """Read a YAML file into `model`.

    Raises:
        ConfigurationError: naming the file, and each place in it that does not fit, with its line.
    """
    return read_yaml(path, model).content


def read_yaml(path: Path, model: type[M]) -> Document[M]:
    """Read a YAML file into `model`, to be checked further.

    Raises:
        ConfigurationError: naming the file, and each place in it that does not fit, with its line.
    """
    try:
        # To open a pipe is to wait for whoever writes to it.
        if path.exists() and not path.is_file():
            raise ConfigurationError(f"{path}: cannot be read: it is no regular file")
        content, root = _parsed(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise ConfigurationError(f"{path}: is no YAML: {error}") from error
    try:
        return Document(path, model.model_validate(content), root)
    except ValidationError as error:
        raise _refusal(path, root, problems_of(error, model)) from error


def _refusal(path: Path, root: yaml.Node | None, problems: Iterable[Problem]) -> ConfigurationError:
    found = list(problems)
    named = [f"{_place(root, one.location)}: {one.words}" for one in found[:MAX_NAMED]]
    more = f"; and {len(found) - MAX_NAMED} more" if len(found) > MAX_NAMED else ""
    return ConfigurationError(f"{path}: {'; '.join(named)}{more}")


def _parsed(text: str) -> tuple[Any, yaml.Node | None]:
    """Return the content of a YAML document and its nodes, which know their lines.

    Raises:
        yaml.YAMLError: also for a key that is given twice, of which only one would count, and for
            what contains itself.
    """
    _refuse_what_is_deep(text)
    loader = _Loader(text)
    try:
        root = loader.get_single_node()
        if root is None:
            return None, None
        if _size(root, {}) > MAX_NODES:
            raise ValueError(f"it stands for more than {MAX_NODES} values")
        return loader.construct_document(root), root
    finally:
        loader.dispose()


def _refuse_what_is_deep(text: str) -> None:
    depth = 0
    event: Any
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(
                problem=f"it is nested deeper than {MAX_DEPTH}", problem_mark=event.start_mark
            )


def _size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """Return for how many values a node stands.

    Args:
        node: where to begin.
        sizes: of the nodes that have been counted, by their `id`; 0 for those that contain it.
    """
    if id(node) in sizes:  # by an alias
        if not sizes[id(node)]:
            raise yaml.MarkedYAMLError(
                problem="an alias stands for what contains it", problem_mark=node.start_mark
            )
        return sizes[id(node)]
    sizes[id(node)] = 0
    size = 1
    if isinstance(node, yaml.SequenceNode):
        size += sum(_size(item, sizes) for item in node.value)
    elif isinstance(node, yaml.MappingNode):
        _refuse_repeated_keys(node)
        size += sum(_size(value, sizes) for _, value in node.value)
    sizes[id(node)] = size
    return size


def _refuse_repeated_keys(node: yaml.MappingNode) -> None:
    keys = set()
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in keys:
            raise yaml.MarkedYAMLError(
                problem=f"{key.value!r} is given twice", problem_mark=key.start_mark
            )
        keys.add((key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key))


def _place(root: yaml.Node | None, location: tuple[int | str, ...]) -> str:
    """Return a place as `reviewers.1.email (line 12)`: the line of the last part that is there."""
    name = visible(".".join(map(str, location)), single_line=True, limit=200) or "the top"
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
    for name, child in _children(node):
        if name == str(part):
            return child
    return None, None


def _children(
    node: yaml.Node | None,
) -> Iterator[tuple[int | str, tuple[yaml.Node, yaml.Node]]]:
    """Yield the parts of a node: where each begins, and its value."""
    if isinstance(node, yaml.SequenceNode):
        yield from ((at, (item, item)) for at, item in enumerate(node.value))
    elif isinstance(node, yaml.MappingNode):
        yield from ((str(key.value), (key, value)) for key, value in node.value)
