"""Several requests that are alike, answered together: looked at once, judged one by one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import httpx2
import pytest

from safeguards.types import AlertSeverity
from services.gateway.console.bulk import MAX_ARGUMENTS
from tests.console.conftest import Asking, Rated
from tests.console.visiting import Visits
from tests.gateway.test_review_page import HOSTILE
from tests.rendering.looking import NARROWEST, PHONE
from tests.stack import Stack

if TYPE_CHECKING:
    from playwright.async_api import Page

# The first of them may have to install a browser.
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]


def address(*asked: dict[str, Any]) -> str:
    """Return the address of the page that asks whether to answer these."""
    return "/console/bulk?" + urlencode([("id", one["id"]) for one in asked])


def status_of(console: Stack, asked: dict[str, Any]) -> dict[str, Any]:
    """Return an approval as it stands."""
    with console.http() as http:
        view: dict[str, Any] = http.get(f"/approvals/{asked['id']}").json()
        return view


async def results(page: Page) -> list[str]:
    """Return what the page says became of each."""
    return await page.locator(".result").all_inner_texts()


async def test_alike_requests_are_ticked_looked_at_and_approved(
    signed_in: Visits, ask: Asking, agent_id: str, console: Stack
) -> None:
    """The page before says how many and how much, exactly; the one after what became of each."""
    made = [ask({"amount": amount, "currency": "EUR"}) for amount in ("0.10", "0.20", "2500.00")]
    page = await signed_in("sam", PHONE)
    await page.goto(f"/console?agent={agent_id}")
    for one in made:
        await page.locator(f"#{one['id']}").get_by_role("checkbox").check()
    await page.get_by_role("button", name="Approve 3…").click()
    assert await page.get_by_role("heading", level=1).inner_text() == "Answer 3 requests"
    words = await page.locator("main").inner_text()
    assert "€2,500.30" in words
    for sentence in ("purchase of €0.10", "purchase of €0.20", "purchase of €2,500.00"):
        assert sentence in words
    assert status_of(console, made[0])["status"] == "PENDING"
    await page.get_by_role("button", name="Approve 3").click()
    await page.get_by_role("heading", name="3 approved").wait_for()
    assert await results(page) == ["Approved by Sam"] * 3
    for one in made:
        outcome = status_of(console, one)["outcome"]
        assert (outcome["status"], outcome["decided_by"]) == ("APPROVED", "sam")


async def test_they_are_rejected_with_one_reason(
    signed_in: Visits, ask: Asking, console: Stack
) -> None:
    """Without a reason nothing is sent."""
    made = [ask(), ask()]
    page = await signed_in("sam")
    page_fails(signed_in)
    await page.goto(address(*made))
    await page.locator("summary", has_text="Reject 2").click()
    await page.get_by_role("button", name="Reject 2").click()
    await page.get_by_role("alert").filter(has_text="Say why").wait_for()
    assert status_of(console, made[0])["status"] == "PENDING"
    await page.get_by_label("Reason").fill("The budget is spent.")
    await page.get_by_role("button", name="Reject 2").click()
    await page.get_by_role("heading", name="2 rejected").wait_for()
    for one in made:
        assert status_of(console, one)["outcome"]["comments"] == "The budget is spent."


def page_fails(signed_in: Visits) -> None:
    """Take an answer that refuses for no fault of the page."""
    signed_in.expect(r"Failed to load resource: the server responded with a status of 4\d\d")


async def test_only_what_is_alike_is_answered_together(signed_in: Visits, ask: Asking) -> None:
    """Of one agent, one type and one policy; others are offered kind by kind."""
    chairs = [ask(), ask()]
    deploy = ask({"service": "billing"}, action_type="deploy")
    page = await signed_in("sam")
    await page.goto(address(*chairs, deploy))
    assert "not alike" in await page.get_by_role("alert").inner_text()
    assert await page.get_by_role("button", name=re.compile("Approve|Reject")).count() == 0
    await page.get_by_role("link", name="Only these").first.click()
    assert await page.get_by_role("heading", level=1).inner_text() == "Answer 2 requests"


async def test_what_needs_a_look_of_its_own_is_left_out(
    signed_in: Visits, ask: Asking, agent_id: str, rated: Rated, console: Stack
) -> None:
    """High risks, what several decide, what I asked for, what somebody else has in hand: none can
    be ticked, and none is answered with others."""
    plain, high = ask(), ask()
    await rated(high["id"], AlertSeverity.ERROR)
    quorum, four_eyes = ask(action_type="wire_out"), ask(action_type="contract")
    mine = ask(on_behalf_of="sam")
    answered = ask()
    console.respond(answered["id"], "alex", response="approve")
    foreign = ask(action_type="errand")
    page = await signed_in("sam")
    await page.goto(f"/console?view=all&agent={agent_id}")
    assert await page.locator("[data-row] [type=checkbox]").count() == 1
    await page.goto(address(plain, high, quorum, four_eyes, mine, answered, foreign))
    assert await page.get_by_role("heading", level=1).inner_text() == "Answer 1 request"
    left_out = await page.get_by_role("region", name="Left out").inner_text()
    for reason in ("risk is high", "More than one person", "Somebody else", "been answered"):
        assert reason in left_out
    assert foreign["id"] not in await page.content()


async def test_amounts_that_a_sum_would_hide_are_left_out(signed_in: Visits, ask: Asking) -> None:
    """What could be another amount, goes to somebody else as well, or is below nothing: it is to be
    read by itself, where the page says why. The sum is of all the others, exactly."""
    plain = [ask({"amount": amount, "currency": "EUR"}) for amount in ("0.10", "9" * 36)]
    two = ask({"fee": "1.00", "amount": "99999.00", "currency": "EUR"})
    whom = ask({"amount": "1.00", "vendor": "ACME", "note": {"recipient": "Mallory"}})
    negative = ask({"amount": "-50.00", "currency": "EUR"})
    page = await signed_in("sam")
    await page.goto(address(*plain, two, whom, negative))
    assert await page.get_by_role("heading", level=1).inner_text() == "Answer 2 requests"
    sums = await page.locator(".sum").all_inner_texts()
    assert [text.replace(",", "") for text in sums] == [f"€{'9' * 36}.10"]
    left_out = await page.get_by_role("region", name="Left out").inner_text()
    for reason in (
        "More than one argument could be the amount: look at it by itself",
        "More than one argument could be the recipient: look at it by itself",
        "Its amount is negative: look at it by itself",
    ):
        assert reason in left_out
    await page.goto(f"/console/requests/{two['id']}")
    said = await page.get_by_role("heading", level=1).inner_text()
    assert said == "Make a purchase of €99,999.00 and other amounts"
    words = await page.locator("header.head").inner_text()
    assert "More than one argument could be the amount: look at them below" in words


async def test_all_that_would_run_is_on_the_page(
    signed_in: Visits, ask: Asking, console: Stack
) -> None:
    """Also what the sentence does not say, with nothing to be opened first, on any phone."""
    hidden = {
        **{"amount": "10.00", "currency": "USD", "recipient": "ACME"},
        **{"extra": "99999.00", "place": "EVIL\u202e LTD", "files": ["/home", {"at": "/etc"}]},
    }
    made = [ask(hidden), ask({**hidden, "extra": "1.00"})]
    page = await signed_in("sam", NARROWEST)
    await page.goto(address(*made))
    first, second = await page.locator("ol.sentences > li").all_inner_texts()
    for words in ("$10.00 for ACME", "extra", "99999.00", "place", "EVIL⟨U+202E⟩ LTD", "/etc"):
        assert words in first
    assert "99999.00" not in second
    assert await page.evaluate("document.documentElement.scrollWidth") == NARROWEST[0]
    await page.get_by_role("button", name="Approve 2").click()
    await page.get_by_role("heading", name="2 approved").wait_for()
    assert status_of(console, made[0])["status"] == "APPROVED"


@pytest.mark.parametrize(
    "context",
    [
        {"subject": "x" * 400},
        {"subject": "x\n" * 10},
        {f"field_{number}": "x" for number in range(MAX_ARGUMENTS + 1)},
        {"files": [[f"/{number}"] for number in range(MAX_ARGUMENTS // 2)]},
        {"files": [f"/{number}" for number in range(MAX_ARGUMENTS // 2 + 1)]},
        {"x" * 400: "x"},
    ],
    ids=["long", "many lines", "many", "many inside", "folded", "a long name"],
)
async def test_what_cannot_be_read_at_a_glance_is_left_out(
    signed_in: Visits, ask: Asking, context: dict[str, Any]
) -> None:
    """What is folded or cut on a page, nobody need have seen who answers there."""
    plain, long = ask(), ask(context)
    page = await signed_in("sam")
    await page.goto(address(plain, long))
    assert await page.get_by_role("heading", level=1).inner_text() == "Answer 1 request"
    left_out = await page.get_by_role("region", name="Left out").inner_text()
    assert "Its arguments are too many or too long to be read here" in left_out


async def test_each_is_judged_as_it_was_shown(
    signed_in: Visits, ask: Asking, console: Stack
) -> None:
    """What was answered or has changed since the page was made is left as it is, and said so."""
    kept, answered, changed = ask(), ask(), ask()
    page = await signed_in("sam")
    await page.goto(address(kept, answered, changed))
    console.respond(answered["id"], "alex", response="reject", comments="No.")
    console.respond(changed["id"], "alex", response="ask", comments="Why?")
    with console.http() as http:
        taken = http.post(f"/approvals/{changed['id']}/answers", json={"answer": "So."})
        assert taken.status_code == 200, taken.text
    await page.get_by_role("button", name="Approve 3").click()
    await page.get_by_role("heading", name="1 approved, 2 not").wait_for()
    said = await results(page)
    assert sum("already rejected by alex" in words for words in said) == 1
    assert sum("has changed" in words for words in said) == 1
    assert said[-1] == "Approved by Sam"
    assert status_of(console, changed)["status"] == "PENDING"
    # Sent again, as by the reload of that page: what was approved stays approved, by the same.
    await page.go_back()
    assert "been answered" in await page.locator("main").inner_text()


async def test_forged_answers_are_refused(signed_in: Visits, ask: Asking, console: Stack) -> None:
    """From another site, without the token, with another session's seal or none: nothing is
    answered."""
    made = ask()
    page, other = await signed_in("sam"), await signed_in("kim")
    await page.goto(address(made))
    await other.goto(address(made))
    sent = {
        name: await page.locator(f"main input[name={name}]").input_value()
        for name in ("csrf", "seal")
    } | {"response": "approve"}
    foreign_seal = await other.locator("main input[name=seal]").input_value()
    cookies = await page.context.cookies()
    cookie = "; ".join(f"{one['name']}={one['value']}" for one in cookies)
    own = {"Cookie": cookie, "Sec-Fetch-Site": "same-origin"}
    tries: list[tuple[dict[str, str], dict[str, str], int]] = [
        (sent, {**own, "Sec-Fetch-Site": "cross-site"}, 403),
        (sent, {**own, "Sec-Fetch-Site": "same-site"}, 403),
        ({**sent, "csrf": ""}, own, 403),
        ({**sent, "csrf": "0" * 64}, own, 403),
        ({**sent, "seal": foreign_seal}, own, 422),
        ({**sent, "seal": sent["seal"][:-2]}, own, 422),
        ({**sent, "seal": ""}, own, 422),
        ({**sent, "response": "modify"}, own, 422),
        ({**sent, "response": "grant"}, own, 422),
    ]
    with httpx2.Client(verify=False) as http:
        for form, headers, status in tries:
            answer = http.post(f"{console.url}/console/bulk", data=form, headers=headers)
            assert answer.status_code == status, (form, answer.status_code)
        answer = http.post(f"{console.url}/console/bulk", data=sent)
        assert answer.status_code == 401
    assert status_of(console, made)["status"] == "PENDING"


async def test_at_most_a_hundred_at_once(signed_in: Visits, ask: Asking) -> None:
    made = [ask({"amount": "1.00", "currency": "EUR"}) for _ in range(103)]
    page = await signed_in("sam")
    await page.goto(address(*made))
    assert "The last 3 are not here" in await page.locator("main").inner_text()
    assert await page.get_by_role("heading", level=1).inner_text() == "Answer 100 requests"
    assert "€100.00" in await page.locator("main").inner_text()


async def test_hostile_text_is_only_text(signed_in: Visits, ask: Asking) -> None:
    """Amounts that are none are not added up."""
    made = [ask({"amount": amount, "vendor": HOSTILE}, title=HOSTILE) for amount in ("NaN7", "5")]
    page = await signed_in("sam", PHONE)
    await page.goto(address(*made))
    assert await page.locator("main script, main img").count() == 0
    words = await page.locator("main").inner_text()
    assert "<script>alert(1)</script>" in words
    assert "1 without an amount" in words
    assert await page.evaluate("document.documentElement.scrollWidth") == PHONE[0]
