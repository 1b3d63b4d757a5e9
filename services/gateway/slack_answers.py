"""What follows from a reviewer's click or form in Slack."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from fastapi import Response
from pydantic import ValidationError
from redis.exceptions import RedisError

from safeguards.contracts import ResponseKind, ResponseSubmission
from safeguards.errors import DeliveryError
from safeguards.notifications import slack_blocks
from safeguards.notifications.channels import SlackChannel
from safeguards.notifications.slack_blocks import Binding
from safeguards_runtime.records import Approval, Refusal
from safeguards_runtime.records.modifications import field_type
from safeguards_runtime.reviewers import Reviewer
from safeguards_runtime.store import NotReplicatedError, StoreBusyError
from services.gateway import slack_views
from services.gateway.approvals import judged, judgement
from services.gateway.parts import Parts
from services.gateway.problems import Problem
from services.gateway.slack_views import CHOICE, COMMENTS, Form, text_at
from services.gateway.typed_text import text_of, value_of

log = structlog.get_logger(__name__)

TRIGGER_SECONDS = 3
"""How long Slack lets a modal be opened after a click."""

STORE_IS_AWAY = "The store is not available: nothing was decided by this. Do it again in a moment."
NOT_OURS = "This is of no request that is known here."

_UNAVAILABLE = (RedisError, StoreBusyError, NotReplicatedError)
_NOT_TO_BE_SHOWN = frozenset({"not_a_reviewer", "self_approval"})
_OF_THE_FIELDS = frozenset({"not_editable", "wrong_type", "outside_limits", "nothing_changed"})


@dataclass(frozen=True)
class Person:
    """A reviewer, as they are in Slack.

    Attributes:
        reviewer: who it is.
        user_id: Slack's id.
        channels: those of the app that the request came from, by name; never none.
    """

    reviewer: Reviewer
    user_id: str
    channels: dict[str, SlackChannel]

    def sender(self, name: str) -> SlackChannel:
        """Return the channel that is called so, or else any of the same app."""
        return self.channels.get(name) or next(iter(self.channels.values()))


async def clicked(gateway: Parts, person: Person, payload: dict[str, Any]) -> Response:
    """Do what a button of a message says; the answer to Slack is empty, whatever comes of it."""
    actions = payload.get("actions")
    action = actions[0] if isinstance(actions, list) and actions else None
    action_id, value = text_at(action, "action_id"), text_at(action, "value")
    if not value or action_id == slack_blocks.OPEN_LINK:
        return Response()
    try:
        binding = Binding.parse(value)
    except (ValueError, RecursionError):
        _tell(gateway, person, payload, "", NOT_OURS)
        return Response()
    words = None
    try:
        if action_id == slack_blocks.APPROVE:
            submission = _submission(binding, ResponseKind.APPROVE)
            after = await _respond(gateway, person, binding, submission)
            words = slack_views.recorded(after) if after.outcome is None else None
        else:
            words = await _show(gateway, person, binding, action_id, text_at(payload, "trigger_id"))
    except (Refusal, Problem, ValidationError) as error:
        words = _said(error)
    except _UNAVAILABLE as error:
        log.error("the store did not take a click", error=str(error))
        words = STORE_IS_AWAY
    if words:
        _tell(gateway, person, payload, binding.channel, words)
    return Response()


async def _show(
    gateway: Parts, person: Person, binding: Binding, action_id: str, trigger_id: str
) -> str | None:
    """Have the modal opened that a button is for; return why not, if it cannot be."""
    now, asked = await _loaded(gateway, binding)
    refusal = _refusal(gateway, person, asked, now)
    if refusal is not None and refusal.code in _NOT_TO_BE_SHOWN:
        return refusal.detail
    if action_id in (slack_blocks.EVIDENCE, slack_blocks.REVIEW):
        view = slack_views.request(
            asked,
            binding.channel,
            zone=person.reviewer.zone,
            names=_names(gateway),
            refusal=refusal.detail if refusal else None,
        )
    else:
        refusal = refusal or _refusal(gateway, person, asked, now, binding)
        if refusal is not None:
            return refusal.detail
        if action_id == slack_blocks.MODIFY:
            view = slack_views.modification(asked, binding.channel)
        elif action_id == slack_blocks.REJECT:
            view = slack_views.rejection(asked, binding.channel)
        else:
            return NOT_OURS
    gateway.background.start(_open(person.sender(binding.channel), trigger_id, view))
    return None


async def _open(sender: SlackChannel, trigger_id: str, view: dict[str, Any]) -> None:
    try:
        async with asyncio.timeout(TRIGGER_SECONDS):
            await sender.open_view(trigger_id, view)
    except (DeliveryError, TimeoutError) as error:
        log.warning("a modal could not be opened in Slack", channel=sender.name, error=str(error))


async def submitted(gateway: Parts, person: Person, payload: dict[str, Any]) -> Response:
    """Take a form; the answer to Slack closes it, shows errors at its fields, or says why not."""
    view = payload.get("view")
    form = text_at(view, "callback_id")
    try:
        binding = Binding.parse(text_at(view, "private_metadata"))
        typed = _typed(view)
        if form == Form.MODIFY:
            return await _modify(gateway, person, binding, typed)
        kind = ResponseKind.REJECT if form == Form.REJECT else ResponseKind(typed.get(CHOICE, ""))
        submission = _submission(binding, kind, typed)
        return _taken(await _respond(gateway, person, binding, submission))
    except (Refusal, Problem, ValueError, RecursionError) as error:
        return slack_views.answer(slack_views.notice(_said(error)))
    except _UNAVAILABLE as error:
        log.error("the store did not take a form", error=str(error))
        return slack_views.answer(slack_views.notice(STORE_IS_AWAY))


def _taken(after: Approval) -> Response:
    """Return the answer that closes a form; or that says what is still missing."""
    if after.outcome is not None:
        return Response()
    return slack_views.answer(slack_views.notice(slack_views.recorded(after), "Recorded"))


async def _modify(
    gateway: Parts, person: Person, binding: Binding, typed: dict[str, str]
) -> Response:
    """Approve with the changes that were typed, unless a field cannot be read."""
    now, asked = await _loaded(gateway, binding)
    refusal = _refusal(gateway, person, asked, now, binding)
    if refusal is not None and (asked.outcome is None or refusal.code in _NOT_TO_BE_SHOWN):
        raise refusal
    changes: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    places = {name: slack_views.block_id(at) for at, name in enumerate(asked.editable_fields())}
    for name, place in places.items():
        before, text = asked.shown_context[name], typed.get(place, "")
        # Slack may drop the spaces around what it shows, which nobody has typed.
        if not text.strip() or text.strip() == text_of(before).strip():
            continue
        try:
            changes[name] = value_of(name, field_type(before), text)
        except ValueError:
            wrong[place] = f"This is no {field_type(before)}."
    if wrong:
        return slack_views.errors(wrong)
    changed = [places[name] for name in changes]
    somewhere = next((place for place in (*changed, *typed) if place in typed), COMMENTS)
    try:
        submission = _submission(binding, ResponseKind.MODIFY, typed, changes)
        return _taken(await _respond(gateway, person, binding, submission))
    except ValidationError as error:
        # Too deep, too large, or a number that JSON does not carry exactly.
        return slack_views.errors({somewhere: error.errors()[0]["msg"]})
    except Refusal as error:
        if error.code not in _OF_THE_FIELDS:
            raise
        named = places.get(str(error.extra.get("field")))
        return slack_views.errors({named or somewhere: error.detail})


def _typed(view: Any) -> dict[str, str]:
    """Return what stands in each input of a submitted view, by the id of its block."""
    state = view.get("state") if isinstance(view, dict) else None
    values = state.get("values") if isinstance(state, dict) else None
    typed = {}
    for block_id, inputs in values.items() if isinstance(values, dict) else ():
        given = inputs.get(slack_views.TEXT) if isinstance(inputs, dict) else None
        text = text_at(given, "value") or text_at(given, "selected_option", "value")
        typed[block_id] = text.replace("\r\n", "\n")
    return typed


def _submission(
    binding: Binding,
    kind: ResponseKind,
    typed: dict[str, str] | None = None,
    changes: dict[str, Any] | None = None,
) -> ResponseSubmission:
    return ResponseSubmission(
        response=kind,
        version=binding.version,
        digest=binding.digest,
        comments=(typed or {}).get(COMMENTS, "").strip(),
        modifications=changes,
    )


async def _respond(
    gateway: Parts, person: Person, binding: Binding, submission: ResponseSubmission
) -> Approval:
    now = await gateway.store.now()
    return await judged(
        gateway.store,
        binding.approval_id,
        submission,
        person.reviewer,
        "slack",
        wards=gateway.directory.mandates(person.reviewer, now),
    )


async def _loaded(gateway: Parts, binding: Binding) -> tuple[datetime, Approval]:
    now, (asked,) = await gateway.store.load([binding.approval_id])
    if not isinstance(asked, Approval):
        raise Problem(404, "not_found", NOT_OURS)
    return now, asked


def _refusal(
    gateway: Parts,
    person: Person,
    asked: Approval,
    now: datetime,
    binding: Binding | None = None,
) -> Refusal | None:
    """Return why this person could not reject it now, by the rules that would judge it.

    Args:
        binding: what they were shown; unless given, it is as it stands.
    """
    shown = binding or Binding(asked.id, asked.version, asked.digest)
    submission = _submission(shown, ResponseKind.REJECT)
    wards = gateway.directory.mandates(person.reviewer, now)
    try:
        judgement(asked, submission, person.reviewer, "slack", now, wards=wards)
    except Refusal as refusal:
        return refusal
    if asked.outcome is not None:
        # They have rejected it themselves.
        return Refusal("already_decided", "You have rejected this already.")
    return None


def _said(error: Exception) -> str:
    """Return what is told of an error: a refusal's own words, and no more of others."""
    if isinstance(error, Refusal) or (isinstance(error, Problem) and error.status != 404):
        return error.detail
    return NOT_OURS


def _names(gateway: Parts) -> dict[str, str]:
    return {reviewer.id: reviewer.name for reviewer in gateway.directory.reviewers}


def _tell(
    gateway: Parts, person: Person, payload: dict[str, Any], channel: str, words: str
) -> None:
    gateway.background.start(told(person.sender(channel), payload, person.user_id, words))


async def told(sender: SlackChannel, payload: dict[str, Any], user_id: str, words: str) -> None:
    """Say something to one user alone, where they clicked."""
    place = text_at(payload, "channel", "id") or text_at(payload, "container", "channel_id")
    if not place or not user_id:
        return
    try:
        await sender.tell(place, user_id, words)
    except DeliveryError as error:
        log.warning("somebody in Slack could not be told", channel=sender.name, error=str(error))
