"""What operations may lead to that are cut short, tried again, or run at the same time."""

from __future__ import annotations

from collections.abc import Sequence

from tests.chaos.approval.model import State
from tests.chaos.approval.operations import Operation, Progress


def until_it_writes(operation: Operation, state: State) -> tuple[State, Progress | str]:
    """Return the state just before an operation first writes, and its progress until there.

    If it writes nothing, its result is returned in place of the progress.
    """
    progress: Progress | str = ()
    while not isinstance(progress, str):
        after, further = operation.step(state, progress)
        if after.lines > state.lines:
            break
        state, progress = after, further
    return state, progress


def with_lost_reply(operation: Operation, state: State) -> tuple[State, Progress | str]:
    """Return what becomes of an operation that does not hear of its first write, and so does once
    more what it did last; and its result."""
    state, progress = until_it_writes(operation, state)
    if isinstance(progress, str):
        return state, progress
    state, _ = operation.step(state, progress)
    while not isinstance(progress, str):
        state, progress = operation.step(state, progress)
    return state, "done" if progress == "same" else progress


def explanations(
    state: State, operations: Sequence[Operation], results: Sequence[str]
) -> set[State]:
    """Return every state in which these operations may leave the records.

    Args:
        state: as it was before any of them began.
        operations: what ran at the same time.
        results: what came of each.
    """
    found: set[State] = set()
    visited = set()
    ahead: list[tuple[State, tuple[Progress | str, ...]]] = [(state, ((),) * len(operations))]
    while ahead:
        standing, progresses = ahead.pop()
        if (standing, progresses) in visited:
            continue
        visited.add((standing, progresses))
        if all(isinstance(progress, str) for progress in progresses):
            found.add(standing)
        for number, (operation, progress) in enumerate(zip(operations, progresses, strict=True)):
            if isinstance(progress, str):
                continue
            after, further = operation.step(standing, progress)
            if not isinstance(further, str) or further == results[number]:
                moved = (*progresses[:number], further, *progresses[number + 1 :])
                ahead.append((after, moved))
    return found
