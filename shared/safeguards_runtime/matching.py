"""Which policies are for an action: found by its type, without asking each of them."""

from __future__ import annotations

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

    Of several values any is enough for a policy that denies or asks; all are needed for one that
    lets the action through: what an agent adds to an argument loosens nothing.
    """
    enough = all if policy.is_mild else any
    return tuple(
        path
        for path, globs in policy.match.arguments.items()
        if not (texts := list(_texts(_at(context, tuple(path.split("."))))))
        or not enough(any(_fits(text, glob, policy) for glob in globs) for text in texts)
    )


def _fits(text: str, glob: str, policy: Policy) -> bool:
    glob = glob.casefold()
    if policy.is_mild and "@" in glob and any(text.count(c) != glob.count(c) for c in _BETWEEN):
        return False
    return fnmatchcase(text, glob)


_BETWEEN = "@,;\n"
"""What stands between or inside of addresses: no `*` for one address is for several."""


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
    for value in values:
        if isinstance(value, list | tuple):
            yield from _texts(value)
        else:
            text = value if isinstance(value, str) else canonical_json(value).decode()
            yield folded(text).strip().casefold()
