"""The policies and the reviewers in force: only ever such that fit each other."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from safeguards.errors import ConfigurationError
from safeguards_runtime.policies import PolicyFile, TermsConfig
from safeguards_runtime.policy_book import PolicyBook, load_policies
from safeguards_runtime.reloading import Combined, InForce, Reloaded, watched
from safeguards_runtime.reviewers import Directory, load_directory
from safeguards_runtime.settings import Settings

POLICIES = "policies"
REVIEWERS = "reviewers"
TOGETHER = "policies and reviewers"


@dataclass(frozen=True)
class Rules:
    """Who is asked, and on what terms. Every group that the policies ask has members."""

    book: PolicyBook
    directory: Directory

    @property
    def policies(self) -> PolicyFile:
        """The policy file, as it was written."""
        return self.book.file

    def __post_init__(self) -> None:
        problems = list(_problems(self.book, self.directory))
        if problems:
            raise ConfigurationError(f"policies file: {'; '.join(problems)}")


def _problems(book: PolicyBook, directory: Directory) -> Iterator[str]:
    """Yield where policies ask people who do not exist, or more than there are: nobody could ever
    answer. Each names the terms, and the group or the quorum."""
    for name, terms in book.file.approvals.items():
        asked: list[tuple[tuple[int | str, ...], tuple[str, ...]]] = [(("groups",), terms.groups)]
        asked += [(("escalation", n, "groups"), s.groups) for n, s in enumerate(terms.escalation)]
        for where, groups in asked:
            for at, group in enumerate(groups):
                if not directory.members((group,)):
                    place = _place(book, ("approvals", name, *where), at)
                    yield f"{place}: no reviewer is in the group {group!r}"
        there_are = len(directory.members(terms.groups))
        if 0 < there_are < terms.people_needed:
            place = _place(book, ("approvals", name, "quorum"))
            yield f"{place}: {_too_few(terms, there_are)}"


def _place(book: PolicyBook, location: tuple[int | str, ...], *more: int | str) -> str:
    line = book.lines.get((*location, *more))
    return ".".join(map(str, location)) + (f" (line {line})" if line else "")


def _too_few(terms: TermsConfig, there_are: int) -> str:
    why = f"{terms.quorum} must approve"
    if terms.people_needed > terms.quorum:
        why += ", beside whoever changes what is asked (four_eyes)"
    has = "has" if len(terms.groups) == 1 else "have"
    return (
        f"{why}, and {', '.join(terms.groups)} {has} {there_are} in all: "
        "add reviewers, or lower the quorum"
    )


def unknown_channels(rules: Rules, known: Collection[str]) -> tuple[str, ...]:
    """Return the channels that policies or reviewers name and that are not `known`, each with its
    place: `approvals.default.channels (line 9): 'pager'`. They are left out, so this is worth a
    warning."""
    named: list[tuple[tuple[int | str, ...], tuple[str, ...]]] = []
    for name, terms in rules.policies.approvals.items():
        named.append((("approvals", name, "channels"), terms.channels))
        named += [
            (("approvals", name, "escalation", n, "channels"), step.channels)
            for n, step in enumerate(terms.escalation)
        ]
    named += [(("reviewers", r.id, "channels"), r.channels) for r in rules.directory.reviewers]
    return tuple(
        f"{_place(rules.book, where, at)}: {channel!r}"
        for where, channels in named
        for at, channel in enumerate(channels)
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
        watched(Reloaded(settings.policies_file, load_policies, name=POLICIES)),
        watched(Reloaded(settings.reviewers_file, load_directory, name=REVIEWERS)),
        Rules,
        name=TOGETHER,
    )
