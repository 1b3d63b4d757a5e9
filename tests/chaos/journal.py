"""What a chaos run did and heard, written down outside the system as it happens.

The journal knows nothing of the store: it holds what an agent, a reviewer and a mailbox know. Each
entry is also a line of JSON in a file, so that a run can be looked at afterwards.
"""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar


@dataclass(frozen=True)
class Asked:
    """An action or approval that the system has accepted.

    Attributes:
        record_id: `act_…` or `apr_…`.
        way: `http`, `queue` (signed, over the broker) or `direct` (no evaluation).
        is_allowed: whether the policy lets it through without a person.
        amount: what it asked for.
        has_callback: whether it asked to be called back.
        at: seconds of the monotonic clock, as all times of the journal.
    """

    at: float
    record_id: str
    way: str
    is_allowed: bool = False
    amount: str = ""
    has_callback: bool = False


@dataclass(frozen=True)
class Answered:
    """One request about an approval, and the status it was answered with.

    Attributes:
        what: `approve`, `modify`, `reject`, `ask`, `answer` (by the agent) or `cancel`.
        who: the reviewer or the agent.
        words: the comments, the question or the answer; different in every request.
        status: the HTTP status; None if no answer came.
    """

    at: float
    approval_id: str
    what: str
    who: str
    words: str
    status: int | None
    modifications: dict[str, Any] | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether the answer was 2xx: it must never be lost."""
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True)
class Heard:
    """An outcome as a listener heard it.

    Attributes:
        listener: `agent`, the SDK's waiter; `feed`, who reads every page of the outcome feed.
        outcome: its JSON.
    """

    at: float
    listener: str
    record_id: str
    outcome: dict[str, Any]


@dataclass(frozen=True)
class Arrived:
    """A mail or webhook that came to a receiver.

    Attributes:
        channel: `email`, `webhook` or `callback`.
        delivery_id: what the message says it is, the same in a repeat.
        is_taken: whether the receiver said so, and said it to the end.
        is_refused: whether it said that it never will take it.
        address: to whom it came, if it is a mail.
        says: the status of the outcome, if it tells of one.
    """

    at: float
    channel: str
    delivery_id: str
    is_taken: bool = True
    is_refused: bool = False
    address: str = ""
    says: str = ""


@dataclass(frozen=True)
class Struck:
    """A fault: something was broken from `at` until `until`."""

    at: float
    until: float
    what: str


Entry = Asked | Answered | Heard | Arrived | Struck
E = TypeVar("E", Asked, Answered, Heard, Arrived, Struck)
_KINDS: dict[str, type[Entry]] = {
    kind.__name__: kind for kind in (Asked, Answered, Heard, Arrived, Struck)
}


def read(path: Path) -> list[Entry]:
    """Return the entries of a journal that was written before."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [_KINDS[line.pop("entry")](**line) for line in lines]


class Journal:
    """The entries of one run, in order. May be written from any thread.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()
        self._entries: list[Entry] = []

    def add(self, entry: Entry) -> None:
        """Write an entry down."""
        line = {"entry": type(entry).__name__, **dataclasses.asdict(entry)}
        with self._lock:
            self._entries.append(entry)
            self._file.write(json.dumps(line, default=str) + "\n")
            self._file.flush()

    def of(self, kind: type[E]) -> Iterator[E]:
        """Return the entries of a kind."""
        with self._lock:
            entries = list(self._entries)
        return (entry for entry in entries if isinstance(entry, kind))

    def struck(self, what: str, since: float) -> None:
        """Note a fault that began at `since` and has ended now."""
        self.add(Struck(since, time.monotonic(), what))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
