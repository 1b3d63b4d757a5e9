"""The one message that carries more than ids: an action that an agent publishes itself.

A JWS in compact serialization (RFC 7515 section 7.1), signed with Ed25519 (RFC 8037). The header
names the key (`kid`); the payload is a `Publication`. Needs the extra `publisher`.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from safeguards import strict_json
from safeguards.contracts import ActionSubmission
from safeguards.errors import MissingExtraError, SignatureError
from safeguards.identifiers import is_id

if TYPE_CHECKING:
    from joserfc.jwk import OKPKey

TYPE = "safeguards-action+jws"


class Publication(BaseModel):
    """What is signed: the action, under an identifier of the agent's own making."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    published_at: datetime
    action: ActionSubmission

    @field_validator("id")
    @classmethod
    def _is_action_id(cls, value: str) -> str:
        if not is_id(value, "act"):
            raise ValueError("must be an identifier of the form act_…")
        return value

    @field_validator("published_at")
    @classmethod
    def _is_aware(cls, value: datetime) -> datetime:
        if value.tzinfo is None:
            raise ValueError("must carry its offset from UTC")
        return value


def sign_publication(publication: Publication, private_key: dict[str, Any]) -> str:
    """Return the compact JWS of `publication`.

    Args:
        private_key: an Ed25519 key as a JWK (RFC 8037) with `kid`.

    Raises:
        MissingExtraError: without joserfc.
        SignatureError: if the key is not of that kind.
    """
    key = _imported(private_key)
    if "d" not in private_key or not private_key.get("kid"):
        raise SignatureError("a private Ed25519 key with a `kid` is needed")
    header = {"alg": "Ed25519", "kid": private_key["kid"], "typ": TYPE}
    payload = publication.model_dump_json(exclude_defaults=True).encode()
    jws = _jws()
    compact: str = jws.serialize_compact(header, payload, key, algorithms=["Ed25519"])
    return compact


def signing_key_id(compact: str) -> str:
    """Return the id of the key that a publication says it is signed with. Nothing is checked yet.

    Raises:
        SignatureError: if it is no JWS of ours.
    """
    try:
        header = _jws().extract_compact(compact.encode()).headers()
    except Exception as error:
        raise SignatureError("it is no JWS") from error
    if header.get("alg") != "Ed25519" or header.get("typ") != TYPE:
        raise SignatureError(f"it is not signed as a {TYPE} with Ed25519")
    kid = header.get("kid")
    if not isinstance(kid, str) or not is_id(kid, "key"):
        raise SignatureError("it does not name its key")
    return kid


def open_publication(compact: str, public_key: dict[str, Any]) -> Publication:
    """Return what a publication carries, after its signature was verified.

    Raises:
        SignatureError: if the signature is not of `public_key`, or the content does not fit.
    """
    try:
        verified = _jws().deserialize_compact(
            compact.encode(), _imported(public_key), algorithms=["Ed25519"]
        )
    except Exception as error:
        raise SignatureError("its signature is not valid") from error
    try:
        return Publication.model_validate(strict_json.parse(verified.payload))
    except (ValidationError, ValueError, RecursionError) as error:
        raise SignatureError(f"its content does not fit: {error}") from error


def _imported(key: dict[str, Any]) -> OKPKey:
    try:
        from joserfc.jwk import OKPKey
    except ImportError as error:
        raise MissingExtraError("publishing over Kombu", "publisher") from error
    try:
        return OKPKey.import_key(key)
    except Exception as error:
        raise SignatureError("it is no Ed25519 key in JWK form") from error


def _jws() -> Any:
    try:
        from joserfc import jws
    except ImportError as error:
        raise MissingExtraError("publishing over Kombu", "publisher") from error
    return jws
