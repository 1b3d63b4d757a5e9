"""The webhook channel, against a real HTTP server."""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from safeguards import background_loop
from safeguards.errors import (
    ConfigurationError,
    PermanentDeliveryError,
    ReceiverGoneError,
    TransientDeliveryError,
)
from safeguards.notifications.channels import WebhookChannel
from safeguards.notifications.channels.webhook import post_webhook
from safeguards.notifications.fenced_http import FencedHttp, retry_after_seconds
from safeguards.notifications.message import Message
from safeguards.types import SafetyAlert
from tests.receivers import HttpReceiver, closed_port, webhook_secret

SECRET = webhook_secret()


@asynccontextmanager
async def channel_to(url: str, **config: Any) -> AsyncIterator[WebhookChannel]:
    """An initialized channel that may call this machine, closed at the end."""
    channel = WebhookChannel()
    channel.initialize({"url": url, "secret": SECRET, "allow_private": True, **config})
    try:
        yield channel
    finally:
        await channel.aclose()


def message(**changes: Any) -> Message:
    """A message such as the notifier makes."""
    data = {"approval_id": "apr_1", "amount": Decimal("2500.00"), "note": "é <b>"}
    return Message(**{"event": "approval.requested", "subject": "s", "data": data, **changes})


async def test_a_webhook_is_signed_compact_json() -> None:
    """A receiver that uses the specification's own library accepts it."""
    with HttpReceiver() as http:
        sent = message()
        async with channel_to(http.url("/hook")) as channel:
            await channel.deliver(sent)
        request = http.wait_for()
    assert (request.method, request.path) == ("POST", "/hook")
    assert request.headers["webhook-id"] == sent.id
    assert request.headers["content-type"] == "application/json"
    received = Webhook(SECRET).verify(request.body, request.headers)
    assert received == {
        "type": "approval.requested",
        "timestamp": sent.created_at.isoformat().replace("+00:00", "Z"),
        "data": {"approval_id": "apr_1", "amount": "2500.00", "note": "é <b>"},
    }
    assert b": " not in request.body.replace("é <b>".encode(), b"")


async def test_connections_are_kept() -> None:
    """Five webhooks one after another go over one connection."""
    with HttpReceiver() as http:
        async with channel_to(http.url()) as channel:
            for _ in range(5):
                await channel.deliver(message())
        assert len({request.connection for request in http.wait_for_many(5)}) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_these_answers_are_transient(status: int) -> None:
    """Another attempt may succeed; `Retry-After` says when."""
    with HttpReceiver() as http:
        async with channel_to(http.url()) as channel:
            http.answer(status, headers={"Retry-After": "7"})
            with pytest.raises(TransientDeliveryError, match=str(status)) as caught:
                await channel.deliver(message())
            assert caught.value.retry_after_seconds == 7
            http.answer(status)
            with pytest.raises(TransientDeliveryError) as caught:
                await channel.deliver(message())
            assert caught.value.retry_after_seconds is None


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 422])
async def test_these_answers_are_permanent(status: int) -> None:
    """Another attempt would fail the same way."""
    with HttpReceiver() as http:
        async with channel_to(http.url()) as channel:
            http.answer(status)
            with pytest.raises(PermanentDeliveryError, match=str(status)):
                await channel.deliver(message())


async def test_redirects_are_not_followed() -> None:
    """A receiver cannot send our signed data elsewhere."""
    with HttpReceiver() as http:
        async with channel_to(http.url()) as channel:
            http.answer(302, headers={"Location": http.url("/elsewhere")})
            with pytest.raises(PermanentDeliveryError, match="redirects are not followed"):
                await channel.deliver(message())
        assert [request.path for request in http.requests] == ["/"]


async def test_no_answer_is_transient() -> None:
    """Too slow, hung up, or not there at all."""
    with HttpReceiver() as http:
        async with channel_to(http.url(), timeout_seconds=0.3) as channel:
            http.answer(delay=5)
            with pytest.raises(TransientDeliveryError, match=r"no answer from 127.0.0.1 within"):
                await channel.deliver(message())
            http.answer(drop=True)
            http.answer(drop=True)
            with pytest.raises(TransientDeliveryError, match="no connection"):
                await channel.deliver(message())
    async with channel_to(f"http://127.0.0.1:{closed_port()}") as channel:
        with pytest.raises(TransientDeliveryError, match="no connection"):
            await channel.deliver(message())


async def test_a_callback_goes_to_any_address_with_its_own_secret() -> None:
    """One session serves the callbacks of many agents."""
    other = webhook_secret()
    fenced = FencedHttp(allow_private=True)
    with HttpReceiver() as http:
        await post_webhook(fenced, http.url("/callback"), [other], message())
        with pytest.raises(PermanentDeliveryError, match="at least 24 bytes"):
            await post_webhook(fenced, http.url(), ["whsec_c2hvcnQ="], message())
        await fenced.aclose()
        request = http.wait_for()
        Webhook(other).verify(request.body, request.headers)


async def test_data_that_is_no_json_is_permanent() -> None:
    """Trying again would not change it."""
    async with channel_to("https://hooks.example/") as channel:
        with pytest.raises(PermanentDeliveryError, match="at /data/x"):
            await channel.deliver(message(data={"x": object()}))


def test_an_alert_is_sent_from_synchronous_code_over_a_kept_connection() -> None:
    """On the shared background loop; after shutdown nothing is sent."""
    with HttpReceiver() as http:
        channel = WebhookChannel()
        channel.initialize({"url": http.url(), "secret": SECRET, "allow_private": True})
        alert = SafetyAlert("Too much", "d", metadata={"amount": Decimal("2500.00")})
        assert channel.send_notification(alert)
        assert channel.send_notification(alert)
        channel.shutdown()
        channel.shutdown()
        assert not channel.send_notification(alert)
        first, second = http.requests
        assert first.connection == second.connection
        assert first.json["data"]["metadata"] == {"amount": "2500.00"}


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_sends_on_a_loop_of_its_own() -> None:
    """Workers fork after the parent has sent; the parent's connection stays the parent's."""
    with HttpReceiver() as http:
        channel = WebhookChannel()
        channel.initialize({"url": http.url(), "secret": SECRET, "allow_private": True})
        assert channel.send_notification(SafetyAlert("parent", "d"))
        child = os.fork()
        if child == 0:
            sent = False
            try:
                sent = channel.send_notification(SafetyAlert("child", "d"))
                channel.shutdown()
            finally:
                os._exit(0 if sent else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert channel.send_notification(SafetyAlert("parent again", "d"))
        channel.shutdown()
        parent, forked, again = http.wait_for_many(3)
        assert parent.connection == again.connection != forked.connection


def test_the_background_loop_does_not_wait_for_itself() -> None:
    """Nor for ever: a time-out cancels what runs."""

    async def nested() -> None:
        background_loop.run(asyncio.sleep(0))

    with pytest.raises(RuntimeError, match="await the coroutine"):
        background_loop.run(nested())
    with pytest.raises(TimeoutError):
        background_loop.run(asyncio.sleep(60), timeout=0.05)
    assert background_loop.submit(asyncio.sleep(0, "done")).result(5) == "done"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("7", 7),
        (" 0 ", 0),
        ("9" * 400, 86400),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("", None),
    ],
)
def test_retry_after_in_seconds(value: str | None, seconds: float | None) -> None:
    """What makes no sense is ignored; nobody can ask for more than a day."""
    assert retry_after_seconds(value) == seconds


def test_retry_after_as_a_date() -> None:
    """In the future it is a wait, in the past it is none."""
    soon = datetime.now(UTC) + timedelta(seconds=90)
    assert 85 <= (retry_after_seconds(format_datetime(soon, usegmt=True)) or 0) <= 91
    assert retry_after_seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0


@given(st.text())
def test_no_retry_after_is_an_error(value: str) -> None:
    """A receiver may send anything."""
    seconds = retry_after_seconds(value)
    assert seconds is None or 0 <= seconds <= 86400


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"secret": "whsec_" + base64.b64encode(b"x" * 23).decode()}, "at least 24 bytes, not 23"),
        ({"secret": base64.b64encode(b"x" * 32).decode()}, "begins with 'whsec_'"),
        ({"secret": "whsec_***"}, "and then base64"),
        ({"url": "hooks.example/x"}, "the key 'url' is wrong"),
        ({"timeout_seconds": 0}, "the key 'timeout_seconds' is wrong"),
        ({"timeout": 1}, "the key 'timeout' is unknown: did you mean 'timeout_seconds'?"),
    ],
)
def test_a_wrong_configuration_is_named(changes: dict[str, Any], said: str) -> None:
    """The error says which key and what to do, and never repeats the secret."""
    config = {"url": "https://hooks.example/", "secret": SECRET, **changes}
    with pytest.raises(ConfigurationError, match="WebhookChannel: ") as caught:
        WebhookChannel().initialize(config)
    assert said in str(caught.value)
    assert config["secret"] not in str(caught.value)


def test_a_missing_key_is_named() -> None:
    """All missing keys in one error."""
    with pytest.raises(ConfigurationError, match=r"'url' is missing.*either `secret`, or `secrets"):
        WebhookChannel().initialize({})


async def test_every_secret_signs_while_one_is_exchanged_for_another() -> None:
    """A receiver that still has the old one takes it, and one that has the new one already."""
    new, old = webhook_secret(), webhook_secret()
    with HttpReceiver() as http:
        channel = WebhookChannel()
        config = {"url": http.url(), "secrets": [new, old], "allow_private": True}
        channel.initialize(config)
        await channel.deliver(message())
        await channel.aclose()
        request = http.wait_for()
    first, second = request.headers["webhook-signature"].split(" ")
    assert first.startswith("v1,")
    assert second.startswith("v1,")
    for known in (new, old):
        Webhook(known).verify(request.body, request.headers)
    only_the_first = {**request.headers, "webhook-signature": first}
    Webhook(new).verify(request.body, only_the_first)
    with pytest.raises(WebhookVerificationError):
        Webhook(old).verify(request.body, only_the_first)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(request.body, request.headers)


@pytest.mark.parametrize(
    "secrets",
    [
        {"secret": SECRET, "secrets": [webhook_secret()]},
        {"secrets": []},
        {"secrets": [SECRET, "whsec_c2hvcnQ="]},
        {"secrets": SECRET},
    ],
)
def test_secrets_that_do_not_fit_are_named(secrets: dict[str, Any]) -> None:
    """Both keys, neither, one that is too short, and one that is no list."""
    with pytest.raises(ConfigurationError, match="the key 'secrets' is wrong") as caught:
        WebhookChannel().initialize({"url": "https://hooks.example/", **secrets})
    assert SECRET not in str(caught.value)


async def test_a_receiver_that_is_gone_is_told_apart() -> None:
    """Whoever gets 410 switches the endpoint off."""
    with HttpReceiver() as http:
        async with channel_to(http.url()) as channel:
            http.answer(410)
            with pytest.raises(ReceiverGoneError, match="410"):
                await channel.deliver(message())
