"""Services, queues and tasks by name. The names are wire format: they never change meaning."""

from __future__ import annotations

from enum import StrEnum


class Service(StrEnum):
    """A service that drives records onward, with its agenda and its one task to look at them."""

    EVALUATOR = "safeguard-evaluator"
    """Gives verdicts on actions."""

    TRACKER = "approval-tracker"
    """Opens approvals, expires them, and carries out what an outcome entails."""

    NOTIFIER = "notifier"
    """Plans deliveries and makes them."""


class Queue(StrEnum):
    """The broker's queues."""

    ACTIONS = "safeguards.actions"
    APPROVALS = "safeguards.approvals"
    NOTIFY = "safeguards.notify"
    NOTIFY_EMAIL = "safeguards.notify.email"
    NOTIFY_SLACK = "safeguards.notify.slack"
    NOTIFY_WEBHOOK = "safeguards.notify.webhook"
    NOTIFY_CALLBACK = "safeguards.notify.callback"
    NOTIFY_OTHER = "safeguards.notify.other"


class Task(StrEnum):
    """The tasks. Each takes one argument, a list of record identifiers: "look at these"."""

    EVALUATE = "safeguard_evaluator.evaluate"
    ADVANCE = "approval_tracker.advance"
    PLAN = "notifier.plan"
    SEND_EMAIL = "notifier.send_email"
    SEND_SLACK = "notifier.send_slack"
    SEND_WEBHOOK = "notifier.send_webhook"
    SEND_CALLBACK = "notifier.send_callback"
    SEND_OTHER = "notifier.send_other"


QUEUE_OF: dict[Task, Queue] = {
    Task.EVALUATE: Queue.ACTIONS,
    Task.ADVANCE: Queue.APPROVALS,
    Task.PLAN: Queue.NOTIFY,
    Task.SEND_EMAIL: Queue.NOTIFY_EMAIL,
    Task.SEND_SLACK: Queue.NOTIFY_SLACK,
    Task.SEND_WEBHOOK: Queue.NOTIFY_WEBHOOK,
    Task.SEND_CALLBACK: Queue.NOTIFY_CALLBACK,
    Task.SEND_OTHER: Queue.NOTIFY_OTHER,
}

LOOKS_AT: dict[Service, Task] = {
    Service.EVALUATOR: Task.EVALUATE,
    Service.TRACKER: Task.ADVANCE,
    Service.NOTIFIER: Task.PLAN,
}
"""The task by which a service looks at whatever is due on its agenda."""

_SENDS: dict[str, Task] = {
    "email": Task.SEND_EMAIL,
    "slack": Task.SEND_SLACK,
    "webhook": Task.SEND_WEBHOOK,
    "callback": Task.SEND_CALLBACK,
}


def sends(kind: str) -> Task:
    """Return the task that sends through a channel of a kind; one for all kinds of one's own."""
    return _SENDS.get(kind, Task.SEND_OTHER)


IDS_PER_HINT = 50
"""How many records one hint may name."""

HINT_GRACE_SECONDS = 5
"""How long a hint may take before the agenda sends it again."""

LEASE_SECONDS = 15
"""How long the clock of one worker keeps what it leased from the others."""
