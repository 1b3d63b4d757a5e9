"""The logging channel, and what every built-in channel does alike."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from safeguards.errors import ConfigurationError
from safeguards.notifications.channels import LoggingChannel
from safeguards.types import AlertSeverity, SafetyAlert

ALERT = SafetyAlert("Too much", "Over\nthe\u202elimit", AlertSeverity.ERROR, {"amount": "2500.00"})


def test_an_alert_is_one_record_at_the_configured_level(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever the alert says, it cannot forge a second line."""
    channel = LoggingChannel()
    channel.initialize({"log_level": "warning", "logger": "audit"})
    with caplog.at_level(logging.INFO, "audit"):
        assert channel.send_notification(ALERT)
    (record,) = [record for record in caplog.records if record.name == "audit"]
    assert record.levelname == "WARNING"
    assert record.getMessage() == (
        'ERROR: Too much | amount: "2500.00" | Details: "Over\\nthe⟨U+202E⟩limit"'
    )


def test_nothing_is_sent_before_initialize_or_after_shutdown() -> None:
    """Both answer False; shutting down twice is no error."""
    channel = LoggingChannel()
    assert not channel.send_notification(ALERT)
    channel.initialize({})
    assert channel.send_notification(ALERT)
    channel.shutdown()
    channel.shutdown()
    assert not channel.send_notification(ALERT)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"log_levle": "INFO"}, "the key 'log_levle' is unknown: did you mean 'log_level'?"),
        ({"log_level": "LOUD"}, "the key 'log_level' is wrong"),
        ({"logger": ""}, "the key 'logger' is wrong"),
    ],
)
def test_a_wrong_configuration_is_named(config: dict[str, str], said: str) -> None:
    """The error says which key, and what to do."""
    with pytest.raises(ConfigurationError, match="LoggingChannel: ") as caught:
        LoggingChannel().initialize(config)
    assert said in str(caught.value)


WITHOUT_EXTRAS = """
import sys
for name in ("emails", "aiosmtplib", "aiohttp", "slack_sdk", "ssrfguard", "yarl"):
    sys.modules[name] = None
from safeguards.errors import MissingExtraError
from safeguards.notifications import channels
configs = {
    "EmailChannel": {"smtp_server": "localhost", "sender": "a@example.com"},
    "SlackChannel": {"webhook_url": "https://hooks.slack.example/x"},
    "WebhookChannel": {"url": "https://hooks.example/", "secret": "whsec_" + "A" * 32},
}
for name, config in configs.items():
    try:
        getattr(channels, name)().initialize(config)
    except MissingExtraError as error:
        print(error)
"""


def test_the_base_install_imports_every_channel_and_names_the_missing_extra() -> None:
    """What to install is in the error, and it comes at `initialize`, not at the import."""
    script = [sys.executable, "-W", "error", "-c", WITHOUT_EXTRAS]
    run = subprocess.run(script, capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.splitlines() == [
        "EmailChannel needs an extra: pip install 'safeguards[email]'",
        "SlackChannel needs an extra: pip install 'safeguards[slack]'",
        "WebhookChannel needs an extra: pip install 'safeguards[webhook]'",
    ]
