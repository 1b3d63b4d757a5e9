"""The whole conversation in Slack: a message that asks, an answer by whichever way, a message that
says how it ended. The notifier posts and changes, the gateway takes what people do."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import httpx2
import pytest

from safeguards.types import ActionStatus
from tests.deploy.running import eventually
from tests.e2e.test_reaching_people import directory, person
from tests.e2e.test_the_story_of_an_action import Form, link_in, mail_about
from tests.receivers import SlackMessage
from tests.stack import Stack

ALEX, SAM, LEE = "U0ALEX", "U0SAM", "U0LEE"
OVER = {"approve", "modify", "reject"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that asks in a Slack channel and by mail."""
    folder = tmp_path_factory.mktemp("slack")
    with Stack(folder, channels=["slack_bot", "email"]) as running:
        yield running


def asking(stack: Stack, title: str) -> SlackMessage:
    """Return the message in Slack that asks about an action with this title."""
    return stack.slack_bot.wait_for_message(lambda m: title in m.words and "approve" in m.buttons)


def ended(stack: Stack, message: SlackMessage, words: str) -> SlackMessage:
    """Return the message once it says how it ended, without anything to answer by."""
    found = stack.slack_bot.wait_for_message(
        lambda m: m.ts == message.ts and m.updates > 0 and words in m.words
    )
    assert not OVER & set(found.buttons)
    return found


def test_a_click_decides_and_the_message_says_so(stack: Stack) -> None:
    """The agent goes on, the message loses its buttons, and who was asked by mail is told."""
    agent = stack.client()
    asked = agent.request_approval("trader", "Pay by click", {"amount": "2500.00"})
    message = asking(stack, "Pay by click")
    assert "2500.00" in message.words
    assert stack.slack_bot.click(message, "approve", ALEX).status_code == 200
    outcome = agent.wait(asked, 10)
    assert (outcome.status, outcome.decided_by) == (ActionStatus.APPROVED, "alex")
    assert "alex" in ended(stack, message, "Approved").words
    stack.smtp.wait_for(
        lambda mail: (
            mail.recipients == ("sam@example.com",) and "Approved: Pay by click" in mail.subject
        )
    )


def test_an_answer_over_the_api_ends_the_message(stack: Stack) -> None:
    agent = stack.client()
    asked = agent.request_approval("trader", "Pay by API", {"amount": "2500.00"})
    message = asking(stack, "Pay by API")
    assert stack.respond(asked.id, "sam", response="reject", comments="no").status_code == 200
    ended(stack, message, "Rejected")


def test_an_answer_by_mail_ends_the_message(stack: Stack) -> None:
    agent = stack.client()
    agent.request_approval("trader", "Pay by mail", {"amount": "2500.00"})
    message = asking(stack, "Pay by mail")
    with httpx2.Client(follow_redirects=True) as browser:
        link = link_in(mail_about(stack, "Pay by mail"))
        form = Form(browser.get(link).text, "approve").fields
        assert browser.post(link, data=form).status_code == 200
    ended(stack, message, "Approved")


def test_a_time_out_and_a_withdrawal_end_the_message(stack: Stack) -> None:
    """Silence too, and the agent's own change of mind."""
    agent = stack.client()
    agent.request_approval("trader", "Pay in silence", {"amount": "1"}, timeout_seconds=2)
    withdrawn = agent.request_approval("trader", "Pay no more", {"amount": "1"})
    message = asking(stack, "Pay no more")
    agent.cancel(withdrawn.id)
    ended(stack, message, "Withdrawn")
    stack.slack_bot.wait_for_message(
        lambda m: "Pay in silence" in m.words and "Timed out" in m.words and not m.buttons
    )


def test_changed_terms_are_bound_to_what_was_shown(stack: Stack) -> None:
    """Modify… opens a form with the real values; what is typed is what the agent gets."""
    agent = stack.client()
    asked = agent.request_approval("trader", "Pay less", {"amount": "2500.00", "payee": "ACME"})
    message = asking(stack, "Pay less")
    before = len(stack.slack_bot.views.items)
    assert stack.slack_bot.click(message, "modify", ALEX).status_code == 200
    modal = stack.slack_bot.views.wait_for_many(before + 1)[before]
    field = next(
        block_id
        for block_id, block in modal.inputs().items()
        if block["element"].get("initial_value") == "2500.00"
    )
    assert stack.slack_bot.submit(modal, {field: "a lot"}).errors.keys() == {field}
    assert stack.slack_bot.submit(modal, {field: "1800.00"}).is_closed
    outcome = agent.wait(asked, 10)
    assert outcome.modifications == {"amount": "1800.00"}
    assert "2500.00 → 1800.00" in ended(stack, message, "Approved with changes").words


def test_a_new_version_takes_the_place_of_the_old(stack: Stack) -> None:
    """The agent answers a question: a new message in the thread has the buttons; the old one has
    lost them, and a click that was on its way is told why it does not count."""
    agent = stack.client()
    asked = agent.request_approval("trader", "Pay whom?", {"amount": "2500.00"})
    old = asking(stack, "Pay whom?")
    stale = stack.slack_bot.click_payload(old, "approve", ALEX)
    assert stack.respond(asked.id, "sam", response="ask", comments="whom?").status_code == 200
    agent.answer(asked.id, "the usual supplier")
    newer = stack.slack_bot.wait_for_message(
        lambda m: "the usual supplier" in m.words and "approve" in m.buttons
    )
    assert newer.arguments["thread_ts"] == old.ts
    ended(stack, old, "changed since")
    count = len(stack.slack_bot.ephemerals.items)
    assert stack.slack_bot.post_signed(stale).status_code == 200
    words = stack.slack_bot.ephemerals.wait_for_many(count + 1)[count].words
    assert "changed" in words
    assert stack.slack_bot.click(newer, "approve", ALEX).status_code == 200
    assert agent.wait(asked, 10).status is ActionStatus.APPROVED
    ended(stack, newer, "Approved")


def test_who_may_not_answer_is_told_why(stack: Stack) -> None:
    """A reviewer of other groups, and somebody unknown: one word each, and nothing is decided."""
    agent = stack.client()
    asked = agent.request_approval("trader", "Pay a friend", {"amount": "2500.00"})
    message = asking(stack, "Pay a friend")
    for user, word in ((LEE, "members of these groups"), ("U0NOBODY", "not known")):
        count = len(stack.slack_bot.ephemerals.items)
        assert stack.slack_bot.click(message, "approve", user).status_code == 200
        assert word in stack.slack_bot.ephemerals.wait_for_many(count + 1)[count].words
    assert "approve" in asking(stack, "Pay a friend").buttons
    stack.respond(asked.id, "sam", response="reject")


def test_a_limit_of_slacks_is_obeyed(stack: Stack) -> None:
    """429: nothing more is posted before Retry-After is over, then everything is."""
    agent = stack.client()
    stack.slack_bot.answer(429, headers={"Retry-After": "3"})
    for n in range(3):
        agent.request_approval("trader", f"Hurry {n}", {"n": n})
    limited = stack.slack_bot.wait_for(lambda r: r.answer.status == 429)
    for n in range(3):
        asking(stack, f"Hurry {n}")
    later = [
        r
        for r in stack.slack_bot.requests
        if r.path.endswith("chat.postMessage")
        and b"Hurry" in r.body
        and limited.received_at < r.received_at
    ]
    # Sends that were under way before the answer came may still follow it at once.
    waited = [r for r in later if r.received_at - limited.received_at >= 2.9]
    assert waited
    assert len(later) - len(waited) <= 2


def test_a_digest_in_slack_is_decided_row_by_row(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A flood to one place is few messages; each row opens the request, and loses its button when
    it is decided. Direct messages go to each reviewer."""
    settings = {
        "SAFEGUARDS_MESSAGES_PER_WINDOW": "2",
        "SAFEGUARDS_MESSAGES_PER_AGENT": "2",
        "SAFEGUARDS_MESSAGE_WINDOW_SECONDS": "3",
    }
    folder = tmp_path_factory.mktemp("digest")
    people = directory(person("alex"))
    with Stack(folder, channels=["slack_bot"], settings=settings, reviewers=people) as stack:
        agent = stack.client()
        asked = {f"Row {n}": agent.request_approval("t", f"Row {n}", {"n": n}) for n in range(12)}
        digest = stack.slack_bot.wait_for_message(
            lambda m: m.buttons.count("review") >= 5, timeout=20
        )
        before = len(stack.slack_bot.views.items)
        stack.slack_bot.click(digest, "review", ALEX)
        modal = stack.slack_bot.views.wait_for_many(before + 1)[before]
        title = next(title for title in asked if f"{title}\n" in modal.words + "\n")
        choice = next(
            block_id
            for block_id, block in modal.inputs().items()
            if block["element"]["type"] == "radio_buttons"
        )
        rows = digest.buttons.count("review")
        assert stack.slack_bot.submit(modal, {choice: "approve"}).is_closed
        assert agent.wait(asked[title], 10).status is ActionStatus.APPROVED
        eventually(
            lambda: (
                stack.slack_bot.message(f"{digest.channel}:{digest.ts}").buttons.count("review")
                == rows - 1
            ),
            "the row has lost its button",
        )
        assert len(stack.slack_bot.posted.items) <= 8


def test_a_bot_without_a_channel_writes_to_each_reviewer(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("direct")
    with Stack(folder, channels=["slack_direct"]) as stack:
        agent = stack.client()
        asked = agent.request_approval("trader", "Just you", {"amount": "1"})
        both = [_direct(stack, "Just you", user) for user in (ALEX, SAM)]
        assert stack.slack_bot.click(both[0], "approve", ALEX).status_code == 200
        assert agent.wait(asked, 10).decided_by == "alex"
        for message in both:
            ended(stack, message, "Approved")

        # Slack takes one message a second; more of them wait for their turn, and all get it.
        for n in range(4):
            agent.request_approval("trader", f"Turn {n}", {"n": n})
        for n in range(4):
            _direct(stack, f"Turn {n}", ALEX)
        calls = [
            request.received_at
            for request in stack.slack_bot.requests
            if request.path.endswith("chat.postMessage") and ALEX.encode() in request.body
        ]
        assert all(later - earlier > 0.9 for earlier, later in pairwise(calls))


def _direct(stack: Stack, title: str, user: str) -> SlackMessage:
    """Return the direct message to a user."""
    return stack.slack_bot.wait_for_message(
        lambda m: title in m.words and m.arguments["channel"] == user
    )
