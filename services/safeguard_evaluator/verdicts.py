"""The verdict on an action: what the policies say of what the safeguards found. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import structlog

from safeguards.contracts import AlertView, Verdict
from safeguards.plugins.industry import IndustrySafeguard
from safeguards.types import Agent, AlertSeverity, SafetyAlert
from safeguards_runtime.policies import Policy, PolicyFile
from safeguards_runtime.records import Action
from safeguards_runtime.records.action import Judgement

log = structlog.get_logger(__name__)


class RemoteAgent(Agent):
    """An agent as the evaluator knows it: by its id only."""

    def run(self, **kwargs: object) -> object:
        """Refuse: the agent runs elsewhere."""
        raise TypeError("the evaluator judges actions; only the agent runs them")


@dataclass(frozen=True)
class _Finding:
    """What one policy says of an action."""

    policy: Policy
    verdict: Verdict
    alerts: tuple[AlertView, ...]
    reasons: tuple[str, ...]


def judge(
    action: Action, policies: PolicyFile, safeguards: Mapping[str, IndustrySafeguard]
) -> Judgement:
    """Return the verdict on `action`: of every policy that matches, the strictest.

    Args:
        action: what is to be judged.
        policies: the policy file in force.
        safeguards: initialized, by the names the policy file gives them.
    """
    matching = policies.matching(action.agent_id, action.action_type)
    if not matching:
        return Judgement(
            verdict=policies.default_verdict,
            reasons=(f"no policy is for actions of type {action.action_type}",),
            terms=policies.terms_for(action.agent_id, action.action_type),
        )
    findings = [_finding(action, policy, safeguards) for policy in matching]
    strictest = max(findings, key=lambda finding: finding.verdict.rank)
    deciding = [f for f in findings if f.verdict is strictest.verdict]
    return Judgement(
        verdict=strictest.verdict,
        alerts=tuple(alert for finding in findings for alert in finding.alerts),
        reasons=_unique(reason for finding in deciding for reason in finding.reasons),
        policies=tuple(finding.policy.name for finding in deciding),
        terms=policies.approvals[strictest.policy.approval].terms(),
    )


def _finding(
    action: Action, policy: Policy, safeguards: Mapping[str, IndustrySafeguard]
) -> _Finding:
    verdict = policy.otherwise
    alerts: list[AlertView] = []
    reasons = [] if verdict is Verdict.ALLOW else [f"policy {policy.name} asks for it"]
    for name in policy.safeguards:
        found, failed = _alerts(action, name, safeguards[name])
        alerts += found
        for alert in found:
            follows = policy.verdicts[alert.severity]
            if failed:
                follows = max(follows, Verdict.REQUIRE_APPROVAL, key=lambda v: v.rank)
            verdict = max(verdict, follows, key=lambda v: v.rank)
            reasons.append(f"{alert.title}: {alert.description}")
    return _Finding(policy, verdict, tuple(alerts), tuple(reasons))


def _alerts(
    action: Action, name: str, safeguard: IndustrySafeguard
) -> tuple[list[AlertView], bool]:
    """Return what a safeguard found, and whether it failed: then a person must decide."""
    agent = RemoteAgent(action.agent_id)
    context = {**action.context, "action_type": action.action_type}
    try:
        found = safeguard.validate_agent_action(agent, context)
        return [_view(name, alert) for alert in found], False
    except Exception as error:
        log.exception("a safeguard failed", safeguard=name, action_id=action.id)
        failure = SafetyAlert(
            title="A safeguard failed",
            description=f"{name} could not judge this action ({type(error).__name__})",
            severity=AlertSeverity.ERROR,
        )
        return [_view(name, failure)], True


def _view(safeguard: str, alert: SafetyAlert) -> AlertView:
    return AlertView(
        safeguard=safeguard,
        title=alert.title,
        description=alert.description,
        severity=alert.severity,
    )


def _unique(reasons: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(reasons))
