"""Every block of the requirement, `human_in_loop.md`, runs as written against the stack.

Only its addresses, its key and its SMTP server are replaced.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from safeguards.human_action import ActionStatus
from safeguards.types import AlertSeverity, SafetyAlert
from tests.receivers import CertificateAuthority, SmtpServer
from tests.stack import Stack

REQUIREMENT = Path(__file__).with_name("human_in_loop.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", REQUIREMENT, re.MULTILINE | re.DOTALL)

Answer = dict[str, Any]


@contextmanager
def a_reviewer(stack: Stack, *answers: Answer) -> Iterator[None]:
    """Answer what is asked, one after the other, by `answers`."""
    stop = threading.Event()
    left = list(answers)

    def review() -> None:
        with stack.http(stack.reviewer_keys["alex"]) as http:
            while left and not stop.wait(0.05):
                page = http.get("/approvals", params={"status": "PENDING"}).json()
                for approval in page["approvals"]:
                    if approval["agent_id"] in ("financial_advisor", "data_processor") and left:
                        assert stack.respond(approval["id"], "alex", **left.pop(0)).is_success

    reviewer = threading.Thread(target=review)
    reviewer.start()
    try:
        yield
    finally:
        stop.set()
        reviewer.join()


@pytest.fixture
def run(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Run a block of the requirement, found by words that stand in it, in one namespace."""
    users = {"your_email@gmail.com": "your_password"}
    with (
        CertificateAuthority() as authority,
        SmtpServer(starttls=authority.server_context("127.0.0.1"), users=users) as smtp,
    ):
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca_file))
        replaced = {
            "https://your-approval-endpoint.com/api": stack.api,
            "http://example.com/api/approvals": stack.api,
            "https://hooks.slack.com/services/YOUR/SLACK/WEBHOOK": stack.slack.url("/slack"),
            '"your_api_key"': repr(stack.agent_key.api_key),
            '"demo_key"': repr(stack.agent_key.api_key),
            "smtp.gmail.com": "127.0.0.1",
            '"smtp_port": 587': f'"smtp_port": {smtp.port}',
        }
        space: dict[str, Any] = {"__name__": "requirement", "smtp": smtp}

        def run_block(words: str) -> dict[str, Any]:
            (block,) = [block for block in BLOCKS if words in block]
            for old, new in replaced.items():
                block = block.replace(old, new)
            exec(compile(block, words, "exec"), space)  # noqa: S102 - that is the test
            return space

        yield run_block
        for name in ("hitl_channel", "notification_manager", "action_handler"):
            if name in space:
                space[name].shutdown()


def test_every_block_is_run() -> None:
    """The tests below run all of them."""
    assert len(BLOCKS) == 11


def test_channels_and_a_handler_are_set_up_and_people_are_asked(
    stack: Stack, run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Setting up, requesting (waiting), handling (by callback), processing modifications."""
    run("# Create notification manager")
    space = run("# Set a default timeout")
    space["ActionStatus"] = ActionStatus
    with a_reviewer(stack, {"response": "approve"}):
        run("# Define action details")
    assert "Action was approved!" in capsys.readouterr().out

    with a_reviewer(stack, {"response": "reject", "comments": "No"}):
        run("# Define action details")
    assert "Action was rejected: No" in capsys.readouterr().out

    with a_reviewer(stack, {"response": "approve"}):
        run("def handle_response(action):")
        space["action_handler"].wait_for_action(space["action"], 10)
        space["action_handler"].shutdown()
    printed = capsys.readouterr().out
    assert "Request sent, continuing with other work..." in printed
    assert printed.count("Action Approve Data Access was approved!") == 1


def test_modifications_are_processed(stack: Stack, run: Any) -> None:
    """The reviewer's amount is a Decimal again, and the agent runs with it."""

    class Runs:
        def run(self, **context: Any) -> dict[str, Any]:
            return context

    run("# Create notification manager")
    space = run("# Set a default timeout")
    space |= {"ActionStatus": ActionStatus, "Decimal": Decimal, "agent": Runs()}
    modify = {"response": "modify", "modifications": {"amount": "1200.00"}}
    with a_reviewer(stack, modify):
        run("# Define action details")
    run("def apply_modifications(original_context, modifications):")
    assert space["result"]["amount"] == Decimal("1200.00")
    assert space["result"]["description"] == "Large investment purchase"


def test_the_built_in_channels(stack: Stack, run: Any, caplog: pytest.LogCaptureFixture) -> None:
    """Each is set up as written; an alert reaches those that are named."""
    caplog.set_level("INFO")
    space = run("# Create notification manager")
    run("from safeguards.notifications.channels import LoggingChannel\n\n")
    run("from safeguards.notifications.channels import EmailChannel\n\n")
    run("from safeguards.notifications.channels import SlackChannel\n\n")
    run('"poll_interval": 5\n})\nnotification_manager')
    alert = SafetyAlert("Over the limit", "2500.00 of 1000.00", AlertSeverity.ERROR)
    sent = space["notification_manager"].send_alert(alert, ["logging", "email"])
    assert sent == {"logging": True, "email": True}
    assert "Over the limit" in caplog.text
    mail = space["smtp"].wait_for()
    assert set(mail.recipients) == {"admin@yourcompany.com", "security@yourcompany.com"}


def test_a_channel_of_ones_own(run: Any, capsys: pytest.CaptureFixture[str]) -> None:
    space = run("# Create notification manager")
    space |= {"Dict": dict, "Any": Any}
    run("class CustomChannel(NotificationChannel):")
    channel = space["CustomChannel"]()
    channel.initialize({})
    space["notification_manager"].register_channel("custom", channel)
    alert = SafetyAlert("Title", "Description")
    assert space["notification_manager"].send_alert(alert, ["custom"]) == {"custom": True}
    assert "Custom notification: Title - Description" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answer", "printed"),
    [
        ({"response": "approve"}, "Approved transaction executed: {'success': True"),
        (
            {"response": "modify", "modifications": {"amount": "750.00"}},
            "Modified transaction executed: {'success': True, 'action_type': 'transaction', "
            "'amount': Decimal('750.00')",
        ),
        (
            {"response": "reject", "comments": "No"},
            "Transaction not executed. Status: REJECTED, Reason: No",
        ),
    ],
)
def test_the_complete_example(
    stack: Stack, run: Any, capsys: pytest.CaptureFixture[str], answer: Answer, printed: str
) -> None:
    with a_reviewer(stack, answer):
        run("class FinancialAgent(Agent):")
    assert printed in capsys.readouterr().out
