"""What reviewers ask the agent, the clock that stands still, and answers with other arguments."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from safeguards.canonical import digest
from safeguards.contracts import AlertView, AnswerSubmission, Verdict
from safeguards.errors import InvalidContentError
from safeguards.types import ActionStatus, AlertSeverity
from safeguards_runtime.records import Action, Approval, Change, Refusal, opening, waiting
from safeguards_runtime.records import action as action_rules
from safeguards_runtime.records import approval as rules
from safeguards_runtime.records.events import ANSWERED
from safeguards_runtime.records.judgement import Judgement
from safeguards_runtime.records.questions import JUDGE
from safeguards_runtime.records.terms import Escalation
from safeguards_runtime.topology import HINT_GRACE_SECONDS, Service
from tests.runtime.samples import (
    NOW,
    TERMS,
    answered,
    asked,
    at,
    done,
    judgement,
    respond,
    responded,
    submitted,
)

REMINDING = TERMS.model_copy(update={"remind_after_seconds": (60, 200)})


def refusal(act: Any) -> str:
    """Return why something is refused."""
    with pytest.raises(Refusal) as caught:
        act()
    return caught.value.code


def paused(approval: Approval, seconds: float = 10, words: str = "why?") -> Approval:
    """Return the approval after a question for which the clock stands still."""
    return responded(approval, "ask", comments=words, pause=True, seconds=seconds)


def given(approval: Approval, context: dict[str, Any], seconds: float = 20) -> Change | None:
    """Answer with other arguments."""
    submission = AnswerSubmission(answer="then so", context=context)
    return rules.answer(approval, submission, at(seconds))


# --- the clock ----------------------------------------------------------------------------------


def test_the_clock_stands_still_until_the_agent_answers() -> None:
    """All that is to come moves by as long as it took, to the second."""
    still = paused(asked(terms=REMINDING))
    assert (still.paused_at, still.paused_until) == (at(10), at(310))
    assert (still.expires_at, [step.at for step in still.steps]) == (at(600), [at(360), at(500)])
    running = answered(still, seconds=50)
    assert (running.paused_at, running.paused_until) == (None, None)
    assert (running.expires_at, [s.at for s in running.steps]) == (at(340), [at(100), at(240)])


def test_without_a_pause_the_clock_runs() -> None:
    assert responded(asked(), "ask", comments="why?").expires_at == at(300)


def test_only_a_question_stops_the_clock() -> None:
    assert refusal(lambda: respond(asked(), "approve", pause=True)) == "unexpected_pause"


def test_a_pause_that_nobody_ends_is_over_with_its_allowance() -> None:
    """The deadline comes, later by the terms' time-out, and not one second more."""
    still = paused(asked())
    assert waiting.advance(still, at(599)) is None
    ended = done(waiting.advance(still, at(600)), Approval)
    assert (ended.status, ended.paused_at) == (ActionStatus.TIMED_OUT, None)


def test_pauses_together_are_no_longer_than_the_time_out() -> None:
    """However many questions are asked: what earlier ones took is gone."""
    first = answered(paused(asked()), seconds=110)
    assert (first.paused_seconds_used, first.expires_at) == (100, at(400))
    second = paused(first, 120, "and why that?")
    assert (second.paused_until, second.expires_at) == (at(320), at(600))
    late = answered(second, seconds=500)
    assert (late.paused_seconds_used, late.expires_at) == (300, at(600))
    assert refusal(lambda: paused(late, 510, "and now?")) == "no_pause_left"
    assert responded(late, "ask", comments="and now?", seconds=510).expires_at == at(600)


def test_a_pause_that_has_run_out_cannot_be_had_again() -> None:
    """Also if nobody has answered."""
    still = paused(asked())
    assert refusal(lambda: paused(still, 400, "hello?")) == "no_pause_left"


def test_while_it_stands_still_another_question_does_not_stop_it_again() -> None:
    """It runs once no question waits."""
    twice = paused(paused(asked()), 20, "and what?")
    assert twice.expires_at == at(600)
    once = answered(twice, "this", seconds=30)
    assert (once.paused_at, once.expires_at) == (at(10), at(600))
    assert answered(once, "that", seconds=40).expires_at == at(330)


def test_what_was_due_before_the_pause_stays_due() -> None:
    """The tracker may not have come to it yet."""
    still = paused(asked(terms=REMINDING), 100)
    assert [step.at for step in still.steps] == [at(60), at(500)]
    assert [s.at for s in answered(still, seconds=150).steps] == [at(60), at(250)]


def test_it_can_be_answered_while_the_clock_stands_still() -> None:
    """After the first deadline as well."""
    ended = responded(paused(asked()), "approve", seconds=450)
    assert (ended.status, ended.paused_at) == (ActionStatus.APPROVED, None)
    assert ended.timers() == {}


def test_a_waiting_list_goes_by_the_deadline_that_holds() -> None:
    still = paused(asked())
    assert set(still.ranks()) == {"waiting", "waiting:group:reviewers"}
    assert set(still.ranks().values()) == {int(at(600).timestamp() * 1000)}
    ended = responded(still, "approve", seconds=20)
    like = rules.like_rank("trader", ended.action_type)
    assert {"ended", like} <= ended.ranks().keys()
    assert set(ended.ranks().values()) == {int(at(20).timestamp() * 1000)}
    assert rules.like_rank("a:b", "c") != rules.like_rank("a", "b:c")


# --- answers with other arguments ---------------------------------------------------------------

OTHER = {"amount": "100.00", "payee": "ACME"}


def judged_and_asked(**terms: Any) -> Approval:
    """Return an open approval that a verdict required, with a question to the agent."""
    found = Judgement(
        verdict=Verdict.REQUIRE_APPROVAL,
        terms=TERMS.model_copy(update=terms),
        reasons=("large",),
        policies=("payments",),
    )
    action = done(action_rules.judge(submitted(), found, NOW), Action)
    changes = opening.open_for(action, NOW)
    assert changes is not None
    return responded(done(changes[0], Approval), "ask", comments="less?")


def amending(**terms: Any) -> Approval:
    """Return one whose agent has answered with another amount."""
    return done(given(judged_and_asked(**terms), {"amount": "1.00"}), Approval)


def test_what_was_asked_for_directly_is_at_once_another_version() -> None:
    """With what it was before, and of another digest."""
    open_ = responded(asked(), "ask", comments="less?")
    after = done(given(open_, OTHER), Approval)
    assert (after.version, after.context, after.amendment) == (2, OTHER, None)
    assert after.digest != open_.digest
    assert after.earlier is not None
    assert (after.earlier.context, after.earlier.changed_by) == (open_.context, "agent:trader")
    assert refusal(lambda: respond(after, "approve", version=1)) == "stale_version"
    assert refusal(lambda: respond(after, "approve", digest=open_.digest)) == "stale_version"
    outcome = responded(after, "approve", seconds=30).outcome
    assert outcome is not None
    assert outcome.approved_digest == digest(OTHER)


def test_other_arguments_are_asked_about_on_their_own_terms() -> None:
    """From the beginning of what happens while nobody answers; within the time that is left."""
    step = Escalation(after_seconds=60, groups=("finance",))
    strict = TERMS.model_copy(update={"quorum": 2, "groups": ("finance",), "escalation": (step,)})
    open_ = responded(asked(), "ask", comments="less?")
    submission = AnswerSubmission(answer="then so", context=OTHER)
    after = done(rules.answer(open_, submission, at(20), terms=strict), Approval)
    assert (after.terms, after.needed, after.expires_at) == (strict, 2, open_.expires_at)
    assert [one.at for one in after.steps] == [at(80)]
    same = done(rules.answer(open_, submission, at(20), terms=TERMS), Approval)
    assert same.steps == open_.steps


def test_other_arguments_void_votes_and_what_reviewers_had_changed() -> None:
    terms = TERMS.model_copy(update={"quorum": 2})
    changed = responded(asked(terms=terms), "modify", modifications={"amount": "9.00"})
    after = done(given(responded(changed, "ask", comments="?"), OTHER), Approval)
    assert (after.votes, after.modifications, after.authors) == ((), None, frozenset())
    assert after.earlier is not None
    assert after.earlier.context["amount"] == "9.00"


def test_an_answer_in_words_keeps_what_reviewers_had_changed() -> None:
    """Also if it repeats what is shown."""
    terms = TERMS.model_copy(update={"quorum": 2})
    changed = responded(asked(terms=terms), "modify", modifications={"amount": "9.00"})
    open_ = responded(changed, "ask", comments="?")
    for after in (answered(open_), done(given(open_, open_.shown_context), Approval)):
        assert (after.modifications, after.votes) == ({"amount": "9.00"}, ())
        assert (after.version, after.digest) == (3, open_.digest)


def test_what_policies_judged_is_judged_again() -> None:
    """Until then nobody can answer, and people are not told of a new version."""
    waits = amending()
    assert (waits.version, waits.amendment) == (1, {"amount": "1.00"})
    assert [entry.event for entry in waits.owes(Service.EVALUATOR)] == [JUDGE]
    assert waits.due()[Service.EVALUATOR] == at(20 + HINT_GRACE_SECONDS)
    assert ANSWERED not in {entry.event for entry in waits.owes(Service.NOTIFIER)}
    for response in ("approve", "reject", "modify", "ask"):
        assert refusal(lambda kind=response: respond(waits, kind, seconds=21)) == "being_judged"


def test_the_judgement_of_other_arguments_takes_the_place_of_the_first() -> None:
    alert = AlertView(
        safeguard="s", title="Odd", description="very", severity=AlertSeverity.CRITICAL
    )
    found = judgement(
        Verdict.REQUIRE_APPROVAL, alerts=(alert,), reasons=("odd",), policies=("odd ones",)
    )
    before = amending()
    after = done(rules.amended(before, found, at(25)), Approval)
    assert (after.version, after.context, after.amendment) == (2, {"amount": "1.00"}, None)
    assert (after.severity, after.reasons) == (AlertSeverity.CRITICAL, ("odd",))
    assert (after.alerts, after.policies) == ((alert,), ("odd ones",))
    assert after.digest != before.digest
    assert not after.owes(Service.EVALUATOR)
    assert ANSWERED in {entry.event for entry in after.owes(Service.NOTIFIER)}
    assert rules.amended(after, found, at(26)) is None
    outcome = responded(after, "approve", seconds=30).outcome
    assert outcome is not None
    assert outcome.approved_digest == digest({"amount": "1.00"})


@pytest.mark.parametrize("verdict", [Verdict.ALLOW, Verdict.NOTIFY])
def test_arguments_that_the_policies_allow_are_still_for_people(verdict: Verdict) -> None:
    """They were asked and have not answered; on the terms on which they were."""
    before = amending(quorum=2)
    after = done(rules.amended(before, judgement(verdict), at(25)), Approval)
    assert (after.status, after.terms) == (ActionStatus.PENDING, before.terms)
    assert after.severity is AlertSeverity.WARNING


def test_arguments_that_the_policies_deny_end_it() -> None:
    change = rules.amended(amending(), judgement(Verdict.DENY, reasons=("never",)), at(25))
    ended = done(change, Approval)
    outcome = ended.outcome
    assert outcome is not None
    assert (outcome.status, outcome.decided_by) == (ActionStatus.REJECTED, "policy")
    assert (outcome.comments, outcome.approved_digest) == ("never", None)
    assert change is not None
    assert change.feed == (outcome,)
    assert rules.owes_closing(ended)


def test_other_terms_begin_anew_within_the_time_that_is_left() -> None:
    step = Escalation(after_seconds=120, groups=("board",))
    terms = TERMS.model_copy(
        update={
            "groups": ("finance",),
            "timeout_seconds": 9000,
            "remind_after_seconds": (60, 290),
            "escalation": (step,),
        }
    )
    found = Judgement(verdict=Verdict.REQUIRE_APPROVAL, terms=terms)
    before = amending()
    after = done(rules.amended(before, found, at(25)), Approval)
    assert (after.groups, after.expires_at) == (("finance",), before.expires_at)
    assert [step.at for step in after.steps] == [at(85), at(145)]


def test_time_runs_out_while_it_is_judged() -> None:
    """Even where silence would be consent: nobody could have spoken."""
    waits = amending(on_timeout="approve")
    found = judgement(Verdict.REQUIRE_APPROVAL)
    late = done(rules.amended(waits, found, at(300)), Approval)
    for late_one in (waits, late):
        ended = done(waiting.advance(late_one, at(300)), Approval)
        assert (ended.status, ended.amendment) == (ActionStatus.TIMED_OUT, None)
        assert not ended.owes(Service.EVALUATOR)
        assert rules.amended(ended, found, at(301)) is None


def test_withdrawn_while_it_is_judged() -> None:
    ended = done(rules.cancel(amending(), at(22)), Approval)
    assert rules.amended(ended, judgement(Verdict.ALLOW), at(25)) is None


def test_the_same_answer_again_is_a_repeat() -> None:
    """With the same arguments, before and after they were judged; with others it is not."""
    waits = amending()
    assert given(waits, {"amount": "1.00"}, 21) is None
    assert refusal(lambda: given(waits, {"amount": "2.00"}, 21)) == "no_question"
    after = done(rules.amended(waits, judgement(Verdict.ALLOW), at(25)), Approval)
    assert given(after, {"amount": "1.00"}, 26) is None


@pytest.mark.parametrize("kind", ["delete_everything", "", 7, None])
def test_an_answer_does_not_make_it_another_action(kind: Any) -> None:
    """Policies and people were asked about this type, and no other."""
    for open_ in (responded(asked(), "ask", comments="?"), judged_and_asked()):
        context = {"amount": "1.00", "action_type": kind}
        assert refusal(lambda o=open_, c=context: given(o, c)) == "other_action_type"


def test_the_same_type_may_be_said() -> None:
    open_ = judged_and_asked()
    assert given(open_, {"amount": "1.00", "action_type": open_.action_type}) is not None


def test_an_answer_is_no_larger_than_an_action() -> None:
    """Alone, or with the description that stays."""
    with pytest.raises(ValidationError):
        AnswerSubmission(answer="x", context={"x": "y" * 300_000})
    for open_ in (responded(asked(description="d" * 19_000), "ask", comments="?"),):
        with pytest.raises(InvalidContentError):
            given(open_, {"x": "y" * 255_000})
