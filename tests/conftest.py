"""Fixtures that start real parts, once for a session where tests do not disturb each other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.valkey import ValkeyServer
from tests.stack import Stack


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
