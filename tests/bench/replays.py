"""Replay: recorded actions judged once more, by the policy file in force and by a changed one.

The actions are those of the cases of the ready-made policies, with other arguments each; all of
these policies are switched on, and the changed file has other limits for payments. Once as an
operator has it, by the command, with its start; and once in this process, by its processor time,
beside the least that it could cost: one verdict on each, by one file.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from datetime import timedelta
from itertools import cycle
from pathlib import Path

import yaml

from safeguards_runtime.configuration import load_yaml
from safeguards_runtime.policy_book import READY_MADE, ready_made_names
from services.safeguard_evaluator.command.cases import CaseFile
from services.safeguard_evaluator.replay.inspecting import Source
from services.safeguard_evaluator.replay.lines import Lines
from services.safeguard_evaluator.replay.report import Tally
from services.safeguard_evaluator.replay.rerun import rerun
from services.safeguard_evaluator.trying_out import MONDAY_NOON, Asked, Desk
from tests.bench.measurement import Measurement, in_turns, rates
from tests.bench.parts import Parts
from tests.bench.plan import Plan
from tests.bench.report import Figure, Goal

TOPIC = "actions replayed"
IN_FORCE = {
    "version": 1,
    "ready_made": list(ready_made_names()),
    "approvals": {"default": {"groups": ["reviewers"]}},
}
LIMITS = [{"per": "agent", "over": "day", "at_most": "5000.00"}]
CHANGED = {**IN_FORCE, "safeguards": {"payments.spending": {"config": {"limits": LIMITS}}}}
MINUTE = timedelta(minutes=1)


async def _replayed(parts: Parts, plan: Plan) -> list[Figure]:
    old, new = parts.folder / "in-force.yaml", parts.folder / "changed.yaml"
    old.write_text(yaml.safe_dump(IN_FORCE))
    new.write_text(yaml.safe_dump(CHANGED))
    many, few = parts.folder / "many.jsonl", parts.folder / "few.jsonl"
    number = _write(few, plan.replayed // 20)
    _write(many, plan.replayed)
    seconds = await _by_command(new, old, many)
    sources = Source.load(old), Source.load(new)
    with few.open("rb") as file:
        actions = list(Lines(file))

    async def ours() -> list[float]:
        begun_at = time.process_time()
        tally = Tally(*sources)
        with few.open("rb") as file:
            async for judged in rerun(Lines(file), *sources):
                tally.add(judged)
        found = tally.report(None, 0)
        assert found is not None
        assert found.actions == number
        return [number / (time.process_time() - begun_at)]

    async def base() -> list[float]:
        begun_at = time.process_time()
        desk = Desk(sources[0].book)
        for one in actions:
            desk.now = one.at
            await desk.allow(Asked(one.action_type, one.context, one.agent_id))
        return [number / (time.process_time() - begun_at)]

    turns = await in_turns({"ours": ours, "base": base}, plan.rounds)
    return [
        Figure(f"{TOPIC}: {plan.replayed:,} by the command", "s", seconds, goal=Goal.at_most(60)),
        rates(
            f"{TOPIC}: by two files, in process",
            turns,
            Goal.at_least(0.5),
            base_name="one verdict on each by one file",
        ),
    ]


def _write(path: Path, number: int) -> int:
    """Write so many actions, one a minute, each with arguments of its own; return the number."""
    files = [load_yaml(READY_MADE / f"{name}.cases.yaml", CaseFile) for name in ready_made_names()]
    known = [case.action for file in files for case in file.cases]
    with path.open("w") as file:
        for at, action in zip(range(number), cycle(known), strict=False):
            line = {
                "at": (MONDAY_NOON + at * MINUTE).isoformat(),
                "agent_id": f"agent-{at % 20}",
                "action_type": action.action_type,
                "context": {**action.context, "note": f"number {at}"},
            }
            file.write(json.dumps(line) + "\n")
    return number


async def _by_command(new: Path, old: Path, actions: Path) -> float:
    """Return the seconds that the command takes."""
    script = Path(sys.executable).with_name("safeguards")
    words = ["policy", "replay", str(new), "--against", str(old), "--from", str(actions), "--json"]
    begun_at = time.monotonic()
    process = await asyncio.create_subprocess_exec(script, *words, stdout=subprocess.DEVNULL)
    assert await process.wait() == 0
    return time.monotonic() - begun_at


REPLAYS = Measurement(TOPIC, _replayed)
