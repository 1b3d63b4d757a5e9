"""Slack's documented limits of Block Kit, one by one (docs.slack.dev/reference/block-kit)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from slack_sdk.errors import SlackObjectFormationError
from slack_sdk.models.blocks import Block
from slack_sdk.models.views import View

MESSAGE_BLOCKS = 50
MODAL_BLOCKS = 100
MESSAGE_CHARACTERS = 12_000
"""Of all blocks together. Not documented: above about 13,200 it is `msg_blocks_too_long`."""

VIEW_BYTES = 250_000

_BLOCK_TYPES = {
    "message": {"header", "section", "context", "actions", "divider"},
    "modal": {"header", "section", "context", "actions", "divider", "input"},
}
_ELEMENTS = {"button", "static_select", "plain_text_input", "radio_buttons"}


def length(text: str) -> int:
    """Return how long Slack takes a text to be: with entities, in UTF-16 units."""
    kept = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return len(kept.encode("utf-16-le", "surrogatepass")) // 2


def problems(blocks: Any, surface: str = "message") -> list[str]:
    """Return everything that Slack would refuse in blocks."""
    if not isinstance(blocks, list):
        return ["blocks: an array is needed"]
    most = MESSAGE_BLOCKS if surface == "message" else MODAL_BLOCKS
    found = [] if 1 <= len(blocks) <= most else [f"blocks: {len(blocks)} are not 1 to {most}"]
    for at, block in enumerate(blocks):
        if not isinstance(block, dict) or block.get("type") not in _BLOCK_TYPES[surface]:
            found.append(f"blocks[{at}]: unsupported type")
            continue
        found += [f"blocks[{at}].{said}" for said in _block(block)]
    ids = [block.get("block_id") for block in blocks if isinstance(block, dict)]
    named = [one for one in ids if one is not None]
    if len(set(named)) != len(named):
        found.append("blocks: a block_id is repeated")
    try:
        parsed = Block.parse_all(blocks)
        for one in parsed:
            one.validate_json()
        if len(parsed) != len(blocks):
            found.append("blocks: the models know fewer of them")
    except (SlackObjectFormationError, TypeError, KeyError) as error:
        found.append(f"blocks: {error}")
    return found


def view_problems(view: Any) -> list[str]:
    """Return everything that Slack would refuse in a modal."""
    if not isinstance(view, dict) or view.get("type") != "modal":
        return ["view: type modal is needed"]
    found = problems(view.get("blocks"), "modal")
    found += [f"view.title: {said}" for said in _text(view.get("title"), 24, plain=True)]
    for name in ("submit", "close"):
        if name in view:
            found += [f"view.{name}: {said}" for said in _text(view[name], 24, plain=True)]
    has_inputs = any(block.get("type") == "input" for block in view.get("blocks", ()))
    if has_inputs and "submit" not in view:
        found.append("view: a view with inputs needs `submit`")
    if len(view.get("private_metadata", "")) > 3000:
        found.append("view.private_metadata: longer than 3000")
    if len(view.get("callback_id", "")) > 255:
        found.append("view.callback_id: longer than 255")
    if len(json.dumps(view)) > VIEW_BYTES:
        found.append("view_too_large")
    known = {"type", "title", "submit", "close", "blocks", "private_metadata", "callback_id"}
    known |= {"clear_on_close", "notify_on_close", "external_id"}
    found += [f"view.{name}: unknown" for name in set(view) - known]
    try:
        View(**view).validate_json()
    except (SlackObjectFormationError, TypeError) as error:
        found.append(f"view: {error}")
    return found


def elements(blocks: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield each interactive element of blocks, with its block."""
    for block in blocks:
        held = [*block.get("elements", ()), block.get("accessory"), block.get("element")]
        for element in held:
            if element and element.get("type") in _ELEMENTS:
                yield block, element


def texts(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every text object."""
    if isinstance(value, dict):
        if value.get("type") in ("plain_text", "mrkdwn"):
            yield value
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


def words(value: Any) -> str:
    """Return all that blocks, a message or a view show, in order."""
    return "\n".join(text["text"] for text in texts(value))


def _block(block: dict[str, Any]) -> Iterator[str]:
    block_id = block.get("block_id")
    if block_id is not None and not (isinstance(block_id, str) and 1 <= len(block_id) <= 255):
        yield "block_id: 1 to 255 characters"
    match block["type"]:
        case "header":
            yield from _text(block.get("text"), 150, plain=True)
        case "section":
            yield from _section(block)
        case "context":
            held = block.get("elements")
            if not isinstance(held, list) or not 1 <= len(held) <= 10:
                yield "elements: 1 to 10"
            for one in held or ():
                yield from _text(one, 3000)
        case "actions":
            held = block.get("elements")
            if not isinstance(held, list) or not 1 <= len(held) <= 25:
                yield "elements: 1 to 25"
            ids = [one.get("action_id") for one in held or ()]
            if len(set(ids)) != len(ids):
                yield "elements: an action_id is repeated"
            for one in held or ():
                yield from _element(one)
        case "input":
            yield from _text(block.get("label"), 2000, plain=True)
            if "hint" in block:
                yield from _text(block["hint"], 2000, plain=True)
            if block.get("element", {}).get("type") == "button":
                yield "element: no button"
            yield from _element(block.get("element"))


def _section(block: dict[str, Any]) -> Iterator[str]:
    if "text" not in block and "fields" not in block:
        yield "text or fields is needed"
    if "text" in block:
        yield from _text(block["text"], 3000)
    if "fields" in block:
        if not 1 <= len(block["fields"]) <= 10:
            yield "fields: 1 to 10"
        for one in block["fields"]:
            yield from _text(one, 2000)
    if "accessory" in block:
        yield from _element(block["accessory"])


def _text(text: Any, most: int, *, plain: bool = False) -> Iterator[str]:
    if not isinstance(text, dict) or not isinstance(text.get("text"), str):
        yield "a text object is needed"
        return
    if text.get("type") not in (("plain_text",) if plain else ("plain_text", "mrkdwn")):
        yield f"text: type {text.get('type')!r}"
    if not 1 <= length(text["text"]) <= most or not text["text"].strip():
        yield f"text: {length(text['text'])} characters are not 1 to {most}, or all are blank"
    allowed = {"type", "text", "emoji"} if text["type"] == "plain_text" else {"type", "text"}
    if set(text) - allowed - {"verbatim"}:
        yield "text: unknown members"


def _element(element: Any) -> Iterator[str]:
    if not isinstance(element, dict) or element.get("type") not in _ELEMENTS:
        yield "unsupported element"
        return
    action_id = element.get("action_id")
    if not isinstance(action_id, str) or not 1 <= len(action_id) <= 255:
        yield "action_id: 1 to 255 characters"
    match element["type"]:
        case "button":
            yield from _text(element.get("text"), 75, plain=True)
            if len(element.get("value", "")) > 2000:
                yield "value: longer than 2000"
            if len(element.get("url", "")) > 3000:
                yield "url: longer than 3000"
            if element.get("style", "primary") not in ("primary", "danger"):
                yield "style: primary or danger"
        case "plain_text_input":
            if length(element.get("initial_value", "")) > 3000:
                yield "initial_value: longer than 3000"
            if not 1 <= element.get("max_length", 3000) <= 3000:
                yield "max_length: 1 to 3000"
        case _:
            options = element.get("options", ())
            if not 1 <= len(options) <= (100 if element["type"] == "static_select" else 10):
                yield "options: too many or none"
            for option in options:
                yield from _text(option.get("text"), 75)
                if not 1 <= len(option.get("value", "")) <= 150:
                    yield "option: value of 1 to 150 characters"
            if "initial_option" in element and element["initial_option"] not in options:
                yield "initial_option: is none of the options"
