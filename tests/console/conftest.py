"""One running stack for all tests of the console, what agents ask of it, and who looks at it.

A test that uses `signed_in` fails if any page that it opened complained of anything: an error, a
violation of the content security policy, a request to another host. Each test asks by an agent of
its own, so that tests do not disturb each other:

    pytestmark = pytest.mark.asyncio(loop_scope="session")

    async def test_the_page(signed_in: Visits, ask: Asking) -> None:
        approval = ask({"amount": "2500.00"}, action_type="purchase", title="Buy chairs")
        page = await signed_in("alex", PHONE, "dark")
        await page.goto(f"/console/requests/{approval['id']}")
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx2
import pytest
import pytest_asyncio

from safeguards.types import AlertSeverity
from safeguards_runtime.records.approval import Approval
from safeguards_runtime.records.record import Change
from safeguards_runtime.store import Store
from tests.console.people import APPROVALS, REVIEWERS, RULES
from tests.console.places import NAMES, Place, places_of
from tests.console.scene import Scene
from tests.console.visiting import Visits, visits
from tests.deploy.running import eventually
from tests.stack import Stack

if TYPE_CHECKING:
    from playwright.async_api import Browser, StorageState

SETTINGS = {
    # So many that only the scene's newsletters become a digest.
    "SAFEGUARDS_MESSAGES_PER_AGENT": "6",
    "SAFEGUARDS_MESSAGE_WINDOW_SECONDS": "10",
}

Asking = Callable[..., dict[str, Any]]
"""Ask people: `ask(context, title=…, action_type=…, **submission)`. Returns the approval's view."""

Rated = Callable[[str, AlertSeverity], Awaitable[None]]


@pytest.fixture(scope="session")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack that all tests of the console share; who kills parts starts their own."""
    with Stack(
        tmp_path_factory.mktemp("console"),
        channels=("email",),
        timeout_seconds=4 * 3600,
        more_approvals=APPROVALS,
        more_rules=RULES,
        reviewers=REVIEWERS,
        settings=SETTINGS,
    ) as running:
        yield running


@pytest.fixture(scope="session")
def asking_http(console: Stack) -> Iterator[httpx2.Client]:
    """A client with a key that may act for any agent."""
    with console.http() as http:
        yield http


@pytest.fixture
def agent_id(request: pytest.FixtureRequest) -> str:
    """An agent of this test's own, by whose id its requests are found."""
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower())
    return f"{words.strip('-')[:24].strip('-')}-{uuid4().hex[:6]}"


@pytest.fixture
def ask(asking_http: httpx2.Client, agent_id: str) -> Asking:
    """Ask people directly, of medium risk: `action_type` is one of `people.APPROVALS`."""

    def asking(
        context: dict[str, Any] | None = None, *, action_type: str = "purchase", **body: Any
    ) -> dict[str, Any]:
        arguments = {"amount": "2500.00", "currency": "EUR"} if context is None else context
        given = {"agent_id": agent_id, "title": "Buy 12 chairs from ACME", **body}
        given["metadata"] = {"action_type": action_type, **arguments}
        answer = asking_http.post("/request-approval", json=given)
        assert answer.status_code == 202, answer.text
        approval: dict[str, Any] = answer.json()
        return approval

    return asking


@pytest.fixture
def submit(asking_http: httpx2.Client, agent_id: str) -> Asking:
    """Submit an action that is judged: `book_travel`, of high risk from 1000.01 on, or
    `erase_archive`, which is critical. Returns the approval's view."""

    def submitting(
        context: dict[str, Any] | None = None, *, action_type: str = "book_travel", **body: Any
    ) -> dict[str, Any]:
        arguments = {"amount": "4200.00", "currency": "EUR"} if context is None else context
        given = {"agent_id": agent_id, "action_type": action_type, "context": arguments, **body}
        answer = asking_http.post("/actions", json=given)
        assert answer.status_code == 202, answer.text
        approval: dict[str, Any] = {}

        def is_open() -> bool:
            action = asking_http.get(f"/actions/{answer.json()['id']}").json()
            if action.get("approval_id"):
                found = asking_http.get(f"/approvals/{action['approval_id']}")
                approval.update(found.json() if found.status_code == 200 else {})
            return bool(approval)

        eventually(is_open, f"people are asked about {action_type}")
        return approval

    return submitting


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def rated(console: Stack) -> AsyncIterator[Rated]:
    """Give an approval another risk: `await rated(approval["id"], AlertSeverity.INFO)`.

    No safeguard of ours finds anything of low risk, so its record is written.
    """
    store = Store(console.setting("SAFEGUARDS_STORE_URL"))

    async def rating(approval_id: str, severity: AlertSeverity) -> None:
        def rule(approval: Approval | None, now: Any) -> Change:
            assert approval is not None
            after = approval.model_copy(update={"severity": severity})
            return Change(approval, after, "rated", "test", now, {})

        assert await store.apply(approval_id, Approval, rule)

    try:
        yield rating
    finally:
        await store.close()


@pytest.fixture(scope="session")
def places(console: Stack, asking_http: httpx2.Client) -> dict[str, Place]:
    """Every page in every state, by the names in `places.NAMES`."""
    scene = Scene(console, asking_http)
    scene.play()
    found = places_of(scene)
    assert sorted(found) == sorted(NAMES)
    return found


@pytest.fixture
def review_link(console: Stack) -> Callable[[dict[str, Any], str], str]:
    """Return the path of the link that was mailed to a reviewer about an approval."""

    def finding(approval: dict[str, Any], to: str = "alex") -> str:
        address = f"{to}@example.com"
        mail = console.smtp.wait_for(
            lambda mail: mail.recipients == (address,) and approval["agent_id"] in mail.text, 30
        )
        found = re.search(r"https?://[^\s/]+(/review/\S+)", mail.text)
        assert found
        return found[1]

    return finding


@pytest.fixture(scope="session")
def signed_in_before() -> dict[str, StorageState]:
    """The cookies of those who have signed in, by their ids."""
    return {}


@pytest_asyncio.fixture(loop_scope="session")
async def signed_in(
    browser: Browser, console: Stack, signed_in_before: dict[str, StorageState]
) -> AsyncIterator[Visits]:
    """Pages of people who have signed in: `page = await signed_in("alex", PHONE, "dark")`."""
    async with visits(browser, console.url, console.passwords, signed_in_before) as made:
        yield made


@pytest.fixture(scope="session")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose gateway is killed; whoever stops all of it starts it again."""
    folder = tmp_path_factory.mktemp("mortal")
    with Stack(folder, channels=("log",), timeout_seconds=3600, reviewers=REVIEWERS) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def survivors(browser: Browser, mortal: Stack) -> AsyncIterator[Visits]:
    """Pages of people before the gateway that is killed."""
    async with visits(browser, mortal.url, mortal.passwords, {}) as made:
        # What a browser and its pages say when nobody answers.
        made.expect("ERR_|Failed to load resource|Failed to fetch")
        yield made


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures of pages are kept: PICTURES_DIRECTORY, if it is set."""
    given = os.environ.get("PICTURES_DIRECTORY")
    folder = Path(given) / "console" if given else tmp_path_factory.mktemp("pictures")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
