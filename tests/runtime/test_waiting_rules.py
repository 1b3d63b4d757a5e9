"""What happens to an approval while nobody answers, and who may answer it when."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeguards.contracts import AnswerSubmission, ApprovalSubmission, ResponseSubmission
from safeguards.types import ActionStatus, AlertSeverity
from safeguards_runtime.records import Approval, Change, Refusal, opening
from safeguards_runtime.records import approval as approval_rules
from safeguards_runtime.records import waiting as rules
from safeguards_runtime.records.approval import UNREACHED, UNREACHED_INDEX, Step
from safeguards_runtime.records.delivery import token_hash
from safeguards_runtime.records.events import (
    ANSWERED,
    ESCALATED,
    REMINDED,
    REQUESTED,
    RESOLVED,
    UNREACHABLE,
)
from safeguards_runtime.records.rota import ALWAYS, Rota
from safeguards_runtime.records.terms import Escalation, Terms
from safeguards_runtime.reviewers import Directory
from safeguards_runtime.topology import Service
from tests.runtime.samples import NOW, TERMS, at, done, respond, responded

MANAGERS = Escalation(after_seconds=60, groups=("managers",))
DIRECTORS = Escalation(after_seconds=120, groups=("directors",))
BOARD = Escalation(after_seconds=180, groups=("board",))
CHAIN = (MANAGERS, DIRECTORS, BOARD)


@dataclass
class OnDuty:
    """A rota on which only these groups are on duty, at all times."""

    groups: set[str]
    looked: list[tuple[tuple[str, ...], tuple[str, ...]]] = field(default_factory=list)

    def is_covered(
        self,
        groups: Sequence[str],
        now: datetime,
        severity: AlertSeverity,
        *,
        without: Collection[str] = (),
    ) -> bool:
        self.looked.append((tuple(groups), tuple(without)))
        return bool(self.groups & set(groups))

    def after(self, groups: Sequence[str], start: datetime, seconds: float) -> datetime:
        return start + timedelta(seconds=10 * seconds)


def _opened(
    rota: Rota = ALWAYS, now: datetime = NOW, timeout_seconds: int | None = None, **terms: Any
) -> Approval:
    change = opening.request(
        "apr_01a2107725b47ab29f272b207b6dc1c5",
        ApprovalSubmission(
            agent_id="trader", title="Pay", metadata={"a": "1"}, timeout_seconds=timeout_seconds
        ),
        TERMS.model_copy(update=terms),
        key_id="key",
        owner="pat",
        now=now,
        rota=rota,
    )
    return done(change, Approval)


def _advanced(open_: Approval, seconds: float, rota: Rota = ALWAYS) -> Approval:
    return done(rules.advance(open_, at(seconds), rota), Approval)


def _told(open_: Approval, *events: str, reaches: bool = True, seconds: float = 0) -> Approval:
    return done(rules.told(open_, events, 1, at(seconds), reaches=reaches), Approval)


def _owed(record: Approval, service: Service = Service.NOTIFIER) -> list[str]:
    return [entry.event for entry in record.owes(service)]


def _coming(record: Approval) -> list[tuple[float, str]]:
    return [((one.at - NOW).total_seconds(), one.event) for one in record.steps]


# --- what is to come ----------------------------------------------------------------------------


def test_what_is_to_come_is_known_from_the_beginning_in_its_order() -> None:
    open_ = _opened(remind_after_seconds=(30, 90), escalation=(MANAGERS, DIRECTORS))
    assert _coming(open_) == [
        (30, REMINDED),
        (60, ESCALATED),
        (90, REMINDED),
        (120, ESCALATED),
    ]
    assert open_.escalated == 0


def test_nothing_is_to_come_at_the_deadline_or_after_it() -> None:
    """The agent may have asked for less time than the policy gives."""
    open_ = _opened(timeout_seconds=60, remind_after_seconds=(30, 59, 60), escalation=CHAIN)
    assert _coming(open_) == [(30, REMINDED), (59, REMINDED)]


def test_the_agenda_has_the_next_step_and_then_the_deadline() -> None:
    open_ = _told(_opened(remind_after_seconds=(30,)), REQUESTED)
    assert open_.timers() == open_.due() == {Service.TRACKER: at(30)}
    reminded = _advanced(open_, 30)
    assert reminded.timers() == {Service.TRACKER: open_.expires_at}
    assert responded(open_, "approve").timers() == {}


def test_before_its_time_nothing_happens() -> None:
    open_ = _opened(remind_after_seconds=(30,), escalation=CHAIN)
    assert rules.advance(open_, at(30) - timedelta(microseconds=1)) is None


def test_a_reminder_is_given_once() -> None:
    open_ = _told(_opened(remind_after_seconds=(30, 90)), REQUESTED)
    reminded = _advanced(open_, 30)
    assert (reminded.reminders, _owed(reminded)) == (1, [REMINDED])
    assert rules.advance(_told(reminded, REMINDED), at(89)) is None
    assert _advanced(reminded, 90).reminders == 2


def test_working_hours_count_in_all_times() -> None:
    """Of the first groups: the deadline, the reminders and the steps."""
    open_ = _opened(
        OnDuty({"reviewers"}),
        working_hours=True,
        remind_after_seconds=(30,),
        escalation=(MANAGERS,),
    )
    assert open_.expires_at == at(3000)
    assert _coming(open_) == [(300, REMINDED), (600, ESCALATED)]


def test_working_hours_are_those_of_the_directory() -> None:
    """Asked on Friday evening, it is due on Monday morning."""
    directory = Directory.model_validate(
        {
            "version": 1,
            "reviewers": [
                {
                    "id": "alex",
                    "name": "Alex",
                    "groups": ["reviewers"],
                    "working_hours": {"mon-fri": "09:00-17:00"},
                }
            ],
        }
    )
    friday = datetime(2026, 1, 2, 16, 50, tzinfo=UTC)
    open_ = _opened(directory, friday, working_hours=True, timeout_seconds=300)
    assert open_.expires_at == friday + timedelta(minutes=5)
    open_ = _opened(directory, friday, working_hours=True, remind_after_seconds=(240,))
    late = _opened(directory, friday + timedelta(minutes=8), working_hours=True)
    assert open_.steps == (Step(at=friday + timedelta(minutes=4), event=REMINDED),)
    assert late.expires_at == datetime(2026, 1, 5, 9, 3, tzinfo=UTC)


def test_all_time_counts_where_the_terms_say_nothing_else() -> None:
    assert _opened(OnDuty({"reviewers"})).expires_at == at(300)


# --- escalation ---------------------------------------------------------------------------------


def test_it_is_escalated_step_by_step() -> None:
    open_ = _told(_opened(escalation=CHAIN), REQUESTED)
    for level, group in enumerate(("managers", "directors", "board"), 1):
        assert group not in open_.groups
        open_ = _advanced(open_, 60 * level)
        assert (open_.escalated, open_.groups[-1], _owed(open_)) == (level, group, [ESCALATED])
        open_ = _told(open_, ESCALATED)
        assert rules.advance(open_, at(60 * level)) is None
    assert open_.timers() == {Service.TRACKER: open_.expires_at}


def test_whom_it_was_escalated_to_may_answer_and_nobody_before() -> None:
    open_ = _opened(escalation=CHAIN)
    managers = frozenset({"managers"})
    with pytest.raises(Refusal) as refused:
        respond(open_, "approve", reviewer="max", groups=managers)
    assert refused.value.code == "not_a_reviewer"
    climbed = _advanced(open_, 60)
    ended = responded(climbed, "approve", reviewer="max", groups=managers, seconds=61)
    assert ended.status is ActionStatus.APPROVED
    with pytest.raises(Refusal):
        respond(climbed, "approve", reviewer="dana", groups=frozenset({"directors"}), seconds=61)
    assert respond(climbed, "approve", seconds=61) is not None


def test_several_things_that_are_due_are_done_in_one_go() -> None:
    """The tracker was away: two steps and two reminders are one escalation and one reminder."""
    open_ = _told(_opened(escalation=CHAIN, remind_after_seconds=(30, 90)), REQUESTED)
    after = _advanced(open_, 130)
    assert (after.escalated, after.reminders) == (2, 1)
    assert _owed(after) == [ESCALATED, REMINDED]
    assert _coming(after) == [(180, ESCALATED)]


def test_it_falls_to_the_last_step_at_once_if_nobody_is_on_duty() -> None:
    """Nothing is left to escalate, and all of them may answer."""
    rota = OnDuty(set())
    open_ = _opened(rota, escalation=CHAIN, remind_after_seconds=(30,))
    assert open_.groups == ("reviewers", "managers", "directors", "board")
    assert _coming(open_) == [(30, REMINDED)]
    assert rota.looked == [(("reviewers",), ("trader", "pat"))]


def test_a_step_to_people_who_are_off_duty_falls_to_the_last_one() -> None:
    """Only those who would be added count."""
    rota = OnDuty({"reviewers", "board"})
    after = _advanced(_opened(rota, escalation=CHAIN), 60, rota)
    assert (after.escalated, _coming(after)) == (3, [])


def test_who_is_on_duty_at_the_opening_does_not_matter_where_only_working_hours_count() -> None:
    """Its time does not begin before somebody is."""
    open_ = _opened(OnDuty(set()), escalation=CHAIN, working_hours=True)
    assert open_.escalated == 0


@given(
    st.integers(1, 5),
    st.integers(1, 70),
    st.lists(st.tuples(st.sampled_from(["time", "unreached"]), st.floats(0, 20)), max_size=12),
)
def test_no_step_is_taken_before_its_time_unless_nobody_was_reached(
    length: int, timeout_seconds: int, happened: list[tuple[str, float]]
) -> None:
    """Each time that nobody is reached brings the next step forward, and that step is not taken
    again: at any time, as many steps have been taken as are due, or as were brought forward."""
    chain = tuple(Escalation(after_seconds=10 * n, groups=(f"g{n}",)) for n in range(1, length + 1))
    open_ = _opened(timeout_seconds=timeout_seconds, escalation=chain)
    taken, seconds = 0, 0.0
    for what, pause in happened:
        seconds += pause
        if seconds >= timeout_seconds:
            break
        if what == "unreached":
            open_ = open_.posted(at(seconds), Service.TRACKER, UNREACHED)
            due = sum(step.at <= at(seconds) for step in open_.steps)
            taken = min(length, taken + max(1, due))
        taken = max(taken, min(length, int((at(seconds) - NOW) / timedelta(seconds=10))))
        change = rules.advance(open_, at(seconds))
        open_ = done(change, Approval) if change else open_
        assert open_.escalated == taken
        assert rules.advance(open_, at(seconds)) is None


# --- the deadline and the end -------------------------------------------------------------------


def test_at_the_deadline_it_ends_whatever_else_is_due() -> None:
    ended = _advanced(_opened(escalation=CHAIN, remind_after_seconds=(290,)), 300)
    assert ended.status is ActionStatus.TIMED_OUT
    assert _owed(ended) == [RESOLVED]


@pytest.mark.parametrize("what", ["approve", "reject"])
def test_what_has_been_decided_is_neither_reminded_of_nor_escalated(what: str) -> None:
    open_ = _opened(escalation=CHAIN, remind_after_seconds=(30,))
    ended = responded(open_, what)
    assert rules.advance(ended, at(1000)) is None
    assert rules.unreached(ended, at(20)) is None


# --- nobody is reached --------------------------------------------------------------------------


def test_that_nobody_is_reached_is_noted_once() -> None:
    """It is found in a list, and counted."""
    change = rules.unreached(_told(_opened(), REQUESTED), at(5))
    missed = done(change, Approval)
    assert change is not None
    assert change.counts == (UNREACHABLE,)
    assert missed.unreached_at == at(5)
    assert UNREACHED_INDEX in missed.indexes()
    assert rules.unreached(missed, at(6)) is None


def test_that_nobody_can_be_reached_is_noted_with_the_plan() -> None:
    missed = _told(_opened(), REQUESTED, reaches=False)
    assert missed.unreached_at == NOW
    assert _owed(missed) == [UNREACHABLE]


def test_that_it_is_still_so_is_not_announced_again() -> None:
    """But of an escalation the tracker hears, so that it goes on to the next step."""
    missed = _told(_told(_opened(), REQUESTED, reaches=False), UNREACHABLE)
    missed = missed.struck(Service.TRACKER)
    reminded = rules.told(missed, (REMINDED,), 0, at(5), reaches=False)
    assert (reminded.counts, done(reminded, Approval).outbox) == ((), ())
    escalated = _told(missed, ESCALATED, reaches=False)
    assert (_owed(escalated), _owed(escalated, Service.TRACKER)) == ([], [UNREACHED])


@pytest.mark.parametrize("event", [REQUESTED, REMINDED, ESCALATED, ANSWERED])
def test_a_message_that_may_reach_somebody_gives_hope_again(event: str) -> None:
    """Nor does the tracker then do anything about it."""
    missed = _told(_opened(), REQUESTED, reaches=False)
    hopeful = _told(missed, event)
    assert hopeful.unreached_at is None
    assert _owed(hopeful, Service.TRACKER) == []
    assert UNREACHED_INDEX not in hopeful.indexes()


def test_to_say_that_nobody_was_reached_reaches_nobody() -> None:
    missed = _told(_told(_opened(), REQUESTED, reaches=False), UNREACHABLE)
    assert missed.unreached_at == NOW
    assert _owed(missed, Service.TRACKER) == [UNREACHED]


def test_it_waits_if_the_terms_say_so() -> None:
    missed = done(rules.unreached(_opened(on_unreachable="wait"), at(5)), Approval)
    assert _owed(missed, Service.TRACKER) == []
    assert rules.advance(missed, at(6)) is None


def test_it_is_escalated_at_once_if_the_terms_say_so() -> None:
    """The step that was coming is the one that is taken."""
    missed = done(rules.unreached(_opened(escalation=CHAIN), at(5)), Approval)
    after = _advanced(missed, 6)
    assert (after.escalated, _coming(after)) == (1, [(120, ESCALATED), (180, ESCALATED)])
    assert ESCALATED in _owed(after)
    assert rules.advance(after, at(7)) is None


def test_a_step_that_was_brought_forward_is_not_taken_again_in_its_time() -> None:
    """Also where the deadline leaves no time for the later ones."""
    short = _opened(timeout_seconds=130, escalation=CHAIN)
    after = _advanced(done(rules.unreached(short, at(5)), Approval), 6)
    assert (after.escalated, _coming(after)) == (1, [(120, ESCALATED)])
    assert rules.advance(after, at(60)) is None


def test_without_a_further_step_it_waits() -> None:
    missed = done(rules.unreached(_opened(), at(5)), Approval)
    change = rules.advance(missed, at(6))
    assert change is not None
    assert change.event == "waits_on"
    after = done(change, Approval)
    assert (after.status, _owed(after, Service.TRACKER)) == (ActionStatus.PENDING, [])
    assert rules.advance(after, at(7)) is None


def test_it_is_rejected_if_the_terms_say_so() -> None:
    """By nobody; the agent hears why."""
    missed = done(rules.unreached(_opened(on_unreachable="reject"), at(5)), Approval)
    change = rules.advance(missed, at(6))
    ended = done(change, Approval)
    assert change is not None
    assert ended.outcome is not None
    assert (ended.status, ended.outcome.decided_by) == (ActionStatus.REJECTED, "nobody")
    assert change.feed == (ended.outcome,)
    assert "could be reached" in ended.outcome.comments
    assert _owed(ended, Service.TRACKER) == []


def test_a_decision_ends_what_was_to_be_done_about_it() -> None:
    missed = done(rules.unreached(_opened(on_unreachable="reject"), at(5)), Approval)
    ended = responded(missed, "approve")
    assert _owed(ended, Service.TRACKER) == []
    assert rules.advance(ended, at(20)) is None


# --- who stands in, and by which link -----------------------------------------------------------


def _stand_in(
    open_: Approval,
    response: str = "approve",
    *,
    mandates: dict[str, frozenset[str]],
    groups: frozenset[str] = frozenset(),
    reviewer: str = "bo",
    **given: Any,
) -> Change | None:
    answer = ResponseSubmission.model_validate(
        {"response": response, "version": open_.version, "comments": "fine"}
    )
    return approval_rules.respond(
        open_,
        answer,
        reviewer_id=reviewer,
        groups=groups,
        mandates=mandates,
        via="api",
        now=at(10),
        **given,
    )


REVIEWERS = frozenset({"reviewers"})


@pytest.mark.parametrize("response", ["approve", "reject", "ask"])
def test_it_is_on_record_in_whose_stead_somebody_answered(response: str) -> None:
    change = _stand_in(_opened(), response, mandates={"alex": REVIEWERS})
    assert change is not None
    assert (change.actor, change.detail["for"]) == ("reviewer:bo", "alex")
    ended = done(change, Approval)
    if response != "ask":
        assert ended.outcome is not None
        assert (ended.outcome.decided_by, ended.outcome.decided_for) == ("bo", "alex")


def test_who_may_answer_themself_stands_in_for_nobody() -> None:
    change = _stand_in(_opened(), mandates={"alex": REVIEWERS}, groups=REVIEWERS)
    ended = done(change, Approval)
    assert ended.outcome is not None
    assert ended.outcome.decided_for is None
    assert change is not None
    assert "for" not in change.detail


def test_it_is_the_one_who_might_have_answered_in_whose_stead_it_is() -> None:
    mandates = {"kim": frozenset({"others"}), "alex": REVIEWERS}
    ended = done(_stand_in(_opened(), mandates=mandates), Approval)
    assert ended.outcome is not None
    assert ended.outcome.decided_for == "alex"


def test_a_mandate_for_other_groups_is_none() -> None:
    with pytest.raises(Refusal) as refused:
        _stand_in(_opened(), mandates={"kim": frozenset({"others"})})
    assert refused.value.code == "not_a_reviewer"


def test_a_mandate_counts_for_the_groups_that_it_was_escalated_to() -> None:
    managers = {"max": frozenset({"managers"})}
    open_ = _opened(escalation=CHAIN)
    with pytest.raises(Refusal):
        _stand_in(open_, mandates=managers)
    climbed = open_.model_copy(update={"escalated": 1})
    assert _stand_in(climbed, mandates=managers) is not None


def test_nobody_answers_in_the_stead_of_who_asks() -> None:
    """`pat` asks and is away, and `bo` is their delegate: that is no mandate for this."""
    directory = Directory.model_validate(
        {
            "version": 1,
            "reviewers": [
                {
                    "id": "pat",
                    "name": "Pat",
                    "groups": ["reviewers"],
                    "away_until": "2026-02-01",
                    "delegate": "bo",
                },
                {"id": "bo", "name": "Bo", "groups": ["others"]},
            ],
        }
    )
    open_ = _opened()
    bo = directory.get("bo")
    assert bo is not None
    wards = directory.mandates(bo, NOW)
    assert [ward.id for ward in wards] == ["pat"]
    with pytest.raises(Refusal) as refused:
        _stand_in(open_, mandates={w.id: w.groups for w in wards if not w.is_among(open_.askers)})
    assert refused.value.code == "not_a_reviewer"


def test_who_asks_does_not_answer_in_somebody_elses_stead_either() -> None:
    for asking in ({"reviewer": "pat"}, {"is_asker": True}):
        with pytest.raises(Refusal) as refused:
            _stand_in(_opened(), mandates={"alex": REVIEWERS}, **asking)
        assert refused.value.code == "self_approval"


def test_the_stand_ins_response_again_changes_nothing() -> None:
    ended = done(_stand_in(_opened(), mandates={"alex": REVIEWERS}), Approval)
    assert _stand_in(ended, mandates={"alex": REVIEWERS}) is None


LINK = token_hash("token")


def test_a_link_by_which_it_was_decided_is_used_and_one_by_which_was_asked_is_not() -> None:
    open_ = _opened()
    question = done(_stand_in(open_, "ask", mandates={}, groups=REVIEWERS, link=LINK), Approval)
    assert question.used_links == ()
    ended = done(_stand_in(question, mandates={}, groups=REVIEWERS, link=LINK), Approval)
    assert ended.used_links == (LINK,)


def test_a_link_is_good_for_one_decision() -> None:
    """Whatever made it open again."""
    open_ = _opened().model_copy(update={"used_links": (LINK,)})
    with pytest.raises(Refusal) as refused:
        _stand_in(open_, mandates={}, groups=REVIEWERS, link=LINK)
    assert refused.value.code == "link_used"
    assert _stand_in(open_, mandates={}, groups=REVIEWERS, link=token_hash("other")) is not None


def test_a_decision_sent_twice_by_its_link_is_taken_once() -> None:
    ended = done(_stand_in(_opened(), mandates={}, groups=REVIEWERS, link=LINK), Approval)
    assert _stand_in(ended, mandates={}, groups=REVIEWERS, link=LINK) is None


def test_terms_without_more_are_those_of_before() -> None:
    """Terms that were stored before there were steps read as they were meant."""
    old = Terms.model_validate_json(
        '{"groups":["g"],"channels":[],"timeout_seconds":9,"on_timeout":"reject","editable":[]}'
    )
    assert (old.order, old.escalation, old.working_hours) == ("all", (), False)


# --- silence as consent -------------------------------------------------------------------------


def test_an_agent_cannot_shorten_the_time_to_object() -> None:
    """Where silence is consent, one second would leave nobody any."""
    hurried = _opened(timeout_seconds=1, on_timeout="approve")
    assert hurried.expires_at == NOW + timedelta(seconds=TERMS.timeout_seconds)
    assert _opened(timeout_seconds=1).expires_at == NOW + timedelta(seconds=1)


def _silent(**terms: Any) -> Approval:
    """Return a request whose approval silence is, and that somebody has been told of."""
    return done(rules.reached(_opened(on_timeout="approve", **terms), at(1)), Approval)


def _ended_in_silence(open_: Approval, *, is_halted: bool = False) -> ActionStatus:
    return done(rules.advance(open_, open_.expires_at, is_halted=is_halted), Approval).status


@pytest.mark.parametrize(
    ("is_halted", "status"), [(False, ActionStatus.APPROVED), (True, ActionStatus.TIMED_OUT)]
)
def test_silence_is_no_consent_for_what_is_halted(is_halted: bool, status: ActionStatus) -> None:
    assert _ended_in_silence(_silent(), is_halted=is_halted) is status


def test_silence_is_no_consent_of_those_who_were_never_reached() -> None:
    """A policy may take silence for a yes, but only of somebody who was asked."""
    untold = _opened(on_timeout="approve")
    planned = _told(untold, REQUESTED)
    lost = done(rules.unreached(_silent(on_unreachable="wait"), at(2)), Approval)
    assert {_ended_in_silence(one) for one in (untold, planned, lost)} == {ActionStatus.TIMED_OUT}


@pytest.mark.parametrize("context", [None, {"a": "9000"}])
def test_silence_is_no_consent_to_what_was_asked_about(context: dict[str, Any] | None) -> None:
    """Nor to the agent's answer, with other arguments or without: it may come at the end."""
    asked_about = responded(_silent(), "ask", comments="Why?")
    because = AnswerSubmission(answer="So.", context=context)
    answered_last = done(approval_rules.answer(asked_about, because, at(299)), Approval)
    for one in (asked_about, answered_last):
        assert _ended_in_silence(one) is ActionStatus.TIMED_OUT


def test_it_is_noted_once_that_somebody_was_told_and_only_where_it_matters() -> None:
    assert rules.reached(_silent(), at(2)) is None
    assert rules.reached(_opened(), at(2)) is None
