"""The built-in channels, and the interface of one's own.

All of them can be imported from the base install. What a channel needs beyond it is an extra,
and `initialize` says which when it is missing.
"""

from safeguards.notifications.channels.base import AsyncChannel, NotificationChannel
from safeguards.notifications.channels.email import EmailChannel
from safeguards.notifications.channels.human_in_the_loop import HumanInTheLoopChannel
from safeguards.notifications.channels.log import LoggingChannel
from safeguards.notifications.channels.slack import SlackChannel
from safeguards.notifications.channels.webhook import WebhookChannel

__all__ = [
    "AsyncChannel",
    "EmailChannel",
    "HumanInTheLoopChannel",
    "LoggingChannel",
    "NotificationChannel",
    "SlackChannel",
    "WebhookChannel",
]
