"""Outgoing HTTP to addresses that others chose: resolved, checked, pinned, and bounded.

Every answer of the resolver is checked, and the connection goes to the address that was checked
(no second look-up that could answer otherwise). No redirects, proxies, cookies or compression.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING

from safeguards.background_loop import PerLoop
from safeguards.errors import (
    MissingExtraError,
    PermanentDeliveryError,
    ReceiverGoneError,
    TransientDeliveryError,
)
from safeguards.notifications.address_policy import address_policy

if TYPE_CHECKING:
    import aiohttp
    from aiohttp.abc import AbstractResolver
    from yarl import URL

MAX_RESPONSE_BYTES = 16 * 1024
"""How much of a response's body is read."""

MAX_RETRY_AFTER_SECONDS = 24 * 3600.0
"""The longest wait that a receiver can ask for."""

_LOOK_UPS_AT_ONCE = 16

_CONNECTIONS = 100
_KEEP_ALIVE_SECONDS = 60.0


def require(part: str, extra: str) -> None:
    """Import what fenced HTTP needs.

    Raises:
        MissingExtraError: if it is not installed; the message names `part` and `extra`.
    """
    try:
        import aiohttp  # noqa: F401
        import ssrfguard  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(part, extra) from error


@dataclass(frozen=True)
class Response:
    """What a receiver answered.

    Attributes:
        status: the HTTP status code.
        retry_after_seconds: from `Retry-After` (RFC 9110 section 10.2.3), or None.
        body: its first 16 KiB.
    """

    status: int
    retry_after_seconds: float | None
    body: bytes


class FencedHttp:
    """Posts to addresses on the public internet, by one session for each event loop.

    Args:
        allow_private: also reach loopback and private networks (RFC 1918, RFC 4193). Link-local
            addresses and the metadata services of clouds stay refused.
        timeout_seconds: for the whole of one request: look-up, connection, answer.
    """

    def __init__(self, *, allow_private: bool = False, timeout_seconds: float = 15.0) -> None:
        self._allow_private = allow_private
        self._timeout_seconds = timeout_seconds
        # Of its own: whoever's name server is slow holds up nobody else.
        self._look_ups = ThreadPoolExecutor(
            _LOOK_UPS_AT_ONCE, thread_name_prefix="safeguards-look-up"
        )
        self._sessions = PerLoop(self._new_session, _close_session)

    async def post(self, url: str, body: bytes, headers: dict[str, str]) -> Response:
        """Post `body` to `url` once and return the answer, whatever its status.

        Raises:
            PermanentDeliveryError: the address is not one that may be called.
            TransientDeliveryError: no answer: time-out, refused or broken connection.
        """
        import aiohttp
        import ssrfguard

        host = "the receiver"
        try:
            host, parsed = self._check(url)
            async with self._sessions.get().post(
                parsed, data=body, headers=headers, allow_redirects=False
            ) as response:
                content = await _read(response.content)
                wait = retry_after_seconds(response.headers.get("Retry-After"))
                return Response(response.status, wait, content)
        except (ssrfguard.BlockedURLError, ssrfguard.BlockedAddressError) as error:
            # Only the reason: a webhook's URL is often a secret.
            reason = f"this address may not be called: {error.reason}"
            raise PermanentDeliveryError(reason) from None
        except ValueError:
            raise PermanentDeliveryError("this address is not a valid URL") from None
        except TimeoutError:
            seconds = f"{self._timeout_seconds:g} s"
            raise TransientDeliveryError(f"no answer from {host} within {seconds}") from None
        except (aiohttp.ClientError, OSError) as error:
            kind = type(error).__name__
            raise TransientDeliveryError(f"no connection to {host}: {kind}") from None

    def _check(self, url: str) -> tuple[str, URL]:
        """Return the host, and the URL as the client understands it."""
        from yarl import URL

        policy = address_policy(self._allow_private)
        host = policy.check_url(url).host
        parsed = URL(url)
        # The resolver checks names; addresses pass it by. The client's own reading of the URL is
        # what it connects to, should the two ever differ.
        with contextlib.suppress(ValueError):
            policy.check_address(ip_address(parsed.raw_host or ""))
        return host, parsed

    async def aclose(self) -> None:
        """Close the running event loop's session."""
        await self._sessions.aclose()

    def close_all(self) -> None:
        """Close every event loop's session, from any thread."""
        self._sessions.close_all()

    def _new_session(self) -> aiohttp.ClientSession:
        import aiohttp

        connector = aiohttp.TCPConnector(
            limit=_CONNECTIONS,
            resolver=_checking_resolver(self._allow_private, self._look_ups),
            keepalive_timeout=_KEEP_ALIVE_SECONDS,
        )
        return aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=self._timeout_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            headers={"User-Agent": "Safeguards", "Accept-Encoding": "identity"},
        )


def check_response(response: Response) -> None:
    """Return if the receiver took the message.

    Raises:
        TransientDeliveryError: 408, 429 and 5xx, with what `Retry-After` asks for.
        ReceiverGoneError: 410.
        PermanentDeliveryError: 3xx, and every other 4xx.
    """
    status = response.status
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise PermanentDeliveryError(f"answered {status}: redirects are not followed")
    if status in (408, 429) or status >= 500:
        raise TransientDeliveryError(f"answered {status}", response.retry_after_seconds)
    if status == 410:
        raise ReceiverGoneError("answered 410: the receiver is gone for good")
    raise PermanentDeliveryError(f"answered {status}")


def retry_after_seconds(value: str | None) -> float | None:
    """Return what a `Retry-After` header asks for, in seconds (RFC 9110 section 10.2.3).

    At most a day; None if there is no such header or it makes no sense.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        seconds = float(value[:20])
    else:
        try:
            at = parsedate_to_datetime(value)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
        seconds = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(math.ceil(seconds), 0.0), MAX_RETRY_AFTER_SECONDS)


async def _read(content: aiohttp.StreamReader) -> bytes:
    body = b""
    while len(body) < MAX_RESPONSE_BYTES:
        chunk = await content.read(MAX_RESPONSE_BYTES - len(body))
        if not chunk:
            break
        body += chunk
    return body


async def _close_session(session: aiohttp.ClientSession) -> None:
    await session.close()


def _checking_resolver(allow_private: bool, look_ups: ThreadPoolExecutor) -> AbstractResolver:
    import ssrfguard
    from aiohttp.abc import AbstractResolver, ResolveResult

    class CheckingResolver(AbstractResolver):
        """Looks a name up once, and answers only addresses that may be called."""

        async def resolve(
            self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
        ) -> list[ResolveResult]:
            target = ssrfguard.Target("https", host, port, host)
            policy = address_policy(allow_private)
            look_up = partial(ssrfguard.resolve, target, policy=policy)
            answers = await asyncio.get_running_loop().run_in_executor(look_ups, look_up)
            return [
                ResolveResult(
                    hostname=host,
                    host=str(answer.sockaddr[0]),
                    port=port,
                    family=answer.family,
                    proto=0,
                    flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                )
                for answer in answers
                if family in (socket.AF_UNSPEC, answer.family)
            ]

        async def close(self) -> None:
            """Nothing is held between look-ups."""

    return CheckingResolver()
