"""How people are reached when it is not plain sailing: chains, reminders, escalation, absence,
channels that fail, floods. On the whole stack, with real receivers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from deploy.valkey import free_port
from safeguards.contracts import ApprovalView
from safeguards.types import ActionStatus
from tests.deploy.running import eventually
from tests.e2e.test_the_story_of_an_action import Form, link_in
from tests.receivers import HttpReceiver, ReceivedMail, webhook_secret
from tests.receivers.http import Answer
from tests.stack import Stack

ALEX, SAM, LEE = "alex@example.com", "sam@example.com", "lee@example.com"


def person(name: str, group: str = "reviewers", **more: Any) -> dict[str, Any]:
    about = {"id": name, "name": name.capitalize(), "groups": [group]}
    return {**about, "email": f"{name}@example.com", "slack_user": f"U0{name.upper()}", **more}


def directory(*people: dict[str, Any]) -> dict[str, Any]:
    return {"version": 1, "reviewers": list(people)}


@contextmanager
def running(folder: Path, **options: Any) -> Iterator[Stack]:
    with Stack(folder, **options) as stack:
        yield stack


def mail_to(stack: Stack, address: str, words: str, timeout: float = 15) -> ReceivedMail:
    return stack.smtp.wait_for(
        lambda mail: mail.recipients == (address,) and words in mail.subject, timeout
    )


def mails(stack: Stack, words: str) -> list[ReceivedMail]:
    return [mail for mail in stack.smtp.mails if words in mail.subject]


def dead_letters(stack: Stack, approval_id: str) -> list[dict[str, Any]]:
    rows = json.loads(stack.admin("deliveries", "list", "--json"))
    return [row for row in rows if row["of"] == approval_id]


def events(stack: Stack, approval_id: str) -> list[str]:
    return [line["event"] for line in stack.history(approval_id)]


def metric(stack: Stack, line: str) -> float:
    """Return the value of a metric, by its name with its labels."""
    text = httpx2.get(f"{stack.url}/metrics").text
    found = re.search(rf"^{re.escape(line)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


ASLEEP = {
    "working_hours": {(datetime.now(UTC) + timedelta(days=3)).strftime("%a").lower(): "09:00-10:00"}
}
AWAY = {"away_until": (datetime.now(UTC) + timedelta(days=1)).isoformat()}

PEOPLE = directory(
    person("alex"),
    person("sam"),
    person("lee", "others"),
    person("ann", "absent", **AWAY, delegate="lee"),
    person("kim", "absent", **AWAY),
    person("bo", "night", **ASLEEP),
    person("cy", "second", **ASLEEP),
    person("di", "last"),
    {"id": "nobody", "name": "Nobody", "groups": ["unreachable"]},
)

WAYS: dict[str, dict[str, Any]] = {
    "silence": {
        "remind_after_seconds": [2],
        "escalation": [{"after_seconds": 4, "groups": ["others"]}],
    },
    "absence": {"groups": ["absent"]},
    "night": {
        "groups": ["night"],
        "escalation": [
            {"after_seconds": 30, "groups": ["second"]},
            {"after_seconds": 40, "groups": ["last"]},
        ],
    },
    "chain": {"channels": ["slack", "email", "webhook"], "order": "chain"},
    "unreached": {
        "groups": ["last"],
        "channels": ["email", "gone"],
        "escalation": [{"after_seconds": 50, "groups": ["others"], "channels": ["slack"]}],
    },
    "hopeless": {"groups": ["unreachable"], "on_unreachable": "reject"},
    "unheard": {"channels": ["log"]},
    "serious": {"sign_in_from": "WARNING"},
    "consent": {"timeout_seconds": 6, "on_timeout": "approve"},
    "unsent": {"timeout_seconds": 6, "on_timeout": "approve", "channels": ["closed"]},
}
"""How people are asked, by the type of action."""


@pytest.fixture(scope="module")
def gone() -> Iterator[HttpReceiver]:
    """A receiver that is not where it was."""
    with HttpReceiver(Answer(404)) as receiver:
        yield receiver


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, gone: HttpReceiver) -> Iterator[Stack]:
    """One stack for all tests that leave its channels as they were."""
    folder = tmp_path_factory.mktemp("people")
    config = {"url": gone.url("/gone"), "secret": webhook_secret()}
    post = {"smtp_server": "127.0.0.1", "smtp_port": free_port(), "use_tls": False}
    channels = {
        "gone": {"kind": "webhook", "config": config},
        "closed": {"kind": "email", "config": {**post, "sender": "sg@example.com"}},
    }
    with Stack(
        folder, channels=["email"], reviewers=PEOPLE, more_approvals=WAYS, more_channels=channels
    ) as running:
        yield running


def request(stack: Stack, way: str, title: str) -> ApprovalView:
    """Ask people in one of the `WAYS`."""
    return stack.client().request_approval(
        "trader", title, {"action_type": way, "amount": "2500.00"}
    )


# --- reminders, escalation, absence -------------------------------------------------------------


def test_silence_is_reminded_of_and_escalated_in_one_thread(stack: Stack) -> None:
    """Nobody answers: they are reminded, then the next group is asked as well, and may answer.
    Each person's mails are one thread, the outcome its last."""
    asked = request(stack, "silence", "Pay in silence")
    refused = stack.respond(asked.id, "lee", response="approve")
    assert refused.status_code in (403, 404)
    first = mail_to(stack, ALEX, "Approval needed: Pay in silence")
    reminder = mail_to(stack, ALEX, "Reminder: Pay in silence")
    escalated = mail_to(stack, LEE, "Escalated to you: Pay in silence")
    assert stack.respond(asked.id, "lee", response="approve").status_code == 200
    outcome = mail_to(stack, ALEX, "Approved: Pay in silence")
    root = first.message["Message-ID"]
    assert first.message["In-Reply-To"] is None
    for later in (reminder, outcome):
        assert later.message["In-Reply-To"] == later.message["References"] == root
        assert later.message["Message-ID"] != root
    assert escalated.message["Message-ID"] != root
    happened = events(stack, asked.id)
    assert happened.index("reminded") < happened.index("escalated")
    # Lee decided and knows; Sam and Alex are told.
    mail_to(stack, SAM, "Approved: Pay in silence")
    assert not [m for m in mails(stack, "Approved: Pay in silence") if m.recipients == (LEE,)]


def test_silence_is_consent_of_those_who_were_told(stack: Stack) -> None:
    """Not while no mail has gone out, though it is tried again and again."""
    agent = stack.client()
    told, untold = (request(stack, way, f"Go on by {way}") for way in ("consent", "unsent"))
    asked_about = request(stack, "consent", "Go on after all")
    assert stack.respond(asked_about.id, response="ask", comments="Why?").status_code == 200
    found = [agent.wait(one, 20).status for one in (told, untold, asked_about)]
    assert found == [ActionStatus.APPROVED, ActionStatus.TIMED_OUT, ActionStatus.TIMED_OUT]
    assert "reached" in events(stack, told.id)


def test_who_stands_in_answers_for_who_is_away(stack: Stack) -> None:
    """Ann is away: Lee, who is in no group that is asked, gets Ann's mail and decides "for" Ann.
    Kim is away without a delegate and is not told while Lee is there."""
    asked = request(stack, "absence", "Pay meanwhile")
    mail = mail_to(stack, LEE, "Approval needed: Pay meanwhile")
    assert "Ann" in mail.text
    with httpx2.Client(follow_redirects=True) as browser:
        link = link_in(mail)
        page = browser.get(link)
        assert "in the stead of Ann" in page.text
        done = browser.post(link, data=Form(page.text, "approve").fields)
    assert "by Lee for Ann" in done.text
    outcome = stack.client().wait(asked, 10)
    assert (outcome.decided_by, outcome.decided_for) == ("lee", "ann")
    (line,) = (line for line in stack.history(asked.id) if line["event"] == "approved")
    assert line["detail"]["for"] == "ann"
    assert {m.recipients for m in mails(stack, "Pay meanwhile")} == {(LEE,)}


def test_nobody_on_duty_falls_to_the_last_step(stack: Stack) -> None:
    """It is the middle of their night: the last step of the chain is asked at once."""
    asked = request(stack, "night", "Pay at night")
    mail_to(stack, "di@example.com", "Approval needed: Pay at night")
    assert {m.recipients for m in mails(stack, "Pay at night")} == {("di@example.com",)}
    assert stack.respond(asked.id, "di", response="reject").status_code == 200


# --- channels that fail -------------------------------------------------------------------------


def test_the_next_channel_is_tried_and_a_dead_letter_is_replayed(stack: Stack) -> None:
    """Slack refuses for good: each reviewer gets a mail instead; what died says why, and goes out
    once more when the operator says so."""
    stack.slack.default = Answer(404)
    asked = request(stack, "chain", "Pay somehow")
    for address in (ALEX, SAM):
        mail_to(stack, address, "Approval needed: Pay somehow")
    stack.webhook.wait_for(lambda r: asked.id.encode() in r.body)
    (dead,) = dead_letters(stack, asked.id)
    assert (dead["channel"], dead["attempts"]) == ("slack", 1)
    assert "404" in dead["error"]
    assert metric(stack, 'safeguards_deliveries_total{channel="slack",event="died"}') == 1
    assert metric(stack, "safeguards_deliveries_dead") >= 1
    assert "unreachable" not in events(stack, asked.id)
    stack.slack.default = Answer(200)
    before = len(stack.slack.requests)
    assert "sent once more" in stack.admin("deliveries", "replay", "--all", "--channel", "slack")
    eventually(lambda: len(stack.slack.requests) == before + 1, "it is sent once more")
    assert dead_letters(stack, asked.id) == []


def test_that_nobody_could_be_reached_is_an_event_and_escalates(
    stack: Stack, gone: HttpReceiver
) -> None:
    """Every message dies: programs are told, operators see it, and the policy's next step is taken
    at once instead of when its time would have come."""
    stack.smtp.answer("RCPT", "550 no such user")
    before = metric(stack, "safeguards_approvals_unreachable_total")
    asked = request(stack, "unreached", "Pay somebody")
    stack.slack.wait_for(lambda r: "Pay somebody" in r.body.decode(), timeout=20)
    happened = events(stack, asked.id)
    assert happened.index("unreachable") < happened.index("escalated")
    gone.wait_for(lambda r: r.json["type"] == "approval.unreachable")
    assert metric(stack, "safeguards_approvals_unreachable_total") == before + 1
    assert "a delivery failed" in stack.running.output
    assert stack.respond(asked.id, "lee", response="approve").status_code == 200


def test_a_policy_may_reject_what_nobody_can_be_asked(stack: Stack) -> None:
    """A reviewer without any channel, and a policy that does not wait for nothing."""
    outcome = stack.client().wait(request(stack, "hopeless", "Pay nobody"), 20)
    assert (outcome.status, outcome.decided_by) == (ActionStatus.REJECTED, "nobody")
    assert "reached" in outcome.comments


def test_an_approval_that_reached_nobody_is_listed_until_it_ends(stack: Stack) -> None:
    asked = request(stack, "unheard", "Pay unheard")

    def listed() -> bool:
        rows = json.loads(stack.admin("approvals", "unreached", "--json"))
        return asked.id in [row["approval_id"] for row in rows]

    eventually(listed, "it is listed")
    assert metric(stack, "safeguards_approvals_unreached") >= 1
    assert stack.respond(asked.id, response="approve").status_code == 200
    assert not listed()


def test_what_is_serious_asks_for_sign_in(stack: Stack) -> None:
    """The mail's link shows the request; it is decided only with the reviewer's own password."""
    asked = request(stack, "serious", "Pay a fortune")
    link = link_in(mail_to(stack, ALEX, "Pay a fortune"))
    with httpx2.Client(follow_redirects=True) as browser:
        form = Form(browser.get(link).text, "approve").fields
        assert "password" in form
        theirs = stack.passwords["alex"]
        key = stack.reviewer_keys["alex"].api_key
        for wrong in ("", f"{theirs}x", stack.passwords["sam"], key):
            assert browser.post(link, data={**form, "password": wrong}).status_code == 403
        assert browser.post(link, data={**form, "password": theirs}).status_code == 200
    assert stack.client().wait(asked, 10).decided_by == "alex"


def test_an_endpoint_that_is_gone_is_disabled_until_it_is_enabled(tmp_path: Path) -> None:
    """410: nothing more is posted there; what comes after is a dead letter that says why."""
    with running(tmp_path, channels=["webhook", "email"]) as stack:
        agent = stack.client()
        stack.webhook.answer(410)
        agent.request_approval("trader", "First", {"amount": "1.00"})

        def endpoint() -> dict[str, Any]:
            rows = json.loads(stack.admin("channels", "list", "--json"))
            return rows[0] if rows else {}

        eventually(lambda: endpoint().get("status") == "DISABLED", "the endpoint is disabled")
        assert "410" in endpoint()["error"]
        assert metric(stack, 'safeguards_endpoint_up{channel="webhook"}') == 0
        agent.request_approval("trader", "Second", {"amount": "1.00"})
        mail_to(stack, ALEX, "Second")

        def dead() -> list[str]:
            rows = json.loads(stack.admin("deliveries", "list", "--json"))
            return [row["error"] for row in rows]

        eventually(lambda: len(dead()) == 2, "the second is a dead letter")
        assert "disabled" in dead()[0]
        assert len(stack.webhook.requests) == 1
        stack.admin("channels", "enable", "webhook")
        stack.admin("deliveries", "replay", "--all")
        stack.webhook.wait_for_many(3)
        assert dead() == []


def test_a_channel_that_fails_again_and_again_is_left_alone_for_a_while(tmp_path: Path) -> None:
    """After five failures in a row nothing is posted for a time; then one message tries, and the
    others follow when it gets through. None is lost."""
    with running(tmp_path, channels=["webhook", "email"]) as stack:
        agent = stack.client()
        stack.webhook.default = Answer(500)
        asked = [agent.request_approval("trader", f"No {n}", {"n": n}) for n in range(8)]

        def endpoint() -> dict[str, Any]:
            rows = json.loads(stack.admin("channels", "list", "--json"))
            return rows[0] if rows else {}

        eventually(lambda: endpoint().get("status") == "DOWN", "the endpoint is taken down")
        stack.webhook.default = Answer(200)
        stack.admin("channels", "enable", "webhook")

        def told() -> set[str]:
            return {
                request.json["data"]["approval_id"]
                for request in stack.webhook.requests
                if request.answer.status == 200
            }

        eventually(lambda: told() == {one.id for one in asked}, "all were told", seconds=60)


# --- floods -------------------------------------------------------------------------------------


def test_a_flood_becomes_few_mails_and_loses_no_approval(tmp_path: Path) -> None:
    """Messages that come thick are one digest; its link lists all of them, each can be decided by
    it, and what was decided meanwhile is not asked about."""
    number = 300
    settings = {
        "SAFEGUARDS_MESSAGES_PER_WINDOW": "3",
        "SAFEGUARDS_MESSAGES_PER_AGENT": "2",
        "SAFEGUARDS_MESSAGE_WINDOW_SECONDS": "5",
    }
    people = directory(person("alex"))
    with running(
        tmp_path, channels=["email"], settings=settings, reviewers=people, timeout_seconds=300
    ) as stack:
        stack.client().request_approval("quiet", "One by itself", {"amount": "1"})
        single = mail_to(stack, ALEX, "One by itself")
        with stack.http() as http:
            ids = [
                http.post(
                    "/request-approval",
                    json={"agent_id": "trader", "title": f"Pay no. {n}", "metadata": {"n": n}},
                ).json()["id"]
                for n in range(number)
            ]

        def told() -> int:
            return sum(_stands_for(mail) for mail in stack.smtp.mails)

        eventually(lambda: told() >= number + 1, "all were told of", seconds=90)
        assert told() == number + 1
        assert len(stack.smtp.mails) <= 30
        digest = max(stack.smtp.mails, key=_stands_for)
        assert digest.message["List-Unsubscribe"]
        assert "wait for your answer" in digest.subject
        with httpx2.Client(follow_redirects=True) as browser:
            listing = browser.get(_last_link(digest))
            paths = re.findall(r'href="(/review/[^"]+)"', listing.text)
            assert len(paths) == _stands_for(digest)
            one = f"{stack.url}{paths[-1]}"
            page = browser.get(one)
            assert browser.post(one, data=Form(page.text, "approve").fields).status_code == 200
            # A digest's link opens what it stands for and nothing else.
            foreign = re.search(r"dlv_\w+", paths[0])
            assert foreign is not None
            assert browser.get(f"{link_in(single)}/{foreign[0]}").status_code == 404
        with stack.http() as http:
            states = [http.get(f"/approvals/{i}").json()["status"] for i in ids]
        assert sorted(states) == ["APPROVED"] + ["PENDING"] * (number - 1)


def _stands_for(mail: ReceivedMail) -> int:
    """Return for how many requests a mail stands."""
    counted = re.match(r"(\d+) requests", mail.subject)
    return int(counted[1]) if counted else 1


def _last_link(mail: ReceivedMail) -> str:
    """Return the link to the list of all that a digest stands for: the shortest."""
    links: list[str] = re.findall(r"http://\S+/review/\S+", mail.text)
    return min(links, key=len)


def test_a_noisy_agent_does_not_drown_the_others(tmp_path: Path) -> None:
    """What one agent asks too often waits for a digest; another agent's request comes at once."""
    settings = {
        "SAFEGUARDS_MESSAGES_PER_WINDOW": "5",
        "SAFEGUARDS_MESSAGES_PER_AGENT": "2",
        "SAFEGUARDS_MESSAGE_WINDOW_SECONDS": "30",
    }
    people = directory(person("alex"))
    with running(tmp_path, channels=["email"], settings=settings, reviewers=people) as stack:
        agent = stack.client()
        for n in range(20):
            agent.request_approval("noisy", f"Noise {n}", {"n": n})
        agent.request_approval("quiet", "A quiet request", {"n": 1})
        mail_to(stack, ALEX, "A quiet request", timeout=10)
        assert len(stack.smtp.mails) <= 5


def test_callbacks_that_hang_hold_up_nobody(tmp_path: Path) -> None:
    """An agent may name addresses that never answer, many of them: people are told all the same,
    and so are other agents."""
    with (
        HttpReceiver(Answer(delay=60)) as hanging,
        HttpReceiver() as honest,
        running(tmp_path, channels=["email", "webhook"]) as stack,
    ):
        with stack.http() as http:
            for n in range(300):
                about = {"agent_id": "evil", "action_type": "read_mail", "context": {"n": n}}
                body = {**about, "callback_url": hanging.url(f"/c{n}")}
                assert http.post("/actions", json=body).status_code == 202
        hanging.wait_for(timeout=20)
        agent = stack.client()
        asked = agent.request_approval("trader", "Pay in the storm", {"amount": "2500.00"})
        mail_to(stack, ALEX, "Pay in the storm")
        stack.webhook.wait_for(lambda r: asked.id.encode() in r.body)
        about = {"agent_id": "honest", "action_type": "read_mail", "context": {}}
        with stack.http() as http:
            body = {**about, "callback_url": honest.url("/done")}
            assert http.post("/actions", json=body).status_code == 202
        honest.wait_for(lambda r: r.path == "/done", timeout=60)
