"""The load: agents that ask and reviewers that answer, each step written into the journal.

What each action is, who answers it, how and when, follows from the seed and the action's number;
so a run can be repeated, apart from the machine's own timing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx2

from safeguards.client import AsyncSafeguards
from safeguards.errors import GatewayUnreachableError, ProblemError
from safeguards.identifiers import twin_id
from safeguards.publisher import ActionPublisher
from tests.chaos.journal import Answered, Asked, Heard, Journal
from tests.stack import Stack

AGENT = "trader"
REVIEWERS = ("alex", "sam")
PATIENCE_SECONDS = 300.0
"""How long a step is tried again before the run gives up on it."""

PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 3.0

IN_FLIGHT = 500
"""How many actions are under way at once: where faults and the machine let no more through, fewer
are asked for, and the load that is reported is less."""


@dataclass(frozen=True)
class Answer:
    """What one reviewer will do: `after` seconds, `approve`, `modify`, `reject` or `ask`."""

    reviewer: str
    after: float
    response: str


@dataclass(frozen=True)
class Plan:
    """One action and what becomes of it.

    Attributes:
        number: which of the run's actions.
        way: `http`, `queue` or `direct`.
        amount: of money; the policy lets small ones through.
        answers: of reviewers, who race.
        withdrawn_after: seconds after which the agent withdraws it, or None.
        timeout_seconds: how long people have.
        has_callback: whether its outcome is posted to the agent, too.
    """

    number: int
    way: str
    amount: str
    answers: tuple[Answer, ...] = ()
    withdrawn_after: float | None = None
    timeout_seconds: int | None = None
    has_callback: bool = False

    @property
    def is_allowed(self) -> bool:
        """Whether the policy lets it through without a person."""
        return self.way != "direct" and float(self.amount) < 1000

    @classmethod
    def of(cls, seed: int, number: int) -> Plan:
        """Return the plan of an action, always the same for a seed and a number."""
        chance = random.Random(f"{seed}:{number}")
        way = chance.choices(("http", "queue", "direct"), (70, 15, 15))[0]
        has_callback = chance.random() < 0.1
        if way != "direct" and chance.random() < 0.3:
            return cls(number, way, "5.00", has_callback=has_callback)
        fate = chance.choices(("answered", "asked", "withdrawn", "silence"), (80, 6, 6, 8))[0]
        answers: list[Answer] = []
        if fate == "asked":
            answers.append(Answer(chance.choice(REVIEWERS), chance.uniform(0.05, 0.5), "ask"))
        if fate in ("answered", "asked"):
            first = answers[0].after + 0.5 if answers else 0.05
            for reviewer in chance.sample(REVIEWERS, chance.choice((1, 1, 2))):
                response = chance.choices(("approve", "modify", "reject"), (60, 20, 20))[0]
                answers.append(Answer(reviewer, first + chance.uniform(0, 1.5), response))
        withdrawn_after = chance.uniform(0, 1.5) if fate == "withdrawn" else None
        if withdrawn_after and chance.random() < 0.5:
            answers.append(Answer(chance.choice(REVIEWERS), withdrawn_after, "approve"))
        timeout = chance.randint(8, 10) if fate == "silence" else None
        amount = f"{2000 + number}.{chance.randrange(100):02}"
        return cls(number, way, amount, tuple(answers), withdrawn_after, timeout, has_callback)


class Load:
    """Agents and reviewers against one stack, on the running event loop.

    Args:
        stack: a running stack.
        journal: where everything is written down.
        seed: what each action is follows from it.
    """

    def __init__(self, stack: Stack, journal: Journal, seed: int) -> None:
        self._stack = stack
        self._journal = journal
        self._seed = seed
        self._withdrawn: set[str] = set()
        # What is broken on purpose makes its clients complain.
        for noisy in ("safeguards.client", "safeguards.publisher"):
            logging.getLogger(noisy).setLevel(logging.CRITICAL)

    async def run(self, rate: float, stop: asyncio.Event) -> int:
        """Ask `rate` times a second until told to stop, and see each through to its outcome.

        Returns:
            How many were accepted while it was not told to stop.
        """
        async with asyncio.TaskGroup() as actions:
            number, started = 0, time.monotonic()
            slots = asyncio.Semaphore(IN_FLIGHT)
            tasks: list[asyncio.Task[None]] = []
            while not stop.is_set():
                await slots.acquire()
                tasks.append(actions.create_task(self._live(Plan.of(self._seed, number))))
                tasks[-1].add_done_callback(lambda _: slots.release())
                number += 1
                with contextlib.suppress(TimeoutError):
                    left = started + number / rate - time.monotonic()
                    await asyncio.wait_for(stop.wait(), max(0.0, left))
            accepted = len(list(self._journal.of(Asked)))
            await asyncio.gather(*tasks)
            await self._until_feed_has_told()
            return accepted

    async def __aenter__(self) -> Self:
        """Connect."""
        keys = self._stack.reviewer_keys
        # What blocks may not hold up the proxies, which run on this loop.
        create_key = self._stack.create_key
        signing = await asyncio.to_thread(create_key, "--agent", AGENT, "--signing")
        self._people = {name: self._http(keys[name].api_key) for name in REVIEWERS}
        self._listening = self._http(self._stack.agent_key.api_key)
        self._agent = AsyncSafeguards(self._stack.api, self._stack.agent_key.api_key)
        self._publisher = ActionPublisher(
            self._stack.setting("SAFEGUARDS_BROKER_URL"),
            signing.signing_key or {},
            self._stack.client(),
        )
        page = (await self._listening.get("/outcomes")).json()
        self._cursor: str = page["cursor"]
        self._following = asyncio.create_task(self._follow_feed())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Disconnect."""
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)
        await asyncio.to_thread(self._publisher.close)
        await self._agent.aclose()
        for client in (*self._people.values(), self._listening):
            await client.aclose()

    def _http(self, api_key: str) -> httpx2.AsyncClient:
        limits = httpx2.Limits(max_connections=100, max_keepalive_connections=100)
        headers = {"Authorization": f"Bearer {api_key}"}
        return httpx2.AsyncClient(
            base_url=self._stack.api, headers=headers, timeout=15, limits=limits, verify=False
        )

    async def _live(self, plan: Plan) -> None:
        """See one action through, from being asked to its outcome."""
        record_id, digest = await self._ask(plan)
        asked = (plan.way, plan.is_allowed, plan.amount, plan.has_callback)
        self._journal.add(Asked(time.monotonic(), record_id, *asked))
        approval_id = twin_id("apr", record_id)
        steps = [self._answer(plan, approval_id, digest, answer) for answer in plan.answers]
        if plan.withdrawn_after is not None:
            steps.append(self._withdraw(plan, approval_id))
        await asyncio.gather(self._hear(record_id), *steps)

    async def _ask(self, plan: Plan) -> tuple[str, str | None]:
        """Ask until it is accepted; the same request, however often it is sent."""
        context = {"action_type": "transaction", "amount": plan.amount, "number": plan.number}
        url = self._stack.webhook.url(f"/callback/{plan.number}") if plan.has_callback else None
        common: dict[str, Any] = {"callback_url": url, "timeout_seconds": plan.timeout_seconds}
        if plan.way == "queue":
            publish = self._publisher.publish
            action_id = await asyncio.to_thread(publish, AGENT, "transaction", context, **common)
            await self._agent.expect_publication(action_id)
            return action_id, None
        deadline = time.monotonic() + PATIENCE_SECONDS
        key = f"{self._seed}-{plan.number}"
        while True:
            try:
                if plan.way == "direct":
                    asked = await self._agent.request_approval(
                        AGENT, f"Payment {plan.number}", context, idempotency_key=key, **common
                    )
                    return asked.id, asked.digest
                action = await self._agent.submit(
                    AGENT, "transaction", context, idempotency_key=key, **common
                )
                return action.id, action.digest
            except (GatewayUnreachableError, ProblemError):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(PAUSE_SECONDS)

    async def _hear(self, record_id: str) -> None:
        outcome = await self._agent.wait(record_id, PATIENCE_SECONDS)
        body = outcome.model_dump(mode="json")
        self._journal.add(Heard(time.monotonic(), "agent", record_id, body))

    async def _answer(
        self, plan: Plan, approval_id: str, digest: str | None, answer: Answer
    ) -> None:
        """Answer as a reviewer, until there is a definite reply."""
        await asyncio.sleep(answer.after)
        words = f"{answer.response} {plan.number} {answer.reviewer} {answer.after:.3f}"
        body: dict[str, Any] = {"response": answer.response, "comments": words}
        changes = {"amount": f"{plan.number % 900 + 1}.00"} if answer.response == "modify" else None
        body |= {"version": 1, **({"digest": digest} if digest else {})}
        body |= {"modifications": changes} if changes else {}
        while True:
            url = f"/approvals/{approval_id}/responses"
            status, content = await self._until_definite(
                self._people[answer.reviewer], "POST", url, body
            )
            entry = (approval_id, answer.response, answer.reviewer, words, status, changes)
            self._journal.add(Answered(time.monotonic(), *entry))
            if status == 200 and answer.response == "ask":
                await self._answer_question(approval_id, words)
            if status != 409 or "stale_version" not in content.get("type", ""):
                return
            # It has changed since: they look at it again, and answer the same.
            body["version"] = content["version"]

    async def _answer_question(self, approval_id: str, question: str) -> None:
        words = f"answer to {question}"
        url, body = f"/approvals/{approval_id}/answers", {"answer": words}
        status, _ = await self._until_definite(self._listening, "POST", url, body)
        self._journal.add(Answered(time.monotonic(), approval_id, "answer", AGENT, words, status))

    async def _withdraw(self, plan: Plan, approval_id: str) -> None:
        await asyncio.sleep(plan.withdrawn_after or 0)
        url = f"/approvals/{approval_id}"
        status, _ = await self._until_definite(self._listening, "DELETE", url)
        self._withdrawn.add(approval_id)
        self._journal.add(Answered(time.monotonic(), approval_id, "cancel", AGENT, "", status))

    async def _until_definite(
        self, http: httpx2.AsyncClient, method: str, url: str, body: dict[str, Any] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Send the same request until it is answered for good: not yet open, or trouble, is not."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        pause = PAUSE_SECONDS
        while True:
            with contextlib.suppress(httpx2.TransportError):
                # An approval that was withdrawn before it was open will never be there.
                is_withdrawn = url.split("/")[2] in self._withdrawn
                reply = await http.request(method, url, json=body)
                is_open = is_withdrawn or reply.status_code != 404
                if is_open and reply.status_code < 500:
                    return reply.status_code, reply.json() if reply.content else {}
            if time.monotonic() > deadline:
                raise TimeoutError(f"{method} {url} is not answered for good")
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _follow_feed(self) -> None:
        """Hear every page of the outcome feed, as a second listener beside the SDK's."""
        while True:
            try:
                query = {"after": self._cursor, "wait": "5"}
                reply = await self._listening.get("/outcomes", params=query)
                reply.raise_for_status()
                page = reply.json()
            except httpx2.HTTPError:
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            for entry in page["entries"]:
                for record_id in (entry.get("action_id"), entry.get("approval_id")):
                    if entry["type"] == "outcome" and record_id:
                        self._journal.add(Heard(time.monotonic(), "feed", record_id, entry))
            self._cursor = page["cursor"]

    async def _until_feed_has_told(self) -> None:
        """Wait until the second listener has heard of everything that was asked."""
        asked = {entry.record_id for entry in self._journal.of(Asked)}
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            heard = {h.record_id for h in self._journal.of(Heard) if h.listener == "feed"}
            if asked <= heard:
                return
            await asyncio.sleep(PAUSE_SECONDS)
