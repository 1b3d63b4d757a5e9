"""Which policies are for an action: found by its type, without asking each of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from safeguards.canonical import canonical_json
from safeguards.plugins.texts import folded
from safeguards_runtime.policies import Match, Policy
from safeguards_runtime.type_index import TypeIndex

KEPT_AGENTS = 4096
"""For how many agents, each with a type of actions, it is remembered what was found."""


class PolicyIndex:
    """Policies by the types of actions that they are for, and the agents."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._types = TypeIndex(
            ((policy.match.action_types, policy) for policy in policies),
            in_one_word=lambda policy: not policy.is_mild,
        )
        self._of_agent = lru_cache(KEPT_AGENTS)(self._found)

    def of_type(self, action_type: str) -> tuple[Policy, ...]:
        """Return the policies for a type of actions, in their order."""
        return self._types.of_type(action_type)

    def _found(self, agent_id: str, action_type: str) -> tuple[Policy, ...]:
        found = self.of_type(action_type)
        return tuple(policy for policy in found if agent_fits(policy.match, agent_id))

    def matching(
        self, agent_id: str, action_type: str, context: Mapping[str, Any]
    ) -> Iterator[Policy]:
        """Yield the policies for an action, in their order; their conditions are not asked."""
        for policy in self._of_agent(agent_id, action_type):
            if not unfit_arguments(policy, context):
                yield policy


def agent_fits(match: Match, agent_id: str) -> bool:
    """Tell whether a policy is for what an agent does."""
    return any(fnmatchcase(agent_id, glob) for glob in match.agent_ids)


def unfit_arguments(policy: Policy, context: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the arguments, as the policy names them, for whose values it is not.

    Of several values, and of what stands in them, any is enough for a policy that denies or asks;
    all are needed, each as a whole, for one that lets the action through: what an agent adds to an
    argument, or writes around it, loosens nothing.
    """
    return tuple(
        path
        for path, globs in policy.match.arguments.items()
        if not _are_for(policy, globs, list(_at(context, tuple(path.split(".")))))
    )


def _are_for(policy: Policy, globs: Iterable[str], values: Iterable[Any]) -> bool:
    wanted = [glob.casefold() for glob in globs]
    texts = list(_texts(values))
    if policy.is_mild:
        return bool(texts) and all(any(_is_one(text, glob) for glob in wanted) for text in texts)
    pieces = {piece for text in (*texts, *_texts(_inside(values))) for piece in _pieces(text)}
    return any(fnmatchcase(piece, glob) for glob in wanted for piece in pieces)


def _is_one(text: str, glob: str) -> bool:
    if "@" in glob and any(text.count(c) != glob.count(c) for c in _BETWEEN):
        return False
    return fnmatchcase(text, glob)


_BETWEEN = "@,;\n"
"""What stands between or inside of addresses: no `*` for one address is for several."""

_PIECES = tuple(
    re.compile(pattern)
    for pattern in (r"[^,;<>|\n]+", r"[^\s,;<>|]+", r"[^\s,;<>|\"'()\[\]{}?&=]+")
)
"""What stands in a text: in a list with commas, each word, and each word without what is written
around or behind an address: `"Eve" (x@evil.com)`, `mailto:x@evil.com?subject=Hi`."""


def _pieces(text: str) -> Iterator[str]:
    yield text
    for pattern in _PIECES:
        for piece in pattern.findall(text):
            yield (piece := piece.strip())
            # A domain may end in a point (RFC 1034 section 3.1), a sentence in others too.
            yield piece.rstrip(".:!")


def _at(value: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """Yield each value at a path of names; a name may hold points itself. Lists on the way are gone
    through."""
    if not path:
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _at(item, path)
    elif isinstance(value, Mapping):
        for length in range(1, len(path) + 1):
            if (name := ".".join(path[:length])) in value:
                yield from _at(value[name], path[length:])


def _texts(values: Iterable[Any]) -> Iterator[str]:
    """Yield how values are written: text as it is, the rest as JSON; of a list each item. Case,
    white space around it, compatibility forms and what cannot be seen make no difference."""
    left = list(values)
    while left:
        value = left.pop()
        if isinstance(value, list | tuple):
            left += value
        else:
            text = value if isinstance(value, str) else canonical_json(value).decode()
            yield folded(text).strip().casefold()


def _inside(values: Iterable[Any]) -> Iterator[Any]:
    """Yield what stands in objects, at any depth: the names in them, and each text and number."""
    left = [value for value in values if isinstance(value, Mapping | list | tuple)]
    while left:
        value = left.pop()
        if isinstance(value, Mapping):
            yield from value
        for item in value.values() if isinstance(value, Mapping) else value:
            if isinstance(item, Mapping | list | tuple):
                left.append(item)
            else:
                yield item
