"""The notification manager: several channels at once, none of which can stop the others."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from safeguards.core.notification_manager import NotificationManager
from safeguards.errors import ConfigurationError
from safeguards.notifications.channels import LoggingChannel, NotificationChannel, WebhookChannel
from safeguards.types import AlertSeverity, SafetyAlert
from tests.receivers import HttpReceiver, webhook_secret

ALERT = SafetyAlert("Too much", "2500.00 exceeds 1000.00", AlertSeverity.ERROR)


class CustomChannel(NotificationChannel):
    """A channel of a user's own, which knows nothing of ours."""

    def __init__(self, fails: bool = False) -> None:
        self.sent: list[SafetyAlert] = []
        self.fails = fails
        self.shut_down = 0

    def initialize(self, config: dict[str, Any]) -> None:
        """Nothing to configure."""

    def send_notification(self, alert: SafetyAlert) -> bool:
        """Keep the alert, or fail."""
        if self.fails:
            raise RuntimeError("broken")
        self.sent.append(alert)
        return True

    def shutdown(self) -> None:
        """Count."""
        self.shut_down += 1
        if self.fails:
            raise RuntimeError("still broken")


class MeetingChannel(CustomChannel):
    """Sends only when another channel is sending at the same time."""

    def __init__(self, barrier: threading.Barrier) -> None:
        super().__init__()
        self.barrier = barrier

    def send_notification(self, alert: SafetyAlert) -> bool:
        """Wait for the other."""
        self.barrier.wait(5)
        return super().send_notification(alert)


def test_an_alert_goes_to_every_channel() -> None:
    """Built-in channels and one's own alike."""
    with HttpReceiver() as http, NotificationManager() as manager:
        webhook, log, custom = WebhookChannel(), LoggingChannel(), CustomChannel()
        webhook.initialize({"url": http.url(), "secret": webhook_secret(), "allow_private": True})
        log.initialize({"log_level": "INFO"})
        manager.register_channel("webhook", webhook)
        manager.register_channel("log", log)
        manager.register_channel("custom", custom)
        assert manager.send_alert(ALERT) == {"webhook": True, "log": True, "custom": True}
        assert http.requests[0].json["data"]["title"] == "Too much"
        assert custom.sent == [ALERT]


def test_a_channel_that_fails_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """It is False in the result, and in the log with its traceback."""
    manager = NotificationManager()
    manager.register_channel("broken", CustomChannel(fails=True))
    manager.register_channel("good", CustomChannel())
    assert manager.send_alert(ALERT) == {"broken": False, "good": True}
    assert "the channel 'broken' failed to send" in caplog.text
    assert "RuntimeError: broken" in caplog.text


def test_channels_are_sent_to_at_the_same_time() -> None:
    """Each of the two waits for the other, so one after the other would fail."""
    barrier = threading.Barrier(2)
    manager = NotificationManager()
    manager.register_channel("one", MeetingChannel(barrier))
    manager.register_channel("two", MeetingChannel(barrier))
    assert manager.send_alert(ALERT) == {"one": True, "two": True}


def test_channels_can_be_chosen_by_name() -> None:
    """An unknown name is an error that says which there are, and then nothing is sent."""
    manager = NotificationManager()
    one, two = CustomChannel(), CustomChannel()
    manager.register_channel("one", one)
    manager.register_channel("two", two)
    assert manager.send_alert(ALERT, ["two"]) == {"two": True}
    with pytest.raises(ConfigurationError, match="no channel 'three': registered are 'one', 'two'"):
        manager.send_alert(ALERT, ["one", "three"])
    with pytest.raises(ConfigurationError, match=r"write \['one'\]"):
        manager.send_alert(ALERT, "one")
    assert (one.sent, two.sent) == ([], [ALERT])


@pytest.mark.parametrize("severity", list(AlertSeverity))
def test_a_channel_gets_no_alert_below_its_severity(severity: AlertSeverity) -> None:
    """It is left out of the result."""
    manager = NotificationManager()
    manager.register_channel("all", CustomChannel())
    manager.register_channel("grave", CustomChannel(), min_severity=AlertSeverity.ERROR)
    sent = manager.send_alert(SafetyAlert("t", "d", severity))
    assert ("grave" in sent) == (severity in (AlertSeverity.ERROR, AlertSeverity.CRITICAL))
    assert sent["all"]


def test_a_name_is_taken_once() -> None:
    """Replacing a channel takes removing the old one, which comes back."""
    manager = NotificationManager()
    old, new = CustomChannel(), CustomChannel()
    manager.register_channel("name", old)
    with pytest.raises(ConfigurationError, match="unregister it first"):
        manager.register_channel("name", new)
    assert manager.unregister_channel("name") is old
    manager.register_channel("name", new)
    assert dict(manager.channels) == {"name": new}
    with pytest.raises(ConfigurationError, match="there is no channel 'other'"):
        manager.unregister_channel("other")
    with pytest.raises(ConfigurationError, match="is not a channel"):
        manager.register_channel("wrong", object())  # type: ignore[arg-type]


def test_shutdown_reaches_every_channel_once() -> None:
    """Also after one that fails; a second time there is nothing left to do."""
    manager = NotificationManager()
    broken, good = CustomChannel(fails=True), CustomChannel()
    manager.register_channel("broken", broken)
    manager.register_channel("good", good)
    manager.shutdown()
    manager.shutdown()
    assert (broken.shut_down, good.shut_down) == (1, 1)
    assert manager.send_alert(ALERT) == {}


def test_many_threads_may_use_one_manager() -> None:
    """Registering, sending and removing at the same time loses nothing."""
    manager = NotificationManager()
    steady = CustomChannel()
    manager.register_channel("steady", steady)

    def use(number: int) -> None:
        for _ in range(20):
            manager.register_channel(f"own-{number}", CustomChannel())
            assert manager.send_alert(ALERT)["steady"]
            manager.unregister_channel(f"own-{number}")

    threads = [threading.Thread(target=use, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(steady.sent) == 80
