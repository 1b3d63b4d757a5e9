"""`Idempotency-Key`: a request sent again gets what the first one made."""

from __future__ import annotations

import secrets
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
    """What an idempotency key lays hold of.

    Attributes:
        key: of the claim in the store.
        record_id: what the request makes or changes.
        fingerprint: of its body.
        request_id: of this very request, which the same one sent again is not.
    """

    key: str
    record_id: str
    fingerprint: str
    request_id: str

    @classmethod
    async def of(
        cls, request: Request, api_key: ApiKey, idempotency_key: str | None, record_id: str
    ) -> Claim | None:
        """Return the claim of a request, or None if it has no idempotency key."""
        if idempotency_key is None:
            return None
        fingerprint = digest(await request.json(), depth=-1)
        key = claim_key(api_key.id, request.url.path, idempotency_key)
        return cls(key, record_id, fingerprint, secrets.token_hex(8))

    def claims(self) -> dict[str, str]:
        """Return what the change writes."""
        return {self.key: f"{self.record_id} {self.fingerprint} {self.request_id}"}

    def made_before(self, holder: str) -> str:
        """Return what the same request made or changed when it was taken.

        Args:
            holder: the claim's value.

        Raises:
            Problem: 422 if the idempotency key was used with another body.
        """
        record_id, fingerprint, _ = holder.split(" ")
        if fingerprint != self.fingerprint:
            detail = "this Idempotency-Key was used with another body: use a new key"
            raise Problem(422, "idempotency_key_reused", detail)
        return record_id


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
        standing = await store.get(claim.made_before(error.holder), kind) if claim else None
        if standing is None:
            raise
        return standing, False
    assert isinstance(record, kind)  # noqa: S101 - it is the record just written
    return record, created
