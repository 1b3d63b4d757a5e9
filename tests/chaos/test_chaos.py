"""The short form of `make chaos`: a few faults of several kinds, seeded, and six zeroes."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.chaos.checker import Invariant
from tests.chaos.faults import FAULTS, MIXED
from tests.chaos.load import Plan
from tests.chaos.trial import run

RATE = 15
SEED = 7


def test_nothing_is_lost_or_doubled_whatever_breaks(tmp_path: Path) -> None:
    """Services and servers are killed, messages thrown away and doubled, receivers fail."""
    result = asyncio.run(run(MIXED, tmp_path, seed=SEED, rate=RATE))
    assert result.violations == {invariant: [] for invariant in Invariant}
    assert result.strikes == MIXED.strikes
    assert result.kills > 0
    assert result.actions > 50


def test_a_seed_gives_the_same_load_again() -> None:
    """What each action is follows from the seed and its number; another seed gives others."""
    plans = [Plan.of(SEED, number) for number in range(200)]
    assert plans == [Plan.of(SEED, number) for number in range(200)]
    assert plans != [Plan.of(SEED + 1, number) for number in range(200)]
    assert {plan.way for plan in plans} == {"http", "queue", "direct"}
    responses = {answer.response for plan in plans for answer in plan.answers}
    assert responses == {"approve", "modify", "reject", "ask"}
    assert any(plan.withdrawn_after is not None for plan in plans)
    assert any(plan.timeout_seconds for plan in plans)
    assert any(len(plan.answers) > 1 for plan in plans)


def test_every_fault_has_a_name_of_its_own() -> None:
    """`--fault` finds each."""
    names = [fault.name for fault in (*FAULTS, MIXED)]
    assert len(set(names)) == len(names)
