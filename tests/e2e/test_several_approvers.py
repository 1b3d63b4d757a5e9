"""Two people must approve, by whichever way each of them comes; and who has it in hand, is away, or
stops the clock. Mail, Slack and the API on real processes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx2
import pytest

from safeguards import Safeguards
from safeguards.contracts import ApprovalView
from safeguards.types import ActionStatus
from tests.console.doors import Browser
from tests.deploy.running import eventually
from tests.e2e.test_reaching_people import AWAY, directory, events, mail_to, person
from tests.e2e.test_slack_conversation import asking, ended
from tests.e2e.test_the_story_of_an_action import Form, link_in, mail_about
from tests.receivers import OpenView, SlackMessage
from tests.stack import Stack

ALEX, SAM = "U0ALEX", "U0SAM"
ONE_MORE = "Recorded; 1 more approval is needed."

PEOPLE = directory(
    person("alex"),
    person("sam"),
    person("kim"),
    person("lee", "others"),
    person("max", "others"),
    person("ann", "absent", **AWAY, delegate="lee"),
    person("bo", "absent", **AWAY, delegate="max"),
)
WAYS: dict[str, dict[str, Any]] = {
    "wire": {"quorum": 2},
    "contract": {"four_eyes": True},
    "absence": {"quorum": 2, "groups": ["absent"]},
}
"""Ways of asking, each for the type of action of its name."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that asks in a Slack channel and by mail."""
    folder = tmp_path_factory.mktemp("several")
    with Stack(
        folder,
        channels=["slack_bot", "email"],
        timeout_seconds=300,
        reviewers=PEOPLE,
        more_approvals=WAYS,
    ) as running:
        yield running


@pytest.fixture
def agent(stack: Stack) -> Safeguards:
    return stack.client()


def request(agent: Safeguards, way: str, title: str, **options: Any) -> ApprovalView:
    context = {"action_type": way, "amount": "2500.00", "payee": "ACME"}
    return agent.request_approval("trader", title, context, **options)


def standing(stack: Stack, asked: ApprovalView) -> dict[str, Any]:
    with stack.http() as http:
        found: dict[str, Any] = http.get(f"/approvals/{asked.id}").json()
        return found


def code(answer: httpx2.Response) -> str:
    return str(answer.json()["type"].rpartition("/")[2].rpartition(":")[2])


def approved_by_mail(stack: Stack, title: str, to: str) -> str:
    """Follow the link of somebody's mail and approve; return the page that comes of it."""
    with httpx2.Client(follow_redirects=True, verify=False) as browser:
        link = link_in(mail_about(stack, title, f"{to}@example.com"))
        answer = browser.post(link, data=Form(browser.get(link).text, "approve").fields)
        assert answer.status_code == 200, answer.text
        return answer.text


def told(stack: Stack, message: SlackMessage, user: str) -> str:
    """Press Approve in Slack; return the words that this user alone is shown."""
    slack = stack.slack_bot
    before = len(slack.ephemerals.items)
    assert slack.click(message, "approve", user).status_code == 200
    shown = slack.ephemerals.wait_for_many(before + 1)[before]
    assert shown.user == user
    return shown.words


# --- two people ---------------------------------------------------------------------------------


def test_one_by_mail_and_one_in_slack(stack: Stack, agent: Safeguards) -> None:
    """The first approval ends nothing, nor does the same person's by another way; the second
    person's does."""
    asked = request(agent, "wire", "Wire by two ways")
    message = asking(stack, "Wire by two ways")
    assert "One more is needed" in approved_by_mail(stack, "Wire by two ways", "alex")
    assert told(stack, message, ALEX) == ONE_MORE
    now = standing(stack, asked)
    assert (now["status"], now["needed"], now["votes"]) == ("PENDING", 1, ["alex"])
    assert events(stack, asked.id).count("voted") == 1
    assert stack.slack_bot.click(message, "approve", SAM).status_code == 200
    outcome = agent.wait(asked, 10)
    assert (outcome.status, outcome.approvers) == (ActionStatus.APPROVED, ("alex", "sam"))
    assert outcome.approved_context(asked.context) == asked.context
    ended(stack, message, "Approved")


def test_the_first_in_slack_is_told_privately_what_is_missing(
    stack: Stack, agent: Safeguards
) -> None:
    """Only that person sees it; the other approves over the API; one who is against is enough."""
    asked = request(agent, "wire", "Wire from Slack")
    assert told(stack, asking(stack, "Wire from Slack"), SAM) == ONE_MORE
    assert stack.respond(asked.id, "kim", response="approve").json()["needed"] == 0
    assert agent.wait(asked, 10).approvers == ("sam", "kim")
    other = request(agent, "wire", "Wire against")
    assert told(stack, asking(stack, "Wire against"), SAM) == ONE_MORE
    assert stack.respond(other.id, "kim", response="reject").status_code == 200
    assert agent.wait(other, 10).status is ActionStatus.REJECTED


def proposing(stack: Stack, message: SlackMessage, user: str) -> tuple[OpenView, dict[str, str]]:
    """Press Modify…; return the form, and the block of each field by what it shows."""
    slack = stack.slack_bot
    before = len(slack.views.items)
    assert slack.click(message, "modify", user).status_code == 200
    modal = slack.views.wait_for_many(before + 1)[before]
    shown = {
        block["element"].get("initial_value", ""): name for name, block in modal.inputs().items()
    }
    return modal, shown


def newest(stack: Stack, title: str, words: str) -> SlackMessage:
    """Return the message in Slack about the version that shows these words."""
    return stack.slack_bot.wait_for_message(
        lambda m: title in m.words and words in m.words and "approve" in m.buttons
    )


def test_a_change_in_slack_is_made_to_what_is_shown(stack: Stack, agent: Safeguards) -> None:
    """The second reviewer's form holds what the first has changed: left as it is it stays changed,
    and typed back as the agent had it, it is not changed any more."""
    asked = request(agent, "wire", "Wire in part")
    modal, fields = proposing(stack, asking(stack, "Wire in part"), ALEX)
    done = stack.slack_bot.submit(modal, {fields["2500.00"]: "1800.00"})
    assert done.view is not None
    assert ONE_MORE in done.view.words
    assert standing(stack, asked)["modifications"] == {"amount": "1800.00"}
    modal, fields = proposing(stack, newest(stack, "Wire in part", "1800.00"), SAM)
    assert "2500.00" not in fields
    unchanged = stack.slack_bot.submit(modal)
    assert "nothing differs" in next(iter(unchanged.errors.values()))
    stack.slack_bot.submit(modal, {fields["ACME"]: "Bolt"})
    now = standing(stack, asked)
    assert now["modifications"] == {"amount": "1800.00", "payee": "Bolt"}
    assert (now["version"], now["votes"]) == (3, ["sam"])
    modal, fields = proposing(stack, newest(stack, "Wire in part", "Bolt"), ALEX)
    stack.slack_bot.submit(modal, {fields["1800.00"]: "2500.00"})
    assert standing(stack, asked)["modifications"] == {"payee": "Bolt"}
    assert stack.respond(asked.id, "sam", response="approve").status_code == 200
    outcome = agent.wait(asked, 10)
    assert (outcome.status, outcome.modifications) == (ActionStatus.MODIFIED, {"payee": "Bolt"})
    assert outcome.approvers == ("alex", "sam")
    assert outcome.approved_context(asked.context)["amount"] == "2500.00"


def test_each_stands_in_for_one(stack: Stack, agent: Safeguards) -> None:
    """Delegates approve for those who are away: one vote for one person, who adds none to it."""
    asked = request(agent, "absence", "Wire for the absent")
    assert "One more is needed" in approved_by_mail(stack, "Wire for the absent", "lee")
    assert code(stack.respond(asked.id, "ann", response="approve")) == "already_voted"
    assert standing(stack, asked)["needed"] == 1
    approved_by_mail(stack, "Wire for the absent", "max")
    outcome = agent.wait(asked, 10)
    assert (outcome.approvers, outcome.decided_for) == (("lee", "max"), "bo")
    stood_in = [line["detail"].get("for") for line in stack.history(asked.id)]
    assert [name for name in stood_in if name] == ["ann", "bo"]


def test_who_changes_it_does_not_approve_it(stack: Stack, agent: Safeguards) -> None:
    """Under four eyes: not by any way; the next one is told by mail and approves."""
    asked = request(agent, "contract", "Sign it")
    # Whoever is told of the request only after it was changed is asked once, for the request.
    mail_to(stack, "sam@example.com", "Approval needed: Sign it")
    changed = stack.respond(asked.id, response="modify", modifications={"amount": "9.00"})
    assert (changed.json()["status"], changed.json()["needed"]) == ("PENDING", 1)
    assert code(stack.respond(asked.id, response="approve")) == "four_eyes"
    message = newest(stack, "Sign it", "9.00")
    assert "somebody else must" in told(stack, message, ALEX)
    mail_to(stack, "sam@example.com", "Changed by a reviewer: Sign it")
    assert stack.slack_bot.click(message, "approve", SAM).status_code == 200
    outcome = agent.wait(asked, 10)
    assert (outcome.status, outcome.approvers) == (ActionStatus.MODIFIED, ("sam",))


# --- in hand, and on the clock ------------------------------------------------------------------


def test_whoever_it_is_handed_to_gets_a_mail_to_answer_by(stack: Stack, agent: Safeguards) -> None:
    """With who has handed it over, the note, and a link of their own."""
    asked = request(agent, "contract", "Look after it")
    with Browser(stack.url, {}) as alex:
        alex.post("/sign-in", data={"name": "alex", "password": stack.passwords["alex"]})
        form = {"csrf": alex.csrf(), "to": "kim", "note": "you know them"}
        handed = alex.post(f"/console/requests/{asked.id}/hand-over", data=form)
        assert handed.status_code == 303, handed.text
    mail = mail_to(stack, "kim@example.com", "Handed over to you: Look after it")
    assert "you know them" in mail.text
    assert "alex" in mail.text
    with httpx2.Client(follow_redirects=True, verify=False) as browser:
        link = link_in(mail)
        answer = browser.post(link, data=Form(browser.get(link).text, "approve").fields)
        assert answer.status_code == 200
    assert agent.wait(asked, 10).decided_by == "kim"
    # An agent reads that it was handed over, and not what people said of it.
    with stack.http() as own, stack.http(stack.reviewer_keys["alex"]) as reviewers:
        path = f"/approvals/{asked.id}/history"
        agents, theirs = own.get(path).json(), reviewers.get(path).json()
    assert "you know them" in str(theirs)
    assert "you know them" not in str(agents)
    assert [line["hash"] for line in agents] == [line["hash"] for line in theirs]
    others = [m for m in stack.smtp.mails if "Handed over to you: Look after it" in m.subject]
    assert [m.recipients for m in others] == [("kim@example.com",)]


def test_a_paused_clock_goes_on_with_the_agents_answer(stack: Stack, agent: Safeguards) -> None:
    """The deadline moves on by what the policy allows for that; the old one passes without a
    time-out; and the answer moves it back by what was not used. Then silence counts again."""
    allowed = timedelta(seconds=300)
    asked = request(agent, "contract", "Wait for me", timeout_seconds=5)
    paused = stack.respond(asked.id, response="ask", comments="why?", pause=True)
    assert paused.status_code == 200, paused.text
    stopped = ApprovalView.model_validate(paused.json())
    assert stopped.expires_at == asked.expires_at + allowed
    assert stopped.paused_at is not None
    eventually(lambda: datetime.now(asked.expires_at.tzinfo) > asked.expires_at, "it is later")
    time.sleep(0.5)
    assert standing(stack, asked)["status"] == "PENDING"
    running = agent.answer(asked.id, "because")
    assert running.paused_at is None
    assert asked.expires_at < running.expires_at
    assert running.expires_at < datetime.now(running.expires_at.tzinfo) + timedelta(seconds=6)
    outcome = agent.wait(asked, 15)
    assert outcome.status is ActionStatus.TIMED_OUT
    assert outcome.decided_at >= running.expires_at
