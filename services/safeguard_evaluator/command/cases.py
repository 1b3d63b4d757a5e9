"""Cases: which verdict an action is to get, in a file `<name>.cases.yaml` beside the policies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

from pydantic import AwareDatetime, Field

from safeguards.contracts import ActionType, Content, Name, Verdict
from safeguards_runtime.configuration import ConfigurationModel, read_yaml
from safeguards_runtime.policy_book import READY_MADE, PolicyBook, load_policies
from safeguards_runtime.records.judgement import Judgement
from services.safeguard_evaluator.plugins import Plugins
from services.safeguard_evaluator.trying_out import MONDAY_NOON, Asked, Desk, ready_made

BEFORE = timedelta(hours=1)
"""How long before the action of a case that was allowed which it comes after."""


_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC)
"""Between which windows of time can be reckoned with."""


class CaseAction(ConfigurationModel):
    """An action, as an agent would ask for it."""

    agent_id: Name = "assistant"
    action_type: ActionType
    context: Content = {}

    def asked(self) -> Asked:
        """Return what is judged."""
        return Asked(self.action_type, self.context, self.agent_id)


class Expected(ConfigurationModel):
    """What is to come of it."""

    verdict: Verdict
    policies: tuple[str, ...] = ()
    """That lead to the verdict: these at least."""

    alerts: tuple[str, ...] = ()
    """By their titles: these at least."""


class Case(ConfigurationModel):
    """An action and its verdict."""

    name: Annotated[str, Field(min_length=1)]
    action: CaseAction
    after: tuple[CaseAction, ...] = ()
    """What was allowed an hour before, one after the other."""

    at: Annotated[AwareDatetime, Field(ge=_EARLIEST, lt=_LATEST)] = MONDAY_NOON
    """When it is judged."""

    expect: Expected


class CaseFile(ConfigurationModel):
    """The whole file."""

    policies: Path
    """The policy file, from where this one is; beside the ready-made policies, one of them."""

    cases: Annotated[tuple[Case, ...], Field(min_length=1)]


@dataclass(frozen=True)
class Failure:
    """A case that came out otherwise than it says.

    Attributes:
        path: the file.
        line: where the case begins, from 1.
        name: the case's.
        differences: what was expected and what came.
        reasons: why it came.
    """

    path: Path
    line: int
    name: str
    differences: tuple[str, ...]
    reasons: tuple[str, ...]


def cases_beside(policies: Path) -> Path:
    """Return where the cases of a policy file are."""
    return policies.with_name(f"{policies.stem}.cases.yaml")


def cases_of(file: Path) -> Path:
    """Return the cases that a file of them means, or the policy file that they are for."""
    beside = cases_beside(file)
    return beside if beside.exists() else file


async def run_cases(path: Path) -> tuple[int, list[Failure]]:
    """Judge the cases of a file; return how many there are, and those that failed.

    Raises:
        ConfigurationError: the file or the policies are wrong; names each place with its line.
    """
    document = read_yaml(path, CaseFile)
    lines = document.lines("cases")
    book = _book(path.parent / document.content.policies)
    failures = []
    plugins = Plugins()
    try:
        for at, case in enumerate(document.content.cases):
            judgement = await judge_case(case, book, plugins)
            differing = tuple(differences(case.expect, judgement))
            if differing:
                line = lines[("cases", at)]
                failures.append(Failure(path, line, case.name, differing, judgement.reasons))
    finally:
        await plugins.aclose()
    return len(document.content.cases), failures


async def judge_case(case: Case, book: PolicyBook, plugins: Plugins) -> Judgement:
    """Return the verdict on the action of a case."""
    desk = Desk(book, case.at.astimezone(UTC) - BEFORE, plugins)
    for before in case.after:
        await desk.allow(before.asked())
    desk.wait(BEFORE)
    return await desk.judge(case.action.asked())


def _book(policies: Path) -> PolicyBook:
    # The ready-made policies are no files that could be in force by themselves.
    if policies.parent.resolve() == READY_MADE.resolve():
        return ready_made(policies.stem)
    return load_policies(policies)


def differences(expected: Expected, judgement: Judgement) -> Iterator[str]:
    """Yield what was expected, and what came instead."""
    if judgement.verdict is not expected.verdict:
        yield f"expected {expected.verdict}, came {judgement.verdict}"
    titles = tuple(alert.title for alert in judgement.alerts)
    for what, wanted, came in (
        ("policies", expected.policies, judgement.policies),
        ("alerts", expected.alerts, titles),
    ):
        if missing := [name for name in wanted if name not in came]:
            words = ", ".join(came) or "none"
            yield f"expected of the {what}: {', '.join(missing)}; came: {words}"
