"""The Slack channel, against a real HTTP server that stands for Slack."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slack_sdk.models.blocks import Block

from safeguards.errors import ConfigurationError, PermanentDeliveryError, TransientDeliveryError
from safeguards.notifications.channels import SlackChannel
from safeguards.notifications.channels.slack import slack_payload
from safeguards.notifications.message import Link, Message
from safeguards.types import AlertSeverity, SafetyAlert
from tests.receivers import HttpReceiver

HOSTILE = "<!channel> <https://evil.example|click> *bold* @here :tada: a & b"


def message(**changes: Any) -> Message:
    """A message such as the notifier makes."""
    given: dict[str, Any] = {
        "event": "approval.requested",
        "subject": "Approve High-Value Transaction",
        "severity": AlertSeverity.ERROR,
        "facts": (("Amount", "2500.00"),),
        "agent_words": HOSTILE,
        "reasons": ("2500.00 exceeds the limit of 1000.00.",),
        "link": Link("Review", "https://approvals.example/review/abc"),
        "footer": "Rejected at 14:32 UTC if nobody answers.",
    }
    return Message(**{**given, **changes})


def texts(value: Any) -> Iterator[dict[str, Any]]:
    """Every text object in a payload."""
    if isinstance(value, dict):
        if value.get("type") in ("plain_text", "mrkdwn"):
            yield value
        for inner in value.values():
            yield from texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner)


async def test_a_message_is_blocks_and_a_text_for_notifications() -> None:
    """The configured channel, name and icon go with it; nothing is unfurled."""
    with HttpReceiver() as http:
        channel = SlackChannel()
        channel.initialize(
            {
                "webhook_url": http.url("/services/T/B/x"),
                "channel": "#agent-alerts",
                "username": "SafeguardsBot",
                "icon_emoji": ":robot_face:",
                "allow_private": True,
            }
        )
        await channel.deliver(message())
        await channel.deliver(message())
        await channel.aclose()
        first, second = http.requests
    assert first.connection == second.connection
    body = first.json
    assert body["channel"] == "#agent-alerts"
    assert body["username"] == "SafeguardsBot"
    assert body["icon_emoji"] == ":robot_face:"
    assert body["text"] == "Approve High-Value Transaction"
    assert body["unfurl_links"] is False
    (button,) = [b["elements"][0] for b in body["blocks"] if b["type"] == "actions"]
    assert button["url"] == "https://approvals.example/review/abc"
    shown = [text["text"] for text in texts(body["blocks"])]
    assert "Amount\n2500.00" in shown
    assert "In the agent's own words:" in shown
    assert f"│ {HOSTILE}" in shown


def test_an_agent_cannot_mention_or_link() -> None:
    """Every text in the blocks is plain; the one that is mark-up is escaped."""
    payload = slack_payload(
        message(subject=HOSTILE, facts=((HOSTILE, HOSTILE),), reasons=(HOSTILE,), footer=HOSTILE)
    )
    for text in texts(payload["blocks"]):
        assert (text["type"], text["emoji"]) == ("plain_text", False)
    assert "&lt;!channel&gt; &lt;https://evil.example|click&gt;" in payload["text"]
    assert "<" not in payload["text"]
    assert payload["link_names"] is False


@settings(deadline=None, max_examples=40)
@given(
    st.text(max_size=400),
    st.integers(0, 60),
    st.sampled_from(["", "\u202e" * 3_000, "x\n" * 9_000, "é" * 20_000]),
)
def test_every_payload_is_within_the_limits_of_blocks(text: str, count: int, long: str) -> None:
    """Slack's own models accept each block, whatever the message."""
    words = text + long
    payload = slack_payload(
        message(
            subject=words,
            facts=((words, words),) * count,
            reasons=(words,) * count,
            agent_words=words,
            footer=words,
            link=Link(words, "https://approvals.example/"),
        )
    )
    assert len(payload["blocks"]) <= 50
    for block in Block.parse_all(payload["blocks"]):
        block.validate_json()
    for shown in texts(payload["blocks"]):
        assert 1 <= len(shown["text"]) <= 3_000
    for block in payload["blocks"]:
        assert all(len(field["text"]) <= 2_000 for field in block.get("fields", ()))
    json.dumps(payload).encode()


async def test_a_rate_limit_says_when_to_come_back() -> None:
    """429 and 5xx are transient, other 4xx permanent; the URL is a secret and is not shown."""
    with HttpReceiver() as http:
        channel = SlackChannel()
        channel.initialize({"webhook_url": http.url("/secret"), "allow_private": True})
        http.answer(429, headers={"Retry-After": "30"})
        with pytest.raises(TransientDeliveryError) as limited:
            await channel.deliver(message())
        assert limited.value.retry_after_seconds == 30
        http.answer(500)
        with pytest.raises(TransientDeliveryError):
            await channel.deliver(message())
        http.answer(404, body=b"no_service")
        with pytest.raises(PermanentDeliveryError, match="404") as gone:
            await channel.deliver(message())
        assert "secret" not in str(gone.value)
        await channel.aclose()


async def test_the_fence_stands_around_slack_too() -> None:
    """A webhook URL on this machine is refused unless it is allowed."""
    with HttpReceiver() as http:
        channel = SlackChannel()
        channel.initialize({"webhook_url": http.url("/secret")})
        with pytest.raises(PermanentDeliveryError, match="may not be called") as caught:
            await channel.deliver(message())
        assert "secret" not in str(caught.value)
        await channel.aclose()
        assert http.requests == []


def test_an_alert_is_sent_from_synchronous_code(caplog: pytest.LogCaptureFixture) -> None:
    """A failure is False and in the log; after shutdown nothing is sent."""
    alert = SafetyAlert("Too much", "2500.00 exceeds 1000.00", AlertSeverity.CRITICAL)
    with HttpReceiver() as http:
        channel = SlackChannel()
        channel.initialize({"webhook_url": http.url("/secret"), "allow_private": True})
        assert channel.send_notification(alert)
        http.answer(503)
        assert not channel.send_notification(alert)
        assert "SlackChannel could not send 'Too much': answered 503" in caplog.text
        channel.shutdown()
        assert not channel.send_notification(alert)
        assert len(http.requests) == 2
        assert http.requests[0].json["text"] == "CRITICAL: Too much"
    assert "/secret" not in caplog.text


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, "'webhook_url' is missing"),
        ({"webhook_url": "hooks.slack.com/x"}, "'webhook_url' is wrong"),
        ({"webhook_url": "https://x", "icon_emoji": "robot"}, "'icon_emoji' is wrong"),
        ({"webhook_url": "https://x", "user": "a"}, "did you mean 'username'?"),
    ],
)
def test_a_wrong_configuration_is_named(config: dict[str, Any], said: str) -> None:
    """The error says which key, and what to do."""
    with pytest.raises(ConfigurationError) as caught:
        SlackChannel().initialize(config)
    assert said in str(caught.value)
