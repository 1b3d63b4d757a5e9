"""Which requests a list of the console shows: found by merging ranked lists, never by reading all.

Of a list only what is shown is loaded. Where a filter or a search leaves much out, so much and no
more is looked at for one page; who wants more goes on from there.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import urlencode

from safeguards.types import AlertSeverity
from safeguards_runtime.records import Approval
from safeguards_runtime.records.approval import ended_rank, held_rank, waiting_rank
from safeguards_runtime.records.record import Record
from safeguards_runtime.reviewer import ConsoleRole
from safeguards_runtime.reviewers import Reviewer
from safeguards_runtime.store import Store
from services.gateway.console.searching import has_words, is_searched_in_part
from services.gateway.parts import Parts

PAGE_LENGTH = 30

SCAN_LENGTH = 2000
"""How many requests are looked at for one page."""

SCAN_SECONDS = 1.5
"""How long is looked for one page: requests may be large."""

CHUNK_LENGTH = 200

LOAD_LENGTH = 10
"""How many are loaded at once: while they are read, nothing else runs."""

MAX_WORDS_LENGTH = 200

Position = tuple[int, str]
"""Where in a list: the number by which it is ordered, and the id."""


class View(StrEnum):
    """Which requests are listed."""

    WAITING = "waiting"
    """What waits for the reader, who may answer it and has not."""

    IN_HAND = "in_hand"
    """What the reader has taken in hand."""

    ALL = "all"
    """All that waits for the reader's groups; for operators, all that waits."""

    ANSWERED = "answered"
    """What has ended, the latest first."""


@dataclass(frozen=True)
class Reader:
    """For whom a list is made.

    Attributes:
        reviewer: who reads.
        groups: theirs, and those of whom they stand in for now.
        wards: for whom they stand in now.
        reads_all: whether they may read what other groups are asked.
    """

    reviewer: Reviewer
    groups: frozenset[str]
    wards: tuple[Reviewer, ...]
    reads_all: bool

    def may_read(self, groups: Sequence[str]) -> bool:
        """Tell whether they may read a request to these groups."""
        return self.reads_all or bool(self.groups & set(groups))

    def may_answer(self, asked: Approval) -> bool:
        """Tell whether they belong to those who may answer, whatever was answered so far."""
        if self.reviewer.is_among(asked.askers):
            return False
        wards = (ward for ward in self.wards if not ward.is_among(asked.askers))
        mine = self.reviewer.groups.union(*(ward.groups for ward in wards))
        return bool(mine & set(asked.groups))

    def has_spoken(self, asked: Approval) -> bool:
        """Tell whether others must decide now: they have approved of the version that stands, or
        have changed it."""
        return self.reviewer.id in asked.spoken

    def is_awaited(self, asked: Approval) -> bool:
        """Tell whether a request waits for their answer."""
        return not asked.status.is_final and self.may_answer(asked) and not self.has_spoken(asked)


def reader_of(gateway: Parts, reviewer: Reviewer, now: datetime) -> Reader:
    """Return for whom lists are made and news is told, as things stand at `now`."""
    wards = gateway.directory.mandates(reviewer, now)
    groups = reviewer.groups.union(*(ward.groups for ward in wards))
    return Reader(reviewer, groups, wards, reads_all=ConsoleRole.OPERATOR in reviewer.roles)


@dataclass(frozen=True)
class Wanted:
    """What is asked of a list: all of it stands in the address.

    Attributes:
        words: all of them must be found; upper and lower case are alike.
    """

    view: View = View.WAITING
    risk: AlertSeverity | None = None
    agent: str = ""
    action_type: str = ""
    policy: str = ""
    words: str = ""

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Wanted:
        """Read an address's query. What it does not know, such as another version's view, is as
        if it were not there."""
        view, risk = given.get("view", ""), given.get("risk", "").upper()
        words = given.get("q", "")[:MAX_WORDS_LENGTH]
        return cls(
            view=View(view) if view in set(View) else View.WAITING,
            risk=AlertSeverity(risk) if risk in set(AlertSeverity) else None,
            agent=given.get("agent", "").strip(),
            action_type=given.get("type", "").strip(),
            policy=given.get("policy", "").strip(),
            words=" ".join(words.split()),
        )

    @property
    def is_filtered(self) -> bool:
        """Whether anything but the view is asked for."""
        return self != Wanted(self.view)

    def address(self, after: Position | None = None, path: str = "/console") -> str:
        """Return the address of what is wanted, from `after` on."""
        given = {
            "view": self.view.value if self.view is not View.WAITING else "",
            "q": self.words,
            "risk": self.risk.value.lower() if self.risk else "",
            "agent": self.agent,
            "type": self.action_type,
            "policy": self.policy,
            "after": f"{after[0]}.{after[1]}" if after else "",
        }
        query = urlencode({name: value for name, value in given.items() if value})
        return f"{path}?{query}" if query else path

    def seen_as(self, view: View) -> Wanted:
        """Return the same in another view."""
        return replace(self, view=view)

    def matches(self, asked: Approval, reader: Reader) -> bool:
        """Tell whether a request belongs to the list."""
        return (
            self._is_in_view(asked, reader)
            and self.risk in (None, asked.severity)
            and self.agent in ("", asked.agent_id)
            and self.action_type in ("", asked.action_type)
            and (not self.policy or self.policy in asked.policies)
            and (not self.words or has_words(asked, self.words))
        )

    def may_match(self, asked: Approval, reader: Reader) -> bool:
        """Tell whether a request would belong to the list if its words were found."""
        return replace(self, words="").matches(asked, reader)

    def _is_in_view(self, asked: Approval, reader: Reader) -> bool:
        if not reader.may_read(asked.groups):
            return False
        if self.view is View.ANSWERED:
            return asked.status.is_final
        if self.view is View.WAITING:
            return reader.is_awaited(asked)
        is_held = asked.claim is not None and asked.claim.reviewer_id == reader.reviewer.id
        return not asked.status.is_final and (self.view is View.ALL or is_held)

    def lists(self, reader: Reader) -> list[str]:
        """Return the ranked lists that hold it all."""
        if self.view is View.IN_HAND:
            return [held_rank(reader.reviewer.id)]
        rank = ended_rank if self.view is View.ANSWERED else waiting_rank
        if reader.reads_all and self.view is not View.WAITING:
            return [rank()]
        return [rank(group) for group in sorted(reader.groups)]


def position(text: str) -> Position | None:
    """Return where an address goes on from, or None if it says nothing that can be read."""
    found = re.fullmatch(r"([0-9]{1,15})\.(apr_[0-9a-f]{32})", text)
    return (int(found[1]), found[2]) if found else None


@dataclass(frozen=True)
class Found:
    """A page of a list.

    Attributes:
        approvals: in the list's order.
        after: from where the next page goes on; None at the end.
        searched: how many were looked at, where that was too many to go on; else 0.
        in_part: how many were not found, but have more text than is searched.
    """

    approvals: tuple[Approval, ...]
    after: Position | None = None
    searched: int = 0
    in_part: int = 0


class _Look(NamedTuple):
    """What was seen of one request of a list."""

    at: Position
    match: Approval | None
    in_part: bool = False


async def find(store: Store, wanted: Wanted, reader: Reader, after: Position | None) -> Found:
    """Return a page of a list, from behind `after`."""
    lists = wanted.lists(reader)
    descending = wanted.view is View.ANSWERED
    size = CHUNK_LENGTH if wanted.is_filtered else PAGE_LENGTH + 1
    deadline = time.monotonic() + SCAN_SECONDS
    shown: list[tuple[Position, Approval]] = []
    searched = in_part = 0
    while True:
        chunk = await _chunk(store, lists, after, size, descending)
        for start in range(0, len(chunk), LOAD_LENGTH):
            part = chunk[start : start + LOAD_LENGTH]
            for look in await _looked_at(store, wanted, reader, part, deadline):
                after, searched, in_part = look.at, searched + 1, in_part + look.in_part
                if look.match is None:
                    continue
                shown.append((look.at, look.match))
                if len(shown) > PAGE_LENGTH:
                    page, last = _approvals(shown[:PAGE_LENGTH]), shown[PAGE_LENGTH - 1][0]
                    return Found(page, last, in_part=in_part)
            if time.monotonic() > deadline:
                break
        is_all = len(chunk) < size and (not chunk or after == chunk[-1])
        if is_all:
            return Found(_approvals(shown), in_part=in_part)
        if searched >= SCAN_LENGTH or time.monotonic() > deadline:
            return Found(_approvals(shown), after, searched, in_part)
        size = CHUNK_LENGTH


async def find_among(
    store: Store, wanted: Wanted, reader: Reader, ids: Sequence[str]
) -> list[Approval]:
    """Return which of these requests belong to a list. Where searching them takes too long, those
    that are left belong to it if nothing but the words speaks against it."""
    deadline = time.monotonic() + SCAN_SECONDS
    found: list[Approval] = []
    left = [(0, record_id) for record_id in ids]
    while left:
        if time.monotonic() > deadline:
            wanted, deadline = replace(wanted, words=""), float("inf")
        looks = await _looked_at(store, wanted, reader, left[:LOAD_LENGTH], deadline)
        found += [look.match for look in looks if look.match is not None]
        left = left[len(looks) :]
    return found


async def _looked_at(
    store: Store, wanted: Wanted, reader: Reader, part: Sequence[Position], deadline: float
) -> list[_Look]:
    """Look at a few requests: at one, and at as many more as there is time for."""
    _, records = await store.load([record_id for _, record_id in part])

    def look() -> list[_Look]:
        looks = []
        for at, record in zip(part, records, strict=True):
            looks.append(_look(at, record, wanted, reader))
            if time.monotonic() > deadline:
                break
        return looks

    # Searching takes its time, in which others are answered.
    return await asyncio.to_thread(look) if wanted.words else look()


def _look(at: Position, record: Record | None, wanted: Wanted, reader: Reader) -> _Look:
    if not isinstance(record, Approval) or not wanted.may_match(record, reader):
        return _Look(at, None)
    if not wanted.words or has_words(record, wanted.words):
        return _Look(at, record)
    return _Look(at, None, is_searched_in_part(record))


def _approvals(shown: Sequence[tuple[Position, Approval]]) -> tuple[Approval, ...]:
    return tuple(approval for _, approval in shown)


async def _chunk(
    store: Store, lists: Sequence[str], after: Position | None, size: int, descending: bool
) -> list[Position]:
    """Return the next `size` of several lists in one order, each request once: it has the same
    number in all of them."""
    parts = await asyncio.gather(
        *(store.ranked(name, after=after, limit=size, descending=descending) for name in lists)
    )
    return sorted({at for part in parts for at in part}, reverse=descending)[:size]


async def counted(store: Store, lists: Sequence[str]) -> tuple[int, bool]:
    """Return how many requests the lists hold, and whether that is exact: those that stand in more
    than one are counted in each."""
    counts = await asyncio.gather(*map(store.counted_ranks, lists))
    return sum(counts), sum(1 for count in counts if count) <= 1
