"""Receivers that are no limit: they count what comes and throw it away.

One process with an HTTP and an SMTP server, each the least that a sender takes for one. A post
costs it about 10 µs of a core and a mail 40, a tenth of what any sender here needs; each run shows
its share of a core beside the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import httpx2
import uvloop

from deploy.valkey import free_port
from tests.bench.processes import Child, python

SLOW_SECONDS = 0.05
"""How long a post to `/slow` takes."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class _Counts:
    """What has been received so far."""

    def __init__(self) -> None:
        self.posts = 0
        self.mails = 0


class _HttpSink(asyncio.Protocol):
    """Answers every request: `GET` with the counts, a post with 200, to `/slow` later."""

    def __init__(self, counts: _Counts) -> None:
        self._counts = counts
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not derive from it

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (head_end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:head_end]
            length = _LENGTH.search(head)
            end = head_end + 4 + (int(length[1]) if length else 0)
            if len(self._received) < end:
                return
            self._received = self._received[end:]
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        if head.startswith(b"GET"):
            body = json.dumps(vars(self._counts)).encode()
            length = str(len(body)).encode()
            self._transport.write(_OK.replace(b": 0", b": " + length) + body)
            return
        self._counts.posts += 1
        if head.startswith(b"POST /slow"):
            loop = asyncio.get_running_loop()
            loop.call_later(SLOW_SECONDS, self._transport.write, _OK)
        else:
            self._transport.write(_OK)


class _SmtpSink(asyncio.Protocol):
    """Says yes to every command (RFC 5321), without TLS."""

    def __init__(self, counts: _Counts) -> None:
        self._counts = counts
        self._received = b""
        self._in_data = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        self._received += data
        while True:
            end = self._received.find(b"\r\n.\r\n" if self._in_data else b"\r\n")
            if end < 0:
                return
            if self._in_data:
                self._received = self._received[end + 5 :]
                self._in_data = False
                self._counts.mails += 1
                self._transport.write(b"250 OK\r\n")
            else:
                command, self._received = self._received[:end], self._received[end + 2 :]
                self._command(command[:4].upper())

    def _command(self, verb: bytes) -> None:
        if verb == b"DATA":
            self._in_data = True
            self._transport.write(b"354 go on\r\n")
        elif verb == b"QUIT":
            self._transport.write(b"221 bye\r\n")
            self._transport.close()
        else:
            self._transport.write(b"250 OK\r\n")


class Sinks:
    """The receivers as they run, in a process of their own.

    Attributes:
        url: where posts are taken at once.
        slow_url: where each takes `SLOW_SECONDS`.
        smtp_port: where mails are taken.
    """

    def __init__(self, folder: Path) -> None:
        http_port, self.smtp_port = free_port(), free_port()
        self._counts_url = f"http://127.0.0.1:{http_port}/counts"
        self.url = f"http://127.0.0.1:{http_port}/hook"
        self.slow_url = f"http://127.0.0.1:{http_port}/slow"
        argv = python("-m", "tests.bench.sinks", str(http_port), str(self.smtp_port))
        self._child = Child(argv, os.environ, self._is_ready, folder / "sinks.log")

    def _is_ready(self) -> bool:
        try:
            return self.counts() == {"posts": 0, "mails": 0}
        except httpx2.HTTPError:
            return False

    def counts(self) -> dict[str, int]:
        """Return how many `posts` and `mails` have been received."""
        counts: dict[str, int] = self._http.get(self._counts_url).json()
        return counts

    @property
    def process_id(self) -> int:
        """The process id."""
        return self._child.process_id

    def __enter__(self) -> Self:
        self._http = httpx2.Client(timeout=10, verify=False)
        self._child.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._child.__exit__(exc_type, exc, traceback)
        self._http.close()


async def _serve(http_port: int, smtp_port: int) -> None:
    loop = asyncio.get_running_loop()
    counts = _Counts()
    await loop.create_server(partial(_HttpSink, counts), "127.0.0.1", http_port, backlog=1024)
    await loop.create_server(partial(_SmtpSink, counts), "127.0.0.1", smtp_port, backlog=1024)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("http_port", type=int)
    parser.add_argument("smtp_port", type=int)
    ports = parser.parse_args()
    uvloop.run(_serve(ports.http_port, ports.smtp_port))
