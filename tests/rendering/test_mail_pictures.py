"""Mails as people see them: sent to a real server, read back, opened in a real browser.

The pictures are kept in the folder that PICTURES_DIRECTORY names, if it is set.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from safeguards.notifications.channels import EmailChannel
from safeguards.notifications.message import Message
from tests.receivers import SmtpServer
from tests.rendering.looking import DESKTOP, NARROWEST, PHONE, Opened, Scheme, opened
from tests.rendering.mails import (
    ALERT,
    ALL,
    ASKING,
    DIGEST,
    HOSTILE_TEXTS,
    LONG,
    OUTCOME,
    REMINDER,
    REVIEW,
    hostile,
)

if TYPE_CHECKING:
    from playwright.async_api import Browser

# The first of them may have to install a browser.
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

MAILS = {
    "asking": ASKING,
    "reminder": REMINDER,
    "outcome": OUTCOME,
    "alert": ALERT,
    "digest": DIGEST,
    "long": LONG,
}
OUR_ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "table", "tbody", "tr", "td", "th"),
    *("span", "div", "h1", "h2", "ul", "li", "a", "br", "wbr"),
}


@pytest.fixture(scope="module")
def smtp() -> Iterator[SmtpServer]:
    with SmtpServer() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def channel(smtp: SmtpServer) -> AsyncIterator[EmailChannel]:
    made = EmailChannel()
    made.initialize(
        {
            "smtp_server": smtp.host,
            "smtp_port": smtp.port,
            "sender": "Safeguards <safeguards@example.com>",
            "use_tls": False,
        }
    )
    yield made
    await made.aclose()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    given = os.environ.get("PICTURES_DIRECTORY")
    folder = Path(given) if given else tmp_path_factory.mktemp("pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


async def received(channel: EmailChannel, smtp: SmtpServer, message: Message, folder: Path) -> Path:
    """The HTML part of the mail as it came in at the server, in a file."""
    before = len(smtp.mails)
    await channel.deliver(message, ["ann@example.com"])
    mail = smtp.wait_for_many(before + 1)[-1]
    page_file = folder / "mail.html"
    page_file.write_text(mail.html, "utf-8")
    return page_file


async def picture(seen: Opened, name: str, folder: Path) -> None:
    data = await seen.page.screenshot(full_page=True)
    (folder / f"{name}.png").write_bytes(data)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("name", MAILS)
async def test_a_mail_is_readable_everywhere(
    browser: Browser,
    channel: EmailChannel,
    smtp: SmtpServer,
    pictures: Path,
    tmp_path: Path,
    name: str,
    size: tuple[int, int],
    scheme: Scheme,
) -> None:
    """Nothing to scroll sideways, nothing loaded, enough contrast, by day and by night."""
    page_file = await received(channel, smtp, MAILS[name], tmp_path)
    async with opened(browser, page_file, size, scheme) as seen:
        await picture(seen, f"{name}-{size[0]}-{scheme}", pictures)
        assert await seen.overflow() <= 0
        assert await seen.escaping() == []
        contrasts = await seen.contrasts()
        assert len(contrasts) > 5
        assert {text: ratio for text, ratio in contrasts.items() if ratio < 4.5} == {}
        background = await seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(18, 22, 28)") == (scheme == "dark")
        assert seen.complaints == []
        assert seen.requests == []


async def test_an_ordinary_request_is_read_and_answered_without_scrolling(
    browser: Browser, channel: EmailChannel, smtp: SmtpServer, tmp_path: Path
) -> None:
    """On a phone: what is asked, how much, why, until when, and the button."""
    page_file = await received(channel, smtp, ASKING, tmp_path)
    async with opened(browser, page_file, PHONE) as seen:
        ends = [
            await seen.bottom(selector)
            for selector in (
                "h1",
                ".sg-value:has-text('2500.00')",
                ".sg-reason",
                ".sg-note",
                ".sg-button",
            )
        ]
        assert ends == sorted(ends)
        assert ends[-1] <= PHONE[1]
        assert (await seen.page.locator(".sg-button").inner_text()) == "Review and answer"
        box = await seen.page.locator(".sg-button").bounding_box()
        assert box is not None
        assert box["height"] >= 44
        assert await seen.links() == [REVIEW]


async def test_what_is_long_stands_below_the_button(
    browser: Browser, channel: EmailChannel, smtp: SmtpServer, tmp_path: Path
) -> None:
    """Fifty settings and a long story do not hide where to answer, and all of them are there."""
    page_file = await received(channel, smtp, LONG, tmp_path)
    async with opened(browser, page_file, PHONE) as seen:
        assert await seen.bottom(".sg-button") <= PHONE[1]
        # The beginning of the command is above, all of it below, and last what the agent says.
        assert await seen.bottom("text=kubectl apply") < await seen.bottom(".sg-button")
        assert await seen.bottom(".sg-words") > await seen.bottom("text=setting_30")
        shown = await seen.page.inner_text("body")
        assert "kubectl rollout status deploy/api" in shown
        assert all(f"setting_{number}" in shown for number in range(36))
        assert "and 14 more" in shown


async def test_a_digest_has_a_link_for_each_of_its_entries(
    browser: Browser, channel: EmailChannel, smtp: SmtpServer, tmp_path: Path
) -> None:
    """And one for the rest, whose number it says."""
    page_file = await received(channel, smtp, DIGEST, tmp_path)
    async with opened(browser, page_file, PHONE) as seen:
        assert await seen.links() == [*(f"{REVIEW}{number}" for number in range(4)), ALL]
        assert await seen.page.locator("h2").count() == 4
        assert await seen.page.locator("text=and 23 more").is_visible()
        badges = await seen.page.locator(".sg-badge").all_inner_texts()
        assert badges == ["CRITICAL", "CRITICAL", "ERROR", "WARNING", "INFO"]


@pytest.mark.parametrize("name", HOSTILE_TEXTS)
async def test_hostile_text_is_shown_and_does_nothing(
    browser: Browser,
    channel: EmailChannel,
    smtp: SmtpServer,
    pictures: Path,
    tmp_path: Path,
    name: str,
) -> None:
    """In every field at once: no element, no link, no request of its own; nothing is displaced."""
    page_file = await received(channel, smtp, hostile(HOSTILE_TEXTS[name]), tmp_path)
    for size in (NARROWEST, DESKTOP):
        async with opened(browser, page_file, size) as seen:
            await picture(seen, f"hostile-{name}-{size[0]}", pictures)
            assert await seen.links() == [REVIEW]
            assert await seen.element_names() <= OUR_ELEMENTS
            assert await seen.page.title() != "owned"
            assert await seen.overflow() <= 0
            assert await seen.escaping() == []
            assert seen.complaints == []
            assert seen.requests == []
            button = await seen.page.locator(".sg-button").bounding_box()
            assert button is not None
            assert button["width"] >= 120
            # Our own words still read from left to right, beside whatever the agent wrote.
            assert await seen.page.locator("text=ordinary").is_visible()
            directions = await seen.page.evaluate(
                "[...document.querySelectorAll('table,tr,td,th,h1,ul,li')]"
                ".map(e => getComputedStyle(e).direction)"
            )
            assert set(directions) == {"ltr"}
