"""A TCP proxy between the services and a Valkey server: it delays, cuts and half-opens."""

from __future__ import annotations

import asyncio
import contextlib
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

CHUNK_BYTES = 64 * 1024


class Proxy:
    """Hands on what comes on a port of 127.0.0.1 to a server, and back.

    Args:
        url: the server's, `redis://:password@127.0.0.1:port/0`.
        port: where the proxy listens.

    Attributes:
        url: the same through the proxy.
        delay_seconds: how long each piece is held back, in both directions.
    """

    def __init__(self, url: str, port: int) -> None:
        parts = urlsplit(url)
        assert parts.port is not None
        self._upstream = parts.port
        self._port = port
        self.url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition(":")[0] + f":{port}"))
        self.delay_seconds = 0.0
        self._open: set[_Connection] = set()

    @property
    def connections(self) -> int:
        """How many connections go through it."""
        return len(self._open)

    def cut(self) -> None:
        """Reset every connection."""
        for connection in list(self._open):
            connection.abort()

    def half_open(self) -> None:
        """Let every connection stay open, and hand on nothing more: as if the other end was gone
        without a word. New connections are not affected."""
        for connection in self._open:
            connection.is_frozen = True

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        self.cut()
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            writer.transport.abort()
            return
        connection = _Connection(self, (reader, writer), there)
        self._open.add(connection)
        try:
            await connection.run()
        finally:
            self._open.discard(connection)


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Connection:
    """One connection, and the one that it is handed on to."""

    def __init__(self, proxy: Proxy, here: Stream, there: Stream) -> None:
        self._proxy = proxy
        self._here, self._there = here, there
        self.is_frozen = False

    def abort(self) -> None:
        """Reset both."""
        for _, writer in (self._here, self._there):
            writer.transport.abort()

    async def run(self) -> None:
        """Hand on until either end closes."""
        pumps = {
            asyncio.create_task(self._pump(self._here[0], self._there[1])),
            asyncio.create_task(self._pump(self._there[0], self._here[1])),
        }
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.abort()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(CHUNK_BYTES):
                if self._proxy.delay_seconds:
                    await asyncio.sleep(self._proxy.delay_seconds)
                if not self.is_frozen:
                    writer.write(piece)
                    await writer.drain()
