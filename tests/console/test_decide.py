"""Answering in the console: each way, what is refused, and what was typed meanwhile."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from playwright.async_api import Page, expect

from tests.console.conftest import Asking
from tests.console.test_request_page import path_of, view
from tests.console.visiting import Visits
from tests.rendering.looking import PHONE
from tests.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="session")

Opened = Callable[..., Any]


async def opened(
    visits: Visits, approval: dict[str, Any], who: str = "alex", **options: Any
) -> Page:
    page = await visits(who, **options)
    await page.goto(path_of(approval))
    return page


async def ended(page: Page, words: str) -> None:
    await expect(page.locator(".ending")).to_contain_text(words)
    assert await page.locator("#approve, #modify, #reject").count() == 0


@pytest.mark.parametrize("scripts", [True, False])
async def test_approve(
    signed_in: Visits, ask: Asking, asking_http: httpx2.Client, scripts: bool
) -> None:
    """One press; the page then says who did it. Without a script as well."""
    asked = ask()
    page = await opened(signed_in, asked, size=PHONE, java_script_enabled=scripts)
    await page.get_by_role("button", name="Approve", exact=True).click()
    await ended(page, "Approved by Alex")
    assert view(asking_http, asked)["outcome"]["decided_by"] == "alex"


@pytest.mark.parametrize("scripts", [True, False])
async def test_approve_with_changes(
    signed_in: Visits, ask: Asking, asking_http: httpx2.Client, scripts: bool
) -> None:
    """The difference is shown before anything is sent; one can go back and edit."""
    asked = ask({"amount": "2500.00", "vendor": "ACME"})
    page = await opened(signed_in, asked, java_script_enabled=scripts)
    await page.locator("#modify > summary").click()
    await expect(page.locator("#modify")).to_contain_text("does not let these be changed: vendor")
    await page.get_by_label("amount decimal").fill("1900.00")
    await page.get_by_role("button", name="Show the changes").click()
    await expect(page.locator(".differences del")).to_have_text("2500.00")
    await expect(page.locator(".differences ins")).to_have_text("1900.00")
    assert view(asking_http, asked)["status"] == "PENDING"
    await page.get_by_role("button", name="Go back and edit").click()
    await expect(page.get_by_label("amount decimal")).to_have_value("1900.00")
    await page.get_by_label("amount decimal").fill("1800.00")
    await page.get_by_role("button", name="Show the changes").click()
    await page.get_by_role("button", name="Approve with these changes").click()
    await ended(page, "Approved with changes by Alex")
    assert view(asking_http, asked)["outcome"]["modifications"] == {"amount": "1800.00"}


async def test_what_cannot_be_read_is_said_and_kept(signed_in: Visits, ask: Asking) -> None:
    signed_in.expect("status of 422")
    asked = ask()
    page = await opened(signed_in, asked)
    await page.locator("#modify > summary").click()
    await page.get_by_label("amount decimal").fill("ten")
    await page.get_by_role("button", name="Show the changes").click()
    await expect(page.get_by_role("alert")).to_contain_text("amount")
    await expect(page.get_by_label("amount decimal")).to_have_value("ten")


@pytest.mark.parametrize("scripts", [True, False])
async def test_reject(
    signed_in: Visits, ask: Asking, asking_http: httpx2.Client, scripts: bool
) -> None:
    asked = ask()
    page = await opened(signed_in, asked, size=PHONE, java_script_enabled=scripts)
    if scripts:
        await page.get_by_role("link", name="Reject…").click()
    else:
        await page.locator("#reject > summary").click()
    await page.get_by_label("The amount is wrong").check()
    await page.get_by_label("In your own words").fill("twice what we paid")
    await page.get_by_role("button", name="Reject", exact=True).click()
    await ended(page, "Rejected by Alex")
    assert (
        view(asking_http, asked)["outcome"]["comments"] == "The amount is wrong: twice what we paid"
    )


async def test_ask_with_the_clock_stopped_and_hear_the_answer(
    signed_in: Visits, ask: Asking, asking_http: httpx2.Client
) -> None:
    """The answer comes back as a new version, with what differs."""
    asked = ask({"amount": "2500.00"})
    page = await opened(signed_in, asked)
    await page.locator("#ask > summary").click()
    await page.get_by_label("Your question").fill("Less?")
    await page.get_by_label("Stop the clock").check()
    await page.get_by_role("button", name="Ask", exact=True).click()
    await expect(page.locator(".deadline")).to_contain_text("The clock stands still")
    assert view(asking_http, asked)["paused_at"]
    answer = {"answer": "Yes.", "context": {"action_type": "purchase", "amount": "2000.00"}}
    posted = asking_http.post(f"/approvals/{asked['id']}/answers", json=answer)
    assert posted.status_code == 200, posted.text
    await expect(page.locator("#news")).to_contain_text("changed")
    await page.get_by_role("link", name="Show it as it is now").click()
    news = page.get_by_role("region", name="What has changed")
    await expect(news.locator("del")).to_have_text("2500.00")
    await expect(news.locator("ins")).to_have_text("2000.00")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Make a purchase of 2,000.00")


async def test_take_in_hand_hand_over_and_let_go(
    signed_in: Visits, ask: Asking, asking_http: httpx2.Client
) -> None:
    asked = ask()
    alex = await opened(signed_in, asked)
    await alex.get_by_role("button", name="I take it in hand").click()
    await expect(alex.locator(".hand")).to_contain_text("You have it in hand")
    await alex.locator("#hand-over > summary").click()
    await alex.get_by_label("To whom").select_option("sam")
    await alex.get_by_label("Note").fill("you know them")
    await alex.get_by_role("button", name="Hand over", exact=True).click()
    await expect(alex.locator(".hand")).to_contain_text("Sam has it in hand")
    assert view(asking_http, asked)["claimed_by"] == "sam"
    sam = await opened(signed_in, asked, "sam")
    await expect(sam.locator(".hand")).to_contain_text("handed over by Alex: “you know them”")
    await sam.get_by_role("button", name="Let it go again").click()
    await expect(sam.locator(".hand")).to_have_count(0)


async def test_quorum(signed_in: Visits, ask: Asking, asking_http: httpx2.Client) -> None:
    """Who has approved, and how many are still needed; nobody counts twice."""
    asked = ask({"amount": "9.00"}, action_type="wire_out")
    alex = await opened(signed_in, asked)
    await expect(alex.locator(".quorum")).to_contain_text("2 more are needed")
    await alex.locator("#approve").click()
    await expect(alex.locator(".quorum")).to_contain_text("Alex has approved")
    await expect(alex.get_by_text("You have approved.")).to_be_visible()
    assert await alex.locator("#approve").count() == 0
    sam = await opened(signed_in, asked, "sam")
    await expect(sam.locator(".quorum")).to_contain_text("One more is needed")
    await sam.locator("#approve").click()
    await ended(sam, "Approved by Sam")
    assert view(asking_http, asked)["outcome"]["approvers"] == ["alex", "sam"]


async def test_four_eyes(signed_in: Visits, ask: Asking, asking_http: httpx2.Client) -> None:
    """Who has changed it may not approve it; the next one sees what was changed."""
    asked = ask({"amount": "9.00"}, action_type="contract")
    alex = await opened(signed_in, asked)
    await alex.locator("#modify > summary").click()
    await alex.get_by_label("amount decimal").fill("8.00")
    await alex.get_by_role("button", name="Show the changes").click()
    await alex.get_by_role("button", name="Send these changes").click()
    await expect(alex.get_by_text("somebody else must approve it")).to_be_visible()
    sam = await opened(signed_in, asked, "sam")
    proposed = sam.get_by_role("region", name="Proposed changes")
    await expect(proposed).to_contain_text("Alex changed")
    await expect(proposed.locator("ins")).to_have_text("8.00")
    await sam.locator("#approve").click()
    await ended(sam, "Approved with changes by Sam")
    assert view(asking_http, asked)["outcome"]["modifications"] == {"amount": "8.00"}


# --- somebody was faster ------------------------------------------------------------------------


async def test_an_open_page_hears_that_somebody_was_faster(
    signed_in: Visits, ask: Asking, console: Stack
) -> None:
    asked = ask()
    page = await opened(signed_in, asked)
    await page.wait_for_selector("html[data-live=on]")
    await page.locator("#reject > summary").click()
    await page.get_by_label("In your own words").fill("my words")
    assert console.respond(asked["id"], "sam", response="approve").status_code == 200
    await expect(page.locator("#news")).to_contain_text("Approved by Sam")
    await expect(page.locator("#approve")).to_be_disabled()
    await expect(page.get_by_label("In your own words")).to_have_value("my words")


async def test_nothing_is_sent_blindly(
    signed_in: Visits, ask: Asking, console: Stack, asking_http: httpx2.Client
) -> None:
    """409: who and what; and where it is still open, what is new, with what was typed."""
    signed_in.expect("status of 409")
    asked = ask()
    page = await opened(signed_in, asked, java_script_enabled=False)
    other = ask()
    late = await opened(signed_in, other, java_script_enabled=False)
    assert console.respond(asked["id"], "sam", response="reject").status_code == 200
    await page.locator("#approve").click()
    await expect(page.get_by_role("alert")).to_contain_text("Rejected by Sam")
    await ended(page, "Rejected by Sam")
    console.respond(other["id"], "sam", response="ask", comments="less?")
    answer = {"answer": "yes", "context": {"action_type": "purchase", "amount": "9.00"}}
    assert asking_http.post(f"/approvals/{other['id']}/answers", json=answer).status_code == 200
    await late.locator("#reject > summary").click()
    await late.get_by_label("In your own words").fill("my words")
    await late.get_by_role("button", name="Reject", exact=True).click()
    await expect(late.get_by_role("alert")).to_contain_text("changed since you opened it")
    await expect(late.get_by_label("In your own words")).to_have_value("my words")
    await expect(late.get_by_role("region", name="What has changed")).to_be_visible()
    assert view(asking_http, other)["status"] == "PENDING"
    await late.get_by_role("button", name="Reject", exact=True).click()
    await ended(late, "Rejected by Alex")


async def test_two_tabs_deciding_at_once(
    signed_in: Visits, ask: Asking, asking_http: httpx2.Client, console: Stack
) -> None:
    """One of them is taken; the other is told. The same answer twice is one."""
    signed_in.expect("status of 409")
    asked = ask()
    one = await opened(signed_in, asked, java_script_enabled=False)
    two = await opened(signed_in, asked, "sam", java_script_enabled=False)
    await asyncio.gather(one.locator("#approve").click(), two.locator("#approve").click())
    decider = view(asking_http, asked)["outcome"]["decided_by"].capitalize()
    for page in (one, two):
        await ended(page, f"Approved by {decider}")
    again = ask()
    tabs = [await opened(signed_in, again, java_script_enabled=False) for _ in range(2)]
    await asyncio.gather(*(tab.locator("#approve").click() for tab in tabs))
    for tab in tabs:
        await ended(tab, "Approved by Alex")
        assert await tab.get_by_role("alert").count() == 0
    events = [line["event"] for line in console.history(again["id"])]
    assert events.count("approved") == 1


async def test_the_back_button_shows_the_truth(signed_in: Visits, ask: Asking) -> None:
    asked = ask()
    page = await signed_in()
    await page.goto("/console/account")
    await page.goto(path_of(asked))
    await page.locator("#approve").click()
    await ended(page, "Approved by Alex")
    await page.goto("/console/account")
    await page.go_back()
    await ended(page, "Approved by Alex")


# --- what was typed -----------------------------------------------------------------------------


async def test_what_was_typed_survives_a_reload_and_is_forgotten_once_sent(
    signed_in: Visits, ask: Asking
) -> None:
    asked = ask()
    page = await opened(signed_in, asked)
    await page.locator("#reject > summary").click()
    await page.get_by_label("Not needed").check()
    await page.get_by_label("In your own words").fill("my words")
    await page.reload()
    await expect(page.get_by_label("In your own words")).to_have_value("my words")
    await expect(page.get_by_label("Not needed")).to_be_checked()
    await page.get_by_role("button", name="Reject", exact=True).click()
    await ended(page, "Rejected by Alex")
    await page.wait_for_function(
        "!Object.keys(sessionStorage).some((name) => name.startsWith('draft'))"
    )


async def test_a_gateway_that_is_away_takes_nothing_away(
    signed_in: Visits, ask: Asking, asking_http: httpx2.Client
) -> None:
    """The page stays, says so, and can send what was typed once it is back."""
    signed_in.expect("ERR_FAILED|Failed to fetch")
    asked = ask()
    page = await opened(signed_in, asked)
    await page.locator("#reject > summary").click()
    await page.get_by_label("In your own words").fill("my words")
    await page.route("**/readyz", lambda route: route.abort())
    await page.get_by_role("button", name="Reject", exact=True).click()
    await expect(page.locator("#news")).to_contain_text("cannot be reached")
    await expect(page.get_by_label("In your own words")).to_have_value("my words")
    assert view(asking_http, asked)["status"] == "PENDING"
    await page.unroute("**/readyz")
    await page.get_by_role("button", name="Reject", exact=True).click()
    await ended(page, "Rejected by Alex")


async def test_enter_approves_nothing_from_elsewhere(
    signed_in: Visits, ask: Asking, asking_http: httpx2.Client
) -> None:
    # Nothing has been changed: that is no answer, and the page says so.
    signed_in.expect("status of 422")
    asked = ask()
    page = await opened(signed_in, asked)
    await page.keyboard.press("Enter")
    await page.locator("#modify > summary").click()
    async with page.expect_navigation():
        await page.get_by_label("amount decimal").press("Enter")
    assert view(asking_http, asked)["status"] == "PENDING"


# --- whose form ---------------------------------------------------------------------------------


async def _form(page: Page) -> dict[str, str]:
    found: dict[str, str] = await page.evaluate(
        "Object.fromEntries(new FormData(document.getElementById('approve-form')))"
    )
    return found


async def test_a_form_answers_only_what_it_was_made_for(
    signed_in: Visits, ask: Asking, asking_http: httpx2.Client
) -> None:
    """Another request's, another person's, a page of another site's, one without its seal or its
    token: refused, and nothing is decided."""
    asked, other = ask(), ask()
    alex, sam = await opened(signed_in, asked), await opened(signed_in, asked, "sam")
    form = await _form(alex)
    foreign = await _form(sam)
    elsewhere = await _form(await opened(signed_in, other))
    site = {"Sec-Fetch-Site": "same-origin"}
    tries: list[tuple[dict[str, str], dict[str, str], int]] = [
        ({**form, "seal": elsewhere["seal"]}, site, 422),
        ({**form, "seal": foreign["seal"]}, site, 422),
        ({**form, "seal": ""}, site, 422),
        ({**form, "response": "yes"}, site, 422),
        (form, {"Sec-Fetch-Site": "cross-site"}, 403),
        (form, {"Sec-Fetch-Site": "same-site"}, 403),
        ({**form, "csrf": foreign["csrf"]}, site, 403),
        ({**form, "csrf": ""}, site, 403),
    ]
    for data, headers, status in tries:
        for path in ("", "/claim") if status == 403 else ("",):
            answer = await alex.request.post(
                path_of(asked) + path, form=dict(data), headers=headers, max_redirects=0
            )
            assert answer.status == status, (data, headers)
    standing = view(asking_http, asked)
    assert (standing["status"], standing["claimed_by"]) == ("PENDING", None)


async def test_changes_that_were_not_shown_are_shown_first(
    signed_in: Visits, ask: Asking, asking_http: httpx2.Client
) -> None:
    """A form that was sent with other changes than its page showed decides nothing yet."""
    asked = ask()
    page = await opened(signed_in, asked)
    form = {**await _form(page), "response": "modify", "field:amount": "1.00"}
    site = {"Sec-Fetch-Site": "same-origin"}
    answer = await page.request.post(path_of(asked), form=dict(form), headers=site)
    words = await answer.text()
    assert "Nothing has been sent yet" in words
    seal = re.search(r'name="seal" value="([^"]+)"', words)
    assert seal
    form |= {"seal": seal[1], "field:amount": "9999.00"}
    answer = await page.request.post(path_of(asked), form=dict(form), headers=site)
    assert "Nothing has been sent yet" in await answer.text()
    assert view(asking_http, asked)["status"] == "PENDING"
