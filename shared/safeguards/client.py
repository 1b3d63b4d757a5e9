"""The clients of the gateway: `AsyncSafeguards`, and `Safeguards` for synchronous code."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from functools import partial, wraps
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, cast

from safeguards import background_loop
from safeguards.canonical import jsonable
from safeguards.contracts import (
    ActionView,
    ApprovalView,
    Outcome,
    Question,
)
from safeguards.errors import ConfigurationError, OutcomePendingError
from safeguards.identifiers import is_id, new_id, twin_id
from safeguards.listener import OutcomeListener
from safeguards.transport import Transport
from safeguards.types import ActionStatus

T = TypeVar("T")

Handle = ActionView | ApprovalView | str
"""What can be waited for: what `submit` and `request_approval` return, or its id alone."""

OnQuestion = Callable[[Question], None]


class AsyncSafeguards:
    """The gateway, from one event loop.

    One background connection hears the outcomes of everything that is waited for.

    Args:
        base_url: the API's base, such as `http://127.0.0.1:8000/api/v1`.
        api_key: `sgk_…`, of an agent.
        poll_interval_seconds: how often an endpoint is asked that cannot long-poll. Never used
            against the gateway.
        on_question: called with each question that a reviewer asks.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        poll_interval_seconds: float = 5.0,
        on_question: OnQuestion | None = None,
    ) -> None:
        self._transport = Transport(base_url, api_key)
        self._listener = OutcomeListener(self._transport, poll_interval_seconds, on_question)

    async def __aenter__(self) -> Self:
        """Return this client."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. Approvals stay open: their ids can be taken up again."""
        await self._listener.aclose()
        await self._transport.aclose()

    async def submit(
        self,
        agent_id: str,
        action_type: str,
        context: dict[str, Any],
        *,
        title: str | None = None,
        description: str = "",
        on_behalf_of: str | None = None,
        callback_url: str | None = None,
        timeout_seconds: int | None = None,
        idempotency_key: str | None = None,
    ) -> ActionView:
        """Submit an action to be judged. It is on the gateway's disk when this returns.

        Args:
            agent_id: who wants to act.
            action_type: what kind of action, such as `transaction`.
            context: its arguments; JSON types and Decimal.
            title: one line for people.
            description: the agent's own words for people.
            on_behalf_of: the person the agent acts for, who may then not answer.
            callback_url: where the outcome is posted, signed.
            timeout_seconds: how long people have to answer.
            idempotency_key: the same key is taken once; a fresh one unless given.

        Raises:
            InvalidContentError: the context cannot be carried.
            ProblemError: the gateway refuses.
            GatewayUnreachableError: it did not answer, after several attempts.
        """
        body = _given(
            agent_id=agent_id,
            action_type=action_type,
            context=jsonable(context, pointer="/context"),
            title=title,
            description=description or None,
            on_behalf_of=on_behalf_of,
            callback_url=callback_url,
            timeout_seconds=timeout_seconds,
        )
        await self._listener.start()
        key = idempotency_key or new_id("act")
        answer = await self._transport.post("/actions", body, idempotency_key=key)
        action = ActionView.model_validate(answer)
        self._listener.expect(action.id, action.outcome)
        return action

    async def request_approval(
        self,
        agent_id: str,
        title: str,
        context: dict[str, Any] | None = None,
        *,
        description: str = "",
        on_behalf_of: str | None = None,
        callback_url: str | None = None,
        timeout_seconds: int | None = None,
        idempotency_key: str | None = None,
    ) -> ApprovalView:
        """Ask people directly, without evaluation.

        Args and errors as `submit`; `action_type` in the context names the action.
        """
        body = _given(
            agent_id=agent_id,
            title=title,
            metadata=jsonable(context or {}, pointer="/metadata"),
            description=description or None,
            on_behalf_of=on_behalf_of,
            callback_url=callback_url,
            timeout_seconds=timeout_seconds,
        )
        await self._listener.start()
        key = idempotency_key or new_id("apr")
        answer = await self._transport.post("/request-approval", body, idempotency_key=key)
        approval = ApprovalView.model_validate(_completed(answer, body))
        self._listener.expect(approval.id, approval.outcome, approval.expires_at)
        return approval

    async def wait(
        self,
        handle: Handle,
        timeout: float | None = None,  # noqa: ASYNC109 - the seed's word
    ) -> Outcome:
        """Wait for an outcome. An answer wakes the waiter at once.

        Args:
            handle: what `submit` or `request_approval` returned, or an id from before a crash.
            timeout: seconds; None waits until the outcome, which the approval's own time-out
                brings at the latest.

        Raises:
            OutcomePendingError: the time is up; the approval is still open.
            NotFoundError: there is nothing under this id.
        """
        record_id = handle if isinstance(handle, str) else handle.id
        try:
            async with asyncio.timeout(timeout):
                return await self._listener.outcome(record_id)
        except TimeoutError:
            raise OutcomePendingError(
                f"{record_id} has no outcome after {timeout} s; it is still open"
            ) from None

    async def expect_publication(self, action_id: str) -> None:
        """Note that an action is on its way over a queue: `wait` then waits until it is known."""
        self._listener.expect_publication(action_id)

    async def get(self, record_id: str) -> ActionView | ApprovalView:
        """Return an action or an approval as it stands, by its id."""
        if is_id(record_id, "act"):
            return ActionView.model_validate(await self._transport.get(f"/actions/{record_id}"))
        return ApprovalView.model_validate(await self._transport.get(f"/approvals/{record_id}"))

    async def cancel(self, handle: Handle) -> None:
        """Withdraw what was asked. Nothing happens if it was withdrawn before.

        Raises:
            ConflictError: it has been decided.
        """
        record_id = handle if isinstance(handle, str) else handle.id
        approval_id = twin_id("apr", record_id) if is_id(record_id, "act") else record_id
        await self._transport.delete(f"/approvals/{approval_id}")

    async def answer(
        self,
        handle: Handle,
        answer: str,
        context: dict[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> ApprovalView:
        """Answer a reviewer's question, the first open one. It makes a new version.

        Args:
            handle: what `submit` or `request_approval` returned, or its id.
            answer: the agent's own words.
            context: other arguments, all of them, of the same action type; None: the same as
                before. They are judged by the policies anew, and if people approve then it is
                these that may run, and no others.
            idempotency_key: the same key is taken once, and so answers one question only; a fresh
                one unless given.

        Raises:
            ConflictError: there is no open question, or it has been decided.
        """
        record_id = handle if isinstance(handle, str) else handle.id
        body: dict[str, Any] = {"answer": answer}
        if context is not None:
            body["context"] = jsonable(context, pointer="/context")
        path = f"/approvals/{twin_id('apr', record_id)}/answers"
        key = idempotency_key or new_id("apr")
        view = await self._transport.post(path, body, idempotency_key=key)
        return ApprovalView.model_validate(view)


P = ParamSpec("P")


def _blocking(
    method: Callable[Concatenate[AsyncSafeguards, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Safeguards, P], T]:
    """Return the method of `Safeguards` that waits for `method` of `AsyncSafeguards`."""

    @wraps(method)
    def call(self: Safeguards, *args: P.args, **kwargs: P.kwargs) -> T:
        return background_loop.run(method(self.asynchronous, *args, **kwargs))

    return cast("Callable[Concatenate[Safeguards, P], T]", call)


class Safeguards:
    """The gateway, for code without an event loop. The same methods as `AsyncSafeguards`.

    May be used from any number of threads.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        poll_interval_seconds: float = 5.0,
        on_question: OnQuestion | None = None,
    ) -> None:
        self._make = partial(
            AsyncSafeguards,
            base_url,
            api_key,
            poll_interval_seconds=poll_interval_seconds,
            on_question=on_question,
        )
        self._made = self._make()
        self._process_id = os.getpid()

    @property
    def asynchronous(self) -> AsyncSafeguards:
        """The client on the background loop; a forked child has its own."""
        if self._process_id != os.getpid():
            self._made = self._make()
            self._process_id = os.getpid()
        return self._made

    submit = _blocking(AsyncSafeguards.submit)
    request_approval = _blocking(AsyncSafeguards.request_approval)
    wait = _blocking(AsyncSafeguards.wait)
    get = _blocking(AsyncSafeguards.get)
    cancel = _blocking(AsyncSafeguards.cancel)
    expect_publication = _blocking(AsyncSafeguards.expect_publication)
    answer = _blocking(AsyncSafeguards.answer)
    close = _blocking(AsyncSafeguards.aclose)

    def __enter__(self) -> Self:
        """Return this client."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self.close()


def _given(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def _completed(answer: Any, body: dict[str, Any]) -> dict[str, Any]:
    """Return an endpoint's answer with what it left out, of what it was asked.

    Raises:
        ConfigurationError: if it does not even give an id: it is no such endpoint.
    """
    if not isinstance(answer, dict) or not isinstance(answer.get("id"), str):
        raise ConfigurationError("the endpoint answered without an `id`: is its address right?")
    now = datetime.now(UTC)
    context = body["metadata"]
    asked = {
        "agent_id": body["agent_id"],
        "action_type": str(context.get("action_type", "request")),
        "title": body["title"],
        "description": body.get("description", ""),
        "context": context,
        "digest": "",
        "version": 1,
        "created_at": now,
        "expires_at": now + timedelta(seconds=body.get("timeout_seconds", 300)),
    }
    return {**asked, "status": ActionStatus.PENDING, **answer}
