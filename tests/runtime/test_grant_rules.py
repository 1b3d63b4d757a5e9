"""Grants: who may give one and with what, what they hold for, and that N uses are N."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from safeguards.contracts import AlertView, Verdict
from safeguards.types import ActionStatus, AlertSeverity
from safeguards_runtime.records import Action, Approval, Change, Grant, Refusal, grant, opening
from safeguards_runtime.records import action as action_rules
from safeguards_runtime.records.action import granted_index, uses_index
from safeguards_runtime.records.bounds import Bound, within
from safeguards_runtime.records.grant import Covered, GrantWish
from safeguards_runtime.records.judgement import Judgement
from safeguards_runtime.topology import Service
from tests.runtime.samples import NOW, TERMS, at, done, respond, submitted

CONTEXT: dict[str, Any] = {"amount": "10000.00", "currency": "EUR", "payee": "ACME", "note": "May"}
LIMIT = AlertView(
    safeguard="finance", title="Over the limit", description="…", severity=AlertSeverity.ERROR
)
REVIEWERS = frozenset({"reviewers"})


def judged(verdict: Verdict = Verdict.REQUIRE_APPROVAL, **given: Any) -> Judgement:
    found = {"alerts": (LIMIT,), "policies": ("payments",), "terms": TERMS, **given}
    return Judgement(verdict=verdict, **found)


def opened(judgement: Judgement | None = None, **submission: Any) -> Approval:
    """Return the approval of an action, opened at `NOW`."""
    wanted = submitted(**{"context": CONTEXT, **submission})
    changes = opening.open_for(
        done(action_rules.judge(wanted, judgement or judged(), NOW), Action), NOW
    )
    assert changes
    return done(changes[0], Approval)


def wish(**given: Any) -> GrantWish:
    return GrantWish(**{"lasts": "1 hour", "max_uses": 3, **given})


def given(
    approval: Approval | None = None,
    wanted: GrantWish | None = None,
    *,
    response: str = "approve",
    via: str = "console",
    groups: frozenset[str] = REVIEWERS,
    **body: Any,
) -> tuple[Change, Change]:
    approval = approval or opened()
    change = respond(approval, response, groups=groups, **body)
    assert change
    return grant.give(change, wanted or wish(), reviewer_id="alex", groups=groups, via=via)


def a_grant(approval: Approval | None = None, **wanted: Any) -> Grant:
    """Return a grant that Alex gave 10 seconds after `NOW`."""
    return done(given(approval, wish(**wanted))[1], Grant)


def covers(
    permission: Grant,
    judgement: Judgement | None = None,
    *,
    seconds: float = 60,
    groups: frozenset[str] = REVIEWERS,
    is_asker: bool = False,
    **submission: Any,
) -> bool:
    wanted = submitted(**{"context": CONTEXT, **submission})
    return grant.covers(
        permission, wanted, judgement or judged(), at(seconds), groups=groups, is_asker=is_asker
    )


# Giving


def test_a_grant_is_given_with_the_approval() -> None:
    """Two changes for one commit; each names the other."""
    approved, change = given()
    permission = done(change, Grant)
    assert isinstance(approved.after, Approval)
    assert approved.after.status is ActionStatus.APPROVED
    assert approved.detail["grant"] == permission.id == grant.grant_id(approved.after.id)
    assert permission.given_for_approval == approved.after.id
    assert (permission.given_by, permission.max_uses, permission.uses) == ("alex", 3, 0)
    assert permission.expires_at == at(3610)
    assert permission.severity is AlertSeverity.ERROR
    assert permission.bounds["amount"] == Bound(rule="at_most", value="10000.00", type="string")


@pytest.mark.parametrize(
    ("approval", "options"),
    [
        ({}, {"via": "email"}),
        ({}, {"via": "slack"}),
        ({}, {"via": "api"}),
        ({}, {"response": "reject"}),
        ({}, {"response": "modify", "modifications": {"amount": "1.00"}}),
        ({}, {"response": "ask", "comments": "why?"}),
        ({"severity": AlertSeverity.CRITICAL}, {}),
        ({"terms": TERMS.model_copy(update={"quorum": 2})}, {}),
        ({"terms": TERMS.model_copy(update={"four_eyes": True})}, {}),
        ({"action_id": None}, {}),
        ({"modifications": {"amount": "1.00"}}, {}),
    ],
)
def test_no_grant_is_given(approval: dict[str, Any], options: dict[str, Any]) -> None:
    """By mail or Slack, with another answer, or for what several must decide, or is critical."""
    with pytest.raises(Refusal) as refused:
        given(opened().model_copy(update=approval), **options)
    assert refused.value.code == "not_grantable"


def test_a_stand_in_gives_no_grant() -> None:
    """Who decides for somebody who is away decides once."""
    approval = opened()
    change = respond(approval, "approve")
    assert change
    assert isinstance(change.after, Approval)
    assert change.after.outcome
    outcome = change.after.outcome.model_copy(update={"decided_for": "sam"})
    stood_in = replace(change, after=change.after.model_copy(update={"outcome": outcome}))
    with pytest.raises(Refusal):
        grant.give(stood_in, wish(), reviewer_id="alex", groups=REVIEWERS, via="console")


@pytest.mark.parametrize("wanted", [{"max_uses": 0}, {"max_uses": 1001}, {"lasts": "8 days"}])
def test_a_wish_has_limits(wanted: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"max_uses|lasts"):
        wish(**wanted)


# Holding


def test_a_grant_covers_its_like() -> None:
    permission = a_grant()
    assert covers(permission)
    assert covers(permission, context={**CONTEXT, "amount": "1.00"})


def terms(**given: Any) -> Judgement:
    return judged(terms=TERMS.model_copy(update=given))


@pytest.mark.parametrize(
    "other",
    [
        {"agent_id": "trader2"},
        {"action_type": "transfer"},
        {"context": {**CONTEXT, "amount": "10000.01"}},
        {"on_behalf_of": "somebody-else"},
        {"owner": "somebody-else"},
        {"groups": frozenset()},
        {"groups": frozenset({"others"})},
        {"is_asker": True},
        {"seconds": 3610},
        {"judgement": judged(Verdict.DENY)},
        {"judgement": judged(Verdict.ALLOW)},
        {"judgement": terms(quorum=2)},
        {"judgement": terms(four_eyes=True)},
        {"judgement": terms(groups=("others",))},
        {"judgement": judged(policies=("payments", "sanctions"))},
        {"judgement": judged(alerts=(LIMIT, LIMIT.model_copy(update={"title": "Sanctioned"})))},
        {"judgement": judged(alerts=(LIMIT.model_copy(update={"safeguard": "other"}),))},
        {
            "judgement": judged(
                alerts=(LIMIT.model_copy(update={"severity": AlertSeverity.CRITICAL}),)
            )
        },
    ],
)
def test_a_grant_covers_nothing_else(other: dict[str, Any]) -> None:
    """Another agent, type, asker or reason; a giver who may not answer any more; too late."""
    assert not covers(a_grant(), **other)


def test_a_milder_reason_is_covered() -> None:
    milder = LIMIT.model_copy(update={"severity": AlertSeverity.WARNING})
    assert covers(a_grant(), judged(alerts=(milder,)))


def test_its_time_ends_with_the_second() -> None:
    permission = a_grant()
    assert covers(permission, seconds=3609.999)
    assert not covers(permission, seconds=3610)
    assert permission.standing(at(3610)) == "expired"


# Using


def covered(count: int = 1, **submission: Any) -> list[Covered]:
    return [
        Covered(submitted(**{"context": CONTEXT, **submission}), judged()) for _ in range(count)
    ]


def test_a_use_is_an_allowed_action_and_a_line_in_the_grants_history() -> None:
    permission = a_grant()
    (wanted,) = covered()
    of_action, of_grant = grant.use(permission, [wanted], "Alex", at(60))
    passed = done(of_action, Action)
    assert passed.outcome
    assert passed.judgement
    assert passed.status is ActionStatus.APPROVED
    assert passed.outcome.verdict is Verdict.ALLOW
    assert passed.outcome.decided_by == f"grant:{permission.id}"
    assert "Alex" in passed.outcome.comments
    assert "use 1 of 3" in passed.outcome.comments
    assert passed.outcome.comments in passed.view().reasons
    assert of_action.feed == (passed.outcome,)
    assert of_action.detail["grant"]["grant_id"] == permission.id
    assert passed.view().approval_id is None
    assert {uses_index(permission.id), granted_index("trader")} < passed.indexes()
    assert granted_index("trader", "transaction") in passed.indexes()
    assert not passed.owes(Service.EVALUATOR)
    assert done(of_grant, Grant).uses == 1
    assert of_grant.detail == {"actions": [passed.id], "uses": 1, "of": 3}


def test_many_uses_at_once_are_no_more_than_are_left() -> None:
    """Those that come first pass, each as a use of its own."""
    wanted = covered(5)
    *passed, of_grant = grant.use(a_grant(), wanted, "Alex", at(60))
    assert [change.after.id for change in passed] == [one.action.id for one in wanted[:3]]
    numbers = [change.detail["grant"]["number"] for change in passed]
    assert numbers == [1, 2, 3]
    used_up = done(of_grant, Grant)
    assert used_up.standing(at(60)) == "used_up"
    assert not covers(used_up)
    assert grant.use(used_up, covered(), "Alex", at(61)) == ()
    assert grant.for_like("trader", "transaction") not in used_up.indexes()
    assert used_up.timers() == {}


def test_an_action_that_was_judged_or_withdrawn_takes_no_use() -> None:
    (wanted,) = covered()
    withdrawn = done(action_rules.withdraw(wanted.action, at(1)), Action)
    asked = done(action_rules.judge(wanted.action, judged(), at(1)), Action)
    for moved_on in (withdrawn, asked):
        assert grant.use(a_grant(), [Covered(moved_on, judged())], "Alex", at(60)) == ()


# Ending


def test_who_might_have_answered_may_revoke() -> None:
    permission = a_grant()
    change = grant.revoke(permission, "sam", REVIEWERS, at(60), is_operator=False)
    revoked = done(change, Grant)
    assert (revoked.revoked_by, revoked.revoked_at) == ("sam", at(60))
    assert not covers(revoked)
    assert revoked.standing(at(60)) == "revoked"
    assert grant.revoke(revoked, "sam", REVIEWERS, at(61), is_operator=False) is None
    assert grant.listed("alex", is_open=False) in revoked.indexes()


def test_others_may_not_revoke() -> None:
    permission = a_grant()
    with pytest.raises(Refusal) as refused:
        grant.revoke(permission, "lee", frozenset({"others"}), at(60), is_operator=False)
    assert refused.value.code == "not_a_reviewer"
    assert grant.revoke(permission, "lee", frozenset(), at(60), is_operator=True)
    assert grant.revoke(permission, "alex", frozenset(), at(60), is_operator=False)


def test_its_end_is_noted_when_its_time_is_up() -> None:
    permission = a_grant()
    assert permission.timers() == {Service.EVALUATOR: permission.expires_at}
    assert grant.expire(permission, at(3609)) is None
    expired = done(grant.expire(permission, at(3610)), Grant)
    assert expired.timers() == {}
    assert grant.for_like("trader", "transaction") not in expired.indexes()
    assert grant.expire(expired, at(4000)) is None


def test_lists_of_agents_and_types_do_not_run_into_each_other() -> None:
    assert grant.for_like("a", "bc") != grant.for_like("ab", "c")
    assert grant.for_like("a:b", "c") != grant.for_like("a", "b:c")


def test_a_stored_grant_reads_back_as_it_was() -> None:
    """Every kind of bound survives: a number, a null, a nested value."""
    context = {"amount": 2500.5, "none": None, "tags": ["a"], "on": True, "n": {"a": [1, "1"]}}
    permission = a_grant(opened(context=context), rules={"on": "any"})
    again = Grant.model_validate_json(permission.body())
    assert again.bounds == permission.bounds
    assert within(again.bounds, {**context, "on": False, "amount": 2500})
