"""Which policies are for an action: found by its type, without asking each of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase, translate
from functools import lru_cache
from typing import Any

from safeguards.canonical import canonical_json
from safeguards.plugins import plain_name, spellings
from safeguards_runtime.policies import Match, Policy

KEPT_TYPES = 4096
"""For how many types of actions it is remembered which policies match."""

_WILD = re.compile(r"[*?\[]")
_SEPARATORS = re.compile(r"[\s-]+")


class PolicyIndex:
    """Policies by the types of actions that they are for.

    Types that are written out are found by name, those with a star at the end by what stands
    before it; only of globs of other forms each is tried, and what was found is remembered.
    """

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._policies = policies
        self._named: dict[str, set[int]] = {}
        self._prefixes: dict[str, set[int]] = {}
        self._globs: dict[str, set[int]] = {}
        for at, policy in enumerate(policies):
            for glob in policy.match.action_types:
                self._file(_SEPARATORS.sub("_", glob.casefold()), at)
        self._patterns = [(re.compile(translate(glob)), ats) for glob, ats in self._globs.items()]
        self._lengths = sorted({len(prefix) for prefix in self._prefixes})
        self._of_type = lru_cache(KEPT_TYPES)(self._found)

    def _file(self, glob: str, at: int) -> None:
        if not _WILD.search(glob):
            # A name of one's own may be written with humps or separators of any kind.
            self._named.setdefault(plain_name(glob), set()).add(at)
        elif glob.endswith("*") and not _WILD.search(glob[:-1]):
            self._prefixes.setdefault(glob[:-1], set()).add(at)
        else:
            self._globs.setdefault(glob, set()).add(at)

    def of_type(self, action_type: str) -> tuple[Policy, ...]:
        """Return the policies for a type of actions, in their order."""
        return self._of_type(action_type)

    def _found(self, action_type: str) -> tuple[Policy, ...]:
        found: set[int] = set()
        for name in spellings(action_type):
            found |= self._named.get(name, set())
            for length in self._lengths:
                found |= self._prefixes.get(name[:length], set())
            for pattern, ats in self._patterns:
                if not ats <= found and pattern.match(name):
                    found |= ats
        return tuple(self._policies[at] for at in sorted(found))

    def matching(
        self, agent_id: str, action_type: str, context: Mapping[str, Any]
    ) -> Iterator[Policy]:
        """Yield the policies for an action, in their order; their conditions are not asked."""
        for policy in self.of_type(action_type):
            match = policy.match
            if agent_fits(match, agent_id) and not unfit_arguments(match, context):
                yield policy


def agent_fits(match: Match, agent_id: str) -> bool:
    """Tell whether a policy is for what an agent does."""
    return any(fnmatchcase(agent_id, glob) for glob in match.agent_ids)


def unfit_arguments(match: Match, context: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the arguments, as the policy names them, for whose values it is not."""
    return tuple(
        path
        for path, globs in match.arguments.items()
        if not any(
            fnmatchcase(text, glob.casefold())
            for text in _texts(_at(context, path))
            for glob in globs
        )
    )


class _Missing:
    """Stands for an argument that is not there."""


def _at(context: Mapping[str, Any], path: str) -> Any:
    """Return an argument by its name, or by a path of names."""
    if path in context:
        return context[path]
    value: Any = context
    for name in path.split("."):
        if not isinstance(value, Mapping) or name not in value:
            return _Missing
        value = value[name]
    return value


def _texts(value: Any) -> Iterable[str]:
    """Yield how a value is written: text as it is, the rest as JSON; of a list each item."""
    if value is _Missing:
        return
    for item in value if isinstance(value, list | tuple) else [value]:
        yield (item if isinstance(item, str) else canonical_json(item).decode()).casefold()
