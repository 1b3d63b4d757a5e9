"""The kill switch: what is halted, by whom and why, which actions it is for, and going on."""

from __future__ import annotations

import pytest

from safeguards_runtime.records import Halts, Refusal, halts
from safeguards_runtime.records.account import OPERATOR
from safeguards_runtime.records.halts import HALTS_ID, MAX_HALTS, Halt, Subject, meant
from tests.runtime.samples import NOW, at, done

OLGA = "reviewer:olga"


def halted(
    subject: Subject,
    name: str,
    reason: str = "It errs.",
    by: str = OLGA,
    standing: Halts | None = None,
) -> Halts:
    change = halts.halt(standing, subject, name, by=by, reason=reason, now=NOW)
    return done(change, Halts)


def refusal(subject: Subject, name: str, reason: str = "It errs.") -> str:
    with pytest.raises(Refusal) as refused:
        halted(subject, name, reason)
    return refused.value.code


def test_a_halt_says_what_who_and_why() -> None:
    standing = halted("agent", "trader", "  It errs.\n")
    assert standing.id == HALTS_ID
    assert standing.in_force == (
        Halt(subject="agent", name="trader", reason="It errs.", by=OLGA, at=NOW),
    )
    assert standing.why("trader", "wire") == "trader is halted by olga: It errs."
    assert standing.why("trader2", "wire") is None
    assert standing.why("Trader", "wire") is None


def test_a_type_is_halted_for_every_agent() -> None:
    standing = halted("type", " wire_* ", by=OPERATOR)
    words = "actions of type wire_* are halted by an operator: It errs."
    assert standing.why("trader", "wire_money") == words
    assert standing.why("booker", "wire_all") == words
    assert standing.why("trader", "book_hotel") is None
    assert standing.why("wire_money", "book_hotel") is None


@pytest.mark.parametrize(
    ("pattern", "action_type"),
    [
        ("wire_money", "wireMoney"),
        ("wire_money", "Wire-Money"),
        ("wire_money", "wire.money"),
        ("wire-money", "wire_money"),
        ("Wire Money", "wire_money"),
        ("wireMoney", "wire_money"),
        ("wireMoney", "wiremoney"),
        ("wire\u2011money", "wire_money"),
        ("wire*", "wire"),
        ("wire_*", "WireMoney"),
        ("wire.*", "wire.money"),
        ("wireMoney*", "wire_money_out"),
        ("*.delete", "file.delete"),
        ("*money*", "send-money-abroad"),
        ("wire_?", "wire_1"),
        ("wire_[ab]", "wire.b"),
        ("*", "anything"),
    ],
)
def test_a_type_is_matched_in_any_spelling(pattern: str, action_type: str) -> None:
    assert halted("type", pattern).on("trader", action_type)


@pytest.mark.parametrize(
    ("pattern", "action_type"),
    [("wire", "wire_money"), ("wire_*", "wire"), ("wire_*", "rewire_it"), ("wire_[ab]", "wire_c")],
)
def test_and_no_other_type(pattern: str, action_type: str) -> None:
    assert halted("type", pattern).on("trader", action_type) is None


def test_everything_is_called_so() -> None:
    assert halted("type", "*").why("a", "b") == "all actions are halted by olga: It errs."


def test_what_one_sees_is_all_there_is() -> None:
    words = halted("agent", "trader", "<b>Stop</b>\n\u202eit\x00").why("trader", "wire")
    assert words == "trader is halted by olga: <b>Stop</b> ⟨U+202E⟩it⟨U+0000⟩"


def test_several_halts_stand_beside_each_other() -> None:
    both = halted("type", "trader", standing=halted("agent", "trader"))
    assert [one.subject for one in both.in_force] == ["agent", "type"]
    change = halts.resume(both, "agent", "trader", by=OLGA, now=at(1))
    left = done(change, Halts)
    assert left.on("trader", "wire") is None
    assert left.on("trader", "trader")


@pytest.mark.parametrize(
    ("subject", "first", "again"),
    [
        ("agent", "trader", "trader"),
        ("type", "wire_*", " Wire-* "),
        ("type", "wire_money", "wire-money"),
    ],
)
def test_halting_twice_keeps_the_first_reason(subject: Subject, first: str, again: str) -> None:
    standing = halted(subject, first)
    assert halts.halt(standing, subject, again, by=OLGA, reason="Too.", now=at(1)) is None


@pytest.mark.parametrize(
    ("reason", "code"),
    [("", "reason_required"), (" \n", "reason_required"), ("x" * 501, "reason_too_long")],
)
@pytest.mark.parametrize("subject", ["agent", "type"])
def test_a_reason_is_asked_for(subject: Subject, reason: str, code: str) -> None:
    assert refusal(subject, "trader", reason) == code


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("", "name_required"),
        ("  ", "name_required"),
        ("x" * 201, "name_too_long"),
        ("wire\u200bmoney", "name_unprintable"),
        ("wire\nmoney", "name_unprintable"),
        ("wire\x00", "name_unprintable"),
    ],
)
@pytest.mark.parametrize("subject", ["agent", "type"])
def test_a_name_is_asked_for(subject: Subject, name: str, code: str) -> None:
    assert refusal(subject, name) == code


def test_a_type_without_a_letter_is_none() -> None:
    """It would be for no action at all, whoever halted it."""
    assert refusal("type", "_.-") == "name_required"


def test_there_is_an_end_to_halts() -> None:
    some = tuple(
        Halt(subject="agent", name=str(n), reason="no", by=OLGA, at=NOW) for n in range(MAX_HALTS)
    )
    full = halted("agent", "0").model_copy(update={"in_force": some})
    with pytest.raises(Refusal) as refused:
        halts.halt(full, "agent", "one more", by=OLGA, reason="no", now=NOW)
    assert refused.value.code == "too_many_halts"


@pytest.mark.parametrize(
    ("subject", "name", "agent_id"), [("agent", "trader", "trader"), ("type", "wire_*", "")]
)
def test_it_goes_on_and_can_be_halted_again(subject: Subject, name: str, agent_id: str) -> None:
    change = halts.resume(halted(subject, name), subject, name, by="reviewer:sam", now=at(60))
    assert change
    assert (change.event, change.actor, change.agent_id) == ("resumed", "reviewer:sam", agent_id)
    assert change.detail == {
        "subject": subject,
        "name": name,
        "halted_by": OLGA,
        "halted_at": NOW.isoformat(),
    }
    left = done(change, Halts)
    assert left.in_force == ()
    assert halts.resume(left, subject, name, by=OLGA, now=at(61)) is None
    assert halts.resume(None, subject, name, by=OLGA, now=at(61)) is None
    again = halts.halt(left, subject, name, by="reviewer:sam", reason="Again.", now=at(62))
    assert again
    assert again.detail == {"subject": subject, "name": name, "reason": "Again."}
    assert (again.event, again.agent_id) == ("halted", agent_id)
    assert done(again, Halts).revision == 3


def test_what_it_would_be_for_is_known_before() -> None:
    seen = ["wire_out", "WireIn", "wire", "book_hotel"]
    assert meant("type", "wire_*", seen) == ["wire_out", "WireIn"]
    assert meant("type", "wires", seen) == []
    assert meant("agent", "wire", seen) == ["wire"]
    assert meant("agent", "w*", seen) == []
