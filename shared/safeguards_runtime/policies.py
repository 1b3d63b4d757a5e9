"""Policies: which safeguards judge which actions, and on what terms people are asked."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from safeguards.contracts import Name, TimeoutSeconds, Verdict
from safeguards.plugins.industry import plain_name
from safeguards.types import AlertSeverity
from safeguards_runtime.configuration import ConfigurationModel, load_yaml
from safeguards_runtime.records.action import Terms

DEFAULT_TERMS = "default"

MAX_STEPS = 20
"""How many reminders, and how many steps of escalation, an approval may have."""

Globs = Annotated[tuple[str, ...], Field(min_length=1)]
Groups = Annotated[tuple[Name, ...], Field(min_length=1)]


class SafeguardConfig(ConfigurationModel):
    """One safeguard: the plugin, and what its `initialize` is given."""

    uses: str
    config: dict[str, Any] = {}


class EscalationConfig(ConfigurationModel):
    """One step of an escalation chain."""

    after_seconds: TimeoutSeconds
    """When these groups are asked as well, in seconds since the approval was opened."""

    groups: Groups
    channels: tuple[Name, ...] = ()
    """Those of the terms unless given."""


class TermsConfig(ConfigurationModel):
    """How people are asked."""

    groups: Groups
    """Whose members may answer, and are told."""

    channels: tuple[Name, ...] = ()
    """By name, in the order in which they are tried."""

    order: Literal["all", "chain"] = "all"
    """All channels at once; or one after the other, the next where the one before fails."""

    timeout_seconds: TimeoutSeconds = 300
    on_timeout: Literal["reject", "approve"] = "reject"
    editable: tuple[str, ...] = ()
    """The fields of the context that a reviewer may change; `*` for all."""

    remind_after_seconds: Annotated[tuple[TimeoutSeconds, ...], Field(max_length=MAX_STEPS)] = ()
    """When those who were asked are asked again, in seconds since the approval was opened."""

    escalation: Annotated[tuple[EscalationConfig, ...], Field(max_length=MAX_STEPS)] = ()
    """Who is asked as well while nobody answers: the last step at once if nobody is on duty."""

    working_hours: bool = False
    """Whether all these seconds count only while somebody of the groups is at work."""

    on_unreachable: Literal["wait", "escalate", "reject"] = "escalate"
    """What follows when no message has reached anybody who may answer."""

    sign_in_from: AlertSeverity | None = AlertSeverity.CRITICAL
    """From this severity on the link in a mail is not enough to answer by; `never`: it always is.
    """

    @field_validator("sign_in_from", mode="before")
    @classmethod
    def _never(cls, value: Any) -> Any:
        if value is None:
            raise ValueError("write a severity, or never")
        return None if value == "never" else value

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        steps = {
            "remind_after_seconds": self.remind_after_seconds,
            "escalation": tuple(step.after_seconds for step in self.escalation),
        }
        for what, seconds in steps.items():
            if any(later <= earlier for earlier, later in pairwise(seconds)):
                raise ValueError(f"{what}: each must come after the one before")
            if seconds and seconds[-1] >= self.timeout_seconds:
                raise ValueError(
                    f"{what}: {seconds[-1]} s is not before timeout_seconds, {self.timeout_seconds}"
                )
        return self

    def terms(self) -> Terms:
        """Return the terms as an approval's record keeps them."""
        return Terms.model_validate(self.model_dump())


class Match(ConfigurationModel):
    """Which actions a policy is for: globs, each list matched by any of its entries."""

    action_types: Globs = ("*",)
    agent_ids: Globs = ("*",)

    def fits(self, agent_id: str, action_type: str) -> bool:
        """Tell whether an action is meant, in whatever case and with whatever separators its type
        is written: `Delete-Patient` is for `*patient*` and `delete_*`."""
        kind = plain_name(action_type)
        return any(fnmatchcase(agent_id, glob) for glob in self.agent_ids) and any(
            fnmatchcase(kind, re.sub(r"[\s-]+", "_", glob.casefold())) for glob in self.action_types
        )


class Policy(ConfigurationModel):
    """What judges an action, and what follows from the alerts."""

    name: Name
    match: Match = Match()
    safeguards: tuple[str, ...] = ()
    verdicts: dict[AlertSeverity, Verdict] = {
        AlertSeverity.INFO: Verdict.NOTIFY,
        AlertSeverity.WARNING: Verdict.REQUIRE_APPROVAL,
        AlertSeverity.ERROR: Verdict.REQUIRE_APPROVAL,
        AlertSeverity.CRITICAL: Verdict.DENY,
    }
    otherwise: Verdict = Verdict.ALLOW
    """The verdict where no safeguard raises an alert."""

    approval: str = DEFAULT_TERMS


class PolicyFile(ConfigurationModel):
    """The whole file. See `deploy/policies.yaml`, which explains itself."""

    version: Literal[1]
    safeguards: dict[str, SafeguardConfig] = {}
    approvals: dict[str, TermsConfig]
    policies: tuple[Policy, ...] = ()
    default_verdict: Verdict = Verdict.REQUIRE_APPROVAL

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        if DEFAULT_TERMS not in self.approvals:
            raise ValueError(f"approvals needs an entry {DEFAULT_TERMS!r}")
        seen: set[str] = set()
        for policy in self.policies:
            if policy.name in seen:
                raise ValueError(f"two policies are named {policy.name!r}")
            seen.add(policy.name)
            for name in policy.safeguards:
                if name not in self.safeguards:
                    raise ValueError(f"policy {policy.name!r}: unknown safeguard {name!r}")
            if policy.approval not in self.approvals:
                raise ValueError(f"policy {policy.name!r}: unknown approval {policy.approval!r}")
            missing = set(AlertSeverity) - set(policy.verdicts)
            if missing:
                names = ", ".join(sorted(missing))
                raise ValueError(f"policy {policy.name!r}: no verdict for {names}")
        return self

    def matching(self, agent_id: str, action_type: str) -> tuple[Policy, ...]:
        """Return every policy for an action, in the file's order."""
        return tuple(p for p in self.policies if p.match.fits(agent_id, action_type))

    def terms_for(self, agent_id: str, action_type: str) -> Terms:
        """Return how people are asked about an action that an agent asks them about directly."""
        matching = self.matching(agent_id, action_type)
        name = matching[0].approval if matching else DEFAULT_TERMS
        return self.approvals[name].terms()


def load_policies(path: Path) -> PolicyFile:
    """Read a policy file.

    Raises:
        ConfigurationError: naming each place that does not fit.
    """
    return load_yaml(path, PolicyFile)
