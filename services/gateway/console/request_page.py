"""The page of a request: what it shows to somebody who has signed in, or follows a mail's link."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from fastapi import Request, Response

from safeguards.contracts import ResponseKind, ResponseSubmission
from safeguards_runtime.headlines.sentence import headline
from safeguards_runtime.records import Approval, Delivery, Grant, Halts, Refusal
from safeguards_runtime.records.action import granted_index
from safeguards_runtime.records.delivery import source_index
from safeguards_runtime.records.grant import grant_id
from safeguards_runtime.records.halts import HALTS_ID, halts_of
from safeguards_runtime.reviewers import Reviewer
from services.gateway.approvals import judgement
from services.gateway.console import arguments, evidence, precedents
from services.gateway.console.binding import Shown
from services.gateway.console.differences import Difference, difference_of_text, differences
from services.gateway.console.granting import GrantForm, grant_form
from services.gateway.console.grants import let_through
from services.gateway.console.listing import reader_of
from services.gateway.console.operations.halts import halting_path
from services.gateway.console.people import ending, halt_words
from services.gateway.console.people import person as person_named
from services.gateway.console.session import Session
from services.gateway.console.timeline import Named, person, timeline
from services.gateway.pages import page
from services.gateway.parts import Parts
from services.gateway.typed_text import editable_fields
from services.gateway.wording import RISKS

FIELD = "field:"
"""What a form's names of the context's fields begin with."""

MAX_DELIVERIES = 300

REJECT_REASONS = (
    "Not needed",
    "The amount is wrong",
    "The recipient is wrong",
    "Not enough is known about it",
    "It is against our rules",
)


@dataclass(frozen=True)
class Visit:
    """Who looks at which request, and by which way.

    Attributes:
        approval: as it stood at `now`.
        reviewer: who looks.
        now: the store's clock, UTC.
        path: of the page.
        session: theirs, if they have signed in.
        delivery: the message whose link they have followed, if that is how they came.
        link: SHA-256 of that link's token.
    """

    approval: Approval
    reviewer: Reviewer
    now: datetime
    path: str
    session: Session | None = None
    delivery: Delivery | None = None
    link: str | None = None

    @property
    def holder(self) -> str:
        """For whom the page's forms are."""
        if self.link is not None:
            return f"link:{self.link}"
        return f"session:{self.session.id if self.session else ''}"

    @property
    def via(self) -> str:
        """By which way what is answered here comes in."""
        return "email" if self.link is not None else "console"

    @property
    def is_superseded(self) -> bool:
        """Whether the request has changed since the mail was sent that the link stands in."""
        return self.delivery is not None and self.delivery.version < self.approval.version

    @property
    def signs_in(self) -> bool:
        """Whether a password is wanted with each answer: the link alone is not enough."""
        wanted = self.approval.terms.sign_in_from
        if self.link is None or wanted is None or not self.approval.severity.at_least(wanted):
            return False
        # Who has signed in beside that has shown who they are.
        return self.session is None or self.session.reviewer.id != self.reviewer.id

    def shown(self, changes: str = "") -> Shown:
        """Return what the page shows, for its forms."""
        asked = self.approval
        return Shown(self.holder, asked.id, asked.version, asked.digest, changes)


class Elsewhere(NamedTuple):
    """How a request is answered, where that is not by the page that shows it."""

    how: str
    """In words: `in the console or in Slack`."""

    path: str
    """Of its page in the console; empty if it is not answered there."""


def names(gateway: Parts) -> Named:
    """Return by which names reviewers are called; visible."""
    return partial(person_named, gateway)


def barred(gateway: Parts, visit: Visit) -> Refusal | None:
    """Return why they could not reject it now, by the rules that would judge it; None if they
    could."""
    asked = visit.approval
    rejection = ResponseSubmission(
        response=ResponseKind.REJECT, version=asked.version, digest=asked.digest
    )
    wards = gateway.directory.mandates(visit.reviewer, visit.now)
    try:
        judgement(
            asked, rejection, visit.reviewer, visit.via, visit.now, wards=wards, link=visit.link
        )
    except Refusal as refusal:
        return refusal
    return None


async def request_page(
    gateway: Parts,
    request: Request,
    visit: Visit,
    *,
    problem: str = "",
    status: int = 200,
    form: Mapping[str, Any] | None = None,
    wrong_field: str | None = None,
) -> Response:
    """Return the page of a request.

    Args:
        problem: what went wrong with what was sent.
        form: what was sent; its texts stand in the forms again.
        wrong_field: the field of the context that the problem is with, if it is with one.
    """
    asked = visit.approval
    named = names(gateway)
    refusal = barred(gateway, visit)
    reader = reader_of(gateway, visit.reviewer, visit.now)
    history, deliveries, month, likes, permitted, (given, halts) = await asyncio.gather(
        gateway.store.history(asked.id),
        _deliveries(gateway, asked),
        precedents.month(gateway.store, asked.agent_id, visit.now),
        precedents.likes(gateway.store, asked, reader),
        let_through(
            gateway, granted_index(asked.agent_id, asked.action_type), limit=precedents.LIKES_SHOWN
        ),
        _given_and_halts(gateway, asked),
    )
    shown = {
        **_common(gateway, visit),
        **_decisions(gateway, visit, refusal),
        "problem": problem,
        "form": form or {},
        "wrong_field": wrong_field,
        **_arguments(asked),
        "halted": halt_words(gateway, halts, asked),
        "halting_path": halting_path(asked.agent_id, asked.action_type),
        "cautions": [*_doubts(asked), *arguments.cautions(asked)],
        "addresses": evidence.addresses(asked),
        "news": _news(asked),
        "changed_by": _changer(asked, named),
        "proposed": _proposed(asked),
        "proposers": " and ".join(map(named, sorted(asked.authors))),
        "changes": differences(*_ended_with(asked)),
        "month": month,
        "likes": [(like, headline(like), _fate(gateway, like)) for like in likes.shown],
        "likes_of_others": likes.of_others,
        "timeline": timeline(asked, history, deliveries, named),
        "permitted": [one for one in permitted if precedents.is_readable(one.action, reader)],
        "given": given,
        "permission": _permission(visit, likes.shown, form or {}),
    }
    return page(
        gateway, request, "console/request.html", shown, session=_seen(visit), status=status
    )


async def changes_page(
    gateway: Parts,
    request: Request,
    visit: Visit,
    form: Mapping[str, Any],
    changes: dict[str, Any],
    seal: str,
) -> Response:
    """Return the page that shows changes before they are sent."""
    asked = visit.approval
    after = {**asked.shown_context, **changes}
    shown = {
        **_common(gateway, visit),
        "form": form,
        "seal": seal,
        "after": headline(asked.model_copy(update={"modifications": after})),
        "changes": differences(asked.shown_context, after),
        "ends": asked.terms.quorum == 1 and not asked.terms.four_eyes,
        "field_prefix": FIELD,
    }
    return page(gateway, request, "console/request_changes.html", shown, session=_seen(visit))


def _arguments(asked: Approval) -> dict[str, Any]:
    """Return the arguments as the page shows them, and how many more there are."""
    listed = arguments.arguments(asked.shown_context, asked.action_type)
    number = arguments.count(asked.shown_context, asked.action_type)
    return {"arguments": listed, "unlisted": number - len(listed)}


def _seen(visit: Visit) -> Session | None:
    """Return the session whose navigation the page has: a mail's page has none."""
    return visit.session if visit.link is None else None


def _common(gateway: Parts, visit: Visit) -> dict[str, Any]:
    asked = visit.approval
    named = names(gateway)
    outcome = asked.outcome
    absent = visit.delivery.stands_in_for if visit.delivery else None
    return {
        "approval": asked,
        "reviewer": visit.reviewer,
        "zone": visit.reviewer.zone,
        "path": visit.path,
        "by_link": visit.link is not None,
        "absent": person(named, absent) if absent else "",
        "headline": headline(asked),
        "named": named,
        "outcome": outcome,
        "fate": _fate(gateway, asked),
        "silence": "it is approved" if asked.silence_approves else "it is rejected",
        "seal": visit.shown().sealed(gateway),
        "heard": gateway.news.last,
        "signs_in": visit.signs_in,
        "risks": RISKS,
        "reasons": _reasons(asked),
    }


def _decisions(gateway: Parts, visit: Visit, refusal: Refusal | None) -> dict[str, Any]:
    """Return what they may do, and why not what they may not."""
    asked = visit.approval
    fields = editable_fields(asked)
    offered = {field.name for field in fields}
    editable = dict.fromkeys(asked.editable_fields())
    own = visit.reviewer.id
    named = names(gateway)
    return {
        "may_answer": refusal is None and asked.outcome is None and not visit.is_superseded,
        "barred": _why_not(visit, refusal) if asked.outcome is None else "",
        "elsewhere": _elsewhere(visit, refusal),
        "holder": _holder(visit, named),
        "holds": asked.claim is not None and asked.claim.reviewer_id == own,
        "has_spoken": own in asked.spoken,
        "is_author": own in asked.authors,
        "is_superseded": visit.is_superseded,
        "fields": fields,
        "fixed": [
            name for name in asked.shown_context if name not in editable and name != "action_type"
        ],
        "unshowable": [name for name in editable if name not in offered],
        "reject_reasons": REJECT_REASONS,
        "votes": [
            (person(named, vote.reviewer_id, vote.stood_in_for), vote) for vote in asked.votes
        ],
        "others": _others(gateway, visit) if visit.link is None else [],
        "field_prefix": FIELD,
    }


def _why_not(visit: Visit, refusal: Refusal | None) -> str:
    """Return in words why somebody cannot answer what is open; empty if they can."""
    if visit.is_superseded:
        return ""
    if refusal is None or _is_elsewhere(refusal):
        return ""
    return _BARRED.get(refusal.code, refusal.detail)


def _elsewhere(visit: Visit, refusal: Refusal | None) -> Elsewhere | None:
    """Return how it is answered, where that is not by this page."""
    if visit.is_superseded or not _is_elsewhere(refusal):
        return None
    terms = visit.approval.terms
    path = f"/console/requests/{visit.approval.id}" if "console" in terms.answer_by else ""
    return Elsewhere(terms.how_answered(), path)


def _is_elsewhere(refusal: Refusal | None) -> bool:
    return refusal is not None and refusal.code == "not_this_way"


_BARRED = {
    "self_approval": "You cannot answer this: it is asked for by you or on your behalf. "
    "Somebody else must decide.",
    "expired": "Time is up: this can no longer be answered.",
    "link_used": "You have answered by this link. Others still have to.",
    "being_judged": "The agent has answered with other arguments. They are being judged, and will "
    "stand here in a moment.",
}


def _others(gateway: Parts, visit: Visit) -> list[Reviewer]:
    """Return to whom it may be handed over: who may answer, and is not who hands it over."""
    asked = visit.approval
    return [
        other
        for other in gateway.directory.members(asked.groups)
        if other.id != visit.reviewer.id and not other.is_among(asked.askers)
    ]


async def _deliveries(gateway: Parts, asked: Approval) -> list[Delivery]:
    ids = await gateway.store.listed(source_index(asked.id), limit=MAX_DELIVERIES)
    _, loaded = await gateway.store.load(ids)
    return [record for record in loaded if isinstance(record, Delivery)]


async def _given_and_halts(gateway: Parts, asked: Approval) -> tuple[Grant | None, Halts]:
    """Return the permission that was given with it, and what is halted."""
    _, (given, halts) = await gateway.store.load([grant_id(asked.id), HALTS_ID])
    return given if isinstance(given, Grant) else None, halts_of(halts)


def _news(asked: Approval) -> tuple[Difference, ...]:
    """Return what differs from the version before, the agent's words with it."""
    earlier = asked.earlier
    if earlier is None:
        return ()
    return (
        *difference_of_text("What the agent calls it", earlier.title, asked.title),
        *difference_of_text("What the agent says", earlier.description, asked.description),
        *differences(earlier.context, asked.shown_context),
    )


def _proposed(asked: Approval) -> tuple[Difference, ...]:
    """Return what reviewers have changed of what the agent asks for."""
    return differences(asked.context, asked.shown_context) if asked.modifications else ()


def _ended_with(asked: Approval) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments that were asked for, and those that may run."""
    modifications = (asked.outcome and asked.outcome.modifications) or {}
    return asked.context, {**asked.context, **modifications}


def _fate(gateway: Parts, asked: Approval) -> str:
    outcome = asked.outcome
    if outcome is None:
        return ""
    return ending(gateway, outcome.status, outcome.decided_by, outcome.decided_for)


def _changer(asked: Approval, named: Named) -> str:
    """Return who made this version of it."""
    kind, _, name = asked.earlier.changed_by.partition(":") if asked.earlier else ("", "", "")
    return named(name) if kind == "reviewer" else "The agent"


def _holder(visit: Visit, named: Named) -> str:
    claim = visit.approval.claim
    if claim is None:
        return ""
    if claim.reviewer_id == visit.reviewer.id:
        return "You"
    return person(named, claim.reviewer_id, claim.stands_in_for)


def _doubts(asked: Approval) -> list[str]:
    """Return why what the headline says has to be read with the arguments."""
    return [
        f"{doubt[:1].upper()}{doubt[1:]}: look at them below" for doubt in headline(asked).doubts
    ]


def _reasons(asked: Approval) -> list[tuple[str, str]]:
    """Return the reasons that the alerts and policies, which are shown, do not give already; each
    with the policy that gives it, where there are several."""
    known = {f"{alert.title}: {alert.description}" for alert in asked.alerts}
    known |= {f"policy {name} asks for it" for name in asked.policies}
    of = {clause.words: clause.policy for clause in asked.clauses} if asked.policies[1:] else {}
    return [(reason, of.get(reason, "")) for reason in asked.reasons if reason not in known]


def _permission(
    visit: Visit, likes: Sequence[Approval], form: Mapping[str, Any]
) -> GrantForm | None:
    """Return the permission for more of the same that may be given; none by a link."""
    if visit.link is not None or visit.approval.outcome is not None:
        return None
    return grant_form(visit.approval, visit.reviewer, likes, form)
