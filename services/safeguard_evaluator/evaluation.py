"""What the evaluator does with the actions that it is asked to look at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from safeguards.errors import ConfigurationError
from safeguards.plugins.industry import BUILT_IN, IndustrySafeguard
from safeguards_runtime.policies import PolicyFile, load_policies
from safeguards_runtime.records import Action, Change, action
from safeguards_runtime.reloading import Combined, InForce, Reloaded
from safeguards_runtime.reviewers import Directory, load_directory
from safeguards_runtime.rules import POLICIES, REVIEWERS, TOGETHER, check_groups
from safeguards_runtime.settings import Settings
from safeguards_runtime.store import Store
from safeguards_runtime.topology import Service
from services.safeguard_evaluator.publications import take_in
from services.safeguard_evaluator.verdicts import judge


def build_safeguards(policies: PolicyFile) -> dict[str, IndustrySafeguard]:
    """Return the safeguards of a policy file, initialized, by their names in it.

    Raises:
        ConfigurationError: for one that does not exist, or does not take its configuration.
    """
    built = {}
    for name, wanted in policies.safeguards.items():
        if wanted.uses not in BUILT_IN:
            known = ", ".join(sorted(BUILT_IN))
            raise ConfigurationError(f"safeguard {name!r} uses {wanted.uses!r}; there are: {known}")
        safeguard = BUILT_IN[wanted.uses]()
        safeguard.initialize(dict(wanted.config))
        built[name] = safeguard
    return built


@dataclass(frozen=True)
class Judges:
    """What verdicts are given by: the policies, and their safeguards by their names in them."""

    policies: PolicyFile
    safeguards: Mapping[str, IndustrySafeguard]


def load_judges(path: Path) -> Judges:
    """Read a policy file and build its safeguards.

    Raises:
        ConfigurationError: naming each place that does not fit.
    """
    policies = load_policies(path)
    return Judges(policies, build_safeguards(policies))


def judges_in_force(settings: Settings) -> InForce[Judges]:
    """Return the policies with their safeguards, read and built again when their file changes.

    Refused, as in the gateway, are policies that the reviewers file has nobody for: what they
    require could never be answered.

    Raises:
        ConfigurationError: for the files as they are now.
    """

    def checked(judges: Judges, directory: Directory) -> Judges:
        check_groups(judges.policies, directory)
        return judges

    return Combined(
        Reloaded(settings.policies_file, load_judges, name=POLICIES),
        Reloaded(settings.reviewers_file, load_directory, name=REVIEWERS),
        checked,
        name=TOGETHER,
    )


class Evaluator:
    """Gives verdicts.

    Args:
        store: where the actions are.
        judges: what verdicts are given by, as it is in force.
        set_aside: keeps a publication that is refused: the JWS and the reason.
    """

    def __init__(
        self,
        store: Store,
        judges: InForce[Judges],
        set_aside: Callable[[bytes, str], Awaitable[None]],
    ) -> None:
        self._store = store
        self._judges = judges
        self._set_aside = set_aside

    async def evaluate(self, entries: Sequence[str]) -> None:
        """Judge actions, given by their ids or as signed publications. Twice does no harm."""
        publications = [entry for entry in entries if "." in entry]
        ids = [entry for entry in entries if entry.startswith("act_") and "." not in entry]
        if publications:
            published, refused = await take_in(self._store, publications)
            for publication, reason in refused.items():
                await self._set_aside(publication.encode(), reason)
            ids += published
        await self._store.apply_all(ids, Action, self._judge, of=Service.EVALUATOR)

    def _judge(self, record: Action, now: datetime) -> Change | None:
        if not record.owes(Service.EVALUATOR):
            return None
        judges = self._judges.current
        return action.judge(record, judge(record, judges.policies, judges.safeguards), now)
