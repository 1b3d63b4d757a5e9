"""What people are told where the agent has answered with other arguments: what differs."""

from __future__ import annotations

from typing import Any

from safeguards.contracts import AnswerSubmission
from safeguards_runtime.records import Approval
from safeguards_runtime.records.approval import answer
from safeguards_runtime.records.events import ANSWERED
from services.notifier.messages import Reader, compose
from tests.notifier.worlds import Told, approval, owing, people
from tests.runtime.samples import answered, at, done, responded

DIRECTORY = people(alex={})


def amended(**context: Any) -> Approval:
    """Return an approval after the agent's answer, with these arguments."""
    asked = responded(approval("email"), "ask", comments="why?")
    given = AnswerSubmission(answer="because", context=context)
    direct = asked.model_copy(update={"action_id": None})
    return done(answer(direct, given, at(20)), Approval)


def facts(record: Approval) -> dict[str, str]:
    told = Told(owing(record, ANSWERED), DIRECTORY)
    return dict(compose(told.plan()[0], told.record, Reader(), None).facts)


def test_each_argument_that_differs_is_told_with_what_it_was() -> None:
    """Changed, added or removed; the arguments as they now are follow in full."""
    told = facts(amended(amount="700.00", to="Bolt"))
    assert told["amount (changed)"] == "2500.00 → 700.00"
    assert told["to (added)"] == "Bolt"
    assert told["amount"] == "700.00"
    removed = [name for name in told if name.endswith("(removed)")]
    assert sorted(removed) == sorted(
        f"{name} (removed)" for name in approval().context if name != "amount"
    )


def test_an_answer_in_words_alone_tells_no_difference() -> None:
    """Nor does a later one tell again what an earlier one has changed."""
    plain = answered(responded(approval("email"), "ask", comments="why?"))
    later = answered(responded(amended(amount="1.00"), "ask", comments="and?"))
    for record in (plain, later):
        assert not [name for name in facts(record) if name.endswith(("(changed)", "(removed)"))]
