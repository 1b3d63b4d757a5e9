"""A grant: a bounded permission that a reviewer gives so that like actions need no new question.

It is given with an approval and never without one; the evaluator uses it up; anybody who might
have answered can revoke it. No I/O.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from datetime import datetime, timedelta
from typing import ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from safeguards.canonical import digest
from safeguards.contracts import Verdict
from safeguards.identifiers import twin_id
from safeguards.types import ActionStatus, AlertSeverity
from safeguards_runtime.records import action as action_rules
from safeguards_runtime.records.action import Action
from safeguards_runtime.records.approval import Approval
from safeguards_runtime.records.bounds import Bound, BoundRule, bounds, within
from safeguards_runtime.records.judgement import GrantUse, Judgement
from safeguards_runtime.records.record import Change, Record, Refusal
from safeguards_runtime.topology import Service

MAX_USES = 1000

DURATIONS: Mapping[str, timedelta] = {
    "1 hour": timedelta(hours=1),
    "8 hours": timedelta(hours=8),
    "7 days": timedelta(days=7),
}
"""How long one may hold."""

CONSOLE = "console"
"""The one way of answering by which a grant may be given."""

Standing = Literal["in_force", "revoked", "used_up", "expired"]


class GrantWish(BaseModel):
    """What a reviewer wants to give with an approval."""

    model_config = ConfigDict(frozen=True)

    lasts: Literal["1 hour", "8 hours", "7 days"]
    max_uses: int = Field(ge=1, le=MAX_USES)
    rules: Mapping[str, BoundRule] = {}
    """What was chosen for arguments; see `bounds.offers`."""


class Grant(Record):
    """A bounded permission for like actions of one agent."""

    services: ClassVar = (Service.EVALUATOR,)

    agent_id: str
    action_type: str
    bounds: dict[str, Bound]
    """What each argument may be. An action with others, or without one, is not like it."""

    severity: AlertSeverity
    """Up to which it holds: that of the approval."""

    policies: tuple[str, ...] = ()
    """The policies that asked. It does not hold where another asks."""

    alerts: tuple[tuple[str, str], ...] = ()
    """What was found, as the names of safeguards and the titles of their alerts. It does not hold
    where anything else is."""

    askers: tuple[str, ...]
    """Who asked: the agent, its owner, the person it acted for. It holds for no others."""

    groups: tuple[str, ...]
    """Whose members may revoke it: those who might have answered."""

    max_uses: int
    uses: int = 0
    expires_at: datetime
    given_by: str
    """A reviewer's id."""

    given_for_approval: str
    created_at: datetime
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str | None = None
    expired_at: datetime | None = None
    """When its end was noted. It does not hold after `expires_at`, noted or not."""

    def standing(self, now: datetime) -> Standing:
        """Return whether it holds, and if not, why not."""
        if self.revoked_at is not None:
            return "revoked"
        if self.uses >= self.max_uses:
            return "used_up"
        return "expired" if self.expired_at or now >= self.expires_at else "in_force"

    @property
    def is_open(self) -> bool:
        """Whether it may still hold, as far as is noted."""
        return not (self.revoked_at or self.expired_at or self.uses >= self.max_uses)

    def timers(self) -> Mapping[Service, datetime]:
        """Return its end, so that it is noted."""
        return {Service.EVALUATOR: self.expires_at} if self.is_open else {}

    def indexes(self) -> frozenset[str]:
        """Return the lists of grants: all, of its giver, and while it may hold those of its agent
        and type of action."""
        names = {listed(is_open=self.is_open), listed(self.given_by, is_open=self.is_open)}
        if self.is_open:
            names |= {for_like(self.agent_id, self.action_type), of_agent(self.agent_id)}
        return frozenset(names)


def listed(given_by: str | None = None, *, is_open: bool) -> str:
    """Return the list of the grants that may hold, or of those that have ended; of one giver."""
    name = f"grants:{'open' if is_open else 'ended'}"
    return f"{name}:of:{given_by}" if given_by is not None else name


def of_agent(agent_id: str) -> str:
    """Return the list of the grants that may hold for an agent."""
    return f"grants:open:agent:{agent_id}"


def for_like(agent_id: str, action_type: str) -> str:
    """Return the list of the grants that may hold for a type of action of an agent."""
    # Hashed: an agent's name may hold anything.
    name = f"{len(agent_id)}:{agent_id}{action_type}"
    return f"grants:open:like:{hashlib.sha256(name.encode()).hexdigest()}"


def not_grantable(approval: Approval) -> str | None:
    """Return why no grant may be given with an approval, in words; None if one may."""
    if approval.severity is AlertSeverity.CRITICAL:
        return "what is critical is decided one by one"
    if approval.terms.quorum > 1 or approval.terms.four_eyes:
        return "what needs several people is decided one by one"
    if approval.action_id is None:
        return "the agent has asked directly: such requests always go to a person"
    if approval.modifications is not None:
        return "a request that was changed is decided by itself"
    return None


def give(
    approved: Change, wish: GrantWish, *, reviewer_id: str, groups: Set[str], via: str
) -> tuple[Change, Change]:
    """Give a grant with an approval. The two changes are written together.

    Args:
        approved: the change by which the approval ends, of this reviewer.
        wish: what is given.
        reviewer_id: who gives it.
        groups: the groups the reviewer belongs to.
        via: the way the response came in.

    Returns:
        The approval's change, which names the grant, and the grant's.

    Raises:
        Refusal: `not_grantable`, `bound_not_offered`.
    """
    before, after = approved.before, approved.after
    if not isinstance(before, Approval) or not isinstance(after, Approval):
        raise TypeError("a grant is given with an approval")
    outcome = after.outcome
    why_not = not_grantable(before)
    if via != CONSOLE:
        why_not = "it is given in the console only"
    elif outcome is None or outcome.status is not ActionStatus.APPROVED:
        why_not = "it is given only with the approval of what was asked, unchanged"
    elif outcome.decided_by != reviewer_id or outcome.decided_for is not None:
        why_not = "who stands in for somebody decides for them one by one"
    elif not groups & set(before.terms.groups):
        why_not = f"only members of these groups may give it: {', '.join(before.terms.groups)}"
    elif outcome.approved_digest != digest(before.context):
        why_not = "these are not the arguments that were approved"
    if why_not is not None:
        raise Refusal("not_grantable", f"no permission for more can be given: {why_not}")
    grant = _granted(before, wish, reviewer_id, approved.at)
    detail = {
        "approval_id": before.id,
        "bounds": {name: bound.model_dump(mode="json") for name, bound in grant.bounds.items()},
        "expires_at": grant.expires_at.isoformat(),
        "max_uses": grant.max_uses,
    }
    given = Change(None, grant, "given", f"reviewer:{reviewer_id}", approved.at, detail)
    return replace(approved, detail={**approved.detail, "grant": grant.id}), given


def grant_id(approval_id: str) -> str:
    """Return the identifier of the grant that was given with an approval, if one was."""
    return twin_id("grt", approval_id)


def _granted(approval: Approval, wish: GrantWish, reviewer_id: str, now: datetime) -> Grant:
    return Grant(
        id=grant_id(approval.id),
        agent_id=approval.agent_id,
        action_type=approval.action_type,
        bounds=bounds(approval.context, wish.rules),
        severity=approval.severity,
        policies=approval.policies,
        alerts=tuple(sorted({(a.safeguard, a.title) for a in approval.alerts})),
        askers=approval.askers,
        groups=approval.groups,
        max_uses=wish.max_uses,
        expires_at=now + DURATIONS[wish.lasts],
        given_by=reviewer_id,
        given_for_approval=approval.id,
        created_at=now,
    )


def covers(
    grant: Grant,
    action: Action,
    judgement: Judgement,
    now: datetime,
    *,
    groups: Set[str],
    is_asker: bool,
) -> bool:
    """Tell whether a grant answers the question that a judgement would put to people.

    Args:
        grant: as it stands in the store.
        action: what the agent wants.
        judgement: what the evaluator found.
        now: the store's clock, UTC.
        groups: the groups that the giver belongs to by now; empty if they are no reviewer any more.
        is_asker: whether the giver is among `action.askers`, under whatever name.
    """
    terms = judgement.terms
    found = {(alert.safeguard, alert.title) for alert in judgement.alerts}
    return (
        judgement.verdict is Verdict.REQUIRE_APPROVAL
        and grant.standing(now) == "in_force"
        and (grant.agent_id, grant.action_type) == (action.agent_id, action.action_type)
        and grant.askers == action.askers
        and not is_asker
        and not groups.isdisjoint(terms.groups)
        and terms.quorum == 1
        and not terms.four_eyes
        and judgement.severity.rank <= grant.severity.rank < AlertSeverity.CRITICAL.rank
        and found <= set(grant.alerts)
        and set(judgement.policies) <= set(grant.policies)
        and within(grant.bounds, action.context)
    )


class Covered(NamedTuple):
    """An action that a grant covers, and the judgement that would have asked people."""

    action: Action
    judgement: Judgement


def use(grant: Grant, covered: Sequence[Covered], giver: str, now: datetime) -> tuple[Change, ...]:
    """Let actions through that a grant covers, as many as it has uses left.

    Args:
        grant: as it stands in the store.
        covered: those that it covers (see `covers`), in the order in which they take its uses.
        giver: the name of who gave it.
        now: the store's clock, UTC.

    Returns:
        The changes of the actions, then the grant's, to be written together; none if no action is
        still to be judged.
    """
    changes: list[Change] = []
    for one in covered:
        number = grant.uses + len(changes) + 1
        if number > grant.max_uses:
            break
        if one.action.judgement is not None or one.action.status.is_final:
            continue
        given = GrantUse(
            grant_id=grant.id,
            given_by=grant.given_by,
            giver=giver,
            approval_id=grant.given_for_approval,
            number=number,
            of=grant.max_uses,
        )
        reasons = (*one.judgement.reasons, given.words())
        update = {"verdict": Verdict.ALLOW, "grant": given, "reasons": reasons}
        change = action_rules.judge(one.action, one.judgement.model_copy(update=update), now)
        if change is not None:
            changes.append(change)
    if not changes:
        return ()
    after = grant.model_copy(update={"uses": grant.uses + len(changes), "last_used_at": now})
    detail = {
        "actions": [change.after.id for change in changes],
        "uses": after.uses,
        "of": after.max_uses,
    }
    actor = Service.EVALUATOR.value
    return (*changes, Change(grant, after, "used", actor, now, detail))


def expire(grant: Grant, now: datetime) -> Change | None:
    """Note that a grant has run out. None if it has ended before, or has time left."""
    if not grant.is_open or now < grant.expires_at:
        return None
    after = grant.model_copy(update={"expired_at": now})
    detail = {"uses": grant.uses, "of": grant.max_uses}
    return Change(grant, after, "expired", Service.EVALUATOR.value, now, detail)


def may_revoke(grant: Grant, reviewer_id: str, groups: Set[str], *, is_operator: bool) -> bool:
    """Tell whether a reviewer may revoke a grant: who gave it, those who might have answered, and
    whoever looks after the system. Who may revoke it may also read it."""
    return is_operator or reviewer_id == grant.given_by or not groups.isdisjoint(grant.groups)


def revoke(
    grant: Grant, reviewer_id: str, groups: Set[str], now: datetime, *, is_operator: bool
) -> Change | None:
    """Take a grant back: no action uses it from now on. None if it has ended before.

    Raises:
        Refusal: `not_a_reviewer`.
    """
    if not may_revoke(grant, reviewer_id, groups, is_operator=is_operator):
        names = ", ".join(grant.groups)
        raise Refusal("not_a_reviewer", f"only members of these groups may revoke it: {names}")
    if not grant.is_open:
        return None
    after = grant.model_copy(update={"revoked_at": now, "revoked_by": reviewer_id})
    detail = {"uses": grant.uses, "of": grant.max_uses}
    return Change(grant, after, "revoked", f"reviewer:{reviewer_id}", now, detail)
