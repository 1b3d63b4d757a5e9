"""What safeguards find of recorded actions by themselves: it takes the most time, and hangs on
nothing that came before, so that a second process may do it while this one judges."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from safeguards.errors import SafeguardsError
from safeguards_runtime.admin.console import settings
from safeguards_runtime.policy_book import PolicyBook, load_policies
from safeguards_runtime.telemetry import configure_logging
from services.safeguard_evaluator.plugins import Plugins
from services.safeguard_evaluator.replay.recorded import RecordedAction
from services.safeguard_evaluator.trying_out import Asked
from services.safeguard_evaluator.verdicts import Candidate, Found, Inspection, inspect

AT_ONCE = 200
"""How many actions the other process is given at once."""

_KEPT_TYPES = 4096
"""For how many types of actions it is remembered whether two files inspect them alike."""


class Source(NamedTuple):
    """A policy file and what it holds."""

    path: Path
    book: PolicyBook

    @classmethod
    def load(cls, path: Path) -> Source:
        """Read a policy file.

        Raises:
            ConfigurationError: as `load_policies`.
        """
        return cls(path, load_policies(path))


class Inspected(NamedTuple):
    """An action, and what the safeguards of one or two policy files find of it."""

    action: RecordedAction
    first: Inspection
    second: Inspection | None
    """By the second file."""

    is_alike: bool
    """Whether the second file finds the same for the same reasons."""


_Slim = tuple[list[tuple[str, str | None]], dict[str, Found]]
"""An inspection without what both processes have: the policies by their names."""

_Pair = tuple[_Slim, _Slim | None]
"""Of both files; None in the place of the second if it is alike, or there is none."""


class _Inspector:
    """Inspects actions by one or two policy files, once where they are alike."""

    def __init__(self, books: Sequence[PolicyBook]) -> None:
        self._books = books
        self.is_alike = alike(books[0], books[-1])
        self.plugins = Plugins()

    async def inspect(self, asked: Asked) -> tuple[Inspection, Inspection | None]:
        """Return what is found by each file; None for the second if it is alike."""
        first = await inspect(asked, self._books[0], self.plugins.ask)
        if self.is_alike(asked.action_type):
            return first, None
        return first, await inspect(asked, self._books[1], self.plugins.ask)


def alike(one: PolicyBook, other: PolicyBook) -> Callable[[str], bool]:
    """Return what tells of a type of actions whether two policy files inspect them alike: the same
    policies are for them, and the same safeguards look at them."""

    def is_same_safeguard(name: str) -> bool:
        if one.plugins.get(name) != other.plugins.get(name):
            return False
        # What a file leaves to the ready-made policies is the same if both switch them on.
        configured = one.file.safeguards.get(name) == other.file.safeguards.get(name)
        return configured and one.uses.get(name) == other.uses.get(name)

    @lru_cache(_KEPT_TYPES)
    def is_alike(action_type: str) -> bool:
        mine, theirs = one.index.of_type(action_type), other.index.of_type(action_type)
        names = {name for policy in mine for name in policy.safeguards}
        return mine == theirs and all(map(is_same_safeguard, names))

    return is_alike


async def inspected(
    actions: Iterable[RecordedAction], sources: Sequence[Source], *, ahead: bool
) -> AsyncIterator[Inspected]:
    """Inspect actions, in their order.

    Args:
        actions: what is inspected.
        sources: one or two policy files.
        ahead: whether another process does it, unless there are plugins: they have processes of
            their own. It takes a second to start.

    Raises:
        SafeguardsError: the other process has failed.
    """
    books = [source.book for source in sources]
    inspector = _Inspector(books)

    def whole(action: RecordedAction, first: Inspection, second: Inspection | None) -> Inspected:
        is_alike = second is None
        if second is None and len(books) > 1:
            second = replace(first, book=books[1])
        return Inspected(action, first, second, is_alike)

    if ahead and not any(book.plugins for book in books):
        for action, pair in _ahead(actions, sources):
            first, second = _widened(action, pair, books)
            yield whole(action, first, second)
        return
    try:
        for action in actions:
            yield whole(action, *await inspector.inspect(_asked(action)))
    finally:
        await inspector.plugins.aclose()


def _asked(action: RecordedAction) -> Asked:
    return Asked(action.action_type, action.context, action.agent_id, action.id)


def _ahead(
    actions: Iterable[RecordedAction], sources: Sequence[Source]
) -> Iterator[tuple[RecordedAction, _Pair]]:
    """Yield what another process finds, which is at the next actions while these are judged."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    paths = [source.path for source in sources]
    process = context.Process(target=_serve, args=(theirs, paths), daemon=True)
    process.start()
    theirs.close()
    try:
        if ours.recv() != [source.book.version for source in sources]:
            raise SafeguardsError("a policy file has changed while it was read: try again")
        rest = iter(actions)
        batch = _sent(ours, rest)
        while batch:
            found = ours.recv()
            following = _sent(ours, rest)
            yield from zip(batch, found, strict=True)
            batch = following
    except (EOFError, ConnectionError) as error:
        raise SafeguardsError("the process that inspects actions has ended: try again") from error
    finally:
        # It ends when there is nobody to read from.
        ours.close()
        process.join()


def _sent(to: Connection[Any, Any], rest: Iterator[RecordedAction]) -> list[RecordedAction]:
    batch = list(islice(rest, AT_ONCE))
    if batch:
        to.send([_asked(action) for action in batch])
    return batch


def _serve(asking: Connection[Any, Any], paths: Sequence[Path]) -> None:
    """Say which policies these are, and inspect what is asked for, until nobody asks any more. Runs
    in the other process."""
    # Whoever interrupts the command means the process that asks: this one ends with it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logging(settings(), "safeguards")
    books = [load_policies(path) for path in paths]
    inspector = _Inspector(books)
    with asyncio.Runner() as runner, suppress(EOFError, ConnectionError):
        asking.send([book.version for book in books])
        while True:
            asking.send(runner.run(_pairs(inspector, asking.recv())))


async def _pairs(inspector: _Inspector, batch: Sequence[Asked]) -> list[_Pair]:
    pairs: list[_Pair] = []
    for asked in batch:
        first, second = await inspector.inspect(asked)
        pairs.append((_slim(first), _slim(second) if second is not None else None))
    return pairs


def _slim(inspection: Inspection) -> _Slim:
    return [(one.policy.name, one.failure) for one in inspection.candidates], inspection.found


def _widened(
    action: RecordedAction, pair: _Pair, books: Sequence[PolicyBook]
) -> tuple[Inspection, Inspection | None]:
    asked = _asked(action)

    def widened(slim: _Slim, book: PolicyBook) -> Inspection:
        names, found = slim
        by_name = {policy.name: policy for policy in book.index.of_type(action.action_type)}
        candidates = tuple(Candidate(by_name[name], failure) for name, failure in names)
        return Inspection(asked, book, candidates, found)

    first, second = pair
    return widened(first, books[0]), widened(second, books[1]) if second is not None else None
