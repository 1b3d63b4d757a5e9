"""The words of an action's type: what it does, and to what."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase
from functools import lru_cache

from safeguards.plugins.names import compact_name, glob_spellings, is_glob, spellings, words

_REMEMBERED_LENGTH = 100

READING = frozenset(
    [
        "analyse",
        "analyze",
        "calculate",
        "check",
        "compare",
        "count",
        "describe",
        "display",
        "download",
        "estimate",
        "explain",
        "export",
        "fetch",
        "find",
        "get",
        "list",
        "lookup",
        "open",
        "preview",
        "query",
        "read",
        "retrieve",
        "scan",
        "search",
        "show",
        "summarise",
        "summarize",
        "validate",
        "verify",
        "view",
        "watch",
    ]
)
"""The words with which the types of actions begin that only look."""


def name_words(name: str) -> frozenset[str]:
    """Return the words of a name in every spelling of it; see `names.words`."""
    return _remembered(name) if len(name) <= _REMEMBERED_LENGTH else words(name)


@lru_cache(maxsize=4096)
def _remembered(name: str) -> frozenset[str]:
    return words(name)


@lru_cache(maxsize=4096)
def _remembered_endings(name: str) -> frozenset[str]:
    names = [spelled.split("_") for spelled in spellings(name)]
    return frozenset("_".join(steps[at:]) for steps in names for at in range(len(steps)))


def endings(name: str) -> frozenset[str]:
    """Return a name in every spelling of it, and its ends: those of `dbApiKey` are db_api_key,
    api_key and key, and dbapikey. Of a long name, those of its last 100 characters."""
    return _remembered_endings(name[-_REMEMBERED_LENGTH:])


def action_words(action_type: str, verbs: Collection[str]) -> frozenset[str]:
    """Return the words of an action's type. Of one written in one word, `updatepassword`, also
    the verb that it begins with, and the rest."""
    found = name_words(action_type)
    if len(found) != 1:
        return found
    (only,) = found
    parts = {
        part
        for verb in verbs
        if only.startswith(verb)
        for part in (verb, only.removeprefix(verb))
        if part
    }
    return found | parts


def only_reads(action_type: str) -> bool:
    """Tell whether an action's type begins with a word for looking: `search_files`."""
    return _remembered_reading(action_type[:_REMEMBERED_LENGTH])


@lru_cache(maxsize=4096)
def _remembered_reading(action_type: str) -> bool:
    return spellings(action_type)[-1].split("_")[0] in READING


def singular(found: Iterable[str]) -> frozenset[str]:
    """Return words without the s of a plural: of `passwords` password; `access` stays."""
    return frozenset(
        word[:-1] if word.endswith("s") and not word.endswith("ss") else word for word in found
    )


def type_matches(action_type: str, globs: Iterable[str]) -> bool:
    """Tell whether an action's type, in any spelling of it, matches one of the globs. One that is
    written out is also for the type in one word: `WIREMONEY` for `wire_money`."""
    names, compact = spellings(action_type), compact_name(action_type)
    return any(
        any(fnmatchcase(name, spelled) for spelled in glob_spellings(glob) for name in names)
        or (not is_glob(glob) and compact_name(glob) == compact)
        for glob in globs
    )
