"""Settings of the services, from the environment: `SAFEGUARDS_…`."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from safeguards.errors import ConfigurationError
from safeguards.sentinel import SCHEME, SentinelUrl

ROOT = Path(__file__).parents[2]
"""The checkout, where the shipped configuration files stand."""

PREFIX = "SAFEGUARDS_"


def _checked(url: str) -> str:
    """Return the URL as it is, once it has been read if it names sentinels."""
    if url.startswith(SCHEME):
        try:
            SentinelUrl.parse(url)
        except ConfigurationError as error:
            raise ValueError(str(error)) from None
    return url


ServerUrl = Annotated[str, AfterValidator(_checked)]


class Settings(BaseSettings):
    """What every process of the stack may be told, in the environment as `SAFEGUARDS_<NAME>`.

    Make it by `load_settings`, which also refuses misspelt names.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    store_url: ServerUrl = "redis://127.0.0.1:6379/0"
    """The store: Valkey or Redis with `appendonly yes` and `appendfsync always`. Behind Sentinel:
    sentinel://:password@host:26379,host:26379/0?master=NAME (`safeguards.sentinel`)."""

    store_replicas: int = Field(0, ge=0)
    """How many replicas must have what is read or written before it is answered. As many as the
    store has: then no failover loses anything, and while one is away nothing is answered (503).
    One less goes on without one and still loses nothing when the master dies; but when the master
    only stalls, or hands over without `SENTINEL FAILOVER … COORDINATED`, it can."""

    broker_url: ServerUrl = "redis://127.0.0.1:6380/0"
    """The broker: redis://, sentinel:// as above or amqp://. Carries hints only, and may forget
    them."""

    public_url: str = "http://127.0.0.1:8000"
    """Where people reach the gateway: the base of the links in messages."""

    flower_url: str = ""
    """Where operators reach Flower; the console has no link to it unless given."""

    policies_file: Path = ROOT / "deploy" / "policies.yaml"
    """Which safeguards judge which actions, and how people are asked."""

    reviewers_file: Path = ROOT / "deploy" / "reviewers.yaml"
    """Who may answer, and how each is reached."""

    channels_file: Path = ROOT / "deploy" / "channels.yaml"
    """The channels by name. A value `${NAME}` is read from the environment."""

    allow_private_webhooks: bool = False
    """Let webhooks and Slack posts go to private, loopback and link-local addresses."""

    oidc_issuer: str | None = None
    """The OpenID provider by which people may sign in beside a password, by its issuer identifier
    (OpenID Connect Discovery 1.0 section 3); https, or http on this machine."""

    oidc_client_id: str | None = None
    """What the provider knows the console by; its redirect URI is
    `<public_url>/sign-in/oidc/callback`."""

    oidc_client_secret: SecretStr | None = None
    """The client's secret; none for a public client, whose proof is PKCE alone."""

    oidc_name: str = Field("your organisation", min_length=1, max_length=60)
    """What people call the provider: "Sign in with …"."""

    messages_per_window: int = Field(5, ge=1)
    """How many messages one person, or one place that people read, gets by one channel within a
    window; what goes over it is gathered into one digest."""

    messages_per_agent: int = Field(3, ge=1)
    """How many of these may be about one agent."""

    message_window_seconds: float = Field(60, gt=0, le=3600)

    log_format: Literal["console", "json"] = "console"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    # What only `make run` reads.
    data_dir: Path = ROOT / ".safeguards"
    """Where the embedded store, the keys and the passwords of this machine are kept."""

    gateway_port: int = Field(8000, ge=1, le=65535)
    flower_port: int = Field(5555, ge=1, le=65535)
    mail_page_port: int = Field(8025, ge=1, le=65535)
    """The page on which the mail catcher shows what it caught."""

    smtp_port: int = Field(1025, ge=1, le=65535)
    """Where the mail catcher takes mail."""

    @model_validator(mode="after")
    def _oidc_is_whole(self) -> Self:
        if (self.oidc_issuer is None) != (self.oidc_client_id is None):
            raise ValueError("SAFEGUARDS_OIDC_ISSUER and SAFEGUARDS_OIDC_CLIENT_ID go together")
        if self.oidc_client_secret is not None and self.oidc_issuer is None:
            raise ValueError("SAFEGUARDS_OIDC_CLIENT_SECRET goes with SAFEGUARDS_OIDC_ISSUER")
        if self.oidc_issuer is not None:
            issuer = urlsplit(self.oidc_issuer)
            is_here = issuer.hostname in ("127.0.0.1", "localhost", "::1")
            schemes = ("http", "https") if is_here else ("https",)
            if not issuer.netloc or issuer.scheme not in schemes:
                raise ValueError("SAFEGUARDS_OIDC_ISSUER is no https URL")
        return self


def load_settings(env_file: Path | None = None) -> Settings:
    """Read the settings from the environment, then from `env_file` for those not in it.

    Raises:
        ConfigurationError: naming each setting that is misspelt or has a wrong value.
    """
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if unknown:
        hints = [_suggestion(name, known) for name in unknown]
        raise ConfigurationError("unknown settings in the environment: " + "; ".join(hints))
    try:
        return Settings(_env_file=env_file)
    except ValidationError as error:
        wrong = "; ".join(_place(line["loc"]) + line["msg"] for line in error.errors())
        raise ConfigurationError(f"settings that do not fit: {wrong}") from error


def _place(location: tuple[int | str, ...]) -> str:
    """Return the name of a setting; nothing where several do not fit each other."""
    return f"{PREFIX}{'.'.join(map(str, location)).upper()}: " if location else ""


def _suggestion(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"{name} (did you mean {close[0]}?)" if close else f"{name} (no setting is like it)"
