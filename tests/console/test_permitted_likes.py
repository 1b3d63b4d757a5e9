"""Permissions: what is like, when one is suggested, and that it ends when it is revoked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import httpx2
import pytest
import pytest_asyncio

from safeguards_runtime.records import Change, Grant, grant
from safeguards_runtime.records.action import uses_index
from safeguards_runtime.store import Store
from safeguards_runtime.topology import Service
from tests.console.conftest import Asking
from tests.console.doors import Browser
from tests.console.test_grants import TRIP, Agent, given
from tests.deploy.running import eventually
from tests.runtime.samples import assert_chained
from tests.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="session")

SUGGESTED = "The last 5 like this were approved unchanged."


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def store(console: Stack) -> AsyncIterator[Store]:
    """The store of the running stack."""
    made = Store(console.setting("SAFEGUARDS_STORE_URL"))
    yield made
    await made.close()


@pytest.fixture
def agent(asking_http: httpx2.Client, agent_id: str) -> Agent:
    return Agent(asking_http, agent_id)


async def test_it_is_suggested_after_five_that_were_approved_unchanged(
    console: Stack, submit: Asking
) -> None:
    """And no more once one of the last five was not."""
    with Browser(console.url, {}) as alex:
        alex.post("/sign-in", data={"name": "alex", "password": console.passwords["alex"]})

        def is_suggested(**body: Any) -> bool:
            """Ask once more, look at the page, and answer."""
            asked = submit(TRIP)
            page = alex.get(f"/console/requests/{asked['id']}")
            assert "And the next like this" in page.text
            answer = console.respond(asked["id"], **body)
            assert answer.status_code == 200, answer.text
            return SUGGESTED in page.text

        approve = {"response": "approve"}
        assert [is_suggested(**approve) for _ in range(6)] == [False] * 5 + [True]
        assert is_suggested(response="modify", modifications={"amount": "4000.00"})
        assert [is_suggested(**approve) for _ in range(6)] == [False] * 5 + [True]
        assert is_suggested(response="reject", comments="no")
        assert not is_suggested(**approve)


ODD_AMOUNTS = (
    *("1e3", "1E3", "+5", "-5", " 5", "5 ", "5\n", "\u0665", "\uff15", "\u00b2", "5_0", "4,200"),
    *("NaN", "Infinity", "-Infinity", "0x10", "", ".5", "5.", "4200.000000000000000001"),
    *(5, 5.0, True, None, ["5"], {"amount": "5"}),
)

OTHER_SPELLINGS = ("Book-Travel", "bookTravel", "BOOK_TRAVEL", "book.travel", "book/travel")


async def test_what_is_written_oddly_is_not_like(
    store: Store, submit: Asking, agent: Agent, asking_http: httpx2.Client
) -> None:
    """People are asked about it, and it takes no use."""
    standing = await given(store, submit(TRIP))
    ids = [agent.wants(amount=amount) for amount in ODD_AMOUNTS]
    for action_type in OTHER_SPELLINGS:
        body = {"agent_id": agent.id, "action_type": action_type, "context": TRIP}
        answer = asking_http.post("/actions", json=body)
        assert answer.status_code == 202, answer.text
        ids.append(answer.json()["id"])
    found = {agent.verdict(action_id)["verdict"] for action_id in ids}
    assert found == {"require_approval"}
    assert agent.verdict(agent.wants(amount="5"))["verdict"] == "allow"
    used = await store.get(standing.id, Grant)
    assert used
    assert used.uses == 1


async def test_revoked_while_it_is_used_it_lets_nothing_more_through(
    console: Stack, store: Store, submit: Asking, agent: Agent
) -> None:
    """Two evaluators are at work: whatever passed did so before, as the history has it."""
    standing = await given(store, submit(TRIP), max_uses=1000)

    def revoke(current: Grant | None, now: datetime) -> Change | None:
        assert current
        return grant.revoke(current, "sam", frozenset({"reviewers"}), now, is_operator=False)

    def asked(number: int) -> list[str]:
        with ThreadPoolExecutor(8) as at_once:
            return list(at_once.map(lambda _: agent.wants(), range(number)))

    with console.another(Service.EVALUATOR) as second:
        await asyncio.to_thread(
            eventually, lambda: "ready" in second.output, "the second evaluator is ready"
        )
        asking = asyncio.create_task(asyncio.to_thread(asked, 120))
        async with asyncio.timeout(60):
            while not await store.listed(uses_index(standing.id), limit=1):  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        revoked = await store.apply(standing.id, Grant, revoke)
        assert revoked
        assert 0 < revoked.uses < 120
        verdicts = [agent.verdict(action_id) for action_id in await asking]
    passed = sorted(one["id"] for one in verdicts if one["verdict"] == "allow")
    ended = await store.get(standing.id, Grant)
    assert ended
    assert ended.uses == len(passed) == revoked.uses
    history = await store.history(standing.id)
    assert_chained(history, ended)
    assert history[-1].event == "revoked"
    told = [action_id for line in history for action_id in line.detail.get("actions", ())]
    assert sorted(told) == passed
