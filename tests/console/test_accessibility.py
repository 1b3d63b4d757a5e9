"""Every page in every state, opened once and judged in each way: for everybody, strict, and still.

Whoever looks for what axe-core finds, or for pictures, finds all pages here by their names:

    PICTURES_DIRECTORY=… pytest tests/console/test_accessibility.py -k pictures
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.console.judging import (
    out_of_order,
    shifts,
    small_targets,
    tab_through,
    violations,
    watch_shifts,
)
from tests.console.places import NAMES, Place
from tests.console.visiting import Visits, visits
from tests.rendering.looking import DESKTOP, NARROWEST, PHONE, Opened
from tests.stack import Stack

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page, StorageState

# The first of them may have to install a browser.
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}
INLINE = re.compile(
    r"<style|\sstyle\s*=|<script(?![^>]*\ssrc=)|<[^>]*\son[a-z]+\s*=|javascript:", re.I
)


@dataclass(frozen=True)
class Seen:
    """A place that was opened on a phone and then on a wide screen, where it stays.

    Attributes:
        page: in the state that the place is for; each test sets the window that it needs.
        headers: of the answer.
        text: of the answer.
        moved: what moved while the page opened.
    """

    place: Place
    page: Page
    headers: Mapping[str, str]
    text: str
    moved: list[str]


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=NAMES)
async def seen(
    request: pytest.FixtureRequest,
    browser: Browser,
    console: Stack,
    places: dict[str, Place],
    signed_in_before: dict[str, StorageState],
) -> AsyncIterator[Seen]:
    """One page for all tests of a place; an error if it complained of anything meanwhile."""
    place = places[request.param]
    async with visits(browser, console.url, console.passwords, signed_in_before) as made:
        page = await made.before(place, PHONE)
        await watch_shifts(page)
        await made.go(page, place)
        moved = await shifts(page)
        await _resize(page, DESKTOP)
        answer = await made.go(page, place)
        moved += await shifts(page)
        headers, text = await answer.all_headers(), await answer.text()
        if place.step is not None:
            await place.step(page)
        yield Seen(place, page, headers, text, moved)


async def test_a_page_is_for_everybody(seen: Seen) -> None:
    """No rule of WCAG 2.2 AA is broken that a machine can check; nothing scrolls sideways on the
    narrowest phone; whatever is pressed is as high as a finger is wide."""
    assert await _wrong(seen.page) == []


async def test_a_page_is_strict_and_still(seen: Seen) -> None:
    """The strictest policy, and nothing in the page that would need a laxer one; no address of
    the page goes further; and nothing moves while it opens."""
    # What is unfolded because the address names it was asked for.
    assert "#" in seen.place.path or seen.moved == []
    directives = dict(
        part.strip().split(" ", 1) for part in seen.headers["content-security-policy"].split(";")
    )
    assert directives == POLICY
    assert seen.headers["referrer-policy"] == "same-origin"
    assert seen.headers["x-content-type-options"] == "nosniff"
    assert seen.headers["cache-control"] == "no-store"
    assert seen.headers["cross-origin-opener-policy"] == "same-origin"
    # A page holds a token beside what was typed into its address: compressed, its length tells.
    assert "content-encoding" not in seen.headers
    assert INLINE.findall(seen.text) == []


async def test_the_focus_goes_as_one_reads(seen: Seen) -> None:
    """Tab stops at everything in reading order; the focus can be seen, and nothing covers it."""
    await _resize(seen.page, DESKTOP)
    if await seen.page.locator("dialog[open]").count():
        await seen.page.keyboard.press("Escape")
    stops = await tab_through(seen.page)
    assert stops
    assert stops[0].name.startswith("a Skip to")
    assert out_of_order(stops) == []
    assert [stop.name for stop in stops if not stop.outlined] == []
    assert {stop.name: stop.hidden for stop in stops if stop.hidden} == {}


async def test_a_page_says_what_it_is(seen: Seen) -> None:
    """A title and one heading of its own, a language, a way past the navigation, and one place
    where changes are announced."""
    page = seen.page
    assert re.search(r"\w{3}", (await page.title()).removesuffix("Safeguards"))
    assert await page.locator("h1").count() == 1
    assert await page.get_attribute("html", "lang") == "en"
    status = page.locator("#announcements")
    assert await status.get_attribute("role") == "status"
    assert await status.get_attribute("aria-live") == "polite"
    await page.locator(".skip").focus()
    await page.keyboard.press("Enter")
    assert await page.evaluate("document.activeElement.id") == "main"


async def test_the_page_of_a_refused_file_is_for_everybody(
    console: Stack, signed_in: Visits
) -> None:
    """The channels, while what stands in their file is refused."""
    page = await signed_in("olga")
    path = console.folder / "channels.yaml"
    before = path.read_text()
    path.write_text("version: 1\nchannels: {mail: {kind: carrier-pigeon}}\n")
    try:
        await _reload_until(page, "/console/channels", "carrier-pigeon", is_there=True)
        assert await _wrong(page) == []
    finally:
        path.write_text(before)
    await _reload_until(page, "/console/channels", "carrier-pigeon", is_there=False)


async def _reload_until(page: Page, path: str, words: str, *, is_there: bool) -> None:
    """Open a page again and again: a file is read anew at most once in a second."""
    for _ in range(100):
        await page.goto(path)
        if (words in await page.locator("main").inner_text()) == is_there:
            return
    pytest.fail(f"{words!r} on {path}: still {'not ' if is_there else ''}there")


@pytest.mark.skipif("PICTURES_DIRECTORY" not in os.environ, reason="nobody looks at them")
@pytest.mark.parametrize("name", NAMES)
async def test_pictures(
    signed_in: Visits, places: dict[str, Place], pictures: Path, name: str
) -> None:
    """Pictures of every page, for people to look at."""
    page = await signed_in.at(places[name], size=PHONE)
    for size in (PHONE, DESKTOP):
        await _resize(page, size)
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            # What is not in a sheet that is as high as the page would be cut off by the window.
            whole = not await page.locator("dialog[open]").count()
            data = await page.screenshot(full_page=whole)
            (pictures / f"{name}-{size[0]}-{scheme}.png").write_bytes(data)


async def _wrong(page: Page) -> list[str]:
    """What is wrong with a page in any window, by day or by night."""
    found: list[str] = []
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        for size in (DESKTOP, NARROWEST):
            await _resize(page, size)
            wrong = await violations(page, colours_only=scheme == "dark")
            overflow = await Opened(page).overflow()
            if overflow > 0:
                wrong.append(f"{overflow} px too wide: {await _widest(page)}")
            found += [f"{scheme}, {size[0]} px: {what}" for what in wrong]
    await page.emulate_media(color_scheme="light")
    return found + await small_targets(page)


async def _resize(page: Page, size: tuple[int, int]) -> None:
    await page.set_viewport_size({"width": size[0], "height": size[1]})


async def _widest(page: Page) -> list[str]:
    """The elements that reach furthest to the right."""
    found: list[str] = await page.evaluate(
        """() => [...document.querySelectorAll('body *')]
          .filter((e) => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
          .filter((e) => !e.closest('.scroll, .rooms') && e.checkVisibility())
          .slice(0, 5).map((e) => e.outerHTML.slice(0, 120))"""
    )
    return found
