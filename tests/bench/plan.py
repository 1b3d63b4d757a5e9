"""How much is measured: in full, and in the short form that only shows that it works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        rounds: how often each side has its turn, one after the other.
        waiting: decision latency: how many approvals are waited for, case by case.
        decisions: how many are measured in each turn, of decisions and of verdicts.
        warm_up: how many are made before, in each case, and thrown away.
        pause_seconds: between two measurements of latency.
        open: how many approvals are open while others are opened and decided.
        clients: how many of those are at work at once.
        cycles: opened and decided in each turn.
        webhooks: delivered in each turn; so with the next two.
        slack: messages posted to Slack.
        mails: delivered.
        actions: evaluated.
        judged: evaluated in each turn of a number of policies; so with the next.
        inspections: of those that are evaluated in this process.
        replayed: judged once more by the command; a twentieth of them in this process.
        slow_webhooks: delivered in each turn to receivers that take their time.
        processes: notifier processes, case by case.
        pending: how many approvals are pending where cost is compared as it grows.
        kept: approvals opened to see what they take in the store.
        idle_seconds: how long the idle stack is watched.
    """

    rounds: int = 5
    waiting: tuple[int, ...] = (1, 1000)
    decisions: int = 150
    warm_up: int = 50
    pause_seconds: float = 0.03
    open: int = 1000
    clients: int = 16
    cycles: int = 1000
    webhooks: int = 3000
    slack: int = 1500
    mails: int = 1500
    actions: int = 4000
    judged: int = 2000
    inspections: int = 3000
    replayed: int = 100_000
    slow_webhooks: int = 3000
    processes: tuple[int, ...] = (1, 2, 4)
    pending: tuple[int, int] = (1000, 1_000_000)
    kept: int = 2000
    idle_seconds: float = 30.0


FULL = Plan()
QUICK = Plan(
    rounds=1,
    waiting=(1, 20),
    decisions=5,
    warm_up=2,
    pause_seconds=0.0,
    open=20,
    cycles=20,
    webhooks=60,
    slack=40,
    mails=40,
    actions=60,
    judged=20,
    inspections=20,
    replayed=2000,
    slow_webhooks=60,
    processes=(1, 2),
    pending=(300, 3000),
    kept=40,
    idle_seconds=0.5,
)
