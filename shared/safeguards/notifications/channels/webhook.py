"""Messages as Standard Webhooks: signed JSON, posted once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator

from safeguards.canonical import jsonable
from safeguards.configuration import Config, read_config
from safeguards.errors import ConfigurationError, InvalidContentError, PermanentDeliveryError
from safeguards.notifications import fenced_http
from safeguards.notifications.channels.base import AsyncChannel
from safeguards.notifications.fenced_http import FencedHttp
from safeguards.notifications.message import Message
from safeguards.webhooks import signed_headers, signing_key


async def post_webhook(
    http: FencedHttp, url: str, secrets: Sequence[str], message: Message
) -> None:
    """Post `message` to `url` once, as a Standard Webhook (standardwebhooks.com, version 1.0).

    `webhook-id` is the message's id, the same in every attempt; `webhook-timestamp` the time of
    this attempt. The body is `{"type": event, "timestamp": created_at, "data": data}`.

    Args:
        http: who posts.
        url: absolute, http or https.
        secrets: `whsec_…`, shared with the receiver, newest first. Each of them signs, so that a
            receiver can take up a new one at any time.
        message: its `event`, `created_at` and `data` are sent.

    Raises:
        TransientDeliveryError: 408, 429, 5xx, a time-out or a broken connection.
        ReceiverGoneError: 410: the receiver wants nothing any more.
        PermanentDeliveryError: any other answer, an address that may not be called, a secret
            that is none, or data that is not JSON.
    """
    try:
        body = _body(message)
        headers = signed_headers(message.id, body, secrets)
    except (ConfigurationError, InvalidContentError) as error:
        raise PermanentDeliveryError(f"cannot be sent as a webhook: {error}") from error
    headers["Content-Type"] = "application/json"
    fenced_http.check_response(await http.post(url, body.encode(), headers))


def _body(message: Message) -> str:
    timestamp = message.created_at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    content = {"type": message.event, "timestamp": timestamp, "data": message.data}
    return json.dumps(jsonable(content), ensure_ascii=False, separators=(",", ":"))


class WebhookConfig(Config):
    """What `WebhookChannel` is initialized with.

    Attributes:
        url: where to post; absolute, http or https.
        secret: shared with the receiver: `whsec_` and base64 of 24 bytes or more.
        secrets: instead of `secret` while it is exchanged: several of them, newest first. All of
            them sign.
        timeout_seconds: for one attempt.
        allow_private: whether private and loopback addresses may be called.
    """

    url: str = Field(repr=False)
    secret: str | None = Field(default=None, repr=False)
    secrets: tuple[str, ...] = Field(default=(), repr=False, validate_default=True)
    timeout_seconds: float = Field(default=15.0, gt=0, allow_inf_nan=False)
    allow_private: bool = False

    @field_validator("url")
    @classmethod
    def _http(cls, value: str) -> str:
        if not value.startswith(("https://", "http://")):
            raise ValueError("give an absolute URL that begins with https://")
        return value

    @field_validator("secret")
    @classmethod
    def _strong(cls, value: str | None) -> str | None:
        return None if value is None else _checked(value)

    @field_validator("secrets")
    @classmethod
    def _exactly_one_of_both(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if "secret" in info.data and (info.data["secret"] is None) != bool(value):
            raise ValueError("give either `secret`, or `secrets` with the newest first")
        return tuple(map(_checked, value))

    @property
    def signing_secrets(self) -> tuple[str, ...]:
        """Each secret that signs, newest first."""
        return self.secrets or (self.secret or "",)


def _checked(secret: str) -> str:
    try:
        signing_key(secret)
    except ConfigurationError as error:
        raise ValueError(str(error)) from None
    return secret


class WebhookChannel(AsyncChannel):
    """Posts messages as Standard Webhooks to one address. Needs the extra `webhook`."""

    reads: ClassVar[Literal["people", "programs", "nobody"]] = "programs"

    def initialize(self, config: dict[str, Any]) -> None:
        """Take `url` and `secret` or `secrets`; optionally `timeout_seconds` and `allow_private`.

        Raises:
            ConfigurationError: naming the key that is missing, unknown or wrong.
            MissingExtraError: if aiohttp or ssrfguard is not installed.
        """
        self._config = read_config(WebhookConfig, config, "WebhookChannel")
        fenced_http.require("WebhookChannel", "webhook")
        self._close()
        self._http = FencedHttp(
            allow_private=self._config.allow_private,
            timeout_seconds=self._config.timeout_seconds,
        )
        self._initialized = True

    async def deliver(self, message: Message, recipients: Sequence[str] = ()) -> str | None:
        """Post `message` to the configured address once. See `post_webhook`."""
        self._require_initialized()
        await post_webhook(self._http, self._config.url, self._config.signing_secrets, message)
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
