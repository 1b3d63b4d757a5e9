"""Signing in and out in a browser; and another site that tries to do it for somebody."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.console.doors import Door, open_door

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext, Page, Response

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with open_door(tmp_path_factory.mktemp("door")) as door:
        yield door


@pytest_asyncio.fixture(loop_scope="session")
async def window(browser: Browser, door: Door) -> AsyncIterator[BrowserContext]:
    """A browser's window of somebody's own."""
    context = await browser.new_context(base_url=door.url)
    context.set_default_timeout(15_000)
    yield context
    await context.close()


async def sign_in(page: Page, door: Door, who: str = "sam") -> None:
    await page.goto("/console/account")
    await page.get_by_label("Name or mail address").fill(who)
    await page.keyboard.press("Tab")
    await page.keyboard.type(door.passwords[who])
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"{door.url}/console/account")


@contextmanager
def foreign_page(host: str, html: str) -> Iterator[str]:
    """A page of another site, whose forms send themselves; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{host}:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def sending(action: str, **fields: str) -> str:
    """Return a page with a form that sends itself."""
    inputs = "".join(f'<input name="{name}" value="{value}">' for name, value in fields.items())
    form = f'<form method="post" action="{action}">{inputs}</form>'
    later = "onload = () => setTimeout(() => document.forms[0].submit(), 50)"
    return f"<!doctype html>{form}<script>{later}</script>"


async def sent_by(page: Page, address: str, url: str) -> Response:
    """Return what a foreign page's form to `url` is answered."""
    async with page.expect_response(lambda answer: answer.url == url) as sent:
        await page.goto(address, wait_until="commit")
    answer = await sent.value
    await page.wait_for_url(url)
    return answer


async def test_in_by_the_keyboard_and_out_again(window: BrowserContext, door: Door) -> None:
    page = await window.new_page()
    await sign_in(page, door)
    other = await window.new_page()
    await other.goto("/console/account")
    await page.get_by_role("button", name="Sign out", exact=True).click()
    await page.wait_for_url("**/sign-in?out")
    assert await page.get_by_role("status").first.inner_text() == "You have signed out."
    await other.goto("/console/account")
    assert "/sign-in" in other.url, "the other window is signed out as well"
    await page.go_back()
    assert "/sign-in" in page.url, "the page that was there before is not shown again"


async def test_a_wrong_password_keeps_the_name_and_asks_again(
    window: BrowserContext, door: Door
) -> None:
    page = await window.new_page()
    await page.goto("/sign-in?next=/console/account")
    await page.get_by_label("Name or mail address").fill('"><b>sam\u202e')
    await page.get_by_label("Password").fill("not the one")
    await page.get_by_role("button", name="Sign in").click()
    told = page.get_by_role("alert")
    assert await told.inner_text() == "That name and password do not belong together."
    assert await page.get_by_label("Name or mail address").input_value() == '"><b>sam\u202e'
    assert await page.get_by_label("Password").input_value() == ""
    focused = await page.evaluate("document.activeElement.id")
    assert focused == "password"
    await page.get_by_label("Name or mail address").fill("sam")
    await page.get_by_label("Password").fill(door.passwords["sam"])
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url(f"{door.url}/console/account")


async def test_a_new_password(window: BrowserContext, door: Door) -> None:
    page = await window.new_page()
    await sign_in(page, door, "nora")
    await page.get_by_label("Current password").fill(door.passwords["nora"])
    await page.get_by_label("New password", exact=True).fill("a door with four locks")
    await page.get_by_label("New password, again").fill("a door with four locks")
    await page.get_by_role("button", name="Change the password").click()
    told = await page.get_by_role("status").first.inner_text()
    assert told == "Your password is changed. Every other session has ended."


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_another_site_can_do_nothing_for_somebody(
    window: BrowserContext, door: Door, host: str
) -> None:
    """Neither from another host nor from another port of the same, which is the same site."""
    page = await window.new_page()
    await sign_in(page, door)
    for path in ("/console/account/keys", "/sign-out", "/sign-out/everywhere"):
        with foreign_page(host, sending(f"{door.url}{path}", csrf="x")) as address:
            answer = await sent_by(page, address, f"{door.url}{path}")
            # From another site not even the cookie comes along.
            assert answer.status == (401 if host == "localhost" else 403)
    await page.goto("/console/account")
    assert await page.get_by_role("heading", name="Your account").is_visible()
    assert await page.get_by_label("Keys such as").is_checked()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_another_site_cannot_sign_somebody_in_as_another(
    window: BrowserContext, door: Door, host: str
) -> None:
    page = await window.new_page()
    fields = {"name": "kim", "password": door.passwords["kim"]}
    with foreign_page(host, sending(f"{door.url}/sign-in", **fields)) as address:
        answer = await sent_by(page, address, f"{door.url}/sign-in")
        assert answer.status == 403
    assert await window.cookies(door.url) == []


async def test_no_other_site_can_frame_it(window: BrowserContext, door: Door) -> None:
    page = await window.new_page()
    await sign_in(page, door)
    html = f'<!doctype html><iframe src="{door.url}/console/account"></iframe>'
    with foreign_page("127.0.0.1", html) as address:
        page = await window.new_page()
        await page.goto(address)
        frame = page.frames[1]
        assert "Your account" not in await frame.content()
