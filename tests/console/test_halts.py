"""The kill switch in the console: an agent, or a type of actions, is halted at once."""

from __future__ import annotations

from collections.abc import Iterator
from html import unescape
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from safeguards_runtime.records import Halts
from safeguards_runtime.records.halts import HALTS_ID
from safeguards_runtime.store import Store
from tests.console.conftest import Asking
from tests.console.doors import Browser
from tests.console.test_operations import exported, post, words
from tests.deploy.running import eventually
from tests.stack import Stack

pytestmark = pytest.mark.timeout(300)

WHY = "It <b>spends</b>\u202e"


@pytest.fixture
def olga(console: Stack) -> Iterator[Browser]:
    """An operator, who is no admin and no reviewer."""
    with Browser(console.url, {}) as client:
        form = {"name": "olga", "password": console.passwords["olga"]}
        assert client.post("/sign-in", data=form).status_code == 303
        yield client


@pytest.fixture
def kind() -> str:
    """A type of actions of this test's own, for which no policy is."""
    return f"pour_{uuid4().int % 10**8}"


@pytest.fixture
async def store(console: Stack) -> Any:
    """The stack's own store."""
    opened = Store(console.setting("SAFEGUARDS_STORE_URL"))
    yield opened
    await opened.close()


def begin(client: Browser, subject: str, name: str, reason: str = WHY, **more: str) -> Any:
    return post(client, "/console/halts/begin", subject=subject, name=name, reason=reason, **more)


def verdict(http: httpx2.Client, agent_id: str, action_type: str) -> dict[str, Any]:
    body = {"agent_id": agent_id, "action_type": action_type, "context": {}}
    action_id = http.post("/actions", json=body).json()["id"]
    found: dict[str, Any] = {}

    def is_judged() -> bool:
        found.update(http.get(f"/actions/{action_id}").json())
        return found.get("verdict") is not None

    eventually(is_judged, "it is judged")
    return found


def test_halting_an_agent_denies_all_that_it_wants(
    olga: Browser, asking_http: httpx2.Client, submit: Asking, agent_id: str
) -> None:
    """And it is told why; until somebody lets it go on."""
    submit({"amount": "10.00"})
    answer = begin(olga, "agent", agent_id)
    assert answer.status_code == 303
    denied = verdict(asking_http, agent_id, "book_travel")
    assert (denied["verdict"], denied["status"]) == ("deny", "REJECTED")
    words_of_it = f"{agent_id} is halted by olga: It <b>spends</b>⟨U+202E⟩"
    assert denied["reasons"] == [words_of_it]
    assert denied["outcome"]["comments"] == words_of_it
    for path in ("/console/halts", f"/console/agents/one?agent_id={agent_id}"):
        shown = olga.get(path)
        assert "by Olga" in words(shown)
        assert "It <b>spends</b>⟨U+202E⟩" in words(shown)
        assert "<b>spends" not in shown.text
    assert "Halted" in words(olga.get(f"/console/agents?q={agent_id}"))
    assert post(olga, "/console/halts/end", subject="agent", name=agent_id).status_code == 303
    assert verdict(asking_http, agent_id, "book_travel")["verdict"] == "require_approval"
    lines = exported(olga, agent=agent_id, kind="hlt")
    assert [(line["event"], line["actor"]) for line in lines] == [
        ("halted", "reviewer:olga"),
        ("resumed", "reviewer:olga"),
    ]
    assert lines[0]["detail"]["reason"] == WHY


def test_halting_a_type_denies_it_to_every_agent(
    olga: Browser, asking_http: httpx2.Client, ask: Asking, agent_id: str, kind: str
) -> None:
    """In any spelling; what it had asked people stays answerable, and new questions are refused."""
    asked = ask(action_type=kind)
    before = verdict(asking_http, agent_id, kind)
    assert begin(olga, "type", kind.upper().replace("_", "-")).status_code == 303
    for who, what in ((agent_id, kind), ("another", kind), (agent_id, kind.replace("_", "."))):
        assert verdict(asking_http, who, what)["verdict"] == "deny"
    assert verdict(asking_http, agent_id, f"{kind}_2")["verdict"] == before["verdict"]
    body = {"agent_id": "another", "title": "Pour", "metadata": {"action_type": kind}}
    refused = asking_http.post("/request-approval", json=body)
    assert refused.status_code == 403
    assert "halted by olga" in refused.json()["detail"]
    assert asking_http.get(f"/approvals/{asked['id']}").json()["status"] == "PENDING"
    assert post(olga, "/console/halts/end", subject="type", name=kind).status_code == 303
    assert asking_http.post("/request-approval", json=body).status_code == 202
    assert verdict(asking_http, agent_id, kind)["verdict"] == before["verdict"]


async def test_what_may_be_for_more_or_less_than_is_meant_is_asked_about(
    olga: Browser, store: Store, asking_http: httpx2.Client, agent_id: str, kind: str
) -> None:
    """A glob shows which types it is for; what has never been seen is likely to be misspelt."""
    verdict(asking_http, agent_id, f"{kind}_out")
    asks = begin(olga, "type", f" {kind}_* ")
    assert asks.status_code == 200
    assert f"{kind}_out" in words(asks)
    assert "It <b>spends</b>⟨U+202E⟩" in words(asks)
    assert "<b>spends" not in asks.text
    assert "Halt all actions ?" in words(begin(olga, "type", "*"))
    misspelt = begin(olga, "type", f"{kind}_oot")
    assert "No action of such a type" in words(misspelt)
    assert f'href="/console/halts?type={kind}_oot"' in misspelt.text
    assert "No agent of this name" in words(begin(olga, "agent", f"{agent_id}-too"))
    standing = await store.get(HALTS_ID, Halts)
    assert standing is None or standing.on(agent_id, f"{kind}_out") is None

    assert begin(olga, "type", f" {kind}_* ", is_sure="true").status_code == 303
    assert verdict(asking_http, agent_id, f"{kind}_out")["verdict"] == "deny"
    again = begin(olga, "type", f"{kind}.*", "For another reason")
    assert again.status_code == 303
    standing = await store.get(HALTS_ID, Halts)
    assert standing
    found = standing.find("type", f"{kind}_*")
    assert found
    assert found.reason == WHY.strip()
    post(olga, "/console/halts/end", subject="type", name=f"{kind}_*")


@pytest.mark.parametrize("subject", ["agent", "type"])
@pytest.mark.parametrize(
    ("name", "reason", "said"),
    [
        ("pour", "  ", "Say why"),
        ("pour", "x" * 501, "at most 500 characters"),
        ("", "why", "Say what"),
        ("x" * 201, "why", "more than 200 characters"),
        ("po\u200bur", "why", "cannot be seen"),
        ("po\x00ur", "why", "cannot be seen"),
    ],
)
def test_bad_input_is_refused_and_kept_in_the_form(
    olga: Browser, subject: str, name: str, reason: str, said: str
) -> None:
    answer = begin(olga, subject, name, reason)
    assert answer.status_code == 422
    assert said in words(answer)
    assert reason.strip() in unescape(answer.text)
    assert answer.text.count('aria-invalid="true"') == 1


def test_there_is_nothing_else_to_halt(olga: Browser) -> None:
    assert begin(olga, "policy", "x").status_code == 422


def test_a_request_leads_an_operator_to_the_form(
    console: Stack, olga: Browser, ask: Asking, agent_id: str
) -> None:
    """With its agent and its type in it. Others are not offered it."""
    path = f"/console/requests/{ask()['id']}"
    link = f"/console/halts?agent={agent_id}&type=purchase"
    with Browser(console.url, {}) as alex:
        alex.post("/sign-in", data={"name": "alex", "password": console.passwords["alex"]})
        assert link in unescape(alex.get(path).text)
        form = alex.get(link).text
        assert f'value="{agent_id}"' in form
        assert 'value="purchase"' in form
    with Browser(console.url, {}) as sam:
        sam.post("/sign-in", data={"name": "sam", "password": console.passwords["sam"]})
        assert "/console/halts" not in sam.get(path).text
