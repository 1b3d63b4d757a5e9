"""What is compared: Safeguards and the floor, each as a reviewer and a waiting agent see it."""

from __future__ import annotations

import asyncio
import uuid
from types import TracebackType
from typing import Any, Protocol, Self

import httpx2

from safeguards.client import AsyncSafeguards
from tests.bench.floor import Floor
from tests.stack import Stack

AGENT_ID = "bench"
TITLE = "A large transaction"
CONTEXT = {
    "action_type": "transaction",
    "amount": "2500.00",
    "description": "Large investment purchase",
}
WAIT_SECONDS = 30


class Question(Protocol):
    """What an agent waits for."""

    @property
    def id(self) -> str:
        """Its identifier."""


class Side(Protocol):
    """One of the two. The agent and the reviewer are in this process, each with its own client."""

    async def open(self) -> Question:
        """Ask; return what can be waited for."""

    async def wait(self, question: Question) -> None:
        """Wait as the agent, over one connection for all, until it is answered."""

    async def answer(self, question: Question) -> None:
        """Answer as the reviewer: one POST."""


class SafeguardsSide:
    """The real stack, its agent through the SDK, its reviewer over the API."""

    def __init__(self, stack: Stack) -> None:
        self._agent = AsyncSafeguards(stack.api, stack.agent_key.api_key)
        key = stack.reviewer_keys["alex"].api_key
        self._reviewer = _http(stack.api, {"Authorization": f"Bearer {key}"})

    async def open(self) -> Any:
        """Open an approval; return its view."""
        return await self._agent.request_approval(AGENT_ID, TITLE, CONTEXT)

    async def wait(self, question: Any) -> None:
        """Wait for its outcome."""
        await self._agent.wait(question)

    async def answer(self, question: Any) -> None:
        """Approve what was seen."""
        body = {"response": "approve", "version": question.version, "digest": question.digest}
        url = f"/approvals/{question.id}/responses"
        (await self._reviewer.post(url, json=body)).raise_for_status()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._agent.aclose()
        await self._reviewer.aclose()


class FloorQuestion:
    """A question of the floor: an id, and a future that its answer sets."""

    def __init__(self) -> None:
        self.id = uuid.uuid4().hex
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class FloorSide:
    """The floor, with the least of an agent that hears all answers by one long poll."""

    def __init__(self, floor: Floor) -> None:
        self._agent = _http(floor.url)
        self._reviewer = _http(floor.url)
        self._open: dict[str, FloorQuestion] = {}

    async def open(self) -> Any:
        """Write a question; return it."""
        question = FloorQuestion()
        self._open[question.id] = question
        body = {"agent_id": AGENT_ID, "title": TITLE, **CONTEXT}
        (await self._agent.post(f"/open/{question.id}", json=body)).raise_for_status()
        return question

    async def wait(self, question: Any) -> None:
        """Wait for its answer."""
        await question.answered

    async def answer(self, question: Any) -> None:
        """Answer it."""
        url = f"/respond/{question.id}"
        (await self._reviewer.post(url, json={"response": "approve"})).raise_for_status()

    async def _follow(self) -> None:
        cursor = 0
        while True:
            query = {"after": str(cursor), "wait": str(WAIT_SECONDS)}
            page = (await self._agent.get("/wait", params=query)).json()
            for record_id in page["ids"]:  # the first page also has what others asked before
                if question := self._open.pop(record_id, None):
                    question.answered.set_result(None)
            cursor = page["cursor"]
            await asyncio.sleep(0)  # whoever was waiting goes first, then the next poll

    async def __aenter__(self) -> Self:
        self._following = asyncio.get_running_loop().create_task(self._follow())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)
        await self._agent.aclose()
        await self._reviewer.aclose()


def _http(url: str, headers: dict[str, str] | None = None) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(base_url=url, headers=headers, timeout=WAIT_SECONDS + 10)
