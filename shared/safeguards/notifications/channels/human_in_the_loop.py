"""The channel that asks people and hears what they answer."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from pydantic import Field

from safeguards.client import Safeguards
from safeguards.configuration import Config, read_config
from safeguards.contracts import ApprovalView, Question
from safeguards.errors import ConfigurationError, SafeguardsError
from safeguards.notifications.channels.base import NotificationChannel
from safeguards.types import SafetyAlert

logger = logging.getLogger("safeguards.notifications")


class HumanInTheLoopConfig(Config):
    """The configuration of a `HumanInTheLoopChannel`."""

    webhook_url: str
    api_key: str
    timeout_seconds: int | None = Field(None, ge=1)
    poll_interval: float = Field(5.0, gt=0)
    callback_url: str | None = None
    callback_secret: str | None = None


class HumanInTheLoopChannel(NotificationChannel):
    """Asks people through the gateway, and hears what they answer."""

    def __init__(self) -> None:
        self._client: Safeguards | None = None
        self.on_question: Callable[[Question], None] | None = None
        """Called with each question of a reviewer."""

    def initialize(self, config: dict[str, Any]) -> None:
        """Take the configuration. Nothing is connected yet.

        Args:
            config: `webhook_url`, the base under which `/request-approval` is found; `api_key`;
                optionally `timeout_seconds`, how long people have to answer; `poll_interval`,
                seconds, used only against an endpoint that cannot long-poll; `callback_url`,
                where outcomes are posted as well; `callback_secret`, to check those.

        Raises:
            ConfigurationError: naming the key that is missing, unknown or wrong.
        """
        self._config = read_config(HumanInTheLoopConfig, config, "HumanInTheLoopChannel")
        self.shutdown()
        self._client = Safeguards(
            self._config.webhook_url,
            self._config.api_key,
            poll_interval_seconds=self._config.poll_interval,
            on_question=self._asked,
        )

    def _asked(self, question: Question) -> None:
        if self.on_question is not None:
            self.on_question(question)

    @property
    def client(self) -> Safeguards:
        """The client of the gateway.

        Raises:
            ConfigurationError: before `initialize` and after `shutdown`.
        """
        if self._client is None:
            raise ConfigurationError(
                "HumanInTheLoopChannel is not initialized: call initialize(config) first"
            )
        return self._client

    @property
    def callback_secret(self) -> str | None:
        """The secret that callbacks are checked with, or None."""
        return self._config.callback_secret if self._client else None

    def request(
        self,
        *,
        title: str,
        description: str,
        agent_id: str,
        metadata: dict[str, Any],
        timeout_seconds: int | None = None,
    ) -> ApprovalView:
        """Ask people. Errors as `Safeguards.request_approval`."""
        return self.client.request_approval(
            agent_id,
            title,
            metadata,
            description=description,
            callback_url=self._config.callback_url,
            timeout_seconds=timeout_seconds or self._config.timeout_seconds,
        )

    def approval(self, approval_id: str) -> ApprovalView:
        """Return an approval as it stands.

        Raises:
            NotFoundError: there is none that this API key may see.
        """
        view = self.client.get(approval_id)
        if not isinstance(view, ApprovalView):
            raise ConfigurationError(f"{approval_id!r} is no approval's id: it begins with apr_")
        return view

    def send_notification(self, alert: SafetyAlert) -> bool:
        """Ask people to approve what an alert tells of; `agent_id` in its metadata says for whom.

        Returns:
            Whether the question is on the gateway's disk. Why not is logged.
        """
        if self._client is None:
            return False
        try:
            self.request(
                title=alert.title,
                description=alert.description,
                agent_id=str(alert.metadata.get("agent_id", "safeguards")),
                metadata=alert.metadata,
            )
        except SafeguardsError as error:
            logger.error("people could not be asked about %r: %s", alert.title, error)
            return False
        return True

    def shutdown(self) -> None:
        """Close the connection. May be called more than once."""
        client, self._client = self._client, None
        if client is not None:
            client.close()
