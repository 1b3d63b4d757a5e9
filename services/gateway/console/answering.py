"""What a reviewer sends from the page of a request, and what comes of it.

Whatever is refused shows the page as it now stands, with what was typed, and sends nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from pydantic import ValidationError
from starlette.datastructures import FormData

from safeguards.contracts import ResponseKind, ResponseSubmission
from safeguards.errors import InvalidContentError
from safeguards_runtime.records import Approval, Refusal
from safeguards_runtime.records.modifications import checked
from services.gateway.approvals import judged
from services.gateway.console.binding import AGAIN, Shown, changes_digest, shown_by
from services.gateway.console.granting import read_form
from services.gateway.console.people import ending
from services.gateway.console.request_page import (
    FIELD,
    Visit,
    changes_page,
    request_page,
)
from services.gateway.console.sign_in import check_password
from services.gateway.pages import HEADERS
from services.gateway.parts import Parts
from services.gateway.problems import Problem
from services.gateway.typed_text import changes

EDIT = "edit"
"""What is sent instead of a response by whoever goes back to what they typed."""

Reload = Callable[[], Awaitable[Visit | None]]


async def answered(gateway: Parts, request: Request, visit: Visit, reload: Reload) -> Response:
    """Take what a form of the page sends; return where to go on, or the page with what is wrong.

    Args:
        visit: who sends it, about what.
        reload: returns the visit anew, as things now stand.
    """
    form = await request.form()
    if form.get("response") == EDIT:
        return await request_page(gateway, request, visit, form={**form, "response": "modify"})
    try:
        shown = shown_by(gateway, form, visit.holder, visit.approval.id)
        submission = _submission(form, visit, shown)
        if submission.modifications is not None:
            page = await _unseen(gateway, request, visit, form, shown, submission.modifications)
            if page is not None:
                return page
        if visit.signs_in:
            await check_password(gateway, request, visit.reviewer, str(form.get("password", "")))
        await judged(
            gateway.store,
            visit.approval.id,
            submission,
            visit.reviewer,
            visit.via,
            wards=gateway.directory.mandates(visit.reviewer, visit.now),
            link=visit.link,
            wish=read_form(form, visit.approval) if visit.link is None else None,
        )
    except (Refusal, Problem, ValidationError, InvalidContentError, ValueError) as error:
        return await refused(gateway, request, await reload() or visit, error, form)
    return RedirectResponse(visit.path, 303, HEADERS)


async def refused(
    gateway: Parts, request: Request, visit: Visit, error: Exception, form: Mapping[str, Any]
) -> Response:
    """Return the page as it now stands, with what was wrong and what was typed."""
    status, words = _refusal(gateway, visit.approval, error)
    field = error.extra.get("field") if isinstance(error, Refusal) else None
    return await request_page(
        gateway, request, visit, problem=words, status=status, form=form, wrong_field=field
    )


async def _unseen(
    gateway: Parts,
    request: Request,
    visit: Visit,
    form: FormData,
    shown: Shown,
    modifications: dict[str, Any],
) -> Response | None:
    """Return the page that shows changes first, unless it is what was shown that is sent."""
    wanted = changes_digest(modifications)
    if shown.changes == wanted:
        return None
    asked = visit.approval
    if shown.version != asked.version or asked.outcome is not None:
        # Where it would be refused anyway, the rules say how.
        return None
    checked(
        asked.context,
        asked.editable_fields(),
        modifications,
        asked.modifications,
        asked.terms.limits,
    )
    seal = visit.shown(wanted).sealed(gateway)
    return await changes_page(gateway, request, visit, form, modifications, seal)


def _submission(form: FormData, visit: Visit, shown: Shown) -> ResponseSubmission:
    """Return the response that a form carries, bound to what its page showed.

    Raises:
        ValueError: it is none of ours.
        Refusal: `stale_version` if a newer mail shows something else.
    """
    try:
        kind = ResponseKind(str(form.get("response", "")))
    except ValueError as error:
        raise ValueError(AGAIN) from error
    if visit.is_superseded:
        raise Refusal(
            "stale_version", "The request has changed since this mail: answer the newer one."
        )
    return ResponseSubmission(
        response=kind,
        version=shown.version,
        digest=shown.digest,
        comments=_comments(form, kind),
        modifications=_modifications(form, visit.approval) if kind is ResponseKind.MODIFY else None,
        pause=kind is ResponseKind.ASK and form.get("pause") == "on",
    )


def _comments(form: FormData, kind: ResponseKind) -> str:
    text = str(form.get("comments", "")).replace("\r\n", "\n").strip()
    reason = str(form.get("reason", "")).strip() if kind is ResponseKind.REJECT else ""
    return ": ".join(said for said in (reason, text) if said)


def _modifications(form: FormData, approval: Approval) -> dict[str, Any]:
    """Return the fields that the form changed, each read as the type that it has."""
    typed = {
        name.removeprefix(FIELD): value
        for name, value in form.items()
        if name.startswith(FIELD) and isinstance(value, str)
    }
    return changes(approval.shown_context, typed)


def _refusal(gateway: Parts, asked: Approval, error: Exception) -> tuple[int, str]:
    """Return the status and the words for what was refused."""
    if isinstance(error, Refusal):
        error = Problem.of(error)
        return error.status, _in_words(gateway, asked, error)
    if isinstance(error, Problem):
        return error.status, error.detail
    if isinstance(error, ValidationError):
        return 422, "; ".join(f"{line['loc'][0]}: {line['msg']}" for line in error.errors())
    return 422, str(error)


def _in_words(gateway: Parts, asked: Approval, problem: Problem) -> str:
    """Return a refusal as somebody reads it who has just pressed a button."""
    outcome = asked.outcome
    if problem.code == "already_decided" and outcome is not None:
        fate = ending(gateway, outcome.status, outcome.decided_by, outcome.decided_for)
        return f"{fate}. That was faster: nothing that you chose was sent."
    if problem.code == "stale_version" and problem.extra:
        return (
            "This has changed since you opened it, so nothing was sent. What is new stands below; "
            "what you typed is kept. Look at it, then answer again."
        )
    return problem.detail
