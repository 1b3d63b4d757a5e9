"""Questions by which the supervisor learns that a process can be used."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import aiohttp

from safeguards.sentinel import for_kombu


def http_ok(
    url: str, *, user: str | None = None, password: str = ""
) -> Callable[[], Awaitable[bool]]:
    """Return a check that a GET of `url` is answered with 200."""
    headers = {"Authorization": aiohttp.encode_basic_auth(user, password)} if user else {}

    async def check() -> bool:
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=3)) as session,
                session.get(url, headers=headers, allow_redirects=False) as response,
            ):
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    return check


class WorkerPing:
    """Asks Celery workers, by the broker they use, whether they take tasks.

    The worker's own answer, not a line of its log: that depends on the log's level and format.
    """

    def __init__(self, broker_url: str) -> None:
        # Imported here, since only `make run` with its services needs it.
        from celery import Celery

        url, sentinel_options = for_kombu(broker_url)
        self._app = Celery(broker=url, set_as_current=False)
        self._app.conf.update(
            broker_connection_timeout=1,
            broker_transport_options={
                "max_retries": 1,
                "interval_start": 0,
                "socket_timeout": 2,
                **sentinel_options,
            },
        )

    def of(self, name: str) -> Callable[[], Awaitable[bool]]:
        """Return a check of the worker that was started with `--hostname name@%h`."""
        destination = [f"{name}@{socket.gethostname()}"]

        def ping() -> bool:
            try:
                return bool(self._app.control.ping(destination=destination, timeout=1))
            except Exception:  # whatever the broker's library raises, it is no answer
                return False

        async def check() -> bool:
            return await asyncio.to_thread(ping)

        return check
