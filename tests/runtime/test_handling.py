"""Who has a request in hand, and who has seen it."""

from __future__ import annotations

from typing import Any

import pytest

from safeguards.types import ActionStatus
from safeguards_runtime.records import Approval, Refusal, handling
from safeguards_runtime.records.events import HANDED_OVER
from safeguards_runtime.records.handling import MAX_NOTE, MAX_VIEWS
from safeguards_runtime.topology import Service
from tests.runtime.samples import TERMS, answered, asked, at, done, respond, responded

MEMBERS = frozenset({"reviewers"})
STRANGERS = frozenset({"others"})


def claimed(approval: Approval, who: str = "alex", seconds: float = 5) -> Approval:
    """Return the approval in somebody's hands."""
    return done(handling.claim(approval, who, MEMBERS, at(seconds)), Approval)


def handed(approval: Approval, by: str, to: str, **options: Any) -> Approval:
    """Return the approval, handed over."""
    change = handling.hand_over(approval, by, MEMBERS, to, MEMBERS, at(6), **options)
    return done(change, Approval)


def is_told(approval: Approval) -> bool:
    """Tell whether somebody is to be told that it was handed to them."""
    return any(entry.event == HANDED_OVER for entry in approval.owes(Service.NOTIFIER))


def test_a_claim_stops_nobody() -> None:
    """It is the same version, and another may answer it; then the claim is over."""
    mine = claimed(asked())
    assert mine.claim is not None
    assert (mine.claim.reviewer_id, mine.claim.handed_by, mine.version) == ("alex", None, 1)
    ended = responded(mine, "approve", reviewer="sam")
    assert (ended.status, ended.claim) == (ActionStatus.APPROVED, None)


def test_a_claim_again_changes_nothing_and_anothers_takes_over() -> None:
    mine = claimed(asked())
    assert handling.claim(mine, "alex", MEMBERS, at(6)) is None
    change = handling.claim(mine, "sam", MEMBERS, at(6))
    assert change is not None
    assert change.detail == {"from": "alex"}
    assert done(change, Approval).view().claimed_by == "sam"


def test_only_who_has_it_lets_it_go() -> None:
    mine = claimed(asked())
    with pytest.raises(Refusal) as caught:
        handling.release(mine, "sam", at(6))
    assert caught.value.code == "not_yours"
    free = done(handling.release(mine, "alex", at(6)), Approval)
    assert free.claim is None
    assert handling.release(free, "alex", at(7)) is None


def test_strangers_and_askers_take_nothing_in_hand() -> None:
    """Neither under their own name, nor as one of the askers under another."""
    open_ = asked(owner="alex")
    for who, groups, is_asker, code in (
        ("kim", STRANGERS, False, "not_a_reviewer"),
        ("alex", MEMBERS, False, "self_approval"),
        ("alex.smith", MEMBERS, True, "self_approval"),
    ):
        with pytest.raises(Refusal) as caught:
            handling.claim(open_, who, groups, at(5), is_asker=is_asker)
        assert caught.value.code == code


def test_who_stands_in_takes_it_for_the_one_who_is_away() -> None:
    change = handling.claim(asked(), "kim", STRANGERS, at(5), mandates={"alex": MEMBERS})
    taken = done(change, Approval).claim
    assert taken is not None
    assert (taken.reviewer_id, taken.stands_in_for) == ("kim", "alex")


@pytest.mark.parametrize("ended", [True, False])
def test_what_is_over_is_in_nobodys_hands(ended: bool) -> None:
    """Neither what was answered nor what has run out."""
    over = responded(asked(), "reject") if ended else asked()
    code = "already_decided" if ended else "expired"
    with pytest.raises(Refusal) as caught:
        handling.claim(over, "sam", MEMBERS, at(301))
    assert caught.value.code == code
    with pytest.raises(Refusal) as caught:
        handling.hand_over(over, "sam", MEMBERS, "kim", MEMBERS, at(301))
    assert caught.value.code == code


def test_what_is_handed_over_is_in_the_others_hands_who_is_told() -> None:
    """Whoever hands it over need not have it."""
    theirs = handed(claimed(asked(), "sam"), "alex", "kim", note="you know them")
    assert theirs.claim is not None
    assert (theirs.claim.reviewer_id, theirs.claim.handed_by) == ("kim", "alex")
    assert (theirs.claim.note, theirs.version, is_told(theirs)) == ("you know them", 1, True)
    again = handling.hand_over(theirs, "alex", MEMBERS, "kim", MEMBERS, at(9), note="you know them")
    assert again is None


def test_who_does_not_have_it_any_more_is_not_told() -> None:
    """Handed over and taken by another before anybody was told."""
    theirs = handed(asked(), "alex", "kim")
    assert not is_told(claimed(theirs, "sam"))
    assert not is_told(done(handling.release(theirs, "kim", at(7)), Approval))
    twice = handed(theirs, "alex", "sam")
    events = [entry.event for entry in twice.owes(Service.NOTIFIER)]
    assert events.count(HANDED_OVER) == 1
    assert not is_told(responded(theirs, "approve"))


def test_nothing_is_handed_to_whoever_asks() -> None:
    """Nor by them: it would be a way to choose who answers."""
    open_ = asked(on_behalf_of="alex")
    for by, to, options in (
        ("sam", "alex", {}),
        ("sam", "alex2", {"to_is_asker": True}),
        ("alex", "sam", {}),
        ("alex2", "sam", {"is_asker": True}),
    ):
        with pytest.raises(Refusal) as caught:
            handed(open_, by, to, **options)
        assert caught.value.code == "self_approval"


def test_strangers_hand_over_nothing_and_are_handed_nothing() -> None:
    for groups, to_groups in ((STRANGERS, MEMBERS), (MEMBERS, STRANGERS)):
        with pytest.raises(Refusal) as caught:
            handling.hand_over(asked(), "sam", groups, "kim", to_groups, at(5))
        assert caught.value.code == "not_a_reviewer"


def test_nobody_hands_it_to_themself_or_with_a_letter() -> None:
    with pytest.raises(Refusal) as caught:
        handed(asked(), "alex", "alex")
    assert caught.value.code == "handed_to_self"
    with pytest.raises(Refusal) as caught:
        handed(asked(), "alex", "sam", note="x" * (MAX_NOTE + 1))
    assert caught.value.code == "note_too_long"


def test_it_is_not_handed_over_to_be_approved_by_its_author() -> None:
    """Under four eyes who changed it does not approve it, whoever gives it back to them."""
    terms = TERMS.model_copy(update={"four_eyes": True})
    changed = responded(asked(terms=terms), "modify", modifications={"amount": "1.00"})
    with pytest.raises(Refusal) as caught:
        respond(handed(changed, "sam", "alex"), "approve", reviewer="alex")
    assert caught.value.code == "four_eyes"


# --- views --------------------------------------------------------------------------------------


def viewed(approval: Approval, who: str) -> Approval:
    """Return the approval after somebody has looked at it."""
    return done(handling.viewed(approval, who, at(3)), Approval)


def test_the_first_view_of_each_version_is_kept() -> None:
    seen = viewed(viewed(asked(), "alex"), "sam")
    assert handling.viewed(seen, "alex", at(9)) is None
    assert (seen.version, seen.digest) == (1, asked().digest)
    later = viewed(answered(responded(seen, "ask", comments="why?")), "alex")
    known = [(view.reviewer_id, view.version) for view in later.views]
    assert known == [("alex", 1), ("sam", 1), ("alex", 2)]


def test_what_has_ended_is_not_changed_by_a_view() -> None:
    assert handling.viewed(responded(asked(), "approve"), "alex", at(20)) is None


def test_there_is_room_for_so_many_views() -> None:
    """Those of an older version make room; those of this version do not."""
    full = asked()
    for number in range(MAX_VIEWS):
        full = viewed(full, f"r{number}")
    assert handling.viewed(full, "alex", at(9)) is None
    later = viewed(answered(responded(full, "ask", comments="why?")), "alex")
    assert len(later.views) == MAX_VIEWS
    assert (later.views[0].reviewer_id, later.views[-1].reviewer_id) == ("r1", "alex")
