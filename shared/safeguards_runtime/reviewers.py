"""Reviewers: who may answer, the groups they belong to, how each is reached."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from safeguards.contracts import Name
from safeguards_runtime.configuration import ConfigurationModel, load_yaml


class Reviewer(ConfigurationModel):
    """A person who may answer."""

    id: Name
    name: Name
    email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$", max_length=254)] | None = None
    groups: frozenset[Name]

    def is_among(self, names: Collection[str]) -> bool:
        """Tell whether `names` hold this person, by id, name or mail address, in any spelling."""
        own = {_folded(name) for name in (self.id, self.name, self.email) if name}
        return any(_folded(name) in own for name in names)


def _folded(name: str) -> str:
    """Return a name or mail address without what can be written in more than one way."""
    local, at, domain = name.partition("@")
    text = unicodedata.normalize("NFKC", local.partition("+")[0] + at + domain if at else name)
    return "".join(c for c in text.casefold() if c.isalnum() or c == "@")


class Directory(ConfigurationModel):
    """All reviewers."""

    version: Literal[1]
    reviewers: tuple[Reviewer, ...]

    @model_validator(mode="after")
    def _ids_differ(self) -> Self:
        ids = [reviewer.id for reviewer in self.reviewers]
        repeated = sorted({i for i in ids if ids.count(i) > 1})
        if repeated:
            raise ValueError(f"reviewers with the same id: {', '.join(repeated)}")
        return self

    def get(self, reviewer_id: str) -> Reviewer | None:
        """Return a reviewer by id."""
        return next((r for r in self.reviewers if r.id == reviewer_id), None)

    def members(self, groups: tuple[str, ...]) -> tuple[Reviewer, ...]:
        """Return who belongs to any of `groups`, in the file's order."""
        return tuple(r for r in self.reviewers if r.groups & set(groups))


def load_directory(path: Path) -> Directory:
    """Read a reviewers file.

    Raises:
        ConfigurationError: naming each place that does not fit.
    """
    return load_yaml(path, Directory)
