"""What the insights count, worked out from ended requests. No I/O."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from statistics import median
from zoneinfo import ZoneInfo

from safeguards.types import ActionStatus
from safeguards_runtime.records import Approval
from safeguards_runtime.records.answers import NOBODY, Answered, answers, is_by_people

HASTY_SECONDS = 3
"""An answer sooner than this after the first look was hardly read."""

ASKED_DIRECTLY = ""
"""The policy of what an agent asked people about by itself."""

SPANS = (3, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
"""Where the bars of the picture of times end, in seconds; the last bar has no end."""


@dataclass(frozen=True)
class Ended:
    """What is counted of one request that has ended."""

    agent_id: str
    policies: tuple[str, ...]
    status: ActionStatus
    ended_at: datetime
    seconds: float | None
    """From the question to the decision; None if no person decided it."""

    is_silent: bool = False
    """Whether time ran out, whatever the terms made of that."""

    answers: tuple[Answered, ...] = ()

    @classmethod
    def of(cls, approval: Approval) -> Ended | None:
        """Return what is counted of a request; None while it is open."""
        outcome = approval.outcome
        if outcome is None:
            return None
        waited = (outcome.decided_at - approval.created_at).total_seconds()
        is_timed = outcome.decided_by == NOBODY and outcome.decided_at >= approval.expires_at
        return cls(
            agent_id=approval.agent_id,
            policies=approval.policies,
            status=outcome.status,
            ended_at=outcome.decided_at,
            seconds=max(waited, 0.0) if is_by_people(outcome) else None,
            is_silent=is_timed or outcome.status is ActionStatus.TIMED_OUT,
            answers=answers(approval),
        )


@dataclass
class Tally:
    """How a number of requests ended."""

    approved: int = 0
    changed: int = 0
    rejected: int = 0
    timed_out: int = 0
    withdrawn: int = 0
    seconds: list[float] = field(default_factory=list)
    """The time to decide of each that a person decided."""

    @property
    def total(self) -> int:
        """How many requests."""
        return self.approved + self.changed + self.rejected + self.timed_out + self.withdrawn

    @property
    def decided(self) -> int:
        """How many of them people decided."""
        return len(self.seconds)

    @property
    def approval_rate(self) -> float | None:
        """The share that was approved, changed or not, of what people decided."""
        return self.agreed / self.decided if self.decided else None

    agreed: int = 0
    """How many of them people approved, changed or not."""

    @property
    def median_seconds(self) -> float | None:
        """The time within which half of what people decided was decided."""
        return median(self.seconds) if self.seconds else None

    @property
    def p90_seconds(self) -> float | None:
        """The shortest of the times within which nine of ten were decided (the nearest rank)."""
        if not self.seconds:
            return None
        return sorted(self.seconds)[math.ceil(0.9 * len(self.seconds)) - 1]

    def add(self, ended: Ended) -> None:
        """Count one more."""
        if ended.is_silent:
            self.timed_out += 1
        elif ended.status is ActionStatus.APPROVED:
            self.approved += 1
        elif ended.status is ActionStatus.MODIFIED:
            self.changed += 1
        elif ended.status is ActionStatus.REJECTED:
            self.rejected += 1
        else:
            self.withdrawn += 1
        if ended.seconds is not None:
            self.seconds.append(ended.seconds)
            self.agreed += ended.status is not ActionStatus.REJECTED


@dataclass
class Haste:
    """How soon one reviewer answers after the first look."""

    answers: int = 0
    """All of their answers."""

    timed: int = 0
    """Those to what they had opened in the console, so that the time is known."""

    hasty: int = 0
    """Those under three seconds."""

    @property
    def share(self) -> float | None:
        """The share of hasty ones among those whose time is known."""
        return self.hasty / self.timed if self.timed else None


@dataclass(frozen=True)
class Insights:
    """Everything that the page shows.

    Attributes:
        days: each day of the time, the earliest first, also those without a request.
        times: how many decisions took up to each of `SPANS`, and longer than the last.
    """

    overall: Tally
    by_policy: dict[str, Tally]
    by_agent: dict[str, Tally]
    by_reviewer: dict[str, Haste]
    days: dict[date, Tally]
    times: tuple[int, ...]


def insights(
    requests: Iterable[Ended], since: datetime, until: datetime, zone: ZoneInfo
) -> Insights:
    """Work out everything that is shown of the requests that ended from `since` to `until`.

    Args:
        requests: in any order; those of another time are passed over.
        since: the first moment.
        until: the last moment.
        zone: whose days are meant.
    """
    wanted = [ended for ended in requests if since <= ended.ended_at <= until]
    days = {day: Tally() for day in _days(since, until, zone)}
    by_reviewer: dict[str, Haste] = {}
    for ended in wanted:
        days[ended.ended_at.astimezone(zone).date()].add(ended)
        for answer in ended.answers:
            haste = by_reviewer.setdefault(answer.reviewer_id, Haste())
            haste.answers += 1
            if answer.seconds_since_view is not None:
                haste.timed += 1
                haste.hasty += answer.seconds_since_view < HASTY_SECONDS
    overall = Tally()
    for ended in wanted:
        overall.add(ended)
    return Insights(
        overall=overall,
        by_policy=_grouped(wanted, lambda ended: ended.policies or (ASKED_DIRECTLY,)),
        by_agent=_grouped(wanted, lambda ended: (ended.agent_id,)),
        by_reviewer=dict(sorted(by_reviewer.items(), key=lambda item: (-item[1].hasty, item[0]))),
        days=days,
        times=_histogram(overall.seconds),
    )


def _days(since: datetime, until: datetime, zone: ZoneInfo) -> list[date]:
    first, last = since.astimezone(zone).date(), until.astimezone(zone).date()
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _grouped(
    requests: Sequence[Ended], names: Callable[[Ended], tuple[str, ...]]
) -> dict[str, Tally]:
    """Return the tally of each name, the most frequent first. One request may have several."""
    found: dict[str, Tally] = {}
    for ended in requests:
        for name in names(ended):
            found.setdefault(name, Tally()).add(ended)
    return dict(sorted(found.items(), key=lambda item: (-item[1].total, item[0])))


def _histogram(seconds: Sequence[float]) -> tuple[int, ...]:
    counts = Counter(
        next((n for n, end in enumerate(SPANS) if s < end), len(SPANS)) for s in seconds
    )
    return tuple(counts[n] for n in range(len(SPANS) + 1))
