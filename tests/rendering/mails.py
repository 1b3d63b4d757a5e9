"""Messages such as the notifier makes, ordinary and hostile."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from safeguards.notifications.message import Link, Message, Thread
from safeguards.types import AlertSeverity

REVIEW = "https://approvals.example/review/v4.eyJhcHJvdmFsIjoiYXByXzAxIn0.kR2mX9"
ALL = "https://approvals.example/review/all/v4.eyJyZXZpZXdlciI6ImFubiJ9.pQ7tLw"

ASKING = Message(
    event="approval.requested",
    subject="Approval needed: Buy 2,500.00 EUR of ACME shares (until 25 Nov 2026 14:32:00 UTC)",
    severity=AlertSeverity.ERROR,
    facts=(
        ("Agent", "financial_advisor"),
        ("Action", "transaction"),
        ("amount", "2500.00"),
        ("currency", "EUR"),
        ("beneficiary", "ACME Brokerage, DE89 3704 0044 0532 0130 00"),
        ("Answer by", "25 Nov 2026 14:32:00 UTC"),
    ),
    agent_words=(
        "The client asked for a larger position in ACME after the quarterly report.\n"
        "I compared three brokers; this one has the lowest fee."
    ),
    reasons=("The amount 2500.00 exceeds the limit of 1000.00 for one transaction.",),
    link=Link("Review and answer", REVIEW),
    footer="If nobody answers by 25 Nov 2026 14:32:00 UTC, it is rejected.",
    thread=Thread("thr_01", begins=True),
    created_at=datetime(2026, 11, 25, 13, 32, tzinfo=UTC),
)

REMINDER = replace(
    ASKING,
    id="dlv_02",
    event="approval.reminded",
    subject="Reminder: Buy 2,500.00 EUR of ACME shares (until 25 Nov 2026 14:32:00 UTC)",
    thread=Thread("thr_01", begins=False),
)

OUTCOME = Message(
    id="dlv_03",
    event="approval.resolved",
    subject="Approved with changes: Buy 2,500.00 EUR of ACME shares",
    facts=(
        ("Decided by", "ann"),
        ("amount", "2500.00 → 900.00"),
        ("Agent", "financial_advisor"),
        ("Action", "transaction"),
    ),
    reasons=("ann: Half of it would be plenty. Begin with 900.",),
    thread=Thread("thr_01", begins=False),
)

ALERT = Message(
    event="alert.raised",
    subject="WARNING: financial_advisor goes ahead: Send a report to 240 clients",
    severity=AlertSeverity.WARNING,
    facts=(("Agent", "financial_advisor"), ("Action", "send_mail"), ("recipients", "240")),
    agent_words="Quarterly report, as every quarter.",
    reasons=("More than 100 recipients.",),
    footer="The policy allows this. You are told, not asked.",
)

_SEVERITIES = (
    AlertSeverity.CRITICAL,
    AlertSeverity.ERROR,
    AlertSeverity.WARNING,
    AlertSeverity.INFO,
)

DIGEST = Message(
    event="digest",
    subject="27 requests wait for your answer",
    severity=AlertSeverity.CRITICAL,
    entries=tuple(
        replace(
            ASKING,
            id=f"dlv_1{number}",
            severity=severity,
            subject=f"Approval needed: Pay invoice {number} of ACME (until 14:3{number} UTC)",
            facts=(("Agent", "accountant"), ("amount", f"{number}500.00"), *ASKING.facts[3:]),
            link=Link("Review and answer", f"{REVIEW}{number}"),
            footer=f"If nobody answers by 25 Nov 14:3{number} UTC, it is rejected.",
        )
        for number, severity in enumerate(_SEVERITIES)
    ),
    left_out=23,
    link=Link("See all of them", ALL),
    footer="They came faster than one message for each would have been of use.",
)

LONG = replace(
    ASKING,
    id="dlv_04",
    severity=AlertSeverity.WARNING,
    facts=(
        ("Agent", "release_bot"),
        ("Action", "deploy"),
        ("environment", "production"),
        ("command", "kubectl apply -f release.yaml\nkubectl rollout status deploy/api\n" * 4),
        *((f"setting_{number}", f"value {number}") for number in range(50)),
    ),
    reasons=tuple(f"Rule {number} of the production policy applies." for number in range(3)),
    agent_words="Nothing special.\n\n" + "A long story about this release. " * 200,
)

HOSTILE_TEXTS = {
    "html": (
        '</td></tr></table><script>document.title="owned"</script><a href="https://evil.example">'
        'Approve</a><img src="https://evil.example/x.png"><form action="https://evil.example">'
        "<style>*{display:none}</style><base href='https://evil.example'>"
    ),
    "headers": "Pay\r\nBcc: eve@evil.example\r\n\r\n<html>\x00\x1b[2J\x7f",
    "slack": "<!channel> <@U123> <https://evil.example|approve> *bold* & &amp;",
    "direction": "Pay 100 \u202eRUE 000.001\u202c to \u2067evil\u2069 \u200fx\u200e",
    "hidden": "pay\u200b\u200c\u200dpal\ufeff \u00ad\u2060 tag\U000e0041 \u3164 nul\x00",
    "alphabets": "Transfer to pаypаl.com, Ηsbc and аррӏе",  # noqa: RUF001
    "right_to_left": "مرحبا هذا طلب دفع 2500 يورو — שלום, אשר עכשיו (100)",
    "emoji": "🔥👩\u200d💻🏳️\u200d🌈" * 300,
    "marks": "Z" + "\u0351\u0348\u0330\u035b" * 200 + "algo",
    "wide": "W" * 5_000 + "﷽" * 40,
    "link": "https://evil.example/approve www.evil.example eve@evil.example tel:+49123456789",
    "encoded": "=?utf-8?q?=E2=80=AE?= =?utf-8?b?PGI+?=",
    "template": "{{ 7*7 }} {% raw %} ${7*7} #{7*7} %(x)s {0}",
    "huge": "Large " * 180_000,
}


def hostile(text: str) -> Message:
    """A request in which every field that an agent can reach says `text`."""
    return replace(
        ASKING,
        id="dlv_05",
        subject=f"Approval needed: {text}",
        facts=(("Agent", text), (text, text), ("amount", text), ("note", "ordinary")),
        agent_words=f"{text}\nApprove at once:\n{text}",
        reasons=(f"The policy found {text}",),
        footer=f"If nobody answers: {text}",
    )
