"""Recorded actions in a file: JSON lines, one action each."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, ValidationError

from safeguards.text import visible
from services.safeguard_evaluator.replay.recorded import EPOCH, Moment, RecordedAction

MAX_LENGTH = 4 << 20
"""How long a line is at most, in bytes: the arguments twice, each character escaped."""

NAMED = 5
"""How many lines that are no actions are told of one by one."""

_MICROSECOND = timedelta(microseconds=1)


class _Dated(BaseModel):
    """What a line is put in order by."""

    model_config = ConfigDict(strict=True)

    at: Moment


class Lines:
    """The actions of a file in the order of their times, whatever the order of its lines.

    It is read twice, so that not the actions are held but their times only: 24 bytes for each.
    What is no action is left out, and counted.

    Args:
        file: where one can go back and forth.
        since: the first moment; from the beginning unless given.
        until: the first moment that is not meant; to the end unless given.
        looked_at: told now and then how many bytes more have been looked at.

    Attributes:
        broken: how many lines are no actions. Complete when all actions have been read.
        faults: what is wrong with the first of them.
    """

    def __init__(
        self,
        file: BinaryIO,
        since: datetime | None = None,
        until: datetime | None = None,
        looked_at: Callable[[int], None] = lambda size: None,
    ) -> None:
        self.broken = 0
        self.faults: list[str] = []
        self._file = file
        self._times, self._places, self._numbers = array("q"), array("q"), array("q")
        file.seek(0)
        place = 0
        for number, (size, line) in enumerate(_lines(file), 1):
            if line is None:
                self._is_broken(number, f"is longer than {MAX_LENGTH >> 20} MiB")
            elif not line.isspace():
                self._look_at(number, place, line, since, until)
            place += size
            looked_at(size)

    def _look_at(
        self, number: int, place: int, line: bytes, since: datetime | None, until: datetime | None
    ) -> None:
        try:
            at = _Dated.model_validate_json(line).at
        except ValidationError as error:
            self._is_broken(number, _in_words(error))
            return
        if (since is None or at >= since) and (until is None or at < until):
            self._times.append((at - EPOCH) // _MICROSECOND)
            self._places.append(place)
            self._numbers.append(number)

    def __len__(self) -> int:
        """Return how many lines may be actions of the time that is meant."""
        return len(self._times)

    def __iter__(self) -> Iterator[RecordedAction]:
        """Yield the actions. One without an id is called by its line."""
        times = self._times
        order: Sequence[int] = range(len(times))
        if any(times[at] > times[at + 1] for at in order[:-1]):
            order = sorted(order, key=times.__getitem__)
        for at in order:
            self._file.seek(self._places[at])
            number = self._numbers[at]
            try:
                action = RecordedAction.model_validate_json(self._file.readline())
            except ValidationError as error:
                self._is_broken(number, _in_words(error))
                continue
            yield action if action.id else action.model_copy(update={"id": f"line {number}"})

    def _is_broken(self, number: int, words: str) -> None:
        self.broken += 1
        if len(self.faults) < NAMED:
            self.faults.append(f"line {number}: {visible(words, single_line=True, limit=300)}")


def _lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Yield the size of each line, and the line; None for one that is too long to be held."""
    while line := file.readline(MAX_LENGTH):
        size, rest = len(line), line
        while rest and not rest.endswith(b"\n"):
            rest = file.readline(MAX_LENGTH)
            size += len(rest)
        yield size, line if size <= MAX_LENGTH else None


def _in_words(error: ValidationError) -> str:
    """Return what is wrong with a line, without what stands in it."""
    wrong = error.errors(include_url=False, include_input=False)
    if wrong[0]["type"] == "json_invalid":
        return "is no JSON"
    return "; ".join(
        f"{'.'.join(map(str, one['loc'])) or 'the line'}: {one['msg']}" for one in wrong[:3]
    )
