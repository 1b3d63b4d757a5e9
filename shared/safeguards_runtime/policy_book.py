"""The policies in force: a policy file with all that it names, made ready to judge by."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from safeguards.errors import ConfigurationError
from safeguards.plugins import Safeguard
from safeguards_runtime.conditions import Condition
from safeguards_runtime.configuration import Document, load_yaml, read_yaml, uncollected
from safeguards_runtime.configuration_problems import Problem, hint
from safeguards_runtime.isolation import load_failures
from safeguards_runtime.matching import PolicyIndex
from safeguards_runtime.policies import (
    DEFAULT_TERMS,
    Policy,
    PolicyFile,
    ReadyMade,
    SafeguardConfig,
)
from safeguards_runtime.records.terms import Terms
from safeguards_runtime.safeguard_kinds import KINDS, is_built_in, safeguard_of

READY_MADE = Path(__file__).with_name("ready_made")


class Plugin(NamedTuple):
    """A safeguard that is not built in, as a policy file wants it."""

    kind: str
    config: dict[str, Any]
    time_limit_seconds: float


@dataclass(frozen=True)
class PolicyBook:
    """What actions are judged by.

    Attributes:
        policies: those of the file and the ready-made ones that it switches on, in this order.
        safeguards: the built-in ones, initialized, by their names in the policies.
        plugins: the others, likewise.
        conditions: by the names of the policies that have one.
        terms: how people are asked, by name.
        default: what holds where no policy is for an action.
        version: the first 12 hexadecimal digits of the SHA-256 of the files.
        file: as it was written.
        lines: on which line each part of `approvals` stands in it, by its location.
    """

    policies: tuple[Policy, ...]
    safeguards: Mapping[str, Safeguard]
    plugins: Mapping[str, Plugin]
    conditions: Mapping[str, Condition]
    terms: Mapping[str, Terms]
    file: PolicyFile
    version: str
    lines: Mapping[tuple[int | str, ...], int]

    @cached_property
    def index(self) -> PolicyIndex:
        """The policies by the types of actions that they are for."""
        return PolicyIndex(self.policies)

    @property
    def uses(self) -> Mapping[str, str]:
        """Which safeguard each name in the policies stands for."""
        built_in = {name: safeguard.name for name, safeguard in self.safeguards.items()}
        return built_in | {name: plugin.kind for name, plugin in self.plugins.items()}

    def terms_of(self, policy: Policy) -> Terms:
        """Return how people are asked where this policy wants it."""
        return self.terms.get(policy.approval, self.terms[DEFAULT_TERMS])

    def terms_for(self, agent_id: str, action_type: str, context: Mapping[str, Any]) -> Terms:
        """Return how people are asked about an action that an agent asks them about directly: as
        the policies of the highest priority that match it say, and of these the strictest; those
        that abstain say so whatever the priority."""
        found = self.index.matching(agent_id, action_type, context)
        matching = [policy for policy in found if policy.mode == "active"]
        if not matching:
            return self.terms[DEFAULT_TERMS]
        highest = max((p.priority for p in matching if not p.abstains), default=0)
        deciding = [p for p in matching if p.abstains or p.priority == highest]
        return strictest([self.terms_of(policy) for policy in deciding])


def strictest(terms: list[Terms]) -> Terms:
    """Return those that need the most people; of several, those by which silence is no consent,
    then those that may be answered by the fewest ways, then the first."""
    return max(
        terms,
        key=lambda one: (
            one.quorum + one.four_eyes,
            one.on_timeout == "reject",
            -len(one.answer_by),
        ),
    )


def load_policies(path: Path) -> PolicyBook:
    """Read a policy file, and make ready what it names.

    Raises:
        ConfigurationError: naming the file and each place that is wrong, with its line: what does
            not fit the form, unknown names, safeguards that refuse their configuration, conditions
            that cannot be evaluated.
    """
    with uncollected():
        document = read_yaml(path, PolicyFile)
        book = _book(document, hashlib.sha256(path.read_bytes()))
        _ = book.index  # made now, not when the first action is judged
    return book


def book_of(content: Mapping[str, Any]) -> PolicyBook:
    """Return the policies of what a policy file would hold.

    Raises:
        ConfigurationError: as `load_policies`.
        pydantic.ValidationError: it does not fit the form.
    """
    document = Document(Path("policies"), PolicyFile.model_validate(content), None)
    return _book(document, hashlib.sha256(repr(content).encode()))


def ready_made_names() -> tuple[str, ...]:
    """Return the names of the ready-made policies that there are."""
    return tuple(sorted(p.stem for p in READY_MADE.glob("*.yaml") if not p.stem.endswith(".cases")))


def _book(document: Document[PolicyFile], sha256: Any) -> PolicyBook:
    file = document.content
    problems = list(file.problems())
    packs = []
    known = ready_made_names()
    for at, name in enumerate(file.ready_made):
        if name in known:
            pack = READY_MADE / f"{name}.yaml"
            packs.append(load_yaml(pack, ReadyMade))
            sha256.update(pack.read_bytes())
        else:
            words = f"there are no ready-made policies {name!r}: {hint(name, known)}"
            problems.append(Problem(("ready_made", at), words))
    policies = _policies(file, packs)
    wanted = _wanted(file, packs, problems)
    safeguards = {}
    plugins = {}
    for name, config in wanted.items():
        assert config.uses is not None  # noqa: S101 - `_wanted` has seen to it
        try:
            if is_built_in(config.uses):
                safeguards[name] = safeguard_of(config.uses, dict(config.config))
            else:
                KINDS.registered(config.uses)
                plugins[name] = Plugin(config.uses, config.config, config.time_limit_seconds)
        except ConfigurationError as error:
            problems.append(Problem(("safeguards", name), str(error)))
    # Whatever the code of others does when it is loaded, it does elsewhere, and not for long.
    failures = load_failures({name: (one.kind, one.config) for name, one in plugins.items()})
    problems += [Problem(("safeguards", name), why) for name, why in failures.items()]
    problems += _unknown_safeguards(file, wanted)
    conditions = _conditions(file, policies, problems)
    if problems:
        raise document.refusal(problems)
    return PolicyBook(
        policies,
        safeguards,
        plugins,
        conditions,
        {name: terms.terms() for name, terms in file.approvals.items()},
        file,
        sha256.hexdigest()[:12],
        document.lines("approvals"),
    )


def _policies(file: PolicyFile, packs: list[ReadyMade]) -> tuple[Policy, ...]:
    """Return the file's policies, then the ready-made ones whose names it does not take."""
    named = {policy.name: policy for policy in file.policies}
    for pack in packs:
        for policy in pack.policies:
            named.setdefault(policy.name, policy)
    return tuple(named.values())


def _wanted(
    file: PolicyFile, packs: list[ReadyMade], problems: list[Problem]
) -> dict[str, SafeguardConfig]:
    """Return the safeguards by name: the ready-made ones, as the file changes them, and its own."""
    wanted = {name: config for pack in packs for name, config in pack.safeguards.items()}
    for name, given in file.safeguards.items():
        if given.uses is not None:
            wanted[name] = given
        elif name in wanted:
            config = {**wanted[name].config, **given.config}
            wanted[name] = wanted[name].model_copy(update={"config": config})
        else:
            words = f"{name!r} is no safeguard of the ready-made policies: say what it `uses`"
            problems.append(Problem(("safeguards", name), words))
    return wanted


def _unknown_safeguards(
    file: PolicyFile, wanted: Mapping[str, SafeguardConfig]
) -> Iterator[Problem]:
    for at, policy in enumerate(file.policies):
        for number, name in enumerate(policy.safeguards):
            if name not in wanted:
                yield Problem(
                    ("policies", at, "safeguards", number),
                    f"policy {policy.name!r}: unknown safeguard {name!r}: {hint(name, wanted)}",
                )


def _conditions(
    file: PolicyFile, policies: tuple[Policy, ...], problems: list[Problem]
) -> dict[str, Condition]:
    own = {policy.name: at for at, policy in enumerate(file.policies)}
    compiled = {}
    for policy in policies:
        if policy.condition is None:
            continue
        try:
            compiled[policy.name] = Condition(policy.condition, policy.arguments)
        except ConfigurationError as error:
            at = own.get(policy.name, 0)
            words = f"policy {policy.name!r}: {error}"
            problems.append(Problem(("policies", at, "condition"), words))
    return compiled
