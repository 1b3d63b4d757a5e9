"""What happens when an agent publishes an action, told from end to end on real processes.

An agent submits a transaction over HTTP or over Kombu. The evaluator finds it over the limit; the
tracker opens an approval; the notifier tells reviewers by mail, Slack and webhook. A reviewer
answers from the mail's page or over the API, and the agent goes on with what was approved.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import httpx2
import pytest
from standardwebhooks import Webhook

from safeguards import ActionPublisher, Safeguards, require_approval
from safeguards.contracts import ActionView, Outcome
from safeguards.errors import ConflictError, NotApprovedError
from safeguards.identifiers import twin_id
from safeguards.types import ActionStatus
from tests.deploy.running import eventually
from tests.receivers import HttpReceiver, ReceivedMail
from tests.stack import Stack

PAYMENT = {"amount": Decimal("2500.00"), "payee": "ACME Ltd", "description": "Large investment"}


class Form(HTMLParser):
    """What a page's form for one response holds, as a browser would send it."""

    def __init__(self, page: str, response: str) -> None:
        super().__init__()
        self._fields: dict[str, str] = {}
        self._forms: list[dict[str, str]] = []
        self.feed(page)
        self.fields = next(form for form in self._forms if form.get("response") == response)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self._forms.append({})
        if tag in ("input", "button", "textarea") and given.get("name") and self._forms:
            self._forms[-1][str(given["name"])] = given.get("value") or ""


def link_in(mail: ReceivedMail) -> str:
    match = re.search(r"http://\S+/review/\S+", mail.text)
    assert match, mail.text
    return match[0]


def mail_about(stack: Stack, title: str, to: str = "alex@example.com") -> ReceivedMail:
    """Wait for the mail that asks `to` about an action with this title."""
    return stack.smtp.wait_for(
        lambda mail: title in mail.subject and to in mail.recipients, timeout=10
    )


def answer_from_mail(stack: Stack, title: str, response: str, **typed: str) -> httpx2.Response:
    """Do what a reviewer does: open the mail, follow its link, fill in the form, send it."""
    link = link_in(mail_about(stack, title))
    with httpx2.Client(follow_redirects=True) as browser:
        page = browser.get(link)
        assert page.status_code == 200
        assert title in page.text
        sent = {**Form(page.text, response).fields, **typed}
        answer = browser.post(link, data=sent)
        # Changes are shown before they are sent.
        shown = re.search(r'name="seal" value="([^"]+)"', answer.text)
        if response == "modify" and shown:
            answer = browser.post(link, data={**sent, "seal": shown[1]})
        return answer


def submitted_over_http(stack: Stack, agent: Safeguards, title: str) -> str:
    return agent.submit("trader", "transaction", PAYMENT, title=title).id


def submitted_over_kombu(stack: Stack, agent: Safeguards, title: str) -> str:
    key = stack.create_key("--agent", "trader", "--signing")
    assert key.signing_key is not None
    with ActionPublisher(stack.setting("SAFEGUARDS_BROKER_URL"), key.signing_key, agent) as kombu:
        action_id = kombu.publish("trader", "transaction", PAYMENT, title=title)
    assert kombu.unconfirmed == 0
    return action_id


@pytest.mark.parametrize("submitted", [submitted_over_http, submitted_over_kombu])
def test_an_action_goes_all_the_way_round(
    stack: Stack, submitted: Callable[[Stack, Safeguards, str], str]
) -> None:
    """The agent asks, people are told in three ways, one of them changes the amount, and the
    agent goes on with just that."""
    agent = stack.client()
    title = f"Pay ACME, {submitted.__name__}"

    # The agent wants to pay. The policy says that a person must decide.
    action_id = submitted(stack, agent, title)
    approval_id = twin_id("apr", action_id)

    # The reviewers get a mail that says what is asked, why, and until when.
    mail = mail_about(stack, title)
    assert "amount: 2500.00" in mail.text
    assert "2500.00 exceeds the limit of 1000.00 for trader" in mail.text
    assert "If nobody answers by" in mail.text
    assert mail.message["Auto-Submitted"] == "auto-generated"
    assert link_in(mail_about(stack, title, "sam@example.com")) != link_in(mail)

    # Slack is told, without a link that would let just anyone answer.
    slack = stack.slack.wait_for(lambda request: title.encode() in request.body, timeout=10)
    assert b"/review/" not in slack.body

    # The webhook is signed, and thin.
    webhook = stack.webhook.wait_for(
        lambda request: approval_id.encode() in request.body, timeout=10
    )
    Webhook(stack.webhook_secret).verify(webhook.body, dict(webhook.headers))
    assert json.loads(webhook.body)["type"] == "approval.requested"
    assert b"ACME Ltd" not in webhook.body

    # A reviewer follows the link, lowers the amount, and sends the form.
    page = answer_from_mail(
        stack, title, "modify", **{"field:amount": "900.00", "comments": "Half is enough"}
    )
    assert page.status_code == 200
    assert "Approved with changes" in page.text

    # The agent goes on, with the changed amount as a Decimal, and can prove what was approved.
    outcome = agent.wait(action_id, 10)
    assert outcome.status is ActionStatus.MODIFIED
    assert (outcome.comments, outcome.decided_by) == ("Half is enough", "alex")
    assert outcome.approved_context(PAYMENT) == {**PAYMENT, "amount": Decimal("900.00")}

    # Whoever comes second is told who was first.
    late = stack.respond(approval_id, "sam", response="approve")
    assert late.status_code == 409
    assert late.json()["detail"] == "already modified by alex"

    # Those who asked to be told of outcomes hear it, and the action itself is closed.
    resolved = stack.webhook.wait_for(
        lambda request: (
            b"approval.resolved" in request.body and approval_id.encode() in request.body
        ),
        timeout=10,
    )
    assert json.loads(resolved.body)["data"]["modifications"] == {"amount": "900.00"}
    eventually(lambda: _closed(agent, action_id), "the action is closed")

    # Every step is on record, each hashed onto the one before.
    events = [line["event"] for line in stack.history(approval_id)]
    assert events[0] == "opened"
    assert events.count("modified") == 1


def meanwhile(stack: Stack, call: Callable[[], str], answer: Callable[[str], None]) -> str:
    """Run what waits for a person, and answer the one approval that it opens."""
    with ThreadPoolExecutor(1) as thread, stack.http() as http:
        result = thread.submit(call)
        found: list[str] = []

        def is_open() -> bool:
            page = http.get("/approvals", params={"status": "PENDING", "agent_id": "decorated"})
            found[:] = [approval["id"] for approval in page.json()["approvals"]]
            return bool(found)

        eventually(is_open, "the approval is open")
        answer(found[0])
        return result.result(10)


def _closed(agent: Safeguards, action_id: str) -> bool:
    view = agent.get(action_id)
    return isinstance(view, ActionView) and view.status is ActionStatus.MODIFIED


def test_approve(stack: Stack) -> None:
    """The agent goes on with the arguments that it asked for."""
    agent = stack.client()
    action = agent.submit("trader", "transaction", PAYMENT, title="Pay as asked")
    assert answer_from_mail(stack, "Pay as asked", "approve").status_code == 200
    outcome = agent.wait(action, 10)
    assert outcome.status is ActionStatus.APPROVED
    assert outcome.approved_context(PAYMENT) == PAYMENT


def test_reject(stack: Stack) -> None:
    """The agent learns why, and may run nothing."""
    agent = stack.client()
    action = agent.submit("trader", "transaction", PAYMENT, title="Pay too much")
    typed = {"reason": "", "comments": "Not this quarter"}
    answer_from_mail(stack, "Pay too much", "reject", **typed)
    outcome = agent.wait(action, 10)
    assert (outcome.status, outcome.comments) == (ActionStatus.REJECTED, "Not this quarter")
    with pytest.raises(NotApprovedError, match="Not this quarter"):
        outcome.approved_context(PAYMENT)


def test_ask(stack: Stack) -> None:
    """A question goes back to the agent; its answer makes a new version, to be decided on."""
    asked: list[Any] = []
    agent = Safeguards(stack.api, stack.agent_key.api_key, on_question=asked.append)
    with agent:
        action = agent.submit("trader", "transaction", PAYMENT, title="Pay whom?")
        page = answer_from_mail(stack, "Pay whom?", "ask", comments="Is ACME vetted?")
        assert "Is ACME vetted?" in page.text
        eventually(lambda: bool(asked), "the agent hears the question")
        assert asked[0].question == "Is ACME vetted?"

        approval = agent.answer(action, "Yes, since May")
        assert approval.version == 2

        # What was shown before may no longer be decided.
        stale = stack.respond(approval.id, "sam", response="approve", version=1)
        assert (stale.status_code, stale.json()["version"]) == (409, 2)

        assert stack.respond(approval.id, "alex", response="approve").status_code == 200
        assert agent.wait(action, 10).approved_context(PAYMENT) == PAYMENT


def test_silence(stack: Stack) -> None:
    """Nobody answers: time is up on the second, and nothing may run."""
    agent = stack.client()
    action = agent.submit("trader", "transaction", PAYMENT, timeout_seconds=1)
    outcome = agent.wait(action, 10)
    assert (outcome.status, outcome.decided_by) == (ActionStatus.TIMED_OUT, "nobody")
    with stack.http() as http:
        asked = http.get(f"/approvals/{twin_id('apr', action.id)}").json()
    late = outcome.decided_at - datetime.fromisoformat(asked["expires_at"])
    assert timedelta(0) <= late < timedelta(seconds=1)


def test_withdraw(stack: Stack) -> None:
    """The agent changes its mind; whoever answers later is told so."""
    agent = stack.client()
    approval = agent.request_approval("trader", "Never mind", {"amount": "1.00"})
    agent.cancel(approval)
    assert agent.wait(approval, 10).status is ActionStatus.CANCELLED
    agent.cancel(approval)
    assert stack.respond(approval.id, response="approve").status_code == 409


def test_what_is_decided_cannot_be_withdrawn(stack: Stack) -> None:
    agent = stack.client()
    approval = agent.request_approval("trader", "Too late", {"amount": "1.00"})
    assert stack.respond(approval.id, response="reject").status_code == 200
    with pytest.raises(ConflictError, match="already rejected by alex"):
        agent.cancel(approval)


def test_nobody_is_asked_about_what_the_policy_allows(stack: Stack) -> None:
    """The verdict is the outcome, for allowed and for denied actions."""
    agent = stack.client()
    allowed = agent.wait(agent.submit("trader", "read_prices", {"symbol": "X"}), 10)
    assert (allowed.status, allowed.verdict) == (ActionStatus.APPROVED, "allow")
    below = agent.wait(agent.submit("trader", "transaction", {"amount": "999.99"}), 10)
    assert (below.status, below.verdict) == (ActionStatus.APPROVED, "allow")
    denied = agent.wait(agent.submit("trader", "high_risk_investment", {"amount": "1.00"}), 10)
    assert (denied.status, denied.verdict) == (ActionStatus.REJECTED, "deny")
    assert "restricted" in denied.comments


def test_the_one_behind_the_agent_may_not_answer(stack: Stack) -> None:
    """Not by the API, and no mail asks them."""
    agent = stack.client(stack.create_key("--agent", "alexs-bot", "--owner", "alex"))
    approval = agent.request_approval("alexs-bot", "Raise for Alex", {"amount": "1.00"})
    mail_about(stack, "Raise for Alex", "sam@example.com")
    assert not [
        mail
        for mail in stack.smtp.mails
        if "Raise for Alex" in mail.subject and "alex@example.com" in mail.recipients
    ]
    refused = stack.respond(approval.id, "alex", response="approve")
    assert (refused.status_code, refused.json()["type"]) == (
        403,
        "urn:safeguards:problem:self_approval",
    )
    assert stack.respond(approval.id, "sam", response="approve").status_code == 200


def test_a_callback_tells_the_agent_as_well(stack: Stack) -> None:
    """Posted to the agent's own address, signed with its key's callback secret."""
    key = stack.create_key("--agent", "trader")
    assert key.callback_secret is not None
    with HttpReceiver() as application:
        agent = stack.client(key)
        approval = agent.request_approval(
            "trader", "Call me", {"amount": "1.00"}, callback_url=application.url("/outcome")
        )
        stack.respond(approval.id, response="approve", comments="fine")
        request = application.wait_for(timeout=10)
        Webhook(key.callback_secret).verify(request.body, dict(request.headers))
        assert Outcome.model_validate(json.loads(request.body)["data"]) == agent.wait(approval, 10)


def test_a_decorated_function_runs_with_what_was_approved(stack: Stack) -> None:
    """A reviewer's change is in the arguments; a rejection raises."""
    agent = stack.client()
    paid: list[tuple[Decimal, str]] = []

    @require_approval(agent, agent_id="decorated", action_type="transaction")
    def pay(amount: Decimal, payee: str = "ACME") -> str:
        """Pay somebody."""
        paid.append((amount, payee))
        return "paid"

    def modify(approval_id: str) -> None:
        changes = {"amount": "10.50"}
        assert stack.respond(approval_id, response="modify", modifications=changes).is_success

    assert meanwhile(stack, lambda: pay(Decimal("5000.00")), modify) == "paid"
    assert paid == [(Decimal("10.50"), "ACME")]

    def reject(approval_id: str) -> None:
        assert stack.respond(approval_id, response="reject", comments="no").is_success

    with pytest.raises(NotApprovedError, match="no"):
        meanwhile(stack, lambda: pay(Decimal("5001.00"), payee="EMCA"), reject)
    assert len(paid) == 1
    assert pay(Decimal("5.00")) == "paid", "what the policy allows runs at once"
