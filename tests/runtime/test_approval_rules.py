"""Where a response is judged: the rules of an approval, without I/O."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeguards.canonical import digest
from safeguards.contracts import (
    AnswerSubmission,
    ApprovalSubmission,
    Outcome,
    ResponseKind,
    ResponseSubmission,
    Verdict,
)
from safeguards.types import ActionStatus
from safeguards_runtime.records import Action, Approval, Change, Refusal, opening, waiting
from safeguards_runtime.records import action as action_rules
from safeguards_runtime.records import approval as rules
from safeguards_runtime.records.approval import MAX_QUESTIONS
from safeguards_runtime.records.events import RESOLVED
from safeguards_runtime.records.modifications import checked, field_type, fits
from safeguards_runtime.records.terms import FieldLimit
from safeguards_runtime.topology import HINT_GRACE_SECONDS, Service
from tests.runtime.samples import (
    TERMS,
    answered,
    asked,
    assert_chained,
    at,
    done,
    judgement,
    respond,
    responded,
    submitted,
)

FINAL = ("approve", "modify", "reject")


def _outcome(approval: Approval) -> Outcome:
    assert approval.outcome is not None
    return approval.outcome


def _modified(context: dict[str, Any], **changes: Any) -> Outcome:
    return _outcome(responded(asked(context), "modify", modifications=changes))


# --- the first one wins -------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["approve", "reject", "modify"])
@pytest.mark.parametrize("second", ["approve", "reject", "modify", "ask"])
def test_the_first_response_wins(first: str, second: str) -> None:
    """Whoever answers second is refused, and told who was first and how it ended."""
    bodies: dict[str, dict[str, Any]] = {
        "modify": {"modifications": {"amount": "10.00"}},
        "ask": {"comments": "why?"},
    }
    ended = responded(asked(), first, reviewer="alex", **bodies.get(first, {}))
    with pytest.raises(Refusal) as refused:
        respond(ended, second, reviewer="sam", **bodies.get(second, {}))
    assert refused.value.code == "already_decided"
    assert "alex" in refused.value.detail
    assert refused.value.extra["outcome"]["decided_by"] == "alex"


def test_the_same_response_again_changes_nothing() -> None:
    """A reviewer's repeat, after the answer to the first was lost, is no conflict."""
    for kind in ("approve", "reject"):
        ended = responded(asked(), kind, comments="fine")
        assert respond(ended, kind, comments="fine") is None


@pytest.mark.parametrize("kind", FINAL)
@pytest.mark.parametrize("seen", [{"version": 1}, {"version": 77}, {"digest": "0" * 64}])
def test_a_repeat_is_of_what_was_answered(kind: str, seen: dict[str, Any]) -> None:
    """From whatever message they saw it in, with or without its digest; not of another version."""
    second = answered(responded(asked(), "ask", comments="why?"))
    body: dict[str, Any] = {"modifications": {"amount": "10.00"}} if kind == "modify" else {}
    ended = responded(second, kind, **body)
    assert ended.version == 2
    assert respond(ended, kind, **body) is None
    assert respond(ended, kind, **body, digest=None) is None
    with pytest.raises(Refusal) as refused:
        respond(ended, kind, **body, **seen)
    assert refused.value.code == "already_decided"


def test_a_modification_again_with_an_unchanged_field_is_a_repeat() -> None:
    """Fields that do not differ from what was asked do not make it another response."""
    open_ = asked({"amount": "2500.00", "payee": "ACME"})
    ended = responded(open_, "modify", modifications={"amount": "10.00", "payee": "ACME"})
    assert _outcome(ended).modifications == {"amount": "10.00"}
    assert respond(ended, "modify", modifications={"amount": "10.00"}) is None
    assert respond(ended, "modify", modifications={"amount": "10.00", "payee": "ACME"}) is None


@pytest.mark.parametrize(
    "again",
    [
        {"response": "approve", "comments": "other words"},
        {"response": "modify", "modifications": {"amount": "10.00"}},
        {"response": "reject"},
    ],
)
def test_another_response_of_the_decider_is_no_repeat(again: dict[str, Any]) -> None:
    """Nobody changes their mind after the agent has gone on."""
    ended = responded(asked(), "approve", comments="fine")
    with pytest.raises(Refusal, match="already approved by alex"):
        respond(ended, **again)


def test_another_modification_of_the_decider_is_no_repeat() -> None:
    """The amount that was approved first is the one that stands."""
    ended = responded(asked(), "modify", modifications={"amount": "10.00"})
    with pytest.raises(Refusal) as refused:
        respond(ended, "modify", modifications={"amount": "11.00"})
    assert refused.value.code == "already_decided"


# --- who may answer -----------------------------------------------------------------------------


@pytest.mark.parametrize("response", ["approve", "modify", "reject", "ask"])
@pytest.mark.parametrize(
    "asking", [{"agent_id": "alex"}, {"owner": "alex"}, {"on_behalf_of": "alex"}]
)
def test_whoever_asks_may_not_answer(asking: dict[str, Any], response: str) -> None:
    """Neither the agent, nor its owner, nor the person it acts for, in any of the four ways."""
    with pytest.raises(Refusal) as refused:
        respond(asked(**asking), response, comments="hm", modifications=None)
    assert refused.value.code == "self_approval"


def test_whoever_asked_learns_nothing_after_the_outcome_either() -> None:
    """The asker is refused as the asker, whatever state the approval is in."""
    ended = responded(asked(owner="alex"), "approve", reviewer="sam")
    with pytest.raises(Refusal) as refused:
        respond(ended, "approve", reviewer="alex")
    assert refused.value.code == "self_approval"


@pytest.mark.parametrize("groups", [frozenset(), frozenset({"others"}), frozenset({"Reviewers"})])
def test_only_members_of_the_groups_may_answer(groups: frozenset[str]) -> None:
    """A reviewer of another group is refused."""
    with pytest.raises(Refusal) as refused:
        respond(asked(), "approve", groups=groups)
    assert refused.value.code == "not_a_reviewer"


def test_one_of_the_groups_is_enough() -> None:
    terms = TERMS.model_copy(update={"groups": ("finance", "reviewers")})
    ended = responded(asked(terms=terms), "approve", groups=frozenset({"reviewers", "x"}))
    assert ended.status is ActionStatus.APPROVED


# --- what was shown -----------------------------------------------------------------------------


@pytest.mark.parametrize("response", ["approve", "modify", "reject", "ask"])
@pytest.mark.parametrize("seen", [{"version": 2}, {"version": 99}, {"digest": "0" * 64}])
def test_a_response_binds_to_what_was_shown(response: str, seen: dict[str, Any]) -> None:
    """Another version or digest than the standing one is refused, and the standing one is named."""
    open_ = asked()
    with pytest.raises(Refusal) as refused:
        respond(open_, response, comments="hm", **seen)
    assert refused.value.code == "stale_version"
    assert refused.value.extra == {"version": open_.version, "digest": open_.digest}


def test_the_digest_covers_all_that_a_person_is_shown() -> None:
    """Change a word of it, and the digest is another."""
    base: dict[str, Any] = {"title": "Pay", "description": "for books", "context": {"amount": "1"}}
    digests = {asked(**base).digest}
    digests.add(asked(**{**base, "title": "Pay!"}).digest)
    digests.add(asked(**{**base, "description": "for pens"}).digest)
    digests.add(asked(**{**base, "context": {"amount": "1.0"}}).digest)
    digests.add(asked(**{**base, "context": {"amount": "1", "action_type": "wipe"}}).digest)
    digests.add(asked(**{**base, "agent_id": "other"}).digest)
    assert len(digests) == 6


def test_an_approval_says_what_exactly_may_run() -> None:
    """The outcome carries the digest of the context as it was approved, with its modifications."""
    context = {"amount": "2500.00", "payee": "ACME"}
    assert _outcome(responded(asked(context), "approve")).approved_digest == digest(context)
    ended = responded(asked(context), "modify", modifications={"amount": "10.00"})
    assert _outcome(ended).approved_digest == digest({"amount": "10.00", "payee": "ACME"})
    assert _outcome(responded(asked(context), "reject")).approved_digest is None


# --- modifications ------------------------------------------------------------------------------

FIELDS: dict[str, tuple[Any, Any, Any]] = {
    # type: (before, a value that fits, one that does not)
    "decimal": ("2500.00", "-10.5", "ten"),
    "string": ("ACME", "2500.00", 5),
    "integer": (3, 4, 4.5),
    "number": (0.5, 2, "0.75"),
    "boolean": (True, False, 1),
    "array": ([1], [1, 2], {"0": 1}),
    "object": ({"a": 1}, {"b": [2]}, [1]),
    "null": (None, "anything", ...),
}


@pytest.mark.parametrize("kind", FIELDS)
def test_a_field_keeps_its_type(kind: str) -> None:
    """A modification of the field's own type is taken as it is, any other is refused."""
    before, fitting, other = FIELDS[kind]
    assert field_type(before) == kind
    assert _modified({"field": before}, field=fitting).modifications == {"field": fitting}
    if other is ...:
        return
    with pytest.raises(Refusal) as refused:
        _modified({"field": before}, field=other)
    assert (refused.value.code, refused.value.extra["type"]) == ("wrong_type", kind)


@pytest.mark.parametrize("text", ["1e3", "+5", " 5", "5 ", "", ".5", "5.", "0x10", "\u0665", "5\n"])
def test_a_decimal_is_only_ever_replaced_by_a_plain_decimal(text: str) -> None:
    """What reads like a number but is written in another way is refused."""
    with pytest.raises(Refusal) as refused:
        _modified({"amount": "2500.00"}, amount=text)
    assert refused.value.code == "wrong_type"


@pytest.mark.parametrize("number", [2500.0, 2500, True, None])
def test_money_does_not_become_a_number(number: Any) -> None:
    """A decimal string is never replaced by a float."""
    with pytest.raises(Refusal) as refused:
        _modified({"amount": "2500.00"}, amount=number)
    assert refused.value.code == "wrong_type"


@pytest.mark.parametrize("same", ["2500.00", "2500.0", "2500", "02500.000"])
def test_the_same_amount_written_in_another_way_changes_nothing(same: str) -> None:
    with pytest.raises(Refusal) as refused:
        _modified({"amount": "2500.00"}, amount=same)
    assert refused.value.code == "nothing_changed"


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4))
def test_every_plain_decimal_is_a_decimal(amount: Any) -> None:
    text = format(amount, "f")
    assert field_type(text) == "decimal"
    assert fits("decimal", text)


@pytest.mark.parametrize(
    ("before", "after"),
    [([1], [True]), ({"on": 0}, {"on": False}), ([[1]], [[True]]), ({"a": [0]}, {"a": [False]})],
)
def test_a_change_inside_an_array_or_object_is_a_change(before: Any, after: Any) -> None:
    """`true` and `1` are not the same JSON, however deep they stand."""
    assert _modified({"field": before}, field=after).modifications == {"field": after}


@pytest.mark.parametrize(("before", "after"), [(0.5, 0.5), (2.0, 2), ([2.0], [2])])
def test_the_same_number_written_in_another_way_changes_nothing(before: Any, after: Any) -> None:
    """`2.0` and `2` are the same JSON number: their canonical form is the same."""
    assert digest({"field": before}) == digest({"field": after})
    with pytest.raises(Refusal) as refused:
        _modified({"field": before}, field=after)
    assert refused.value.code == "nothing_changed"


@pytest.mark.parametrize(
    ("editable", "field"),
    [
        (("amount",), "payee"),
        ((), "amount"),
        (("*",), "new_field"),
        (("*",), "action_type"),
        (("action_type",), "action_type"),
        (("new_field",), "new_field"),
    ],
)
def test_only_editable_fields_that_exist_are_modified(editable: Any, field: str) -> None:
    """Nothing is added, and what kind of action it is never changes, whatever the terms say."""
    terms = TERMS.model_copy(update={"editable": editable})
    open_ = asked({"amount": "1", "payee": "ACME", "action_type": "transaction"}, terms=terms)
    with pytest.raises(Refusal) as refused:
        respond(open_, "modify", modifications={field: "9"})
    assert (refused.value.code, refused.value.extra["field"]) == ("not_editable", field)


def test_one_field_that_may_not_be_edited_refuses_all() -> None:
    """A modification is taken whole or not at all."""
    terms = TERMS.model_copy(update={"editable": ("amount",)})
    with pytest.raises(Refusal):
        respond(asked(terms=terms), "modify", modifications={"amount": "1", "payee": "Me"})


@pytest.mark.parametrize("modifications", [None, {}])
def test_a_modification_modifies(modifications: Any) -> None:
    with pytest.raises(Refusal) as refused:
        respond(asked(), "modify", modifications=modifications)
    assert refused.value.code == "nothing_changed"


@pytest.mark.parametrize("response", ["approve", "reject", "ask"])
def test_only_modify_has_modifications(response: str) -> None:
    """An approval that carries changes is refused, rather than taken without them."""
    with pytest.raises(Refusal) as refused:
        respond(asked(), response, comments="x", modifications={"amount": "1"})
    assert refused.value.code == "unexpected_modifications"


# --- questions ----------------------------------------------------------------------------------


def test_a_question_decides_nothing_and_the_agent_hears_it() -> None:
    change = respond(asked(), "ask", comments="what for?")
    after = done(change, Approval)
    assert change is not None
    assert [entry.type for entry in change.feed] == ["question"]
    assert (after.status, after.version, after.outcome) == (ActionStatus.PENDING, 1, None)


def test_a_question_needs_words() -> None:
    with pytest.raises(Refusal) as refused:
        respond(asked(), "ask", comments="  \n ")
    assert refused.value.code == "comments_required"


def test_the_answer_makes_a_new_version_and_the_old_one_is_stale() -> None:
    """Who decides on what was shown before the answer is refused."""
    open_ = asked()
    after = answered(responded(open_, "ask", comments="what for?"), "books")
    assert (after.version, after.questions[0].answer) == (2, "books")
    with pytest.raises(Refusal) as refused:
        respond(after, "approve", version=open_.version, digest=open_.digest)
    assert refused.value.code == "stale_version"
    assert responded(after, "approve").status is ActionStatus.APPROVED


def test_an_answer_needs_a_question() -> None:
    for open_ in (asked(), answered(responded(asked(), "ask", comments="why?"))):
        with pytest.raises(Refusal) as refused:
            answered(open_, "by the way")
        assert refused.value.code == "no_question"


def test_an_answer_sent_twice_is_taken_once() -> None:
    """The answer to the first request was lost: its repeat changes nothing, also after the end."""
    after = answered(responded(asked(), "ask", comments="why?"), "so")
    ended = responded(after, "approve", seconds=30)
    for record in (after, ended):
        assert rules.answer(record, AnswerSubmission(answer="so"), at(40)) is None


def test_every_open_question_can_be_answered() -> None:
    """Two reviewers asked before the agent answered: the agent answers both."""
    both = responded(asked(), "ask", comments="why?")
    both = responded(both, "ask", reviewer="sam", comments="for whom?")
    after = answered(answered(both, "first"), "second")
    assert all(question.answer for question in after.questions)


def test_a_question_sent_twice_is_asked_once() -> None:
    """The answer to the first request was lost: its repeat changes nothing."""
    once = responded(asked(), "ask", comments="why?")
    assert respond(once, "ask", comments="why?") is None


def test_a_question_may_be_asked_again_after_its_answer() -> None:
    """The same words about a new version are a new question."""
    after = answered(responded(asked(), "ask", comments="are you sure?"), "no")
    again = responded(after, "ask", comments="are you sure?")
    assert [question.answer for question in again.questions] == ["no", None]


def test_questions_come_to_an_end() -> None:
    open_ = asked()
    for number in range(MAX_QUESTIONS):
        open_ = answered(responded(open_, "ask", comments=f"why {number}?"))
    with pytest.raises(Refusal) as refused:
        respond(open_, "ask", comments="and why?")
    assert refused.value.code == "too_many_questions"


@pytest.mark.parametrize("end", ["approve", "time_out"])
def test_nothing_is_answered_after_the_end(end: str) -> None:
    question = responded(asked(), "ask", comments="why?")
    if end == "approve":
        question = responded(question, "approve")
    with pytest.raises(Refusal) as refused:
        answered(question, seconds=300)
    assert refused.value.code in ("already_decided", "expired")


# --- time-outs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("default", "status"), [("reject", ActionStatus.TIMED_OUT), ("approve", ActionStatus.APPROVED)]
)
def test_silence_ends_in_the_default(default: str, status: ActionStatus) -> None:
    """The default is reject; `approve` has to be asked for. Nobody is named as the decider."""
    open_ = asked(terms=TERMS.model_copy(update={"on_timeout": default}))
    told = waiting.reached(open_, at(1))
    open_ = done(told, Approval) if told else open_
    ended = done(waiting.time_out(open_, open_.expires_at), Approval)
    assert (ended.status, _outcome(ended).decided_by) == (status, "nobody")
    assert (_outcome(ended).approved_digest is not None) == (default == "approve")


def test_the_deadline_itself_is_too_late() -> None:
    """A microsecond before it the response counts and the time-out does not; at it, the reverse."""
    open_ = asked()
    before = open_.expires_at - timedelta(microseconds=1)
    assert waiting.time_out(open_, before) is None
    assert respond(open_, "approve", seconds=300 - 1e-6) is not None
    assert waiting.time_out(open_, open_.expires_at) is not None
    with pytest.raises(Refusal) as refused:
        respond(open_, "approve", seconds=300)
    assert refused.value.code == "expired"


def test_a_decided_approval_does_not_time_out() -> None:
    assert waiting.time_out(responded(asked(), "reject"), at(1000)) is None


def test_a_response_after_the_time_out_is_told_of_it() -> None:
    open_ = asked()
    ended = done(waiting.time_out(open_, open_.expires_at), Approval)
    with pytest.raises(Refusal, match="already timed out by nobody"):
        respond(ended, "approve", seconds=301)


@pytest.mark.parametrize(("wanted", "given_seconds"), [(None, 300), (10, 10), (4000, 300)])
def test_an_agent_may_shorten_the_time_but_not_lengthen_it(
    wanted: int | None, given_seconds: int
) -> None:
    assert asked(timeout_seconds=wanted).expires_at == at(given_seconds)


# --- withdrawing --------------------------------------------------------------------------------


def test_an_agent_withdraws_what_it_asked() -> None:
    """Once; a repeat changes nothing."""
    ended = done(rules.cancel(asked(), at(1)), Approval)
    assert (ended.status, _outcome(ended).decided_by) == (ActionStatus.CANCELLED, "agent:trader")
    assert rules.cancel(ended, at(2)) is None
    with pytest.raises(Refusal, match="already cancelled"):
        respond(ended, "approve")


def test_a_decision_is_not_withdrawn() -> None:
    with pytest.raises(Refusal) as refused:
        rules.cancel(responded(asked(), "approve"), at(20))
    assert refused.value.code == "already_decided"


# --- what an end entails ------------------------------------------------------------------------


@pytest.mark.parametrize("end", [*FINAL, "cancel", "time_out"])
def test_every_end_is_heard_once_and_told_once(end: str) -> None:
    """One outcome for the agent; the unsent request is struck, the outcome is posted instead."""
    open_ = asked()
    change = {
        "cancel": lambda: rules.cancel(open_, at(1)),
        "time_out": lambda: waiting.time_out(open_, at(300)),
    }.get(end, lambda: respond(open_, end, modifications=_changes(end)))()
    assert change is not None
    ended = done(change, Approval)
    assert change.feed == (ended.outcome,)
    assert [entry.event for entry in ended.owes(Service.NOTIFIER)] == [RESOLVED]
    assert ended.timers() == {}


def _changes(response: str) -> dict[str, Any] | None:
    return {"amount": "1.00"} if response == "modify" else None


def _to_be_opened(**submission: Any) -> Action:
    change = action_rules.judge(
        submitted(**submission), judgement(Verdict.REQUIRE_APPROVAL, reasons=("limit",)), at(1)
    )
    return done(change, Action)


def test_an_approval_is_opened_as_the_twin_of_its_action() -> None:
    """It shows what the action holds, bound by the same digest; the action is done with."""
    action = _to_be_opened(owner="pat", on_behalf_of="kim")
    opened = opening.open_for(action, at(2))
    assert opened is not None
    approval, after = done(opened[0], Approval), done(opened[1], Action)
    assert (approval.id, approval.action_id) == (action.approval_id, action.id)
    assert (approval.digest, approval.context) == (action.digest, action.context)
    assert approval.askers == ("trader", "pat", "kim")
    assert not after.owes(Service.TRACKER)


def test_an_approval_is_opened_once() -> None:
    """A second hint finds nothing to do."""
    opened = opening.open_for(_to_be_opened(), at(2))
    assert opened is not None
    assert opening.open_for(done(opened[1], Action), at(3)) is None


def test_nothing_is_opened_for_a_withdrawn_or_unjudged_action() -> None:
    withdrawn = done(action_rules.withdraw(_to_be_opened(), at(2)), Action)
    assert opening.open_for(withdrawn, at(3)) is None
    assert opening.open_for(submitted(), at(3)) is None


def test_the_end_of_an_approval_closes_its_action() -> None:
    """The tracker owes it to the action, and strikes it off when that is done."""
    opened = opening.open_for(_to_be_opened(), at(2))
    assert opened is not None
    ended = responded(done(opened[0], Approval), "approve")
    assert [entry.event for entry in ended.owes(Service.TRACKER)] == [rules.CLOSE_ACTION]
    closed = done(rules.closed(ended, at(12)), Approval)
    assert not closed.owes(Service.TRACKER)
    assert rules.closed(closed, at(13)) is None


# --- any order of events ------------------------------------------------------------------------

RULES: dict[str, Callable[[Approval, float], Change | None]] = {
    "approve": lambda a, s: respond(a, "approve", seconds=s),
    "approve_other": lambda a, s: respond(a, "approve", reviewer="sam", seconds=s),
    "reject": lambda a, s: respond(a, "reject", seconds=s),
    "modify": lambda a, s: respond(a, "modify", modifications={"amount": "1.00"}, seconds=s),
    "ask": lambda a, s: respond(a, "ask", comments=f"why at {s}?", seconds=s),
    "stale": lambda a, s: respond(a, "approve", version=a.version + 1, seconds=s),
    "answer": lambda a, s: rules.answer(a, AnswerSubmission(answer="so"), at(s)),
    "time_out": lambda a, s: waiting.time_out(a, at(s)),
    "cancel": lambda a, s: rules.cancel(a, at(s)),
    "closed": lambda a, s: rules.closed(a, at(s)),
    "told": lambda a, s: waiting.told(a, tuple(e.event for e in a.outbox), 1, at(s)),
}


@given(st.lists(st.tuples(st.sampled_from(sorted(RULES)), st.floats(0, 100)), max_size=25))
def test_whatever_happens_there_is_one_outcome_and_a_whole_history(
    steps: list[tuple[str, float]],
) -> None:
    """After any sequence of events: at most one outcome, never changed and heard once; a history
    without gaps that verifies; agenda entries that follow from the outbox and the deadline."""
    change: Change | None = opening.request(
        asked().id, _submission(), TERMS, key_id="key_x", owner=None, now=at(0)
    )
    assert change is not None
    record, line = change.sealed()
    lines, heard, seconds = [line], [], 0.0
    for name, pause in steps:
        assert isinstance(record, Approval)
        seconds += pause
        before = record
        try:
            change = RULES[name](record, seconds)
        except Refusal:
            continue
        if change is None:
            continue
        assert change.before is before
        record, line = change.sealed()
        lines.append(line)
        heard += [entry for entry in change.feed if isinstance(entry, Outcome)]
        assert isinstance(record, Approval)
        assert before.outcome in (None, record.outcome)
        _assert_due(record)
    assert isinstance(record, Approval)
    assert heard == [record.outcome] * record.status.is_final
    assert_chained(lines, record)


def _submission() -> ApprovalSubmission:
    return ApprovalSubmission(agent_id="trader", title="Pay", metadata={"amount": "2500.00"})


def _assert_due(record: Approval) -> None:
    """Check that the agenda says what the outbox and the deadline say, and nothing else."""
    expected: dict[Service, list[Any]] = {}
    for entry in record.outbox:
        grace = timedelta(seconds=HINT_GRACE_SECONDS)
        expected.setdefault(entry.service, []).append(entry.at + grace)
    if not record.status.is_final:
        expected.setdefault(Service.TRACKER, []).append(record.expires_at)
    assert record.due() == {service: min(times) for service, times in expected.items()}


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(codec="utf-8"), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=8), JSON_VALUES, max_size=4))
def test_a_record_comes_back_from_its_stored_form_as_it_was(context: dict[str, Any]) -> None:
    """Whatever JSON a context holds, the stored body gives it back, so the digest still fits."""
    open_ = asked(context)
    again = Approval.model_validate_json(open_.body())
    assert again.model_copy(update={"revision": open_.revision}) == open_
    assert digest(again.context) == digest(open_.context)


def test_it_is_decided_only_in_the_ways_that_the_terms_name() -> None:
    """A question back is no decision."""
    approval = asked(terms=TERMS.model_copy(update={"answer_by": ("console", "api")}))
    seen: dict[str, Any] = {"version": approval.version, "digest": approval.digest}
    for response in ("approve", "reject", "ask"):
        body = ResponseSubmission(response=ResponseKind(response), comments="why?", **seen)

        def answer(via: str, body: ResponseSubmission = body) -> Change | None:
            return rules.respond(
                approval,
                body,
                reviewer_id="alex",
                groups={"reviewers"},
                via=via,
                now=at(1),
            )

        assert answer("console") is not None
        if response == "ask":
            assert answer("email") is not None
            continue
        for via in ("email", "slack"):
            with pytest.raises(Refusal, match="in the console or over the API only") as caught:
                answer(via)
            assert caught.value.code == "not_this_way"


@pytest.mark.parametrize(
    ("limit", "allowed", "refused"),
    [
        ({"at_most": "asked"}, "2500.00", "2500.01"),
        ({"at_most": "asked"}, "0", "-0.01"),
        ({"at_most": "100"}, "0.00", "-49"),
        ({"at_most": "100", "at_least": "-50"}, "-49", "-50.01"),
        ({"at_most": "100", "at_least": "10"}, "10.00", "9.99"),
        ({"one_of": ["1.00", "2.00"]}, "2.00", "3.00"),
        ({"max_length": 4}, "1.00", "10.00"),
    ],
)
def test_a_field_is_changed_only_within_its_limits(
    limit: dict[str, Any], allowed: str, refused: str
) -> None:
    context = {"amount": "2500.00", "payee": "ACME"}
    limits = {"amount": FieldLimit(**limit)}
    with pytest.raises(Refusal, match="'amount' must be") as caught:
        checked(context, ["amount"], {"amount": refused}, None, limits)
    assert caught.value.code == "outside_limits"
    before = {"amount": "77.00"}
    assert checked(context, ["amount"], {"amount": allowed}, before, limits) in (
        {"amount": allowed},
        {},
    )


def test_the_limit_of_all_fields_is_for_those_without_one_of_their_own() -> None:
    context = {"memo": "paid", "note": "paid"}
    limits = {"*": FieldLimit(max_length=5), "note": FieldLimit(max_length=9)}
    assert checked(context, ["memo", "note"], {"note": "paid out"}, None, limits)
    with pytest.raises(Refusal, match="'memo' must be at most 5 characters long"):
        checked(context, ["memo", "note"], {"memo": "paid out"}, None, limits)


@pytest.mark.parametrize(
    ("limit", "asked_for", "words"),
    [
        ({}, "1", ""),
        ({"at_most": "1000"}, "1", "at least 0, at most 1,000"),
        ({"at_most": "-1"}, "1", "at most -1"),
        ({"at_most": "asked"}, "-1", "at most -1 (what the agent asks for)"),
        (
            {"at_most": "10000000000000000000000.10", "at_least": "-5"},
            "1",
            "at least -5, at most 10,000,000,000,000,000,000,000.10",
        ),
        ({"at_most": "asked"}, 2500, "at least 0, at most 2,500 (what the agent asks for)"),
        ({"at_most": "asked"}, None, "at most what the agent asks for"),
        ({"one_of": ["a", 2, True]}, "a", "one of a, 2, true"),
        ({"max_length": 1200}, "a", "at most 1,200 characters"),
    ],
)
def test_a_limit_is_said_in_words(limit: dict[str, Any], asked_for: Any, words: str) -> None:
    """To the last digit."""
    assert FieldLimit(**limit).words(asked_for) == words
