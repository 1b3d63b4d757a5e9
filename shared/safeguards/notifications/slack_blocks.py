"""A message as Slack's Block Kit, within its limits: shortened, never refused. Pure functions.

Text that may be an agent's is `plain_text`, in which Slack makes no mentions, links or formatting.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from safeguards.notifications import rendering
from safeguards.notifications.message import Answerable, Link, Message
from safeguards.text import visible

if TYPE_CHECKING:
    from slack_sdk.models.blocks import Block, ButtonElement, PlainTextObject

# Limits of Block Kit (https://docs.slack.dev/reference/block-kit/blocks), in characters and items.
HEADER_LIMIT = 150
TEXT_LIMIT = 3_000
FIELD_LIMIT = 2_000
FIELDS_PER_SECTION = 10
_BUTTON_LIMIT = 75
_URL_LIMIT = 3_000
_VALUE_LIMIT = 2_000

MESSAGE_LIMIT = 11_500
"""How long the blocks of one message may be, as JSON. Slack refuses about 13,200 characters
(`msg_blocks_too_long`), which it does not document."""

APPROVE = "approve"
MODIFY = "modify"
REJECT = "reject"
EVIDENCE = "evidence"
REVIEW = "review"
OPEN_LINK = "open_link"


@dataclass(frozen=True)
class Binding:
    """What a button or a form is bound to: what its reader was shown, and by which channel.

    Attributes:
        approval_id: the question.
        version: of what was shown.
        digest: SHA-256 of what was shown.
        channel: the name of the channel, or empty.
    """

    approval_id: str
    version: int
    digest: str
    channel: str = ""

    @classmethod
    def of(cls, answerable: Answerable, channel: str) -> Binding:
        """Return what a message that can be answered binds its buttons to."""
        return cls(answerable.approval_id, answerable.version, answerable.digest, channel)

    def to_text(self) -> str:
        """Return it as the value of a button, within Slack's limit."""
        members: dict[str, Any] = {"a": self.approval_id, "v": self.version, "d": self.digest}
        named = _compact({**members, "c": self.channel})
        return named if len(named) <= _VALUE_LIMIT else _compact(members)

    @classmethod
    def parse(cls, text: str) -> Binding:
        """Read what `to_text` wrote.

        Raises:
            ValueError: it is nothing of the kind.
        """
        members = json.loads(text)
        if not isinstance(members, dict):
            raise ValueError("no binding")
        approval_id, version, digest = (members.get(name) for name in "avd")
        channel = members.get("c", "")
        strings = all(isinstance(value, str) for value in (approval_id, digest, channel))
        if not strings or type(version) is not int:
            raise ValueError("no binding")
        return cls(str(approval_id), version, str(digest), channel)


@dataclass(frozen=True)
class _Scale:
    """How much of a message is shown."""

    value: int
    facts: int
    entries: int


_SCALES = (
    _Scale(1_000, 40, 36),
    _Scale(500, 40, 36),
    _Scale(250, 40, 30),
    _Scale(120, 30, 20),
    _Scale(60, 15, 10),
)


def blocks_of(message: Message, *, interactive: bool = False, channel: str = "") -> list[Block]:
    """Return the blocks that show `message`.

    Args:
        message: what to say.
        interactive: whether buttons can be answered, by a bot's own app.
        channel: the name of the channel, which the buttons carry.
    """
    for scale in _SCALES:
        blocks = list(_blocks(message, scale, interactive, channel))
        if _size(blocks) <= MESSAGE_LIMIT:
            break
    return blocks


def _blocks(message: Message, scale: _Scale, interactive: bool, channel: str) -> Iterator[Block]:
    from slack_sdk.models.blocks import ActionsBlock

    shown = list(_shown(message, scale, interactive, channel))
    yield from shown
    answerable = message.answerable if interactive else None
    if scale != _SCALES[0]:
        name = "Review" if answerable and answerable.is_decided_here else "Evidence"
        more = f" {name} shows all of it." if answerable else ""
        yield context(f"Shortened to fit into Slack.{more}")
    is_whole = _is_whole(message, shown)
    buttons = _buttons(answerable, channel, is_whole=is_whole) if answerable else []
    if message.link:
        buttons += _link(message.link, None if buttons else "primary")
    if buttons:
        yield ActionsBlock(elements=[*buttons])
    if message.footer:
        yield context(visible(message.footer, single_line=True, limit=FIELD_LIMIT), scale.value)


def _shown(message: Message, scale: _Scale, interactive: bool, channel: str) -> Iterator[Block]:
    from slack_sdk.models.blocks import HeaderBlock

    subject = rendering.subject(message, TEXT_LIMIT)
    yield HeaderBlock(text=plain(subject, HEADER_LIMIT))
    if measured(subject) > HEADER_LIMIT:
        yield section(subject, scale.value * 2)
    yield context(f"Severity: {message.severity.value}")
    yield from facts(_facts(message, scale), scale.value + rendering.LABEL_LIMIT)
    if message.reasons:
        listed = "\n".join(f"• {reason}" for reason in rendering.reasons(message, scale.value))
        yield section(f"{rendering.REASONS_TITLE}:\n{listed}", scale.value * 3)
    if message.agent_words:
        yield context(f"{rendering.words_title(message)}:")
        words = rendering.quoted(visible(message.agent_words, limit=TEXT_LIMIT), "│ ")
        yield section(words, scale.value * 3)
    yield from _entries(message, scale, interactive, channel)


def _facts(message: Message, scale: _Scale) -> list[tuple[str, str]]:
    shown = rendering.facts(message, scale.value)
    if len(shown) <= scale.facts:
        return shown
    return [*shown[: scale.facts], ("…", f"and {len(message.facts) - scale.facts} more")]


def _entries(message: Message, scale: _Scale, interactive: bool, channel: str) -> Iterator[Block]:
    """Yield what a digest stands for, each with one button."""
    from slack_sdk.models.blocks import SectionBlock

    for entry in message.entries[: scale.entries]:
        listed = "; ".join(f"{label}: {value}" for label, value in rendering.facts(entry, 80)[:4])
        line = visible(listed, single_line=True)
        text = f"{entry.severity.value}: {rendering.subject(entry)}\n{line}"
        button: list[ButtonElement] = []
        if entry.answerable and interactive:
            value = Binding.of(entry.answerable, channel).to_text()
            is_here = entry.answerable.is_decided_here
            shown = ("Review…", REVIEW) if is_here else ("Evidence", EVIDENCE)
            button = [_button(*shown, value)]
        elif entry.link:
            button = _link(entry.link)
        limit = min(scale.value, 300)
        yield SectionBlock(text=plain(text, limit), accessory=button[0] if button else None)
    left_out = message.left_out + max(0, len(message.entries) - scale.entries)
    if message.entries and left_out:
        more = "; each comes up here when one above is decided" if interactive else ""
        yield context(f"… and {left_out} more{more}")


def _is_whole(message: Message, shown: Sequence[Block]) -> bool:
    """Tell whether all of what would run, and all that is said of it, stands in the blocks as it
    is: only then it can be approved on the spot."""
    said = [message.subject, message.agent_words, *message.reasons]
    said += [text for fact in message.facts for text in fact]
    # No text becomes shorter by being made visible.
    fits = sum(map(len, said)) <= MESSAGE_LIMIT
    if message.answerable is None or not message.answerable.is_whole or not fits:
        return False
    wanted = [labelled(visible(label, single_line=True), visible(v)) for label, v in message.facts]
    wanted += [f"• {visible(reason, single_line=True)}" for reason in message.reasons]
    wanted += [visible(message.subject, single_line=True)]
    if message.agent_words:
        wanted.append(rendering.quoted(visible(message.agent_words), "│ "))
    return holds(shown, wanted)


def holds(blocks: Sequence[Block], wanted: Iterable[str]) -> bool:
    """Tell whether every one of the texts stands in the blocks, unshortened."""
    texts = "\n".join(_texts([block.to_dict() for block in blocks]))
    return all(text in texts for text in wanted)


def _texts(part: Any) -> Iterator[str]:
    if isinstance(part, list):
        for item in part:
            yield from _texts(item)
    elif isinstance(part, dict):
        for name, value in part.items():
            if name == "text" and isinstance(value, str):
                yield value
            else:
                yield from _texts(value)


def _buttons(answerable: Answerable, channel: str, *, is_whole: bool) -> list[ButtonElement]:
    value = Binding.of(answerable, channel).to_text()
    if not answerable.is_decided_here:
        return [_button("Evidence", EVIDENCE, value)]
    if not is_whole:
        return [
            _button("Review…", REVIEW, value, "primary"),
            _button("Reject…", REJECT, value, "danger"),
        ]
    buttons = [_button("Approve", APPROVE, value, "primary")]
    if answerable.editable:
        buttons.append(_button("Modify…", MODIFY, value))
    buttons.append(_button("Reject…", REJECT, value, "danger"))
    buttons.append(_button("Evidence", EVIDENCE, value))
    return buttons


def _button(label: str, action_id: str, value: str, style: str | None = None) -> ButtonElement:
    from slack_sdk.models.blocks import ButtonElement

    text = plain(label, _BUTTON_LIMIT)
    return ButtonElement(text=text, action_id=action_id, value=value, style=style)


def _link(link: Link, style: str | None = None) -> list[ButtonElement]:
    from slack_sdk.models.blocks import ButtonElement

    if len(link.url) > _URL_LIMIT:
        return []
    label = plain(visible(link.label, single_line=True, limit=_BUTTON_LIMIT), _BUTTON_LIMIT)
    return [ButtonElement(text=label, url=link.url, action_id=OPEN_LINK, style=style)]


def facts(rows: Sequence[tuple[str, str]], limit: int) -> Iterator[Block]:
    """Yield labelled values that were made visible, ten to a section."""
    from slack_sdk.models.blocks import SectionBlock

    fields = [plain(labelled(label, value), min(limit, FIELD_LIMIT)) for label, value in rows]
    for start in range(0, len(fields), FIELDS_PER_SECTION):
        yield SectionBlock(fields=[*fields[start : start + FIELDS_PER_SECTION]])


def labelled(label: str, value: str) -> str:
    """Return a value under its label; the lines of one that has several are marked, so that none
    can pass for a label."""
    return f"{label}\n{rendering.quoted(value, '│ ') if chr(10) in value else value}"


def section(text: str, limit: int = TEXT_LIMIT) -> Block:
    """Return a paragraph of text that was made visible."""
    from slack_sdk.models.blocks import SectionBlock

    return SectionBlock(text=plain(text, min(limit, TEXT_LIMIT)))


def context(text: str, limit: int = FIELD_LIMIT) -> Block:
    """Return a line of small print."""
    from slack_sdk.models.blocks import ContextBlock

    return ContextBlock(elements=[plain(text, min(limit, FIELD_LIMIT))])


def plain(text: str, limit: int) -> PlainTextObject:
    """Return text in which Slack finds no mark-up, of at most `limit` of its characters."""
    from slack_sdk.models.blocks import PlainTextObject

    # Slack refuses a block with an empty text.
    return PlainTextObject(text=shortened(text, limit) if text.strip() else "—", emoji=False)


def shortened(text: str, limit: int) -> str:
    """Return text of at most `limit` characters as `measured`, the last being `…` if it is cut."""
    if measured(text) <= limit:
        return text
    return f"{head(text, limit - 1)}…"


def head(text: str, limit: int) -> str:
    """Return the longest beginning of `text` that is at most `limit` long as `measured`."""
    left = limit
    for at, character in enumerate(text):
        left -= measured(character)
        if left < 0:
            return text[:at]
    return text


def measured(text: str) -> int:
    """Return how long Slack may take `text` to be.

    It keeps `&`, `<` and `>` as entities, and counts what lies beyond the Basic Multilingual Plane
    as two.
    """
    length = len(text) + 4 * text.count("&") + 3 * (text.count("<") + text.count(">"))
    return length + sum(character > "\uffff" for character in text)


def escaped(text: str) -> str:
    """Return text for Slack's mark-up, without what mentions and links begin with."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _size(blocks: Sequence[Block]) -> int:
    return measured(json.dumps([block.to_dict() for block in blocks], ensure_ascii=False))


def _compact(members: dict[str, Any]) -> str:
    return json.dumps(members, separators=(",", ":"))
