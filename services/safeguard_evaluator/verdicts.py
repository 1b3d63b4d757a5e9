"""The verdict on an action: what the policies say of what the safeguards found. No I/O.

It is given in two steps. `inspect` does what takes time and needs the action alone: which policies
are for it, and what the safeguards find. `judge` says what follows, by what windows hold at that
moment: it may be repeated when they have moved on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from safeguards.contracts import AlertView, Verdict
from safeguards.errors import SafeguardsError
from safeguards.plugins import Measure, Safeguard, WindowSafeguard
from safeguards.plugins.texts import ACTION_TYPE
from safeguards.types import AlertSeverity, SafetyAlert
from safeguards_runtime.conditions import ConditionError
from safeguards_runtime.policies import Policy
from safeguards_runtime.policy_book import Plugin, PolicyBook, strictest
from safeguards_runtime.records.judgement import Clause, Judgement
from safeguards_runtime.records.terms import Terms
from safeguards_runtime.records.window import Ledger, reservations, window_id
from safeguards_runtime.remote_agent import RemoteAgent

log = structlog.get_logger(__name__)

AskPlugin = Callable[[Plugin, str, dict[str, Any]], Awaitable[list[SafetyAlert]]]
"""Has a plugin check an action of an agent, by its id, with these arguments. May raise
`TimeoutError`, or a `SafeguardsError` whose words follow the safeguard's name."""


class Judged(Protocol):
    """What is judged: an action, or what an agent proposes instead of what it asked for."""

    @property
    def id(self) -> str:
        """Its record's."""

    @property
    def agent_id(self) -> str:
        """Who wants to act."""

    @property
    def action_type(self) -> str:
        """What they want to do."""

    @property
    def context(self) -> dict[str, Any]:
        """With which arguments."""


@dataclass(frozen=True)
class Candidate:
    """A policy that is for an action.

    Attributes:
        policy: the policy.
        failure: why its condition could not be evaluated; None if it holds, or there is none.
    """

    policy: Policy
    failure: str | None = None


@dataclass(frozen=True)
class Found:
    """What a safeguard finds of an action by itself.

    Attributes:
        alerts: what is wrong with it.
        has_failed: whether it could not judge: then a person must decide.
        measures: what it counts of the action, if it judges by what came before.
    """

    alerts: tuple[SafetyAlert, ...] = ()
    has_failed: bool = False
    measures: tuple[Measure, ...] = ()


@dataclass(frozen=True)
class Inspection:
    """An action, the policies that are for it, and what their safeguards find of it.

    Attributes:
        asked: what is judged.
        book: what it is judged by.
        candidates: the policies, in their order.
        found: by the names of the safeguards.
    """

    asked: Judged
    book: PolicyBook
    candidates: tuple[Candidate, ...] = ()
    found: dict[str, Found] = field(default_factory=dict)

    @property
    def window_ids(self) -> frozenset[str]:
        """The windows that it is judged by, and counts in."""
        return frozenset(
            window_id(name, measure)
            for name, found in self.found.items()
            for measure in found.measures
        )


def candidates(asked: Judged, book: PolicyBook) -> tuple[Candidate, ...]:
    """Return the policies that match an action and whose condition holds, or cannot be told."""
    found = []
    for policy in book.index.matching(asked.agent_id, asked.action_type, asked.context):
        condition = book.conditions.get(policy.name)
        failure = None
        if condition is not None:
            try:
                if not condition.holds(asked.agent_id, asked.action_type, asked.context):
                    continue
            except ConditionError as error:
                failure = str(error)
        found.append(Candidate(policy, failure))
    return tuple(found)


def plugins_of(found: Iterable[Candidate], book: PolicyBook) -> frozenset[str]:
    """Return the plugins that must be asked, by name. They may take their time."""
    return frozenset(n for one in found for n in one.policy.safeguards if n in book.plugins)


def as_checked(action_type: str, context: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of an action as safeguards are given them: with its type. An argument of
    that name, which is something else, is looked at under another one."""
    given = dict(context)
    if given.get(ACTION_TYPE, action_type) != action_type:
        given[f"context.{ACTION_TYPE}"] = given[ACTION_TYPE]
    return {**given, ACTION_TYPE: action_type}


async def inspect(
    asked: Judged,
    book: PolicyBook,
    ask_plugin: AskPlugin,
    found: tuple[Candidate, ...] | None = None,
) -> Inspection:
    """Return what the safeguards find of an action. Those that are plugins are asked at once.

    Args:
        asked: the action.
        book: what it is judged by.
        ask_plugin: asks a plugin.
        found: its candidates, if they are known already.
    """
    policies = candidates(asked, book) if found is None else found
    names = dict.fromkeys(name for one in policies for name in one.policy.safeguards)
    context = as_checked(asked.action_type, asked.context)
    plugins = [name for name in names if name in book.plugins]
    answers = await asyncio.gather(
        *(_ask(ask_plugin, name, book.plugins[name], asked, context) for name in plugins)
    )
    answered = dict(zip(plugins, answers, strict=True))
    checked = {
        name: answered[name]
        if name in answered
        else _checked(name, book.safeguards[name], asked, context)
        for name in names
    }
    return Inspection(asked, book, policies, checked)


async def _ask(
    ask_plugin: AskPlugin, name: str, plugin: Plugin, asked: Judged, context: dict[str, Any]
) -> Found:
    try:
        return Found(tuple(await ask_plugin(plugin, asked.agent_id, context)))
    except TimeoutError:
        log.warning("a safeguard did not answer", safeguard=name, action_id=asked.id)
        why = f"{name} did not answer within {plugin.time_limit_seconds:g} s"
    except SafeguardsError as error:
        log.warning("a safeguard failed", safeguard=name, action_id=asked.id, error=str(error))
        why = f"{name} {error}"
    except Exception as error:
        log.exception("a safeguard failed", safeguard=name, action_id=asked.id)
        why = f"{name} could not judge this action ({type(error).__name__})"
    return _failed(why)


def _checked(name: str, safeguard: Safeguard, asked: Judged, context: dict[str, Any]) -> Found:
    agent = RemoteAgent(asked.agent_id)
    try:
        alerts = tuple(safeguard.check(agent, context))
        if isinstance(safeguard, WindowSafeguard):
            return Found(alerts, measures=tuple(safeguard.measures(agent, context)))
        return Found(alerts)
    except Exception as error:
        log.exception("a safeguard failed", safeguard=name, action_id=asked.id)
        return _failed(f"{name} could not judge this action ({type(error).__name__})")


def _failed(why: str) -> Found:
    alert = SafetyAlert("A safeguard failed", f"{why}: a person decides.", AlertSeverity.ERROR)
    return Found((alert,), has_failed=True)


@dataclass(frozen=True)
class _Finding:
    """What one policy says of an action."""

    policy: Policy
    verdict: Verdict
    clauses: tuple[Clause, ...]

    @property
    def counts(self) -> bool:
        """Whether it may decide: it is in force, and has something to say."""
        return self.policy.mode == "active" and bool(self.clauses or not self.policy.abstains)


def judge(inspection: Inspection, ledger: Ledger, halted: str | None = None) -> Judgement:
    """Return the verdict on an action: of the policies that decide, the strictest.

    Those of the highest priority decide; and, whatever the priority, a policy whose condition could
    not be evaluated, and one that abstains but for what its safeguards find. Nothing is counted:
    what is to be stands in `reservations`.

    Args:
        inspection: what the safeguards found.
        ledger: the windows that it names, as they stand.
        halted: why nothing of the kind may be done at all, if somebody has seen to that.
    """
    book = inspection.book
    if halted is not None:
        terms = _direct(inspection)
        return Judgement(verdict=Verdict.DENY, reasons=(halted,), terms=terms, version=book.version)
    found = _with_windows(inspection, ledger)
    findings = [_finding(one, found) for one in inspection.candidates]
    active = [finding for finding in findings if finding.counts]
    deciding, default = _deciding(inspection, active)
    verdict = max(
        [*(finding.verdict for finding in deciding), *([default] if default else [])],
        key=lambda one: one.rank,
    )
    strict = [finding for finding in deciding if finding.verdict is verdict]
    clauses = tuple(c for finding in strict for c in finding.clauses if c.verdict is verdict)
    reasons = [clause.words for finding in strict for clause in finding.clauses]
    if default is verdict:
        reasons.append(f"no policy is for actions of type {inspection.asked.action_type}")
    names = dict.fromkeys(name for one in deciding for name in one.policy.safeguards)
    measures = {
        name: one.measures
        for name, one in found.items()
        if verdict is not Verdict.DENY and isinstance(book.safeguards.get(name), WindowSafeguard)
    }
    return Judgement(
        verdict=verdict,
        alerts=tuple(_view(name, alert) for name in names for alert in found[name].alerts),
        reasons=tuple(dict.fromkeys(reasons)),
        policies=tuple(finding.policy.name for finding in strict),
        clauses=clauses,
        version=book.version,
        shadow=tuple(c for one in findings if one.policy.mode == "shadow" for c in one.clauses),
        terms=strictest([book.terms_of(finding.policy) for finding in strict])
        if strict
        else _direct(inspection),
        reservations=reservations(measures, ledger.now),
        counting=tuple(measures),
    )


def _direct(inspection: Inspection) -> Terms:
    asked = inspection.asked
    return inspection.book.terms_for(asked.agent_id, asked.action_type, asked.context)


def _deciding(
    inspection: Inspection, active: Sequence[_Finding]
) -> tuple[list[_Finding], Verdict | None]:
    """Return the policies that decide, and the default verdict where it counts beside them."""
    failed = {one.policy.name for one in inspection.candidates if one.failure is not None}

    def is_sure(finding: _Finding) -> bool:
        return not finding.policy.abstains and finding.policy.name not in failed

    priorities = [finding.policy.priority for finding in active if is_sure(finding)]
    if not priorities:
        return list(active), inspection.book.file.default_verdict
    highest = max(priorities)
    return [f for f in active if f.policy.priority == highest or not is_sure(f)], None


def _with_windows(inspection: Inspection, ledger: Ledger) -> dict[str, Found]:
    """Return what the safeguards found, with what they find by what came before."""
    asked = inspection.asked
    context = as_checked(asked.action_type, asked.context)
    found = {}
    for name, one in inspection.found.items():
        safeguard = inspection.book.safeguards.get(name)
        if isinstance(safeguard, WindowSafeguard) and not one.has_failed:
            totals = ledger.totals(name, one.measures)
            try:
                agent = RemoteAgent(asked.agent_id)
                alerts = safeguard.check_windows(agent, context, totals, ledger.now)
                one = Found((*one.alerts, *alerts), measures=one.measures)
            except Exception as error:
                log.exception("a safeguard failed", safeguard=name, action_id=asked.id)
                failure = _failed(f"{name} could not judge this action ({type(error).__name__})")
                one = Found(failure.alerts, has_failed=True, measures=one.measures)
        found[name] = one
    return found


def _finding(candidate: Candidate, found: dict[str, Found]) -> _Finding:
    policy = candidate.policy
    clauses = []
    if candidate.failure is not None:
        words = f"the condition of policy {policy.name} cannot be evaluated: {candidate.failure}"
        clauses.append(_clause(policy, "condition", Verdict.REQUIRE_APPROVAL, words))
    elif policy.least is not Verdict.ALLOW:
        part = "verdict" if policy.condition is None else "condition"
        words = policy.reason or f"policy {policy.name} asks for it"
        clauses.append(_clause(policy, part, policy.least, words))
    for name in policy.safeguards:
        for alert in found[name].alerts:
            verdict = policy.on_alert(alert.severity)
            if found[name].has_failed:
                verdict = max(verdict, Verdict.REQUIRE_APPROVAL, key=lambda one: one.rank)
            words = f"{alert.title}: {alert.description}"
            clauses.append(_clause(policy, f"safeguards.{name}", verdict, words))
    least = Verdict.ALLOW if candidate.failure is not None else policy.least
    verdict = max([least, *(clause.verdict for clause in clauses)], key=lambda one: one.rank)
    return _Finding(policy, verdict, tuple(clauses))


def _clause(policy: Policy, part: str, verdict: Verdict, words: str) -> Clause:
    return Clause(policy=policy.name, part=part, verdict=verdict, words=words)


def _view(safeguard: str, alert: SafetyAlert) -> AlertView:
    return AlertView(
        safeguard=safeguard,
        title=alert.title,
        description=alert.description,
        severity=alert.severity,
    )
