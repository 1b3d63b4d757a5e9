"""A policy says by which ways people may answer, and within which limits they may change what is
asked: no message offers what would be refused. On the whole stack."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from safeguards.types import ActionStatus
from tests.console.doors import Browser
from tests.e2e.test_slack_conversation import ALEX, OVER, asking, ended
from tests.e2e.test_the_story_of_an_action import Form, mail_about
from tests.receivers import OpenView, SlackMessage
from tests.stack import Stack

LIMITS: dict[str, Any] = {
    "amount": {"at_most": "asked"},
    "account": {"one_of": ["Main account", "Reserve"]},
}
APPROVALS: dict[str, dict[str, Any]] = {
    "release": {"answer_by": ["console"]},
    "payout": {"editable": LIMITS},
}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that asks in a Slack channel and by mail."""
    folder = tmp_path_factory.mktemp("ways")
    channels = ["slack_bot", "email"]
    with Stack(folder, channels=channels, more_approvals=APPROVALS) as running:
        yield running


def opened(stack: Stack, message: SlackMessage, action_id: str) -> OpenView:
    """Press a button as Alex and return the modal that it opens."""
    before = len(stack.slack_bot.views.items)
    assert stack.slack_bot.click(message, action_id, ALEX).status_code == 200
    return stack.slack_bot.views.wait_for_many(before + 1)[before]


def test_a_mail_leads_to_the_console(stack: Stack) -> None:
    """It has no link to answer by: whoever follows the one that it has must sign in."""
    agent = stack.client()
    release = {"action_type": "release", "version": "4.2"}
    asked = agent.request_approval("builder", "Release 4.2", release)
    mail = mail_about(stack, "Release 4.2")
    page = f"{stack.url}/console/requests/{asked.id}"
    for part in (mail.text, mail.html):
        assert page in part
        assert "This request is answered in the console." in part
        assert "/review/" not in part
        assert "Review and answer" not in part
    with Browser(stack.url, {}) as browser:
        assert "Sign in" in browser.get(page, follow_redirects=True).text
        form = {"name": "alex", "password": stack.passwords["alex"]}
        assert browser.post("/sign-in", data=form).status_code == 303
        fields = Form(browser.get(page).text, "approve").fields
        assert browser.post(page, data=fields).status_code == 303
    outcome = agent.wait(asked, 10)
    assert (outcome.status, outcome.decided_by) == (ActionStatus.APPROVED, "alex")


def test_a_message_in_slack_only_shows_it(stack: Stack) -> None:
    """Evidence, and the way to the console; an answer that comes all the same, as by a button that
    somebody has made, is refused in words. When it is decided, the message says so."""
    agent = stack.client()
    release = {"action_type": "release", "version": "4.3"}
    asked = agent.request_approval("builder", "Release 4.3", release)
    message = stack.slack_bot.wait_for_message(lambda m: "Release 4.3" in m.words)
    assert not OVER & set(message.buttons)
    assert "This request is answered in the console." in message.words
    assert f"{stack.url}/console/requests/{asked.id}" in str(message.blocks)
    evidence = opened(stack, message, "evidence")
    assert not evidence.inputs()
    assert "submit" not in evidence.view
    assert "answered in the console only" in evidence.words
    for action_id in ("approve", "reject", "modify"):
        payload = stack.slack_bot.click_payload(message, "evidence", ALEX)
        payload["actions"][0]["action_id"] = action_id
        count = len(stack.slack_bot.ephemerals.items)
        assert stack.slack_bot.post_signed(payload).status_code == 200
        words = stack.slack_bot.ephemerals.wait_for_many(count + 1)[count].words
        assert "answered in the console only" in words
    with httpx2.Client() as client:
        refused = client.post(
            f"{stack.api}/approvals/{asked.id}/responses",
            json={"response": "approve", "version": asked.version, "digest": asked.digest},
            headers={"Authorization": f"Bearer {stack.reviewer_keys['sam'].api_key}"},
        )
    assert refused.status_code == 403
    assert refused.json()["type"].endswith(":not_this_way")
    agent.cancel(asked.id)
    ended(stack, message, "Withdrawn")


def test_a_form_in_slack_says_its_limits(stack: Stack) -> None:
    """At each field; a value of few is chosen, and what is refused is refused at its field."""
    agent = stack.client()
    payout = {"action_type": "payout", "amount": "2500.00", "account": "Main account"}
    asked = agent.request_approval("trader", "Pay within limits", payout)
    modal = opened(stack, asking(stack, "Pay within limits"), "modify")
    amount, account = (modal.inputs()[f"field:{position}"] for position in (0, 1))
    limits = "At least 0, at most 2,500.00 (what the agent asks for)."
    assert amount["hint"]["text"].startswith(limits)
    chosen = [option["value"] for option in account["element"]["options"]]
    assert chosen == LIMITS["account"]["one_of"]
    refused = stack.slack_bot.submit(modal, {"field:0": "2500.01"})
    assert refused.errors.keys() == {"field:0"}
    assert "at most 2,500.00" in refused.errors["field:0"]
    typed = {"field:0": "2400.00", "field:1": "Reserve"}
    assert stack.slack_bot.submit(modal, typed).is_closed
    outcome = agent.wait(asked, 10)
    assert outcome.modifications == {"amount": "2400.00", "account": "Reserve"}
