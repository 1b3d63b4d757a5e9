"""`safeguards-admin`: API keys, messages set aside, dead deliveries."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import sys
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Annotated, Any

import typer
from joserfc.jwk import OKPKey
from redis.exceptions import RedisError

from safeguards.errors import SafeguardsError
from safeguards.identifiers import is_id, new_id
from safeguards.text import visible
from safeguards_runtime.messaging import make_app, publisher
from safeguards_runtime.records import (
    ApiKey,
    Change,
    Delivery,
    SetAsideMessage,
    api_key,
    delivery,
    set_aside,
)
from safeguards_runtime.records.api_key import Role, api_key_text, hash_secret
from safeguards_runtime.records.set_aside import SetAsideStatus
from safeguards_runtime.reviewers import load_directory
from safeguards_runtime.settings import Settings, load_settings
from safeguards_runtime.store import Store
from safeguards_runtime.topology import Task

app = typer.Typer(help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)
keys = typer.Typer(help="API keys.", no_args_is_help=True)
messages = typer.Typer(help="Messages that were set aside.", no_args_is_help=True)
deliveries = typer.Typer(help="Deliveries that were given up.", no_args_is_help=True)
app.add_typer(keys, name="keys")
app.add_typer(messages, name="messages")
app.add_typer(deliveries, name="deliveries")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LISTED = 500


def main() -> None:
    """Run the command; an expected error is one line on standard error, and exit code 1."""
    try:
        app()
    except (SafeguardsError, RedisError, OSError) as error:
        print(f"safeguards-admin: {error}", file=sys.stderr)
        sys.exit(1)


def _settings() -> Settings:
    """Return the settings: of the environment, else of the stack that `make run` has started."""
    return load_settings(env_file=load_settings().data_dir / "stack.env")


def _with_store(work: Callable[[Store], Coroutine[Any, Any, Any]]) -> Any:
    async def run() -> Any:
        settings = _settings()
        store = Store(settings.store_url, replicas=settings.store_replicas)
        try:
            return await work(store)
        finally:
            await store.close()

    return asyncio.run(run())


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
    if reviewer and load_directory(_settings().reviewers_file).get(reviewer) is None:
        raise typer.BadParameter(f"{reviewer!r} is not in the reviewers file")
    shown = _with_store(
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

    _print(_with_store(work), as_json)


@keys.command("revoke")
def revoke_key(key_id: str) -> None:
    """Revoke an API key, at once and for good."""

    def rule(key: ApiKey | None, now: datetime) -> Change | None:
        if key is None:
            raise SafeguardsError(f"there is no API key {key_id}")
        return api_key.revoke(key, now)

    _with_store(lambda store: store.apply(_checked(key_id, "key"), ApiKey, rule))
    typer.echo(f"{key_id} is revoked")


@messages.command("list")
def list_messages(status: SetAsideStatus = SetAsideStatus.HELD, as_json: AsJson = False) -> None:
    """List messages that were set aside, newest first."""

    async def work(store: Store) -> list[dict[str, Any]]:
        _, records = await store.load(await store.listed(f"set_aside:{status}", limit=LISTED))
        return [
            {
                "message_id": record.id,
                "queue": record.queue,
                "received_at": record.received_at.isoformat(),
                "size_bytes": record.size_bytes,
                "reason": record.reason,
            }
            for record in records
            if isinstance(record, SetAsideMessage)
        ]

    _print(_with_store(work), as_json)


@messages.command("show")
def show_message(message_id: str) -> None:
    """Print a message as it came, with what cannot be printed written out."""
    record = _with_store(lambda store: _message(store, message_id))
    typer.echo(visible(base64.b64decode(record.payload).decode("utf-8", "backslashreplace")))


@messages.command("replay")
def replay_message(message_id: str) -> None:
    """Put a message back on its queue, as it came."""

    async def work(store: Store) -> None:
        record = await _message(store, message_id)
        if record.status is not SetAsideStatus.HELD:
            raise SafeguardsError(f"{message_id} is {record.status.lower()} already")
        if not record.is_whole:
            raise SafeguardsError(f"{message_id} was too large to be kept whole")
        # Noted first: a worker may refuse it, and hold it again, at once.
        await store.apply(message_id, SetAsideMessage, _settling(SetAsideStatus.REPLAYED))
        try:
            await asyncio.to_thread(_republish, record)
        except BaseException:
            await store.apply(message_id, SetAsideMessage, set_aside.hold_again)
            raise

    _with_store(work)
    typer.echo(f"{message_id} is back on its queue")


def _republish(record: SetAsideMessage) -> None:
    """Put the payload back: a publication as a task's argument, anything else byte by byte."""
    payload = base64.b64decode(record.payload)
    settings = _settings()
    if record.is_publication:
        celery = make_app(settings)
        try:
            publisher(celery)(Task.EVALUATE, [payload.decode()])
        finally:
            celery.close()
        return
    with make_app(settings).connection_for_write() as connection:
        channel = connection.default_channel
        if not hasattr(channel, "client"):
            raise SafeguardsError("only a Redis or Valkey broker takes a message back as it was")
        channel.client.lpush(record.queue, payload)


@messages.command("discard")
def discard_message(message_id: str) -> None:
    """Note that a message is not wanted. It stays on record."""
    rule = _settling(SetAsideStatus.DISCARDED)
    _with_store(lambda store: store.apply(_checked(message_id, "msg"), SetAsideMessage, rule))
    typer.echo(f"{message_id} is discarded")


def _settling(
    status: SetAsideStatus,
) -> Callable[[SetAsideMessage | None, datetime], Change | None]:
    def rule(record: SetAsideMessage | None, now: datetime) -> Change | None:
        if record is None:
            raise SafeguardsError("there is no such message")
        return set_aside.settle(record, status, now)

    return rule


async def _message(store: Store, message_id: str) -> SetAsideMessage:
    record = await store.get(_checked(message_id, "msg"), SetAsideMessage)
    if record is None:
        raise SafeguardsError(f"there is no message {message_id}")
    return record


@deliveries.command("list")
def list_deliveries(
    status: delivery.DeliveryStatus = delivery.DeliveryStatus.DEAD, as_json: AsJson = False
) -> None:
    """List deliveries, newest first: those given up, unless another status is asked for."""

    async def work(store: Store) -> list[dict[str, Any]]:
        ids = await store.listed(f"deliveries:status:{status}", limit=LISTED)
        _, records = await store.load(ids)
        return [
            {
                "delivery_id": record.id,
                "of": record.source_id,
                "event": record.event,
                "channel": record.channel,
                "attempts": len(record.attempts),
                "error": record.attempts[-1].error if record.attempts else None,
            }
            for record in records
            if isinstance(record, Delivery)
        ]

    _print(_with_store(work), as_json)


@deliveries.command("replay")
def replay_delivery(delivery_id: str) -> None:
    """Send a delivery that was given up once more."""

    def rule(record: Delivery | None, now: datetime) -> Change | None:
        if record is None:
            raise SafeguardsError(f"there is no delivery {delivery_id}")
        change = delivery.replay(record, now, "operator")
        if change is None:
            raise SafeguardsError(f"{delivery_id} was not given up: it is {record.status}")
        return change

    _with_store(lambda store: store.apply(_checked(delivery_id, "dlv"), Delivery, rule))
    typer.echo(f"{delivery_id} is sent once more")


def _checked(record_id: str, prefix: Any) -> str:
    if not is_id(record_id, prefix):
        raise SafeguardsError(f"{record_id!r} is no identifier of the form {prefix}_…")
    return record_id


def _print(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(rows))
        return
    if not rows:
        typer.echo("none")
    for row in rows:
        typer.echo("  ".join(f"{name}={value}" for name, value in row.items()))


if __name__ == "__main__":
    main()
