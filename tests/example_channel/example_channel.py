"""Two channels of one's own, in a package of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from safeguards.configuration import Config, read_config
from safeguards.errors import PermanentDeliveryError, TransientDeliveryError
from safeguards.notifications.channels import AsyncChannel, NotificationChannel
from safeguards.notifications.message import Message
from safeguards.types import SafetyAlert


class FileDropConfig(Config):
    """What `FileDropChannel` is initialized with.

    Attributes:
        path: the file that gets the lines. Its folder has to exist.
        token: a secret that stands in each line, so that readers know who wrote it.
    """

    path: Path
    token: str = Field(default="", repr=False)


class FileDropChannel(AsyncChannel):
    """Appends each message to a file, as one line of JSON."""

    max_per_second: ClassVar[int | None] = 100

    def initialize(self, config: dict[str, Any]) -> None:
        """Take `path` and, optionally, `token`."""
        self._config = read_config(FileDropConfig, config, "FileDropChannel")
        self._initialized = True

    async def deliver(self, message: Message, recipients: Sequence[str] = ()) -> str | None:
        """Append one line."""
        self._require_initialized()
        line = {
            "id": message.id,
            "event": message.event,
            "subject": message.subject,
            "token": self._config.token,
            "data": message.data,
        }
        try:
            with self._config.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except FileNotFoundError:
            raise PermanentDeliveryError("the folder of the file does not exist") from None
        except OSError as error:
            raise TransientDeliveryError(f"the file cannot be written: {error.strerror}") from None
        return None


class PlainDropChannel(NotificationChannel):
    """The same with the three methods that every channel has, and nothing else."""

    def initialize(self, config: dict[str, Any]) -> None:
        """Take `path`."""
        self._path = Path(config["path"])

    def send_notification(self, alert: SafetyAlert) -> bool:
        """Append one line; False if that is impossible."""
        line = {
            "title": alert.title,
            "description": alert.description,
            "severity": alert.severity,
            "metadata": alert.metadata,
        }
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError:
            return False
        return True

    def shutdown(self) -> None:
        """Nothing is open between two lines."""
