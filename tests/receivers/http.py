"""A real HTTP server."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.receivers.collected import Collected


@dataclass(frozen=True)
class Answer:
    """How to answer a request.

    Attributes:
        delay: seconds before the answer.
        drop: close the connection instead of answering.
        cut: close the connection half-way through the answer.
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    delay: float = 0
    drop: bool = False
    cut: bool = False


@dataclass(frozen=True)
class ReceivedRequest:
    """One request as it came in.

    Attributes:
        headers: by their names in lower case.
        connection: the client's port, which tells connections apart.
        received_at: seconds of the monotonic clock.
        answer: what it is answered with.
    """

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    received_at: float
    answer: Answer

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class HttpReceiver:
    """A real HTTP server that keeps what it is sent and answers as told, or else with 200."""

    host = "127.0.0.1"

    def __init__(self, default: Answer | None = None) -> None:
        self.port = 0
        self.default = default or Answer()
        self._collected = Collected[ReceivedRequest]()
        self._answers: deque[Answer] = deque()
        self._sockets: set[socket.socket] = set()
        self._closing = threading.Event()

    @property
    def requests(self) -> list[ReceivedRequest]:
        """What was received so far."""
        return self._collected.items

    def url(self, path: str = "/") -> str:
        """Return the address of `path` on this server."""
        return f"http://{self.host}:{self.port}{path}"

    def answer(
        self,
        status: int = 200,
        *,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
        delay: float = 0,
        drop: bool = False,
        cut: bool = False,
    ) -> None:
        """Answer one more request so; calls are used up in order."""
        self._answers.append(Answer(status, headers or {}, body, delay, drop, cut))

    def wait_for(
        self, predicate: Callable[[ReceivedRequest], bool] = lambda _: True, timeout: float = 10
    ) -> ReceivedRequest:
        """Return the first request that satisfies `predicate`, waiting up to `timeout` s."""
        return self._collected.wait_for(predicate, timeout)

    def wait_for_many(self, count: int, timeout: float = 10) -> list[ReceivedRequest]:
        """Return all requests as soon as there are `count`."""
        return self._collected.wait_for_many(count, timeout=timeout)

    def __enter__(self) -> Self:
        self._server = _HttpServer(self)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="http-receiver"
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        # Clients keep their connections open; whoever reads from one has to be woken.
        for open_ in list(self._sockets):
            with contextlib.suppress(OSError):
                open_.shutdown(socket.SHUT_RDWR)
        self._server.server_close()

    def _answer_to(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        """Return what a request is answered with; others may look at it first."""
        return self._next_answer()

    def _next_answer(self) -> Answer:
        try:
            return self._answers.popleft()
        except IndexError:
            return self.default


class _HttpServer(ThreadingHTTPServer):
    """Threads that are joined when it closes, and a record of the open connections."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, receiver: HttpReceiver) -> None:
        self.receiver = receiver
        super().__init__((receiver.host, 0), _HttpConnection)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.receiver._sockets.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.receiver._sockets.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no error here."""


class _HttpConnection(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _HttpServer

    def _handle(self) -> None:
        receiver = self.server.receiver
        length = int(self.headers.get("Content-Length") or 0)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(length)
        answer = receiver._answer_to(self.command, self.path, headers, body)
        receiver._collected.add(
            ReceivedRequest(
                method=self.command,
                path=self.path,
                headers=headers,
                body=body,
                connection=self.client_address[1],
                received_at=time.monotonic(),
                answer=answer,
            )
        )
        if answer.delay:
            receiver._closing.wait(answer.delay)
        if answer.drop:
            self.close_connection = True
            return
        if answer.cut:
            self.wfile.write(f"HTTP/1.1 {answer.status}".encode())
            self.close_connection = True
            return
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _handle

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output quiet."""


def webhook_secret() -> str:
    """Return a fresh secret for Standard Webhooks."""
    return f"whsec_{base64.b64encode(os.urandom(32)).decode()}"


def closed_port() -> int:
    """Return a port of this machine on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
