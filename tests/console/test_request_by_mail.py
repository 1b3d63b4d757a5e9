"""The page behind a mail's link: the page of the request, with the link's rights and no more."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from playwright.async_api import expect

from tests.console.conftest import Asking
from tests.console.test_request_page import overflow, path_of, view
from tests.console.visiting import Visits
from tests.rendering.looking import NARROWEST, PHONE
from tests.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="session")

Linked = Callable[[dict[str, Any], str], str]


async def test_a_stranger_with_a_link_answers_as_its_reviewer(
    signed_in: Visits, ask: Asking, review_link: Linked, asking_http: httpx2.Client
) -> None:
    """Nothing of the console is on the page: no navigation, no handing over, no permissions."""
    asked = ask()
    page = await signed_in.stranger(NARROWEST)
    await page.goto(review_link(asked, "alex"))
    await expect(page.get_by_text("For Alex")).to_be_visible()
    assert await page.locator("nav, #hand-over, #permission, #claim").count() == 0
    assert await overflow(page) == 0
    await page.get_by_role("button", name="Approve", exact=True).click()
    await expect(page.locator(".ending")).to_contain_text("Approved by Alex")
    assert view(asking_http, asked)["outcome"]["decided_by"] == "alex"
    await page.go_back()
    await expect(page.locator(".ending")).to_contain_text("Approved by Alex")


async def test_a_view_by_link_is_told_by_a_script(
    signed_in: Visits, ask: Asking, review_link: Linked, console: Stack
) -> None:
    """What only fetches the page has not seen it; a foreign site's page cannot say so either."""
    asked = ask()
    page = await signed_in.stranger()
    await page.goto(review_link(asked, "alex"))
    seal = await page.locator("[data-seal]").get_attribute("data-seal")
    views = await page.locator("[data-views]").get_attribute("data-views")
    site = {"Sec-Fetch-Site": "cross-site"}
    refused = await page.request.post(str(views), form={"seal": str(seal)}, headers=site)
    assert refused.status == 404
    refused = await page.request.post(str(views), form={"seal": "x"})
    assert refused.status == 422
    assert "viewed" not in [line["event"] for line in console.history(asked["id"])]
    async with page.expect_response(re.compile("/views$")) as answer:
        await page.mouse.move(100, 100)
    assert (await answer.value).status == 204
    assert "viewed" in [line["event"] for line in console.history(asked["id"])]


async def test_what_is_critical_asks_for_the_password(
    signed_in: Visits,
    submit: Asking,
    review_link: Linked,
    console: Stack,
    asking_http: httpx2.Client,
) -> None:
    signed_in.expect("status of 403")
    asked = submit({"archive": "2019"}, action_type="erase_archive")
    page = await signed_in.stranger(PHONE)
    await page.goto(review_link(asked, "alex"))
    approve = page.get_by_role("button", name="Approve", exact=True)
    await approve.click()
    assert view(asking_http, asked)["status"] == "PENDING"
    await page.locator("#password-approve").fill("not the password")
    await approve.click()
    await expect(page.get_by_role("alert")).to_contain_text("not your password")
    assert view(asking_http, asked)["status"] == "PENDING"
    await page.locator("#password-approve").fill(console.passwords["alex"])
    await approve.click()
    await expect(page.locator(".ending")).to_contain_text("Approved by Alex")


async def test_who_has_signed_in_is_not_asked_again(
    signed_in: Visits, submit: Asking, review_link: Linked
) -> None:
    """Only as the very person whose link it is."""
    asked = submit({"archive": "2020"}, action_type="erase_archive")
    link = review_link(asked, "alex")
    sam = await signed_in("sam")
    await sam.goto(link)
    await expect(sam.locator("#password-approve")).to_be_visible()
    alex = await signed_in("alex")
    await alex.goto(link)
    assert await alex.locator("#password-approve").count() == 0
    await alex.get_by_role("button", name="Approve", exact=True).click()
    await expect(alex.locator(".ending")).to_contain_text("Approved by Alex")


async def test_a_form_of_the_mails_page_answers_nowhere_else(
    signed_in: Visits, ask: Asking, review_link: Linked, asking_http: httpx2.Client
) -> None:
    """Not in the console, not by another's link; and no link opens after it was cut."""
    asked = ask()
    link, other = review_link(asked, "alex"), review_link(asked, "sam")
    page = await signed_in("alex")
    await page.goto(link)
    seal = str(await page.locator("#approve-form input[name=seal]").get_attribute("value"))
    await page.goto(path_of(asked))
    csrf = str(await page.locator("#approve-form input[name=csrf]").get_attribute("value"))
    site = {"Sec-Fetch-Site": "same-origin"}
    form = {"seal": seal, "csrf": csrf, "response": "approve"}
    for path in (path_of(asked), other):
        answer = await page.request.post(path, form=dict(form), headers=site)
        assert answer.status == 422
    assert (await page.request.post(link[:-1], form=dict(form), headers=site)).status == 404
    assert view(asking_http, asked)["status"] == "PENDING"
