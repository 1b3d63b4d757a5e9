"""Answers from Slack: signed, by a reviewer, bound to what was shown, told what became of it."""

from __future__ import annotations

import json
import time
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from safeguards.notifications import slack_blocks
from safeguards.notifications.channels import SlackChannel
from safeguards.notifications.message import Answerable, Message
from safeguards.types import AlertSeverity
from safeguards_runtime.store import Store
from tests.deploy.running import eventually
from tests.gateway.conftest import Asking
from tests.receivers import OpenView, SlackApi, SlackMessage
from tests.stack import Stack

ALEX, SAM, LEE, NOBODY = "U0ALEX", "U0SAM", "U0LEE", "U0NOBODY"

HOSTILE = (
    "<!channel> <https://evil.example|click> <script>alert(1)</script> & \u202eevil\u2066 "
    "\u200b\u0000 p\u0430ypal :tada: " + "🎉" * 50
)

Posting = Callable[..., tuple[str, SlackMessage]]


@pytest.fixture(scope="module")
def slack(stack: Stack) -> SlackApi:
    """The stand-in of Slack that the stack's channel `slack_bot` posts to."""
    return stack.slack_bot


@pytest.fixture(scope="module")
def channel(slack: SlackApi) -> Iterator[SlackChannel]:
    """A bot of the same app, which posts what the notifier would."""
    made = SlackChannel()
    made.initialize(slack.config())
    made.name = "slack_bot"
    yield made
    made.shutdown()


@pytest.fixture
def posted(stack: Stack, slack: SlackApi, channel: SlackChannel, ask: Asking) -> Posting:
    """Ask people; return the approval's id and the message that asks in Slack."""

    def posting(context: dict[str, Any] | None = None, **body: Any) -> tuple[str, SlackMessage]:
        from safeguards import background_loop

        asked = ask(context, **body)
        answerable = Answerable(asked["id"], asked["version"], asked["digest"], editable=True)
        message = Message(
            event="approval.requested",
            subject=f"Approval needed: {asked['title'][:200]}",
            severity=AlertSeverity.WARNING,
            answerable=answerable,
        )
        reference = background_loop.run(channel.deliver(message), 10)
        assert reference is not None
        return asked["id"], slack.message(reference)

    return posting


def view(stack: Stack, approval_id: str) -> dict[str, Any]:
    """An approval as it stands."""
    with stack.http() as http:
        found: dict[str, Any] = http.get(f"/approvals/{approval_id}").json()
        return found


def opened(slack: SlackApi, message: SlackMessage, action_id: str, user: str = ALEX) -> OpenView:
    """Press a button and return the modal that it opens."""
    before = len(slack.views.items)
    assert slack.click(message, action_id, user).status_code == 200
    return slack.views.wait_for_many(before + 1)[before]


def told(slack: SlackApi, message: SlackMessage, action_id: str, user: str) -> str:
    """Press a button and return the words that only this user is shown."""
    before = len(slack.ephemerals.items)
    assert slack.click(message, action_id, user).status_code == 200
    shown = slack.ephemerals.wait_for_many(before + 1)[before]
    assert (shown.channel, shown.user) == (message.channel, user)
    return shown.words


def test_approve(stack: Stack, slack: SlackApi, posted: Posting) -> None:
    """One click decides, is on record as Slack's, and is answered within half a second."""
    approval_id, message = posted()
    answer = slack.click(message, "approve", ALEX)
    assert (answer.status_code, answer.content) == (200, b"")
    found = view(stack, approval_id)
    assert found["status"] == "APPROVED"
    assert found["outcome"]["decided_by"] == "alex"
    (line,) = [line for line in stack.history(approval_id) if line["event"] == "approved"]
    assert line["detail"]["via"] == "slack"


def test_reject_with_a_comment(stack: Stack, slack: SlackApi, posted: Posting) -> None:
    """Reject… asks for a comment, which the agent gets."""
    approval_id, message = posted()
    modal = opened(slack, message, "reject")
    assert view(stack, approval_id)["status"] == "PENDING"
    done = slack.submit(modal, {"comments": "too much"})
    assert done.is_closed
    found = view(stack, approval_id)
    assert (found["status"], found["outcome"]["comments"]) == ("REJECTED", "too much")


def test_modify_as_the_types_that_the_fields_have(
    stack: Stack, slack: SlackApi, posted: Posting
) -> None:
    """Text as typed, decimals as strings, numbers, a choice, JSON; blank and untouched stay."""
    context = {
        "amount": "2500.00",
        "payee": "ACME",
        "note": " spaced ",
        "count": 3,
        "urgent": False,
        "lines": [{"sku": 1}],
        "memo": "",
    }
    approval_id, message = posted(context)
    modal = opened(slack, message, "modify")
    inputs = modal.inputs()
    kinds = [block["element"]["type"] for name, block in inputs.items() if name != "comments"]
    assert kinds.count("static_select") == 1
    changed = {"field:0": "900.50", "field:1": "", "field:3": "2", "field:4": "true"}
    done = slack.submit(modal, {**changed, "field:5": '[{"sku": 2}]', "comments": "less"})
    assert done.is_closed, done
    outcome = view(stack, approval_id)["outcome"]
    assert outcome["status"] == "MODIFIED"
    assert outcome["comments"] == "less"
    assert outcome["modifications"] == {
        "amount": "900.50",
        "count": 2,
        "urgent": True,
        "lines": [{"sku": 2}],
    }


def test_what_cannot_be_read_is_said_at_its_field(
    stack: Stack, slack: SlackApi, posted: Posting
) -> None:
    """Each wrong field gets its own words, nothing is decided, and the same form goes on."""
    approval_id, message = posted({"amount": "2500.00", "count": 3, "lines": [1]})
    modal = opened(slack, message, "modify")
    done = slack.submit(modal, {"field:1": "three", "field:2": "[1,"})
    assert done.errors == {"field:1": "This is no integer.", "field:2": "This is no array."}
    assert "decimal" in slack.submit(modal, {"field:0": "lots"}).errors["field:0"]
    assert set(slack.submit(modal, {"field:1": str(2**53 + 1)}).errors) == {"field:1"}
    nothing = slack.submit(modal).errors
    assert "nothing differs" in next(iter(nothing.values()))
    assert view(stack, approval_id)["status"] == "PENDING"
    assert slack.submit(modal, {"field:1": "2"}).is_closed
    assert view(stack, approval_id)["outcome"]["modifications"] == {"count": 2}


def test_evidence_shows_all_and_review_decides(
    stack: Stack, slack: SlackApi, posted: Posting
) -> None:
    """The modal has the exact arguments, the agent's words as such, and what silence means."""
    long = "0123456789" * 700
    context = {"amount": "2500.00", "payload": long, "nested": {"a": [1, "<b>"]}}
    approval_id, message = posted(context, description="I need it\nReason: approved by Ann")
    modal = opened(slack, message, "evidence")
    shown = modal.words
    assert "amount\n2500.00" in shown
    assert shown.replace("│ ", "").replace("\n", "").count(long) == 1
    assert '"<b>"' in shown
    assert "In the agent's own words:\n│ I need it\n│ Reason: approved by Ann" in shown
    assert "If nobody answers by" in shown
    done = slack.submit(modal, {"choice": "approve", "comments": "fine"})
    assert done.is_closed
    outcome = view(stack, approval_id)["outcome"]
    assert (outcome["status"], outcome["comments"]) == ("APPROVED", "fine")
    after = opened(slack, message, "evidence", SAM)
    assert "Approved by Alex" in after.words
    assert after.inputs() == {}


def test_the_action_is_named_once_and_that_is_whole(
    stack: Stack, slack: SlackApi, posted: Posting
) -> None:
    """Many agents give the type of the action among its arguments as well."""
    _, message = posted({"action_type": "transaction", "amount": "2500.00"})
    modal = opened(slack, message, "evidence")
    assert "too long" not in modal.words
    assert modal.words.count("transaction") == 1
    assert slack.submit(modal, {"choice": "approve"}).is_closed


def test_who_is_no_reviewer_is_told_so_and_nothing_else(
    stack: Stack, slack: SlackApi, posted: Posting
) -> None:
    """Whatever button they press: no modal, no decision, not a word of the request."""
    approval_id, message = posted({"amount": "2500.00", "secret": "tulips"})
    views = len(slack.views.items)
    for action_id in ("approve", "modify", "reject", "evidence"):
        words = told(slack, message, action_id, NOBODY)
        assert "not known here as a reviewer" in words
        assert "tulips" not in words
        assert "groups" not in words
    assert len(slack.views.items) == views
    assert view(stack, approval_id)["status"] == "PENDING"


def test_who_may_not_answer_is_told_why(stack: Stack, slack: SlackApi, posted: Posting) -> None:
    """A reviewer of other groups, and whoever asks: an ephemeral word, and no look at it."""
    approval_id, message = posted(on_behalf_of="sam")
    views = len(slack.views.items)
    for action_id in ("approve", "modify", "reject", "evidence"):
        assert "only members of these groups" in told(slack, message, action_id, LEE)
        assert "whoever asks may not answer" in told(slack, message, action_id, SAM)
    assert len(slack.views.items) == views
    assert view(stack, approval_id)["status"] == "PENDING"


def test_a_form_of_somebody_else_does_not_decide(
    stack: Stack, slack: SlackApi, posted: Posting
) -> None:
    """Who submits is judged, not who opened the form."""
    approval_id, message = posted()
    modal = opened(slack, message, "reject")
    for user, words in ((NOBODY, "not known here"), (LEE, "only members")):
        done = slack.submit(modal, user=user)
        assert done.view is not None
        assert words in done.view.words
    assert view(stack, approval_id)["status"] == "PENDING"


def test_after_the_outcome_every_button_says_what_it_was(
    stack: Stack, slack: SlackApi, posted: Posting
) -> None:
    """It came another way meanwhile; the form that is still open does not overrule it."""
    approval_id, message = posted()
    modal = opened(slack, message, "modify", SAM)
    assert stack.respond(approval_id, response="reject", comments="no").status_code == 200
    for action_id in ("approve", "modify", "reject"):
        assert told(slack, message, action_id, SAM) == "already rejected by alex"
    done = slack.submit(modal, {"field:0": "1.00"})
    assert done.view is not None
    assert "already rejected by alex" in done.view.words
    assert view(stack, approval_id)["outcome"]["comments"] == "no"


def test_what_was_shown_is_what_is_answered(stack: Stack, slack: SlackApi, posted: Posting) -> None:
    """After the agent's answer to a question, the older message decides no more; Evidence does."""
    approval_id, message = posted()
    modal = opened(slack, message, "reject")
    assert stack.respond(approval_id, response="ask", comments="why?").status_code == 200
    with stack.http() as http:
        http.post(f"/approvals/{approval_id}/answers", json={"answer": "books"})
    assert "has changed since it was shown" in told(slack, message, "approve", ALEX)
    stale = slack.submit(modal)
    assert stale.view is not None
    assert "has changed since it was shown" in stale.view.words
    newest = opened(slack, message, "evidence")
    assert "Alex asked:\n│ why?\nThe agent answered:\n│ books" in newest.words
    assert slack.submit(newest, {"choice": "reject"}).is_closed
    assert view(stack, approval_id)["status"] == "REJECTED"


def test_a_signature_is_good_once_and_for_five_minutes(
    stack: Stack, slack: SlackApi, posted: Posting
) -> None:
    """A replay, an old or a future one, another secret's, a changed body: 401, nothing happens."""
    approval_id, message = posted()
    payload = slack.click_payload(message, "evidence", ALEX)
    body = urllib.parse.urlencode({"payload": json.dumps(payload)}).encode()
    signed = slack.signature(body)
    assert slack.post(body, signed).status_code == 200
    again = slack.post(body, signed)
    assert again.status_code == 401
    assert again.json()["type"].endswith("replayed")
    approving = slack.click_payload(message, "approve", ALEX)
    body = urllib.parse.urlencode({"payload": json.dumps(approving)}).encode()
    now = time.time()
    for headers in (
        {},
        slack.signature(body, at=now - 330),
        slack.signature(body, at=now + 330),
        slack.signature(body, secret="0" * 32),
        slack.signature(body + b"&"),
        {**slack.signature(body), "X-Slack-Request-Timestamp": str(int(now) - 1)},
    ):
        assert slack.post(body, headers).status_code == 401, headers
    assert view(stack, approval_id)["status"] == "PENDING"


@pytest.mark.parametrize("timestamp", ["", "junk", "1_0", "-1", "9" * 400, "1 1", "1e9", "nan"])
@pytest.mark.parametrize("signature", ["", "v0=", "v0=" + "0" * 64, "\xe9" * 10])
def test_junk_in_the_headers_is_refused(slack: SlackApi, timestamp: str, signature: str) -> None:
    """401, whatever it is."""
    headers: dict[Any, Any] = {
        b"X-Slack-Request-Timestamp": timestamp.encode("latin-1"),
        b"X-Slack-Signature": signature.encode("latin-1"),
    }
    assert slack.post(b"payload=%7B%7D", headers).status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"payload",
        b"payload=",
        b"payload=%7B",
        b"payload=[]",
        b"payload=%7B%7D&payload=%7B%7D",
        b"payload=%7B%7D&other=1",
        b'{"payload": {}}',
        b"payload=%7B%22a%22%3A1%2C%22a%22%3A2%7D",
        b"payload=%ff",
        b"&".join(b"a=1" for _ in range(1000)),
    ],
)
def test_a_body_that_is_no_interaction_is_refused(slack: SlackApi, body: bytes) -> None:
    """Signed, yet 400."""
    assert slack.post(body, slack.signature(body)).status_code == 400


def test_bytes_that_are_no_text_are_refused(slack: SlackApi) -> None:
    """Slack signs text: 401."""
    signed = slack.signature(b"payload=x")
    assert slack.post(b"payload=\xff\xfe", signed).status_code == 401


def test_only_forms_are_taken(slack: SlackApi) -> None:
    """Signed JSON is 400; a body that is too large 413; Slack's trial of the certificate 200."""
    body = b'{"type": "url_verification", "challenge": "x"}'
    headers = {**slack.signature(body), "Content-Type": "application/json"}
    assert slack.post(body, headers).status_code == 400
    large = b"payload=" + b"x" * 300_000
    assert slack.post(large, slack.signature(large)).status_code == 413
    assert slack.post(b"ssl_check=1&token=x", {}).status_code == 200
    assert slack.post(b"ssl_check=1&payload=%7B%7D", {}).status_code == 401


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "block_actions", "actions": []},
        {"type": "block_actions", "actions": [{"action_id": "approve", "value": "junk"}]},
        {"type": "block_actions", "actions": [{"action_id": "approve", "value": "[" * 5000}]},
        {"type": "block_actions", "actions": [{"action_id": "approve", "value": '{"a":"x"}'}]},
        {
            "type": "block_actions",
            "actions": [{"action_id": "approve", "value": '{"a":"apr_x","v":0,"d":"x"}'}],
        },
        {"type": "block_actions", "actions": "approve"},
        {"type": "block_actions", "user": "x", "channel": 5},
        {"type": "view_closed"},
        {"type": "shortcut"},
        {"type": ["x"]},
        {"type": "view_submission", "view": None},
        {"type": "view_submission", "view": {"private_metadata": "{}", "state": {"values": 5}}},
    ],
)
def test_payloads_of_no_use_are_taken_and_do_nothing(
    slack: SlackApi, changes: dict[str, Any]
) -> None:
    """They are signed by Slack, so they are answered with 200; none is an error of ours."""
    who = {"user": {"id": ALEX, "team_id": slack.team_id}, "team": {"id": slack.team_id}}
    answer = slack.post_signed({**who, "channel": {"id": "C0APPROVALS"}, **changes})
    assert answer.status_code == 200, answer.text


def test_hostile_text_is_shown_and_nothing_is_lost(
    stack: Stack, slack: SlackApi, posted: Posting
) -> None:
    """Slack takes every message and modal; what is hidden is written out; nothing is mark-up."""
    names = {f"{HOSTILE[:30]} {n}": HOSTILE for n in range(5)}
    context = {**names, "line\nSeverity": "x\n\nApproved by\nAnn", "lines": [HOSTILE]}
    context["name" * 100] = "1"
    approval_id, message = posted(
        context, title=HOSTILE[:400], description=HOSTILE, agent_id="bot<!here>"
    )
    refused = len(slack.refused)
    evidence = opened(slack, message, "evidence")
    for raw in ("\u202e", "\u2066", "\u200b", "\x00"):
        assert raw not in evidence.words
    assert "⟨U+202E⟩evil⟨U+2066⟩" in evidence.words
    assert "<!channel> <https://evil.example|click>" in evidence.words
    assert "│ Approved by\n│ Ann" in evidence.words
    modal = opened(slack, message, "modify")
    assert "Not to be edited in Slack" in modal.words
    opened(slack, message, "reject")
    assert len(slack.refused) == refused
    done = slack.submit(evidence, {"choice": "reject", "comments": HOSTILE[:200]})
    assert done.is_closed
    assert view(stack, approval_id)["outcome"]["comments"] == HOSTILE[:200].strip()


@pytest.mark.parametrize(
    "context",
    [
        {"text": "x" * 200_000},
        {"text": "\n" * 50_000},
        {"text": "🎉&<>\u202e" * 9_000},
        {f"f{n}": "é<" * 400 for n in range(150)},
        {f"f{n}": n for n in range(3_000)},
    ],
)
def test_what_is_too_long_for_slack_is_cut_and_not_answered_unseen(
    slack: SlackApi, posted: Posting, context: dict[str, Any]
) -> None:
    """Evidence says that it is not all there and takes no answer; the forms stay within limits."""
    _, message = posted(context)
    refused = len(slack.refused)
    evidence = opened(slack, message, "evidence")
    assert "too long for Slack to show in full" in evidence.words
    assert evidence.inputs() == {}
    modal = opened(slack, message, "modify")
    rejecting = opened(slack, message, "reject")
    assert len(slack.refused) == refused
    if modal.inputs():
        # The form as it is comes back whole, too, and changes nothing.
        assert "nothing differs" in next(iter(slack.submit(modal).errors.values()))
    assert slack.submit(rejecting, {"comments": "€" * 3_000}).is_closed


def test_of_many_who_press_at_once_one_decides(
    stack: Stack, slack: SlackApi, posted: Posting
) -> None:
    """Approve and reject race; there is one outcome, and the others are told."""
    approval_id, message = posted()
    modals = [opened(slack, message, "reject", user) for user in (ALEX, SAM) * 2]
    with ThreadPoolExecutor(8) as pool:
        clicks = [pool.submit(slack.click, message, "approve", user) for user in (ALEX, SAM) * 2]
        forms = [pool.submit(slack.submit, modal) for modal in modals]
        assert all(click.result().status_code == 200 for click in clicks)
        assert all(form.result().status == 200 for form in forms)
    endings = [
        line["event"]
        for line in stack.history(approval_id)
        if line["event"] in ("approved", "rejected")
    ]
    assert len(endings) == 1
    assert view(stack, approval_id)["status"].lower() == endings[0]


def test_a_trigger_that_is_over_harms_nothing(slack: SlackApi, posted: Posting) -> None:
    """No modal opens, the button can be pressed again, and the token is not in the log."""
    _, message = posted()
    refused = len(slack.refused)
    payload = slack.click_payload(message, "evidence", ALEX)
    slack.expire_triggers()
    assert slack.post_signed(payload).status_code == 200
    eventually(lambda: len(slack.refused) > refused, "Slack refuses the view")
    assert "expired_trigger_id" in slack.refused[-1][1]
    assert opened(slack, message, "evidence").words


def test_secrets_are_in_no_log(stack: Stack, slack: SlackApi) -> None:
    """Neither the bot's token nor the signing secret, after all that went wrong above."""
    assert slack.token not in stack.running.output
    assert slack.signing_secret not in stack.running.output


async def test_the_store_tells_the_first_time(stack: Stack) -> None:
    """Of many at once exactly one is the first."""
    import asyncio

    store = Store(stack.setting("SAFEGUARDS_STORE_URL"))
    try:
        name = f"test:{time.time()}"
        firsts = await asyncio.gather(*(store.first_time(name, 60) for _ in range(20)))
        assert firsts.count(True) == 1
    finally:
        await store.close()


def test_a_button_carries_what_it_is_bound_to(posted: Posting) -> None:
    """Approval, version, digest and channel; nothing else."""
    approval_id, message = posted()
    (button,) = [b for b in message.blocks[-1]["elements"] if b["action_id"] == "approve"]
    binding = slack_blocks.Binding.parse(button["value"])
    assert (binding.approval_id, binding.version) == (approval_id, 1)
    assert binding.channel == "slack_bot"
    assert len(binding.digest) == 64
