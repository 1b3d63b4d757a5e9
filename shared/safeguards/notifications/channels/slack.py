"""Messages in a Slack channel, through an incoming webhook."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field, field_validator

from safeguards.configuration import Config, read_config
from safeguards.errors import MissingExtraError
from safeguards.notifications import fenced_http, rendering
from safeguards.notifications.channels.base import AsyncChannel
from safeguards.notifications.fenced_http import FencedHttp
from safeguards.notifications.message import Message
from safeguards.text import visible

if TYPE_CHECKING:
    from slack_sdk.models.blocks import Block, PlainTextObject

# Limits of Block Kit: characters of a header, of a text, of a field; fields of a section.
_HEADER_LIMIT = 150
_TEXT_LIMIT = 3_000
_FIELD_LIMIT = 2_000
_FIELDS_PER_SECTION = 10
_BUTTON_LIMIT = 75
_URL_LIMIT = 3_000


class SlackConfig(Config):
    """What `SlackChannel` is initialized with.

    Attributes:
        webhook_url: the incoming webhook. It is a secret.
        channel: another channel than the webhook's own, where Slack allows it.
        username: the name to post under, where Slack allows it.
        icon_emoji: such as `:robot_face:`, where Slack allows it.
        timeout_seconds: for one attempt.
        allow_private: whether private and loopback addresses may be called.
    """

    webhook_url: str = Field(repr=False)
    channel: str | None = Field(default=None, min_length=1)
    username: str | None = Field(default=None, min_length=1)
    icon_emoji: str | None = Field(default=None, pattern=r"^:[^:\s]+:$")
    timeout_seconds: float = Field(default=15.0, gt=0, allow_inf_nan=False)
    allow_private: bool = False

    @field_validator("webhook_url")
    @classmethod
    def _http(cls, value: str) -> str:
        if not value.startswith(("https://", "http://")):
            raise ValueError("give the incoming webhook's URL, which begins with https://")
        return value


class SlackChannel(AsyncChannel):
    """Posts messages to Slack by an incoming webhook. Needs the extra `slack`."""

    def initialize(self, config: dict[str, Any]) -> None:
        """Take `webhook_url`; optionally `channel`, `username`, `icon_emoji` and others.

        Raises:
            ConfigurationError: naming the key that is missing, unknown or wrong.
            MissingExtraError: if slack_sdk, aiohttp or ssrfguard is not installed.
        """
        self._config = read_config(SlackConfig, config, "SlackChannel")
        fenced_http.require("SlackChannel", "slack")
        try:
            import slack_sdk.models.blocks  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("SlackChannel", "slack") from error
        self._close()
        self._http = FencedHttp(
            allow_private=self._config.allow_private,
            timeout_seconds=self._config.timeout_seconds,
        )
        self._initialized = True

    async def deliver(self, message: Message, recipients: Sequence[str] = ()) -> str | None:
        """Post `message` once.

        Raises:
            TransientDeliveryError: 408, 429, 5xx, a time-out or a broken connection.
            PermanentDeliveryError: any other answer, or an address that may not be called.
        """
        self._require_initialized()
        config = self._config.model_dump(
            include={"channel", "username", "icon_emoji"}, exclude_none=True
        )
        body = json.dumps({**config, **slack_payload(message)}).encode()
        headers = {"Content-Type": "application/json"}
        response = await self._http.post(self._config.webhook_url, body, headers)
        fenced_http.check_response(response)
        return None

    async def aclose(self) -> None:
        """Close the connections that belong to the running event loop."""
        if self._initialized:
            await self._http.aclose()

    def shutdown(self) -> None:
        """Close every connection; nothing is sent any more."""
        super().shutdown()
        self._close()

    def _close(self) -> None:
        http: FencedHttp | None = getattr(self, "_http", None)
        if http is not None:
            http.close_all()


def slack_payload(message: Message) -> dict[str, Any]:
    """Return the body of a post to Slack: blocks, and a text for notifications.

    Text that may be an agent's is `plain_text`, in which Slack makes no mentions, links or
    formatting; only the text for notifications is mark-up, and escaped.
    """
    return {
        "text": _escaped(rendering.subject(message)),
        "blocks": [block.to_dict() for block in _blocks(message)],
        "mrkdwn": False,
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def _escaped(text: str) -> str:
    # The three characters with which Slack's mark-up begins mentions and links.
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _plain(text: str, limit: int) -> PlainTextObject:
    from slack_sdk.models.blocks import PlainTextObject

    shortened = text if len(text) <= limit else f"{text[: limit - 1]}…"
    # Slack refuses a block with an empty text.
    return PlainTextObject(text=shortened or "—", emoji=False)


def _blocks(message: Message) -> list[Block]:
    from slack_sdk.models.blocks import (
        ActionsBlock,
        ButtonElement,
        ContextBlock,
        HeaderBlock,
        SectionBlock,
    )

    blocks: list[Block] = [
        HeaderBlock(text=_plain(rendering.subject(message), _HEADER_LIMIT)),
        ContextBlock(elements=[_plain(f"Severity: {message.severity.value}", _TEXT_LIMIT)]),
    ]
    fields = [
        _plain(f"{label}\n{value}", _FIELD_LIMIT) for label, value in rendering.facts(message)
    ]
    for start in range(0, len(fields), _FIELDS_PER_SECTION):
        blocks.append(SectionBlock(fields=[*fields[start : start + _FIELDS_PER_SECTION]]))
    if message.reasons:
        listed = "\n".join(f"• {reason}" for reason in rendering.reasons(message))
        title = rendering.REASONS_TITLE
        blocks.append(SectionBlock(text=_plain(f"{title}:\n{listed}", _TEXT_LIMIT)))
    if message.agent_words:
        blocks.append(ContextBlock(elements=[_plain(f"{rendering.words_title(message)}:", 100)]))
        words = rendering.quoted(visible(message.agent_words, limit=_TEXT_LIMIT), "│ ")
        blocks.append(SectionBlock(text=_plain(words, _TEXT_LIMIT)))
    if message.link and len(message.link.url) <= _URL_LIMIT:
        label = visible(message.link.label, single_line=True)
        button = ButtonElement(
            text=_plain(label, _BUTTON_LIMIT),
            url=message.link.url,
            action_id="open_link",
            style="primary",
        )
        blocks.append(ActionsBlock(elements=[button]))
    if message.footer:
        footer = visible(message.footer, single_line=True)
        blocks.append(ContextBlock(elements=[_plain(footer, _FIELD_LIMIT)]))
    return blocks
