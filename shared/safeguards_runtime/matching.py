"""Which policies are for an action: found by its type, without asking each of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any

from safeguards.canonical import canonical_json
from safeguards_runtime.policies import Match, Policy
from safeguards_runtime.type_index import TypeIndex

KEPT_AGENTS = 4096
"""For how many agents, each with a type of actions, it is remembered what was found."""


class PolicyIndex:
    """Policies by the types of actions that they are for, and the agents."""

    def __init__(self, policies: Sequence[Policy]) -> None:
        self._types = TypeIndex((policy.match.action_types, policy) for policy in policies)
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
            if not unfit_arguments(policy.match, context):
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
