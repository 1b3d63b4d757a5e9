"""`Idempotency-Key`: a request sent again gets what the first one made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Header, Request

from safeguards.canonical import digest
from safeguards_runtime.records import ApiKey, Change, Record
from safeguards_runtime.store import Store
from safeguards_runtime.store.encoding import claim_key
from safeguards_runtime.store.store import ClaimedError
from services.gateway.problems import Problem

R = TypeVar("R", bound=Record)

IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="Any string of your own: the same request with the same key is taken once.",
    ),
]


@dataclass(frozen=True)
class Claim:
    """What an idempotency key lays hold of: the record to be made, for which body."""

    key: str
    record_id: str
    fingerprint: str

    @classmethod
    async def of(
        cls, request: Request, api_key: ApiKey, idempotency_key: str | None, record_id: str
    ) -> Claim | None:
        """Return the claim of a request, or None if it has no idempotency key."""
        if idempotency_key is None:
            return None
        fingerprint = digest(await request.json(), depth=-1)
        return cls(claim_key(api_key.id, request.url.path, idempotency_key), record_id, fingerprint)

    def claims(self) -> dict[str, str]:
        """Return what the change writes."""
        return {self.key: f"{self.record_id} {self.fingerprint}"}


async def create_once(
    store: Store, kind: type[R], claim: Claim | None, change: Callable[[dict[str, str]], Change]
) -> tuple[R, bool]:
    """Write a new record, or find the one that the same request made before.

    Returns:
        The record, and whether this request made it.

    Raises:
        Problem: 422 if the idempotency key was used with another body.
    """
    try:
        record, created = await store.create(change(claim.claims() if claim else {}))
    except ClaimedError as error:
        record_id, _, fingerprint = error.holder.partition(" ")
        if claim is None or fingerprint != claim.fingerprint:
            detail = "this Idempotency-Key was used with another body: use a new key"
            raise Problem(422, "idempotency_key_reused", detail) from error
        standing = await store.get(record_id, kind)
        if standing is None:
            raise
        return standing, False
    assert isinstance(record, kind)  # noqa: S101 - it is the record just written
    return record, created
