"""An API key: who a request is from, and what it may do."""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import datetime
from enum import StrEnum
from typing import Any

from safeguards_runtime.records.record import Change, Record

_API_KEY = re.compile(r"sgk_([0-9a-f]{32})_([A-Za-z0-9_-]{43})")


class Role(StrEnum):
    """What a key is for."""

    AGENT = "agent"
    """Submits actions of its agents, and hears their outcomes."""

    REVIEWER = "reviewer"
    """Answers as one reviewer."""


class ApiKey(Record):
    """An API key. Its secret is not kept, only the secret's hash."""

    name: str
    role: Role
    agent_ids: tuple[str, ...] = ()
    """The agents that an agent's key speaks for; `*` is any."""

    reviewer_id: str | None = None
    owner: str | None = None
    """The person behind the agents, who may not answer their requests."""

    secret_hash: str
    """SHA-256 of the secret (256 random bits, so that a slow hash would add nothing)."""

    callback_secret: str | None = None
    """Signs the callbacks (Standard Webhooks, `whsec_…`); a signing secret cannot be a hash."""

    public_key: dict[str, Any] | None = None
    """Verifies publications: an Ed25519 public key as a JWK (RFC 8037)."""

    created_at: datetime
    revoked_at: datetime | None = None

    def indexes(self) -> frozenset[str]:
        """Return the list of keys."""
        return frozenset({"keys"})

    def speaks_for(self, agent_id: str) -> bool:
        """Tell whether this is an agent's key that may act as `agent_id`."""
        return self.role is Role.AGENT and ("*" in self.agent_ids or agent_id in self.agent_ids)

    def opens_with(self, secret: str) -> bool:
        """Tell whether `secret` is this key's, and the key is not revoked."""
        given = hash_secret(secret)
        return hmac.compare_digest(given, self.secret_hash) and self.revoked_at is None


def api_key_text(key_id: str, secret: str) -> str:
    """Return an API key as its holder gets it: `sgk_<id>_<secret>`."""
    return f"sgk_{key_id.partition('_')[2]}_{secret}"


def parse_api_key(text: str) -> tuple[str, str] | None:
    """Return the key's id and its secret, or None if `text` is no API key."""
    match = _API_KEY.fullmatch(text)
    return (f"key_{match[1]}", match[2]) if match else None


def hash_secret(secret: str) -> str:
    """Return the SHA-256 of a key's secret, as 64 hexadecimal digits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def create(key: ApiKey, now: datetime) -> Change:
    """Make a key."""
    detail = {"name": key.name, "role": key.role.value, "agents": list(key.agent_ids)}
    return Change(None, key, "created", "operator", now, detail)


def revoke(key: ApiKey, now: datetime, actor: str = "operator") -> Change | None:
    """Revoke a key, for good. None if it was revoked before."""
    if key.revoked_at is not None:
        return None
    after = key.model_copy(update={"revoked_at": now})
    return Change(key, after, "revoked", actor, now)
