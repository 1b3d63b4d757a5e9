"""Evaluation by one policy, by 50 and by 1,000: what costs are those that are for an action.

Of the many, three are for the action that is judged, with conditions and a safeguard; the others
are for other types of actions or other agents, written out or as globs. Fifty are compared with
one; a thousand with the three alone. Once in this process, without I/O and by its processor time,
and once by the evaluator that `deploy.local` has started, whose policy file changes from turn to
turn.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from safeguards.client import AsyncSafeguards
from safeguards.contracts import ActionSubmission, Verdict
from safeguards.identifiers import new_id
from safeguards.types import SafetyAlert
from safeguards_runtime.policy_book import Plugin, load_policies
from safeguards_runtime.records import Action
from safeguards_runtime.records import action as action_rules
from safeguards_runtime.records.window import Ledger
from safeguards_runtime.store import Store
from services.safeguard_evaluator.verdicts import inspect, judge
from tests.bench import work
from tests.bench.measurement import Measurement, in_turns, rates, until
from tests.bench.parts import Parts
from tests.bench.plan import Plan
from tests.bench.report import Figure, Goal
from tests.bench.sides import AGENT_ID
from tests.bench.throughput import Ours

TOPIC = "evaluation by many policies"
MATCHING: list[dict[str, Any]] = [
    {
        "match": {"action_types": ["transaction", "transfer"]},
        "arguments": {"amount": "money"},
        "condition": 'money(context.amount) < money("1000.00")',
        "safeguards": ["finance"],
    },
    {
        "match": {"action_types": ["trans*"], "arguments": {"description": ["*supplies*"]}},
    },
    {
        "match": {"action_types": ["*action*"], "agent_ids": ["bench*"]},
        "arguments": {"amount": "money"},
        "condition": 'money(context.amount) > money("10000.00")',
        "verdict": "deny",
    },
]
VERBS = ("create", "delete", "invite", "reserve", "schedule", "send", "share", "update")
SIDES = (1, len(MATCHING), 50, 1000)

Turn = Callable[[int], Awaitable[list[float]]]
"""Has actions judged by so many policies; returns how many a second."""


def _policies(number: int) -> list[dict[str, Any]]:
    """Return so many policies, those first that match."""
    others = [_other(at) for at in range(len(MATCHING), number)]
    found = [*MATCHING[:number], *others]
    return [{"name": f"policy-{at}", **policy} for at, policy in enumerate(found)]


def _other(at: int) -> dict[str, Any]:
    """Return a policy that is not for the action: one in ten only for its agent's sake."""
    thing = f"{VERBS[at % len(VERBS)]}_thing_{at}"
    forms = (thing, f"{thing}_*", thing, f"*_{at}_thing*", thing)
    match: dict[str, Any] = {"action_types": [forms[at % len(forms)]]}
    if at % 10 == 0:
        match = {"action_types": ["transaction"], "agent_ids": [f"agent-{at}"]}
    condition = f'money(context.amount) > money("{at}.00")'
    types = {"amount": "money"}
    return {"match": match, "arguments": types, "condition": condition, "safeguards": ["finance"]}


async def _evaluated(parts: Parts, plan: Plan) -> list[Figure]:
    file = Path(parts.stack.environment["SAFEGUARDS_POLICIES_FILE"])
    shipped = file.read_text()  # noqa: ASYNC240 - nothing else runs on this loop
    files = {number: _file(shipped, number) for number in SIDES}
    here = await _turns(partial(_in_process, parts.folder, files, plan.inspections), plan.rounds)
    store = parts.store()
    key = parts.stack.agent_key.api_key
    async with (
        AsyncSafeguards(parts.stack.api, key) as agent,
        contextlib.aclosing(Ours(parts)) as ours,
    ):

        async def by_evaluator(number: int) -> list[float]:
            await _put_in_force(file, files[number], agent, store)
            return [await ours.verdicts(plan.judged)]

        try:
            there = await _turns(by_evaluator, plan.rounds)
        finally:
            await _put_in_force(file, shipped, agent, store)
            await store.close()
    return [*_figures("in process", here), *_figures("one evaluator", there)]


def _file(shipped: str, number: int) -> str:
    """Return the shipped policy file with so many policies in the place of its own."""
    return yaml.safe_dump({**yaml.safe_load(shipped), "policies": _policies(number)})


async def _turns(turn: Turn, rounds: int) -> dict[int, list[list[float]]]:
    """Let each number of policies take its turn, round by round."""
    turns = await in_turns({str(number): partial(turn, number) for number in SIDES}, rounds)
    return {number: turns[str(number)] for number in SIDES}


async def _in_process(
    folder: Path, files: dict[int, str], actions: int, number: int
) -> list[float]:
    """Have actions judged by so many policies; nothing is written. Per second of processor time."""
    path = folder / "policies.yaml"
    path.write_text(files[number])
    book = load_policies(path)
    submission = ActionSubmission(
        agent_id=AGENT_ID, action_type="transaction", context=work.ALLOWED
    )
    now = datetime.now(UTC)
    given = action_rules.submit(
        new_id("act"), submission, key_id=work.KEY_ID, owner=None, now=now
    ).after
    assert isinstance(given, Action)
    begun_at = time.process_time()
    for _ in range(actions):
        found = judge(await inspect(given, book, _nobody), Ledger({}, now))
        assert found.verdict is Verdict.ALLOW
    return [actions / (time.process_time() - begun_at)]


async def _nobody(plugin: Plugin, agent_id: str, context: dict[str, Any]) -> list[SafetyAlert]:
    raise AssertionError("no policy here has a plugin")


async def _put_in_force(file: Path, content: str, agent: AsyncSafeguards, store: Store) -> None:
    """Write the policy file, and have actions judged until one is judged by it."""
    file.write_text(content)  # noqa: ASYNC240 - nothing else runs on this loop
    version = load_policies(file).version

    async def is_in_force() -> bool:
        asked = await agent.submit(AGENT_ID, "transaction", work.ALLOWED)
        await agent.wait(asked)
        judged = await store.get(asked.id, Action)
        return judged is not None and getattr(judged.judgement, "version", None) == version

    await until(is_in_force, "the evaluator judges by other policies")


def _figures(where: str, turns: dict[int, list[list[float]]]) -> list[Figure]:
    one, matching, fifty, thousand = (turns[number] for number in SIDES)
    return [
        rates(
            f"{TOPIC}: 50, {where}",
            {"ours": fifty, "base": one},
            Goal.at_least(0.5),
            base_name="that by one policy",
        ),
        rates(
            f"{TOPIC}: 1,000, {where}",
            {"ours": thousand, "base": matching},
            Goal.at_least(0.8),
            base_name="that by the three of them that match",
        ),
    ]


POLICIES = Measurement(TOPIC, _evaluated)
