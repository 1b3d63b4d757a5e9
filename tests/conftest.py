"""Fixtures that start real parts, once for a session where tests do not disturb each other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio
from hypothesis import settings

from deploy.valkey import ValkeyServer
from tests.stack import Stack

if TYPE_CHECKING:
    from playwright.async_api import Browser

# How long an example takes says more of the machine than of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One whole stack for all tests that only use it; whoever kills parts starts their own."""
    with Stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(scope="session")
def store_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """A store of its own, for tests of the store without services."""
    with ValkeyServer.store(tmp_path_factory.mktemp("store")) as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One browser for all tests that look at pages. They run on the session's event loop."""
    from tests.browser import running_browser

    async with running_browser() as running:
        yield running
