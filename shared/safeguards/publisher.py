"""Publishing actions straight to the queue, with Kombu alone. Needs the extra `publisher`."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from safeguards.canonical import jsonable
from safeguards.client import Safeguards
from safeguards.contracts import ActionSubmission
from safeguards.errors import (
    ConfigurationError,
    GatewayUnreachableError,
    MissingExtraError,
    NotFoundError,
    SafeguardsError,
)
from safeguards.identifiers import new_id
from safeguards.publication import Publication, sign_publication
from safeguards.sentinel import for_kombu

logger = logging.getLogger("safeguards.publisher")

QUEUE = "safeguards.actions"
TASK = "safeguard_evaluator.evaluate"

RESEND_SECONDS = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
"""How long after each publication it is asked whether the action is known, before the next."""


GIVEN_UP_SECONDS = 24 * 3600
"""After which the evaluator takes a publication for too old, too."""


@dataclass
class _Unconfirmed:
    """A publication that may have been lost on its way."""

    compact: str
    attempts: int
    look_at: float
    published_at: float = field(default_factory=time.time)


class ActionPublisher:
    """Publishes actions to the evaluator's queue, signed, and again until each is known.

    A message queue may lose a message; so each is published again, with the same id, until the
    gateway knows the action. May be used from any number of threads.

    Args:
        broker_url: the broker's, as the services have it.
        signing_key: an Ed25519 private key as a JWK (`safeguards-admin keys create --signing`),
            or the path of a file that holds one.
        client: the gateway, which confirms, and by which outcomes are waited for.
    """

    def __init__(
        self, broker_url: str, signing_key: dict[str, Any] | str | Path, client: Safeguards
    ) -> None:
        try:
            from kombu import Connection
        except ImportError as error:
            raise MissingExtraError("ActionPublisher", "publisher") from error
        url, sentinel_options = for_kombu(broker_url)
        options = {"max_retries": 1, "socket_timeout": 10, "socket_keepalive": True}
        self._connection = Connection(
            url, connect_timeout=5, transport_options={**options, **sentinel_options}
        )
        self._key = _read_key(signing_key)
        self._client = client
        self._lock = threading.Lock()
        self._unconfirmed: dict[str, _Unconfirmed] = {}
        self._work = threading.Event()
        self._closed = threading.Event()
        self._confirming = threading.Thread(
            target=self._confirm, name="safeguards-publisher", daemon=True
        )
        self._confirming.start()

    def publish(
        self,
        agent_id: str,
        action_type: str,
        context: dict[str, Any],
        *,
        title: str | None = None,
        description: str = "",
        on_behalf_of: str | None = None,
        callback_url: str | None = None,
        timeout_seconds: int | None = None,
        action_id: str | None = None,
    ) -> str:
        """Publish an action. Its outcome is waited for by `client.wait(id)`.

        A broker that is away does not raise: the action is published when it is back.

        Args:
            agent_id, action_type, context, title, description, on_behalf_of, callback_url,
                timeout_seconds: as `Safeguards.submit`.
            action_id: from before a crash, to publish the very same action once more.

        Returns:
            The action's id.

        Raises:
            InvalidContentError: the context cannot be carried.
            ValidationError: another argument does not fit.
        """
        action = ActionSubmission(
            agent_id=agent_id,
            action_type=action_type,
            context=jsonable(context, pointer="/context"),
            title=title,
            description=description,
            on_behalf_of=on_behalf_of,
            callback_url=callback_url,
            timeout_seconds=timeout_seconds,
        )
        publication = Publication(
            id=action_id or new_id("act"), published_at=datetime.now(UTC), action=action
        )
        compact = sign_publication(publication, self._key)
        look_at = time.monotonic() + RESEND_SECONDS[0]
        self._client.expect_publication(publication.id)
        with self._lock:
            self._unconfirmed[publication.id] = _Unconfirmed(compact, 1, look_at)
        self._send(compact)
        self._work.set()
        return publication.id

    @property
    def unconfirmed(self) -> int:
        """How many actions are not known to have arrived yet."""
        with self._lock:
            return len(self._unconfirmed)

    def close(self, timeout: float = 5.0) -> None:
        """Wait at most `timeout` seconds until every action is known, then disconnect."""
        deadline = time.monotonic() + timeout
        while self.unconfirmed and time.monotonic() < deadline:
            with self._lock:
                for entry in self._unconfirmed.values():
                    entry.look_at = min(entry.look_at, time.monotonic())
            self._work.set()
            self._closed.wait(0.1)
        self._closed.set()
        self._work.set()
        self._confirming.join(timeout=5)
        if self.unconfirmed:
            logger.error("%d actions are not known to have arrived", self.unconfirmed)
        with self._lock:
            self._connection.release()

    def __enter__(self) -> Self:
        """Return this publisher."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Wait until every action is known, and disconnect."""
        self.close()

    def _send(self, compact: str) -> None:
        """Send one message of Celery's protocol 2, whose arguments are hidden from monitors."""
        task_id = str(uuid.uuid4())
        headers = {
            "lang": "py",
            "task": TASK,
            "id": task_id,
            "root_id": task_id,
            "parent_id": None,
            "group": None,
            "argsrepr": "[1 publication]",
            "kwargsrepr": "{}",
            "ignore_result": True,
        }
        embed = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
        body = json.dumps([[[compact]], {}, embed])
        try:
            with self._lock:
                self._connection.Producer().publish(
                    body,
                    exchange="",
                    routing_key=QUEUE,
                    content_type="application/json",
                    content_encoding="utf-8",
                    headers=headers,
                    correlation_id=task_id,
                )
        except Exception as error:
            # Kombu raises whatever its transport does. The action stays unconfirmed.
            logger.warning("the broker did not take an action, trying again: %s", error)
            with self._lock:
                broken, self._connection = self._connection, self._connection.clone()
                with contextlib.suppress(Exception):
                    broken.release()

    def _confirm(self) -> None:
        """Look for each action, and publish it again while it is not known."""
        while not self._closed.is_set():
            now = time.monotonic()
            with self._lock:
                due = [i for i, entry in self._unconfirmed.items() if entry.look_at <= now]
                soonest = min((e.look_at for e in self._unconfirmed.values()), default=now + 60)
            for action_id in due:
                if self._closed.is_set():
                    return
                self._confirm_one(action_id)
            if not due:
                self._work.wait(max(0.01, min(60.0, soonest - now)))
                self._work.clear()

    def _confirm_one(self, action_id: str) -> None:
        try:
            self._client.get(action_id)
        except NotFoundError:
            if time.time() - self._published_at(action_id) > GIVEN_UP_SECONDS:
                logger.error("%s was refused, or lost again and again: given up", action_id)
                with self._lock:
                    self._unconfirmed.pop(action_id, None)
                return
            self._again(action_id, send=True)
        except GatewayUnreachableError:
            self._again(action_id, send=False)
        except SafeguardsError as error:
            logger.error("%s cannot be confirmed: %s", action_id, error)
            self._again(action_id, send=False)
        else:
            with self._lock:
                self._unconfirmed.pop(action_id, None)

    def _published_at(self, action_id: str) -> float:
        with self._lock:
            entry = self._unconfirmed.get(action_id)
        return entry.published_at if entry else time.time()

    def _again(self, action_id: str, *, send: bool) -> None:
        with self._lock:
            entry = self._unconfirmed.get(action_id)
            if entry is None:
                return
            wait = RESEND_SECONDS[min(entry.attempts, len(RESEND_SECONDS) - 1)]
            entry.attempts += 1
            entry.look_at = time.monotonic() + wait
        if send:
            self._send(entry.compact)


def _read_key(key: dict[str, Any] | str | Path) -> dict[str, Any]:
    if isinstance(key, dict):
        return key
    try:
        content = json.loads(Path(key).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{key}: no signing key can be read from it: {error}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{key}: a signing key is a JSON object (a JWK)")
    signing: dict[str, Any] = content.get("signing_key", content)
    return signing
