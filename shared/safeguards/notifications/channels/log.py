"""Alerts and messages in the process's own log."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from safeguards.configuration import Config, read_config
from safeguards.notifications import rendering
from safeguards.notifications.channels.base import AsyncChannel
from safeguards.notifications.message import Message


class LoggingConfig(Config):
    """What `LoggingChannel` is initialized with.

    Attributes:
        log_level: DEBUG, INFO, WARNING, ERROR or CRITICAL, in either case.
        logger: the name of the logger.
    """

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "INFO"
    logger: str = Field(default="safeguards.alerts", min_length=1)

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value


class LoggingChannel(AsyncChannel):
    """Writes every message to a logger of the standard library."""

    reads: ClassVar[Literal["people", "programs", "nobody"]] = "nobody"

    def __init__(self) -> None:
        self._config = LoggingConfig()

    def initialize(self, config: dict[str, Any]) -> None:
        """Take `log_level` and, optionally, the name of the `logger`.

        Raises:
            ConfigurationError: naming the key that is unknown or wrong.
        """
        self._config = read_config(LoggingConfig, config, "LoggingChannel")
        self._initialized = True

    async def deliver(self, message: Message, recipients: Sequence[str] = ()) -> str | None:
        """Log `message` as one record, with everything invisible in it written out.

        Raises:
            ConfigurationError: the channel is not initialized.
        """
        self._require_initialized()
        level = logging.getLevelNamesMapping()[self._config.log_level]
        logging.getLogger(self._config.logger).log(
            level, "%s", rendering.one_line(message), extra={"delivery_id": message.id}
        )
        return None
