"""An action as it was recorded: what is exported, and what is judged once more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from safeguards.contracts import ActionType, Content, Name, Verdict
from safeguards.identifiers import earliest_id
from safeguards.types import ActionStatus
from safeguards_runtime.records import Action, Approval
from safeguards_runtime.records.answers import answers
from safeguards_runtime.store import Store
from services.safeguard_evaluator.publications import MAX_AGE

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_END = datetime(2200, 1, 1, tzinfo=UTC)


def _reckonable(moment: datetime) -> datetime:
    if not EPOCH <= moment < _END:
        raise ValueError("a time between 1970 and 2200")
    return moment.astimezone(UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_reckonable)]
"""A time with its zone, brought to UTC."""

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Ending(_Line):
    """How an action ended."""

    status: ActionStatus
    at: Moment
    by: str = ""
    """A reviewer's id, `policy`, `grant:…`, `nobody` (a time-out), or `agent:…` (withdrawn)."""

    context: Content | None = None
    """With which arguments it was approved, if with others than it was published with."""

    answer_seconds: tuple[Seconds, ...] = ()
    """How long each reviewer whose answer counted had it open before, where that is known."""


class RecordedAction(_Line):
    """One line of an export. Of a line of one's own only the first four are needed."""

    at: Moment
    """When it was published. First, so that `sort` puts lines in the order of their times."""

    agent_id: Name
    action_type: ActionType
    context: Content
    id: str = Field("", max_length=200)
    verdict: Verdict | None = None
    """What was decided then; None if it is not known."""

    shadow: dict[str, Verdict] = {}
    """What policies on trial would have said then, by their names."""

    outcome: Ending | None = None
    """None if it is not known, or it has not ended."""

    @property
    def is_granted(self) -> bool:
        """Whether a reviewer's grant let it through without a question."""
        return self.outcome is not None and self.outcome.by.startswith("grant:")

    @property
    def answer(self) -> Ending | None:
        """What came of asking people; None if they were not asked, or it is not known."""
        was_asked = self.verdict in (None, Verdict.REQUIRE_APPROVAL)
        return self.outcome if was_asked and not self.is_granted else None

    def line(self) -> bytes:
        """Return it as a line of JSON, without what is at its default."""
        return self.model_dump_json(exclude_defaults=True).encode() + b"\n"


async def recorded_actions(
    store: Store, since: datetime | None, until: datetime | None
) -> AsyncIterator[list[RecordedAction]]:
    """Yield the actions of a time in lists of at most 500, in the order of their ids: nearly that
    of their times.

    Args:
        store: where they are. It is only read: one without `replicas`, since what must be
            confirmed by them is written.
        since: the first moment; from the beginning unless given.
        until: the first moment that is not meant; to the end unless given.
    """
    after = earliest_id("act", since - MAX_AGE) if since else ""
    end = earliest_id("act", until + MAX_AGE) if until else ""
    while ids := await store.listed_onward("actions", after=after, until=end):
        after = ids[-1]
        _, found = await store.load(ids)
        actions = [record for record in found if isinstance(record, Action)]
        approvals = await _approvals(store, actions)
        lines = [recorded(action, approvals.get(action.approval_id)) for action in actions]
        yield [
            line
            for line in lines
            if (since is None or line.at >= since) and (until is None or line.at < until)
        ]


async def _approvals(store: Store, actions: Sequence[Action]) -> dict[str, Approval]:
    asked = [
        action.approval_id
        for action in actions
        if action.judgement is not None and action.judgement.verdict is Verdict.REQUIRE_APPROVAL
    ]
    _, found = await store.load(asked)
    return {record.id: record for record in found if isinstance(record, Approval)}


def recorded(action: Action, approval: Approval | None) -> RecordedAction:
    """Return what is told of an action.

    Args:
        action: as it stands in the store.
        approval: the approval that it needed, if it did.
    """
    judged = action.judgement
    return RecordedAction.model_construct(
        at=action.created_at,
        agent_id=action.agent_id,
        action_type=action.action_type,
        context=action.context,
        id=action.id,
        verdict=judged.verdict if judged else None,
        shadow=judged.on_trial() if judged else {},
        outcome=_ending(action, approval),
    )


def _ending(action: Action, approval: Approval | None) -> Ending | None:
    outcome = approval.outcome if approval is not None else action.outcome
    if outcome is None:
        return None
    asked = approval.context if approval is not None else action.context
    context = {**asked, **(outcome.modifications or {})}
    is_other = outcome.status.allows and context != action.context
    times = () if approval is None else answers(approval)
    return Ending.model_construct(
        status=outcome.status,
        at=outcome.decided_at,
        by=outcome.decided_by,
        context=context if is_other else None,
        answer_seconds=tuple(
            round(answer.seconds_since_view, 1)
            for answer in times
            if answer.seconds_since_view is not None
        ),
    )
