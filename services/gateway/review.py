"""The page behind an email's link. A GET shows it; only a person's POST decides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import ValidationError
from starlette.datastructures import FormData

from safeguards.contracts import ResponseKind, ResponseSubmission
from safeguards.text import visible
from safeguards_runtime.records import Approval, Delivery, Refusal
from safeguards_runtime.records.delivery import token_hash
from safeguards_runtime.records.modifications import field_type, fits
from safeguards_runtime.reviewers import Reviewer
from services.gateway.approvals import judged
from services.gateway.parts import Gateway, Parts
from services.gateway.problems import Problem
from services.gateway.strict_json import parse

router = APIRouter(include_in_schema=False)

FIELD = "field:"
"""What the form's names of the context's fields begin with."""

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
    """Who follows which link."""

    approval: Approval
    reviewer: Reviewer


class _Field(NamedTuple):
    """A field of the context that may be edited, as the form shows it."""

    name: str
    kind: str
    text: str


@router.get("/review/{token}")
async def show(token: str, request: Request, gateway: Gateway) -> Response:
    """Show the request. Mail scanners come here too: it changes nothing."""
    visit = await _visit(gateway, token)
    if visit is None:
        return _no_such_link(gateway, request)
    return _page(gateway, request, visit)


@router.post("/review/{token}")
async def decide(token: str, request: Request, gateway: Gateway) -> Response:
    """Take the reviewer's response, then show the page as it now is."""
    visit = await _visit(gateway, token)
    if visit is None:
        return _no_such_link(gateway, request)
    if request.headers.get("sec-fetch-site") not in (None, "same-origin"):
        return _page(gateway, request, visit, error="Answer from this page itself.", status=403)
    form = await request.form()
    try:
        submission = _submission(form, visit.approval)
        await judged(gateway.store, visit.approval.id, submission, visit.reviewer, "email")
    except (Refusal, Problem, ValidationError, ValueError) as error:
        status, words = _refused(error)
        visit = await _visit(gateway, token) or visit
        return _page(gateway, request, visit, error=words, status=status, form=form)
    return RedirectResponse(request.url.path, 303, HEADERS)


async def _visit(gateway: Parts, token: str) -> _Visit | None:
    """Return whose link this is and what it is about, or None if there is no such link."""
    delivery_id = f"dlv_{token.partition('.')[0]}"
    delivery = await gateway.store.get(delivery_id, Delivery)
    if delivery is None or token_hash(token) not in delivery.token_hashes:
        return None
    reviewer = gateway.directory.get(delivery.reviewer_id or "")
    approval = await gateway.store.get(delivery.source_id, Approval)
    if reviewer is None or approval is None:
        return None
    return _Visit(approval, reviewer)


def _submission(form: FormData, approval: Approval) -> ResponseSubmission:
    """Return the response that a form carries."""
    response, version = str(form.get("response", "")), str(form.get("version", ""))
    if response not in set(ResponseKind) or not (version.isascii() and version.isdecimal()):
        raise ValueError("That was not all of the form. Here it is again: please answer once more.")
    kind = ResponseKind(response)
    return ResponseSubmission(
        response=kind,
        version=min(int(version[:10]), 2**31),
        digest=str(form.get("digest", "")),
        comments=str(form.get("comments", "")).replace("\r\n", "\n").strip(),
        modifications=_modifications(form, approval) if kind is ResponseKind.MODIFY else None,
    )


def _modifications(form: FormData, approval: Approval) -> dict[str, Any]:
    """Return the fields that the form changed, each read as the type that it has."""
    changed = {}
    for name, value in form.items():
        if not name.startswith(FIELD) or not isinstance(value, str):
            continue
        field = name.removeprefix(FIELD)
        before = approval.context.get(field)
        text = value.replace("\r\n", "\n")
        if text != _text(before):
            changed[field] = _read(field, field_type(before), text)
    return changed


def _read(field: str, kind: str, text: str) -> Any:
    """Return what was typed as a value of a kind (see `approval.field_type`)."""
    if kind in ("string", "decimal"):
        return text.strip() if kind == "decimal" else text
    try:
        value = parse(text.encode())
    except Problem as error:
        raise ValueError(f"{field}: this is no {kind}") from error
    if not fits(kind, value):
        raise ValueError(f"{field}: this is no {kind}")
    return value


def _text(value: Any) -> str:
    """Return a value of the context as the form shows it, and as it is compared."""
    if isinstance(value, str):
        return value.replace("\r\n", "\n")
    return json.dumps(value, ensure_ascii=False, indent=1)


def _refused(error: Exception) -> tuple[int, str]:
    if isinstance(error, Refusal):
        error = Problem.of(error)
    if isinstance(error, Problem):
        return error.status, error.detail
    if isinstance(error, ValidationError):
        return 422, "; ".join(f"{line['loc'][0]}: {line['msg']}" for line in error.errors())
    return 422, str(error)


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
    decider = gateway.directory.get(outcome.decided_by) if outcome else None
    shown = {
        "approval": asked,
        "reviewer": visit.reviewer,
        "facts": [
            (visible(name), visible(_text(value)))
            for name, value in asked.context.items()
            if (name, value) != ("action_type", asked.action_type)
        ],
        "fields": _fields(asked),
        "outcome": outcome,
        "decider": decider.name if decider else (outcome.decided_by if outcome else ""),
        "changes": {
            name: (_text(asked.context.get(name)), _text(value))
            for name, value in ((outcome and outcome.modifications) or {}).items()
        },
        "silence": silence,
        "error": error,
        "form": form or {},
        "field_prefix": FIELD,
    }
    return gateway.templates.TemplateResponse(
        request, "review.html", shown, status_code=status, headers=HEADERS
    )


def _fields(asked: Approval) -> list[_Field]:
    """Return what the form can edit: not what it could not show as it is, and give back so."""
    fields = [
        _Field(name, field_type(asked.context[name]), _text(asked.context[name]))
        for name in asked.editable_fields()
    ]
    return [
        f
        for f in fields
        if visible(f.text) == f.text and visible(f.name, single_line=True) == f.name
    ]


def _no_such_link(gateway: Parts, request: Request) -> Response:
    return gateway.templates.TemplateResponse(
        request, "no_such_link.html", {}, status_code=404, headers=HEADERS
    )
