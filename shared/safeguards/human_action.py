"""Asking people, and going on with what they answer."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any

from safeguards import background_loop
from safeguards.contracts import MAX_TIMEOUT_SECONDS, ApprovalView, Outcome, Question
from safeguards.errors import ConfigurationError, SafeguardsError
from safeguards.notifications.channels.human_in_the_loop import HumanInTheLoopChannel
from safeguards.types import ActionStatus
from safeguards.webhooks import receive

__all__ = ["ActionStatus", "HumanAction", "HumanActionHandler"]

logger = logging.getLogger("safeguards.human_action")

Callback = Callable[["HumanAction"], Any]


class HumanAction:
    """One question to people, as its agent sees it.

    Attributes:
        id: the approval's id. Keep it to take the action up again after a crash.
        title, description, agent_id, metadata: as they were asked.
        status: PENDING, then exactly one of the others.
        comments: what the reviewer wrote.
        response_data: the fields that the reviewer changed, with their new values.
        decided_by: who decided.
        questions: what reviewers asked meanwhile.
        expires_at: when it times out, aware UTC.
    """

    def __init__(self, view: ApprovalView, metadata: dict[str, Any] | None = None) -> None:
        self.id = view.id
        self.title = view.title
        self.description = view.description
        self.agent_id = view.agent_id
        self.metadata: dict[str, Any] = view.context if metadata is None else metadata
        self.status = ActionStatus.PENDING
        self.comments = ""
        self.response_data: dict[str, Any] = {}
        self.decided_by: str | None = None
        self.questions: tuple[Question, ...] = view.questions
        self.expires_at: datetime = view.expires_at
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._error: BaseException | None = None

    def __repr__(self) -> str:
        return f"<HumanAction {self.id} {self.status.value} {self.title!r}>"

    def _give_up(self, error: BaseException) -> None:
        """Let go whoever waits: the outcome cannot be heard any more."""
        self._error = error
        self._ended.set()

    def _end(self, outcome: Outcome) -> bool:
        """Take the outcome. False if there was one before: the first one stands."""
        with self._lock:
            if self.status.is_final:
                return False
            self.comments = outcome.comments
            self.response_data = dict(outcome.modifications or {})
            self.decided_by = outcome.decided_by
            self.status = outcome.status
        self._ended.set()
        return True


_Watched = tuple[HumanAction, tuple[Callback, ...]]


class HumanActionHandler:
    """Asks people through one channel, and waits or calls back with what they answer.

    Args:
        channel: initialized. One background connection serves all that is waited for.
    """

    def __init__(self, channel: HumanInTheLoopChannel) -> None:
        self._channel = channel
        self._timeout_seconds: int | None = None
        self._lock = threading.Lock()
        self._pending: defaultdict[str, list[_Watched]] = defaultdict(list)
        self._callers = ThreadPoolExecutor(8, thread_name_prefix="safeguards-callback")
        channel.on_question = self._asked

    def set_timeout(self, seconds: int) -> None:
        """Set how long people have to answer, in seconds, for actions requested from now on."""
        whole = isinstance(seconds, int) and not isinstance(seconds, bool)
        if not whole or not 1 <= seconds <= MAX_TIMEOUT_SECONDS:
            raise ConfigurationError(
                f"a time-out is 1 to {MAX_TIMEOUT_SECONDS} whole seconds, not {seconds!r}"
            )
        self._timeout_seconds = seconds

    def request_action(
        self,
        title: str,
        description: str,
        agent_id: str,
        metadata: dict[str, Any] | None = None,
        callbacks: Iterable[Callback] = (),
    ) -> HumanAction:
        """Ask people. The question is on the gateway's disk when this returns.

        Args:
            title: one line that says what is asked.
            description: the agent's own words.
            agent_id: who asks.
            metadata: the action's arguments; JSON types and Decimal.
            callbacks: each is called once with the action, in a thread, whatever the outcome.

        Raises:
            InvalidContentError: the metadata cannot be carried.
            ProblemError: the gateway refuses.
            GatewayUnreachableError: it did not answer.
        """
        view = self._channel.request(
            title=title,
            description=description,
            agent_id=agent_id,
            metadata=metadata or {},
            timeout_seconds=self._timeout_seconds,
        )
        return self._watch(HumanAction(view, metadata or {}), callbacks)

    def resume_action(self, action_id: str, callbacks: Iterable[Callback] = ()) -> HumanAction:
        """Take up an action again by its id, after a crash.

        Raises:
            NotFoundError: there is none that this API key may see.
        """
        return self._watch(HumanAction(self._channel.approval(action_id)), callbacks)

    def _watch(self, action: HumanAction, callbacks: Iterable[Callback]) -> HumanAction:
        with self._lock:
            self._pending[action.id].append((action, tuple(callbacks)))
        waiting = background_loop.submit(self._channel.client.asynchronous.wait(action.id))
        waiting.add_done_callback(lambda done: self._heard(action, done))
        return action

    def _heard(self, action: HumanAction, done: Future[Outcome]) -> None:
        error: BaseException | None
        if done.cancelled():
            error = SafeguardsError("the channel was shut down; the action is still open")
        else:
            error = done.exception()
        if error is not None:
            logger.error("the outcome of %s cannot be heard: %s", action.id, error)
            action._give_up(error)
            return
        self._end(action.id, done.result())

    def _end(self, action_id: str, outcome: Outcome) -> None:
        """End an action, and call its callbacks, once."""
        with self._lock:
            watched = self._pending.pop(action_id, [])
        for action, callbacks in watched:
            if action._end(outcome):
                for callback in callbacks:
                    self._callers.submit(_call, callback, action)

    def wait_for_action(self, action: HumanAction, timeout: float | None = None) -> ActionStatus:
        """Wait for the outcome, and return it.

        Args:
            action: from `request_action` or `resume_action`.
            timeout: seconds; None waits until the outcome, which the action's own time-out brings
                at the latest.

        Returns:
            The action's status: PENDING if `timeout` ended the wait. The action is still open
            then, and may be waited for again or cancelled.

        Raises:
            SafeguardsError: the outcome cannot be heard any more: the key was refused, or the
                channel was shut down. The action is still open; take it up by its id.
        """
        action._ended.wait(timeout)
        if action._error is not None and not action.status.is_final:
            raise action._error
        return action.status

    def _asked(self, question: Question) -> None:
        with self._lock:
            for action, _ in self._pending.get(question.approval_id, []):
                action.questions = (*action.questions, question)

    def answer_action(
        self, action: HumanAction, answer: str, context: dict[str, Any] | None = None
    ) -> None:
        """Answer a reviewer's question, which stands in `action.questions`.

        Args:
            action: what was asked about.
            answer: the agent's own words.
            context: other arguments, all of them, which `action.metadata` then is; they are what
                people approve from now on. None: the same as before.

        Raises:
            ConflictError: there is no open question, or it has been decided.
            InvalidContentError: the arguments cannot be carried.
        """
        self._channel.client.answer(action.id, answer, context)
        if context is not None:
            action.metadata = context

    def cancel_action(self, action: HumanAction) -> None:
        """Withdraw an action. Its outcome is CANCELLED, unless somebody was faster.

        Raises:
            ConflictError: it has been decided.
        """
        self._channel.client.cancel(action.id)

    def process_response(self, payload: bytes, headers: Mapping[str, str]) -> HumanAction:
        """Take a callback that the application received itself.

        Args:
            payload: the request's body, as it came.
            headers: the request's headers, with `webhook-id`, `webhook-timestamp` and
                `webhook-signature` (Standard Webhooks).

        Returns:
            The action, ended. Its callbacks are called unless they were before.

        Raises:
            SignatureError: the signature is missing, wrong, or older than five minutes.
            SafeguardsError: it is signed, but does not carry the outcome of an approval.
            ConfigurationError: the channel has no `callback_secret`, or what it has is none.
        """
        outcome = _verified(payload, headers, self._channel.callback_secret)
        action_id = outcome.approval_id
        if action_id is None:
            raise SafeguardsError("this callback does not carry the outcome of an approval")
        with self._lock:
            known = [action for action, _ in self._pending.get(action_id, [])]
        if not known:
            action = HumanAction(self._channel.approval(action_id))
            action._end(outcome)
            return action
        self._end(action_id, outcome)
        return known[0]

    def shutdown(self) -> None:
        """Finish the callbacks that run. Pending actions stay open on the gateway."""
        with self._lock:
            self._pending.clear()
        self._callers.shutdown(wait=True)


def _call(callback: Callback, action: HumanAction) -> None:
    try:
        callback(action)
    except Exception:
        logger.exception("a callback failed for %s", action.id)


def _verified(payload: bytes, headers: Mapping[str, str], secret: str | None) -> Outcome:
    if secret is None:
        raise ConfigurationError("give the channel the API key's `callback_secret` to check with")
    data = receive(payload, headers, secret).data
    if not isinstance(data, Outcome):
        raise SafeguardsError("this callback does not carry the outcome of an approval")
    return data
