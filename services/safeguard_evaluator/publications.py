"""Actions that agents publish straight to the queue: checked, then written as records."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog
from pydantic import ValidationError

from safeguards.contracts import ActionSubmission
from safeguards.errors import SignatureError
from safeguards.identifiers import made_at, twin_id
from safeguards.publication import Publication, open_publication, signing_key_id
from safeguards_runtime.records import Action, ApiKey, Approval, Change, action
from safeguards_runtime.store import Store

log = structlog.get_logger(__name__)

MAX_AGE = timedelta(hours=24)
"""How old a publication may be: an old one that turns up again is not taken in anew."""


async def take_in(store: Store, publications: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Write the actions that `publications` (compact JWS) carry.

    Returns:
        The ids of the actions, and for each publication that is refused, why.
    """
    ids: list[str] = []
    refused: dict[str, str] = {}
    for publication in publications:
        try:
            ids.append(await _take_in(store, publication))
        except (SignatureError, ValidationError, ValueError) as error:
            refused[publication] = str(error)[:500]
    return ids, refused


async def _take_in(store: Store, compact: str) -> str:
    key = await store.get(signing_key_id(compact), ApiKey)
    if key is None or key.public_key is None or key.revoked_at is not None:
        raise SignatureError("it is signed with a key that is unknown or revoked")
    published = open_publication(compact, key.public_key)
    if not key.speaks_for(published.action.agent_id):
        raise SignatureError(f"its key may not speak for {published.action.agent_id!r}")
    now, (other,) = await store.load([twin_id("apr", published.id)])
    if isinstance(other, Approval) and other.action_id != published.id:
        raise ValueError(f"{published.id} belongs to an approval: identifiers are used once")
    if not now - MAX_AGE <= published.published_at <= now + timedelta(minutes=15):
        raise SignatureError(f"it was published at {published.published_at.isoformat()}")
    if abs(made_at(published.id) - now) > MAX_AGE:
        raise ValueError("the time in its identifier is not that of its publication")
    change = _submission(published, key, now)
    standing, created = await store.create(change)
    if not created and not _same(standing, change):
        raise ValueError(f"{published.id} is another action: identifiers are used once")
    return published.id


def _submission(published: Publication, key: ApiKey, now: datetime) -> Change:
    return action.submit(
        published.id,
        ActionSubmission.model_validate(published.action.model_dump()),
        key_id=key.id,
        owner=key.owner,
        now=now,
    )


def _same(standing: object, change: Change) -> bool:
    sent = change.after
    return (
        isinstance(standing, Action)
        and isinstance(sent, Action)
        and (standing.key_id, standing.digest) == (sent.key_id, sent.digest)
    )
