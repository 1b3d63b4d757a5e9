"""Actions judged once more: windows as they would have stood, and what comes of changed files."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from safeguards.contracts import Verdict
from safeguards.errors import SafeguardsError
from safeguards.types import ActionStatus
from safeguards_runtime.configuration import load_yaml
from safeguards_runtime.policies import ReadyMade, SafeguardConfig
from safeguards_runtime.policy_book import READY_MADE, PolicyBook, book_of, ready_made_names
from services.safeguard_evaluator.replay.inspecting import Source
from services.safeguard_evaluator.replay.recorded import Ending, RecordedAction
from services.safeguard_evaluator.replay.report import Report, Tally
from services.safeguard_evaluator.replay.rerun import Judged, rerun

MORNING = datetime(2026, 3, 2, 9, tzinfo=UTC)
ALLOW, ASK, DENY = Verdict.ALLOW, Verdict.REQUIRE_APPROVAL, Verdict.DENY


def book(*policies: dict[str, Any], limit: str = "100.00", **more: Any) -> PolicyBook:
    """Return policies; unless others are given, one that lets an agent spend so much a day."""
    spend = {"name": "spend", "match": {"action_types": ["pay"]}, "safeguards": ["spending"]}
    limits = [{"per": "agent", "over": "day", "at_most": limit}]
    return book_of(
        {
            "version": 1,
            "safeguards": {"spending": {"uses": "spending", "config": {"limits": limits}}},
            "approvals": {
                "default": {"groups": ["reviewers"]},
                "pair": {"groups": ["reviewers"], "quorum": 2},
            },
            "policies": list(policies or [spend]),
            "default_verdict": "allow",
            **more,
        }
    )


def source(policies: PolicyBook) -> Source:
    return Source(Path("policies.yaml"), policies)


def paid(amount: str, minutes: float = 0, **more: Any) -> RecordedAction:
    """Return a payment so many minutes after the morning began."""
    context = {"amount": amount, "currency": "EUR", "recipient": "ACME"}
    given = {"agent_id": "trader", "action_type": "pay", "context": context, **more}
    return RecordedAction(at=MORNING + timedelta(minutes=minutes), **given)


def ended(status: ActionStatus, minutes: float, **more: Any) -> Ending:
    return Ending(status=status, at=MORNING + timedelta(minutes=minutes), **more)


async def judged(
    actions: Iterable[RecordedAction], in_force: PolicyBook, changed: PolicyBook | None = None
) -> list[Judged]:
    sources = source(in_force), source(changed) if changed else None
    return [one async for one in rerun(actions, *sources)]


async def verdicts(*actions: RecordedAction, by: PolicyBook) -> list[Verdict]:
    return [one.before.verdict for one in await judged(actions, by)]


async def report(
    actions: Iterable[RecordedAction],
    in_force: PolicyBook,
    changed: PolicyBook | None = None,
    seconds: float | None = None,
) -> Report:
    tally = Tally(source(in_force), source(changed) if changed else None)
    for one in await judged(actions, in_force, changed):
        tally.add(one)
    found = tally.report(seconds, 0)
    assert found is not None
    return found


async def test_what_was_let_through_fills_a_window_until_it_has_passed() -> None:
    actions = [paid("60"), paid("60", 1), paid("40", 2), paid("100", 26 * 60)]
    assert await verdicts(*actions, by=book()) == [ALLOW, ASK, ASK, ALLOW]


async def test_what_a_person_refused_counts_until_they_did() -> None:
    refused = paid("50", 1, outcome=ended(ActionStatus.REJECTED, 10))
    actions = [paid("60"), refused, paid("5", 9), paid("35", 11)]
    assert await verdicts(*actions, by=book()) == [ALLOW, ASK, ASK, ALLOW]


@pytest.mark.parametrize("status", [ActionStatus.TIMED_OUT, ActionStatus.CANCELLED])
async def test_what_nobody_answered_counts_no_longer(status: ActionStatus) -> None:
    actions = [paid("101", outcome=ended(status, 5)), paid("100", 6)]
    assert await verdicts(*actions, by=book()) == [ASK, ALLOW]


async def test_what_was_approved_with_changes_counts_as_approved() -> None:
    context = {"amount": "30", "currency": "EUR", "recipient": "ACME"}
    lowered = ended(ActionStatus.MODIFIED, 5, context=context)
    actions = [paid("101", outcome=lowered), paid("70", 6), paid("0.01", 7)]
    assert await verdicts(*actions, by=book()) == [ASK, ALLOW, ASK]


async def test_a_refusal_does_not_bind_who_would_not_have_asked() -> None:
    """Nobody would have been there to refuse it."""
    refused = paid("101", outcome=ended(ActionStatus.REJECTED, 1))
    actions = [refused, paid("100", 2)]
    assert await verdicts(*actions, by=book(limit="200")) == [ALLOW, ASK]


async def test_what_policies_refused_says_nothing_of_what_people_would_say() -> None:
    """It was denied then; asked about, it counts as approved."""
    denied = ended(ActionStatus.REJECTED, 0, by="policy")
    actions = [paid("101", verdict=DENY, outcome=denied), paid("1", 1)]
    assert await verdicts(*actions, by=book()) == [ASK, ASK]


async def test_each_file_has_windows_of_its_own() -> None:
    found = await judged([paid("80"), paid("80", 1)], book(), book(limit="150.00"))
    assert [(one.before.verdict, one.after and one.after.verdict) for one in found] == [
        (ALLOW, ALLOW),
        (ASK, ASK),
    ]
    found = await judged([paid("80"), paid("60", 1)], book(), book(limit="150.00"))
    assert [(one.before.verdict, one.after and one.after.verdict) for one in found] == [
        (ALLOW, ALLOW),
        (ASK, ALLOW),
    ]


def _stream(seed: int, number: int) -> list[RecordedAction]:
    """Return payments of a few agents, of which people approved, changed and refused some."""
    drawn = random.Random(seed)
    actions = []
    minutes = 0.0
    for _ in range(number):
        minutes += drawn.expovariate(1 / 20)
        after = minutes + drawn.choice([0, 1, 30, 2000])
        context = {"amount": str(drawn.randint(1, 40)), "currency": "EUR", "recipient": "ACME"}
        outcome = drawn.choice(
            [
                None,
                ended(ActionStatus.APPROVED, after),
                ended(ActionStatus.REJECTED, after),
                ended(ActionStatus.MODIFIED, after, context=context),
                ended(ActionStatus.APPROVED, after, by="grant:grt_1"),
            ]
        )
        actions.append(
            paid(
                str(drawn.randint(1, 80)),
                minutes,
                agent_id=drawn.choice(["trader", "buyer"]),
                action_type=drawn.choice(["pay", "tip", "look"]),
                outcome=outcome,
            )
        )
    return actions


SPEND = {"name": "spend", "match": {"action_types": ["pay", "tip"]}, "safeguards": ["spending"]}
TIPS = {"name": "tips", "match": {"action_types": ["tip"]}, "safeguards": ["spending"]}
ON_TRIAL = {"name": "trial", "mode": "shadow", "priority": 1, "verdict": "deny"}


@pytest.mark.parametrize(
    "changed",
    [
        book(SPEND),
        book(SPEND, limit="150.00"),
        book(SPEND, {**TIPS, "verdict": "require_approval"}),
        book(SPEND, {**TIPS, "mode": "shadow"}),
        book(SPEND, ON_TRIAL),
        book(SPEND, default_verdict="deny"),
        book({**SPEND, "approval": "pair"}),
        book(SPEND, approvals={"default": {"groups": ["reviewers"], "quorum": 2}}),
        book(TIPS),
    ],
    ids=["same", "limit", "asks", "trial", "all", "default", "pair", "terms", "fewer"],
)
@pytest.mark.parametrize("seed", [1, 2])
async def test_what_is_judged_once_for_both_comes_out_as_if_each_were_alone(
    changed: PolicyBook, seed: int
) -> None:
    in_force = book(SPEND)
    actions = _stream(seed, 150)
    together = await judged(actions, in_force, changed)
    before = [one.before.verdict for one in await judged(actions, in_force)]
    alone = await judged(actions, changed)
    assert [one.before.verdict for one in together] == before
    assert [one.last.verdict for one in together] == [one.before.verdict for one in alone]
    assert [one.last.terms for one in together] == [one.before.terms for one in alone]
    assert [one.trials for one in together] == [one.trials for one in alone]
    assert {ALLOW, ASK} <= set(before)


FILE = """\
version: 1
safeguards:
  spending: {uses: spending, config: {limits: [{per: agent, over: day, at_most: "100.00"}]}}
approvals: {default: {groups: [reviewers]}}
policies:
  - {name: spend, match: {action_types: [pay, tip]}, safeguards: [spending]}
  - {name: buyers, match: {agent_ids: [buyer]}, condition: context.urgent == true, verdict: deny}
  - name: large
    match: {action_types: [tip]}
    condition: money(context.amount) > money("75")
    verdict: deny
default_verdict: allow
"""


@pytest.mark.parametrize("more", ["default_verdict: allow", "default_verdict: notify"])
async def test_a_second_process_that_inspects_ahead_changes_nothing(
    tmp_path: Path, more: str
) -> None:
    """Alerts, measures and conditions that fail come over as they are."""
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(FILE)
    new.write_text(FILE.replace("100.00", "150.00").replace("default_verdict: allow", more))
    actions = _stream(3, 450)
    sources = Source.load(old), Source.load(new)
    here = [one async for one in rerun(actions, *sources)]
    ahead = [one async for one in rerun(actions, *sources, ahead=True)]
    assert ahead == here
    reasons = {reason for one in here for reason in one.last.reasons}
    assert any("cannot be evaluated" in reason for reason in reasons)
    assert {ALLOW, ASK, DENY} <= {one.last.verdict for one in here}


async def test_a_file_that_changes_while_it_is_read_twice_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "old.yaml"
    path.write_text(FILE)
    stale = Source.load(path)
    path.write_text(FILE.replace("100.00", "150.00"))
    with pytest.raises(SafeguardsError, match="has changed"):
        await anext(rerun([paid("1")], stale, None, ahead=True))


def test_a_ready_made_safeguard_is_the_same_in_whichever_pack() -> None:
    """So that two files that know its name, and do not configure it, mean the same."""
    known: dict[str, SafeguardConfig] = {}
    for name in ready_made_names():
        for safeguard, config in load_yaml(
            READY_MADE / f"{name}.yaml", ReadyMade
        ).safeguards.items():
            assert known.setdefault(safeguard, config) == config


async def test_the_report_counts_what_each_file_says_and_what_moves() -> None:
    payments = {"name": "payments", "match": {"action_types": ["pay"]}}
    old = book({**payments, "verdict": "require_approval"}, {"name": "rest"})
    new = book({**payments, "verdict": "deny"}, {"name": "rest"})
    actions = [
        paid("1", id="first"),
        paid("1", 1, id="second", verdict=ASK),
        paid("1", 2, action_type="look", verdict=ALLOW),
    ]
    found = await report(actions, old, new)
    assert (found.actions, found.first_at, found.last_at) == (3, actions[0].at, actions[2].at)
    assert found.then.verdicts == {ASK: 1, ALLOW: 1}
    assert found.then.unknown == 1
    assert found.in_force.verdicts == {ASK: 2, ALLOW: 1}
    assert found.changed is not None
    assert found.changed.verdicts == {DENY: 2, ALLOW: 1}
    (move,) = found.moves
    assert (move.before, move.after, move.actions) == (ASK, DENY, 2)
    assert (move.action_types, move.policies_after) == ({"pay": 2}, {"payments": 2})
    assert move.examples == ("first", "second")


async def test_hours_are_of_all_who_must_answer() -> None:
    """A minute for each of two people."""
    payments = {"name": "payments", "verdict": "require_approval"}
    found = await report(
        [paid("1"), paid("1", 1)], book(payments), book({**payments, "approval": "pair"}), 60
    )
    assert found.changed is not None
    sides = (found.in_force, found.changed)
    assert [(s.effort.questions, s.effort.answers) for s in sides] == [(2, 2), (2, 4)]
    assert [s.effort.hours for s in sides] == [0.03, 0.07]
    assert found.seconds_from == "given"


async def test_an_answer_takes_as_long_as_most_have_taken() -> None:
    """One who left a request open over night does not count for more than another."""
    asking = book({"name": "payments", "verdict": "require_approval"})
    times = [20.0] * 6 + [40.0] * 4 + [50_000.0]
    known = [
        paid("1", n, outcome=ended(ActionStatus.APPROVED, n, by="alex", answer_seconds=(seconds,)))
        for n, seconds in enumerate(times)
    ]
    found = await report(known, asking)
    assert found.seconds_per_question == 20.0
    assert "11 recorded answers" in found.seconds_from
    few = await report(known[:3], asking)
    assert few.seconds_per_question == 120.0
    assert few.seconds_from.startswith("assumed")


async def test_what_a_grant_let_through_is_no_question() -> None:
    granted = ended(ActionStatus.APPROVED, 0, by="grant:grt_1")
    asking = book({"name": "payments", "verdict": "require_approval"})
    found = await report([paid("1", verdict=ALLOW, outcome=granted), paid("1", 1)], asking)
    assert found.in_force.verdicts == {ASK: 2}
    assert (found.in_force.granted, found.in_force.effort.questions) == (1, 1)
    assert (found.then.granted, found.in_force.unanswered) == (1, 1)


async def test_a_policy_on_trial_is_told_of_as_if_it_were_in_force() -> None:
    """What it would say, what it said then, and what that would change."""
    asking = {"name": "asks", "match": {"action_types": ["pay"]}, "verdict": "require_approval"}
    small = {"verdict": "allow", "condition": 'money(context.amount) < money("10")'}
    relaxed = {"name": "small", "mode": "shadow", "priority": 1, "match": {"action_types": ["pay"]}}
    strict = {"name": "strict", "mode": "shadow", "verdict": "deny"}
    actions = [
        paid("5"),
        paid("50", 1, shadow={"strict": DENY}),
        paid("5", 2, action_type="look"),
    ]
    found = await report(actions, book(asking, {**relaxed, **small}, strict))
    assert found.in_force.verdicts == {ASK: 2, ALLOW: 1}
    trials = {trial.policy: trial for trial in found.trials}
    assert trials["small"].actions == 1
    assert trials["small"].effort.questions == -1
    moves = [(move.before, move.after, move.actions) for move in trials["small"].if_active]
    assert moves == [(ASK, ALLOW, 1)]
    assert (trials["strict"].said, trials["strict"].said_then) == ({DENY: 3}, {DENY: 1})
    moves = [(move.before, move.after, move.actions) for move in trials["strict"].if_active]
    assert moves == [(ASK, DENY, 2), (ALLOW, DENY, 1)]
