"""The Slack channel, against a real HTTP server that stands for Slack."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slack_sdk.models.blocks import Block

from safeguards.errors import ConfigurationError, PermanentDeliveryError, TransientDeliveryError
from safeguards.notifications.channels import SlackChannel
from safeguards.notifications.channels.slack import SlackConfig, slack_payload
from safeguards.notifications.message import Answerable, Link, Message, Thread
from safeguards.notifications.slack_blocks import Binding
from safeguards.types import AlertSeverity, SafetyAlert
from tests.receivers import HttpReceiver, SlackApi, closed_port
from tests.receivers.block_kit import problems

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
        ({}, "'webhook_url' is missing, or 'bot_token'"),
        ({"webhook_url": "https://x", "bot_token": "xoxb-1"}, "exclude each other"),
        ({"webhook_url": "https://x", "signing_secret": "a" * 32}, "goes with 'bot_token'"),
        ({"bot_token": "xoxp-1"}, "'bot_token' is wrong"),
        ({"bot_token": "xoxb-1\n"}, "'bot_token' is wrong"),
        ({"bot_token": "xoxb-1", "signing_secret": "x"}, "'signing_secret' is wrong"),
        ({"bot_token": "xoxb-1", "api_url": "http://slack.test/"}, "'api_url' is wrong"),
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
    assert "xoxp-1" not in str(caught.value)


ANSWERABLE = Answerable("apr_1", 3, "ab" * 32, editable=True)


@pytest.fixture
def slack() -> Iterator[SlackApi]:
    with SlackApi() as running:
        yield running


@asynccontextmanager
async def bot(slack: SlackApi, **changes: Any) -> AsyncIterator[SlackChannel]:
    """A bot's channel at the stand-in of Slack."""
    channel = SlackChannel()
    channel.initialize(slack.config(**changes))
    channel.name = "team"
    yield channel
    await channel.aclose()
    channel.shutdown()


async def test_a_bot_posts_what_can_be_answered(slack: SlackApi) -> None:
    """Buttons carry what they are bound to; nothing is unfurled, linked or parsed."""
    async with bot(slack) as channel:
        assert (channel.addressing, channel.can_update) == ("place", True)
        reference = await channel.deliver(message(answerable=ANSWERABLE))
    assert reference is not None
    posted = slack.message(reference)
    assert posted.buttons == ["approve", "modify", "reject", "evidence", "open_link"]
    for button in posted.blocks[-2]["elements"][:4]:
        assert Binding.parse(button["value"]) == Binding("apr_1", 3, "ab" * 32, "team")
    for name in ("unfurl_links", "unfurl_media", "link_names", "mrkdwn"):
        assert posted.arguments[name] is False
    assert posted.arguments["parse"] == "none"


async def test_buttons_only_where_they_can_be_answered(slack: SlackApi) -> None:
    """None without a signing secret, none for what cannot be answered; no Modify if nothing is
    editable; none by a webhook."""
    fixed = Answerable("apr_1", 1, "ab" * 32, editable=False)
    async with bot(slack) as channel:
        for said, buttons in (
            (message(link=None), []),
            (message(link=None, answerable=fixed), ["approve", "reject", "evidence"]),
        ):
            reference = await channel.deliver(said)
            assert slack.message(str(reference)).buttons == buttons
    async with bot(slack, signing_secret=None) as channel:
        reference = await channel.deliver(message(link=None, answerable=ANSWERABLE))
        assert slack.message(str(reference)).buttons == []
    assert "approve" not in json.dumps(slack_payload(message(answerable=ANSWERABLE)))


async def test_what_is_decided_elsewhere_is_only_shown(slack: SlackApi) -> None:
    """By itself and in a digest: Evidence, and the link to where it is decided."""
    elsewhere = replace(ANSWERABLE, is_decided_here=False)
    one = message(answerable=elsewhere, link=Link("Open in the console", "https://x.example/1"))
    long = replace(one, facts=tuple((f"fact {number}", "x" * 900) for number in range(30)))
    digest = message(link=None, entries=(one, replace(one, answerable=ANSWERABLE)))
    async with bot(slack) as channel:
        for said, buttons in (
            (one, ["evidence", "open_link"]),
            (long, ["evidence", "open_link"]),
            (digest, ["evidence", "review"]),
        ):
            posted = slack.message(str(await channel.deliver(said)))
            assert posted.buttons == buttons
        posted = slack.message(str(await channel.deliver(long)))
        assert "Evidence shows all of it." in posted.words


async def test_an_update_takes_the_buttons_away(slack: SlackApi) -> None:
    """The same message says something else; one that is gone is a permanent failure."""
    async with bot(slack) as channel:
        reference = await channel.deliver(message(answerable=ANSWERABLE))
        assert reference is not None
        await channel.update(message(subject="Approved: Pay", link=None), reference)
        posted = slack.message(reference)
        assert (posted.updates, posted.buttons, posted.text) == (1, [], "Approved: Pay")
        for gone in ("C0APPROVALS:1.000001", "junk", "C0APPROVALS:x", ""):
            with pytest.raises(PermanentDeliveryError):
                await channel.update(message(), gone)


async def test_without_a_channel_each_reviewer_gets_a_direct_message(slack: SlackApi) -> None:
    """To the user's id, whatever workspace it is bound to; what is no user id is refused."""
    async with bot(slack, channel=None) as channel:
        assert channel.addressing == "person"
        reference = await channel.deliver(message(answerable=ANSWERABLE), ["T0TEAM/U0ALEX"])
        assert reference is not None
        assert reference.startswith("D0ALEX:")
        await channel.update(message(link=None), reference)
        assert slack.message(reference).buttons == []
        for wrong in (["#general"], ["C0APPROVALS"], ["U0A", "U0B"], ["U0A\n"]):
            with pytest.raises(PermanentDeliveryError, match="not the id of one Slack user"):
                await channel.deliver(message(), wrong)
        with pytest.raises(ConfigurationError, match="'channel' is missing"):
            await channel.deliver(message())


async def test_a_reply_goes_into_its_thread_and_the_channel(slack: SlackApi) -> None:
    """If the message that began the thread is gone, it is posted by itself: nothing is lost."""
    async with bot(slack) as channel:
        first = await channel.deliver(message(thread=Thread("t", begins=True)))
        reply = await channel.deliver(message(thread=Thread("t", begins=False, reference=first)))
        arguments = slack.message(str(reply)).arguments
        assert f"C0APPROVALS:{arguments['thread_ts']}" == first
        assert arguments["reply_broadcast"] is True
        lost = Thread("t", begins=False, reference="C0APPROVALS:1.000001")
        alone = await channel.deliver(message(thread=lost))
        assert "thread_ts" not in slack.message(str(alone)).arguments


async def test_a_digest_lists_its_requests_within_the_limits(slack: SlackApi) -> None:
    """Each has one button; what does not fit is counted."""
    entries = tuple(
        message(
            subject=f"Pay {n} " + "é" * n, answerable=Answerable(f"apr_{n}", 1, "ab" * 32, True)
        )
        for n in range(60)
    )
    async with bot(slack) as channel:
        reference = await channel.deliver(
            message(subject="60 requests", facts=(), entries=entries[:20], left_out=5)
        )
        few = slack.message(str(reference))
        assert few.buttons.count("review") == 20
        assert "… and 5 more" in few.words
        reference = await channel.deliver(message(entries=entries, left_out=5))
        many = slack.message(str(reference))
    shown = many.buttons.count("review")
    assert 10 <= shown < 60
    assert f"… and {65 - shown} more" in many.words


@settings(deadline=None, max_examples=40)
@given(
    st.text(max_size=300),
    st.integers(0, 60),
    st.sampled_from(["", "\u202e" * 3_000, "&<>" * 3_000, "🎉" * 9_000, "\n" * 9_000, "x" * 10**6]),
)
def test_slack_takes_every_message(text: str, count: int, long: str) -> None:
    """Every documented limit holds, and the one that is not, whatever the message."""
    words = text + long
    entry = message(subject=words, facts=((words, words),), answerable=ANSWERABLE)
    payload = slack_payload(
        message(
            subject=words,
            facts=((words, words),) * count,
            reasons=(words,) * count,
            agent_words=words,
            footer=words,
            answerable=ANSWERABLE,
            entries=(entry,) * count,
        ),
        interactive=True,
        channel="team",
    )
    assert problems(payload["blocks"]) == []
    assert len(json.dumps(payload["blocks"], ensure_ascii=False)) <= 12_000
    assert "reject" in json.dumps(payload["blocks"])


async def test_a_value_of_several_lines_cannot_pass_for_a_label(slack: SlackApi) -> None:
    """Its lines are marked."""
    async with bot(slack) as channel:
        reference = await channel.deliver(message(facts=(("Note", "x\n\nAmount\n1.00"),)))
    assert "Note\n│ x\n│\n│ Amount\n│ 1.00" in slack.message(str(reference)).words


async def test_what_the_bot_is_refused_says_what_to_do(slack: SlackApi) -> None:
    """Permanent errors name the cure; the token is in none of them."""
    async with bot(slack, channel="#nowhere") as channel:
        with pytest.raises(PermanentDeliveryError, match="invite the bot"):
            await channel.deliver(message())
    slack.archived.add("C0APPROVALS")
    async with bot(slack) as channel:
        with pytest.raises(PermanentDeliveryError, match="unarchive"):
            await channel.deliver(message())
        slack.refuse("missing_scope", needed="chat:write")
        with pytest.raises(PermanentDeliveryError, match="missing_scope chat:write: add the scope"):
            await channel.deliver(message())
    async with bot(slack, bot_token="xoxb-wrong-secret") as channel:
        with pytest.raises(PermanentDeliveryError, match="invalid_auth: make a new") as caught:
            await channel.deliver(message())
    assert "xoxb" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


async def test_what_may_pass_is_worth_another_attempt(slack: SlackApi) -> None:
    """429 with what it asks for, `ratelimited`, 5xx, junk, a cut or refused connection, a time-out;
    each is one call: the retries are the notifier's."""
    async with bot(slack, timeout_seconds=0.3) as channel:
        slack.answer(429, headers={"Retry-After": "30"}, body=b'{"ok":false,"error":"ratelimited"}')
        with pytest.raises(TransientDeliveryError) as limited:
            await channel.deliver(message())
        assert limited.value.retry_after_seconds == 30
        slack.refuse("ratelimited")
        slack.refuse("internal_error")
        slack.answer(503, body=b"<html>")
        html = {"Content-Type": "text/html"}
        slack.answer(200, headers=html, body=b"<html>")
        slack.answer(200, headers={"Content-Type": "text/plain"}, body=b"ok")
        slack.answer(200, headers={"Content-Type": "application/json"}, body=b"[1]")
        slack.answer(200, headers={"Content-Type": "application/json"}, body=b"\xff{")
        slack.answer(200, headers={"Content-Type": "application/json"}, body=b"{}")
        slack.answer(drop=True)
        slack.answer(cut=True)
        slack.answer(delay=5)
        for call in range(2, 13):
            with pytest.raises(TransientDeliveryError) as caught:
                await channel.deliver(message())
            assert slack.token not in str(caught.value)
            assert len(slack.requests) == call
    async with bot(slack, api_url=f"http://127.0.0.1:{closed_port()}/") as channel:
        with pytest.raises(TransientDeliveryError, match="no connection to Slack"):
            await channel.deliver(message())


async def test_calls_share_a_connection_and_no_proxy(
    slack: SlackApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One kept connection, whatever proxy the environment names."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{closed_port()}")
    async with bot(slack) as channel:
        await channel.deliver(message())
        await channel.deliver(message())
    first, second = slack.requests
    assert first.connection == second.connection


def test_the_configuration_shows_no_secret(slack: SlackApi) -> None:
    """Neither token nor signing secret is in its representation."""
    config = SlackConfig(**slack.config())
    assert slack.token not in repr(config)
    assert slack.signing_secret not in repr(config)


def test_only_slack_signs(slack: SlackApi) -> None:
    """The right secret and time; whatever else is False, and nothing raises."""
    channel = SlackChannel()
    assert not channel.signed(b"a=1", "1", "v0=x")
    channel.initialize(slack.config())
    signed = slack.signature(b"a=1")
    timestamp, signature = signed["X-Slack-Request-Timestamp"], signed["X-Slack-Signature"]
    assert channel.signed(b"a=1", timestamp, signature)
    assert not channel.signed(b"a=2", timestamp, signature)
    assert not channel.signed(b"\xff", timestamp, signature)
    assert not channel.signed(b"a=1", timestamp, "v0=é")
    assert not channel.signed(b"a=1", "junk", signature)
    channel.initialize(slack.config(signing_secret=None))
    assert not channel.signed(b"a=1", timestamp, signature)


@pytest.mark.parametrize(
    "given",
    [
        {"facts": (("note", "Invoice\n" + "a\n" * 470 + "TAIL"),)},
        {"facts": (("&" * 100, "v" * 900 + "TAIL"),)},
        {"facts": (("pay_" + "x" * 300 + "TAIL", "1"),)},
        {"agent_words": "a\n" * 1400 + "TAIL"},
        {"reasons": ("r" * 1200 + "TAIL",)},
        {"facts": tuple((f"n{n}", "v") for n in range(60))},
    ],
)
def test_what_is_not_shown_whole_cannot_be_approved_on_the_spot(given: dict[str, Any]) -> None:
    """There is Review… instead of Approve, whatever it was that did not fit."""
    shown = message(answerable=ANSWERABLE, **given)
    said = json.dumps(slack_payload(shown, interactive=True, channel="team")["blocks"])
    assert '"approve"' not in said
    assert '"review"' in said
    whole = message(answerable=ANSWERABLE)
    said = json.dumps(slack_payload(whole, interactive=True, channel="team")["blocks"])
    assert '"approve"' in said
