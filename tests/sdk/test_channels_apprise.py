"""The Apprise channel, with Apprise itself, against a real HTTP server."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import Any

import pytest

from safeguards.errors import (
    ConfigurationError,
    MissingExtraError,
    PermanentDeliveryError,
    TransientDeliveryError,
)
from safeguards.notifications.channels import NotificationChannel
from safeguards.notifications.channels.apprise import AppriseChannel
from safeguards.notifications.message import Link, Message
from safeguards.types import AlertSeverity, SafetyAlert
from tests.receivers import HttpReceiver, closed_port

# Apprise imports all of its services when it reads the first URL.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

SECRET = "s3cr3t-t0ken"
LINK = Link("Review and answer", "http://127.0.0.1:8000/review/abc")


@contextmanager
def channel(*urls: str, **config: Any) -> Iterator[AppriseChannel]:
    made = AppriseChannel()
    made.initialize({"urls": urls, **config} if urls else config)
    yield made
    made.shutdown()


def address(http: HttpReceiver, path: str = "/") -> str:
    """The Apprise URL of a receiver."""
    return f"json://user:{SECRET}@127.0.0.1:{http.port}{path}"


def message(**changes: Any) -> Message:
    return Message(**{"event": "approval.requested", "subject": "Pay 10.00?", **changes})


def test_it_is_a_channel_like_ones_own() -> None:
    """Registered as an entry point, as any other package would do it."""
    [point] = entry_points(group="safeguards.channels", name="apprise")
    assert point.load() is AppriseChannel
    assert issubclass(AppriseChannel, NotificationChannel)


async def test_a_message_arrives_with_its_facts_and_its_link() -> None:
    with HttpReceiver() as http, channel(address(http, "/hook")) as to:
        assert to.addressing == "place"
        facts = (("Agent", "advisor"), ("amount", "10.00"))
        await to.deliver(message(facts=facts, link=LINK, footer="Rejected at noon."))
        request = http.wait_for()
    assert request.path == "/hook"
    assert request.json["title"] == "Pay 10.00?"
    said = request.json["message"]
    assert said.startswith("Agent: advisor\namount: 10.00\n")
    assert f"Review and answer:\n{LINK.url}" in said
    assert said.endswith("Rejected at noon.")


@pytest.mark.parametrize(
    ("severity", "kind"),
    [
        (AlertSeverity.INFO, "info"),
        (AlertSeverity.WARNING, "warning"),
        (AlertSeverity.ERROR, "failure"),
        (AlertSeverity.CRITICAL, "failure"),
    ],
)
async def test_the_severity_is_told(severity: AlertSeverity, kind: str) -> None:
    with HttpReceiver() as http, channel(address(http)) as to:
        await to.deliver(message(severity=severity))
        assert http.wait_for().json["type"] == kind


async def test_an_agents_words_stay_words() -> None:
    """No mention, link or element; what shows nothing is written out. Our own link stays alive."""
    words = (
        "@everyone <!channel> <@U1> <b>x</b> [y](https://evil.example) www.evil.example \u202eabc"
    )
    facts = (("to", "https://evil.example/a"),)
    with HttpReceiver() as http, channel(address(http)) as to:
        await to.deliver(message(subject=words, agent_words=words, facts=facts, link=LINK))
        got = http.wait_for().json
    for text in (got["title"], got["message"].replace(LINK.url, "")):
        for live in ("@everyone", "<!", "<@", "<b", "](", "://", "www.", "\u202e"):
            assert live not in text, live
        assert "⟨U+202E⟩abc" in text
        assert "@everyone <!channel> <@U1> <b>x<" in text.replace("\u200b", "")
    assert LINK.url in got["message"]


async def test_each_reviewer_has_an_address_of_their_own() -> None:
    """Without configured URLs, recipients are Apprise URLs."""
    with HttpReceiver() as http, channel() as to:
        assert to.addressing == "person"
        await to.deliver(message(), [address(http, "/alex")])
        assert http.wait_for().path == "/alex"
        with pytest.raises(PermanentDeliveryError, match="neither a configured URL"):
            await to.deliver(message())
        with pytest.raises(PermanentDeliveryError, match="address is wrong") as caught:
            await to.deliver(message(), [f"nope://{SECRET}"])
        assert SECRET not in str(caught.value)


async def test_every_url_gets_it() -> None:
    with (
        HttpReceiver() as one,
        HttpReceiver() as two,
        channel(address(one), address(two)) as to,
    ):
        await to.deliver(message())
        assert one.wait_for().json == two.wait_for().json


async def test_a_service_that_does_not_take_it_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The error names the service, and nothing else of the URL."""
    caplog.set_level(logging.DEBUG)
    nobody = f"json://user:{SECRET}@127.0.0.1:{closed_port()}/{SECRET}"
    with HttpReceiver() as http, channel(address(http, f"/{SECRET}")) as to:
        http.answer(503)
        with pytest.raises(TransientDeliveryError, match="could not hand it over to JSON") as first:
            await to.deliver(message())
        await to.deliver(message())
        assert len(http.requests) == 2
        with channel(nobody) as lost, pytest.raises(TransientDeliveryError) as second:
            await lost.deliver(message())
    assert SECRET not in f"{first.value} {second.value}"
    assert not [r for r in caplog.records if r.name == "apprise" and SECRET in r.getMessage()]


async def test_a_service_that_hangs_is_given_up() -> None:
    with HttpReceiver() as http, channel(address(http), timeout_seconds=0.3) as to:
        http.answer(delay=20)
        with pytest.raises(TransientDeliveryError, match=r"not done within 0\.3 s|could not hand"):
            await to.deliver(message())


@pytest.mark.parametrize("url", ["nope://SECRET", "SECRET", "slack://SECRET", "mailto://x:SECRET@"])
def test_a_url_that_is_none_is_named_by_its_place(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Never by its text, which is a secret; nor does Apprise log it."""
    caplog.set_level(logging.DEBUG)
    with HttpReceiver() as http, pytest.raises(ConfigurationError, match=r"'urls\.1'") as caught:
        AppriseChannel().initialize({"urls": [address(http), url]})
    assert "SECRET" not in str(caught.value)
    assert "SECRET" not in caplog.text


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"url": "json://x"}, "the key 'url' is unknown: did you mean 'urls'"),
        ({"urls": "json://x"}, "the key 'urls' is wrong"),
        ({"timeout_seconds": 0}, "the key 'timeout_seconds' is wrong"),
    ],
)
def test_a_wrong_configuration_is_named(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        AppriseChannel().initialize(config)


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    with pytest.raises(MissingExtraError, match=r"safeguards\[apprise\]"):
        AppriseChannel().initialize({})


def test_an_alert_is_sent_from_synchronous_code() -> None:
    with HttpReceiver() as http, channel(address(http)) as to:
        assert to.send_notification(SafetyAlert("Odd", "Look at this", AlertSeverity.ERROR))
        got = http.wait_for().json
        assert got["title"] == "ERROR: Odd"
        assert "> Look at this" in got["message"]
        http.answer(500)
        assert not to.send_notification(SafetyAlert("Odd", "Again"))
