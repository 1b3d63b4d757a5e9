"""`safeguards-admin keys`: API keys."""

from __future__ import annotations

import base64
import json
import secrets
from datetime import datetime
from typing import Annotated, Any

import typer
from joserfc.jwk import OKPKey

from safeguards.errors import SafeguardsError
from safeguards.identifiers import new_id
from safeguards_runtime.admin.console import (
    LISTED,
    AsJson,
    checked,
    print_rows,
    settings,
    with_store,
)
from safeguards_runtime.records import ApiKey, Change, api_key
from safeguards_runtime.records.api_key import Role, api_key_text, hash_secret
from safeguards_runtime.reviewers import load_directory
from safeguards_runtime.store import Store

keys = typer.Typer(help="API keys.", no_args_is_help=True)


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Option(help="What people call it.")] = "",
    agent: Annotated[
        list[str] | None, typer.Option(help="An agent it speaks for; repeatable; '*' is any.")
    ] = None,
    reviewer: Annotated[str, typer.Option(help="The reviewer it answers as.")] = "",
    owner: Annotated[
        str, typer.Option(help="The person behind the agents, who may not answer them.")
    ] = "",
    signing: Annotated[
        bool, typer.Option("--signing", help="Also make an Ed25519 key to publish over Kombu.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make an API key for agents or for a reviewer. Its secrets are shown this once."""
    if bool(agent) == bool(reviewer):
        raise typer.BadParameter("give either --agent (once or more) or --reviewer")
    if reviewer and (signing or owner):
        raise typer.BadParameter("--signing and --owner go with --agent only")
    if not all(name.strip() for name in agent or []):
        raise typer.BadParameter("an agent has a name; '*' is any")
    if reviewer and load_directory(settings().reviewers_file).get(reviewer) is None:
        raise typer.BadParameter(f"{reviewer!r} is not in the reviewers file")
    shown = with_store(
        lambda store: _create_key(store, name, agent or [], reviewer, owner, signing)
    )
    if as_json:
        typer.echo(json.dumps(shown))
        return
    for label, value in shown.items():
        typer.echo(f"{label}: {value if isinstance(value, str) else json.dumps(value)}")


async def _create_key(
    store: Store, name: str, agents: list[str], reviewer: str, owner: str, signing: bool
) -> dict[str, Any]:
    key_id, secret = new_id("key"), secrets.token_urlsafe(32)
    shown: dict[str, Any] = {"key_id": key_id, "api_key": api_key_text(key_id, secret)}
    public_key = None
    if signing and agents:
        pair = OKPKey.generate_key("Ed25519", {"kid": key_id}, private=True)
        public_key = pair.as_dict(private=False)
        shown["signing_key"] = pair.as_dict(private=True)
    callback_secret = None
    if agents:
        callback_secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
        shown["callback_secret"] = callback_secret
    now = await store.now()
    key = ApiKey(
        id=key_id,
        name=name,
        role=Role.AGENT if agents else Role.REVIEWER,
        agent_ids=tuple(agents),
        reviewer_id=reviewer or None,
        owner=owner or None,
        secret_hash=hash_secret(secret),
        callback_secret=callback_secret,
        public_key=public_key,
        created_at=now,
    )
    await store.create(api_key.create(key, now))
    return shown


@keys.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """List the API keys, newest first."""

    async def work(store: Store) -> list[dict[str, Any]]:
        _, records = await store.load(await store.listed("keys", limit=LISTED))
        return [
            {
                "key_id": key.id,
                "name": key.name,
                "role": key.role.value,
                "for": key.reviewer_id or ", ".join(key.agent_ids),
                "created_at": key.created_at.isoformat(),
                "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None,
            }
            for key in records
            if isinstance(key, ApiKey)
        ]

    print_rows(with_store(work), as_json)


@keys.command("revoke")
def revoke_key(key_id: str) -> None:
    """Revoke an API key, at once and for good."""

    def rule(key: ApiKey | None, now: datetime) -> Change | None:
        if key is None:
            raise SafeguardsError(f"there is no API key {key_id}")
        return api_key.revoke(key, now)

    with_store(lambda store: store.apply(checked(key_id, "key"), ApiKey, rule))
    typer.echo(f"{key_id} is revoked")
