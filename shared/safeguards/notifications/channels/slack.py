"""Messages in Slack: by an incoming webhook, which only posts, or by a bot, which is answered."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Sequence
from typing import Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from safeguards.configuration import Config, read_config
from safeguards.errors import (
    ConfigurationError,
    MissingExtraError,
    PermanentDeliveryError,
)
from safeguards.notifications import fenced_http, rendering, slack_blocks
from safeguards.notifications.channels.base import AsyncChannel
from safeguards.notifications.fenced_http import FencedHttp
from safeguards.notifications.message import Message
from safeguards.notifications.slack_api import SlackApi, SlackRefusedError
from safeguards.text import visible

_USER = re.compile(r"(?:[TE][A-Z0-9]{2,30}/)?([UW][A-Z0-9]{2,30})")
_REFERENCE = re.compile(r"([A-Z][A-Z0-9]{2,30}):([0-9]{1,20}\.[0-9]{1,20})")
_TIMESTAMP = re.compile(r"[0-9]{1,12}")

_THREAD_IS_GONE = frozenset(
    {"thread_not_found", "invalid_thread_ts", "message_not_found", "cannot_reply_to_message"}
)


class SlackConfig(Config):
    """What `SlackChannel` is initialized with: `webhook_url` or `bot_token`.

    Attributes:
        webhook_url: the incoming webhook. It is a secret.
        bot_token: of the app's bot user (`xoxb-…`). It is a secret.
        signing_secret: with which Slack signs what people do with the bot's messages. Without it
            the messages have no buttons.
        channel: of a webhook, another channel than its own, where Slack allows it. Of a bot, where
            to post; without it, reviewers get direct messages.
        username: the name to post under, where Slack allows it.
        icon_emoji: such as `:robot_face:`, where Slack allows it.
        timeout_seconds: for one attempt.
        allow_private: whether a webhook at a private or loopback address may be called.
        api_url: of Slack's Web API.
    """

    webhook_url: str | None = Field(default=None, repr=False)
    bot_token: str | None = Field(default=None, repr=False)
    signing_secret: str | None = Field(default=None, repr=False)
    channel: str | None = Field(default=None, min_length=1)
    username: str | None = Field(default=None, min_length=1)
    icon_emoji: str | None = Field(default=None, pattern=r"^:[^:\s]+:$")
    timeout_seconds: float = Field(default=15.0, gt=0, allow_inf_nan=False)
    allow_private: bool = False
    api_url: str = "https://slack.com/api/"

    @field_validator("webhook_url")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("https://", "http://")):
            raise ValueError("give the incoming webhook's URL, which begins with https://")
        return value

    @field_validator("bot_token")
    @classmethod
    def _bot(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"(xoxe\.)?xoxb-[A-Za-z0-9-]+", value):
            raise ValueError("give the bot user's OAuth token, which begins with xoxb-")
        return value

    @field_validator("signing_secret")
    @classmethod
    def _secret(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[!-~]{16,200}", value):
            raise ValueError("give the signing secret from the app's Basic Information")
        return value

    @field_validator("api_url")
    @classmethod
    def _api(cls, value: str) -> str:
        parts = urlsplit(value)
        is_local = parts.scheme == "http" and _is_loopback(parts.hostname)
        if parts.scheme != "https" and not is_local:
            raise ValueError("it begins with https://, or the token would be sent in the clear")
        return value if value.endswith("/") else f"{value}/"

    @model_validator(mode="after")
    def _one_way(self) -> SlackConfig:
        if self.webhook_url is None and self.bot_token is None:
            raise ValueError("the key 'webhook_url' is missing, or 'bot_token': add one of them")
        if self.webhook_url is not None and self.bot_token is not None:
            raise ValueError("'webhook_url' and 'bot_token' exclude each other: choose one")
        if self.signing_secret is not None and self.bot_token is None:
            raise ValueError("'signing_secret' goes with 'bot_token': a webhook is not answered")
        return self


class SlackChannel(AsyncChannel):
    """Posts messages to Slack. Needs the extra `slack`.

    By an incoming webhook it only posts. As a bot it posts into a channel or to each reviewer,
    changes what it posted, and its messages can be answered where it has the signing secret.
    """

    max_per_second: ClassVar[int | None] = 1

    _http: FencedHttp | None = None
    _api: SlackApi | None = None

    def initialize(self, config: dict[str, Any]) -> None:
        """Take `webhook_url` or `bot_token`, and what goes with it. See `SlackConfig`.

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
        seconds = self._config.timeout_seconds
        if self._config.bot_token is not None:
            self._api = SlackApi(self._config.bot_token, self._config.api_url, seconds)
        else:
            self._http = FencedHttp(
                allow_private=self._config.allow_private, timeout_seconds=seconds
            )
        is_bot = self._config.bot_token is not None
        self.can_update = is_bot
        self.addressing: Literal["person", "place"] = (
            "person" if is_bot and self._config.channel is None else "place"
        )
        self._initialized = True

    @property
    def is_answerable(self) -> bool:
        """Whether people can answer on the spot: it is a bot with a signing secret."""
        return self._initialized and self._config.signing_secret is not None

    async def deliver(self, message: Message, recipients: Sequence[str] = ()) -> str | None:
        """Post `message` once.

        Args:
            message: what to say.
            recipients: where it addresses persons, one Slack user id: `U…` or `T…/U…`.

        Returns:
            `<channel id>:<timestamp>` as a bot, else None.

        Raises:
            TransientDeliveryError: 408, 429, 5xx, a time-out or a broken connection.
            PermanentDeliveryError: any other answer, or an address that may not be called.
            ConfigurationError: there is nobody to send it to.
        """
        self._require_initialized()
        if self._api is not None:
            return await self._post(self._api, message, self._target(recipients))
        url, http = self._config.webhook_url, self._http
        if url is None or http is None:
            raise ConfigurationError("SlackChannel is shut down: initialize it again")
        body = json.dumps({**self._styling(), **slack_payload(message)}).encode()
        response = await http.post(url, body, {"Content-Type": "application/json"})
        fenced_http.check_response(response)
        return None

    async def update(self, message: Message, reference: str) -> None:
        """Change what a bot posted into `message`.

        Raises:
            TransientDeliveryError: 429, 5xx, a time-out or a broken connection.
            PermanentDeliveryError: any other answer, such as that the message is gone; or it was
                not posted by a bot.
        """
        self._require_initialized()
        found = _REFERENCE.fullmatch(reference)
        if self._api is None or found is None:
            await super().update(message, reference)
            return
        said = self._said(message)
        arguments = {name: said[name] for name in ("text", "blocks", "link_names")}
        place = {"channel": found[1], "ts": found[2], "parse": "none"}
        await self._api.call("chat.update", {**arguments, **place})

    def signed(self, body: bytes, timestamp: str, signature: str) -> bool:
        """Tell whether Slack signed `body` for this app in the last five minutes (scheme v0).

        Args:
            body: as it came in.
            timestamp: the header `X-Slack-Request-Timestamp`.
            signature: the header `X-Slack-Signature`.
        """
        from slack_sdk.signature import SignatureVerifier

        secret = self._config.signing_secret if self._initialized else None
        if secret is None or not _TIMESTAMP.fullmatch(timestamp):
            return False
        try:
            return SignatureVerifier(secret).is_valid(body, timestamp, signature)
        except (ValueError, TypeError):
            # What is no text, in the body or in the header.
            return False

    async def open_view(self, trigger_id: str, view: dict[str, Any]) -> None:
        """Open a modal for whoever made the trigger, in the last three seconds.

        Raises:
            TransientDeliveryError, PermanentDeliveryError: as `update`.
        """
        await self._as_bot().call("views.open", {"trigger_id": trigger_id, "view": view})

    async def tell(self, place: str, user_id: str, words: str) -> None:
        """Show words to one user alone, where they just did something.

        Args:
            place: the channel's id.
            user_id: whose.
            words: plain text.

        Raises:
            TransientDeliveryError, PermanentDeliveryError: as `update`.
        """
        shown = visible(words, limit=slack_blocks.TEXT_LIMIT)
        arguments = {
            "channel": place,
            "user": user_id,
            "text": slack_blocks.escaped(shown) or "—",
            "blocks": [slack_blocks.section(shown).to_dict()],
            "link_names": False,
            "parse": "none",
        }
        await self._as_bot().call("chat.postEphemeral", arguments)

    async def aclose(self) -> None:
        """Close the connections that belong to the running event loop."""
        for kept in (self._http, self._api):
            if kept is not None:
                await kept.aclose()

    def shutdown(self) -> None:
        """Close every connection; nothing is sent any more."""
        super().shutdown()
        self._close()

    async def _post(self, api: SlackApi, message: Message, target: str) -> str:
        arguments = {"channel": target, "parse": "none", **self._styling(), **self._said(message)}
        thread = message.thread
        found = None
        if thread is not None and not thread.begins:
            found = _REFERENCE.fullmatch(thread.reference or "")
        if found is not None:
            reply = {"channel": found[1], "thread_ts": found[2], "reply_broadcast": True}
            try:
                return _reference(await api.call("chat.postMessage", {**arguments, **reply}))
            except SlackRefusedError as error:
                if error.code not in _THREAD_IS_GONE:
                    raise
        return _reference(await api.call("chat.postMessage", arguments))

    def _target(self, recipients: Sequence[str]) -> str:
        if self._config.channel is not None:
            return self._config.channel
        if not recipients:
            raise ConfigurationError(
                "SlackChannel: the key 'channel' is missing: without it there is nobody to tell "
                "but reviewers with a 'slack_user'"
            )
        found = _USER.fullmatch(recipients[0])
        if len(recipients) > 1 or found is None:
            shown = visible(", ".join(recipients), single_line=True, limit=100)
            raise PermanentDeliveryError(f"{shown!r} is not the id of one Slack user, as U024BE7LH")
        return found[1]

    def _said(self, message: Message) -> dict[str, Any]:
        return slack_payload(message, interactive=self.is_answerable, channel=self.name)

    def _styling(self) -> dict[str, str]:
        wanted = {"username", "icon_emoji"}
        if self._config.bot_token is None:
            wanted.add("channel")
        return self._config.model_dump(include=wanted, exclude_none=True)

    def _as_bot(self) -> SlackApi:
        self._require_initialized()
        if self._api is None:
            raise ConfigurationError("SlackChannel: the key 'bot_token' is missing: add it")
        return self._api

    def _close(self) -> None:
        for kept in (self._http, self._api):
            if kept is not None:
                kept.close_all()
        self._http = self._api = None


def slack_payload(
    message: Message, *, interactive: bool = False, channel: str = ""
) -> dict[str, Any]:
    """Return the body of a post to Slack: blocks, and a text for notifications.

    Only the text for notifications is mark-up, and escaped. See `slack_blocks.blocks_of`.
    """
    blocks = slack_blocks.blocks_of(message, interactive=interactive, channel=channel)
    return {
        "text": slack_blocks.escaped(rendering.subject(message)) or "—",
        "blocks": [block.to_dict() for block in blocks],
        "mrkdwn": False,
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
    }


def _reference(answer: dict[str, Any]) -> str:
    return f"{answer.get('channel', '')}:{answer.get('ts', '')}"


def _is_loopback(host: str | None) -> bool:
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"
