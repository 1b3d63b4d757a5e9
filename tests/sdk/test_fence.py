"""The fence around outgoing HTTP, against real servers. Only the look-up of names is replaced."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safeguards.errors import DeliveryError, PermanentDeliveryError, TransientDeliveryError
from safeguards.notifications.fenced_http import MAX_RESPONSE_BYTES, FencedHttp
from tests.receivers import HttpReceiver

PUBLIC = "93.184.216.34"


async def test_only_the_beginning_of_an_answer_is_read() -> None:
    """A receiver cannot fill our memory; the next webhook still arrives."""
    with HttpReceiver() as http:
        fenced = FencedHttp(allow_private=True)
        http.answer(body=b"x" * 5_000_000)
        assert len((await fenced.post(http.url(), b"", {})).body) == 16 * 1024
        assert (await fenced.post(http.url(), b"", {})).body == b""
        await fenced.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://[::1]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f.1:{port}/",
        "http://127.1:{port}/",
        "http://0.0.0.0:{port}/",
        "http://10.1.2.3/",
        "http://192.168.1.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://100.64.0.1/",
        "http://user:pass@example.com/",
        "ftp://example.com/",
        "http://",
        "not a url",
    ],
)
async def test_private_addresses_are_refused(url: str) -> None:
    """However they are written, and without a connection; the error does not repeat the URL."""
    with HttpReceiver() as http:
        fenced = FencedHttp(timeout_seconds=5)
        target = url.format(port=http.port)
        with pytest.raises(PermanentDeliveryError) as caught:
            await fenced.post(target, b"", {})
        assert target not in str(caught.value)
        await fenced.aclose()
        assert http.requests == []


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "[fd00:ec2::254]", "[fe80::1]", "224.0.0.1", "192.0.0.192"]
)
async def test_metadata_services_stay_refused_where_private_addresses_are_allowed(
    address: str,
) -> None:
    """`allow_private` means one's own network, not the cloud's keys."""
    fenced = FencedHttp(allow_private=True, timeout_seconds=2)
    with pytest.raises(PermanentDeliveryError, match="may not be called"):
        await fenced.post(f"http://{address}/", b"", {})
    await fenced.aclose()


async def test_a_name_is_resolved_once_and_the_answer_is_pinned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name that answers a public address first and a private one later gets nowhere."""
    answers = [["93.184.216.34", "127.0.0.1"], ["127.0.0.1"]]
    real = socket.getaddrinfo

    def rebinding(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host != "rebind.example":
            return real(host, port, *args, **kwargs)
        found = answers.pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in found]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with HttpReceiver() as http:
        for _ in range(2):
            fenced = FencedHttp()
            with pytest.raises(PermanentDeliveryError, match="may not be called"):
                await fenced.post(f"http://rebind.example:{http.port}/", b"", {})
            await fenced.aclose()
        assert http.requests == []
    assert answers == []


async def test_a_name_is_connected_to_at_the_address_that_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There is one look-up, and it is the checked one."""
    looked_up = []
    real = socket.getaddrinfo

    def counting(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        looked_up.append(host)
        return real("127.0.0.1" if host == "hook.example" else host, port, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", counting)
    with HttpReceiver() as http:
        fenced = FencedHttp(allow_private=True)
        answer = await fenced.post(f"http://hook.example:{http.port}/", b"{}", {})
        await fenced.aclose()
        assert answer.status == 200
        assert http.requests[0].headers["host"] == f"hook.example:{http.port}"
    assert looked_up.count("hook.example") == 1


@settings(deadline=None)
@given(st.text(max_size=30))
async def test_no_url_is_an_error_of_another_kind(rest: str) -> None:
    """An agent chooses its callback's address: whatever it is, the delivery only fails."""

    def nowhere(*_: Any, **__: Any) -> Any:
        raise socket.gaierror("no such name")

    fenced = FencedHttp(timeout_seconds=5)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", nowhere)
        for url in (f"http://{rest}", f"https://example.com{rest}", rest):
            with pytest.raises(DeliveryError):
                await fenced.post(url, b"", {})
    await fenced.aclose()


ALWAYS_REFUSED = {
    "this network": ["0.0.0.0", "0.1.2.3", "[::]"],  # noqa: S104 - it is refused
    "link-local": ["169.254.1.1", "[fe80::1]", "[fec0::1]"],
    "shared (RFC 6598)": ["100.64.0.1", "100.127.255.254"],
    "multicast": ["224.0.0.1", "239.255.255.255", "[ff02::1]", "[ff0e::1]"],
    "broadcast and reserved": ["255.255.255.255", "240.0.0.1"],
    "metadata, IPv4": ["169.254.169.254", "169.254.170.2", "192.0.0.192", "100.100.100.200"],
    "metadata, Azure": ["168.63.129.16"],
    "metadata, IPv6": [
        "[fd00:ec2::254]",
        "[fd00:ec2::23]",
        "[fd20:ce::254]",
        "[fd00:c1::a9fe:a9fe]",
        "[fd00:42::42]",
    ],
    "mapped": ["[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", f"[::ffff:{PUBLIC}]"],
    "translated": ["[::ffff:0:127.0.0.1]", "[::ffff:0:8.8.8.8]"],
    "compatible": ["[::127.0.0.1]", "[::8.8.8.8]"],
    "6to4": ["[2002:7f00:1::]", "[2002:a00:1::]", "[2002:808:808::1]", "192.88.99.1"],
    "Teredo": ["[2001::1]", "[2001:0:808:808::]"],
    "NAT64": ["[64:ff9b::a9fe:a9fe]", "[64:ff9b::6440:1]", "[64:ff9b:1::1]"],
    "documentation": ["192.0.2.1", "198.51.100.1", "203.0.113.1", "[2001:db8::1]", "[3fff::1]"],
    "benchmarking and others": ["198.18.0.1", "192.0.0.1", "[100::1]", "[5f00::1]"],
}

PRIVATE = {
    "loopback": ["127.0.0.1", "127.255.255.254", "[::1]"],
    "private": ["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.0.1"],
    "unique local": ["[fc00::1]", "[fd12:3456::1]"],
    "NAT64 of private ones": ["[64:ff9b::7f00:1]", "[64:ff9b::a00:1]"],
}


def of(ranges: dict[str, list[str]]) -> list[Any]:
    """Each address as a parameter that names its range."""
    return [
        pytest.param(address, id=f"{name} {address}")
        for name, addresses in ranges.items()
        for address in addresses
    ]


@contextmanager
def answering(**answers: list[list[str]]) -> Iterator[list[str]]:
    """Look these names up so (dots are `_`): the next list of addresses, or again the last.

    Yields the names that were looked up, in order.
    """
    real = socket.getaddrinfo
    names = {name.replace("_", "."): found for name, found in answers.items()}
    asked: list[str] = []

    def look_up(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in names:
            return real(host, port, *args, **kwargs)
        asked.append(host)
        found = names[host].pop(0) if len(names[host]) > 1 else names[host][0]
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (ip, port, 0, 0))
            if ":" in ip
            else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port))
            for ip in found
        ]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", look_up)
        yield asked


_watching: list[list[str]] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Note each connection, as the interpreter reports it, and let none leave this machine."""
    if event == "socket.connect" and _watching:
        address = str(arguments[1][0])
        _watching[-1].append(address)
        if address != "127.0.0.1":
            raise ConnectionRefusedError("tests stay on this machine")


@pytest.fixture(scope="module")
def audited() -> None:
    sys.addaudithook(_watch)  # there is no way to take one away


@pytest.fixture
def connected(audited: None) -> Iterator[list[str]]:
    """The addresses to which this process connects, in order."""
    _watching.append([])
    yield _watching[-1]
    _watching.clear()


@pytest.mark.parametrize("address", of(ALWAYS_REFUSED | PRIVATE))
@pytest.mark.parametrize("by_name", [False, True], ids=["address", "name"])
async def test_no_address_but_a_public_one_is_called(
    address: str, by_name: bool, connected: list[str]
) -> None:
    """Whether it stands in the URL or is what a name resolves to; without a connection."""
    fenced = FencedHttp(timeout_seconds=5)
    with answering(hook_example=[[address.strip("[]")]]):
        host = "hook.example" if by_name else address
        with pytest.raises(PermanentDeliveryError, match="may not be called"):
            await fenced.post(f"http://{host}:8080/", b"", {})
    await fenced.aclose()
    assert connected == []


@pytest.mark.parametrize("address", of(ALWAYS_REFUSED))
async def test_these_stay_refused_where_private_addresses_are_allowed(
    address: str, connected: list[str]
) -> None:
    """`allow_private` means one's own network, not the cloud's keys or other ways to write it."""
    fenced = FencedHttp(allow_private=True, timeout_seconds=5)
    with answering(hook_example=[[address.strip("[]")]]):
        for host in (address, "hook.example"):
            with pytest.raises(PermanentDeliveryError, match="may not be called"):
                await fenced.post(f"http://{host}/", b"", {})
    await fenced.aclose()
    assert connected == []


@pytest.mark.parametrize(
    "address", [PUBLIC, "2606:2800:220:1::1", "64:ff9b::5db8:d822"], ids=["IPv4", "IPv6", "NAT64"]
)
async def test_public_addresses_are_called(address: str, connected: list[str]) -> None:
    """The fence lets through what it should."""
    fenced = FencedHttp(timeout_seconds=5)
    with (
        answering(hook_example=[[address]]),
        pytest.raises(TransientDeliveryError, match="no connection"),
    ):
        await fenced.post("http://hook.example/", b"", {})
    await fenced.aclose()
    assert connected == [address]


@pytest.mark.parametrize("found", [[PUBLIC, "127.0.0.1"], ["::1", PUBLIC], [PUBLIC, "10.0.0.1"]])
async def test_one_private_answer_among_public_ones_refuses_the_name(
    found: list[str], connected: list[str]
) -> None:
    """Nobody's public receiver has a private address as well."""
    fenced = FencedHttp(timeout_seconds=5)
    with (
        answering(mixed_example=[found]),
        pytest.raises(PermanentDeliveryError, match="may not be called"),
    ):
        await fenced.post("http://mixed.example/", b"", {})
    await fenced.aclose()
    assert connected == []


async def test_a_name_that_is_public_first_and_private_next_is_never_called_privately(
    connected: list[str],
) -> None:
    """DNS rebinding: whichever look-up the answer comes with, it is that one which is checked."""
    with HttpReceiver() as http, answering(rebind_example=[[PUBLIC], ["127.0.0.1"]]) as asked:
        url = f"http://rebind.example:{http.port}/"
        for _ in range(3):
            fenced = FencedHttp(timeout_seconds=5)  # one that remembers nothing
            with pytest.raises(DeliveryError):
                await fenced.post(url, b"secret", {})
            await fenced.aclose()
        assert asked == ["rebind.example"] * 3
        assert connected == [PUBLIC]
        assert http.requests == []


async def test_what_was_checked_is_connected_to_whatever_the_name_answers_next(
    connected: list[str],
) -> None:
    """One look-up for one post: there is no second one whose answer could count."""
    answers = [["127.0.0.1"], ["169.254.169.254"]]
    with HttpReceiver() as http, answering(rebind_example=answers) as asked:
        fenced = FencedHttp(allow_private=True, timeout_seconds=5)
        answer = await fenced.post(f"http://rebind.example:{http.port}/", b"", {})
        await fenced.aclose()
    assert answer.status == 200
    assert asked == ["rebind.example"]
    assert connected == ["127.0.0.1"]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
async def test_proxies_of_the_environment_are_ignored(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would look names up itself, behind the fence."""
    with HttpReceiver() as proxy, HttpReceiver() as http:
        monkeypatch.setenv(name, proxy.url())
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        fenced = FencedHttp(allow_private=True, timeout_seconds=5)
        assert (await fenced.post(http.url("/direct"), b"", {})).status == 200
        await fenced.aclose()
        assert [request.path for request in http.requests] == ["/direct"]
        assert proxy.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_answers(status: int) -> None:
    """They are returned, not followed, even to an address that may be called."""
    with HttpReceiver() as http:
        http.answer(status, headers={"Location": http.url("/elsewhere")})
        fenced = FencedHttp(allow_private=True, timeout_seconds=5)
        assert (await fenced.post(http.url("/here"), b"", {})).status == status
        await fenced.aclose()
        assert [request.path for request in http.requests] == ["/here"]


@asynccontextmanager
async def endless(first: bytes, then: bytes) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """Answer with `first`, and with `then` again and again, until the client hangs up.

    Yields the URL, and what is set when it has.
    """
    hung_up = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(first)
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(then)
                await writer.drain()
                await asyncio.sleep(0.01)
        writer.close()
        hung_up.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", hung_up


@pytest.mark.parametrize(
    ("first", "then"),
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"x", id="body"),
        pytest.param(b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n", id="headers"),
        pytest.param(b"HTTP/1.1 200 ", b"O", id="status line"),
    ],
)
async def test_a_receiver_that_trickles_its_answer_is_cut_off(first: bytes, then: bytes) -> None:
    """The time-out is for the whole answer, not for each piece of it."""
    async with endless(first, then) as (url, hung_up):
        fenced = FencedHttp(allow_private=True, timeout_seconds=0.5)
        began = time.monotonic()
        with pytest.raises(TransientDeliveryError):
            await fenced.post(url, b"", {})
        assert time.monotonic() - began < 5
        await asyncio.wait_for(hung_up.wait(), 10)
        await fenced.aclose()


async def test_a_receiver_that_never_stops_answering_is_cut_off() -> None:
    """No more than a little is read, and the connection is not used again."""
    head = b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n"
    async with endless(head, b"x" * 65536) as (url, hung_up):
        fenced = FencedHttp(allow_private=True, timeout_seconds=10)
        answer = await fenced.post(url, b"", {})
        assert len(answer.body) == MAX_RESPONSE_BYTES
        await asyncio.wait_for(hung_up.wait(), 10)
        await fenced.aclose()
