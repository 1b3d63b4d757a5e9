"""A gateway with nothing behind it but a store: enough to sign in, and quickly there."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx2
import yaml
from argon2 import PasswordHasher

from deploy.valkey import ValkeyServer, free_port
from safeguards_runtime.records import Account, Change, account
from safeguards_runtime.records.account import account_id
from safeguards_runtime.store import Store
from tests.deploy.running import Running, eventually

T = TypeVar("T")
CHEAP = PasswordHasher(time_cost=1, memory_cost=64)


def person(name: str, *roles: str, groups: tuple[str, ...] = ("reviewers",)) -> dict[str, Any]:
    """Return somebody of a reviewers file."""
    given = {"id": name, "name": name.capitalize(), "email": f"{name}@example.com"}
    return {**given, "groups": list(groups), "roles": list(roles or ("reviewer",))}


PEOPLE = [
    person("alex", "admin"),
    person("sam"),
    person("kim"),
    person("nora"),
    person("olga", "operator", groups=()),
]


class Door:
    """A running gateway.

    Attributes:
        url: where it is.
        environment: of a process that is to find it.
        passwords: what each reviewer signs in with; the last, Olga, has none.
    """

    def __init__(self, url: str, store_url: str, reviewers_file: Path) -> None:
        self.url = url
        self.store_url = store_url
        self.environment: dict[str, str] = {}
        self._reviewers_file = reviewers_file
        self.passwords = {p["id"]: f"{p['id']} opens the door" for p in PEOPLE if p["id"] != "olga"}

    def browser(self, **headers: str) -> Browser:
        """Return a client that keeps cookies, as a browser of this site sends its forms."""
        return Browser(self.url, headers)

    def signed_in(self, who: str = "sam") -> Browser:
        """Return a client of somebody who has signed in."""
        client = self.browser()
        answer = client.post("/sign-in", data={"name": who, "password": self.passwords[who]})
        assert answer.status_code == 303, answer.text
        return client

    def with_store(self, work: Callable[[Store], Awaitable[T]]) -> T:
        """Return the result of `work` on the store."""

        async def run() -> T:
            store = Store(self.store_url)
            try:
                return await work(store)
            finally:
                await store.close()

        # There may be an event loop in this thread already.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(lambda: asyncio.run(run())).result()

    def account(self, who: str) -> Account | None:
        """Return somebody's account as it stands."""
        return self.with_store(lambda store: store.get(account_id(who), Account))

    def write_people(self, people: list[dict[str, Any]]) -> None:
        """Write the reviewers file; it is in force within two seconds."""
        self._reviewers_file.write_text(yaml.safe_dump({"version": 1, "reviewers": people}))

    async def set_passwords(self, store: Store) -> None:
        """Give everybody their password, with hashes that cost little."""
        for name, password in self.passwords.items():
            given = CHEAP.hash(password)

            def rule(standing: Account | None, now: Any, n: str = name, h: str = given) -> Change:
                return account.password_set(standing, n, h, now, actor="operator")

            await store.apply(account_id(name), Account, rule)


class Browser(httpx2.Client):
    """A client that keeps the cookies that a browser would keep, and sends them as it would.

    `http://127.0.0.1` is a trustworthy place for browsers, which take `Secure` cookies from it;
    Python's cookie jar does not know that.
    """

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        super().__init__(
            base_url=url, headers={"Sec-Fetch-Site": "same-origin", **headers}, verify=False
        )
        self.held: dict[str, str] = {}

    def __enter__(self) -> Self:
        """Close it at the end of the block, whether it has been used before or not."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send a request with the cookies, and keep those of its answer."""
        if self.held and "Cookie" not in request.headers:
            pairs = "; ".join(f"{name}={value}" for name, value in self.held.items())
            request.headers["Cookie"] = pairs
        response = super().send(request, **options)
        for line in response.headers.get_list("set-cookie"):
            name, _, rest = line.partition("=")
            value = rest.partition(";")[0].strip('"')
            self.held.pop(name, None)
            if value and "max-age=0" not in line.lower():
                self.held[name] = value
        return response

    def csrf(self) -> str:
        """Return the token of this session's forms."""
        page = self.get("/console/account").text
        return page.partition('name="csrf" value="')[2].partition('"')[0]


@contextlib.contextmanager
def open_door(folder: Path, **settings: str) -> Iterator[Door]:
    """A running gateway; it and its store end with the block.

    Args:
        folder: for its data and configuration.
        settings: further settings, by name.
    """
    reviewers_file = folder / "reviewers.yaml"
    with ValkeyServer.store(folder / "store") as server:
        port = free_port()
        door = Door(f"http://127.0.0.1:{port}", server.url, reviewers_file)
        door.write_people(PEOPLE)
        environment = {
            "SAFEGUARDS_STORE_URL": server.url,
            "SAFEGUARDS_BROKER_URL": server.url,
            "SAFEGUARDS_PUBLIC_URL": door.url,
            "SAFEGUARDS_REVIEWERS_FILE": str(reviewers_file),
            "SAFEGUARDS_CHANNELS_FILE": str(_channels(folder)),
            **settings,
        }
        clean = {k: v for k, v in os.environ.items() if not k.startswith("SAFEGUARDS_")}
        door.environment = {**clean, **environment}
        argv = ["-m", "uvicorn", "services.gateway.app:create_app", "--factory"]
        argv += ["--port", str(port), "--no-access-log"]
        with Running(argv, environment) as running:
            door.with_store(door.set_passwords)
            _wait_for(door, running)
            yield door


def _channels(folder: Path) -> Path:
    path = folder / "channels.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "channels": {"log": {"kind": "log"}}}))
    return path


def _wait_for(door: Door, running: Running) -> None:
    def is_up() -> bool:
        assert running.process.poll() is None, running.output
        try:
            return httpx2.get(f"{door.url}/readyz", verify=False).is_success
        except httpx2.HTTPError:
            time.sleep(0.05)
            return False

    eventually(is_up, "the gateway answers")
