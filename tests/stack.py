"""The whole stack under test: `deploy.local` as `make run` starts it, and receivers around it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2
import yaml
from argon2 import PasswordHasher

from deploy.local import worker_argv
from deploy.valkey import free_port
from safeguards.client import Safeguards
from safeguards_runtime.records import Account, Change, account
from safeguards_runtime.store import Store
from safeguards_runtime.topology import Service
from tests.deploy.running import Running, eventually, is_alive
from tests.receivers import HttpReceiver, SlackApi, SmtpServer, webhook_secret

REVIEWERS: dict[str, Any] = {
    "version": 1,
    "reviewers": [
        {
            "id": name,
            "name": name.capitalize(),
            "email": f"{name}@example.com",
            "slack_user": f"U0{name.upper()}",
            "groups": [group],
        }
        for name, group in (("alex", "reviewers"), ("sam", "reviewers"), ("lee", "others"))
    ],
}

UNGATHERED = {
    "SAFEGUARDS_MESSAGES_PER_WINDOW": "1000000",
    "SAFEGUARDS_MESSAGES_PER_AGENT": "1000000",
}
"""Settings with which each message is sent by itself."""


@dataclass(frozen=True)
class Key:
    """An API key that `safeguards-admin keys create` printed."""

    key_id: str
    api_key: str
    callback_secret: str | None = None
    signing_key: dict[str, Any] | None = None


class Stack:
    """A running stack on ports of its own, with real receivers for mail, Slack and webhooks.

    Args:
        folder: for its data and configuration.
        default_channels: the channels by which people are asked.
        timeout_seconds: how long they have.
        settings: further settings, by name. Unless they say otherwise, no messages are gathered
            into digests.
        terms: further keys of how people are asked, such as `order`.
        more_approvals: further ways of asking people, each with the keys in which it differs from
            the first and for the type of action of its name.
        more_rules: further `safeguards` and `policies` of the policies file.
        more_channels: further channels of the channels file, by name.
        reviewers: the reviewers file.
        module: what runs the stack.
    """

    def __init__(
        self,
        folder: Path,
        *,
        channels: Iterable[str] = ("email", "slack", "webhook"),
        timeout_seconds: int = 60,
        settings: dict[str, str] | None = None,
        terms: dict[str, Any] | None = None,
        more_approvals: dict[str, dict[str, Any]] | None = None,
        more_rules: dict[str, Any] | None = None,
        more_channels: dict[str, Any] | None = None,
        reviewers: dict[str, Any] | None = None,
        module: str = "deploy.local",
    ) -> None:
        self.folder = folder
        self._module = module
        self.smtp = SmtpServer()
        self.slack = HttpReceiver()
        self.slack_bot = SlackApi()
        self.webhook = HttpReceiver()
        self.webhook_secret = webhook_secret()
        self._channels = tuple(channels)
        self._timeout_seconds = timeout_seconds
        self._settings = {**UNGATHERED, **(settings or {})}
        self._terms = terms or {}
        self._more_approvals = more_approvals or {}
        self._more_rules = more_rules or {}
        self._more_channels = more_channels or {}
        self._reviewers = reviewers or REVIEWERS
        self._clients: list[Safeguards] = []
        self.passwords = {
            reviewer["id"]: f"{reviewer['id']} opens the door"
            for reviewer in self._reviewers["reviewers"]
        }
        """What each reviewer signs in to the console with, by their ids."""

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as begun:
            for receiver in (self.smtp, self.slack, self.slack_bot, self.webhook):
                begun.enter_context(receiver)
            self._begin(begun)
            # From here on it is ended by `__exit__`.
            begun.pop_all()
        return self

    def _begin(self, begun: contextlib.ExitStack) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.api = f"{self.url}/api/v1"
        self.slack_bot.gateway_url = f"{self.api}/slack/interactions"
        self.environment = {
            "SAFEGUARDS_DATA_DIR": str(self.folder / "data"),
            "SAFEGUARDS_GATEWAY_PORT": str(self.port),
            "SAFEGUARDS_FLOWER_PORT": str(free_port()),
            "SAFEGUARDS_MAIL_PAGE_PORT": str(free_port()),
            "SAFEGUARDS_SMTP_PORT": str(free_port()),
            "SAFEGUARDS_REVIEWERS_FILE": str(self.write("reviewers.yaml", self._reviewers)),
            "SAFEGUARDS_POLICIES_FILE": str(self.write("policies.yaml", self._policies())),
            "SAFEGUARDS_CHANNELS_FILE": str(self.write("channels.yaml", self._channels_file())),
            **self._settings,
        }
        self.start()
        begun.push(self.running)
        names = [reviewer["id"] for reviewer in self._reviewers["reviewers"]]
        with ThreadPoolExecutor() as at_once:
            # In a thread of its own: this one may have an event loop already.
            passwords = at_once.submit(lambda: asyncio.run(self._set_passwords()))
            agent = at_once.submit(self.create_key, "--agent", "*")
            reviewers = at_once.map(partial(self.create_key, "--reviewer"), names)
            passwords.result()
            self.agent_key = agent.result()
            self.reviewer_keys = dict(zip(names, reviewers, strict=True))

    async def _set_passwords(self) -> None:
        """Write what `safeguards-admin reviewers set-password` would, without a process for each
        and with hashes that cost little; the first sign-in makes a better one of it."""
        hasher = PasswordHasher(time_cost=1, memory_cost=64)
        store = Store(self.setting("SAFEGUARDS_STORE_URL"))
        for name, password in self.passwords.items():
            given = hasher.hash(password)

            def rule(
                standing: Account | None, now: datetime, name: str = name, given: str = given
            ) -> Change:
                return account.password_set(standing, name, given, now, actor="operator")

            await store.apply(account.account_id(name), Account, rule)
        await store.close()

    def start(self) -> None:
        """Start what `make run` starts, and wait until it says so."""
        self.running = Running(["-m", self._module], self.environment)
        try:
            self.running.position("Safeguards is running")
        except AssertionError:
            self.running.__exit__(None, None, None)
            raise

    def stop(self) -> int:
        """Stop it as Ctrl-C does; return the exit code."""
        self.running.send(signal.SIGTERM)
        code = self.running.wait()
        self.running.__exit__(None, None, None)
        return code

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for client in self._clients:
            client.close()
        self.running.__exit__(exc_type, exc, traceback)
        if exc is not None:
            print(self.running.output[-20_000:])
        for receiver in (self.smtp, self.slack, self.slack_bot, self.webhook):
            receiver.__exit__(None, None, None)

    def write(self, name: str, content: Any) -> Path:
        """Write a configuration file: `channels.yaml`, `policies.yaml` or `reviewers.yaml`."""
        path = self.folder / name
        path.write_text(yaml.safe_dump(content))
        return path

    def _policies(self) -> dict[str, Any]:
        policies: dict[str, Any] = yaml.safe_load(Path("deploy/policies.yaml").read_text())
        for terms in policies["approvals"].values():
            terms["channels"] = list(self._channels)
            terms["timeout_seconds"] = self._timeout_seconds
            terms |= self._terms
        for name, keys in self._more_approvals.items():
            policies["approvals"][name] = {**policies["approvals"]["default"], **keys}
            match = {"action_types": [name]}
            policies["policies"].append({"name": name, "match": match, "approval": name})
        policies["safeguards"] |= self._more_rules.get("safeguards", {})
        policies["policies"] += self._more_rules.get("policies", [])
        return policies

    def _channels_file(self) -> dict[str, Any]:
        mail = {"smtp_server": "127.0.0.1", "smtp_port": self.smtp.port, "use_tls": False}
        webhook = {"url": self.webhook.url("/hook"), "secret": self.webhook_secret}
        return {
            "version": 1,
            "channels": {
                "email": {"kind": "email", "config": {**mail, "sender": "sg@example.com"}},
                # Faster than Slack would take them, so that tests need not wait for their turn.
                "slack": {
                    "kind": "slack",
                    "max_per_second": 1000,
                    "config": {"webhook_url": self.slack.url("/slack")},
                },
                "slack_bot": {
                    "kind": "slack",
                    "max_per_second": 1000,
                    "config": self.slack_bot.config(),
                },
                "slack_direct": {"kind": "slack", "config": self.slack_bot.config(channel=None)},
                "webhook": {"kind": "webhook", "config": webhook},
                "log": {"kind": "log"},
                **self._more_channels,
            },
        }

    def admin(self, *arguments: str) -> str:
        """Run `safeguards-admin` on this stack; return what it printed."""
        done = self.admin_run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def admin_run(self, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        """Run `safeguards-admin`, however it ends; `typed` is what somebody types meanwhile."""
        env_file = (self.folder / "data" / "stack.env").read_text()
        found = dict(re.findall(r"^(SAFEGUARDS_\w+)='(.*)'$", env_file, re.MULTILINE))
        clean = {k: v for k, v in os.environ.items() if not k.startswith("SAFEGUARDS_")}
        return subprocess.run(
            [sys.executable, "-m", "safeguards_runtime.admin", *arguments],
            env={**clean, **found},
            input=typed,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def setting(self, name: str) -> str:
        """Return a setting of the running stack, such as `SAFEGUARDS_STORE_URL`."""
        env_file = (self.folder / "data" / "stack.env").read_text()
        found: dict[str, str] = dict(
            re.findall(r"^(SAFEGUARDS_\w+)='(.*)'$", env_file, re.MULTILINE)
        )
        return found[name]

    def create_key(self, *options: str) -> Key:
        """Make an API key."""
        return Key(**json.loads(self.admin("keys", "create", *options, "--json")))

    def client(self, key: Key | None = None) -> Safeguards:
        """Return an agent's client, closed with the stack."""
        client = Safeguards(self.api, (key or self.agent_key).api_key)
        self._clients.append(client)
        return client

    def http(self, key: Key | None = None) -> httpx2.Client:
        """Return a bare HTTP client on the API, with an API key."""
        headers = {"Authorization": f"Bearer {(key or self.agent_key).api_key}"}
        # Loading the certificates, which loopback does not need, takes longer than the request.
        return httpx2.Client(base_url=self.api, headers=headers, timeout=30, verify=False)

    def respond(self, approval_id: str, reviewer: str = "alex", **body: Any) -> httpx2.Response:
        """Answer an approval as a reviewer over the API, having looked at it."""
        with self.http(self.reviewer_keys[reviewer]) as http:
            seen = http.get(f"/approvals/{approval_id}").json()
            shown = {"version": seen.get("version", 1), "digest": seen.get("digest")}
            return http.post(f"/approvals/{approval_id}/responses", json={**shown, **body})

    def history(self, approval_id: str) -> list[dict[str, Any]]:
        """Return the history of an approval."""
        with self.http() as http:
            history: list[dict[str, Any]] = http.get(f"/approvals/{approval_id}/history").json()
            return history

    def process_id(self, name: str) -> int:
        """Return the process id of a service, by its name in the log."""
        words = {
            "gateway": "services.gateway",
            "safeguard-evaluator": "services.safeguard_evaluator",
            "approval-tracker": "services.approval_tracker",
            "notifier": "services.notifier",
        }
        found: list[int] = []

        def is_there() -> bool:
            found[:] = [
                process_id
                for process_id in _children(self.running.process.pid)
                if words[name] in _command_line(process_id)
            ]
            return len(found) == 1

        eventually(is_there, f"{name} runs")
        return found[0]

    def another(self, service: Service) -> Running:
        """Return another worker of a service, beside the one of the stack; started by `with`."""
        found = (self.folder / "data" / "stack.env").read_text()
        settings = dict(re.findall(r"^(SAFEGUARDS_\w+)='(.*)'$", found, re.MULTILINE))
        argv = [word for word in worker_argv(service)[1:] if word != "--quiet"]
        return Running([*argv, "--hostname", "second@%h"], settings)

    def kill(self, name: str) -> None:
        """Kill a service as the machine would: SIGKILL. The supervisor starts it again."""
        killed: list[int] = []

        def kill_it() -> bool:
            # It may have ended by itself since it was found.
            with contextlib.suppress(ProcessLookupError):
                process_id = self.process_id(name)
                os.kill(process_id, signal.SIGKILL)
                killed.append(process_id)
            return bool(killed)

        eventually(kill_it, f"{name} is killed")
        eventually(lambda: not is_alive(killed[0]), f"{name} is dead")

    def kill_everything(self) -> None:
        """Kill every process but the supervisor, the Valkey servers among them, at once."""
        children = _children(self.running.process.pid)
        for process_id in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process_id, signal.SIGKILL)
        eventually(lambda: not any(map(is_alive, children)), "everything is dead")


def _children(process_id: int) -> list[int]:
    """Return the children of a process (Linux)."""
    found: list[int] = []
    for task in Path(f"/proc/{process_id}/task").iterdir():
        with contextlib.suppress(OSError):
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def _command_line(process_id: int) -> str:
    try:
        return Path(f"/proc/{process_id}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
