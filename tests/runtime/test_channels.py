"""The channels file: kinds, secrets, names, and what happens when it changes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml

from safeguards.errors import ConfigurationError, TransientDeliveryError
from safeguards.notifications.channels import AsyncChannel, NotificationChannel, WebhookChannel
from safeguards.notifications.message import Message
from safeguards.types import AlertSeverity, SafetyAlert
from safeguards_runtime import channel_kinds
from safeguards_runtime.channels import Channel, ChannelLoader, load_channels
from safeguards_runtime.plain_channel import PlainChannel
from tests import installing
from tests.deploy.running import eventually
from tests.example_channel import install
from tests.receivers import HttpReceiver, webhook_secret

SECRET = webhook_secret()


def channels_file(folder: Path, **channels: Any) -> Path:
    path = folder / "channels.yaml"
    path.write_text(yaml.safe_dump({"version": 1, "channels": channels}, sort_keys=False))
    return path


def load(folder: Path, environment: dict[str, str] | None = None, **channels: Any) -> Any:
    path = channels_file(folder, **channels)
    return load_channels(path, allow_private=True, environment=environment or {})


def webhook(**config: Any) -> dict[str, Any]:
    return {
        "kind": "webhook",
        "config": {"url": "https://hooks.example/", "secret": SECRET, **config},
    }


def message() -> Message:
    facts = (("Agent", "advisor"), ("amount", "10.00\u202e"))
    return Message(event="approval.requested", subject="Pay?", facts=facts, data={"id": "apr_1"})


def test_channels_have_what_the_file_says(tmp_path: Path) -> None:
    found = load(
        tmp_path,
        quiet={"kind": "log", "min_severity": "ERROR", "max_per_second": 7},
        hook=webhook(),
    )
    assert list(found) == ["quiet", "hook"]
    quiet, hook = found["quiet"], found["hook"]
    assert (quiet.name, quiet.kind, quiet.min_severity) == ("quiet", "log", AlertSeverity.ERROR)
    assert (quiet.max_per_second, quiet.reads) == (7, "nobody")
    assert (hook.max_per_second, hook.reads) == (WebhookChannel.max_per_second, "programs")
    assert isinstance(hook.sender, WebhookChannel)


def test_secrets_come_from_the_environment_however_deep(tmp_path: Path) -> None:
    """In lists and dicts too; a value that only contains `${…}` is left alone."""
    nested = {"kind": "webhook", "config": {"url": "${URL}", "secrets": ["${NEW}", SECRET]}}
    environment = {"URL": "https://hooks.example/${x}", "NEW": webhook_secret()}
    hook = load(tmp_path, environment, hook=nested)["hook"].sender
    assert isinstance(hook, WebhookChannel)
    assert hook._config.secrets == (environment["NEW"], SECRET)
    assert hook._config.url == environment["URL"]
    with pytest.raises(ConfigurationError, match=r"hook\.config\.secrets\.0: the environment has"):
        load(tmp_path, {"URL": "https://hooks.example/"}, hook=nested)


@pytest.mark.parametrize("name", ["a b", "-a", ".a", "é", "a/b", "", "x" * 101, "callback"])
def test_a_name_that_cannot_be_one_is_refused(name: str, tmp_path: Path) -> None:
    """`callback` is the name of the agents' own addresses."""
    with pytest.raises(ConfigurationError, match=r"channels\.yaml: channels\."):
        load(tmp_path, **{name: {"kind": "log"}})


@pytest.mark.parametrize("name", ["a", "Ops-2", "on_call.eu", "x" * 100])
def test_names_that_may_be(name: str, tmp_path: Path) -> None:
    assert list(load(tmp_path, **{name: {"kind": "log"}})) == [name]


@pytest.mark.parametrize(
    ("channel", "said"),
    [
        ({"kind": "emial"}, "channels.x: the kind 'emial' is unknown: did you mean 'email'?"),
        ({"kind": "pager"}, "may be one of apprise, email, log, slack, webhook"),
        ({"kind": ""}, "channels.x.kind (line "),
        ({"kind": "log", "max_per_second": 0}, "channels.x.max_per_second (line "),
        ({"kind": "log", "config": {"level": "INFO"}}, "channels.x: LoggingChannel: the key"),
        ({"kind": "log", "colour": "red"}, "channels.x.colour (line "),
        ({"kind": "apprise", "config": {"urls": ["nope://S3CRET"]}}, "'urls.0' is wrong"),
    ],
)
@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
def test_what_does_not_fit_is_named(channel: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, x=channel)
    assert said in str(caught.value)
    assert "S3CRET" not in str(caught.value)


# What happens when the file changes.


def test_what_has_not_changed_goes_on_as_it_is(tmp_path: Path) -> None:
    """The sender stays, with its connections, though how seriously it is taken may change."""
    loader = ChannelLoader(allow_private=True, retire_seconds=0)
    before = loader(channels_file(tmp_path, a=webhook(), b=webhook(), c=webhook()))
    changed = {**webhook(), "min_severity": "ERROR", "max_per_second": 3}
    b = webhook(timeout_seconds=5)
    after = loader(channels_file(tmp_path, a=changed, b=b, d=webhook()))
    assert list(after) == ["a", "b", "d"]
    assert after["a"].sender is before["a"].sender
    assert (after["a"].min_severity, after["a"].max_per_second) == (AlertSeverity.ERROR, 3)
    assert after["b"].sender is not before["b"].sender
    gone = [before["b"].sender, before["c"].sender]
    eventually(lambda: not any(s._initialized for s in gone), "what was replaced is shut down")
    assert all(channel.sender._initialized for channel in after.values())


async def test_what_was_begun_can_end(tmp_path: Path) -> None:
    """A channel is removed while it sends: the receiver's late answer still counts."""
    with HttpReceiver() as http:
        loader = ChannelLoader(allow_private=True, retire_seconds=60)
        hook = loader(channels_file(tmp_path, hook=webhook(url=http.url())))["hook"]
        http.answer(delay=0.3)
        sending = asyncio.create_task(hook.sender.deliver(message()))
        await asyncio.to_thread(http.wait_for)
        assert loader(channels_file(tmp_path)) == {}
        assert await sending is None
        await hook.sender.aclose()
        hook.sender.shutdown()


def test_a_file_that_does_not_fit_changes_nothing(tmp_path: Path) -> None:
    """Not even what stands in it before the mistake."""
    loader = ChannelLoader(allow_private=True, retire_seconds=0)
    before = loader(channels_file(tmp_path, a=webhook(), b=webhook()))
    mistake = {"kind": "webhook", "config": {}}
    with pytest.raises(ConfigurationError):
        loader(channels_file(tmp_path, a=webhook(timeout_seconds=1), b=webhook(), c=mistake))
    assert all(channel.sender._initialized for channel in before.values())
    again = loader(channels_file(tmp_path, a=webhook(), b=webhook()))
    assert [c.sender for c in again.values()] == [c.sender for c in before.values()]


# Channels of one's own.


class Plain(NotificationChannel):
    """The least that a channel can be."""

    def __init__(self) -> None:
        self.alerts: list[SafetyAlert] = []
        self.threads: set[str] = set()
        self.answer: Any = True
        self.is_open = False

    def initialize(self, config: dict[str, Any]) -> None:
        self.is_open = bool(config)

    def send_notification(self, alert: SafetyAlert) -> bool:
        self.alerts.append(alert)
        self.threads.add(threading.current_thread().name)
        if isinstance(self.answer, Exception):
            raise self.answer
        return bool(self.answer)

    def shutdown(self) -> None:
        self.is_open = False


async def test_a_plain_channel_gets_messages_as_alerts() -> None:
    """In a thread; with the text as people read it, and the values for programs."""
    plain = Plain()
    channel = PlainChannel(plain)
    channel.initialize({"any": "thing"})
    sent = message()
    assert await channel.deliver(sent) is None
    [alert] = plain.alerts
    assert (alert.title, alert.severity) == ("Pay?", AlertSeverity.INFO)
    assert "Agent: advisor\namount: 10.00⟨U+202E⟩" in alert.description
    assert alert.metadata == {
        "id": sent.id,
        "event": "approval.requested",
        "facts": [["Agent", "advisor"], ["amount", "10.00⟨U+202E⟩"]],
        "data": {"id": "apr_1"},
    }
    assert threading.current_thread().name not in plain.threads
    channel.shutdown()
    assert not plain.is_open
    with pytest.raises(ConfigurationError):
        await channel.deliver(sent)


async def test_a_plain_channel_that_could_not_send_is_tried_again() -> None:
    """False is a failure; what it raises is passed on."""
    plain = Plain()
    channel = PlainChannel(plain)
    channel.initialize({})
    plain.answer = False
    with pytest.raises(TransientDeliveryError, match="Plain could not hand it over"):
        await channel.deliver(message())
    plain.answer = ZeroDivisionError("mine")
    with pytest.raises(ZeroDivisionError):
        await channel.deliver(message())
    channel.shutdown()


class Paced(AsyncChannel):
    """One that says how much it takes."""

    max_per_second: ClassVar[int | None] = 5

    def initialize(self, config: dict[str, Any]) -> None:
        if config:
            int(config["number"])
        self._initialized = True

    async def deliver(self, message: Message, recipients: Sequence[str] = ()) -> str | None:
        return None


class Broken(Paced):
    """One that cannot be made."""

    def __init__(self) -> None:
        raise OSError("no such device")


register = partial(installing.register, group=channel_kinds.KINDS.group)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose packages count as installed."""
    folder = tmp_path / "packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    return folder


def test_a_kind_says_how_much_it_takes_and_the_file_may_say_less(
    tmp_path: Path, installed: Path
) -> None:
    register(installed, "paced", paced="tests.runtime.test_channels:Paced")
    found = load(tmp_path, a={"kind": "paced"}, b={"kind": "paced", "max_per_second": 2})
    assert [channel.max_per_second for channel in found.values()] == [5, 2]
    assert isinstance(found["a"].sender, AsyncChannel)


def test_only_a_channel_that_is_asked_for_can_be_broken(tmp_path: Path, installed: Path) -> None:
    """A package that cannot be loaded harms nobody who does not use it."""
    register(
        installed,
        "broken",
        missing="no_such_module:Channel",
        nameless="tests.runtime.test_channels:NoSuchChannel",
        failing="tests.runtime.test_channels:Broken",
        strange="builtins:dict",
        paced="tests.runtime.test_channels:Paced",
    )
    assert list(load(tmp_path, fine={"kind": "log"})) == ["fine"]
    for kind, said in {
        "missing": "cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'",
        "nameless": "cannot be loaded: AttributeError",
        "failing": "cannot be loaded: OSError: no such device",
        "strange": "is no channel: builtins:dict does not derive from",
    }.items():
        with pytest.raises(ConfigurationError) as caught:
            load(tmp_path, x={"kind": kind})
        assert f"channels.x: the kind {kind!r} of the package 'broken' {said}" in str(caught.value)


def test_a_config_that_ones_own_channel_trips_over_is_named(
    tmp_path: Path, installed: Path
) -> None:
    """Without the values, which may be secrets."""
    register(installed, "paced", paced="tests.runtime.test_channels:Paced")
    with pytest.raises(ConfigurationError, match="'paced' misses the key 'number' in config"):
        load(tmp_path, x={"kind": "paced", "config": {"n": 1}})
    with pytest.raises(ConfigurationError, match="could not be initialized: ValueError") as caught:
        load(tmp_path, x={"kind": "paced", "config": {"number": "S3CRET"}})
    assert "S3CRET" not in str(caught.value)


def test_nobody_takes_the_name_of_a_built_in_kind(tmp_path: Path, installed: Path) -> None:
    register(installed, "usurper", email="tests.runtime.test_channels:Paced")
    with pytest.raises(ConfigurationError, match="the package 'usurper' registers a kind 'email'"):
        load(tmp_path, x={"kind": "email"})
    assert list(load(tmp_path, x={"kind": "log"})) == ["x"]


def test_two_packages_may_not_register_the_same_kind(tmp_path: Path, installed: Path) -> None:
    register(installed, "one", pager="tests.runtime.test_channels:Paced")
    register(installed, "two", pager="tests.runtime.test_channels:Broken")
    with pytest.raises(ConfigurationError, match="more than once: the package 'one', the package"):
        load(tmp_path, x={"kind": "pager"})


def test_every_built_in_kind_is_loaded_by_its_name(tmp_path: Path) -> None:
    assert set(channel_kinds.BUILT_IN) == {"email", "slack", "webhook", "log"}
    assert isinstance(load(tmp_path, x={"kind": "log"})["x"], Channel)


IN_ANOTHER_PROCESS = """
import asyncio, sys
from pathlib import Path
from safeguards.notifications.message import Message
from safeguards_runtime.channels import load_channels

async def main():
    channels = load_channels(Path(sys.argv[1]), allow_private=False)
    for name, channel in channels.items():
        print(name, channel.kind, channel.max_per_second, type(channel.sender).__name__)
        await channel.sender.deliver(Message(event="alert.raised", subject=name, data={"n": 1}))

asyncio.run(main())
"""


def test_a_package_that_is_installed_is_found_and_used(tmp_path: Path) -> None:
    """By a process that knows nothing of it but the name in the channels file."""
    packages = install(tmp_path / "site")
    lines = tmp_path / "lines.jsonl"
    drop = {"path": str(lines)}
    path = channels_file(
        tmp_path,
        mine={"kind": "file_drop", "config": {**drop, "token": "${DROP_TOKEN}"}},
        plain={"kind": "plain_drop", "config": drop},
    )

    def run(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", "-c", IN_ANOTHER_PROCESS, str(path)],
            env={**os.environ, "DROP_TOKEN": "t0ken", **more},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    without = run()
    assert "the kind 'file_drop' is unknown" in without.stderr
    done = run(PYTHONPATH=str(packages))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "mine file_drop 100 FileDropChannel",
        "plain plain_drop None PlainChannel",
    ]
    first, second = [json.loads(line) for line in lines.read_text().splitlines()]
    assert (first["subject"], first["token"], first["data"]) == ("mine", "t0ken", {"n": 1})
    assert (second["title"], second["metadata"]["data"]) == ("plain", {"n": 1})
