"""The kill switch: the agents, and the types of actions, that people have halted. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Literal

from pydantic import BaseModel, ConfigDict

from safeguards.identifiers import named_id
from safeguards.plugins import glob_spellings
from safeguards.text import visible
from safeguards_runtime.records.account import OPERATOR
from safeguards_runtime.records.record import Change, Record, Refusal
from safeguards_runtime.type_index import TypeIndex

HALTS_ID = named_id("hlt", "halts")
"""Where the one record of all that is halted stands."""

MAX_REASON_LENGTH = 500
MAX_NAME_LENGTH = 200

MAX_HALTS = 1000
"""How many may be in force together: each batch of actions is judged by all of them."""

Subject = Literal["agent", "type"]
"""What is halted: all that one agent wants, or one type of actions of every agent."""


SEEN: dict[Subject, str] = {"agent": "agents", "type": "action_types"}
"""The lists of the agents and types that have been seen (`Change.names`)."""


class Halt(BaseModel):
    """One agent, or one type of actions, that may not go on."""

    model_config = ConfigDict(frozen=True)

    subject: Subject
    name: str
    """The agent's id; or the type of actions, or a glob of types, matched as policies match it."""

    reason: str
    by: str
    """Who did it: `reviewer:olga`, or `operator` where it was done by command."""

    at: datetime

    def words(self, by: str | None = None) -> str:
        """Return what is halted, by whom and why. It is visible text.

        Args:
            by: the name of who did it; unless given, their id.
        """
        own = "an operator" if self.by == OPERATOR else self.by.removeprefix("reviewer:")
        who = by or own
        reason = visible(self.reason, single_line=True)
        if self.subject == "agent":
            return f"{visible(self.name, single_line=True)} is halted by {who}: {reason}"
        return f"{types_in_words(self.name)} are halted by {who}: {reason}"


class Halts(Record):
    """All that is halted now. One record for all, so that a verdict is written only if nothing has
    been halted since it was judged (`Store.apply_all`, `given`)."""

    in_force: tuple[Halt, ...] = ()
    """In the order in which they were halted."""

    def on(self, agent_id: str, action_type: str) -> Halt | None:
        """Return what halts an agent's action of a type; None if nothing does."""
        if not self.in_force:
            return None
        for one in self.in_force:
            if one.subject == "agent" and one.name == agent_id:
                return one
        of_types = self.of("type")
        found = _types(tuple(one.name for one in of_types)).of_type(action_type)
        return of_types[found[0]] if found else None

    def why(self, agent_id: str, action_type: str) -> str | None:
        """Return in words why an agent may do nothing of a type; None if it may."""
        found = self.on(agent_id, action_type)
        return found.words() if found else None

    def of(self, subject: Subject) -> tuple[Halt, ...]:
        """Return the halts of agents, or those of types."""
        return tuple(one for one in self.in_force if one.subject == subject)

    def find(self, subject: Subject, name: str) -> Halt | None:
        """Return the halt of just this agent or type; None if there is none."""
        wanted = _key(subject, name)
        return next((one for one in self.in_force if _key(one.subject, one.name) == wanted), None)


def halts_of(record: Record | None) -> Halts:
    """Return what is halted by the record under `HALTS_ID`: nothing if there is none yet."""
    return record if isinstance(record, Halts) else Halts(id=HALTS_ID)


def types_in_words(pattern: str) -> str:
    """Return which actions are of a type, or of those that a glob is for. It is visible text."""
    if set(pattern) == {"*"}:
        return "all actions"
    return f"actions of type {visible(pattern, single_line=True)}"


def meant(subject: Subject, name: str, seen: Iterable[str]) -> list[str]:
    """Return which of the agents, or types, that have been seen a halt would be for."""
    if subject == "agent":
        return [one for one in seen if one == name]
    index = _types((name.strip(),))
    return sorted((one for one in seen if index.of_type(one)), key=str.casefold)


def halt(
    standing: Halts | None, subject: Subject, name: str, *, by: str, reason: str, now: datetime
) -> Change | None:
    """Deny an agent's actions from now on, or all of a type. None if just that is halted already.

    Args:
        standing: as it stands in the store; None if nothing was ever halted.
        subject: whether an agent is halted or a type of actions.
        name: the agent's id; or the type, or a glob of types.
        by: who does it, as the history names them: `reviewer:olga`, `operator`.
        reason: why; the agent and those who look after it are told.
        now: the store's clock, UTC.

    Raises:
        Refusal: `name_required`, `name_too_long`, `name_unprintable`, `reason_required`,
            `reason_too_long`, `too_many_halts`.
    """
    before = halts_of(standing)
    reason = reason.strip()
    name = _checked(subject, name)
    if not reason:
        raise Refusal("reason_required", "say why: the agent and its operators are told")
    if len(reason) > MAX_REASON_LENGTH:
        raise Refusal("reason_too_long", f"say it in at most {MAX_REASON_LENGTH} characters")
    if before.find(subject, name) is not None:
        return None
    if len(before.in_force) >= MAX_HALTS:
        words = f"{MAX_HALTS:,} halts are in force: let some go on, or halt types by a glob"
        raise Refusal("too_many_halts", words)
    made = Halt(subject=subject, name=name, reason=reason, by=by, at=now)
    after = before.model_copy(update={"in_force": (*before.in_force, made)})
    detail = {"subject": subject, "name": name, "reason": reason}
    return Change(standing, after, "halted", by, now, detail, agent_id=_agent(made))


def resume(
    standing: Halts | None, subject: Subject, name: str, *, by: str, now: datetime
) -> Change | None:
    """Let an agent, or a type of actions, go on. What was denied meanwhile stays denied.

    Args:
        standing: as it stands in the store; None if nothing was ever halted.
        subject: whether it is an agent or a type of actions.
        name: as it was halted; of a type, case and separators may differ.
        by: who does it, as the history names them.
        now: the store's clock, UTC.

    Returns:
        The change; None if just this is not halted.
    """
    before = halts_of(standing)
    found = before.find(subject, name)
    if found is None:
        return None
    left = tuple(one for one in before.in_force if one is not found)
    after = before.model_copy(update={"in_force": left})
    detail = {
        "subject": subject,
        "name": found.name,
        "halted_by": found.by,
        "halted_at": found.at.isoformat(),
    }
    return Change(standing, after, "resumed", by, now, detail, agent_id=_agent(found))


def _checked(subject: Subject, name: str) -> str:
    if subject == "type":
        name = name.strip()
    is_empty = not any(glob.strip("_") for glob in glob_spellings(name))
    if is_empty if subject == "type" else not name.strip():
        raise Refusal("name_required", "say what: an agent, or a type of actions such as wire_*")
    if len(name) > MAX_NAME_LENGTH:
        words = f"no agent and no type has a name of more than {MAX_NAME_LENGTH} characters"
        raise Refusal("name_too_long", words)
    if not name.isprintable():
        words = "no agent and no type has characters in its name that cannot be seen: type it anew"
        raise Refusal("name_unprintable", words)
    return name


def _agent(one: Halt) -> str:
    return one.name if one.subject == "agent" else ""


def _key(subject: Subject, name: str) -> tuple[str, ...]:
    return (subject, name) if subject == "agent" else (subject, *glob_spellings(name))


@lru_cache(maxsize=16)
def _types(patterns: tuple[str, ...]) -> TypeIndex[int]:
    """Return the positions of types and globs by the types that they are for."""
    return TypeIndex(((pattern,), at) for at, pattern in enumerate(patterns))
