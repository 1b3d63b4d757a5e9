"""What safeguards count over time: exact whoever counts, given back by what may not run."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest

from safeguards import Safeguards
from safeguards.contracts import ActionView, Verdict
from safeguards.identifiers import twin_id
from safeguards.plugins import Measure
from safeguards.plugins.windows import total
from safeguards_runtime.records import Action, Window
from safeguards_runtime.records.window import window_id
from safeguards_runtime.store import Store
from safeguards_runtime.topology import Service
from tests.deploy.running import eventually
from tests.stack import Stack

DAY = 24 * 3600

RULES: dict[str, Any] = {
    "safeguards": {
        "budget": {
            "uses": "spending",
            "config": {"limits": [{"per": "agent", "over": "day", "at_most": "1000.00"}]},
        },
        "strangers": {"uses": "first_time", "config": {"fields": ["payee"]}},
    },
    "policies": [
        {"name": "budget", "match": {"action_types": ["spend"]}, "safeguards": ["budget"]},
        {"name": "strangers", "match": {"action_types": ["pay"]}, "safeguards": ["strangers"]},
    ],
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with a second evaluator."""
    folder = tmp_path_factory.mktemp("windows")
    with (
        Stack(folder, channels=["email"], timeout_seconds=300, more_rules=RULES) as running,
        running.another(Service.EVALUATOR) as second,
    ):
        eventually(lambda: "ready" in second.output, "the second evaluator is ready")
        yield running


@pytest.fixture
def agent(stack: Stack) -> Safeguards:
    return stack.client()


def judged(agent: Safeguards, submitted: ActionView) -> ActionView:
    """Return an action once it has a verdict."""
    found = submitted

    def is_judged() -> bool:
        nonlocal found
        standing = agent.get(submitted.id)
        assert isinstance(standing, ActionView)
        found = standing
        return found.verdict is not None

    eventually(is_judged, "it is judged")
    return found


def spends(agent: Safeguards, agent_id: str, amount: str, **options: Any) -> ActionView:
    """Return what an agent wants to spend, judged."""
    return judged(agent, agent.submit(agent_id, "spend", {"amount": Decimal(amount)}, **options))


def held(stack: Stack, agent_id: str) -> Decimal:
    """Return how much of the day's budget is taken."""

    async def read() -> Decimal:
        store = Store(stack.setting("SAFEGUARDS_STORE_URL"))
        try:
            now, found = await store.load([await windows_of(store)])
            (window,) = found
            held = total(window.totals, DAY, now) if isinstance(window, Window) else None
            return held.amount if held else Decimal(0)
        finally:
            await store.close()

    async def windows_of(store: Store) -> str:
        """Return the one window that this agent's actions count in."""
        for record_id in await store.listed(f"actions:agent:{agent_id}", limit=1):
            action = await store.get(record_id, Action)
            assert action
            assert action.judgement
            for reservation in action.judgement.reservations:
                measure = Measure(reservation.name, DAY)
                assert reservation.window_id == window_id("budget", measure)
                return reservation.window_id
        raise AssertionError("the agent has counted nothing")

    return asyncio.run(read())


def test_two_evaluators_let_no_more_through_than_there_is(stack: Stack, agent: Safeguards) -> None:
    """A hundred at once want 30.00 each of 1000.00: thirty-three pass, people are asked about the
    others; and what is rejected of these makes room again, to the cent."""
    with ThreadPoolExecutor(16) as at_once:
        made = at_once.map(
            lambda _: agent.submit("crowd", "spend", {"amount": Decimal("30.00")}), range(100)
        )
        verdicts = list(at_once.map(lambda one: judged(agent, one), list(made)))
    passed = [one for one in verdicts if one.verdict is Verdict.ALLOW]
    waiting = [one for one in verdicts if one.verdict is Verdict.REQUIRE_APPROVAL]
    assert (len(passed), len(waiting)) == (33, 67)
    assert held(stack, "crowd") == Decimal("3000.00")
    assert all("1,000.00" in one.reasons[0] for one in waiting), waiting[0].reasons

    with ThreadPoolExecutor(8) as at_once:
        list(at_once.map(lambda one: rejected(stack, one), waiting))
    eventually(lambda: held(stack, "crowd") == Decimal("990.00"), "the rest is given back")
    assert spends(agent, "crowd", "10.01").verdict is Verdict.REQUIRE_APPROVAL
    assert held(stack, "crowd") == Decimal("1000.01")


def rejected(stack: Stack, action: ActionView) -> None:
    approval_id = twin_id("apr", action.id)

    def answer() -> bool:
        return stack.respond(approval_id, response="reject", comments="no").status_code == 200

    eventually(answer, "it is open and is rejected")


def test_what_is_withdrawn_or_runs_out_gives_back(stack: Stack, agent: Safeguards) -> None:
    assert spends(agent, "careful", "900.00").verdict is Verdict.ALLOW
    over = spends(agent, "careful", "200.00")
    assert over.verdict is Verdict.REQUIRE_APPROVAL
    late = spends(agent, "careful", "300.00", timeout_seconds=2)
    assert late.verdict is Verdict.REQUIRE_APPROVAL
    eventually(lambda: held(stack, "careful") == Decimal("1100.00"), "the time-out gives back")
    agent.cancel(over.id)
    eventually(lambda: held(stack, "careful") == Decimal("900.00"), "the withdrawal gives back")
    assert spends(agent, "careful", "100.00").verdict is Verdict.ALLOW
    assert spends(agent, "careful", "0.01").verdict is Verdict.REQUIRE_APPROVAL


def test_what_a_reviewer_changes_counts_as_changed(stack: Stack, agent: Safeguards) -> None:
    over = spends(agent, "modest", "1200.00")
    approval_id = twin_id("apr", over.id)
    eventually(
        lambda: (
            stack.respond(
                approval_id, response="modify", modifications={"amount": "250.00"}
            ).status_code
            == 200
        ),
        "it is open and is changed",
    )
    eventually(lambda: held(stack, "modest") == Decimal("250.00"), "it counts as changed")
    assert spends(agent, "modest", "750.00").verdict is Verdict.ALLOW
    assert spends(agent, "modest", "0.01").verdict is Verdict.REQUIRE_APPROVAL


def test_what_no_budget_has_room_for_takes_none_while_it_waits(
    stack: Stack, agent: Safeguards
) -> None:
    """It starves nobody, and counts once a person lets it through."""
    over = spends(agent, "greedy", "5000.00")
    assert over.verdict is Verdict.REQUIRE_APPROVAL
    assert spends(agent, "greedy", "1000.00").verdict is Verdict.ALLOW
    assert held(stack, "greedy") == Decimal("1000.00")
    approval_id = twin_id("apr", over.id)
    eventually(
        lambda: stack.respond(approval_id, response="approve").status_code == 200, "it is approved"
    )
    eventually(lambda: held(stack, "greedy") == Decimal("6000.00"), "it counts")


def test_a_payee_is_known_once_an_action_was_allowed(stack: Stack, agent: Safeguards) -> None:
    """Neither by asking nor by a rejection, and to this agent alone."""

    def pays(agent_id: str) -> ActionView:
        return judged(agent, agent.submit(agent_id, "pay", {"payee": "ACME"}))

    first = pays("payer")
    assert first.verdict is Verdict.REQUIRE_APPROVAL
    rejected(stack, first)
    again = pays("payer")
    assert again.verdict is Verdict.REQUIRE_APPROVAL
    approval_id = twin_id("apr", again.id)
    eventually(
        lambda: stack.respond(approval_id, response="approve").status_code == 200, "it is approved"
    )
    eventually(lambda: pays("payer").verdict is Verdict.ALLOW, "the payee is known")
    assert pays("other").verdict is Verdict.REQUIRE_APPROVAL
