"""The text of a condition, looked at before CEL compiles it: names, money, patterns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from safeguards.errors import ConfigurationError
from safeguards.text import visible
from safeguards_runtime.condition_values import ArgumentType, money

MAX_SOURCE_CHARACTERS = 4096

PREPARED_MATCHES = "matches_prepared"
"""What `matches` is called in the source that is run."""

VARIABLES = ("agent_id", "action_type", "context")

_FUNCTIONS = (
    *("money", "plus", "domain", "plain", "has", "all", "exists", "exists_one", "filter", "map"),
    *("size", "contains", "startsWith", "endsWith", "matches", "int", "double", "string"),
    "timestamp",
)
"""Those that a misspelt word may have meant."""

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*)
    |(?P<string>[rRbB]{0,2}(?:\"{3}(?:[^\\]|\\.)*?\"{3}|'{3}(?:[^\\]|\\.)*?'{3}
                |"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
    |(?P<number>(?:0[xX][0-9a-fA-F]+|[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+
                |\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+)[uU]?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*|`[^`\n]*`)
    |(?P<sign>[=!<>]=|&&|\|\||.)""",
    re.VERBOSE | re.DOTALL,
)
_PLAIN_STRING = re.compile(r"""(?!"{3}|'{3})(["'])([^\\]*)\1""", re.DOTALL)
_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">=", "in"})
_MACROS = frozenset({"all", "exists", "exists_one", "filter", "map"})
_MONEY_FUNCTIONS = frozenset({"money", "plus"})


@dataclass(frozen=True, slots=True)
class Token:
    """One word or sign of a condition, and where in the source it starts."""

    kind: str
    text: str
    start: int

    @property
    def end(self) -> int:
        """Where the next one may start."""
        return self.start + len(self.text)

    @property
    def name(self) -> str:
        """What it names, where it is a name: an argument may stand in backticks."""
        return self.text.strip("`")


class ConditionSource:
    """A condition's text, checked as far as its words show.

    Args:
        text: the condition, in CEL.
        declared: the types of the policy's arguments; empty where it declares none.

    Raises:
        ConfigurationError: something in it is wrong; says what, and where as line:column.
    """

    def __init__(self, text: str, declared: Mapping[str, ArgumentType]) -> None:
        self.text = text
        self._declared = declared
        if len(text) > MAX_SOURCE_CHARACTERS:
            raise ConfigurationError(
                f"a condition has at most {MAX_SOURCE_CHARACTERS} characters, this one {len(text)}"
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise self.error(error.start, "this is not text in Unicode") from None
        self._tokens = [
            Token(str(match.lastgroup), match[0], match.start())
            for match in _TOKEN.finditer(text)
            if match.lastgroup != "space"
        ]
        if not self._tokens:
            raise ConfigurationError("the condition is empty")
        self._check_strings()
        self.fields = self._check_names()
        self._check_money()
        self._check_patterns()
        self._check_macros()

    def to_check(self) -> str:
        """Return the source that is checked against declared types, word for word in its place.

        There each argument is a variable of its own, which CEL's `has` does not know.
        """
        if not self._declared:
            return self.text
        return self._replaced(
            (tokens[0].start, tokens[-1].end, "true")
            for tokens in self._windows("has", "(", "context", ".", None, ")")
        )

    def to_run(self) -> str:
        """Return the source that is run: amounts written in it are read once, now, and a declared
        amount once an action; regular expressions are compiled already.
        """
        changes = [
            (tokens[0].start, tokens[-1].end, f'b"{self._amount(tokens[2]).decode()}"')
            for tokens in self._windows("money", "(", None, ")")
            if self._literal(tokens[2]) is not None
        ]
        changes += [
            (tokens[0].start, tokens[-1].end, self.text[tokens[2].start : tokens[-1].start])
            for tokens in self._windows("money", "(", "context", ".", None, ")")
            if self._declared.get(tokens[4].name) == "money"
        ]
        changes += [
            (tokens[1].start, tokens[1].end, PREPARED_MATCHES)
            for tokens in self._windows(".", "matches", "(", None, ")")
        ]
        return self._replaced(sorted(changes))

    @property
    def walks(self) -> bool:
        """Whether the condition goes through lists or maps, item by item."""
        return any(token.text in _MACROS for token in self._tokens)

    def patterns(self) -> Iterator[Token]:
        """Yield the regular expressions (RE2) that the condition uses, as they are written."""
        for tokens in self._windows(".", "matches", "(", None, ")"):
            yield tokens[3]

    def at(self, place: int | Token) -> str:
        """Return a place in the source as `line:column`, both from 1."""
        offset = place.start if isinstance(place, Token) else place
        line = self.text.count("\n", 0, offset) + 1
        return f"{line}:{offset - self.text.rfind(chr(10), 0, offset)}"

    def error(self, place: int | Token, message: str) -> ConfigurationError:
        """Return the error for something wrong at a place."""
        return ConfigurationError(f"{self.at(place)}: {message}")

    def suggestion(self, name: str) -> str:
        """Return a hint for a name that means nothing here; empty if none comes to mind."""
        if name in self._declared:
            return f": did you mean context.{name}?"
        near = get_close_matches(name, [*self._declared, *VARIABLES, *_FUNCTIONS], n=1)
        if near:
            prefix = "context." if near[0] in self._declared else ""
            return f": did you mean {prefix}{near[0]}?"
        return ""

    def _windows(self, first: str, *texts: str | None) -> Iterator[list[Token]]:
        """Yield each run of tokens with these texts, where None is any one token."""
        for start, token in enumerate(self._tokens):
            if token.text != first:
                continue
            tokens = self._tokens[start : start + 1 + len(texts)]
            is_member = start > 0 and self._tokens[start - 1].text == "." and first != "."
            if (
                len(tokens) > len(texts)
                and not is_member
                and all(
                    text in (None, token.text)
                    for text, token in zip(texts, tokens[1:], strict=True)
                )
            ):
                yield tokens

    def _replaced(self, changes: Iterable[tuple[int, int, str]]) -> str:
        """Return the text with spans of it written otherwise, as wide as before if that fits."""
        parts, position = [], 0
        for start, end, written in changes:
            parts += [self.text[position:start], written.ljust(end - start)]
            position = end
        return "".join([*parts, self.text[position:]])

    def _check_strings(self) -> None:
        for token in self._tokens:
            if token.kind == "string" and token.text[: token.text.find(token.text[-1])].lower() in (
                "b",
                "br",
                "rb",
            ):
                raise self.error(token, "a condition has no bytes: write text without the b")
            if "\0" in token.text:
                raise self.error(token, "a condition has no character NUL")

    def _check_names(self) -> frozenset[str] | None:
        """Return the arguments that the condition reads; None if it may read any."""
        fields: set[str] | None = set()
        for index, token in enumerate(self._tokens):
            if token.text != "context" or (index and self._text(index - 1) == "."):
                continue
            if self._text(index - 1) == "(" and self._text(index + 1) == ",":
                raise self.error(token, "context is the action's arguments: use another word here")
            name = self._field(index)
            if self._declared:
                self._check_declared(token, name)
            if fields is not None:
                fields = None if name is None else fields | {name.name.strip("\"'")}
        return None if fields is None else frozenset(fields)

    def _field(self, index: int) -> Token | None:
        """Return the word that names the argument, after `context` at `index`."""
        # What is called is no argument, but something done with all of them: context.exists(…).
        if self._text(index + 1) == "." and self._text(index + 3) != "(":
            if index + 2 >= len(self._tokens):
                raise self.error(len(self.text), "the condition ends too early")
            return self._tokens[index + 2]
        if self._text(index + 1) == "[" and self._text(index + 3) == "]":
            token = self._tokens[index + 2]
            if token.kind == "string" and _PLAIN_STRING.fullmatch(token.text):
                return token
        return None

    def _check_declared(self, context: Token, name: Token | None) -> None:
        if name is None or name.kind != "name":
            raise self.error(
                context,
                "the policy declares its arguments, so name one after context with a point: "
                "context.name, or context.`its-name` if it is not a word",
            )
        if name.name not in self._declared:
            near = get_close_matches(name.name, self._declared, n=1)
            hint = f": did you mean {near[0]}?" if near else ""
            shown = visible(name.name, single_line=True, limit=60)
            raise self.error(name, f"the policy does not declare the argument {shown}{hint}")

    def _check_money(self) -> None:
        for tokens in self._windows("money", "(", None, ")"):
            if self._literal(tokens[2]) is not None:
                self._amount(tokens[2])
        for tokens in self._windows("money", "(", "-"):
            raise self.error(tokens[2], "an amount of money is not negative")
        for index, token in enumerate(self._tokens):
            if token.text in _COMPARISONS and token.kind != "string":
                self._check_comparison(index, token)

    def _check_comparison(self, index: int, token: Token) -> None:
        left, right = self._is_money_before(index), self._is_money_after(index)
        if left == right:
            return
        # A list to look in, or a part in parentheses, is left to the check of types.
        if (left and self._text(index + 1) in "([") or (right and self._text(index - 1) == ")"):
            return
        raise self.error(
            token,
            f"`{token.text}` compares money only with money: "
            'write money(…) on both sides, such as money("10000.00")',
        )

    def _is_money_before(self, index: int) -> bool:
        """Tell whether what ends before a comparison is money."""
        if self._text(index - 1) != ")":
            return self._is_declared_money(index - 3)
        depth = 0
        for place in range(index - 1, -1, -1):
            depth += {")": 1, "(": -1}.get(self._text(place), 0)
            if depth == 0:
                return self._text(place - 1) in _MONEY_FUNCTIONS
        return False

    def _is_money_after(self, index: int) -> bool:
        """Tell whether what starts after a comparison is money."""
        if self._text(index + 1) in _MONEY_FUNCTIONS:
            return self._text(index + 2) == "("
        return self._is_declared_money(index + 1) and self._text(index + 4) not in (".", "[")

    def _is_declared_money(self, index: int) -> bool:
        return (
            self._text(index) == "context"
            and self._text(index + 1) == "."
            and self._declared.get(self._text(index + 2).strip("`")) == "money"
        )

    def _text(self, index: int) -> str:
        """Return the text of a token; a character that is none where there is no token."""
        return self._tokens[index].text if 0 <= index < len(self._tokens) else "\0"

    def _literal(self, token: Token) -> str | None:
        """Return what a string or number says that is written in the condition."""
        if token.kind == "number":
            return token.text
        plain = _PLAIN_STRING.fullmatch(token.text)
        return plain[2] if plain and token.kind == "string" else None

    def _amount(self, token: Token) -> bytes:
        try:
            return money(self._literal(token) or "")
        except ValueError as error:
            raise self.error(token, f"{token.text} is not an amount of money: {error}") from None

    def _check_patterns(self) -> None:
        written = {token.start for token in self.patterns() if token.kind == "string"}
        for index, token in enumerate(self._tokens):
            if token.text == "matches" and self._text(index + 1) == "(":
                pattern = self._tokens[min(index + 2, len(self._tokens) - 1)]
                if pattern.start not in written:
                    raise self.error(
                        token,
                        "matches is written text.matches('pattern'), the pattern in quotes: "
                        "a pattern never comes from an agent",
                    )

    def _check_macros(self) -> None:
        """Refuse to join in a macro: map(x, x + x), a few times over, takes gigabytes."""
        inside: list[bool] = []
        for index, token in enumerate(self._tokens):
            if token.text == "(":
                inside.append(any(inside[-1:]) or self._text(index - 1) in _MACROS)
            elif token.text == ")" and inside:
                inside.pop()
            elif token.text == "+" and any(inside[-1:]):
                raise self.error(token, "`+` cannot be used inside of exists, all, map or filter")
