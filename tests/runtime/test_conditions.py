"""Conditions of policies: what is refused when they are loaded, and what they tell of an action."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import re2

from safeguards_runtime.condition_calls import callable_by_cel, release
from safeguards_runtime.condition_source import ConditionSource
from safeguards_runtime.conditions import ArgumentType, Condition, ConditionError
from tests.runtime.conditions import failure, holds, refusal

# What is refused when a policy is loaded


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ('context.amont > money("1")', "1:9: the policy does not declare the argument amont: "),
        ('context.amont > money("1")', "did you mean amount?"),
        ('true &&\n  context.too == "x"', "2:11: "),
        ("has(context.fees)", "1:13: the policy does not declare the argument fees"),
        ("context.`reply-too` == ''", "did you mean reply-to?"),
        ('recipient == "x"', "1:1: recipient is not known here: did you mean context.recipient?"),
        ('agent == "x"', "agent is not known here: did you mean agent_id?"),
        ('context.recipient.startsWth("x")', "startsWth is not known here: did you mean starts"),
        ('context["recipient"] == "x"', "1:1: the policy declares its arguments"),
        ("context.exists(name, true)", "1:1: the policy declares its arguments"),
        ("context.recipient > 5", "1:19: `>` cannot be used on a string and an integer"),
        ("context.recipient + 1 > 5", "`+` cannot be used on a string and an integer"),
        ("context.share > 5", "write a number with a point, such as 5.0"),
        ("!context.recipient", "1:1: `!` cannot be used on a string"),
        ("context.recipient", "1:1: the condition gives a string, not true or false"),
        ("1", "the condition gives an integer, not true or false"),
        ("context.recipient ==", "1:21: the condition ends too early"),
        ("context.", "the condition ends too early"),
        ('context.recipient = "x"', "= is not expected here; equal is =="),
        ("context.recipient == \u2018x", "1:22: \u2018 is not expected here"),
        ("", "the condition is empty"),
        ("// nothing", "the condition is empty"),
        ('b"x" == b"x"', "a condition has no bytes"),
        ('"\0" == context.recipient', "no character NUL"),
        ("'\ud800' == context.recipient", "1:2: this is not text in Unicode"),
        ("dyn(1) == 2", "dyn is not known here"),
        ("context.items.exists(context, true)", "use another word here"),
        ("context.items.map(x, x + x).size() > 1", "`+` cannot be used inside of"),
    ],
)
def test_the_refusal_says_what_is_wrong_and_where(source: str, message: str) -> None:
    assert message in refusal(source)


@pytest.mark.parametrize(
    "source",
    [
        "(" * 10_000 + "true" + ")" * 10_000,
        "(" * 2_000 + "true" + ")" * 2_000,
        "(" * 40 + "true" + ")" * 40,
        "[" * 2_000,
        "[1].all(x, " * 100 + "true" + ")" * 100,
        "true ? true : " * 200 + "true",
        "context.extra" + ".a" * 1_000 + " == 1",
        "1" + " + 1" * 900 + " == 1",
        "'" + "a" * 1_000_000 + "' == ''",
    ],
)
def test_what_is_too_deep_or_too_long_is_refused_at_once(source: str) -> None:
    started = time.monotonic()

    assert "at most" in refusal(source)
    assert time.monotonic() - started < 1


@pytest.mark.parametrize(
    "pattern", ["(", "a{1000}{1000}", "(((a{30}){30}){30}){30}", "(?<=a)b", r"(a)\\1"]
)
def test_a_pattern_that_is_none_or_explodes_is_refused(pattern: str) -> None:
    message = refusal(f'context.recipient.matches("{pattern}")')

    assert message.startswith("1:27: ")
    assert "is not a regular expression" in message


@pytest.mark.parametrize(
    "source",
    ["context.recipient.matches(context.extra)", 'matches(context.recipient, "a")'],
)
def test_a_pattern_never_comes_from_an_agent(source: str) -> None:
    assert "a pattern never comes from an agent" in refusal(source)


def test_matching_takes_linear_time() -> None:
    started = time.monotonic()

    assert not holds('context.text.matches("(a+)+$")', {"text": "a" * 200_000 + "b"})
    assert not holds('context.text.matches("(.*)(.*)(.*)(.*)x$")', {"text": "a" * 200_000})
    assert time.monotonic() - started < 2


def test_patterns_are_compiled_when_the_policy_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    compile_one = re2.compile

    def counted(pattern: str, options: object) -> object:
        compiled.append(pattern)
        return compile_one(pattern, options)

    monkeypatch.setattr(re2, "compile", counted)
    condition = Condition(r"context.text.matches(r'^\d{1,200}$') || context.text.matches('ü')", {})
    assert compiled == [r"^\d{1,200}$", "ü"]
    texts = {"12": True, "für": True, "one": False, "": False}
    assert {text: condition.holds("a", "pay", {"text": text}) for text in texts} == texts
    assert len(compiled) == 2
    assert "matches(" not in ConditionSource(condition.source, {}).to_run()


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (r'"\\d\u00fc"', "3ü"),
        (r"r'\d'", "3"),
        ('"""a\n"""', "a\n"),
        ("'(?i)STRASSE'", "die strasse"),
        ("'b.*d'", "abcde"),
        ("''", ""),
    ],
)
def test_a_pattern_is_searched_for_as_it_is_written(written: str, text: str) -> None:
    assert holds(f"context.text.matches({written})", {"text": text})


def test_a_pattern_lives_as_long_as_a_condition_that_has_it() -> None:
    first = Condition("context.text.matches('shared')", {})
    second = Condition("context.text.matches('shared') && true", {})
    del first
    assert second.holds("a", "pay", {"text": "it is shared"})


def test_only_text_is_searched() -> None:
    assert failure("context.text.matches('1')", {"text": 1}) == (
        "the condition cannot use matches on an integer and a string (it reads text)"
    )
    assert "matches_prepared is not known here" in refusal("context.extra.matches_prepared('a')")
    assert "not known here" in refusal("context.x.matches_prepared('a')", declared=False)


# Arguments


def test_declared_arguments_are_checked_in_the_action_too() -> None:
    kinds: list[tuple[ArgumentType, list[Any]]] = [
        ("string", [1, True, [], {}]),
        ("integer", ["1", True, 1.5, 2**63, float("nan")]),
        ("number", ["1", True, float("inf"), 2**60]),
        ("boolean", ["true", 1]),
        ("list", ["a", {}]),
        ("map", ["a", []]),
    ]
    for kind, values in kinds:
        for value in values:
            # Whatever the condition then reads of it.
            assert failure("has(context.x)", {"x": value}, x=kind).startswith("the argument x ")


def test_declared_numbers_are_what_they_say() -> None:
    assert holds("context.share * 2.0 > 5.0", {"share": 3}, declared=True)
    assert holds("context.count + 1 == 4", {"count": 3.0}, declared=True)
    assert holds("context.`in` == 1", {"in": 1}, declared=True)
    assert holds('context.`reply-to` == "x"', {"reply-to": "x"}, declared=True)


@pytest.mark.parametrize("declared", [False, True])
def test_an_optional_argument_is_asked_for_with_has(declared: bool) -> None:
    source = 'has(context.fee) && money(context.fee) > money("1")'

    assert not holds(source, {}, declared=declared)
    assert holds(source, {"fee": "2"}, declared=declared)
    assert not holds(source, {"fee": "0.5"}, declared=declared)


def test_a_declared_argument_that_is_null_is_not_given() -> None:
    assert not holds("has(context.fee)", {"fee": None}, declared=True)
    assert holds("has(context.fee) && context.fee == null", {"fee": None})


@pytest.mark.parametrize("declared", [False, True])
def test_a_missing_argument_is_named(declared: bool) -> None:
    kinds: dict[str, ArgumentType] = {"recipient": "string"} if declared else {}

    assert failure('context.recipient == "x"', {"amount": "1"}, **kinds) == (
        "the condition needs recipient, which this action does not have"
    )


@pytest.mark.parametrize(
    ("source", "context", "message"),
    [
        ("context.x > 5", {"x": "7"}, "cannot use `>` on a string and an integer (it reads x)"),
        ("context.x.y > 5", {"x": {}}, "needs y, which"),
        ("context.x.y > 5", {"x": 3}, "looks for a field in something that has none"),
        ("context.x[3] > 5", {"x": [1]}, "looks for an item that a list does not have"),
        ("context.x + 1 > 5", {"x": 2**63 - 1}, "grows too large"),
        ("1 / context.x > 5", {"x": 0}, "divides by zero"),
        ("context.x > 5", {"x": 2**63}, "the argument x holds a whole number too large"),
        ("context.x > 5", {"x": float("nan")}, "the argument x holds a number that is not finite"),
        ("context.x > 5", {"x": b"7"}, "the argument x holds a bytes, which is not JSON"),
        ("context.x > 5", {"x": {1: 2}}, "the argument x holds a key that is not text"),
        ("context.x", {"x": "true"}, "gives a string, not true or false"),
        ("context.x", {"x": 1}, "gives an integer, not true or false"),
        ("context.x", {"x": None}, "gives null, not true or false"),
        ('context.x.all(one, one == "a")', {"x": ["a", 1], "y": 1}, None),
        ("context.x.all(one, one > 1)", {"x": [2, "a"]}, "cannot use `>` on a string"),
    ],
)
def test_what_cannot_be_judged_says_why(
    source: str, context: dict[str, Any], message: str | None
) -> None:
    if message is None:
        assert not holds(source, context)
    else:
        assert message in failure(source, context)


def test_no_value_of_an_action_stands_in_the_words() -> None:
    for source in ("int(context.x) > 3", "context.y[context.x] > 3", 'domain(context.x) == "a"'):
        assert "sesame" not in failure(source, {"x": "open sesame", "y": {}})


def test_text_is_never_cut_off() -> None:
    """The evaluator holds C strings: what follows a NUL would not be seen."""
    assert "NUL" in failure('context.to == "alice"', {"to": "alice\0mallory"})
    assert "NUL" in failure('context.to.x == "alice"', {"to": {"x\0y": "alice"}})
    assert "NUL" in failure("context.exists(key, true)", {"x\0y": "alice"})
    assert "not Unicode" in failure('context.to == "alice"', {"to": "\ud800"})
    with pytest.raises(ConditionError, match="NUL"):
        Condition('agent_id == "a"', {}).holds("a\0b", "send_money", {})


@pytest.mark.parametrize(
    "source",
    ['context["a.b"] == 1', 'context["in"] == 2', "context.`in` == 2", 'context["ü"] == 3'],
)
def test_arguments_of_any_name_are_reached(source: str) -> None:
    assert holds(source, {"a.b": 1, "in": 2, "ü": 3, "package": 4})


@pytest.mark.parametrize(
    "source",
    [
        'context.exists(name, name == "bcc")',
        '(context).exists(name, name == "bcc")',
        '"bcc" in context',
        "size(context) == 2",
        'context.exists(name, context[name] == "m")',
    ],
)
def test_all_arguments_can_be_gone_through(source: str) -> None:
    assert holds(source, {"to": "a", "bcc": "m"})
    assert not holds(source, {"to": "a"})


def test_it_sees_the_agent_and_the_type() -> None:
    assert holds('agent_id == "agent_billing" && action_type.startsWith("send_")', {})


@pytest.mark.parametrize(
    "action_type",
    ["send_money", "SendMoney", "send-money", "SEND MONEY", "send/money", "s\u200bend.mo\u0338ney"],
)
def test_the_type_is_seen_as_it_is_written_and_in_its_plain_spelling(action_type: str) -> None:
    assert Condition('plain(action_type) == "send_money"', {}).holds("a", action_type, {})
    as_written = Condition("action_type == context.written", {})
    assert as_written.holds("a", action_type, {"written": action_type})


# Hostile actions


@pytest.mark.parametrize("macro", ["all", "exists", "map", "filter"])
def test_going_through_lists_is_bounded(macro: str) -> None:
    nested = "true"
    for name in "edcba":
        nested = f"context.items.{macro}({name}, {nested})"
        if macro in ("map", "filter"):
            nested += ".size() > 0"
    if macro == "exists":
        nested = nested.replace("true", "false")
    started = time.monotonic()

    if macro == "map":
        nested = nested.replace("true", "a")
    assert "too much" in failure(nested, {"items": list(range(1000))})
    assert time.monotonic() - started < 5


def test_long_lists_are_not_gone_through() -> None:
    """CEL's map and filter take time by the square of the length."""
    many = {"items": list(range(1001))}

    assert "too long" in failure("context.items.filter(one, one > 5).size() > 3", many)
    assert holds("context.items.size() > 1000", many)
    assert "too long" in failure("context.items.size() > 1000", {"items": list(range(10_001))})
    assert "more than 1000 arguments" in failure(
        'context.exists(name, name == "x")', {str(number): 1 for number in range(1001)}
    )
    assert not holds("has(context.x)", {str(number): 1 for number in range(100_000)})


def test_deep_arguments_do_not_end_the_process() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]

    assert "nested deeper than" in failure("context.items == []", {"items": deep})
    assert holds("context.count == 1", {"items": deep, "count": 1})


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="None is immortal from Python 3.12")
def test_nothing_is_miscounted() -> None:
    """The evaluator hands out None without counting the reference: ours never ask it to."""
    condition = Condition("money(context.x) == money(context.x)", {})
    result = Condition("context.x", {})
    before = sys.getrefcount(None)
    for _ in range(5_000):
        for one in (condition, result):
            with pytest.raises(ConditionError):
                one.holds("agent", "send_money", {"x": None})
    assert abs(sys.getrefcount(None) - before) < 1_000


def test_threads_judge_while_others_load() -> None:
    conditions = [Condition(f"context.count > {number}", {}) for number in range(200)]
    wrong: list[int] = []

    def judge(shift: int) -> None:
        for number in range(2_000):
            at = (number * 7 + shift) % 200
            if conditions[at].holds("agent", "send_money", {"count": 100}) is not (at < 100):
                wrong.append(at)

    def load() -> None:
        for number in range(100):
            Condition(f"context.a{number} == {number}", {f"a{number}": "integer"})

    threads = [threading.Thread(target=judge, args=(shift,)) for shift in range(4)]
    threads += [threading.Thread(target=load) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    "source",
    [
        'context.note.matches("b{3}")',
        'context.note.matches("a+") && context.note.matches("^a")',
        '[1, 2, 3, 4].exists(i, context.note.matches("b"))',
        'context.exists(name, name.matches("x") || plain(name) == "x")',
        "plain(context.note) == plain(action_type)",
        "domain(context.note) == 'example.com'",
        'money(context.amount) > money("1.00")',
        'plus(money(context.amount), money("1.00")) > money(context.other)',
        "money(context.note) > money(context.amount)",
        "money(context.many) > money(context.amount)",
    ],
)
def test_nothing_that_an_agent_wrote_is_kept(source: str) -> None:
    """The library does not release what it passes to our functions. Nor is released what fails."""
    condition = Condition(source, {})
    rounds = 400

    def judge() -> None:
        for number in range(rounds):
            note = f"{number}" + "a" * 1_000
            context = {"note": note, "amount": 1_000 + number, "other": f"{number}.50", "many": 0.1}
            with contextlib.suppress(ConditionError):
                condition.holds("trader", "send_money", context)

    def kept() -> int:
        """Return by how many bytes one more round grew what is held."""
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        judge()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        return after - before

    tracemalloc.start()
    try:
        for _ in range(3):
            judge()
        # Threads of other tests may hold something for a moment; what is kept is kept each time.
        least = min(kept() for _ in range(5))
    finally:
        tracemalloc.stop()
    assert least < 30 * rounds


def test_arguments_are_not_released_twice() -> None:
    """A version of the library that releases them itself does no harm."""
    call = callable_by_cel(lambda *notes: [*notes], 2)
    note, shared = object(), object()
    before = sys.getrefcount(note), sys.getrefcount(shared)
    for _ in range(3):
        assert call(note, shared) == [note, shared]
        release()
        release()
    assert callable_by_cel(lambda given: shared, 1)(note) is shared
    release()
    assert (sys.getrefcount(note), sys.getrefcount(shared)) == before


def test_many_threads_release_what_each_was_given() -> None:
    condition = Condition('context.note.matches("b") || context.note.matches("a")', {})

    def judge() -> bool:
        return all(condition.holds("trader", "pay", {"note": "a" * n}) for n in range(1, 500))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: judge(), range(32)))
