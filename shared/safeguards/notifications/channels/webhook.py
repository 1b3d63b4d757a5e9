"""Messages as Standard Webhooks: signed JSON, posted once."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator
from standardwebhooks import Webhook

from safeguards.canonical import jsonable
from safeguards.configuration import Config, read_config
from safeguards.errors import ConfigurationError, InvalidContentError, PermanentDeliveryError
from safeguards.notifications import fenced_http
from safeguards.notifications.channels.base import AsyncChannel
from safeguards.notifications.fenced_http import FencedHttp
from safeguards.notifications.message import Message

MIN_SECRET_BYTES = 24
"""The shortest secret that the Standard Webhooks specification allows."""

_SECRET_PREFIX = "whsec_"  # noqa: S105 - a prefix, not a secret


def signing_key(secret: str) -> bytes:
    """Return the key in a Standard Webhooks secret: `whsec_` and base64 of 24 bytes or more.

    Raises:
        ConfigurationError: if it is anything else. The secret is not in the message.
    """
    encoded = secret.removeprefix(_SECRET_PREFIX)
    if encoded == secret:
        raise ConfigurationError("a webhook secret begins with 'whsec_'")
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, ValueError):
        key = None
    if key is None:
        raise ConfigurationError("a webhook secret is 'whsec_' and then base64")
    if len(key) < MIN_SECRET_BYTES:
        raise ConfigurationError(
            f"a webhook secret has at least {MIN_SECRET_BYTES} bytes, not {len(key)}"
        )
    return key


async def post_webhook(http: FencedHttp, url: str, secret: str, message: Message) -> None:
    """Post `message` to `url` once, as a Standard Webhook (standardwebhooks.com, version 1.0).

    `webhook-id` is the message's id, the same in every attempt; `webhook-timestamp` the time of
    this attempt. The body is `{"type": event, "timestamp": created_at, "data": data}`.

    Args:
        http: who posts.
        url: absolute, http or https.
        secret: `whsec_…`, shared with the receiver.
        message: its `event`, `created_at` and `data` are sent.

    Raises:
        TransientDeliveryError: 408, 429, 5xx, a time-out or a broken connection.
        PermanentDeliveryError: any other answer, an address that may not be called, a secret
            that is none, or data that is not JSON.
    """
    try:
        webhook = Webhook(signing_key(secret))
        body = _body(message)
    except (ConfigurationError, InvalidContentError) as error:
        raise PermanentDeliveryError(f"cannot be sent as a webhook: {error}") from error
    now = datetime.now(UTC)
    headers = {
        "Content-Type": "application/json",
        "webhook-id": message.id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": webhook.sign(message.id, now, body),
    }
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
        timeout_seconds: for one attempt.
        allow_private: whether private and loopback addresses may be called.
    """

    url: str = Field(repr=False)
    secret: str = Field(repr=False)
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
    def _strong(cls, value: str) -> str:
        try:
            signing_key(value)
        except ConfigurationError as error:
            raise ValueError(str(error)) from None
        return value


class WebhookChannel(AsyncChannel):
    """Posts messages as Standard Webhooks to one address. Needs the extra `webhook`."""

    reads: ClassVar[Literal["people", "programs", "nobody"]] = "programs"

    def initialize(self, config: dict[str, Any]) -> None:
        """Take `url` and `secret`; optionally `timeout_seconds` and `allow_private`.

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
        await post_webhook(self._http, self._config.url, self._config.secret, message)
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
