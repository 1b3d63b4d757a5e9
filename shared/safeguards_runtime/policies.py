"""Policies: which safeguards judge which actions, and on what terms people are asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import AfterValidator, Field, WithJsonSchema, field_validator, model_validator

from safeguards.contracts import Name, TimeoutSeconds, Verdict
from safeguards.types import AlertSeverity
from safeguards_runtime.conditions import ArgumentType
from safeguards_runtime.configuration import ConfigurationModel
from safeguards_runtime.configuration_problems import Problem, hint
from safeguards_runtime.records.terms import AnsweredBy, FieldLimit, Terms

DEFAULT_TERMS = "default"

MAX_STEPS = 20
"""How many reminders, and how many steps of escalation, an approval may have."""

MAX_QUORUM = 20
"""How many people may have to approve one action."""

_CHARACTER_CLASS = re.compile(r"\[!?+\]?+[^\]]*\]")


def _closed(glob: str) -> str:
    """Refuse a bracket that none closes: hardly anybody means the character itself."""
    if "[" in _CHARACTER_CLASS.sub("", glob):
        raise ValueError(
            "no ] closes a [ in it: write [abc] for one of several characters, [[] for a [ itself"
        )
    return glob


Globs = Annotated[tuple[Annotated[str, AfterValidator(_closed)], ...], Field(min_length=1)]
Groups = Annotated[tuple[Name, ...], Field(min_length=1)]


MAX_POLICIES = 10_000
MAX_PRIORITY = 1000


_SIGN_IN_FROM = {"enum": [*(severity.value for severity in AlertSeverity), "never"]}


class SafeguardConfig(ConfigurationModel):
    """One safeguard: the plugin, and what its `initialize` is given."""

    uses: str | None = None
    """A built-in safeguard, or one of an entry point in the group `safeguards.plugins`. Where it
    is not given, the ready-made safeguard of this name gets further configuration."""

    config: dict[str, Any] = {}
    """What it is given; which keys it has is its own."""

    time_limit_seconds: Annotated[float, Field(gt=0, le=10)] = 1.0
    """How long one that is not built in may take to judge an action."""


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
    """How long people have to answer."""

    on_timeout: Literal["reject", "approve"] = "reject"
    """What it comes to if nobody answers in time. Silence approves only where somebody was told,
    nobody has asked anything, and what is shown has not changed since."""

    editable: tuple[str, ...] | dict[str, FieldLimit] = ()
    """The fields of the context that a reviewer may change, `*` for all; or each with its limits.
    """

    remind_after_seconds: Annotated[tuple[TimeoutSeconds, ...], Field(max_length=MAX_STEPS)] = ()
    """When those who were asked are asked again, in seconds since the approval was opened."""

    escalation: Annotated[tuple[EscalationConfig, ...], Field(max_length=MAX_STEPS)] = ()
    """Who is asked as well while nobody answers: the last step at once if nobody is on duty."""

    working_hours: bool = False
    """Whether all these seconds count only while somebody of the groups is at work."""

    on_unreachable: Literal["wait", "escalate", "reject"] = "escalate"
    """What follows when no message has reached anybody who may answer."""

    sign_in_from: Annotated[AlertSeverity | None, WithJsonSchema(_SIGN_IN_FROM)] = (
        AlertSeverity.CRITICAL
    )
    """From this severity on the link in a mail is not enough to answer by; `never`: it always is.
    """

    quorum: Annotated[int, Field(ge=1, le=MAX_QUORUM)] = 1
    """How many people must approve. One is enough to reject."""

    four_eyes: bool = False
    """Whether whoever changed what is shown does not count among those who approve it."""

    answer_by: Annotated[tuple[AnsweredBy, ...], Field(min_length=1)] = get_args(AnsweredBy)
    """The ways in which it may be answered; all of them unless given."""

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

    @model_validator(mode="after")
    def _silence_is_nobodys(self) -> Self:
        if self.on_timeout == "approve" and (self.quorum > 1 or self.four_eyes):
            raise ValueError(
                "on_timeout: approve does not go with quorum or four_eyes: silence is not the "
                "approval of several people"
            )
        return self

    @property
    def people_needed(self) -> int:
        """How many people there must be: those who approve, and beside them whoever changes what
        is asked, where that one does not count."""
        return self.quorum + (1 if self.four_eyes and self.editable else 0)

    def terms(self) -> Terms:
        """Return the terms as an approval's record keeps them."""
        given = self.model_dump(exclude={"editable"})
        limits = self.editable if isinstance(self.editable, dict) else {}
        return Terms.model_validate({**given, "editable": tuple(self.editable), "limits": limits})


class Match(ConfigurationModel):
    """Which actions a policy is for: globs, each list matched by any of its entries.

    A type of action is matched in any spelling of it, whatever separates its words:
    `Delete-Patient`, `delete/patient` and `deletePatient` are for `*patient*` and `delete_*`.
    """

    action_types: Globs = ("*",)
    """Such as `send_money`, `delete_*` or `*payment*`, in any spelling."""

    agent_ids: Globs = ("*",)
    """Such as `billing-*`, as they are written."""

    arguments: dict[str, Globs] = {}
    """By name, or by a path such as `customer.country`. Text is matched in any case; an argument
    that is not there by nothing. For a policy that denies, asks or abstains any item of a list is
    enough, anything in an object, and each address or word of a text; one that lets the action
    through needs all items, each as a whole."""


class Policy(ConfigurationModel):
    """What judges an action, and what follows."""

    name: Name
    """Each policy has another one."""

    reason: Annotated[str, Field(max_length=300)] = ""
    """What a reviewer reads where the policy itself asks."""

    priority: Annotated[int, Field(ge=-MAX_PRIORITY, le=MAX_PRIORITY)] = 0
    """Of the policies for an action only those of the highest priority decide."""

    mode: Literal["active", "shadow"] = "active"
    """In the shadow it judges, and what it would have said is recorded; nothing follows."""

    match: Match = Match()
    arguments: dict[str, ArgumentType] = {}
    """The types of the arguments that the condition names."""

    condition: str | None = None
    """When it is for an action that matches, in CEL, such as
    `money(context.amount) > money("500.00")`: see `safeguards_runtime.conditions`."""

    safeguards: tuple[str, ...] = ()
    """Those that judge the action, by their names in this file or in the ready-made policies."""

    verdict: Verdict | Literal["abstain"] = Verdict.ALLOW
    """What follows where no safeguard raises an alert. One that abstains then counts as no policy
    for the action; what its safeguards find counts beside the policies that decide, whatever their
    priority: it can make the verdict stricter, and never milder."""

    verdicts: dict[AlertSeverity, Verdict] = {}
    """What follows from an alert, by its severity; as in `ON_ALERT` unless given."""

    approval: str = DEFAULT_TERMS
    """How people are asked: one of `approvals`."""

    @property
    def abstains(self) -> bool:
        """Whether it counts only by what its safeguards find."""
        return self.verdict == "abstain"

    @property
    def is_mild(self) -> bool:
        """Whether it lets actions through, unless its safeguards find something."""
        return not self.abstains and self.least in (Verdict.ALLOW, Verdict.NOTIFY)

    @property
    def least(self) -> Verdict:
        """What it says at the least, whatever its safeguards find."""
        return Verdict.ALLOW if self.verdict == "abstain" else self.verdict

    @model_validator(mode="after")
    def _can_speak(self) -> Self:
        if self.abstains and not self.safeguards:
            raise ValueError("verdict: one that abstains needs safeguards, or it never counts")
        if self.abstains and self.priority:
            raise ValueError("priority: has no effect with verdict: abstain; leave it out")
        return self

    def on_alert(self, severity: AlertSeverity) -> Verdict:
        """Return what follows from an alert."""
        return self.verdicts.get(severity, ON_ALERT[severity])


ON_ALERT = {
    AlertSeverity.INFO: Verdict.NOTIFY,
    AlertSeverity.WARNING: Verdict.REQUIRE_APPROVAL,
    AlertSeverity.ERROR: Verdict.REQUIRE_APPROVAL,
    AlertSeverity.CRITICAL: Verdict.DENY,
}
"""What follows from an alert."""

Policies = Annotated[tuple[Policy, ...], Field(max_length=MAX_POLICIES)]


class ReadyMade(ConfigurationModel):
    """A file of ready-made policies. Where the file that switches them on has no terms of the name
    that a policy gives, its default ones are used."""

    version: Literal[1]
    safeguards: dict[str, SafeguardConfig] = {}
    policies: Policies = ()


class PolicyFile(ConfigurationModel):
    """A policy file. See `deploy/policies.yaml`, which explains itself."""

    version: Literal[1]
    """Of the form of this file."""

    ready_made: tuple[str, ...] = ()
    """The names of the ready-made policies that are switched on. A policy or a safeguard of this
    file takes the place of the ready-made one of its name."""

    safeguards: dict[str, SafeguardConfig] = {}
    """Those that policies name, by the names that they are given here."""

    approvals: Annotated[
        dict[str, TermsConfig], Field(json_schema_extra={"required": [DEFAULT_TERMS]})
    ]
    """How people are asked, by the names that policies use; `default` must be one of them."""

    policies: Policies = ()
    """What judges which actions. Of those for an action, those of the highest priority decide, and
    of these the strictest verdict."""

    default_verdict: Verdict = Verdict.REQUIRE_APPROVAL
    """The verdict where no policy is for an action."""

    @model_validator(mode="after")
    def _has_default_terms(self) -> Self:
        if DEFAULT_TERMS not in self.approvals:
            raise ValueError(f"approvals needs an entry {DEFAULT_TERMS!r}")
        return self

    def problems(self) -> Iterator[Problem]:
        """Yield each name that stands for nothing, and each that stands for two things."""
        seen: set[str] = set()
        for at, policy in enumerate(self.policies):
            if policy.name in seen:
                yield Problem(("policies", at, "name"), f"two policies are named {policy.name!r}")
            seen.add(policy.name)
            if policy.approval not in self.approvals:
                yield Problem(
                    ("policies", at, "approval"),
                    f"policy {policy.name!r}: unknown approval {policy.approval!r}: "
                    + hint(policy.approval, self.approvals),
                )
