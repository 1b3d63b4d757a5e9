"""What the evaluator does with the actions that it is asked to look at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

from safeguards.errors import ConfigurationError
from safeguards.plugins.industry import BUILT_IN, IndustrySafeguard
from safeguards_runtime.policies import PolicyFile
from safeguards_runtime.records import Action, Change, action
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


class Evaluator:
    """Gives verdicts.

    Args:
        store: where the actions are.
        policies: the policy file in force.
        set_aside: keeps a publication that is refused: the JWS and the reason.
    """

    def __init__(
        self,
        store: Store,
        policies: PolicyFile,
        set_aside: Callable[[bytes, str], Awaitable[None]],
    ) -> None:
        self._store = store
        self._policies = policies
        self._safeguards: Mapping[str, IndustrySafeguard] = build_safeguards(policies)
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
        return action.judge(record, judge(record, self._policies, self._safeguards), now)
