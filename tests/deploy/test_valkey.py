"""The embedded servers."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from deploy import valkey
from deploy.data_folder import DataFolder, DataFolderHeldError
from deploy.valkey import ValkeyServer


@contextmanager
def client(server: ValkeyServer) -> Iterator[redis.Redis]:
    connection = redis.Redis.from_url(server.url, decode_responses=True)
    try:
        yield connection
    finally:
        connection.close()


def test_what_the_store_confirmed_survives_a_kill_and_the_port_stays(tmp_path: Path) -> None:
    with ValkeyServer.store(tmp_path / "a folder" / "store") as server, client(server) as store:
        store.set("approval", "APPROVED")
        port = server.port
        server.kill()
        server.start()
        assert server.port == port
        assert store.get("approval") == "APPROVED"
        assert store.config_get("append*")["appendfsync"] == "always"
        assert store.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


def test_the_store_is_found_again_by_a_server_described_anew(tmp_path: Path) -> None:
    with ValkeyServer.store(tmp_path) as server, client(server) as store:
        store.set("approval", "APPROVED")
    with ValkeyServer.store(tmp_path) as server, client(server) as store:
        assert store.get("approval") == "APPROVED"


def test_the_broker_keeps_nothing(tmp_path: Path) -> None:
    with ValkeyServer.broker(tmp_path) as server, client(server) as broker:
        broker.set("hint", "apr_1")
        server.kill()
        server.start()
        assert broker.get("hint") is None
        assert sorted(path.name for path in tmp_path.iterdir()) == ["server.log", "valkey.conf"]


def test_a_password_is_needed_and_only_the_owner_can_read_it(tmp_path: Path) -> None:
    with ValkeyServer.store(tmp_path / "store") as server:
        stranger = redis.Redis(port=server.port)
        with pytest.raises(redis.AuthenticationError):
            stranger.ping()
        stranger.close()
        assert stat.S_IMODE((tmp_path / "store" / "valkey.conf").stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o700


async def test_whether_a_server_answers(tmp_path: Path) -> None:
    server = ValkeyServer.store(tmp_path)
    assert not await valkey.answers(server.url)
    with server:
        assert await valkey.answers(server.url)


def test_a_server_that_cannot_start_says_so(tmp_path: Path) -> None:
    with (
        ValkeyServer.broker(tmp_path / "one") as one,
        pytest.raises(TimeoutError, match=str(one.port)),
    ):
        ValkeyServer.broker(tmp_path / "two", port=one.port).start()


def test_a_data_folder_has_one_holder(tmp_path: Path) -> None:
    lock = DataFolder(tmp_path / "data").hold()
    with pytest.raises(DataFolderHeldError, match=f"process {os.getpid()}"):
        DataFolder(tmp_path / "data").hold()
    os.close(lock)
    os.close(DataFolder(tmp_path / "data").hold())


def test_secrets_are_made_once_and_private(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    secret = folder.secret("password")
    assert DataFolder(tmp_path / "data").secret("password") == secret
    assert folder.secret("other") != secret
    assert stat.S_IMODE((folder.path / "password").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
