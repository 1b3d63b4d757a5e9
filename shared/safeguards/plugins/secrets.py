"""The safeguard for secrets: keys, tokens and passwords in the arguments of an action."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from safeguards.configuration import Config, read_config
from safeguards.errors import MissingExtraError
from safeguards.plugins.action_words import endings
from safeguards.plugins.arguments import TooMuchError
from safeguards.plugins.base import Safeguard
from safeguards.plugins.names import spellings
from safeguards.plugins.texts import Text, about, at, places, texts, unsearchable
from safeguards.types import Agent, AlertSeverity, SafetyAlert

if TYPE_CHECKING:
    from kingfisher_sdk import Rules

DEFAULT_SECRET_FIELDS = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "client_secret",
    "secret_key",
    "api_key",
    "apikey",
    "access_key",
    "access_token",
    "auth_token",
    "bearer_token",
    "refresh_token",
    "private_key",
    "authorization",
)
"""The names under which a secret usually stands."""

# Each is found by a word that a text must have, so that most texts are searched only for those.
_IN_PROSE = {
    "a password": re.compile(
        r"\b(?:password|passwort|passphrase|passwd|pwd)\b[\"']?(?:\s{0,3}[:=]{1,2}|\s{1,3}is\s?:?)"
        r"\s{0,3}[\"']?(?![*{<\[$])(?=[^\s\"']{0,60}(?:[0-9]|[!$%&#?@^_+][^\s\"']))[^\s\"']{6,}",
        re.IGNORECASE,
    ),
    "a key": re.compile(
        r"\b(?:secret|api|access|private|license|encryption)[ _-]key\b[\"']?"
        r"(?:\s{0,3}[:=]{1,2}|\s{1,3}is\s?:?)\s{0,3}[\"']?(?![*{<\[$])(?=[^\s\"']{0,60}[0-9])"
        r"[^\s\"']{5,}",
        re.IGNORECASE,
    ),
    "a one-time code": re.compile(
        r"\b(?:security|verification|confirmation|one-time|login|authentication|2fa|otp)\s"
        r"(?:code|passcode|password|pin)\b(?:\s?[:=]|\s(?:is|was)\s?:?)?\s{0,3}[0-9][0-9 -]{3,9}",
        re.IGNORECASE,
    ),
    "a password in an address": re.compile(
        r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@?#]{0,100}:(?![/*{<$]|\*\*|x{3})[^\s:/@?#]{3,200}@",
        re.IGNORECASE,
    ),
}
_WORDS = ("passw", "passp", "pwd", "key", "code", "pin", "://")
_PLACEHOLDER = re.compile(r"[*x•.]*|<[^>]*>|\$?\{[^}]*\}+|\$\w+|\[[^\]]*\]|(?:env|vault)[:/].*")


class SecretsConfig(Config):
    """What `SecretsSafeguard` is initialized with.

    Attributes:
        secret_fields: the arguments whose value is a secret by their name, instead of the usual
            ones.
    """

    secret_fields: tuple[str, ...] = DEFAULT_SECRET_FIELDS


class SecretsSafeguard(Safeguard):
    """Alerts on keys, tokens, passwords and one-time codes, wherever in the arguments.

    Keys and tokens are those that the rules of Kingfisher know by their form. Nothing is asked of
    the network.
    """

    name: ClassVar[str] = "secrets"

    def configure(self, config: dict[str, Any]) -> None:
        """Take `secret_fields`. See `SecretsConfig`.

        Raises:
            ConfigurationError: naming the key that is unknown or wrong.
            MissingExtraError: if Kingfisher is not installed.
        """
        parsed = read_config(SecretsConfig, config, type(self).__name__)
        try:
            from kingfisher_sdk import Scanner
        except ImportError as error:
            raise MissingExtraError("SecretsSafeguard", "detection") from error
        self._fields = frozenset(
            name for field in parsed.secret_fields for name in spellings(field)
        )
        self._scanner = Scanner(_rules())

    def check(self, agent: Agent, context: dict[str, Any]) -> list[SafetyAlert]:
        """Return an ERROR for each kind of secret. It says where one stands, never what it is."""
        facts = about(self.name, agent, context)
        found: dict[str, list[str]] = {}
        hidden = set()
        try:
            for kind, text in self._found_in(texts(context)):
                found.setdefault(kind, []).append(text.pointer)
                if text.is_key:
                    hidden.add(text.text)
        except TooMuchError:
            return [unsearchable(facts, "secrets")]
        return [_alert(kind, places(where, hidden), facts) for kind, where in found.items()]

    def _found_in(self, searched: list[Text]) -> Iterator[tuple[str, Text]]:
        """Yield each kind of secret, and the text that has it."""
        lines = [text.plain for text in searched]
        known = self._known(lines)
        for number, (line, text) in enumerate(zip(lines, searched, strict=True)):
            if number in known:
                yield "a key or token", text
            elif text.is_key:
                continue
            elif self._is_secret_field(text.name) and _is_secret(line):
                yield "what is a secret by its name", text
            else:
                yield from ((kind, text) for kind in _in_prose(line))

    def _known(self, lines: list[str]) -> set[int]:
        """Return which lines hold what the rules know. All are scanned at once: a scan costs what
        it costs, however short the text."""
        data = [line.encode(errors="replace") for line in lines]
        starts = [0]
        for line in data:
            starts.append(starts[-1] + len(line) + 2)
        return {
            bisect_right(starts, finding.location["start_offset"]) - 1
            for finding in self._scanner.scan(b"\n\n".join(data))
            if finding.visible
        }

    def _is_secret_field(self, name: str) -> bool:
        return not self._fields.isdisjoint(endings(name))


def _in_prose(line: str) -> list[str]:
    plain = line.lower()
    if not any(word in plain for word in _WORDS):
        return []
    return [kind for kind, pattern in _IN_PROSE.items() if pattern.search(line)]


@cache
def _rules() -> Rules:
    """Return the rules by which secrets are known; compiled once, which takes seconds."""
    from kingfisher_sdk import Rules

    return Rules()


def _is_secret(value: str) -> bool:
    """Tell whether the value of a field for secrets is one, and no placeholder for it."""
    return len(value) >= 4 and not _PLACEHOLDER.fullmatch(value.strip().casefold())


def _alert(kind: str, shown: list[str], facts: dict[str, Any]) -> SafetyAlert:
    return SafetyAlert(
        title="Secret in the arguments",
        description=f"There is {kind} {at(shown)}.",
        severity=AlertSeverity.ERROR,
        metadata={**facts, "places": shown},
    )
