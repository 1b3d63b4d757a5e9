"""Whose budget a limit is: one agent's, one payee's, that of a type of action."""

from __future__ import annotations

import functools
import hashlib
from typing import Any, Literal

from safeguards.plugins.names import compact_name
from safeguards.text import visible
from safeguards.types import Agent

Scope = Literal["agent", "type", "agent_and_type", "payee", "account", "all"]
"""What has a budget of its own."""


def digest(text: str) -> str:
    """Return a short name for a text of any length, which says nothing of a person."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def action_type_of(context: dict[str, Any]) -> str:
    """Return the action type, as a person may read it."""
    return visible(str(context.get("action_type", "")), single_line=True, limit=100)


def type_key(context: dict[str, Any]) -> str:
    """Return what is the same in every spelling of an action's type."""
    return _type_key(str(context.get("action_type", ""))[:1000])


@functools.lru_cache(maxsize=1024)
def _type_key(action_type: str) -> str:
    return digest(compact_name(action_type))


def whom(scope: Scope, agent: Agent, context: dict[str, Any]) -> str:
    """Return in words whose budget it is. A payee and an account are not named: see the action."""
    who = f"agent {visible(agent.id, single_line=True, limit=100)}"
    match scope:
        case "agent":
            return who
        case "type":
            return action_type_of(context)
        case "agent_and_type":
            return f"{action_type_of(context)} by {who}"
        case "payee" | "account":
            return f"this {scope}"
        case "all":
            return "all agents together"


def common_key(scope: Scope, agent: Agent, context: dict[str, Any]) -> str:
    """Return the name of the budget of a scope that each action has exactly one of.

    What an agent may write is digested, and the agent's own id stands last, so that no two
    budgets can have one name.
    """
    match scope:
        case "agent":
            return agent.id
        case "type":
            return type_key(context)
        case "agent_and_type":
            return f"{type_key(context)}:{agent.id}"
        case _:
            return ""
