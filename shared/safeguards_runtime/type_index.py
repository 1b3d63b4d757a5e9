"""What is for a type of actions: found by the type, in any spelling of it, without trying each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from fnmatch import translate
from functools import lru_cache
from typing import Generic, TypeVar

from safeguards.plugins import compact_name, glob_spellings, is_glob, spellings

T = TypeVar("T")

KEPT_TYPES = 4096
"""For how many types of actions it is remembered what was found."""


class TypeIndex(Generic[T]):
    """Things by the types of actions that they are for.

    Types that are written out are found by name, those with a star at the end by what stands
    before it; only of globs of other forms each is tried, and what was found is remembered.

    Args:
        entries: each thing with the types of actions that it is for, as names or globs.
        in_one_word: whether a thing is also for names whose words are not told apart: `NOTEIT` for
            `note_it`. Right for what holds an action back; what lets it through would be for more
            than globs that hold it back.
    """

    def __init__(
        self,
        entries: Iterable[tuple[Iterable[str], T]],
        in_one_word: Callable[[T], bool] = lambda thing: True,
    ) -> None:
        self._things: list[T] = []
        self._named: dict[str, set[int]] = {}
        self._words: dict[str, set[int]] = {}
        self._prefixes: dict[str, set[int]] = {}
        self._globs: dict[str, set[int]] = {}
        for at, (patterns, thing) in enumerate(entries):
            self._things.append(thing)
            for pattern in patterns:
                self._file(pattern, at, in_one_word=in_one_word(thing))
        self._patterns = [(re.compile(translate(glob)), ats) for glob, ats in self._globs.items()]
        self._lengths = sorted({len(prefix) for prefix in self._prefixes})
        self._of_type = lru_cache(KEPT_TYPES)(self._found)

    def _file(self, pattern: str, at: int, *, in_one_word: bool) -> None:
        if not is_glob(pattern):
            for name in spellings(pattern):
                self._named.setdefault(name, set()).add(at)
            if in_one_word:
                self._words.setdefault(compact_name(pattern), set()).add(at)
            return
        for glob in glob_spellings(pattern):
            if glob.endswith("*") and not is_glob(glob[:-1]):
                self._prefixes.setdefault(glob[:-1], set()).add(at)
            else:
                self._globs.setdefault(glob, set()).add(at)

    def of_type(self, action_type: str) -> tuple[T, ...]:
        """Return what is for a type of actions, in the order given."""
        return self._of_type(action_type)

    def _found(self, action_type: str) -> tuple[T, ...]:
        found = set(self._words.get(compact_name(action_type), ()))
        for name in spellings(action_type):
            found |= self._named.get(name, set())
            for length in self._lengths:
                found |= self._prefixes.get(name[:length], set())
            for pattern, ats in self._patterns:
                if not ats <= found and pattern.match(name):
                    found |= ats
        return tuple(self._things[at] for at in sorted(found))
