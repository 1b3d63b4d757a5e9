"""What came of a replay: counted while it runs, and told to a person or a program."""

from __future__ import annotations

from array import array
from collections import Counter
from datetime import datetime
from statistics import median

from pydantic import BaseModel, ConfigDict

from safeguards.contracts import Verdict
from safeguards_runtime.records.judgement import Judgement
from services.safeguard_evaluator.replay.inspecting import Source
from services.safeguard_evaluator.replay.recorded import RecordedAction
from services.safeguard_evaluator.replay.rerun import Judged

ASSUMED_SECONDS = 120.0
"""How long one person needs for one question where too few answers say it."""

ENOUGH_ANSWERS = 10
"""How many answers whose time is known say how long an answer takes."""

TOP = 5
EXAMPLES = 3
STRICTEST_FIRST = (Verdict.DENY, Verdict.REQUIRE_APPROVAL, Verdict.NOTIFY, Verdict.ALLOW)
NO_POLICY = "(no policy: the default)"

Counts = dict[str, int]
"""How many, by name; the most first."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Effort(_Part):
    """What it costs people."""

    questions: int
    """How many actions they are asked about. Those that a grant lets through are not."""

    answers: int
    """How many answers that takes, with as many people each as the terms want (`quorum`)."""

    hours: float


class Side(_Part):
    """What one policy file says of the actions."""

    file: str
    version: str
    verdicts: dict[Verdict, int]
    granted: int
    """How many of those to be asked about a grant lets through, as it did then."""

    unanswered: int
    """How many questions nobody has answered then: they count as approved at once."""

    effort: Effort


class Then(_Part):
    """What was decided when the actions were recorded."""

    verdicts: dict[Verdict, int]
    granted: int
    """How many of the allowed ones a grant let through."""

    unknown: int


class Move(_Part):
    """Actions on which the verdict changes."""

    before: Verdict
    after: Verdict
    actions: int
    action_types: Counts
    """At most five, as with the policies."""

    policies_before: Counts
    """By which policies it came about."""

    policies_after: Counts
    examples: tuple[str, ...]


class Trial(_Part):
    """A policy on trial (`mode: shadow`)."""

    policy: str
    actions: int
    """How many it is for."""

    said: dict[Verdict, int]
    """What it would say of how many, by itself."""

    said_then: dict[Verdict, int]
    """What is on record that it would have said."""

    if_active: tuple[Move, ...]
    """What would change if it were in force."""

    effort: Effort
    """What it would cost beside the rest; less than nothing if it spares questions."""


class Report(_Part):
    """All that a replay has found."""

    actions: int
    first_at: datetime
    last_at: datetime
    left_out: int
    """How many lines are no actions."""

    seconds_per_question: float
    seconds_from: str
    """Where that comes from."""

    then: Then
    in_force: Side
    changed: Side | None
    moves: tuple[Move, ...]
    trials: tuple[Trial, ...]
    """Of the changed file; of the one in force, if there is no other."""


class _Moves:
    """Counts verdicts that change."""

    def __init__(self) -> None:
        self._found: dict[tuple[Verdict, Verdict], _Moved] = {}

    def add(self, action: RecordedAction, before: Judgement, after: Judgement) -> None:
        if before.verdict is not after.verdict:
            key = (before.verdict, after.verdict)
            self._found.setdefault(key, _Moved()).add(action, before, after)

    def told(self) -> tuple[Move, ...]:
        ordered = sorted(self._found.items(), key=lambda item: -item[1].actions)
        return tuple(moved.told(*key) for key, moved in ordered)


class _Moved:
    def __init__(self) -> None:
        self.actions = 0
        self._types: Counter[str] = Counter()
        self._before: Counter[str] = Counter()
        self._after: Counter[str] = Counter()
        self._examples: list[str] = []

    def add(self, action: RecordedAction, before: Judgement, after: Judgement) -> None:
        self.actions += 1
        self._types[action.action_type] += 1
        self._before.update(before.policies or (NO_POLICY,))
        self._after.update(after.policies or (NO_POLICY,))
        if len(self._examples) < EXAMPLES:
            self._examples.append(action.id)

    def told(self, before: Verdict, after: Verdict) -> Move:
        return Move(
            before=before,
            after=after,
            actions=self.actions,
            action_types=dict(self._types.most_common(TOP)),
            policies_before=dict(self._before.most_common(TOP)),
            policies_after=dict(self._after.most_common(TOP)),
            examples=tuple(self._examples),
        )


class _Questions:
    """Counts what people are asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = 0

    def add(self, action: RecordedAction, judgement: Judgement, sign: int = 1) -> bool:
        """Tell whether people are asked."""
        asks = judgement.verdict is Verdict.REQUIRE_APPROVAL and not action.is_granted
        if asks:
            self.asked += sign
            self.answers += sign * judgement.terms.quorum
        return asks

    def told(self, seconds: float) -> Effort:
        hours = round(self.answers * seconds / 3600, 2)
        return Effort(questions=self.asked, answers=self.answers, hours=hours)


class _Side:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._verdicts: Counter[Verdict] = Counter()
        self._questions = _Questions()
        self._granted = 0
        self._unanswered = 0

    def add(self, action: RecordedAction, judgement: Judgement) -> None:
        self._verdicts[judgement.verdict] += 1
        if self._questions.add(action, judgement):
            self._unanswered += action.answer is None
        elif judgement.verdict is Verdict.REQUIRE_APPROVAL:
            self._granted += 1

    def told(self, seconds: float) -> Side:
        return Side(
            file=str(self._source.path),
            version=self._source.book.version,
            verdicts=_in_order(self._verdicts),
            granted=self._granted,
            unanswered=self._unanswered,
            effort=self._questions.told(seconds),
        )


class _Trial:
    def __init__(self, policy: str) -> None:
        self._policy = policy
        self._actions = 0
        self._said: Counter[Verdict] = Counter()
        self._then: Counter[Verdict] = Counter()
        self._moves = _Moves()
        self._questions = _Questions()

    def add(self, action: RecordedAction, found: Judgement, if_active: Judgement) -> None:
        self._actions += 1
        self._said[found.on_trial().get(self._policy, Verdict.ALLOW)] += 1
        self._moves.add(action, found, if_active)
        self._questions.add(action, if_active)
        self._questions.add(action, found, -1)

    def add_then(self, verdict: Verdict) -> None:
        self._then[verdict] += 1

    def told(self, seconds: float) -> Trial:
        return Trial(
            policy=self._policy,
            actions=self._actions,
            said=_in_order(self._said),
            said_then=_in_order(self._then),
            if_active=self._moves.told(),
            effort=self._questions.told(seconds),
        )


class Tally:
    """Counts what one or two policy files say of actions.

    Args:
        in_force: the policy file in force.
        changed: the other, if there is one.
    """

    def __init__(self, in_force: Source, changed: Source | None) -> None:
        self._in_force = _Side(in_force)
        self._changed = _Side(changed) if changed else None
        policies = (changed or in_force).book.policies
        self._trials = {p.name: _Trial(p.name) for p in policies if p.mode == "shadow"}
        self._moves = _Moves()
        self._then: Counter[Verdict | None] = Counter()
        self._granted = 0
        self._seconds = array("d")
        self._first_at: datetime | None = None
        self._last_at: datetime | None = None

    def add(self, judged: Judged) -> None:
        """Count one more, later than those before."""
        action, before, after, trials = judged
        self._first_at = self._first_at or action.at
        self._last_at = action.at
        self._then[action.verdict] += 1
        self._granted += action.is_granted
        if action.outcome is not None:
            self._seconds.extend(action.outcome.answer_seconds)
        self._in_force.add(action, before)
        if self._changed is not None and after is not None:
            self._changed.add(action, after)
            self._moves.add(action, before, after)
        for policy, if_active in trials.items():
            self._trials[policy].add(action, judged.last, if_active)
        for policy, verdict in action.shadow.items():
            if policy in self._trials:
                self._trials[policy].add_then(verdict)

    def report(self, seconds: float | None, left_out: int) -> Report | None:
        """Return what was found; None if there was no action.

        Args:
            seconds: how long one person needs for one question, if somebody says so.
            left_out: how many lines are no actions.
        """
        if self._first_at is None or self._last_at is None:
            return None
        seconds, source = self._pace(seconds)
        known = {verdict: n for verdict, n in self._then.items() if verdict is not None}
        return Report(
            actions=self._then.total(),
            first_at=self._first_at,
            last_at=self._last_at,
            left_out=left_out,
            seconds_per_question=round(seconds, 1),
            seconds_from=source,
            then=Then(verdicts=_in_order(known), granted=self._granted, unknown=self._then[None]),
            in_force=self._in_force.told(seconds),
            changed=self._changed.told(seconds) if self._changed else None,
            moves=self._moves.told(),
            trials=tuple(trial.told(seconds) for trial in self._trials.values()),
        )

    def _pace(self, given: float | None) -> tuple[float, str]:
        known = len(self._seconds)
        if given is not None:
            return given, "given"
        if known >= ENOUGH_ANSWERS:
            return median(self._seconds), f"the median of {known} recorded answers"
        return ASSUMED_SECONDS, f"assumed: the time of {known} recorded answers is known"


def _in_order(counts: Counter[Verdict] | dict[Verdict, int]) -> dict[Verdict, int]:
    return {verdict: counts[verdict] for verdict in STRICTEST_FIRST if counts.get(verdict)}
