"""Permissions for more of the same: given while approving, used by the evaluators, taken back."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import pytest_asyncio

from safeguards.contracts import ResponseSubmission
from safeguards_runtime.messaging import make_app
from safeguards_runtime.records import Change, Grant, Halts, grant, halts
from safeguards_runtime.records.action import granted_index, uses_index
from safeguards_runtime.records.grant import GrantWish
from safeguards_runtime.records.halts import HALTS_ID, Subject
from safeguards_runtime.reviewers import Reviewer
from safeguards_runtime.settings import Settings
from safeguards_runtime.store import Store
from safeguards_runtime.topology import Service, Task
from services.gateway.approvals import judged
from tests.console.conftest import Asking
from tests.console.judging import small_targets, violations
from tests.console.visiting import Visits
from tests.deploy.running import Running, eventually
from tests.rendering.looking import DESKTOP, NARROWEST, PHONE
from tests.runtime.samples import assert_chained
from tests.stack import Stack

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = pytest.mark.asyncio(loop_scope="session")

TRIP: dict[str, Any] = {"amount": "4200.00", "currency": "EUR", "city": "Oslo", "nights": 3}
ALEX = Reviewer(id="alex", name="Alex", groups=frozenset({"reviewers"}))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def store(console: Stack) -> AsyncIterator[Store]:
    """The store of the running stack."""
    made = Store(console.setting("SAFEGUARDS_STORE_URL"))
    yield made
    await made.close()


@pytest.fixture
def second_evaluator(console: Stack) -> Iterator[Running]:
    """Another process that gives verdicts, beside the one of the stack."""
    with console.another(Service.EVALUATOR) as running:
        eventually(lambda: "ready" in running.output, "the second evaluator is ready")
        yield running


def evaluators(console: Stack) -> list[str]:
    """Return which evaluators have been given work."""
    app = make_app(Settings(broker_url=console.setting("SAFEGUARDS_BROKER_URL")))
    stats = app.control.inspect(timeout=5).stats() or {}
    app.close()
    return [name for name, found in stats.items() if found["total"].get(Task.EVALUATE.value)]


class Agent:
    """An agent that wants to book trips."""

    def __init__(self, http: httpx2.Client, agent_id: str) -> None:
        self._http = http
        self.id = agent_id

    def wants(self, **changes: Any) -> str:
        """Submit an action like the trip; return its id."""
        body = {"agent_id": self.id, "action_type": "book_travel", "context": {**TRIP, **changes}}
        answer = self._http.post("/actions", json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def verdict(self, action_id: str) -> dict[str, Any]:
        """Return an action once it is judged."""
        found: dict[str, Any] = {}

        def is_judged() -> bool:
            found.update(self._http.get(f"/actions/{action_id}").json())
            return found["verdict"] is not None

        eventually(is_judged, f"{action_id} is judged")
        return found


@pytest.fixture
def agent(asking_http: httpx2.Client, agent_id: str) -> Agent:
    return Agent(asking_http, agent_id)


async def given(store: Store, approval: dict[str, Any], **wish: Any) -> Grant:
    """Approve as Alex does in the console, and give a permission with it."""
    wanted = GrantWish(**{"lasts": "1 hour", "max_uses": 10, **wish})
    body = {"response": "approve", "version": approval["version"], "digest": approval["digest"]}
    submission = ResponseSubmission(**body)
    await judged(store, approval["id"], submission, ALEX, "console", wish=wanted)
    standing = await store.get(grant.grant_id(approval["id"]), Grant)
    assert standing
    return standing


async def test_a_reviewer_permits_the_next_like_this(
    signed_in: Visits, submit: Asking, agent: Agent
) -> None:
    """Alex approves and permits three more; the third kind of change is asked about; Sam takes it
    back, and then everything is asked about again."""
    approval = submit(TRIP)
    page = await signed_in("alex", PHONE)
    await page.goto(f"/console/requests/{approval['id']}")
    await page.get_by_text("And the next like this…").click()
    form = page.locator("#permission")
    await form.get_by_label("For 8 hours").check()
    await form.get_by_label("At most how many times").fill("3")
    await form.get_by_label("city").select_option("any")
    assert await form.get_by_label("amount").input_value() == "at_most"
    await page.get_by_role("button", name="Approve", exact=True).click()
    await page.get_by_text("This has been answered").wait_for()

    cheaper = agent.verdict(agent.wants(amount="3999.99", city="Bergen"))
    assert (cheaper["verdict"], cheaper["status"]) == ("allow", "APPROVED")
    assert cheaper["outcome"]["decided_by"] == f"grant:{grant.grant_id(approval['id'])}"
    assert "Alex" in cheaper["outcome"]["comments"]
    assert "use 1 of 3" in cheaper["outcome"]["comments"]
    for other in ({"amount": "4200.01"}, {"nights": 4}, {"currency": "USD"}, {"extra": "x"}):
        assert agent.verdict(agent.wants(**other))["verdict"] == "require_approval"

    sam = await signed_in("sam", DESKTOP)
    await sam.goto("/console/grants?whose=mine")
    assert await sam.get_by_text(agent.id).count() == 0
    await sam.get_by_role("link", name="All", exact=True).click()
    card = sam.locator(".grant", has_text=agent.id)
    await card.get_by_text("1 of 3 used").wait_for()
    await card.get_by_role("link", name="Revoke…").click()
    await sam.locator(".uses").get_by_text("Bergen").wait_for()
    await sam.locator("#revoke summary").click()
    await sam.get_by_role("button", name="Revoke", exact=True).click()
    await sam.get_by_text("Revoked by Sam").first.wait_for()
    assert agent.verdict(agent.wants())["verdict"] == "require_approval"


async def test_a_permission_for_ten_lets_ten_through(
    console: Stack, store: Store, submit: Asking, agent: Agent, second_evaluator: Running
) -> None:
    """Two evaluators and a hundred actions at once: ten pass, each as a use of its own, and people
    are asked about the others."""
    standing = await given(store, submit(TRIP), max_uses=10)
    with ThreadPoolExecutor(16) as at_once:
        ids = list(at_once.map(lambda n: agent.wants(amount=f"{1000 + n}.00"), range(100)))
        verdicts = list(at_once.map(agent.verdict, ids))
    passed = [one for one in verdicts if one["verdict"] == "allow"]
    assert len(passed) == 10
    assert {one["verdict"] for one in verdicts} == {"allow", "require_approval"}
    assert all(one["outcome"]["decided_by"] == f"grant:{standing.id}" for one in passed)
    numbers = [re.search(r"use (\d+) of 10", one["outcome"]["comments"]) for one in passed]
    assert sorted(int(found[1]) for found in numbers if found) == list(range(1, 11))
    assert len(await asyncio.to_thread(evaluators, console)) == 2, "one of them had nothing to do"

    used_up = await store.get(standing.id, Grant)
    assert used_up
    assert used_up.uses == 10
    history = await store.history(standing.id)
    assert_chained(history, used_up)
    told = [action_id for line in history for action_id in line.detail.get("actions", ())]
    assert sorted(told) == sorted(one["id"] for one in passed)
    listed = await store.listed(uses_index(standing.id), limit=100)
    assert sorted(listed) == sorted(told)
    assert sorted(await store.listed(granted_index(agent.id), limit=100)) == sorted(told)


async def test_a_permission_is_used_one_after_the_other_and_is_over_at_its_end(
    store: Store, submit: Asking, agent: Agent
) -> None:
    """Where two cover it, the one that ends first is used; used up, it covers nothing more."""
    longer = await given(store, submit(TRIP), lasts="7 days", max_uses=1)
    # With the first in force another question like this would not be asked.
    other = await given(store, submit({**TRIP, "amount": "9000.00"}), max_uses=1)
    decided = [agent.verdict(agent.wants()) for _ in range(3)]
    assert [one["outcome"] and one["outcome"]["decided_by"] for one in decided] == [
        f"grant:{other.id}",
        f"grant:{longer.id}",
        None,
    ]


async def test_who_has_left_permits_nothing(store: Store, submit: Asking, agent: Agent) -> None:
    """A permission holds as long as its giver may answer."""
    standing = await given(store, submit(TRIP))
    left = standing.model_copy(update={"given_by": "somebody-who-left"})

    def rule(_: Grant | None, now: Any) -> Any:
        return Change(standing, left, "rewritten", "test", now)

    await store.apply(standing.id, Grant, rule)
    assert agent.verdict(agent.wants())["verdict"] == "require_approval"


@pytest.mark.parametrize("subject", ["agent", "type"])
async def test_what_is_permitted_is_halted(
    console: Stack, store: Store, submit: Asking, ask: Asking, agent: Agent, subject: Subject
) -> None:
    """Halted, whatever it wants is denied with the reason, permitted or not; what it had asked
    stays answerable; then it goes on."""
    await given(store, submit(TRIP))
    asked = ask()
    name = agent.id if subject == "agent" else "book_*"
    assert await store.apply(
        HALTS_ID,
        Halts,
        lambda standing, now: halts.halt(
            standing, subject, name, by="reviewer:olga", reason="It books too much.", now=now
        ),
    )
    denied = agent.verdict(agent.wants())
    assert (denied["verdict"], denied["status"]) == ("deny", "REJECTED")
    what = f"{agent.id} is" if subject == "agent" else "actions of type book_* are"
    assert denied["reasons"] == [f"{what} halted by olga: It books too much."]
    with console.http() as http:
        body = {"agent_id": agent.id, "title": "Book", "metadata": {"action_type": "book_travel"}}
        refused = http.post("/request-approval", json=body)
    assert refused.status_code == 403
    assert refused.json()["type"].endswith(":halted")
    assert "olga" in refused.json()["detail"]
    assert console.respond(asked["id"], response="approve").status_code == 200

    await store.apply(
        HALTS_ID,
        Halts,
        lambda standing, now: halts.resume(standing, subject, name, by="reviewer:olga", now=now),
    )
    assert agent.verdict(agent.wants())["verdict"] == "allow"


async def test_new_arguments_are_judged_before_anybody_sees_them(
    console: Stack, store: Store, submit: Asking
) -> None:
    """What an agent answers a question with goes through the same policies; a permission does not
    answer for a person who is looking at it."""
    approval = submit(TRIP)
    await given(store, submit({**TRIP, "amount": "9000.00"}))
    asked = console.respond(approval["id"], response="ask", comments="Is there a cheaper one?")
    assert asked.status_code == 200, asked.text
    with console.http() as http:
        path = f"/approvals/{approval['id']}"
        body = {"answer": "Yes.", "context": {**TRIP, "amount": "900.00"}}
        answered = http.post(f"{path}/answers", json=body)
        assert answered.status_code == 200, answered.text
        eventually(
            lambda: http.get(path).json()["context"]["amount"] == "900.00", "it is judged anew"
        )
        now = http.get(path).json()
    assert now["status"] == "PENDING"
    assert now["version"] > approval["version"]
    assert now["reasons"] != approval["reasons"]


@pytest.mark.parametrize("who", ["robin", "sam"])
async def test_who_may_not_read_a_permission_sees_none(
    signed_in: Visits, store: Store, submit: Asking, agent: Agent, who: str
) -> None:
    """It shows arguments: only those see it who might have answered, and operators."""
    standing = await given(store, submit(TRIP))
    signed_in.expect("status of 404")
    page = await signed_in(who)
    answer = await page.goto(f"/console/grants/{standing.id}")
    assert answer
    assert answer.status == (404 if who == "robin" else 200)
    await page.goto("/console/grants")
    assert await page.get_by_text(agent.id).count() == (0 if who == "robin" else 1)


async def test_nothing_is_permitted_with_what_was_typed_wrong(
    signed_in: Visits, submit: Asking, store: Store
) -> None:
    """The page comes back with what was typed, and nothing is approved either."""
    approval = submit(TRIP)
    signed_in.expect("status of 422")
    page = await signed_in("alex")
    await page.goto(f"/console/requests/{approval['id']}")
    await page.get_by_text("And the next like this…").click()
    await page.get_by_label("For 1 hour").check()
    uses = page.get_by_label("At most how many times")
    await uses.evaluate("element => { element.type = 'text'; element.value = '1e3'; }")
    await page.get_by_role("button", name="Approve", exact=True).click()
    await page.get_by_text("a whole number from 1 to 1,000").wait_for()
    assert await page.get_by_label("For 1 hour").is_checked()
    assert await store.get(grant.grant_id(approval["id"]), Grant) is None


async def test_a_critical_request_offers_no_permission(
    signed_in: Visits, submit: Asking, ask: Asking
) -> None:
    """Nor does one that the agent has asked directly."""
    page = await signed_in("alex")
    for approval in (submit({"archive": "2019"}, action_type="erase_archive"), ask()):
        await page.goto(f"/console/requests/{approval['id']}")
        await page.get_by_role("button", name="Approve", exact=True).wait_for()
        assert await page.get_by_text("And the next like this…").count() == 0


HOSTILE = "<script>alert(1)</script> \u202egnp.exe\u200b {{7*7}}"


async def test_the_pages_in_all_windows(
    signed_in: Visits, store: Store, submit: Asking, agent: Agent, pictures: Path
) -> None:
    """Hostile texts are contained, nothing scrolls sideways, and axe-core finds nothing."""
    context = {**TRIP, "memo": HOSTILE, "a" * 150: "b" * 300, "ids": ["x"] * 30, "on": True}
    standing = await given(store, submit(context), rules={"memo": "any"})
    asking = agent.wants(**{k: v for k, v in context.items() if k not in TRIP}, amount="17.00")
    assert agent.verdict(asking)["verdict"] == "allow"
    request = submit({**context, "amount": "9999.00"})
    page = await signed_in("alex")
    for name, path in (
        ("grants", "/console/grants"),
        ("grant", f"/console/grants/{standing.id}"),
        ("permission", f"/console/requests/{request['id']}"),
    ):
        await page.goto(path)
        for summary in await page.locator(".permission summary, .revoke summary").all():
            await summary.click()
        for width, height in (DESKTOP, PHONE, NARROWEST):
            await page.set_viewport_size({"width": width, "height": height})
            assert await _overflow(page) <= 0, f"{name} at {width}"
            assert await small_targets(page) == []
            for scheme in ("light", "dark"):
                await page.emulate_media(color_scheme=scheme)
                assert await violations(page, colours_only=scheme == "dark") == []
                if "PICTURES_DIRECTORY" in os.environ:
                    picture = pictures / f"hostile-{name}-{width}-{scheme}.png"
                    await page.screenshot(path=picture, full_page=True)


async def _overflow(page: Page) -> int:
    return int(
        await page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
    )
