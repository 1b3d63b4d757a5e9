"""Actions judged once more by one policy file, with the windows as they would have stood."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from heapq import heappop, heappush
from typing import NamedTuple

from safeguards.contracts import Verdict
from safeguards.plugins import WindowSafeguard
from safeguards_runtime.policy_book import PolicyBook
from safeguards_runtime.records.judgement import Judgement
from safeguards_runtime.records.window import Reservation
from services.safeguard_evaluator.judging import recounted
from services.safeguard_evaluator.replay.inspecting import Source, inspected
from services.safeguard_evaluator.replay.recorded import Ending, RecordedAction
from services.safeguard_evaluator.trying_out import Desk
from services.safeguard_evaluator.verdicts import Inspection, as_checked, judge

FORGET_EVERY = 10_000
"""After how many actions windows are dropped of which nothing counts any more."""


class Judged(NamedTuple):
    """What one or two policy files say of an action."""

    action: RecordedAction
    before: Judgement
    """By the file in force."""

    after: Judgement | None
    """By the changed one, if there is one."""

    trials: dict[str, Judgement]
    """For each policy on trial that is for the action, by its name, in the file that was changed if
    there is one: what the verdict would be if that policy were in force."""

    @property
    def last(self) -> Judgement:
        """By the file that was changed, if there is one."""
        return self.after or self.before


@dataclass(frozen=True, order=True)
class _Open:
    """An action that people are asked about, until they answer."""

    until: datetime
    number: int
    action: RecordedAction
    ending: Ending
    judged: Judgement


class Rerun:
    """Judges actions in the order of their times.

    Asked people answer as they did: at that time, and what they refused counts no longer. What
    nobody was asked about then counts as approved at once, and so does what has no answer yet.

    Args:
        book: what is judged by.
    """

    def __init__(self, book: PolicyBook) -> None:
        self.book = book
        self._desk = Desk(book)
        self._open: list[_Open] = []
        self._judged = 0
        self._on_trial = {
            policy.name: policy.model_copy(update={"mode": "active"})
            for policy in book.policies
            if policy.mode == "shadow"
        }

    def advance(self, now: datetime) -> None:
        """Go on to the time of the next action."""
        while self._open and self._open[0].until <= now:
            self._settle(heappop(self._open))
        self._desk.now = now
        self._judged += 1
        if self._judged % FORGET_EVERY == 0:
            self._desk.forget()

    def judge(self, inspection: Inspection) -> Judgement:
        """Return the verdict on an action. Nothing is counted."""
        return judge(inspection, self._desk.ledger)

    def trials(self, inspection: Inspection) -> dict[str, Judgement]:
        """Return for each policy on trial that is for an action, by its name, what the verdict
        would be if it were in force."""
        found = {}
        for at, candidate in enumerate(inspection.candidates if self._on_trial else ()):
            if (active := self._on_trial.get(candidate.policy.name)) is not None:
                candidates = list(inspection.candidates)
                candidates[at] = replace(candidate, policy=active)
                found[active.name] = self.judge(replace(inspection, candidates=tuple(candidates)))
        return found

    def count(self, action: RecordedAction, judgement: Judgement) -> None:
        """Count an action that has just been judged."""
        if held := judgement.reservations:
            ledger = self._desk.ledger
            ledger.reserve(held)
            if not self._is_left_open(action, judgement):
                ledger.allow(held)
            self._desk.keep(ledger)

    def has_windows_of(self, other: Rerun, inspection: Inspection) -> bool:
        """Tell whether all that an action is judged by has been counted alike here and there."""
        mine, theirs = self._desk.windows, other._desk.windows
        return all(mine[at] is theirs[at] or mine[at] == theirs[at] for at in inspection.window_ids)

    def count_like(
        self, other: Rerun, action: RecordedAction, judgement: Judgement, inspection: Inspection
    ) -> None:
        """Count an action as another has, whose windows for it were the same."""
        for window_id in inspection.window_ids:
            self._desk.windows[window_id] = other._desk.windows[window_id]
        self._is_left_open(action, judgement)

    def _is_left_open(self, action: RecordedAction, judgement: Judgement) -> bool:
        """Tell whether people answer later, and remember it."""
        asks = judgement.verdict is Verdict.REQUIRE_APPROVAL
        answer = action.answer if asks else None
        if answer is not None and (judgement.reservations or answer.context is not None):
            heappush(self._open, _Open(answer.at, self._judged, action, answer, judgement))
        return answer is not None

    def _settle(self, one: _Open) -> None:
        """Count what people have answered, as the evaluator does when an action ends."""
        self._desk.now = max(self._desk.now, one.until)
        ledger = self._desk.ledger
        held, final = one.judged.reservations, self._final(one)
        if final != held:
            ledger.release(held)
            ledger.reserve(final)
        ledger.allow(final)
        self._desk.keep(ledger)

    def _final(self, one: _Open) -> tuple[Reservation, ...]:
        if not one.ending.status.allows:
            return ()
        if one.ending.context is None:
            return one.judged.reservations
        safeguards = {
            name: safeguard
            for name, safeguard in self.book.safeguards.items()
            if isinstance(safeguard, WindowSafeguard)
        }
        action = one.action
        context = as_checked(action.action_type, one.ending.context)
        return recounted(one.judged, one.until, action.agent_id, context, safeguards)


async def rerun(
    actions: Iterable[RecordedAction],
    in_force: Source,
    changed: Source | None,
    *,
    ahead: bool = False,
) -> AsyncIterator[Judged]:
    """Judge actions by one or two policy files, each as if it had been in force all the time.

    Where both see the same in an action, it is judged once: that is most of the time.

    Args:
        actions: in the order of their times.
        in_force: the one policy file.
        changed: the other, if there is one.
        ahead: whether a second process inspects actions while they are judged here: quicker where
            there are thousands.
    """
    sources = [in_force, *([changed] if changed else [])]
    first, last = Rerun(in_force.book), Rerun(sources[-1].book)
    follow_alike = _follow_alike(first.book, last.book)
    async for action, seen, seen_last, is_alike in inspected(actions, sources, ahead=ahead):
        first.advance(action.at)
        before = first.judge(seen)
        if seen_last is None:
            yield Judged(action, before, None, first.trials(seen))
            first.count(action, before)
            continue
        last.advance(action.at)
        is_same = is_alike and follow_alike and last.has_windows_of(first, seen)
        after = before if is_same else last.judge(seen_last)
        yield Judged(action, before, after, last.trials(seen_last))
        first.count(action, before)
        if is_same:
            last.count_like(first, action, before, seen)
        else:
            last.count(action, after)


def _follow_alike(one: PolicyBook, other: PolicyBook) -> bool:
    """Tell whether the same follows from the same policies."""
    return (one.terms, one.file.default_verdict) == (other.terms, other.file.default_verdict)
