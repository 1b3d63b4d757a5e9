"""What people do with Slack's messages: `POST /api/v1/slack/interactions`.

Slack signs each request with the app's signing secret. Who it names is looked up among the
reviewers before anything else; what they answer is judged where every response is.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import structlog
from fastapi import APIRouter, Request, Response

from safeguards.notifications.channels import SlackChannel
from services.gateway import slack_views
from services.gateway.parts import Gateway, Parts
from services.gateway.problems import Problem
from services.gateway.slack_answers import Person, clicked, submitted, told
from services.gateway.strict_json import parse

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/api/v1/slack", include_in_schema=False)

ANSWER_SECONDS = 0.4
"""How long what was done may take before Slack is answered anyway; it goes on meanwhile."""

ONCE_SECONDS = 900
"""How long a signature is remembered. It is valid from five minutes before its time until five
minutes after it."""

NO_REVIEWER = (
    "You are not known here as a reviewer, so nothing was done. Whoever runs Safeguards can add "
    "your Slack user id to the reviewers file."
)

SLOW = "This takes longer than usual. The message will show what became of it."


class _App(NamedTuple):
    """The channels that one Slack app's requests may be for, by name; never none."""

    channels: dict[str, SlackChannel]


@router.post("/interactions")
async def interactions(request: Request, gateway: Gateway) -> Response:
    """Take what somebody did with a message or a modal of ours, and answer at once."""
    body = await request.body()
    form = _form(request.headers.get("content-type", ""), body)
    if form is not None and form.get("ssl_check") == ["1"] and "payload" not in form:
        # Slack tries the certificate, unsigned; it says and changes nothing.
        return Response()
    signature = request.headers.get("x-slack-signature", "")
    timestamp = request.headers.get("x-slack-request-timestamp", "")
    app = _signing_app(gateway, body, timestamp, signature)
    await _use_up(gateway, signature)
    payload = _payload(form)
    person = _person(gateway, app, payload)
    kind = payload.get("type")
    if kind == "block_actions":
        work = clicked(gateway, person, payload) if person else None
    elif kind == "view_submission":
        work = submitted(gateway, person, payload) if person else None
    else:
        # Closed modals and the like.
        return Response()
    if work is None:
        return _unknown(gateway, app, payload)
    task = gateway.background.start(work)
    done, _ = await asyncio.wait({task}, timeout=ANSWER_SECONDS)
    if done:
        return task.result()
    return slack_views.answer(slack_views.notice(SLOW)) if kind == "view_submission" else Response()


def _signing_app(gateway: Parts, body: bytes, timestamp: str, signature: str) -> _App:
    """Return the channels whose app signed the request.

    Raises:
        Problem: 401.
    """
    channels = {
        name: channel.sender
        for name, channel in gateway.channels.current.items()
        if isinstance(channel.sender, SlackChannel)
        and channel.sender.is_answerable
        and channel.sender.signed(body, timestamp, signature)
    }
    if not channels:
        log.warning("a request to the Slack route is not signed by an app of the channels file")
        raise Problem(401, "invalid_signature", "this is not signed by Slack for this installation")
    return _App(channels)


async def _use_up(gateway: Parts, signature: str) -> None:
    """Make sure that this signature comes for the first time.

    Raises:
        Problem: 401 if not; 503 if the store does not say in time.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            is_new = await gateway.store.first_time(f"slack:{signature}", ONCE_SECONDS)
    except TimeoutError:
        detail = "the store is not available: do it again"
        raise Problem(503, "store_unavailable", detail, {"Retry-After": "1"}) from None
    if not is_new:
        raise Problem(401, "replayed", "this request was taken before")


def _form(content_type: str, body: bytes) -> dict[str, list[str]] | None:
    """Return the fields of a form, or None if it is none."""
    if content_type.partition(";")[0].strip().lower() != "application/x-www-form-urlencoded":
        return None
    try:
        return parse_qs(body.decode(), keep_blank_values=True, errors="strict", max_num_fields=20)
    except ValueError:
        return None


def _payload(form: dict[str, list[str]] | None) -> dict[str, Any]:
    """Return what the form's one field `payload` holds.

    Raises:
        Problem: 400.
    """
    found = (form or {}).get("payload", [])
    if form is None or set(form) != {"payload"} or len(found) != 1:
        raise Problem(400, "invalid_payload", "send one form field, `payload`")
    payload = parse(found[0].encode())
    if not isinstance(payload, dict):
        raise Problem(400, "invalid_payload", "`payload` is a JSON object")
    return payload


def _person(gateway: Parts, app: _App, payload: dict[str, Any]) -> Person | None:
    """Return who did it, or None if that is no reviewer."""
    user_id = slack_views.text_at(payload, "user", "id")
    # The workspace of the person; of the app, where Slack names none for the person.
    team_id = slack_views.text_at(payload, "user", "team_id")
    team_id = team_id or slack_views.text_at(payload, "team", "id")
    reviewer = gateway.directory.by_slack_user(team_id or None, user_id) if user_id else None
    if reviewer is None:
        log.info("somebody in Slack is no reviewer", team=team_id[:40], user=user_id[:40])
        return None
    return Person(reviewer, user_id, app.channels)


def _unknown(gateway: Parts, app: _App, payload: dict[str, Any]) -> Response:
    """Tell somebody that they are no reviewer, and nothing else."""
    if payload.get("type") == "view_submission":
        return slack_views.answer(slack_views.notice(NO_REVIEWER))
    sender = next(iter(app.channels.values()))
    user_id = slack_views.text_at(payload, "user", "id")
    gateway.background.start(told(sender, payload, user_id, NO_REVIEWER))
    return Response()
