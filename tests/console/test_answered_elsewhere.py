"""Where a policy lets people answer by some ways only: nobody is offered what would be refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import httpx2
import pytest
from playwright.async_api import Page, expect

from safeguards_runtime.records import Approval, Change
from safeguards_runtime.store import Store
from tests.console.conftest import Asking
from tests.console.test_request_page import path_of, view
from tests.console.visiting import Visits
from tests.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="session")

Linked = Callable[[dict[str, Any], str], str]


async def offers_no_decision(page: Page) -> None:
    """Nothing on the page approves, changes or rejects."""
    await expect(page.locator(".request")).to_be_visible()
    decides = "#approve, #approve-form, #modify, #reject, .bar, [name=response]:not([value=ask])"
    assert await page.locator(decides).count() == 0


async def test_a_link_leads_to_the_console(
    signed_in: Visits, ask: Asking, review_link: Linked, console: Stack, asking_http: httpx2.Client
) -> None:
    """The page behind a mail's link shows it, takes a question, and leads to where one signs in
    to answer; a form that is sent all the same is refused."""
    asked = ask()
    link = review_link(asked, "alex")
    # The links of a digest lead to such a page; a mail about one such request has none of its own.
    await _let_answer_by(console, asked, "console", "api")
    page = await signed_in.stranger()
    await page.goto(link)
    await expect(page.get_by_text("This request is answered in the console or")).to_be_visible()
    await offers_no_decision(page)
    seal = str(await page.locator("#ask [name=seal]").get_attribute("value"))
    site = {"Sec-Fetch-Site": "same-origin"}
    for response in ("approve", "reject"):
        answer = await page.request.post(
            link, form={"seal": seal, "response": response}, headers=site
        )
        assert answer.status == 403
        assert "answered in the console or over the API only" in await answer.text()
    assert view(asking_http, asked)["status"] == "PENDING"
    await page.get_by_role("link", name="Open", exact=True).click()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    alex = await signed_in("alex")
    await alex.goto(path_of(asked))
    await alex.get_by_role("button", name="Approve", exact=True).click()
    await expect(alex.locator(".ending")).to_contain_text("Approved by Alex")


async def _let_answer_by(console: Stack, asked: dict[str, Any], *ways: str) -> None:
    """Write other terms into a request's record."""
    store = Store(console.setting("SAFEGUARDS_STORE_URL"))

    def rule(approval: Approval | None, now: datetime) -> Change:
        assert approval is not None
        terms = approval.terms.model_copy(update={"answer_by": ways})
        after = approval.model_copy(update={"terms": terms})
        return Change(approval, after, "retermed", "test", now, {})

    try:
        assert await store.apply(asked["id"], Approval, rule)
    finally:
        await store.close()


async def test_the_console_too_may_be_no_place_to_answer(
    signed_in: Visits, ask: Asking, agent_id: str, asking_http: httpx2.Client
) -> None:
    """The list says so and has no tick; the page has no decision, but the agent can be asked."""
    asked = ask({"winner": "ACME"}, action_type="verdict")
    page = await signed_in("alex")
    await page.goto(f"/console?agent={agent_id}")
    await expect(page.locator("[data-row]")).to_contain_text("Answered in Slack or over the API")
    assert await page.locator("[data-row]").get_by_role("checkbox").count() == 0
    await page.goto(f"/console/bulk?id={asked['id']}")
    await expect(page.locator("main")).to_contain_text("It is answered in Slack or over the API")
    await page.goto(path_of(asked))
    await expect(page.locator(".head .notice")).to_have_text(
        "This request is answered in Slack or over the API."
    )
    await offers_no_decision(page)
    await page.locator("#ask > summary").click()
    await page.get_by_label("Your question").fill("Who else was there?")
    await page.get_by_role("button", name="Ask", exact=True).click()
    await expect(page.locator(".talk")).to_contain_text("Who else was there?")
    assert view(asking_http, asked)["questions"][0]["asked_by"] == "alex"


async def test_a_link_that_answers_nothing_is_for_looking(
    signed_in: Visits, ask: Asking, review_link: Linked
) -> None:
    asked = ask({"winner": "ACME"}, action_type="verdict")
    page = await signed_in.stranger()
    await page.goto(review_link(asked, "alex"))
    await expect(page.locator(".head .notice")).to_contain_text("in Slack or over the API")
    assert await page.get_by_role("link", name="Open", exact=True).count() == 0
    await offers_no_decision(page)
