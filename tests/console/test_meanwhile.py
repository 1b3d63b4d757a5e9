"""What becomes of an open page when its time is up, its gateway dies, or its session ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from playwright.async_api import expect

from tests.console.conftest import Asking
from tests.console.doors import Browser as Device
from tests.console.test_decide import ended
from tests.console.test_request_page import path_of, view
from tests.console.visiting import Visits
from tests.deploy.running import eventually
from tests.stack import Stack

if TYPE_CHECKING:
    from playwright.async_api import Page

# The first of them may have to install a browser.
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]


async def half_filled(page: Page, approval: dict[str, Any]) -> None:
    """Open a request and begin to reject it."""
    await page.goto(path_of(approval))
    await page.locator("#reject > summary").click()
    await page.get_by_label("In your own words").fill("my words")


async def test_a_page_whose_time_is_up_says_so_and_takes_nothing(
    signed_in: Visits, ask: Asking, asking_http: httpx2.Client
) -> None:
    """By itself, keeping what was typed. Where no script tells, a click is refused in words."""
    signed_in.expect("status of 409")
    page = await signed_in("alex")
    plain = await signed_in("alex", java_script_enabled=False)
    asked = ask(timeout_seconds=10)
    await plain.goto(path_of(asked))
    await half_filled(page, asked)
    await page.wait_for_selector("html[data-live=on]")
    await expect(page.locator("#news")).to_contain_text("Timed out", timeout=30_000)
    await expect(page.locator("#approve")).to_be_disabled()
    await expect(page.get_by_label("In your own words")).to_have_value("my words")
    await plain.locator("#approve").click()
    await expect(plain.get_by_role("alert")).to_contain_text("Timed out")
    await ended(plain, "Timed out")
    assert view(asking_http, asked)["outcome"]["decided_by"] == "nobody"
    await page.get_by_role("link", name="Show it as it is now").click()
    await ended(page, "Timed out")


# --- the session ends ---------------------------------------------------------------------------


def end_elsewhere(console: Stack, who: str) -> None:
    """End all sessions of somebody, from another device."""
    with Device(console.url, {}) as other:
        other.post("/sign-in", data={"name": who, "password": console.passwords[who]})
        ended = other.post("/sign-out/everywhere", data={"csrf": other.csrf()})
        assert ended.status_code in (200, 303), ended.text


async def test_what_was_typed_outlasts_the_session(
    signed_in: Visits, ask: Asking, asking_http: httpx2.Client, console: Stack
) -> None:
    """Nothing is sent for somebody who is out; after signing in again the page is there as it was
    left, and can be sent."""
    signed_in.expect("status of 401")
    asked = ask(action_type="errand")
    page = await signed_in("nora", fresh=True)
    await half_filled(page, asked)
    await asyncio.to_thread(end_elsewhere, console, "nora")
    await page.get_by_role("button", name="Reject", exact=True).click()
    await page.get_by_role("main").get_by_role("link", name="Sign in").click()
    assert view(asking_http, asked)["status"] == "PENDING"
    await page.get_by_label("Name or mail address").fill("nora")
    await page.get_by_label("Password", exact=True).fill(console.passwords["nora"])
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await page.wait_for_url(f"**{path_of(asked)}")
    await expect(page.get_by_label("In your own words")).to_have_value("my words")
    await expect(page.locator("#reject")).to_have_attribute("open", "")
    await page.get_by_role("button", name="Reject", exact=True).click()
    await ended(page, "Rejected by Nora")
    assert view(asking_http, asked)["outcome"]["comments"] == "my words"


# --- the gateway dies ---------------------------------------------------------------------------


async def test_a_form_outlives_its_gateway(survivors: Visits, mortal: Stack) -> None:
    """Half filled when the gateway is killed, filled in while it is away, sent when it is back:
    once, with every word, and nobody signs in again."""
    with mortal.http() as http:
        given = {"agent_id": "trader", "title": "Buy chairs", "metadata": {"amount": "9.00"}}
        asked = http.post("/request-approval", json=given).json()
    page = await survivors("alex")
    await half_filled(page, asked)
    await asyncio.to_thread(mortal.kill, "gateway")
    await page.get_by_role("button", name="Reject", exact=True).click()
    await expect(page.locator("#news")).to_contain_text("Nothing was sent")
    await page.get_by_label("In your own words").fill("my words, all of them")

    def is_back() -> bool:
        try:
            return httpx2.get(f"{mortal.url}/readyz", verify=False, timeout=5).is_success
        except httpx2.HTTPError:
            return False

    await asyncio.to_thread(eventually, is_back, "the gateway is back")
    await page.get_by_role("button", name="Reject", exact=True).click()
    await ended(page, "Rejected by Alex")
    with mortal.http() as http:
        outcome = http.get(f"/approvals/{asked['id']}").json()["outcome"]
    assert outcome["comments"] == "my words, all of them"
    finals = [line for line in mortal.history(asked["id"]) if line["event"] == "rejected"]
    assert len(finals) == 1
