"""Pages that arrive bit by bit, as over a slow line or on a busy machine: what is there stays."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from tests.console.judging import shifts, watch_shifts
from tests.console.places import Place
from tests.console.visiting import visits
from tests.rendering.looking import DESKTOP, PHONE
from tests.stack import Stack

if TYPE_CHECKING:
    from playwright.async_api import Browser, StorageState

# The first of them may have to install a browser.
pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(900)]

PAUSE = 0.02
"""Seconds before each part of a page: longer than a browser waits before it draws what is there."""

_PART = re.compile(rb"(?=<(?:a|button|summary|section)\b)|(?<=\">)(?=\w[^<]*</span>)")
"""Before what is pressed, before what stands beside something else, and before a badge's words."""


class SlowLine:
    """Passes on what browsers ask the gateway; of a page one part after the other.

    Args:
        gateway_port: of 127.0.0.1.
    """

    def __init__(self, gateway_port: int) -> None:
        self._gateway_port = gateway_port

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection until both sides have closed it."""
        answers, asks = await asyncio.open_connection("127.0.0.1", self._gateway_port)
        await asyncio.gather(self._pass_on(reader, asks), self._pass_on(answers, writer))

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_page = False
        try:
            while data := await reader.read(65536):
                if data.startswith(b"HTTP/1.1 "):
                    is_page = b"content-type: text/html" in data[:1000]
                for part in _PART.split(data) if is_page else [data]:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(PAUSE if is_page else 0)
        except ConnectionError:
            pass  # the browser has gone to another page
        finally:
            writer.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def slow_url(console: Stack) -> AsyncIterator[str]:
    """The address of the console behind a slow line."""
    server = await asyncio.start_server(SlowLine(console.port).connected, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


@pytest.mark.parametrize("name", ["request-explained", "request-timed-out", "inbox"])
async def test_what_has_arrived_stays_where_it_is(
    browser: Browser,
    slow_url: str,
    console: Stack,
    places: dict[str, Place],
    signed_in_before: dict[str, StorageState],
    name: str,
) -> None:
    """A page is drawn while it still arrives: what comes later takes no place from what is there,
    so that nobody presses what has just moved under the finger."""
    async with visits(browser, slow_url, console.passwords, signed_in_before) as made:
        for size in (PHONE, DESKTOP):
            page = await made.before(places[name], size)
            await watch_shifts(page)
            await made.go(page, places[name])
            assert await shifts(page) == []
