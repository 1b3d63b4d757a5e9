"""The modals that Slack opens: a request in full, its fields to edit, a rejection. Pure functions.

Whatever stands in a view that can be submitted comes back with it, so all of it stays small enough
for a request's body.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Any
from urllib.parse import quote_plus
from zoneinfo import ZoneInfo

from fastapi import Response
from fastapi.responses import JSONResponse
from slack_sdk.models.blocks import (
    Block,
    DividerBlock,
    HeaderBlock,
    InputBlock,
    InputInteractiveElement,
    Option,
    PlainTextInputElement,
    RadioButtonsElement,
    StaticSelectElement,
)
from slack_sdk.models.views import View

from safeguards.contracts import Outcome
from safeguards.notifications import rendering, slack_blocks
from safeguards.notifications.rendering import argument_label
from safeguards.notifications.slack_blocks import Binding
from safeguards.text import visible
from safeguards.types import ActionStatus
from safeguards_runtime.records import Approval
from services.gateway.typed_text import Field, editable_fields, text_of

TEXT = "text"
"""The action id of every input."""

COMMENTS = "comments"
CHOICE = "choice"

_FIELD = "field:"
_TITLE_LIMIT = 24
_INPUT_LIMIT = 3_000
_BLOCKS_LIMIT = 100
_SHORT = 300
_HINT_LIMIT = 2_000
_OPTIONS_LIMIT = 100
_OPTION_LIMIT = 75
_LABEL_LIMIT = 2_000

_VIEW_LIMIT = 120_000
"""Characters of a view as it comes back: JSON, form-encoded."""

_VALUE_LIMIT = 125_000
"""Characters of one text. What is longer than that fills the whole view, and more."""

_ENDED = {
    ActionStatus.APPROVED: "Approved",
    ActionStatus.MODIFIED: "Approved with changes",
    ActionStatus.REJECTED: "Rejected",
    ActionStatus.TIMED_OUT: "Timed out",
    ActionStatus.CANCELLED: "Withdrawn",
}


class Form(StrEnum):
    """What a view is for; its `callback_id`."""

    MODIFY = "modify"
    REJECT = "reject"
    REVIEW = "review"


def answer(view: dict[str, Any]) -> Response:
    """Return the answer to a submitted view that puts another in its place."""
    return JSONResponse({"response_action": "update", "view": view})


def errors(words: dict[str, str]) -> Response:
    """Return the answer to a submitted view that says what is wrong, by the ids of its inputs."""
    shown = {place: visible(said, single_line=True, limit=_SHORT) for place, said in words.items()}
    return JSONResponse({"response_action": "errors", "errors": shown})


def text_at(payload: Any, *path: str) -> str:
    """Return the text at a path of names in what Slack sent; empty if there is none."""
    for name in path:
        payload = payload.get(name) if isinstance(payload, dict) else None
    return payload if isinstance(payload, str) else ""


def block_id(position: int) -> str:
    """Return the id of the input for one of `editable_fields`, by its position."""
    return f"{_FIELD}{position}"


def notice(words: str, title: str = "Not possible") -> dict[str, Any]:
    """Return a view that only says something."""
    return _view(title, [slack_blocks.section(visible(words, limit=slack_blocks.TEXT_LIMIT))])


def request(
    asked: Approval,
    channel: str,
    *,
    zone: ZoneInfo,
    names: dict[str, str],
    refusal: str | None = None,
) -> dict[str, Any]:
    """Return a request as it now stands, with what is needed to answer it.

    Args:
        asked: the request.
        channel: the name of the channel by which it is shown.
        zone: in which times are given.
        names: of reviewers, by id.
        refusal: why whoever reads it cannot answer; None if they can.
    """
    can_answer = refusal is None and asked.outcome is None
    tail = _answering() if can_answer else []
    if refusal is not None and asked.outcome is None:
        tail = [slack_blocks.section(visible(refusal, limit=1_000))]
    shown, is_whole = _fitting(_content(asked, zone, names), len(tail) + 1)
    # Long values stand in parts; their names and the reasons must stand there as they are.
    named = [visible(label, single_line=True) for label, _ in _rows(asked)]
    named += [f"• {visible(reason, single_line=True)}" for reason in asked.reasons]
    if is_whole and slack_blocks.holds(shown, named):
        binding = _bound(asked, channel)
        return _view("Request", shown + tail, Form.REVIEW if can_answer else None, binding)
    # Nobody is to approve by this form what it does not show.
    cut = "This is too long for Slack to show in full: the message's link or the API has all."
    return _view("Request", [*shown, slack_blocks.section(cut)])


def rejection(asked: Approval, channel: str) -> dict[str, Any]:
    """Return the form to reject by, with a comment."""
    blocks = [*_summary(asked), _comments("Why (the agent reads it)")]
    return _view("Reject", blocks, Form.REJECT, _bound(asked, channel), submit="Reject")


def modification(asked: Approval, channel: str) -> dict[str, Any]:
    """Return the form to edit arguments by, each field as the type that it has.

    Fields that Slack cannot show as they are, and give back so, are named and not offered.
    """
    offered = {field.name: field for field in editable_fields(asked) if _fits_input(field)}
    summary = _summary(asked)
    blocks: list[Block] = []
    room = _VIEW_LIMIT // 2 - _length(summary)
    missing: list[str] = []
    for position, name in enumerate(asked.editable_fields()):
        field = offered.get(name)
        block = _input(position, field) if field else None
        # Its text comes back twice: as the view has it, and as it was typed.
        if block is None or len(blocks) == _BLOCKS_LIMIT - 10 or _length([block]) > room:
            missing.append(name)
            continue
        room -= _length([block])
        blocks.append(block)
    if missing:
        named = visible(", ".join(missing), single_line=True, limit=1_000)
        summary.append(slack_blocks.context(f"Not to be edited in Slack: {named}"))
    if not blocks:
        return _view("Modify", summary)
    blocks = [*summary, *blocks, _comments("Comment")]
    is_last = asked.terms.quorum == 1 and not asked.terms.four_eyes
    submit = "Approve changes" if is_last else "Propose changes"
    return _view("Modify", blocks, Form.MODIFY, _bound(asked, channel), submit=submit)


def _fits_input(field: Field) -> bool:
    return (
        slack_blocks.measured(field.text) <= _INPUT_LIMIT
        and slack_blocks.measured(field.name) <= _LABEL_LIMIT - 20
    )


def _fits_option(text: str) -> bool:
    is_short = 0 < slack_blocks.measured(text) <= _OPTION_LIMIT
    return is_short and visible(text, single_line=True) == text


def _view(
    title: str,
    blocks: list[Block],
    form: Form | None = None,
    binding: Binding | None = None,
    submit: str = "Answer",
) -> dict[str, Any]:
    view = View(
        type="modal",
        callback_id=form.value if form else "notice",
        title=slack_blocks.plain(title, _TITLE_LIMIT),
        close=slack_blocks.plain("Cancel" if form else "Close", _TITLE_LIMIT),
        submit=slack_blocks.plain(submit, _TITLE_LIMIT) if form else None,
        private_metadata=binding.to_text() if form and binding else None,
        blocks=blocks,
    )
    made: dict[str, Any] = view.to_dict()
    return made


def _bound(asked: Approval, channel: str) -> Binding:
    return Binding(asked.id, asked.version, asked.digest, channel)


def _fitting(content: Iterator[Block], reserved: int) -> tuple[list[Block], bool]:
    """Return as many blocks as fit into a view, and whether that is all of them."""
    blocks: list[Block] = []
    room = _VIEW_LIMIT
    for block in content:
        room -= _length([block])
        if room < 0 or len(blocks) + reserved == _BLOCKS_LIMIT:
            return blocks, False
        blocks.append(block)
    return blocks, True


def _length(blocks: list[Block]) -> int:
    return len(quote_plus(json.dumps([block.to_dict() for block in blocks])))


def _summary(asked: Approval) -> list[Block]:
    """Return what a form is about; the message and Evidence have all of it."""
    rows = [("Agent", asked.agent_id), ("Action", asked.action_type)]
    shown = [(label, visible(value, single_line=True)) for label, value in rows]
    title = visible(asked.title, single_line=True, limit=500)
    return [slack_blocks.section(title), *slack_blocks.facts(shown, _SHORT)]


def _content(asked: Approval, zone: ZoneInfo, names: dict[str, str]) -> Iterator[Block]:
    title = visible(asked.title, single_line=True)
    yield HeaderBlock(text=slack_blocks.plain(title, slack_blocks.HEADER_LIMIT))
    if slack_blocks.measured(title) > slack_blocks.HEADER_LIMIT:
        yield from _quoted("The whole title", title)
    if asked.outcome is not None:
        yield from _ending(asked, asked.outcome, zone, names)
    else:
        yield from _among_several(asked, names)
    yield from _arguments(asked)
    if asked.reasons:
        yield slack_blocks.context(f"{rendering.REASONS_TITLE}:")
        for reason in asked.reasons:
            yield slack_blocks.section(f"• {visible(reason, single_line=True)}")
    if asked.policies:
        version = f"; policies {asked.policies_version}" if asked.policies_version else ""
        named = visible(", ".join(asked.policies), single_line=True, limit=_SHORT)
        yield slack_blocks.context(f"Policy {named}{version}")
    if asked.description:
        yield from _quoted("In the agent's own words", asked.description)
    for question in asked.questions:
        asker = visible(names.get(question.asked_by, question.asked_by), single_line=True)
        yield from _quoted(f"{asker} asked", question.question)
        if question.answer is None:
            yield slack_blocks.context("No answer yet.")
        else:
            yield from _quoted("The agent answered", question.answer)
    if asked.outcome is None:
        silence = "approved" if asked.silence_approves else "rejected"
        deadline = _moment(asked.expires_at, zone)
        yield slack_blocks.context(f"If nobody answers by {deadline}, it is {silence}.")


def _ending(
    asked: Approval, outcome: Outcome, zone: ZoneInfo, names: dict[str, str]
) -> Iterator[Block]:
    how = "because nobody answered in time"
    if outcome.status is not ActionStatus.TIMED_OUT:
        how = f"by {decider(outcome, names)}"
    when = _moment(outcome.decided_at, zone)
    yield slack_blocks.section(f"{_ENDED[outcome.status]} {how}, {when}.")
    if outcome.comments:
        yield from _quoted("Comment", outcome.comments)
    for name, value in (outcome.modifications or {}).items():
        label = visible(name, single_line=True)
        yield from _quoted(f"{label}, as it was asked for", text_of(asked.context.get(name)))
        yield from _quoted(f"{label}, as it was approved", text_of(value))
    yield DividerBlock()


def _among_several(asked: Approval, names: dict[str, str]) -> Iterator[Block]:
    """Yield who has approved so far, and what a reviewer has changed, where others must approve."""

    def named(reviewer_id: str) -> str:
        return visible(names.get(reviewer_id, reviewer_id), single_line=True)

    if asked.terms.quorum > 1:
        so_far = ", ".join(named(vote.reviewer_id) for vote in asked.votes) or "nobody"
        yield slack_blocks.section(f"{asked.terms.quorum} people must approve; so far {so_far}.")
    if asked.modified_by:
        yield slack_blocks.section(f"Changed by {named(asked.modified_by)}:")
    for name, value in (asked.modifications or {}).items():
        label = visible(name, single_line=True)
        yield from _quoted(f"{label}, as it was asked for", text_of(asked.context.get(name)))
        yield from _quoted(f"{label}, as it is to be approved", text_of(value))


def recorded(asked: Approval) -> str:
    """Return what is told to whoever approved or changed what others must approve as well."""
    more = f"{asked.needed} more approval{' is' if asked.needed == 1 else 's are'} needed"
    return f"Recorded; {more}."


def decider(outcome: Outcome, names: dict[str, str]) -> str:
    """Return who decided: "B for A" where somebody stood in."""
    people = (outcome.decided_by, outcome.decided_for)
    return " for ".join(visible(names.get(p, p), single_line=True) for p in people if p)


def _arguments(asked: Approval) -> Iterator[Block]:
    """Yield the exact arguments, in their order: short ones side by side, long ones in full."""
    rows = [("Severity", asked.severity.value), ("Agent", asked.agent_id)]
    rows.append(("Action", asked.action_type))
    short: list[tuple[str, str]] = []
    for name, text in [*rows, *_rows(asked)]:
        label, value = visible(name, single_line=True), visible(text, limit=_SHORT + 1)
        if slack_blocks.measured(slack_blocks.labelled(label, value)) <= _SHORT:
            short.append((label, value))
            continue
        yield from slack_blocks.facts(short, _SHORT)
        short = []
        yield from _quoted(label, text)
    yield from slack_blocks.facts(short, _SHORT)


def _rows(asked: Approval) -> list[tuple[str, str]]:
    """Return the arguments, without what the line of the action says already."""
    return [
        (argument_label(name), text_of(value))
        for name, value in asked.shown_context.items()
        if (name, value) != ("action_type", asked.action_type)
    ]


def _quoted(label: str, text: str) -> Iterator[Block]:
    """Yield all of a text that may be hostile, each of its lines marked, under a label of ours."""
    yield slack_blocks.context(f"{label}:")
    rest = visible(text, limit=_VALUE_LIMIT)
    while rest:
        # Each line gets a mark of two characters.
        has_short_lines = rest.count("\n", 0, 2_400) > 250
        part = slack_blocks.head(rest, 950 if has_short_lines else 2_400)
        yield slack_blocks.section(rendering.quoted(part, "│ "))
        rest = rest[len(part) :]


def _answering() -> list[Block]:
    options = [
        Option(value=kind, text=slack_blocks.plain(kind.capitalize(), 75)) for kind in _KINDS
    ]
    choice = RadioButtonsElement(action_id=TEXT, options=options)
    label = slack_blocks.plain("Your answer", _SHORT)
    asking = InputBlock(block_id=CHOICE, label=label, element=choice, optional=False)
    return [DividerBlock(), asking, _comments("Comment (the agent reads it)")]


_KINDS = ("approve", "reject")


def _comments(label: str) -> Block:
    element = PlainTextInputElement(action_id=TEXT, multiline=True, max_length=_INPUT_LIMIT)
    shown = slack_blocks.plain(label, _SHORT)
    return InputBlock(block_id=COMMENTS, label=shown, element=element, optional=True)


def _input(position: int, field: Field) -> Block:
    label = slack_blocks.plain(f"{field.name} ({field.kind})", _LABEL_LIMIT)
    words = ["As it is, or left empty, it is not changed."]
    if field.limit:
        limit = visible(field.limit, single_line=True, limit=_SHORT - len(words[0]) - 2)
        words.insert(0, f"{limit[0].upper()}{limit[1:]}.")
    hint = slack_blocks.plain(" ".join(words), _HINT_LIMIT)
    return InputBlock(
        block_id=block_id(position), label=label, hint=hint, element=_element(field), optional=True
    )


def _element(field: Field) -> InputInteractiveElement:
    choices = field.choices
    if 0 < len(choices) <= _OPTIONS_LIMIT and all(map(_fits_option, choices)):
        options = {
            value: Option(value=value, text=slack_blocks.plain(value, _OPTION_LIMIT))
            for value in choices
        }
        return StaticSelectElement(
            action_id=TEXT, options=[*options.values()], initial_option=options[field.text]
        )
    is_long = "\n" in field.text or len(field.text) > 80
    return PlainTextInputElement(
        action_id=TEXT,
        multiline=is_long or field.kind in ("array", "object", "null"),
        max_length=_INPUT_LIMIT,
        initial_value=field.text or None,
    )


def _moment(moment: datetime, zone: ZoneInfo) -> str:
    return moment.astimezone(zone).strftime("%-d %b %Y %H:%M:%S %Z")
