"""One background connection that hears the outcomes of everything an agent process waits for."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from safeguards.contracts import Outcome, OutcomePage, Question, Verdict
from safeguards.errors import (
    AuthenticationError,
    GatewayUnreachableError,
    NotFoundError,
    PermissionDeniedError,
    ProblemError,
    SafeguardsError,
)
from safeguards.identifiers import is_id
from safeguards.transport import REPEATABLE, Transport
from safeguards.types import ActionStatus

logger = logging.getLogger("safeguards.client")

WAIT_SECONDS = 30
"""How long one long poll lasts."""

HEARD_LENGTH = 10_000
"""How many outcomes are remembered for whoever waits for them later."""

LONGEST_PAUSE_SECONDS = 5.0

WITHOUT_LONG_POLL = (404, 405, 501)
"""What an endpoint of somebody else's answers to `/outcomes`."""

REFUSALS = 5
"""After how many refusals of the key in a row the waiters are told. One may be a proxy's."""


class OutcomeListener:
    """Hears outcomes, and wakes whoever waits for them.

    Subscribes before it looks: a waiter's future is there before the record is read, and the
    feed is read from a cursor older than the request. So no outcome falls in between.

    Args:
        transport: to the gateway.
        poll_interval_seconds: for an endpoint that has no `/outcomes`.
        on_question: called with each question of a reviewer.
    """

    def __init__(
        self,
        transport: Transport,
        poll_interval_seconds: float,
        on_question: Callable[[Question], None] | None,
    ) -> None:
        self._transport = transport
        self._poll_interval_seconds = poll_interval_seconds
        self._on_question = on_question
        self._starting = asyncio.Lock()
        self._cursor: str | None = None
        self._task: asyncio.Task[None] | None = None
        self._waiting: defaultdict[str, set[asyncio.Future[Outcome]]] = defaultdict(set)
        self._heard: OrderedDict[str, Outcome] = OrderedDict()
        self._expected: dict[str, datetime | None] = {}
        self._published: set[str] = set()
        self.is_foreign = False
        """Whether the endpoint cannot long-poll, so that it is asked every `poll_interval`."""

    async def start(self) -> None:
        """Find the feed's end and follow it from there, once.

        Raises:
            SafeguardsError: if the gateway does not answer, or refuses the key.
        """
        async with self._starting:
            if self._task is not None and not self._task.done():
                return
            if self._cursor is None and not self.is_foreign:
                await self._find_end()
            follow = self._poll if self.is_foreign else self._follow
            self._task = asyncio.get_running_loop().create_task(follow())

    async def _find_end(self) -> None:
        try:
            page = await self._transport.get("/outcomes")
            self._cursor = OutcomePage.model_validate(page).cursor
        except ProblemError as error:
            if error.status not in WITHOUT_LONG_POLL:
                raise
            self.is_foreign = True
        except ValidationError as error:
            logger.info("%s; asking every %s s", error, self._poll_interval_seconds)
            self.is_foreign = True

    async def aclose(self) -> None:
        """Stop listening. Whoever still waits is cancelled."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for waiters in self._waiting.values():
            for waiter in waiters:
                waiter.cancel()

    def expect(
        self, record_id: str, outcome: Outcome | None, expires_at: datetime | None = None
    ) -> None:
        """Note what was just asked for: its outcome will be heard.

        Args:
            record_id: the action or approval.
            outcome: its outcome, if it has one already (a repeated request).
            expires_at: when an endpoint that cannot long-poll is given up.
        """
        if outcome is not None:
            self._hear(outcome, record_id)
        elif record_id not in self._heard:
            self._expected[record_id] = expires_at

    def expect_publication(self, action_id: str) -> None:
        """Note what was published over a queue: it may not be known for a while."""
        self._published.add(action_id)

    def has_arrived(self, action_id: str) -> None:
        """Note that what was published is known."""
        self._published.discard(action_id)

    async def outcome(self, record_id: str) -> Outcome:
        """Return the outcome of an action or approval, once there is one.

        Raises:
            NotFoundError: there is nothing under this id.
            SafeguardsError: the gateway refuses the key.
        """
        if record_id in self._heard:
            return self._heard[record_id]
        # Awaited as it is: each wrapper around it would be a turn of the loop later.
        waiter: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting[record_id].add(waiter)
        try:
            await self.start()
            if record_id not in self._expected and not waiter.done():
                await self._look_unreached(record_id, waiter)
            return await waiter
        finally:
            self._leave(record_id, waiter)

    def _leave(self, record_id: str, waiter: asyncio.Future[Outcome]) -> None:
        waiters = self._waiting.get(record_id, set())
        waiters.discard(waiter)
        if not waiters:
            self._waiting.pop(record_id, None)

    def _wake(self, record_id: str) -> list[asyncio.Future[Outcome]]:
        """Return who waits for a record, and wait for it no longer."""
        return [waiter for waiter in self._waiting.pop(record_id, ()) if not waiter.done()]

    async def _look_unreached(self, record_id: str, waiter: asyncio.Future[Outcome]) -> None:
        """Look at a record that this process did not ask for itself, until it has been seen, or its
        outcome has been heard."""
        pause = 0.1
        while not waiter.done():
            try:
                await self._look(record_id)
            except (GatewayUnreachableError, ProblemError) as error:
                if not self._is_on_its_way(record_id, error):
                    raise
            else:
                self._published.discard(record_id)
                self._expected.setdefault(record_id, None)
                return
            await asyncio.wait([waiter], timeout=pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _is_on_its_way(self, record_id: str, error: SafeguardsError) -> bool:
        """Tell whether a record that could not be looked at may be there later."""
        if isinstance(error, NotFoundError):
            return record_id in self._published
        return not isinstance(error, ProblemError) or error.status in REPEATABLE

    async def _look(self, record_id: str) -> None:
        """Read a record, and hear its outcome if it has one."""
        kind = "actions" if is_id(record_id, "act") else "approvals"
        view = await self._transport.get(f"/{kind}/{record_id}")
        outcome = _outcome_in(view, record_id)
        if outcome is not None:
            self._hear(outcome, record_id)

    async def _follow(self) -> None:
        pause = 0.1
        refusals = 0
        while True:
            query = {"after": self._cursor or "", "wait": str(WAIT_SECONDS)}
            try:
                pages = self._transport.stream("/outcomes", query, WAIT_SECONDS)
                async with aclosing(pages):
                    async for answer in pages:
                        await self._read(OutcomePage.model_validate(_understood(answer)))
                        pause = 0.1
                        refusals = 0
                        await asyncio.sleep(0)  # whoever was waiting goes first
            except (ProblemError, GatewayUnreachableError, ValidationError) as error:
                if isinstance(error, AuthenticationError | PermissionDeniedError):
                    refusals += 1
                    if refusals >= REFUSALS:
                        self._fail(error)
                        return
                logger.warning("cannot hear outcomes, trying again: %s", error)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _read(self, page: OutcomePage) -> None:
        for entry in page.entries:
            self._take(entry)
        if page.gap:
            await self._look_at_all()
        self._cursor = page.cursor

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_interval_seconds)
            try:
                await self._look_at_all()
            except (ProblemError, GatewayUnreachableError) as error:
                # What was decided there is not known: nothing is given up in this round.
                logger.warning("cannot ask for outcomes, trying again: %s", error)
                continue
            now = datetime.now(UTC)
            for record_id, expires_at in list(self._expected.items()):
                if expires_at is not None and now >= expires_at:
                    self._hear(_timed_out(record_id, now), record_id)

    async def _look_at_all(self) -> None:
        """Look at everything that is waited for: its outcome may be between the feed's entries."""
        for record_id in {**self._expected, **self._waiting}:
            try:
                await self._look(record_id)
            except NotFoundError as error:
                if record_id in self._published:
                    continue
                self._expected.pop(record_id, None)
                for waiter in self._wake(record_id):
                    waiter.set_exception(error)

    def _take(self, entry: Outcome | Question) -> None:
        if isinstance(entry, Outcome):
            self._hear(entry, entry.action_id, entry.approval_id)
        elif self._on_question is not None:
            try:
                self._on_question(entry)
            except Exception:
                logger.exception("on_question failed")

    def _hear(self, outcome: Outcome, *record_ids: str | None) -> None:
        """Remember an outcome, and wake who waits. The first one stands."""
        for record_id in record_ids:
            if record_id is None or record_id in self._heard:
                continue
            self._heard[record_id] = outcome
            self._expected.pop(record_id, None)
            for waiter in self._wake(record_id):
                waiter.set_result(outcome)
        while len(self._heard) > HEARD_LENGTH:
            self._heard.popitem(last=False)

    def _fail(self, error: SafeguardsError) -> None:
        for record_id in list(self._waiting):
            for waiter in self._wake(record_id):
                waiter.set_exception(error)


def _understood(answer: Any) -> Any:
    """Return a page without the entries of a kind that only newer clients know."""
    if not isinstance(answer, dict) or not isinstance(answer.get("entries"), list):
        return answer
    known = [
        entry
        for entry in answer["entries"]
        if not isinstance(entry, dict) or entry.get("type", "outcome") in ("outcome", "question")
    ]
    return {**answer, "entries": known}


def _outcome_in(view: Any, record_id: str) -> Outcome | None:
    """Return the outcome in what an endpoint answers about a record, or None.

    An endpoint of somebody else's may answer `status`, `comments` and `response_data` alone.
    """
    if not isinstance(view, dict):
        return None
    if view.get("outcome"):
        return Outcome.model_validate(view["outcome"])
    try:
        status = ActionStatus(str(view.get("status", "")).upper())
    except ValueError:
        return None
    if not status.is_final:
        return None
    return Outcome(
        status=status,
        verdict=Verdict.REQUIRE_APPROVAL,
        agent_id=str(view.get("agent_id", "")),
        approval_id=record_id,
        comments=str(view.get("comments") or ""),
        modifications=view.get("response_data") or view.get("modifications"),
        decided_by=str(view.get("decided_by", "")),
        decided_at=datetime.now(UTC),
    )


def _timed_out(record_id: str, now: datetime) -> Outcome:
    return Outcome(
        status=ActionStatus.TIMED_OUT,
        verdict=Verdict.REQUIRE_APPROVAL,
        agent_id="",
        approval_id=record_id,
        decided_by="nobody",
        decided_at=now,
    )
