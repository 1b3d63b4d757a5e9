"""The policies and the reviewers in force: only ever such that fit each other."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from safeguards.errors import ConfigurationError
from safeguards_runtime.policies import PolicyFile, load_policies
from safeguards_runtime.reloading import Combined, InForce, Reloaded
from safeguards_runtime.reviewers import Directory, load_directory
from safeguards_runtime.settings import Settings

POLICIES = "policies"
REVIEWERS = "reviewers"
TOGETHER = "policies and reviewers"


@dataclass(frozen=True)
class Rules:
    """Who is asked, and on what terms. Every group that the policies ask has members."""

    policies: PolicyFile
    directory: Directory

    def __post_init__(self) -> None:
        check_groups(self.policies, self.directory)


def check_groups(policies: PolicyFile, directory: Directory) -> None:
    """Refuse policies that ask people who do not exist: nobody could ever answer.

    Raises:
        ConfigurationError: naming the terms and the group.
    """
    for name, terms in policies.approvals.items():
        asked = [("groups", terms.groups)]
        asked += [
            (f"escalation.{n}.groups", step.groups) for n, step in enumerate(terms.escalation)
        ]
        for where, groups in asked:
            for group in groups:
                if not directory.members((group,)):
                    raise ConfigurationError(
                        f"policies file: approvals.{name}.{where}: "
                        f"no reviewer is in the group {group!r}"
                    )


def unknown_channels(rules: Rules, known: Collection[str]) -> tuple[str, ...]:
    """Return the channels that policies or reviewers name and that are not `known`, each with its
    place: `approvals.default.channels: 'pager'`. They are left out, so this is worth a warning."""
    named = []
    for name, terms in rules.policies.approvals.items():
        named.append((f"approvals.{name}.channels", terms.channels))
        named += [
            (f"approvals.{name}.escalation.{n}.channels", step.channels)
            for n, step in enumerate(terms.escalation)
        ]
    named += [(f"reviewers.{r.id}.channels", r.channels) for r in rules.directory.reviewers]
    return tuple(
        f"{where}: {channel!r}"
        for where, channels in named
        for channel in channels
        if channel not in known
    )


def load_rules(settings: Settings) -> Rules:
    """Read the policies and the reviewers once.

    Raises:
        ConfigurationError: naming the first file with a mistake and each of its places, or the
            terms and the group that nobody belongs to.
    """
    return Rules(load_policies(settings.policies_file), load_directory(settings.reviewers_file))


def rules_in_force(settings: Settings) -> InForce[Rules]:
    """Return the policies and the reviewers, read again when either file changes.

    Raises:
        ConfigurationError: for the files as they are now; see `load_rules`.
    """
    return Combined(
        Reloaded(settings.policies_file, load_policies, name=POLICIES),
        Reloaded(settings.reviewers_file, load_directory, name=REVIEWERS),
        Rules,
        name=TOGETHER,
    )
