"""The list of required actions: what is in it, in which order, and what may be looked for."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from safeguards.types import AlertSeverity
from tests.console.conftest import Asking, Rated
from tests.console.visiting import Visits
from tests.gateway.test_review_page import HOSTILE, RAW
from tests.rendering.looking import NARROWEST
from tests.stack import Stack

if TYPE_CHECKING:
    from playwright.async_api import Page

# The first of them may have to install a browser.
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]


async def listed(page: Page) -> list[str]:
    """Return the ids of the requests that the list shows, in its order."""
    ids: list[str] = await page.evaluate(
        "[...document.querySelectorAll('[data-row]')].map((row) => row.id)"
    )
    return ids


async def test_what_waits_for_me_comes_first_the_most_urgent_at_the_top(
    signed_in: Visits, ask: Asking, agent_id: str
) -> None:
    """Each row is one link, a sentence with the amount and to whom; risk, time and what silence
    means stand beside it."""
    calm = ask({"amount": "2500.00", "currency": "EUR", "vendor": "ACME"}, title="Buy chairs")
    urgent = ask({"amount": "5.00"}, action_type="hurry", timeout_seconds=900)
    foreign = ask(action_type="errand")
    page = await signed_in("sam")
    await page.goto(f"/console?agent={agent_id}")
    assert await listed(page) == [urgent["id"], calm["id"]]
    assert foreign["id"] not in await listed(page)
    row = page.locator(f"#{calm['id']}")
    assert await row.locator("a").count() == 1
    link = row.get_by_role("link", name="Make a purchase of €2,500.00 from ACME")
    assert await link.get_attribute("href") == f"/console/requests/{calm['id']}"
    words = await row.inner_text()
    for said in ("Medium risk", "Buy chairs", f"{agent_id} asks", "left", "rejected if nobody"):
        assert said in words
    assert "approved if nobody answers" in await page.locator(f"#{urgent['id']}").inner_text()


async def test_what_i_asked_for_or_approved_of_does_not_wait_for_me(
    signed_in: Visits, ask: Asking, agent_id: str, console: Stack
) -> None:
    """It is among all that waits, and says who must decide."""
    mine = ask(on_behalf_of="sam")
    voted = ask(action_type="wire_out")
    assert console.respond(voted["id"], "sam", response="approve").status_code == 200
    page = await signed_in("sam")
    await page.goto(f"/console?agent={agent_id}")
    assert await listed(page) == []
    await page.get_by_role("link", name="All waiting").click()
    await page.wait_for_url("**view=all**")
    assert set(await listed(page)) == {mine["id"], voted["id"]}
    assert "1 of 2 approved" in await page.locator(f"#{voted['id']}").inner_text()
    assert "You asked" in await page.locator(f"#{mine['id']}").inner_text()
    kim = await signed_in("kim")
    await kim.goto(f"/console?agent={agent_id}")
    assert set(await listed(kim)) == {mine["id"], voted["id"]}


async def test_an_operator_sees_what_every_group_is_asked(
    signed_in: Visits, ask: Asking, agent_id: str
) -> None:
    """Reviewers see their own groups' requests alone."""
    foreign = ask(action_type="errand")
    operator, reviewer = await signed_in("olga"), await signed_in("sam")
    for page, expected in ((operator, [foreign["id"]]), (reviewer, [])):
        await page.goto(f"/console?view=all&agent={agent_id}")
        assert await listed(page) == expected


async def test_what_has_ended_is_listed_the_latest_first_with_who_decided(
    signed_in: Visits, ask: Asking, agent_id: str, console: Stack
) -> None:
    first, second = ask(), ask()
    console.respond(second["id"], "alex", response="approve")
    console.respond(first["id"], "kim", response="reject", comments="No.")
    page = await signed_in("sam")
    await page.goto(f"/console?view=answered&agent={agent_id}")
    assert await listed(page) == [first["id"], second["id"]]
    assert await page.locator("[data-state]").all_inner_texts() == [
        "Rejected by Kim",
        "Approved by Alex",
    ]


async def test_filters_and_search_stay_in_the_address(
    signed_in: Visits, ask: Asking, agent_id: str, rated: Rated
) -> None:
    """They narrow the list as one types; a reload, and the back button, show the same again."""
    chairs = ask({"vendor": "ACME", "amount": "10.00"}, title="Chairs")
    desks = ask({"vendor": "Globex", "amount": "20.00"}, title="Desks")
    await rated(desks["id"], AlertSeverity.ERROR)
    page = await signed_in("sam")
    await page.goto(f"/console?agent={agent_id}")
    assert set(await listed(page)) == {chairs["id"], desks["id"]}
    await page.get_by_role("searchbox").fill("globex")
    await page.locator(f"#{chairs['id']}").wait_for(state="detached")
    assert await listed(page) == [desks["id"]]
    asked = parse_qs(urlsplit(page.url).query)
    assert (asked["q"], asked["agent"]) == (["globex"], [agent_id])
    await page.reload()
    assert await listed(page) == [desks["id"]]
    assert await page.get_by_role("searchbox").input_value() == "globex"
    await page.get_by_role("searchbox").fill("")
    await page.locator(f"#{chairs['id']}").wait_for()
    await page.get_by_label("Risk").select_option("error")
    await page.locator(f"#{chairs['id']}").wait_for(state="detached")
    assert parse_qs(urlsplit(page.url).query)["risk"] == ["error"]
    await page.go_back()
    await page.locator(f"#{chairs['id']}").wait_for()


@pytest.mark.parametrize("words", ["ACME chairs", "straße", "{id}", "2500.00", "purchase {agent}"])
async def test_search_finds_all_words_wherever_they_are(
    signed_in: Visits, ask: Asking, agent_id: str, words: str
) -> None:
    """In title, sentence, agent, action type, id and arguments, however deep; case is no matter."""
    nested = {"amount": "2500.00", "ship": {"to": ["acme", {"street": "Lange STRASSE 5"}]}}
    found, other = ask(nested, title="Buy chairs"), ask({"x": "y"}, action_type="deploy", title="Z")
    query = words.format(id=found["id"], agent=agent_id)
    page = await signed_in("sam")
    await page.goto(f"/console?agent={agent_id}")
    assert set(await listed(page)) == {found["id"], other["id"]}
    await page.get_by_role("searchbox").fill(query)
    await page.locator(f"#{other['id']}").wait_for(state="detached")
    assert await listed(page) == [found["id"]]


async def test_a_long_list_comes_in_pages(signed_in: Visits, ask: Asking, agent_id: str) -> None:
    """Each request once, in order; the focus goes on with the first that came."""
    made = [ask(title=f"Number {n}")["id"] for n in range(35)]
    page = await signed_in("sam")
    await page.goto(f"/console?agent={agent_id}")
    assert await listed(page) == made[:30]
    more = page.get_by_role("link", name="More", exact=True)
    await more.focus()
    await page.keyboard.press("Enter")
    await page.locator(f"#{made[34]}").wait_for()
    assert await listed(page) == made
    focused = await page.evaluate("document.activeElement.closest('[data-row]')?.id")
    assert focused == made[30]


async def test_it_works_without_scripts(signed_in: Visits, ask: Asking, agent_id: str) -> None:
    """Views and pages are links, filters a form, ticks go to a page of their own."""
    made = [ask({"amount": "1.00"}, title=f"Number {n}")["id"] for n in range(32)]
    page = await signed_in("sam", java_script_enabled=False)
    await page.goto("/console")
    await page.locator("summary", has_text="Filters").click()
    await page.get_by_role("searchbox").fill(agent_id)
    await page.get_by_role("button", name="Search").click()
    assert page.url.endswith(f"q={agent_id}&risk=&agent=&type=&policy=")
    assert await page.locator(f"#{made[0]}").count() == 1
    await page.get_by_role("link", name="More", exact=True).click()
    shown = await page.locator("[data-row]").evaluate_all("(rows) => rows.map((row) => row.id)")
    assert shown == made[30:]
    await page.locator("[data-row] [type=checkbox]").first.check()
    await page.get_by_role("button", name="Look at those ticked").click()
    assert await page.get_by_role("heading", level=1).inner_text() == "Answer 1 request"


async def test_hostile_text_is_only_text(signed_in: Visits, ask: Asking, agent_id: str) -> None:
    """In every field that an agent fills; nothing reaches out of its row, on the narrowest phone
    neither."""
    printable = "".join(c for c in HOSTILE if c.isprintable())[:90]
    made = ask(
        {"amount": HOSTILE, "vendor": HOSTILE, "currency": HOSTILE, HOSTILE: "W" * 3000},
        title=HOSTILE,
        description=HOSTILE,
        on_behalf_of=printable,
    )
    page = await signed_in("sam", NARROWEST)
    await page.goto(f"/console?agent={agent_id}")
    assert await listed(page) == [made["id"]]
    html = await page.content()
    assert not [raw for raw in RAW if raw in html]
    assert await page.locator("#list script, #list img, #list textarea").count() == 0
    assert "<script>alert(1)</script>" in await page.locator(f"#{made['id']}").inner_text()
    width = await page.evaluate("document.documentElement.scrollWidth")
    assert width == NARROWEST[0]
    await page.goto(f"/console?agent={agent_id}&q=%3Cscript%3E{'%22' * 3}")
    assert await page.locator("#list script").count() == 0


async def test_an_address_that_nobody_made_shows_a_list_all_the_same(signed_in: Visits) -> None:
    """What an address does not know is as if it were not there; nothing found says so."""
    page = await signed_in("sam")
    await page.goto("/console?q=nowhere-to-be-found-at-all")
    assert await page.get_by_role("heading", name="Nothing found").count() == 1
    answer = await page.goto("/console?view=nonsense&risk=mauve&after=1.2.3&agent=")
    assert answer is not None
    assert answer.status == 200
    assert await page.get_by_role("link", name="Waiting for me").get_attribute("aria-current")
