"""The agent goes on when a person clicks Approve: all the way from the finger to the function."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable

import pytest

from safeguards import AsyncSafeguards
from safeguards.types import ActionStatus
from tests.console.conftest import Asking
from tests.console.visiting import Visits
from tests.rendering.looking import PHONE
from tests.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="session")

REQUESTS = 5


async def test_an_agent_goes_on_when_a_person_clicks_approve(
    console: Stack,
    signed_in: Visits,
    ask: Asking,
    record_property: Callable[[str, object], None],
) -> None:
    """It does so before the reviewer's own page has come back, or about then; how long after the
    click is recorded, and printed with `-s`."""
    page = await signed_in("alex", PHONE)
    milliseconds = []
    async with AsyncSafeguards(console.api, console.agent_key.api_key) as agent:
        for number in range(REQUESTS):
            asked = ask({"amount": f"{number}.00", "currency": "EUR"})
            waiting = asyncio.create_task(agent.wait(asked["id"], timeout=60))
            await page.goto(f"/console/requests/{asked['id']}")
            assert not waiting.done()
            # From within the page, so that the time of driving the browser does not count.
            clicked_at: float = await page.evaluate(
                """() => new Promise((resolve) => {
                  const button = document.getElementById('approve');
                  button.addEventListener('click', () => resolve(Date.now()));
                  setTimeout(() => button.click(), 50);
                })"""
            )
            outcome = await waiting
            milliseconds.append(time.time() * 1000 - clicked_at)
            assert outcome.status is ActionStatus.APPROVED
            assert outcome.decided_by == "alex"
            await page.get_by_role("heading", level=1).wait_for()
    record_property("click_to_resumption_ms", statistics.median(milliseconds))
    print(f"from click to resumption: {[round(m) for m in milliseconds]} ms")
