"""Where several people must approve: votes, changes among them, and four eyes."""

from __future__ import annotations

from typing import Any

import pytest

from safeguards.canonical import digest
from safeguards.contracts import ResponseSubmission
from safeguards.types import ActionStatus
from safeguards_runtime.records import Approval, Change, Refusal, waiting
from safeguards_runtime.records import approval as rules
from safeguards_runtime.records.events import CHANGED
from safeguards_runtime.records.versions import shown_digest
from safeguards_runtime.topology import Service
from tests.runtime.samples import TERMS, answered, asked, at, done, respond, responded

TWO = TERMS.model_copy(update={"quorum": 2})
THREE = TERMS.model_copy(update={"quorum": 3})
FOUR_EYES = TERMS.model_copy(update={"four_eyes": True})
BOTH = TERMS.model_copy(update={"quorum": 2, "four_eyes": True})
MEMBERS = frozenset({"reviewers"})
NOBODY: frozenset[str] = frozenset()


def refused(approval: Approval, response: str, **options: Any) -> str:
    """Return why a response is refused."""
    with pytest.raises(Refusal) as caught:
        respond(approval, response, **options)
    return caught.value.code


def in_stead(
    approval: Approval,
    reviewer: str,
    *absent: str,
    groups: frozenset[str] = NOBODY,
    link: str | None = None,
) -> Change | None:
    """Approve as somebody for whom `absent` are away."""
    return rules.respond(
        approval,
        ResponseSubmission.model_validate(
            {"response": "approve", "version": approval.version, "digest": approval.digest}
        ),
        reviewer_id=reviewer,
        groups=groups,
        mandates=dict.fromkeys(absent, MEMBERS),
        link=link,
        via="email" if link else "api",
        now=at(10),
    )


# --- votes --------------------------------------------------------------------------------------


def test_the_approval_that_completes_the_quorum_ends_it() -> None:
    """The agent hears nothing before; the outcome names who completed it, and all who approved."""
    open_ = asked(terms=THREE)
    assert open_.needed == 3
    first = respond(open_, "approve", reviewer="alex", comments="checked")
    assert first is not None
    assert (first.event, first.feed, first.detail["needed"]) == ("voted", (), 2)
    one = done(first, Approval)
    assert (one.status, one.version, one.digest) == (ActionStatus.PENDING, 1, open_.digest)
    two = responded(one, "approve", reviewer="sam")
    assert (two.needed, [vote.reviewer_id for vote in two.votes]) == (1, ["alex", "sam"])
    last = respond(two, "approve", reviewer="kim")
    assert last is not None
    ended = done(last, Approval)
    outcome = ended.outcome
    assert outcome is not None
    assert (outcome.status, outcome.decided_by) == (ActionStatus.APPROVED, "kim")
    assert outcome.approvers == ("alex", "sam", "kim")
    assert last.detail["approvers"] == ["alex", "sam", "kim"]
    assert (ended.needed, last.feed) == (0, (outcome,))


def test_one_is_enough_to_reject() -> None:
    """Also one who has approved before."""
    voted = responded(asked(terms=THREE), "approve", reviewer="alex")
    for who in ("sam", "alex"):
        ended = responded(voted, "reject", reviewer=who)
        assert ended.outcome is not None
        assert (ended.status, ended.outcome.approvers) == (ActionStatus.REJECTED, ())


def test_an_approval_by_one_names_its_approver() -> None:
    ended = responded(asked(), "approve", reviewer="alex")
    assert ended.outcome is not None
    assert (ended.outcome.approvers, ended.votes) == (("alex",), ())


def test_the_same_person_counts_once() -> None:
    """A second approval of theirs is a repeat, whatever they write with it."""
    voted = responded(asked(terms=TWO), "approve", reviewer="alex")
    assert respond(voted, "approve", reviewer="alex") is None
    assert respond(voted, "approve", reviewer="alex", comments="once more") is None


def test_the_same_person_counts_once_in_anothers_stead_as_well() -> None:
    """Who has approved for themself does not approve for somebody who is away."""
    voted = responded(asked(terms=TWO), "approve", reviewer="alex")
    assert in_stead(voted, "alex", "sam", groups=MEMBERS) is None
    # Nor if they have left the group, and may answer in that stead only.
    assert in_stead(voted, "alex", "sam") is None


def test_who_stands_in_for_two_counts_once() -> None:
    voted = done(in_stead(asked(terms=TWO), "kim", "alex", "sam"), Approval)
    assert voted.votes[0].people == {"kim", "alex"}
    assert in_stead(voted, "kim", "alex", "sam") is None
    assert in_stead(voted, "kim", "sam") is None


def test_one_seat_counts_once() -> None:
    """Who was away and is back does not approve again what was approved in their stead; nor the
    other way round."""
    voted = done(in_stead(asked(terms=TWO), "kim", "alex"), Approval)
    assert refused(voted, "approve", reviewer="alex") == "already_voted"
    assert responded(voted, "reject", reviewer="alex").status is ActionStatus.REJECTED
    before = responded(asked(terms=TWO), "approve", reviewer="alex")
    with pytest.raises(Refusal) as caught:
        in_stead(before, "kim", "alex")
    assert caught.value.code == "already_voted"


def test_who_stands_in_for_several_approves_for_one_who_has_not() -> None:
    """The seat of the first is taken; that of the second is not."""
    voted = responded(asked(terms=TWO), "approve", reviewer="alex")
    ended = done(in_stead(voted, "kim", "alex", "sam"), Approval)
    assert ended.outcome is not None
    assert (ended.outcome.decided_by, ended.outcome.decided_for) == ("kim", "sam")


def test_a_stand_in_of_one_seat_may_also_vote_beside_another() -> None:
    voted = done(in_stead(asked(terms=TWO), "kim", "alex"), Approval)
    ended = responded(voted, "approve", reviewer="sam")
    assert ended.outcome is not None
    assert ended.outcome.approvers == ("kim", "sam")


def test_whoever_asks_has_no_vote() -> None:
    open_ = asked(terms=TWO, owner="alex")
    assert refused(open_, "approve", reviewer="alex") == "self_approval"


def test_a_vote_by_a_link_uses_it_up() -> None:
    """Sent again it is a repeat; for anything else the link is not good any more."""
    open_ = asked(terms=TWO)
    voted = done(in_stead(open_, "alex", groups=MEMBERS, link="a" * 64), Approval)
    assert voted.used_links == ("a" * 64,)
    assert in_stead(voted, "alex", groups=MEMBERS, link="a" * 64) is None
    with pytest.raises(Refusal) as caught:
        in_stead(voted, "sam", groups=MEMBERS, link="a" * 64)
    assert caught.value.code == "link_used"


def test_a_vote_repeated_after_the_end_is_a_repeat() -> None:
    """Both who voted first and who completed it may have lost the answer."""
    voted = responded(asked(terms=TWO), "approve", reviewer="alex", comments="fine")
    ended = responded(voted, "approve", reviewer="sam")
    assert respond(ended, "approve", reviewer="alex", comments="fine") is None
    assert respond(ended, "approve", reviewer="sam") is None
    assert refused(ended, "approve", reviewer="alex", comments="other") == "already_decided"
    assert refused(ended, "approve", reviewer="kim") == "already_decided"


def test_a_vote_for_a_stale_version_does_not_count() -> None:
    """Not even one that was counted for it."""
    voted = responded(asked(terms=TWO), "approve", reviewer="alex")
    later = answered(responded(voted, "ask", reviewer="sam", comments="why?"))
    assert (later.version, later.votes, later.needed) == (2, (), 2)
    for who in ("alex", "sam"):
        assert refused(later, "approve", reviewer=who, version=1) == "stale_version"
    assert refused(later, "approve", digest="0" * 64) == "stale_version"


# --- changes among several ----------------------------------------------------------------------


def modified(approval: Approval, reviewer: str, **changes: Any) -> Approval:
    """Return the approval after somebody has changed something."""
    return responded(approval, "modify", reviewer=reviewer, modifications=changes)


def test_a_modification_is_put_to_the_others() -> None:
    """It makes a new version, of another digest, that tells what was before and by whom; the one
    who made it counts as the first to approve it."""
    open_ = asked(terms=TWO)
    voted = responded(open_, "approve", reviewer="kim")
    change = respond(voted, "modify", reviewer="alex", modifications={"amount": "10.00"})
    assert change is not None
    after = done(change, Approval)
    assert (change.event, change.feed) == ("proposed", ())
    assert (after.status, after.version) == (ActionStatus.PENDING, 2)
    assert after.context == open_.context
    assert after.shown_context == {"amount": "10.00", "payee": "ACME"}
    assert after.digest == shown_digest(open_, after.shown_context) != open_.digest
    assert [vote.reviewer_id for vote in after.votes] == ["alex"]
    assert after.earlier is not None
    earlier = after.earlier
    assert (earlier.version, earlier.context) == (1, open_.context)
    assert earlier.changed_by == "reviewer:alex"
    assert CHANGED in {entry.event for entry in after.owes(Service.NOTIFIER)}


def test_what_was_changed_and_approved_is_the_outcome() -> None:
    """The digest is of what was shown to those who approved it."""
    ended = responded(modified(asked(terms=TWO), "alex", amount="10.00"), "approve", reviewer="sam")
    outcome = ended.outcome
    assert outcome is not None
    assert (outcome.status, outcome.decided_by) == (ActionStatus.MODIFIED, "sam")
    assert (outcome.modifications, outcome.approvers) == ({"amount": "10.00"}, ("alex", "sam"))
    assert outcome.approved_digest == digest({"amount": "10.00", "payee": "ACME"})
    assert outcome.approved_context({"amount": "2500.00", "payee": "ACME"})["amount"] == "10.00"


def test_further_modifications_build_on_those_that_are_shown() -> None:
    once = modified(asked(terms=THREE), "alex", amount="10.00")
    twice = modified(once, "sam", payee="Other")
    assert twice.modifications == {"amount": "10.00", "payee": "Other"}
    assert (twice.modified_by, set(twice.authors)) == ("sam", {"alex", "sam"})
    assert [vote.reviewer_id for vote in twice.votes] == ["sam"]


def test_what_is_set_back_is_changed_no_more() -> None:
    """Also if the amount is written in another way. If nothing is left, nobody has changed it."""
    once = modified(asked(terms=THREE), "alex", amount="10.00", payee="Other")
    partly = modified(once, "sam", amount="2500.0")
    assert (partly.modifications, partly.changed_by) == ({"payee": "Other"}, {"payee": "alex"})
    wholly = modified(partly, "kim", payee="ACME")
    assert (wholly.modifications, wholly.modified_by, wholly.changed_by) == (None, None, {})
    assert (wholly.version, wholly.shown_context) == (4, wholly.context)


def test_a_modification_that_changes_nothing_of_what_is_shown_is_refused() -> None:
    once = modified(asked(terms=TWO), "alex", amount="10.00")
    same = {"modifications": {"amount": "10.0"}}
    assert refused(once, "modify", reviewer="sam", **same) == "nothing_changed"


def test_a_modification_sent_again_is_a_repeat() -> None:
    """It names the version before, which is gone by its own doing."""
    once = modified(asked(terms=TWO), "alex", amount="10.00")
    shown: dict[str, Any] = {"version": 1, "digest": None, "modifications": {"amount": "10.00"}}
    assert respond(once, "modify", reviewer="alex", **shown) is None
    assert refused(once, "modify", reviewer="sam", **shown) == "stale_version"
    other = {**shown, "modifications": {"amount": "11.00"}}
    assert refused(once, "modify", reviewer="alex", **other) == "stale_version"
    ended = responded(once, "approve", reviewer="sam")
    assert respond(ended, "modify", reviewer="alex", **shown) is None


def test_the_types_are_those_of_what_was_asked() -> None:
    """Whatever others have made of it."""
    once = modified(asked({"note": "x", "amount": "1.00"}, terms=TWO), "alex", note="12")
    assert modified(once, "sam", note="words").shown_context["note"] == "words"
    wrong = {"modifications": {"amount": 12}}
    assert refused(once, "modify", reviewer="sam", **wrong) == "wrong_type"


def test_the_votes_of_a_version_are_void_in_the_next() -> None:
    """Two have approved a payment of 2500; nobody has approved one of 9000 but who made it so."""
    voted = responded(responded(asked(terms=THREE), "approve"), "approve", reviewer="sam")
    changed = modified(voted, "kim", amount="9000.00")
    assert (changed.needed, changed.status) == (2, ActionStatus.PENDING)
    assert refused(changed, "approve", reviewer="sam", version=1) == "stale_version"


# --- four eyes ----------------------------------------------------------------------------------


def test_under_four_eyes_who_changes_it_does_not_approve_it() -> None:
    """Not at once, and not afterwards; somebody else does."""
    changed = modified(asked(terms=FOUR_EYES), "alex", amount="1.00")
    assert (changed.status, changed.votes, changed.needed) == (ActionStatus.PENDING, (), 1)
    assert refused(changed, "approve", reviewer="alex") == "four_eyes"
    ended = responded(changed, "approve", reviewer="sam")
    assert ended.outcome is not None
    assert (ended.status, ended.outcome.approvers) == (ActionStatus.MODIFIED, ("sam",))


def test_what_nobody_changed_needs_no_four_eyes() -> None:
    assert responded(asked(terms=FOUR_EYES), "approve").status is ActionStatus.APPROVED


def test_a_change_by_another_does_not_wash_the_first() -> None:
    """Who has changed the amount may not approve it because somebody has since changed a word."""
    changed = modified(modified(asked(terms=FOUR_EYES), "alex", amount="1.00"), "sam", payee="B")
    assert refused(changed, "approve", reviewer="alex") == "four_eyes"
    assert refused(changed, "approve", reviewer="sam") == "four_eyes"
    assert responded(changed, "approve", reviewer="kim").status is ActionStatus.MODIFIED


def test_who_was_overruled_may_approve() -> None:
    """What the other has put in its place is not theirs."""
    changed = modified(modified(asked(terms=FOUR_EYES), "alex", amount="1.00"), "sam", amount="2")
    assert refused(changed, "approve", reviewer="sam") == "four_eyes"
    assert responded(changed, "approve", reviewer="alex").status is ActionStatus.MODIFIED


def test_nobody_approves_in_the_stead_of_who_changed_it() -> None:
    """Nor does who changed it approve in another's stead."""
    changed = modified(asked(terms=FOUR_EYES), "alex", amount="1.00")
    for who, absent in (("kim", "alex"), ("alex", "kim")):
        with pytest.raises(Refusal) as caught:
            in_stead(changed, who, absent)
        assert caught.value.code == "four_eyes"


def test_four_eyes_and_a_quorum() -> None:
    """Two must approve beside the one who changed it."""
    changed = modified(asked(terms=BOTH), "alex", amount="1.00")
    once = responded(changed, "approve", reviewer="sam")
    assert once.needed == 1
    ended = responded(once, "approve", reviewer="kim")
    assert ended.outcome is not None
    assert ended.outcome.approvers == ("sam", "kim")


def test_a_quorum_with_four_eyes_cannot_be_met_by_changing_in_turns() -> None:
    """Two people who change in turns never approve."""
    changed = asked(terms=BOTH)
    for turn in range(4):
        who = ("alex", "sam")[turn % 2]
        changed = modified(changed, who, **{("amount", "payee")[turn % 2]: str(turn + 10)})
        assert changed.votes == ()
    assert refused(changed, "approve", reviewer="alex") == "four_eyes"
    assert refused(changed, "approve", reviewer="sam") == "four_eyes"


@pytest.mark.parametrize("terms", [TWO, FOUR_EYES])
def test_silence_is_not_the_consent_of_several(terms: Any) -> None:
    """Whatever the terms say of silence."""
    silent = terms.model_copy(update={"on_timeout": "approve"})
    ended = done(waiting.time_out(asked(terms=silent), at(301)), Approval)
    assert ended.status is ActionStatus.TIMED_OUT


def test_those_who_have_spoken_are_known() -> None:
    """They are not asked again for the same version."""
    voted = done(in_stead(asked(terms=THREE), "kim", "alex"), Approval)
    assert set(voted.spoken) == {"kim", "alex"}
    changed = modified(asked(terms=FOUR_EYES), "alex", amount="1.00")
    assert changed.spoken == ("alex",)


def test_the_view_says_how_it_stands() -> None:
    view = modified(asked(terms=TWO), "alex", amount="10.00").view()
    assert (view.quorum, view.needed, view.votes) == (2, 1, ("alex",))
    assert (view.modifications, view.modified_by) == ({"amount": "10.00"}, "alex")
    assert view.context["amount"] == "2500.00"
