"""Conditions of policies, in CEL (the Common Expression Language of cel-spec).

A condition sees `agent_id`, `action_type` (as the agent writes it: `plain(action_type)` is
`send_money` for `SendMoney` and `send-money` alike) and `context`, the action's arguments. Money is
exact: `money(context.amount) > money("10000.00")`, and `plus` adds. `domain` gives the domain of an
email address or URL. `text.matches('pattern')` searches by a regular expression (RE2), in linear
time. Arguments that the policy declares are checked when it is loaded; one that is null counts as
not given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from threading import Lock
from typing import Any
from weakref import WeakValueDictionary

import re2
from cel_expr_python import cel

from safeguards.errors import ConfigurationError
from safeguards.plugins import spellings
from safeguards.text import visible
from safeguards_runtime.condition_calls import callable_by_cel, release
from safeguards_runtime.condition_source import (
    PREPARED_MATCHES,
    ConditionSource,
    Token,
)
from safeguards_runtime.condition_values import (
    ArgumentReader,
    ArgumentType,
    ConditionError,
    domain,
    money,
    plus,
)

__all__ = ["ArgumentType", "Condition", "ConditionError"]

_BOOLEAN, _ERROR = cel.Type.BOOL, cel.Type.ERROR

_TYPES: dict[ArgumentType, cel.Type] = {
    "string": cel.Type.STRING,
    "integer": cel.Type.INT,
    "number": cel.Type.DOUBLE,
    "boolean": cel.Type.BOOL,
    "money": cel.Type.BYTES,
    "list": cel.Type.LIST,
    "map": cel.Type.Map(cel.Type.STRING, cel.Type.DYN),
    "any": cel.Type.DYN,
}

_ANY_ARGUMENTS = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)

# Money is CEL's bytes, which compare exactly; whatever else CEL does with bytes is left out, and
# dyn(), which steps around the types.
_CONFIGURATION = """
stdlib:
  exclude_functions:
    - name: _+_
      overloads: [{id: add_bytes}]
    - name: size
      overloads: [{id: size_bytes}, {id: bytes_size}]
    - name: string
      overloads: [{id: bytes_to_string}]
    - name: bytes
    - name: dyn
"""

_OURS = "condition: "
"""How an error of our own functions is told from CEL's, whose words may hold an agent's."""

_compiling = Lock()


class _Pattern:
    """A regular expression, compiled. RE2, as in CEL: in linear time, whatever it is."""

    def __init__(self, written: str) -> None:
        options = re2.Options()
        options.log_errors = False
        options.never_capture = True
        self._regexp = re2.compile(written, options)

    def is_in(self, text: str) -> bool:
        return self._regexp.search(text) is not None


_patterns: WeakValueDictionary[str, _Pattern] = WeakValueDictionary()
"""Those of the conditions that there are, by how they are written."""


class Condition:
    """A condition of a policy, compiled once. It may be judged by several threads at once.

    Args:
        source: the condition, in CEL; of at most 4,096 characters.
        arguments: the types of the action's arguments, by name, if the policy declares them:
            those of an action are then checked, and no others seen. Without, any may be named.

    Raises:
        ConfigurationError: the condition is wrong; says what, and where as line:column.
    """

    def __init__(self, source: str, arguments: Mapping[str, ArgumentType]) -> None:
        text = ConditionSource(source, arguments)
        self.source = source
        self._fields = text.fields
        self._reader = ArgumentReader(arguments, text.fields, walks=text.walks)
        declared = tuple(sorted(arguments.items()))
        with _compiling:
            _check_types(text, declared)
            self._patterns = tuple(_compiled(text, token) for token in text.patterns())
            self._expression = _environment().compile(text.to_run())
            # The library prepares an expression when it is first evaluated: here, not in a race.
            _evaluate(self._expression, "", "", {})

    def holds(self, agent_id: str, action_type: str, context: Mapping[str, Any]) -> bool:
        """Tell whether the condition holds for an action.

        Args:
            agent_id: who asks.
            action_type: the type of the action, as the agent writes it.
            context: the action's arguments, as JSON.

        Raises:
            ConditionError: it cannot be told: an argument is missing or of another type, a number
                overflows, there is too much to go through, or the result is not true or false.
        """
        if "\0" in agent_id or "\0" in action_type:
            raise ConditionError("the agent or the action's type holds the character NUL")
        values = self._reader.read(context)
        try:
            kind, result = _evaluate(self._expression, agent_id, action_type, values)
        except Exception as error:
            raise ConditionError(self._in_words(str(error))) from None
        if kind == _BOOLEAN and isinstance(result, bool):
            return result
        if kind == _ERROR:
            raise ConditionError(self._in_words(str(result)))
        raise ConditionError(f"the condition gives {_kind_in_words(kind)}, not true or false")

    def _in_words(self, error: str) -> str:
        """Return what went wrong, without the library's words: they may hold an agent's."""
        reads = ""
        if self._fields:
            names = ", ".join(sorted(self._fields)[:3])
            reads = f" (it reads {visible(names, single_line=True, limit=100)})"
        if missing := re.search(r'Key not found in map : "(\w+)"', error):
            # A key may be an agent's as well.
            if re.search(rf"\b{missing[1]}\b", self.source):
                return f"the condition needs {missing[1]}, which this action does not have"
            return f"the condition needs a field that this action does not have{reads}"
        if _OURS in error:
            return f"{error.partition(_OURS)[2]}{reads}"
        if mismatch := _MISMATCH.search(error):
            of, name, parameters = mismatch.groups()
            kinds = [_kind_in_words(kind) for kind in [of, *parameters.split(", ")] if kind]
            return f"the condition cannot use {_operator(name)} on {' and '.join(kinds)}{reads}"
        for sign, words in _FAILURES.items():
            if sign in error:
                return f"the condition {words}{reads}"
        return f"the condition cannot be judged for this action{reads}"


_MISMATCH = re.compile(r"No matching overloads found : (?:\((\w+)\)\.)?([^\s.]+?)\(([^()]*)\)$")

_FAILURES = {
    "Iteration budget exceeded": "has too much to go through: more than 10,000 steps",
    "overflow": "reckons with a whole number that grows too large",
    "by zero": "divides by zero",
    "SELECT to non-message": "looks for a field in something that has none",
    "Index error": "looks for an item that a list does not have",
    "conversion": "converts text that cannot be converted",
    "cannot convert": "converts text that cannot be converted",
    "Key not found": "needs a field that this action does not have",
}


def _evaluate(
    expression: cel.Expression, agent_id: str, action_type: str, context: dict[str, Any]
) -> tuple[cel.Type, Any]:
    """Return the kind of the result; and the result, if it is a boolean or an error."""
    data = {"agent_id": agent_id, "action_type": action_type, "context": context}
    try:
        result = expression.eval(data=data)
    finally:
        release()
    kind = result.type()
    # Errors are values too. Others are not asked for: the library miscounts references to None.
    return kind, result.value() if kind in (_BOOLEAN, _ERROR) else None


def _functions(*, run: bool) -> list[cel.FunctionDecl]:
    """Declare the functions of our own; with their code where conditions are run."""
    amounts = [cel.Type.STRING, cel.Type.INT, cel.Type.DOUBLE, cel.Type.BYTES]
    read = _refusing("money() was given what is no exact amount", _money)
    add = _refusing("plus() was given what is no amount", plus)
    where = _refusing("domain() cannot tell the domain", domain)

    def overload(
        name: str, result: cel.Type, parameters: list[cel.Type], code: Callable[..., Any]
    ) -> cel.Overload:
        identifier = "_".join([name, *(parameter.name() for parameter in parameters)])
        if run:
            call = callable_by_cel(code, len(parameters))
            return cel.Overload(identifier, result, parameters, impl=call)
        return cel.Overload(identifier, result, parameters)

    amount, text = cel.Type.BYTES, cel.Type.STRING
    return [
        cel.FunctionDecl("money", [overload("money", amount, [kind], read) for kind in amounts]),
        cel.FunctionDecl("plus", [overload("plus", amount, [amount, amount], add)]),
        cel.FunctionDecl("domain", [overload("domain", text, [text], where)]),
        cel.FunctionDecl("plain", [overload("plain", text, [text], _plain)]),
    ]


def _money(value: Any) -> bytes:
    # A declared argument is money already; CEL hands it over as a bytearray.
    return bytes(value) if isinstance(value, bytes | bytearray) else money(value)


def _plain(name: str) -> str:
    return spellings(name)[-1]


def _refusing(words: str, code: Callable[..., Any]) -> Callable[..., Any]:
    def refusing(*arguments: Any) -> Any:
        try:
            return code(*arguments)
        except ValueError as error:
            raise ValueError(f"{_OURS}{words}: {error}") from None

    return refusing


@lru_cache(maxsize=1)
def _environment() -> cel.Env:
    """Return what all conditions are run in: any argument may be there, of any type."""
    text = cel.Type.STRING
    # CEL's own would compile the pattern at each evaluation.
    call = callable_by_cel(_matches, 2)
    matches = cel.Overload(PREPARED_MATCHES, cel.Type.BOOL, [text, text], True, call)
    return cel.NewEnv(
        config=cel.NewEnvConfigFromYaml(_CONFIGURATION),
        variables={"agent_id": text, "action_type": text, "context": _ANY_ARGUMENTS},
        functions=[*_functions(run=True), cel.FunctionDecl(PREPARED_MATCHES, [matches])],
    )


@lru_cache(maxsize=64)
def _checking_environment(declared: tuple[tuple[str, ArgumentType], ...]) -> cel.Env:
    """Return what a condition is checked in: each declared argument is a variable with a type."""
    variables = {"agent_id": cel.Type.STRING, "action_type": cel.Type.STRING}
    for name, kind in declared:
        variables[f"context.{name}"] = _TYPES[kind]
    if not declared:
        variables["context"] = _ANY_ARGUMENTS
    return cel.NewEnv(
        config=cel.NewEnvConfigFromYaml(_CONFIGURATION),
        variables=variables,
        functions=_functions(run=False),
    )


def _check_types(text: ConditionSource, declared: tuple[tuple[str, ArgumentType], ...]) -> None:
    try:
        result = _checking_environment(declared).compile(text.to_check()).return_type()
    except RuntimeError as error:
        raise _load_error(text, str(error)) from None
    if result not in (cel.Type.BOOL, cel.Type.DYN):
        raise text.error(0, f"the condition gives {_kind_in_words(result)}, not true or false")


def _compiled(text: ConditionSource, token: Token) -> _Pattern:
    """Return a regular expression of a condition, which is written in it as `token`."""
    written = _environment().compile(token.text).eval(data={}).value()
    pattern = _patterns.get(written)
    if pattern is None:
        try:
            pattern = _patterns[written] = _Pattern(written)
        except re2.error:
            raise text.error(
                token, f"{token.text} is not a regular expression (RE2), or repeats too much"
            ) from None
    return pattern


def _matches(text: str, pattern: str) -> bool:
    return _patterns[pattern].is_in(text)


def _load_error(text: ConditionSource, error: str) -> ConfigurationError:
    """Return the library's first error, in the words of policies."""
    if "recursion" in error:
        return text.error(0, "the condition is nested too deep: at most 32 levels")
    found = re.search(r"ERROR: <input>:(\d+):(\d+): (.*)", error)
    if not found:
        return text.error(0, "this is not a condition in CEL")
    place, message = f"{found[1]}:{found[2]}", found[3].partition(" [INVALID_ARGUMENT]")[0]
    if unknown := re.match(r"undeclared reference to '(.+?)' ", message):
        name = unknown[1].removeprefix(".")
        return ConfigurationError(
            f"{place}: {name} is not known here{text.suggestion(name.partition('.')[0])}"
        )
    if mismatch := re.match(r"found no matching overload for '(.+?)' applied to '(.+)'", message):
        kinds = re.sub(r"^\(|\)$|\.\(", " ", mismatch[2]).split(",")
        words = " and ".join(_kind_in_words(kind.strip(" ()")) for kind in kinds)
        return ConfigurationError(
            f"{place}: {_operator(mismatch[1])} cannot be used on {words}{_advice(words)}"
        )
    return ConfigurationError(f"{place}: {_syntax_in_words(message)}")


def _syntax_in_words(message: str) -> str:
    if "<EOF>" in message:
        return "the condition ends too early"
    if wrong := re.search(r"(?:error at:|input) '(.*?)'(?: expecting .*)?$", message):
        word = visible(wrong[1].strip(), single_line=True, limit=60)
        return f"{word or 'this'} is not expected here" + ("; equal is ==" if word == "=" else "")
    return visible(message, single_line=True, limit=200)


def _advice(words: str) -> str:
    if "money" in words and words != "money":
        return '; write amounts as money("10000.00"), and add them with plus'
    if "an integer" in words and "a number" in words:
        return "; write a number with a point, such as 5.0, or convert with double()"
    return ""


def _operator(name: str) -> str:
    """Return a function's name as it is written in a condition."""
    if name == PREPARED_MATCHES:
        return "matches"
    return f"`{name.removeprefix('@').replace('_', '') or name}`" if name[0] in "_@!-" else name


_KINDS = {
    "string": "a string",
    "int": "an integer",
    "int64": "an integer",
    "uint": "an integer",
    "uint64": "an integer",
    "double": "a number",
    "bool": "a boolean",
    "bytes": "money",
    "null": "null",
    "null_type": "null",
    "list": "a list",
    "map": "a map",
    "timestamp": "a time",
    "duration": "a duration",
    "dyn": "something",
}


def _kind_in_words(kind: cel.Type | str) -> str:
    name = (kind if isinstance(kind, str) else kind.name()).lower()
    name = name.removeprefix("google.protobuf.").partition("(")[0]
    return _KINDS.get(name, name)
