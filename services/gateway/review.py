"""The page behind an email's link. A GET shows it; only a person's POST decides."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from itsdangerous import BadData
from pydantic import ValidationError
from starlette.datastructures import FormData

from safeguards.contracts import ResponseKind, ResponseSubmission
from safeguards.identifiers import is_id
from safeguards.notifications.rendering import argument_label
from safeguards.text import visible
from safeguards_runtime.records import ApiKey, Approval, Delivery, Refusal
from safeguards_runtime.records.api_key import Role, parse_api_key
from safeguards_runtime.records.delivery import parcel_index, token_hash
from safeguards_runtime.reviewers import Reviewer
from services.gateway.approvals import judged
from services.gateway.parts import Gateway, Parts
from services.gateway.problems import Problem
from services.gateway.typed_text import changes, editable_fields, text_of

router = APIRouter(include_in_schema=False)

FIELD = "field:"
"""What the form's names of the context's fields begin with."""

SEAL_SECONDS = 24 * 3600
"""How long a page can be answered after it was shown; it need only be opened anew."""

MAX_LISTED = 1000

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class _Visit(NamedTuple):
    """Who follows which link, to what."""

    approval: Approval
    reviewer: Reviewer
    delivery: Delivery
    link: str
    """SHA-256 of the link's token."""

    @property
    def is_superseded(self) -> bool:
        """Whether the request has changed since the mail was sent that the link stands in."""
        return self.delivery.version < self.approval.version

    @property
    def signs_in(self) -> bool:
        """Whether the link alone is not enough to answer by."""
        wanted = self.approval.terms.sign_in_from
        return wanted is not None and self.approval.severity.at_least(wanted)


@router.get("/review/{token}")
async def show(token: str, request: Request, gateway: Gateway) -> Response:
    """Show the request, or the list of those that a digest stood for. Mail scanners come here
    too: it changes nothing."""
    delivery = await _delivery(gateway, token, f"dlv_{token.partition('.')[0]}")
    if delivery is not None and delivery.parcel_id == delivery.id:
        return await _list(gateway, request, token, delivery)
    return _shown(gateway, request, await _visit(gateway, token, delivery))


@router.get("/review/{token}/{delivery_id}")
async def show_one(token: str, delivery_id: str, request: Request, gateway: Gateway) -> Response:
    """Show one of the requests that a digest stood for."""
    delivery = await _delivery(gateway, token, delivery_id)
    return _shown(gateway, request, await _visit(gateway, token, delivery))


@router.post("/review/{token}")
@router.post("/review/{token}/{delivery_id}")
async def decide(
    token: str, request: Request, gateway: Gateway, delivery_id: str | None = None
) -> Response:
    """Take the reviewer's response, then show the page as it now is."""
    delivery_id = delivery_id or f"dlv_{token.partition('.')[0]}"
    visit = await _visit(gateway, token, await _delivery(gateway, token, delivery_id))
    if visit is None:
        return _no_such_link(gateway, request)
    if request.headers.get("sec-fetch-site") not in (None, "same-origin"):
        return _page(gateway, request, visit, error="Answer from this page itself.", status=403)
    form = await request.form()
    try:
        submission = _submission(gateway, form, visit)
        if visit.signs_in:
            await _check_key(gateway, str(form.get("key", "")), visit.reviewer)
        await judged(
            gateway.store,
            visit.approval.id,
            submission,
            visit.reviewer,
            "email",
            wards=gateway.directory.mandates(visit.reviewer, datetime.now(UTC)),
            link=visit.link,
        )
    except (Refusal, Problem, ValidationError, ValueError) as error:
        status, words = _refused(error)
        visit = await _visit(gateway, token, visit.delivery) or visit
        return _page(gateway, request, visit, error=words, status=status, form=form)
    return RedirectResponse(request.url.path, 303, HEADERS)


async def _delivery(gateway: Parts, token: str, delivery_id: str) -> Delivery | None:
    """Return the delivery that a link came with, or None if there is no such link."""
    if not is_id(delivery_id, "dlv"):
        return None
    delivery = await gateway.store.get(delivery_id, Delivery)
    if delivery is None or token_hash(token) not in delivery.token_hashes:
        return None
    return delivery


async def _visit(gateway: Parts, token: str, delivery: Delivery | None) -> _Visit | None:
    """Return whose link this is and what it is about, or None if there is no such link."""
    if delivery is None:
        return None
    reviewer = gateway.directory.get(delivery.reviewer_id or "")
    approval = await gateway.store.get(delivery.source_id, Approval)
    if reviewer is None or approval is None or not _may_read(gateway, reviewer, approval):
        return None
    return _Visit(approval, reviewer, delivery, token_hash(token))


def _may_read(gateway: Parts, reviewer: Reviewer, approval: Approval) -> bool:
    """Tell whether a reviewer belongs to those who may answer, by now: people come and go."""
    wards = gateway.directory.mandates(reviewer, datetime.now(UTC))
    groups = reviewer.groups.union(*(ward.groups for ward in wards))
    return bool(groups & set(approval.groups)) and not reviewer.is_among(approval.askers)


async def _list(gateway: Parts, request: Request, token: str, leader: Delivery) -> Response:
    """Show what a digest stood for: what waits first, the most pressing first."""
    reviewer = gateway.directory.get(leader.reviewer_id or "")
    if reviewer is None:
        return _no_such_link(gateway, request)
    ids = await gateway.store.listed(parcel_index(leader.id), limit=MAX_LISTED)
    _, loaded = await gateway.store.load(ids)
    wanted = token_hash(token)
    members = [d for d in loaded if isinstance(d, Delivery) and wanted in d.token_hashes]
    _, sources = await gateway.store.load([member.source_id for member in members])
    rows = [
        (f"/review/{token}/{member.id}", asked)
        for member, asked in zip(members, sources, strict=True)
        if isinstance(asked, Approval) and _may_read(gateway, reviewer, asked)
    ]
    rows.sort(key=lambda row: (row[1].status.is_final, -row[1].severity.rank, row[1].expires_at))
    waiting = sum(1 for _, asked in rows if not asked.status.is_final)
    shown = {"reviewer": reviewer, "rows": rows, "waiting": waiting, "zone": reviewer.zone}
    return gateway.templates.TemplateResponse(request, "requests.html", shown, headers=HEADERS)


async def _check_key(gateway: Parts, text: str, reviewer: Reviewer) -> None:
    """Make sure that a reviewer has signed in with their own API key.

    Raises:
        Problem: 403.
    """
    parsed = parse_api_key(text.strip())
    key = await gateway.store.get(parsed[0], ApiKey) if parsed else None
    is_theirs = key is not None and key.role is Role.REVIEWER and key.reviewer_id == reviewer.id
    if parsed is None or key is None or not is_theirs or not key.opens_with(parsed[1]):
        raise Problem(403, "sign_in_failed", "This is not your reviewer key. Nothing was sent.")


def _submission(gateway: Parts, form: FormData, visit: _Visit) -> ResponseSubmission:
    """Return the response that a form carries, bound to what its page showed.

    Raises:
        ValueError: if the form is none that we made for this link.
    """
    again = "This form has expired, or was not all sent. Here it is again: please answer once more."
    try:
        link, version, digest = gateway.seals.loads(str(form.get("seal", "")), SEAL_SECONDS)
        kind = ResponseKind(str(form.get("response", "")))
    except (BadData, ValueError, TypeError) as error:
        raise ValueError(again) from error
    if link != visit.link:
        raise ValueError(again)
    if visit.is_superseded:
        raise Refusal(
            "stale_version", "The request has changed since this mail: answer the newer one."
        )
    return ResponseSubmission(
        response=kind,
        version=version,
        digest=digest,
        comments=str(form.get("comments", "")).replace("\r\n", "\n").strip(),
        modifications=_modifications(form, visit.approval) if kind is ResponseKind.MODIFY else None,
    )


def _modifications(form: FormData, approval: Approval) -> dict[str, Any]:
    """Return the fields that the form changed, each read as the type that it has."""
    typed = {
        name.removeprefix(FIELD): value
        for name, value in form.items()
        if name.startswith(FIELD) and isinstance(value, str)
    }
    return changes(approval.context, typed)


def _refused(error: Exception) -> tuple[int, str]:
    if isinstance(error, Refusal):
        error = Problem.of(error)
    if isinstance(error, Problem):
        return error.status, error.detail
    if isinstance(error, ValidationError):
        return 422, "; ".join(f"{line['loc'][0]}: {line['msg']}" for line in error.errors())
    return 422, str(error)


def _shown(gateway: Parts, request: Request, visit: _Visit | None) -> Response:
    return _page(gateway, request, visit) if visit else _no_such_link(gateway, request)


def _page(
    gateway: Parts,
    request: Request,
    visit: _Visit,
    *,
    error: str = "",
    status: int = 200,
    form: Mapping[str, Any] | None = None,
) -> Response:
    asked = visit.approval
    silence = "it is approved" if asked.terms.on_timeout == "approve" else "it is rejected"
    outcome = asked.outcome
    shown = {
        "approval": asked,
        "reviewer": visit.reviewer,
        "facts": [
            (visible(argument_label(name)), visible(text_of(value)))
            for name, value in asked.context.items()
            if (name, value) != ("action_type", asked.action_type)
        ],
        "fields": editable_fields(asked),
        "outcome": outcome,
        "decider": _names(gateway, outcome.decided_by, outcome.decided_for) if outcome else "",
        "changes": {
            name: (text_of(asked.context.get(name)), text_of(value))
            for name, value in ((outcome and outcome.modifications) or {}).items()
        },
        "seal": gateway.seals.dumps([visit.link, asked.version, asked.digest]),
        "signs_in": visit.signs_in,
        "is_superseded": visit.is_superseded,
        "is_used": visit.link in asked.used_links,
        "absent": gateway.directory.get(visit.delivery.stands_in_for or ""),
        "zone": visit.reviewer.zone,
        "silence": silence,
        "error": error,
        "form": form or {},
        "field_prefix": FIELD,
    }
    return gateway.templates.TemplateResponse(
        request, "review.html", shown, status_code=status, headers=HEADERS
    )


def _names(gateway: Parts, decided_by: str, decided_for: str | None) -> str:
    """Return who decided, by name: "B for A" where somebody stood in."""
    people = [(who, gateway.directory.get(who)) for who in (decided_by, decided_for) if who]
    return " for ".join(person.name if person else who for who, person in people)


def _no_such_link(gateway: Parts, request: Request) -> Response:
    return gateway.templates.TemplateResponse(
        request, "no_such_link.html", {}, status_code=404, headers=HEADERS
    )
