"""What happens while one looks: told at once, to all tabs by one stream; and nothing moves."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from safeguards.contracts import ApprovalSubmission
from safeguards.identifiers import new_id
from safeguards_runtime.records import Approval, opening
from safeguards_runtime.store import Store
from tests.console.conftest import Asking
from tests.console.visiting import Visits
from tests.deploy.running import eventually
from tests.runtime.samples import TERMS
from tests.stack import Stack

if TYPE_CHECKING:
    from playwright.async_api import Page

# The first of them may have to install a browser.
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

BOXES = """() => Object.fromEntries([...document.querySelectorAll('[data-row]')].map((row) => {
  const {x, y, width, height} = row.getBoundingClientRect();
  return [row.id, [x, y, width, height]];
}))"""


async def is_live(page: Page) -> None:
    """Wait until this tab, or the one that leads, holds the stream: it announces what happens."""
    await page.wait_for_function("navigator.locks.query().then((locks) => locks.held.length > 0)")


async def boxes(page: Page) -> dict[str, list[float]]:
    """Return where each row is."""
    found: dict[str, list[float]] = await page.evaluate(BOXES)
    return found


async def test_new_requests_are_announced_and_wait_behind_a_button(
    signed_in: Visits, ask: Asking, agent_id: str
) -> None:
    """No row moves, not even where the new one is more urgent; the button brings them."""
    shown = [ask(title=f"Number {n}")["id"] for n in range(3)]
    page = await signed_in("sam")
    await page.goto(f"/console?agent={agent_id}")
    await is_live(page)
    before = await boxes(page)
    assert list(before) == shown
    new = [ask(action_type="hurry", timeout_seconds=900)["id"] for _ in range(3)]
    ask(action_type="errand")
    button = page.get_by_role("link", name="3 new")
    await button.wait_for()
    assert await boxes(page) == before
    assert "new request" in (await page.locator("#announcements").inner_text()).lower()
    await button.click()
    await page.locator(f"#{new[0]}").wait_for()
    assert list(await boxes(page)) == [*new, *shown]
    assert await page.locator("#fresh").is_hidden()


async def test_an_answered_request_fades_where_it_is_with_who_and_what(
    signed_in: Visits, ask: Asking, agent_id: str, console: Stack
) -> None:
    """It stays until the list is loaded again, and can be ticked no more; a claimed one says
    who has it in hand."""
    first, second = ask(), ask()
    page = await signed_in("sam")
    await page.goto(f"/console?agent={agent_id}")
    await is_live(page)
    before = await boxes(page)
    console.respond(first["id"], "alex", response="approve")
    row = page.locator(f"#{first['id']}.over")
    await row.wait_for()
    assert await row.locator("[data-state]").inner_text() == "Approved by Alex"
    assert await row.get_by_role("checkbox").is_disabled()
    assert "Approved by Alex" in await page.locator("#announcements").inner_text()
    other = await signed_in("kim")
    await other.goto(f"/console/requests/{second['id']}")
    await other.locator("form#claim button").click()
    state = page.locator(f"#{second['id']} [data-state]", has_text="Kim has it in hand")
    await state.wait_for()
    assert await boxes(page) == before
    await page.reload()
    assert list(await boxes(page)) == [second["id"]]


async def test_seven_tabs_share_one_stream(
    signed_in: Visits, ask: Asking, agent_id: str, console: Stack
) -> None:
    """The gateway holds one connection for them; when the tab that has it is closed, another takes
    over, and all go on hearing."""
    await _streams(console, 0)
    first = await signed_in("sam")
    tabs = [first, *[await first.context.new_page() for _ in range(6)]]
    for tab in tabs:
        await tab.goto(f"/console?agent={agent_id}")
    await _streams(console, 1)
    ask()
    for tab in tabs:
        await tab.get_by_role("link", name="1 new").wait_for()
    await first.close()
    await _streams(console, 1)
    ask()
    for tab in tabs[1:]:
        await tab.get_by_role("link", name="2 new").wait_for()
    await _streams(console, 1)


async def _streams(console: Stack, number: int) -> None:
    """Wait until the gateway holds so many streams."""
    with httpx2.Client(verify=False) as http:

        def held() -> bool:
            text = http.get(f"{console.url}/metrics").text
            found = re.search(r"^safeguards_event_streams (\S+)$", text, re.MULTILINE)
            return found is not None and float(found[1]) == number

        await asyncio.to_thread(eventually, held, f"{number} streams are open")


# --- the gateway is gone for a while ------------------------------------------------------------


async def test_after_a_restart_the_page_shows_what_has_happened_meanwhile(
    survivors: Visits, mortal: Stack
) -> None:
    """The gateway is killed while people look; what was asked while it was away is there when it
    is back, without anybody loading the page."""
    page = await survivors("sam")
    await page.goto("/console")
    await is_live(page)
    store = Store(mortal.setting("SAFEGUARDS_STORE_URL"))
    try:
        await asyncio.to_thread(mortal.kill, "gateway")
        change = opening.request(
            new_id("apr"),
            ApprovalSubmission(agent_id="trader", title="While it was away", metadata={}),
            TERMS,
            key_id=new_id("key"),
            owner=None,
            now=await store.now(),
        )
        made, _ = await store.create(change)
        assert isinstance(made, Approval)
    finally:
        await store.close()
    button = page.get_by_role("link", name="1 new")
    await button.wait_for(timeout=60_000)
    await button.click()
    await page.locator(f"#{made.id}").wait_for()


# --- the stream itself --------------------------------------------------------------------------


def heard(
    console: Stack, headers: dict[str, str], until: str, path: str = "/events"
) -> list[tuple[str, str, dict[str, Any]]]:
    """Return the events of a stream as (event, id, data), up to the first of the name `until`."""
    events: list[tuple[str, str, dict[str, Any]]] = []
    fields: dict[str, str] = {}
    with (
        httpx2.Client(verify=False, timeout=40) as http,
        http.stream("GET", f"{console.api}{path}", headers=headers) as answer,
    ):
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif fields:
                if "data" in fields:
                    read = (fields.get("event", ""), fields.get("id", ""))
                    events.append((*read, json.loads(fields["data"])))
                    if read[0] == until:
                        return events
                fields = {}
    return events


def bearer(console: Stack, who: str) -> dict[str, str]:
    """Return the header of a reviewer's API key."""
    return {"Authorization": f"Bearer {console.reviewer_keys[who].api_key}"}


async def test_a_reviewers_key_hears_what_that_reviewer_may_see(
    console: Stack, ask: Asking, agent_id: str
) -> None:
    """From where it left off, as `Last-Event-ID` says; of other groups' requests nothing."""
    headers = bearer(console, "sam")
    ((_, start, _),) = await asyncio.to_thread(heard, console, headers, "ready")
    mine = ask({"amount": "7.00", "currency": "EUR"})
    foreign = ask(action_type="errand")
    console.respond(mine["id"], "alex", response="approve")
    since = {**headers, "Last-Event-ID": start}
    events = await asyncio.to_thread(heard, console, since, "ended")
    told = [(kind, data["id"]) for kind, _, data in events if data.get("id")]
    assert told[0] == ("opened", mine["id"])
    assert told[-1] == ("ended", mine["id"])
    assert foreign["id"] not in [approval_id for _, approval_id in told]
    assert events[-1][2]["ending"] == "Approved by Alex"
    assert events[-1][2]["words"] == "Approved by Alex: Make a purchase of €7.00"
    again = await asyncio.to_thread(
        heard, console, headers, "ended", f"/events?after={events[1][1]}"
    )
    assert ("opened", mine["id"]) not in [(kind, data.get("id")) for kind, _, data in again]


async def test_what_is_no_longer_known_is_a_gap(console: Stack, ask: Asking) -> None:
    """A cursor from before all that is kept, or from another store, makes one look anew."""
    ask()
    headers = bearer(console, "sam")
    for cursor in ("1-1", "9000000000000-0"):
        since = {**headers, "Last-Event-ID": cursor}
        events = await asyncio.to_thread(heard, console, since, "gap")
        assert [kind for kind, _, _ in events][-1] == "gap"


@pytest.mark.parametrize(
    ("who", "cursor", "status"),
    [("nobody", "", 401), ("agent", "", 403), ("sam", "yesterday", 422), ("sam", "1-" * 40, 422)],
)
async def test_who_may_not_hear_is_told_so(
    console: Stack, who: str, cursor: str, status: int
) -> None:
    headers = {"Last-Event-ID": cursor} if cursor else {}
    if who == "agent":
        headers["Authorization"] = f"Bearer {console.agent_key.api_key}"
    elif who != "nobody":
        headers |= bearer(console, who)
    with httpx2.Client(verify=False) as http:
        answer = http.get(f"{console.api}/events", headers=headers)
    assert answer.status_code == status


async def test_a_stream_ends_when_its_session_does(signed_in: Visits, console: Stack) -> None:
    """Within half a minute of signing out everywhere."""
    page = await signed_in("nora", fresh=True)
    cookies = await page.context.cookies()
    cookie = "; ".join(f"{one['name']}={one['value']}" for one in cookies)
    listening = asyncio.create_task(
        asyncio.to_thread(heard, console, {"Cookie": cookie}, "signed_out")
    )
    await asyncio.sleep(1)
    await page.goto("/console/account")
    await page.get_by_role("button", name=re.compile("everywhere", re.IGNORECASE)).click()
    async with asyncio.timeout(30):
        events = await listening
    assert events[-1][0] == "signed_out"


async def test_open_streams_do_not_keep_the_gateway_from_stopping(mortal: Stack) -> None:
    """Ctrl-C ends the stack at once, streams or not; they end cleanly."""
    headers = bearer(mortal, "sam")
    await asyncio.to_thread(heard, mortal, headers, "ready")
    listening = asyncio.create_task(asyncio.to_thread(heard, mortal, headers, "never"))
    await _streams(mortal, 1)
    try:
        async with asyncio.timeout(20):
            assert await asyncio.to_thread(mortal.stop) == 0
            await listening
    finally:
        await asyncio.to_thread(mortal.start)
