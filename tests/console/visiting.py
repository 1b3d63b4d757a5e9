"""People with browsers in front of the console, and what their browsers complain of."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from tests.console.places import Place
from tests.rendering.looking import DESKTOP, Scheme

if TYPE_CHECKING:
    from playwright.async_api import (
        Browser,
        BrowserContext,
        Page,
        Request,
        Response,
        StorageState,
    )

# Chromium says most of it itself; what it says of a report-only policy or of a frame is here too.
_TELL_OF_VIOLATIONS = """addEventListener('securitypolicyviolation', (event) => {
  console.error(`CSP: ${event.effectiveDirective} ${event.blockedURI} ${event.sample}`);
})"""


class Visits:
    """Pages that people open, each with a window of its own.

    Args:
        browser: in which they are opened.
        url: of the gateway.
        passwords: of those who sign in, by their ids.
        kept: the cookies of those who have signed in before, by their ids.
    """

    def __init__(
        self,
        browser: Browser,
        url: str,
        passwords: Mapping[str, str],
        kept: dict[str, StorageState],
    ) -> None:
        self._browser = browser
        self._url = url
        self._passwords = passwords
        self._kept = kept
        self._complaints: list[str] = []
        self._expected: list[re.Pattern[str]] = []
        self._contexts: list[BrowserContext] = []

    async def __call__(
        self,
        who: str = "alex",
        size: tuple[int, int] = DESKTOP,
        scheme: Scheme = "light",
        *,
        fresh: bool = False,
        **options: Any,
    ) -> Page:
        """Return an empty page of somebody who has signed in.

        Args:
            who: a reviewer's id.
            size: of the window, in CSS pixels.
            scheme: `light` or `dark`.
            fresh: whether this is a session of its own, which may be ended.
            options: further options of the browser's context, such as `timezone_id`.
        """
        if fresh or who not in self._kept:
            state = await self._sign_in(who)
            if fresh:
                return await self._page(size, scheme, storage_state=state, **options)
            self._kept[who] = state
        return await self._page(size, scheme, storage_state=self._kept[who], **options)

    async def stranger(
        self, size: tuple[int, int] = DESKTOP, scheme: Scheme = "light", **options: Any
    ) -> Page:
        """Return an empty page of somebody who has not signed in."""
        return await self._page(size, scheme, **options)

    async def before(
        self, place: Place, size: tuple[int, int] = DESKTOP, scheme: Scheme = "light"
    ) -> Page:
        """Return an empty page of whoever is to look at a place."""
        if place.status >= 400 or place.refuses:
            self.expect(r"Failed to load resource: the server responded with a status of 4\d\d")
        if place.who is None:
            return await self.stranger(size, scheme)
        return await self(place.who, size, scheme)

    async def go(self, page: Page, place: Place) -> Response:
        """Open a place; an AssertionError unless it answers as it should."""
        answer = await page.goto(place.path)
        if answer is None:
            # Its address differs from where the page is in what follows the # alone.
            answer = await page.reload()
        assert answer is not None
        assert answer.status == place.status, f"{place.path}: {answer.status}"
        return answer

    async def at(
        self, place: Place, size: tuple[int, int] = DESKTOP, scheme: Scheme = "light"
    ) -> Page:
        """Return a page that is at a place, in the state that the place is for."""
        page = await self.before(place, size, scheme)
        await self.go(page, place)
        if place.step is not None:
            await place.step(page)
        return page

    def expect(self, pattern: str) -> None:
        """Take what fits this regular expression for no fault: `status of 404`, say."""
        self._expected.append(re.compile(pattern))

    @property
    def complaints(self) -> list[str]:
        """What no page may complain of: errors, violations of the policy, foreign requests."""
        return [
            complaint
            for complaint in self._complaints
            if not any(expected.search(complaint) for expected in self._expected)
        ]

    async def _sign_in(self, who: str) -> StorageState:
        page = await self._page(DESKTOP, "light")
        await page.goto("/sign-in")
        await page.get_by_label("Name or mail address").fill(who)
        await page.get_by_label("Password", exact=True).fill(self._passwords[who])
        await page.get_by_role("button", name="Sign in", exact=True).click()
        await page.wait_for_url("**/console")
        state = await page.context.storage_state()
        await page.context.close()
        return state

    async def _page(self, size: tuple[int, int], scheme: Scheme, **options: Any) -> Page:
        width, height = size
        given: dict[str, Any] = {
            "base_url": self._url,
            "viewport": {"width": width, "height": height},
            "device_scale_factor": 2 if width < 500 else 1,
            "color_scheme": scheme,
            "timezone_id": "Europe/Berlin",
            "reduced_motion": "reduce",
            **options,
        }
        context = await self._browser.new_context(**given)
        self._contexts.append(context)
        context.set_default_timeout(15_000)
        await context.add_init_script(_TELL_OF_VIOLATIONS)
        # In every tab that this person opens, not only in the first.
        context.on("request", self._requested)
        context.on("weberror", lambda error: self._complaints.append(f"error: {error.error}"))
        context.on("console", lambda message: self._said(message.type, message.text))
        return await context.new_page()

    def _requested(self, request: Request) -> None:
        if not request.url.startswith((f"{self._url}/", "about:", "blob:")):
            self._complaints.append(f"asked another host: {request.url}")

    def _said(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self._complaints.append(f"{kind}: {text}")

    async def close(self) -> None:
        """Close all that was opened."""
        for context in self._contexts:
            await context.close()


@asynccontextmanager
async def visits(
    browser: Browser, url: str, passwords: Mapping[str, str], kept: dict[str, StorageState]
) -> AsyncIterator[Visits]:
    """Visits that end with the block; an AssertionError if any page complained of anything."""
    made = Visits(browser, url, passwords, kept)
    try:
        yield made
    finally:
        await made.close()
    assert made.complaints == []
