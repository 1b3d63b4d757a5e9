"""`require_approval`: a function that runs only with what a person approved."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from safeguards.client import AsyncSafeguards, Safeguards
from safeguards.errors import ConfigurationError

Function = TypeVar("Function", bound=Callable[..., Any])


def require_approval(
    client: Safeguards | AsyncSafeguards,
    *,
    agent_id: str,
    action_type: str | None = None,
    title: str | None = None,
    description: str = "",
    timeout: float | None = None,
) -> Callable[[Function], Function]:
    """Have each call judged, and run the function with the arguments that were approved.

    A policy that allows the action lets it run at once; one that requires approval makes the call
    wait for a person. A reviewer's changes are in the arguments that the function gets.

    Args:
        client: `Safeguards` for a function, `AsyncSafeguards` for a coroutine function.
        agent_id: who wants to act.
        action_type: what kind of action; the function's name unless given.
        title: one line for people.
        description: the agent's own words; the first line of the docstring unless given.
        timeout: seconds to wait for the outcome; None waits until there is one.

    Raises:
        ConfigurationError: when decorating, if client and function do not go together, or the
            function takes `*args` or positional-only arguments, which have no names to show.
        NotApprovedError: when called, if it may not run. It carries the outcome.
        OutcomePendingError: when called, if `timeout` ends the wait.
        InvalidContentError: when called, if an argument has no JSON form.
    """

    def decorate(function: Function) -> Function:
        signature = _named(function)
        kind = action_type or str(getattr(function, "__name__", "call"))
        words = description or (inspect.getdoc(function) or "").partition("\n")[0]

        def asked(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            return _flat(signature, bound.arguments)

        if inspect.iscoroutinefunction(function):
            if not isinstance(client, AsyncSafeguards):
                raise ConfigurationError("a coroutine function needs an AsyncSafeguards client")

            @wraps(function)
            async def call_async(*args: Any, **kwargs: Any) -> Any:
                context = asked(args, kwargs)
                action = await client.submit(
                    agent_id, kind, context, title=title, description=words
                )
                outcome = await client.wait(action, timeout)
                return await function(**outcome.approved_context(context))

            return cast(Function, call_async)
        if not isinstance(client, Safeguards):
            raise ConfigurationError("a function that is no coroutine needs a Safeguards client")

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            context = asked(args, kwargs)
            action = client.submit(agent_id, kind, context, title=title, description=words)
            return function(**client.wait(action, timeout).approved_context(context))

        return cast(Function, call)

    return decorate


def _named(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature, whose every argument can be passed by its name."""
    signature = inspect.signature(function)
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            raise ConfigurationError(
                f"{parameter.name!r} cannot be passed by name, so that it could not be shown"
            )
    return signature


def _flat(signature: inspect.Signature, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments by name, those of `**kwargs` among the others."""
    flat = dict(arguments)
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            flat |= flat.pop(parameter.name, {})
    return flat
