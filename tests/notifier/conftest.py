"""A store to itself for each test: a database of the session's server, emptied before."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from deploy.valkey import ValkeyServer
from safeguards_runtime.store import Store

DATABASE = 9
"""Of this folder's tests alone, so that others may use the same server."""


@pytest.fixture
async def store(store_server: ValkeyServer) -> AsyncIterator[Store]:
    """An empty store."""
    made = Store(f"{store_server.url.rpartition('/')[0]}/{DATABASE}")
    await made.redis.flushdb()
    yield made
    await made.close()
