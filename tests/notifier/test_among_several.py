"""Who is told what where several people must approve, and where a request is handed over."""

from __future__ import annotations

from safeguards_runtime.records import Approval, handling
from safeguards_runtime.records.events import CHANGED, HANDED_OVER, REMINDED
from services.notifier.messages import Reader, compose
from tests.notifier.worlds import Told, approval, names, owing, people
from tests.runtime.samples import at, done, responded

MEMBERS = frozenset({"reviewers"})
DIRECTORY = people(alex={}, sam={}, kim={})


def handed(record: Approval) -> Approval:
    """Return the approval, handed to kim, and nothing else to be told."""
    change = handling.hand_over(
        record, "alex", MEMBERS, "kim", MEMBERS, at(9), note="you know them"
    )
    return owing(done(change, Approval), HANDED_OVER)


def changed() -> Approval:
    """Return an approval of two people in which alex has changed the amount."""
    open_ = approval("email", "room", quorum=2)
    return responded(open_, "modify", modifications={"amount": "10.00"})


def test_a_change_is_told_to_all_but_its_author() -> None:
    told = Told(owing(changed(), CHANGED), DIRECTORY)
    assert names(told.plan()) == ["email:kim", "email:sam", "room"]


def test_who_has_approved_is_not_reminded() -> None:
    voted = responded(approval("email", quorum=2), "approve", reviewer="sam")
    told = Told(owing(voted, REMINDED), DIRECTORY)
    assert names(told.plan()) == ["email:alex", "email:kim"]


def test_what_is_handed_over_is_told_to_that_person_alone() -> None:
    """Not in the room, where others are; programs may know."""
    for order in ("all", "chain"):
        told = Told(handed(approval("email", "room", "hook", order=order)), DIRECTORY)
        assert names(told.plan()) == ["email:kim", "hook"]


def test_who_is_reached_only_in_a_place_is_told_there() -> None:
    told = Told(handed(approval("room")), DIRECTORY)
    (one,) = told.plan()
    message = compose(one, told.record, Reader(), None)
    assert message.subject.startswith("Handed over to kim: ")


def test_a_message_of_what_was_handed_over_says_by_whom_and_asks() -> None:
    told = Told(handed(approval("email")), DIRECTORY)
    (one,) = told.plan()
    message = compose(one, told.record, Reader(), "https://review.example/x")
    assert message.subject.startswith("Handed over to you: ")
    assert ("Handed over by", "alex") in message.facts
    assert ("Their note", "you know them") in message.facts
    assert message.answerable is not None


def test_a_message_shows_what_would_run_and_how_many_must_approve() -> None:
    """The argument as it was changed, once; and what it was."""
    told = Told(owing(changed(), CHANGED), DIRECTORY)
    message = compose(told.plan()[0], told.record, Reader(), None)
    assert message.subject.startswith("Changed by a reviewer: ")
    facts = dict(message.facts)
    assert facts["amount"] == "10.00"
    assert facts["amount (changed)"] == "2500.00 → 10.00"
    assert facts["Approvals"] == "2 people must approve; so far alex"
    assert facts["Changed by"] == "alex"
