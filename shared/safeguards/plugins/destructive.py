"""The safeguard for destructive operations: what deletes, drops, overwrites or changes many."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, ClassVar, NamedTuple

from pydantic import Field

from safeguards.configuration import Config, read_config
from safeguards.plugins.action_words import action_words, endings, name_words, only_reads
from safeguards.plugins.arguments import TooMuchError, walk
from safeguards.plugins.base import Safeguard
from safeguards.plugins.names import plain_name, spellings
from safeguards.plugins.statements import (
    destroyed_by_command,
    destroyed_by_sql,
    empties_a_store,
    need_sql,
    reads_like_sql,
    words_of_mutation,
)
from safeguards.plugins.texts import Text, about, at, folded, places, texts, unsearchable
from safeguards.text import visible
from safeguards.types import Agent, AlertSeverity, SafetyAlert

DEFAULT_DESTRUCTIVE_WORDS = (
    "delete",
    "deletion",
    "del",
    "remove",
    "rm",
    "rmdir",
    "rmtree",
    "drop",
    "truncate",
    "overwrite",
    "purge",
    "wipe",
    "erase",
    "destroy",
    "reset",
    "shred",
    "unlink",
    "uninstall",
    "terminate",
    "flush",
    "rollback",
    "nuke",
    "decommission",
    "deprovision",
)
"""The words of an action's type that say that something is lost."""

_SQL = frozenset({"sql", "statement", "statements"})
_COMMANDS = frozenset(
    ["command", "commands", "cmd", "script", "shell", "bash", "code", "args", "argv", "exec"]
)
_QUERIES = _COMMANDS | {"query", "queries"}
_SWITCHES = frozenset(
    [
        "force",
        "forced",
        "force_push",
        "overwrite",
        "overwrite_existing",
        "hard",
        "hard_delete",
        "purge",
        "truncate",
        "delete",
        "delete_all",
        "replace_all",
        "apply_to_all",
        "permanent",
        "permanently",
        "skip_trash",
    ]
)
_NAMED_QUERIES = _SQL | {"query", "queries"}
_GRAPHQL = _QUERIES | {"mutation", "graphql"}
_SEARCHING = frozenset({"search", "find", "lookup", "ask"})
_DATABASES = frozenset({"sql", "db", "database", "query", "table", "warehouse", "records"})
_MODES = frozenset({"mode", "write_mode", "if_exists", "on_conflict", "strategy"})
_OVERWRITING = frozenset({"overwrite", "truncate", "replace", "force"})
_COUNTS = frozenset({"count", "limit", "max", "number", "total", "batch", "size"})
_MASS = frozenset({"bulk", "batch", "mass", "all", "every", "many"})
_MAKING = frozenset(
    [
        "append",
        "create",
        "draft",
        "draw",
        "generate",
        "log",
        "make",
        "plot",
        "record",
        "render",
        "save",
        "write",
    ]
)
_TRUE = frozenset({"true", "yes", "1", "on"})
_EVERYTHING = frozenset({"*", "%", "/", "all", ".*", "**", "."})


_ONE, _MANY = AlertSeverity.WARNING, AlertSeverity.ERROR
_LONGEST_SWITCH = 40
_MAX_ALERTS = 10


class _Found(NamedTuple):
    """Something destructive: what it does, where it stands, and whether it does it to many."""

    title: str
    story: str
    pointer: str
    many: bool


class DestructiveConfig(Config):
    """What `DestructiveSafeguard` is initialized with.

    Attributes:
        at_most: how many things one action may change unseen: the items of a list, or a number
            under a name such as `count`.
        words: the words of an action's type that say that something is lost, instead of the usual
            ones.
    """

    at_most: int = Field(default=20, ge=0)
    words: tuple[str, ...] = DEFAULT_DESTRUCTIVE_WORDS


class DestructiveSafeguard(Safeguard):
    """Alerts on what deletes, drops, overwrites or changes many: by the words of the action's type,
    by the SQL and the commands in its arguments, by switches such as `force`, and by count."""

    name: ClassVar[str] = "destructive"

    def configure(self, config: dict[str, Any]) -> None:
        """Take `at_most` and `words`. See `DestructiveConfig`.

        Raises:
            ConfigurationError: naming the key that is unknown or wrong.
            MissingExtraError: if sqlglot is not installed.
        """
        parsed = read_config(DestructiveConfig, config, type(self).__name__)
        need_sql()
        self._at_most = parsed.at_most
        self._words = frozenset(plain_name(word) for word in parsed.words)

    def check(self, agent: Agent, context: dict[str, Any]) -> list[SafetyAlert]:
        """Return a WARNING for what destroys one thing, an ERROR for what may destroy many."""
        facts = about(self.name, agent, context)
        action_type = str(context.get("action_type"))
        words = action_words(action_type, self._words)
        said = max(words & self._words, key=len, default="")
        alerts = []
        if said:
            story = f"{facts['action_type']} cannot simply be undone: {visible(said, limit=30)}."
            alerts.append(SafetyAlert("Destructive operation", story, _ONE, facts))
        try:
            searched = [text for text in texts(context) if not text.is_key]
            found = [*_in_statements(searched, words), *_in_commands(searched)]
            found += _in_mutations(searched, self._words)
            if not only_reads(action_type):
                found += _in_switches(context)
                makes = not said and not _MAKING.isdisjoint(words)
                found += _in_counts(
                    context,
                    self._at_most if not makes else None,
                    numbers=bool(said) or not _MASS.isdisjoint(words),
                )
            if said:
                found += _in_everything(searched)
        except TooMuchError:
            alerts.append(unsearchable(facts, "what is destructive"))
        else:
            alerts += _alerts(found, facts)
        return alerts


def _in_statements(searched: list[Text], words: frozenset[str]) -> Iterator[_Found]:
    # What is searched for on the web or in a mailbox is prose.
    prose = not words.isdisjoint(_SEARCHING) and words.isdisjoint(_DATABASES)
    for text in searched:
        ends = endings(text.name)
        is_sql = not ends.isdisjoint(_SQL)
        inside = frozenset().union(*map(endings, text.pointer.split("/")))
        if ends.isdisjoint(_QUERIES) and inside.isdisjoint(_NAMED_QUERIES):
            continue
        if is_sql or (reads_like_sql(text.plain) and not (prose and "query" in inside)):
            for story, many in destroyed_by_sql(text.plain).items():
                yield _Found("Destructive statement", story, text.pointer, many)
        if empties_a_store(text.plain):
            yield _Found("Destructive statement", "empties a store", text.pointer, True)


def _in_mutations(searched: list[Text], words: frozenset[str]) -> Iterator[_Found]:
    for text in searched:
        if not endings(text.name).isdisjoint(_GRAPHQL) and any(
            not name_words(word).isdisjoint(words) for word in words_of_mutation(text.plain)
        ):
            story = "deletes or removes by a mutation"
            yield _Found("Destructive statement", story, text.pointer, False)


def _in_commands(searched: list[Text]) -> Iterator[_Found]:
    commands = [text for text in searched if not endings(text.name).isdisjoint(_COMMANDS)]
    found = {
        story: text.pointer
        for text in reversed(commands)
        for story in destroyed_by_command(text.plain)
    }
    if len(commands) > 1:
        # A command and its arguments may stand apart: ["rm", "-rf", "/"].
        together = " ".join(text.plain for text in commands)
        for story in destroyed_by_command(together):
            found.setdefault(story, commands[0].pointer)
    for story, pointer in found.items():
        yield _Found("Destructive command", story, pointer, True)


def _in_switches(context: dict[str, Any]) -> Iterator[_Found]:
    for pointer, key, value in walk(context):
        if key is None or len(key) > _LONGEST_SWITCH or not isinstance(value, str | bool | int):
            continue
        if str(value)[:_LONGEST_SWITCH].casefold() in _TRUE:
            if not _SWITCHES.isdisjoint(spellings(key)):
                yield _Found("Destructive option", "is forced or overwrites", pointer, False)
        elif value in _OVERWRITING and not _MODES.isdisjoint(spellings(key)):
            yield _Found("Destructive option", "is forced or overwrites", pointer, False)


def _in_counts(context: dict[str, Any], at_most: int | None, *, numbers: bool) -> Iterator[_Found]:
    if at_most is None:
        return
    for pointer, key, value in walk(context):
        if isinstance(value, list | tuple):
            number: int | None = len(value)
        elif numbers and key is not None and not _COUNTS.isdisjoint(name_words(key)):
            number = _whole_number(value)
        else:
            continue
        if number is not None and number > at_most:
            story = f"is for {number} at once, more than {at_most}"
            yield _Found("Mass change", story, pointer, True)


def _in_everything(searched: list[Text]) -> Iterator[_Found]:
    for text in searched:
        if text.text.strip().casefold() in _EVERYTHING:
            yield _Found("Mass change", "is for everything", text.pointer, True)


def _alerts(found: list[_Found], facts: dict[str, Any]) -> list[SafetyAlert]:
    """Return one alert for each story, with the places where it stands."""
    where: dict[tuple[str, str, bool], list[str]] = {}
    for one in found:
        where.setdefault((one.title, one.story, one.many), []).append(one.pointer)
    alerts = []
    for (title, story, many), pointers in list(where.items())[:_MAX_ALERTS]:
        shown = places(pointers)
        alerts.append(
            SafetyAlert(
                title=title,
                description=f"It {story}, {at(shown)}.",
                severity=_MANY if many else _ONE,
                metadata={**facts, "places": shown},
            )
        )
    return alerts


def _whole_number(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        value = folded(value[:40]).strip()
        return int(value) if value.isascii() and value.isdigit() else None
    if isinstance(value, float | Decimal):
        value = Decimal(value)
        return int(value) if value.is_finite() and value.adjusted() < 18 else None
    return value if isinstance(value, int) and value.bit_length() < 64 else None
