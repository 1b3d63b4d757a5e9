"""First pages are light, lists stay still, and what is the same for all is sent once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.console.conftest import Asking
from tests.console.judging import shifts, watch_shifts
from tests.console.places import Place
from tests.console.visiting import Visits
from tests.stack import Stack

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

MAX_BYTES = 100_000


@pytest.mark.parametrize("name", ["sign-in", "inbox", "request-waiting", "mail"])
async def test_a_first_page_is_light(
    signed_in: Visits, places: dict[str, Place], name: str
) -> None:
    """Under 100 kB over the wire, with all that it loads, for a browser that has nothing yet."""
    place = places[name]
    page = await (signed_in(place.who) if place.who else signed_in.stranger())
    protocol = await page.context.new_cdp_session(page)
    await protocol.send("Network.enable")
    loaded: list[float] = []
    protocol.on("Network.loadingFinished", lambda done: loaded.append(done["encodedDataLength"]))
    await page.goto(place.path, wait_until="load")
    await page.wait_for_timeout(500)
    assert len(loaded) > 2
    assert sum(loaded) < MAX_BYTES


async def test_nothing_moves_when_news_come(
    console: Stack, signed_in: Visits, ask: Asking, agent_id: str
) -> None:
    """New requests are announced and wait; an answered one stays where it is; nothing moves."""
    first = ask(title="First", timeout_seconds=3600)
    ask(title="Second", timeout_seconds=7200)
    page = await signed_in("alex")
    await watch_shifts(page)
    await page.goto(f"/console?agent={agent_id}")
    assert await page.locator("[data-row]").count() == 2
    before = await _rows(page)
    ask(title="Third", timeout_seconds=600)
    await page.locator("#fresh").filter(visible=True).wait_for()
    await page.locator("#announcements", has_text=re.compile(r"\w")).wait_for(state="attached")
    assert console.respond(first["id"], "sam", response="reject").status_code == 200
    await page.locator(f"#{first['id']} [data-state]", has_text="Sam").wait_for()
    assert await _rows(page) == before
    assert await shifts(page) == []


async def _rows(page: Page) -> list[list[object]]:
    """The rows and where they begin."""
    found: list[list[object]] = await page.evaluate(
        "[...document.querySelectorAll('[data-row]')]"
        ".map((row) => [row.id, row.getBoundingClientRect().top])"
    )
    return found


async def test_what_is_the_same_for_all_is_compressed(console: Stack) -> None:
    """Style sheets and scripts are; they are asked for again, and then not sent again."""
    async with httpx2.AsyncClient(base_url=console.url) as client:
        first = await client.get("/static/css/base.css")
        assert first.headers["content-encoding"] == "gzip"
        assert first.headers["cache-control"] == "no-cache"
        assert first.headers["x-content-type-options"] == "nosniff"
        again = await client.get(
            "/static/css/base.css", headers={"If-None-Match": first.headers["etag"]}
        )
        assert (again.status_code, again.content) == (304, b"")
        assert (await client.get("/static/../pages.py")).status_code == 404
        assert (await client.get("/static/%2e%2e/pages.py")).status_code == 404
