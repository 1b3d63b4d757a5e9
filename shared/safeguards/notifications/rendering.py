"""A message as plain text and as one line, and the parts that every medium shows. Pure functions.

Every text in a message may come from an agent: it goes through `visible`, and stays where it can
be told from ours.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator

from safeguards.notifications.message import Message
from safeguards.text import visible

SUBJECT_LIMIT = 200
LABEL_LIMIT = 100
VALUE_LIMIT = 2_000
WORDS_LIMIT = 10_000
MAX_FACTS = 40
MAX_REASONS = 20
MAX_ENTRIES = 50

ENTRY_FACTS = 4
"""How many facts of each entry a digest shows; the page behind its link shows all."""

ENTRY_VALUE_LIMIT = 200

REASONS_TITLE = "Why you are asked"

_REASONS_TITLES = {"alert": "Why you are told", "resolved": "What was said"}

_MAX_CAUTIONS = 3
_WORD = re.compile(r"[^\W\d_]{2,}")
# Alphabets with letters that look like those of another one of them: the first word of the
# letters' names in Unicode.
_LOOKALIKES = frozenset(
    {"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "FULLWIDTH", "MATHEMATICAL"}
)


def subject(message: Message, limit: int = SUBJECT_LIMIT) -> str:
    """Return the subject as one safe line of at most `limit` characters."""
    return visible(message.subject, single_line=True, limit=limit)


def words_title(message: Message) -> str:
    """Return the label of the box with the agent's words; an alert's are a safeguard's."""
    return "Details" if message.words_of == "safeguard" else "In the agent's own words"


def reasons_title(message: Message) -> str:
    """Return the label of the reasons: why one is asked or told, or what was said to it."""
    kind, _, happened = message.event.partition(".")
    return _REASONS_TITLES.get(kind) or _REASONS_TITLES.get(happened, REASONS_TITLE)


_OUR_LABELS = frozenset(
    {"agent", "action", "answer by", "decided by", "in the stead of", "severity"}
    | {"approvals", "approved by", "changed by", "handed over by", "their note"}
    | {"review and answer", "open in the console", "look at it", "see all of them", "careful"}
    | {"why you are asked", "details"}
)


def argument_label(name: str) -> str:
    """Return the name of an argument as a label that cannot pass for one of ours."""
    folded = unicodedata.normalize("NFKC", visible(name, single_line=True)).casefold()
    plain = " ".join(folded.split()).rstrip(" :.")
    is_like_ours = plain in _OUR_LABELS or plain.endswith((" (changed)", " (argument)"))
    return f"{name} (argument)" if is_like_ours else name


def facts(message: Message, limit: int = VALUE_LIMIT) -> list[tuple[str, str]]:
    """Return the facts, made visible and shortened; a last one says how many were left out."""
    shown = [
        (visible(label, single_line=True, limit=LABEL_LIMIT), visible(value, limit=limit))
        for label, value in message.facts[:MAX_FACTS]
    ]
    left_out = len(message.facts) - len(shown)
    return [*shown, ("…", f"and {left_out} more")] if left_out else shown


def entry_facts(entry: Message) -> list[tuple[str, str]]:
    """Return the first facts of an entry of a digest, one line each."""
    return [
        (
            visible(label, single_line=True, limit=LABEL_LIMIT),
            visible(value, single_line=True, limit=ENTRY_VALUE_LIMIT),
        )
        for label, value in entry.facts[:ENTRY_FACTS]
    ]


def reasons(message: Message, limit: int = VALUE_LIMIT) -> list[str]:
    """Return the reasons, one safe line each; a last one says how many were left out."""
    shown = [visible(r, single_line=True, limit=limit) for r in message.reasons[:MAX_REASONS]]
    left_out = len(message.reasons) - len(shown)
    return [*shown, f"… and {left_out} more"] if left_out else shown


def words(message: Message) -> str:
    """Return the agent's own words, made visible and shortened."""
    return visible(message.agent_words, limit=WORDS_LIMIT)


def footer(message: Message) -> str:
    """Return what happens if nobody answers, as one safe line."""
    return visible(message.footer, single_line=True, limit=VALUE_LIMIT)


def entries(message: Message) -> tuple[Message, ...]:
    """Return the entries of a digest that are shown; `left_out` counts the others."""
    return message.entries[:MAX_ENTRIES]


def left_out(message: Message) -> int:
    """Return how many more a digest stands for than `entries` returns."""
    return message.left_out + len(message.entries) - len(entries(message))


def cautions(message: Message) -> list[str]:
    """Return a sentence for each word whose letters are of several alphabets that look alike."""
    found: dict[str, str] = {}
    for shown in _all_texts(message):
        for word in [] if shown.isascii() else _WORD.findall(shown):
            if word not in found and (letters := _foreign_letters(word)):
                found[word] = f'"{word[:60]}" mixes alphabets that look alike: {letters}'
            if len(found) > _MAX_CAUTIONS:
                return [*list(found.values())[:_MAX_CAUTIONS], "… and more such words"]
    return list(found.values())


def _all_texts(message: Message) -> Iterator[str]:
    yield subject(message)
    for fact in facts(message):
        yield from fact
    yield words(message)
    yield from reasons(message)
    for entry in entries(message):
        yield subject(entry)
        for fact in entry_facts(entry):
            yield from fact


def _foreign_letters(word: str) -> str:
    """Return what the letters are, if the word mixes alphabets; otherwise nothing."""
    if word.isascii():
        return ""
    alphabets = {letter: unicodedata.name(letter, "").partition(" ")[0] for letter in word}
    mixed = _LOOKALIKES.intersection(alphabets.values())
    if len(mixed) < 2:
        return ""
    usual = max(mixed, key=lambda name: sum(alphabets[letter] == name for letter in word))
    odd = [letter for letter, name in alphabets.items() if name in mixed - {usual}]
    named = ", ".join(
        f"{letter} is {alphabets[letter].capitalize()} (U+{ord(letter):04X})" for letter in odd[:4]
    )
    return f"{named}, …" if len(odd) > 4 else named


def quoted(text: str, mark: str) -> str:
    """Return `text` with `mark` before each of its lines, so that none can pass for ours."""
    return "\n".join(f"{mark}{line}".rstrip() for line in text.split("\n"))


def one_line(message: Message) -> str:
    """Return the message as one line, for logs; values are quoted as in JSON.

    Without the link, which may hold a secret.
    """
    pairs = [
        *facts(message),
        (words_title(message), visible(message.agent_words, limit=VALUE_LIMIT)),
    ]
    pairs += [("reason", reason) for reason in reasons(message)]
    pairs += [(entry.severity.value, subject(entry)) for entry in entries(message)]
    parts = [f"{label}: {json.dumps(value, ensure_ascii=False)}" for label, value in pairs if value]
    if left_out(message):
        parts.append(f"and {left_out(message)} more")
    return " | ".join([subject(message), *parts])


def text(message: Message) -> str:
    """Return the message as plain text, for the text part of a mail."""
    title = subject(message)
    blocks = [f"{title}\n{'=' * min(len(title), 72)}"]
    if message.facts:
        blocks.append("\n".join(_text_fact(label, value) for label, value in facts(message)))
    blocks += [f"Careful: {caution}" for caution in cautions(message)]
    if message.reasons:
        listed = "\n".join(f"- {reason}" for reason in reasons(message))
        blocks.append(f"{reasons_title(message)}:\n{listed}")
    if message.agent_words:
        blocks.append(f"{words_title(message)}:\n{quoted(words(message), '> ')}")
    blocks += [_text_entry(number, entry) for number, entry in enumerate(entries(message), start=1)]
    if left_out(message):
        blocks.append(f"and {left_out(message)} more")
    if message.link:
        label = visible(message.link.label, single_line=True, limit=LABEL_LIMIT)
        blocks.append(f"{label}:\n{message.link.url}")
    if message.footer:
        blocks.append(f"-- \n{footer(message)}")
    return "\n\n".join(blocks) + "\n"


def _text_fact(label: str, value: str) -> str:
    first, *rest = value.split("\n")
    return "\n".join([f"{label}: {first}", *(f"    | {line}" for line in rest)])


def _text_entry(number: int, entry: Message) -> str:
    lines = [f"{number}. [{entry.severity.value}] {subject(entry)}"]
    lines += [f"   {label}: {value}" for label, value in entry_facts(entry)]
    if entry.footer:
        lines.append(f"   {footer(entry)}")
    if entry.link:
        label = visible(entry.link.label, single_line=True, limit=LABEL_LIMIT)
        lines.append(f"   {label}: {entry.link.url}")
    return "\n".join(lines)
