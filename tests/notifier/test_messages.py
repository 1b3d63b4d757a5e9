"""What people and programs are told: messages, digests, and the bodies of webhooks."""

from __future__ import annotations

import json
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeguards.contracts import AlertView, ResponseSubmission, Verdict
from safeguards.notifications.message import Message
from safeguards.types import AlertSeverity
from safeguards.webhooks import EVENTS
from safeguards_runtime.records import Action, Approval, Delivery, Record, waiting
from safeguards_runtime.records import action as action_rules
from safeguards_runtime.records import approval as approval_rules
from safeguards_runtime.records.approval_record import made_title
from safeguards_runtime.records.events import (
    ACTION_RESOLVED,
    ALERT_RAISED,
    ANSWERED,
    ASKING,
    ESCALATED,
    REMINDED,
    REQUESTED,
    RESOLVED,
    UNREACHABLE,
)
from services.notifier.bodies import body
from services.notifier.messages import (
    ENTRIES_LIMIT,
    VALUE_LIMIT,
    Reader,
    compose,
    digest,
    plain,
)
from tests.notifier.worlds import approval, decided, step
from tests.runtime.samples import (
    NOW,
    TERMS,
    answered,
    asked,
    at,
    done,
    judgement,
    planned,
    responded,
    submitted,
)

UTC_READER = Reader()
BERLIN = Reader(ZoneInfo("Europe/Berlin"))
URL = "https://gateway.example.test/review/1.token"
PROSE = "Believe me, this is urgent."


def _about(source: Record, event: str = REQUESTED, **given: Any) -> Delivery:
    about = {"reads": "people", "reviewer_id": "alex", "event": event, **given}
    version = source.version if isinstance(source, Approval) else 1
    update = {"source_id": source.id, "version": given.get("version", version)}
    return planned(**about).model_copy(update=update)


def _said(
    source: Action | Approval,
    event: str = REQUESTED,
    reader: Reader = UTC_READER,
    url: str | None = URL,
    **given: Any,
) -> Message:
    return compose(_about(source, event, **given), source, reader, url)


def _facts(message: Message) -> dict[str, str]:
    assert len(dict(message.facts)) == len(message.facts), "a label stands twice"
    return dict(message.facts)


# --- what asks ----------------------------------------------------------------------------------


def test_a_request_says_what_and_until_when() -> None:
    message = _said(asked())
    assert message.subject == "Approval needed: Pay ACME (until 1 Jan 2026 12:05:00 UTC)"
    assert _facts(message)["Answer by"] == "1 Jan 2026 12:05:00 UTC"
    assert message.link is not None
    assert message.link.url == URL


def _untitled(context: dict[str, Any]) -> Approval:
    """Return a request for which the agent gave no title: one that a policy made it ask for."""
    made = asked({"action_type": "send_money", **context})
    return made.model_copy(update={"title": made_title(made.agent_id, made.action_type)})


def test_without_a_title_the_subject_says_what_would_run() -> None:
    """With what a reviewer has changed; afterwards, what was decided on."""
    source = _untitled({"amount": "2500.00", "currency": "EUR", "recipient": "ACME"})
    assert "needed: Send €2,500.00 to ACME (until" in _said(source).subject
    changed = source.model_copy(update={"modifications": {"amount": "9.00"}})
    assert "needed: Send €9.00 to ACME (until" in _said(changed).subject
    approved = responded(source, "approve")
    assert _said(approved, RESOLVED, url=None).subject == "Approved: Send €2,500.00 to ACME"
    less = responded(source, "modify", modifications={"amount": "100.00"})
    said = _said(less, RESOLVED, url=None).subject
    assert said == "Approved with changes: Send €100.00 to ACME"
    rejected = responded(changed, "reject", comments="no")
    assert _said(rejected, RESOLVED, url=None).subject == "Rejected: Send €9.00 to ACME"


def test_an_action_that_was_allowed_with_changes_is_told_of_with_them() -> None:
    context = {"amount": "2500.00", "currency": "EUR", "recipient": "ACME"}
    source = _notified(action_type="send_money", context=context)
    outcome = responded(asked(), "modify", modifications={"amount": "100.00"}).outcome
    assert outcome is not None
    of_it = outcome.model_copy(update={"action_id": source.id})
    ended = source.model_copy(update={"outcome": of_it, "status": of_it.status})
    said = _said(ended, ACTION_RESOLVED, url=None).subject
    assert said == "Approved with changes: Send €100.00 to ACME"


def test_a_subject_does_not_guess() -> None:
    """Where the arguments could mean something else, it says no more than the type."""
    source = _untitled({"amount": "1.00", "total_amount": "9000.00", "currency": "EUR"})
    assert "needed: trader wants to run send_money (until" in _said(source).subject
    notified = _notified(action_type="send_money", context={"recipient": "a", "payee": "b"})
    assert _said(notified, ALERT_RAISED).subject == "ERROR: trader goes ahead: send_money"


def test_times_are_in_the_readers_zone() -> None:
    message = _said(asked(), reader=BERLIN)
    assert "(until 1 Jan 2026 13:05:00 CET)" in message.subject
    assert _facts(message)["Answer by"] == "1 Jan 2026 13:05:00 CET"
    assert "13:05:00 CET" in message.footer


def test_a_request_shows_who_wants_to_do_what_and_its_arguments() -> None:
    facts = _facts(_said(asked({"amount": "2500.00", "to": ["a", "ü"]})))
    assert (facts["Agent"], facts["amount"], facts["to"]) == ("trader", "2500.00", '["a", "ü"]')


def test_what_the_agent_says_is_kept_apart_from_the_facts() -> None:
    message = _said(asked(description=PROSE))
    assert message.agent_words == PROSE
    assert PROSE not in str((message.subject, message.facts, message.footer, message.reasons))


def test_a_long_argument_is_cut() -> None:
    shown = _facts(_said(asked({"text": "x" * 5000})))["text"]
    assert (len(shown), shown[-1]) == (VALUE_LIMIT, "…")


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=200))
def test_a_subject_is_one_line_whatever_the_title(title: str) -> None:
    """And of bounded length."""
    source = asked().model_copy(update={"title": title})
    subject = _said(source).subject
    assert len(subject) < 250
    assert subject.isprintable()


@pytest.mark.parametrize(
    ("event", "lead"),
    [
        (REQUESTED, "Approval needed: "),
        (REMINDED, "Reminder: "),
        (ESCALATED, "Escalated to you: "),
        (ANSWERED, "The agent has answered: "),
        (UNREACHABLE, "Nobody could be reached: "),
    ],
)
def test_the_subject_says_why_it_comes(event: str, lead: str) -> None:
    assert _said(asked(), event).subject.startswith(lead + "Pay ACME")


def test_a_stand_in_reads_in_whose_stead_they_are_asked() -> None:
    """First of all."""
    assert _said(asked(), reader=Reader(absent="Alex A.")).facts[0] == (
        "In the stead of",
        "Alex A.",
    )


def test_what_happens_in_silence_is_said() -> None:
    assert "If nobody answers by 1 Jan 2026 12:05:00 UTC, it is rejected." in _said(asked()).footer
    lenient = asked(terms=TERMS.model_copy(update={"on_timeout": "approve"}))
    assert "it is approved." in _said(lenient).footer


def test_whom_it_goes_to_next_is_said() -> None:
    """The next step, as long as there is one."""
    source = approval("email", escalation=(step(60, "managers"), step(120, "directors")))
    assert "At 1 Jan 2026 12:01:00 UTC it goes to managers as well." in _said(source).footer
    first = done(waiting.advance(source, at(60)), Approval)
    assert "At 1 Jan 2026 12:02:00 UTC it goes to directors as well." in _said(first).footer
    second = done(waiting.advance(first, at(120)), Approval)
    assert "as well" not in _said(second).footer


def test_an_answer_on_the_spot_is_bound_to_what_is_shown() -> None:
    source = asked()
    answerable = _said(source).answerable
    assert answerable is not None
    assert (answerable.approval_id, answerable.version) == (source.id, 1)
    assert (answerable.digest, answerable.editable) == (source.digest, True)


@pytest.mark.parametrize(
    ("event", "given"),
    [
        (UNREACHABLE, {}),
        (REQUESTED, {"version": 0}),
        (ANSWERED, {"updates": "dlv_x", "reference": "C1:1"}),
    ],
)
def test_what_asks_nothing_cannot_be_answered_on_the_spot(
    event: str, given: dict[str, Any]
) -> None:
    """That nobody was reached; an older version; and what a message is changed to when there is a
    newer one."""
    assert _said(asked(), event, **given).answerable is None


def test_a_message_that_was_overtaken_points_to_the_newer_one() -> None:
    changed = _said(asked(), ANSWERED, updates="dlv_x", reference="C1:1")
    assert changed.footer == "This has changed since: answer the newer message instead."


def test_the_agents_answer_is_shown_with_the_question() -> None:
    source = answered(responded(asked(), "ask", comments="what for?"), "for books")
    (reason,) = _said(source, ANSWERED).reasons
    assert reason == "alex asked: what for? — the agent answered: for books"


def test_a_message_belongs_to_the_conversation_of_its_recipient() -> None:
    thread = _said(asked(), REMINDED, thread_id="dlv_thread", thread_reference="C1:1").thread
    assert thread is not None
    assert (thread.id, thread.begins, thread.reference) == ("dlv_thread", False, "C1:1")
    assert _said(asked()).thread is None


# --- what tells ---------------------------------------------------------------------------------


def test_an_outcome_says_how_it_ended_and_who_decided() -> None:
    message = _said(decided(asked()), RESOLVED, url=None)
    assert message.subject == "Approved: Pay ACME"
    assert message.facts[0] == ("Decided by", "alex")
    assert (message.answerable, message.link) == (None, None)


def test_an_outcome_names_the_stand_in_and_for_whom() -> None:
    source = asked()
    answer = ResponseSubmission.model_validate(
        {"response": "reject", "version": 1, "comments": "too much"}
    )
    change = approval_rules.respond(
        source,
        answer,
        reviewer_id="bo",
        groups=frozenset(),
        mandates={"alex": frozenset({"reviewers"})},
        via="api",
        now=at(1),
    )
    message = _said(done(change, Approval), RESOLVED)
    assert message.facts[0] == ("Decided by", "bo for alex")
    assert message.footer == "bo for alex wrote: too much"


def test_an_outcome_shows_what_was_changed_before_and_after() -> None:
    source = responded(asked(), "modify", modifications={"amount": "10.00"})
    message = _said(source, RESOLVED)
    assert message.subject == "Approved with changes: Pay ACME"
    assert _facts(message)["amount (changed)"] == "2500.00 → 10.00"


def test_a_message_that_is_changed_after_the_end_says_how_it_ended() -> None:
    """Whatever it was to be changed for: also if the answer to a question is still to be shown."""
    changed = _said(decided(asked()), ANSWERED, updates="dlv_x", reference="C1:1")
    assert changed.subject == "Approved: Pay ACME"
    assert changed.answerable is None


def test_the_agents_prose_is_no_part_of_an_outcome() -> None:
    message = _said(decided(asked(description=PROSE)), RESOLVED)
    assert PROSE not in str(message)


def _notified(**submission: Any) -> Action:
    alerts = tuple(
        AlertView(safeguard="limit", title="Large", description=PROSE, severity=severity)
        for severity in (AlertSeverity.INFO, AlertSeverity.ERROR)
    )
    found = judgement(Verdict.NOTIFY, alerts=alerts, reasons=("over the limit",))
    return done(action_rules.judge(submitted(**submission), found, NOW), Action)


def test_an_alert_tells_and_does_not_ask() -> None:
    message = _said(_notified(title="Pay ACME"), ALERT_RAISED, url=None)
    assert message.subject == "ERROR: trader goes ahead: Pay ACME"
    assert message.severity is AlertSeverity.ERROR
    assert message.reasons == ("over the limit",)
    assert message.answerable is None
    assert "not asked" in message.footer


# --- digests ------------------------------------------------------------------------------------


def _severe(severity: AlertSeverity, title: str) -> Approval:
    return asked(title=title).model_copy(update={"severity": severity})


def test_a_digest_has_the_most_urgent_first_and_then_the_oldest() -> None:
    sources = [
        _severe(AlertSeverity.WARNING, "second"),
        _severe(AlertSeverity.CRITICAL, "first"),
        _severe(AlertSeverity.WARNING, "third"),
    ]
    sources[2] = sources[2].model_copy(update={"created_at": at(1)})
    message = digest(_about(sources[0]), [_said(sources[n]) for n in (2, 0, 1)], URL)
    assert [s for entry in message.entries for s in ("first", "second", "third")
            if s in entry.subject] == ["first", "second", "third"]  # fmt: skip
    assert message.severity is AlertSeverity.CRITICAL
    assert message.created_at == max(source.created_at for source in sources)


@given(st.integers(2, 3 * ENTRIES_LIMIT))
def test_a_digest_counts_what_it_does_not_name(number: int) -> None:
    message = digest(_about(asked()), [_said(asked())] * number, URL)
    assert len(message.entries) + message.left_out == number
    assert len(message.entries) <= ENTRIES_LIMIT
    assert message.subject == f"{number} requests wait for your answer"
    assert message.data == {"deliveries": number}


def test_a_digest_is_sent_under_its_leaders_id_and_leads_to_the_list() -> None:
    leader = _about(asked())
    message = digest(leader, [_said(asked())] * 2, URL)
    assert (message.id, message.event) == (leader.id, "digest")
    assert message.link is not None
    assert message.link.url == URL
    assert message.answerable is None
    assert all(entry.answerable for entry in message.entries)


def test_a_digest_that_was_answered_in_part_says_how_many_wait() -> None:
    """Or what an outcome's change makes of it."""
    rest = [_said(asked()), _said(asked()), _said(decided(asked()))]
    assert digest(_about(asked()), rest, None).subject == "3 requests: 2 wait for an answer"
    one = [_said(asked()), _said(decided(asked()))]
    assert digest(_about(asked()), one, None).subject == "2 requests: 1 waits for an answer"


def test_a_digest_of_news_asks_nothing() -> None:
    news = [_said(decided(asked()), RESOLVED) for _ in range(3)]
    message = digest(_about(asked(), RESOLVED), news, None)
    assert message.subject == "3 notices"
    assert message.link is None


def test_the_least_that_can_be_said_has_the_link_and_no_word_of_the_agent() -> None:
    source = asked(description=PROSE, title=PROSE)
    message = plain(_about(source), source, URL)
    assert message.link is not None
    assert source.id in message.subject
    assert PROSE not in str((message.subject, message.facts, message.agent_words, message.footer))


def test_the_least_that_programs_can_be_told_is_still_the_body_of_its_type() -> None:
    source = asked()
    message = plain(_about(source), source, None)
    assert EVENTS[REQUESTED].model_validate(message.data).model_dump()["approval_id"] == source.id


# --- webhooks -----------------------------------------------------------------------------------

SECRET = "4111-1111-1111-1111"


def _source_of(event: str) -> Action | Approval:
    context = {"card": SECRET, "note": {"inner": SECRET}}
    if event == ALERT_RAISED:
        return _notified(context=context, description=PROSE)
    if event == ACTION_RESOLVED:
        found = judgement(Verdict.DENY, reasons=("over the limit",))
        taken = submitted(context=context, description=PROSE)
        return done(action_rules.judge(taken, found, NOW), Action)
    source = asked(context, description=PROSE)
    return decided(source) if event == RESOLVED else source


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_the_body_of_a_webhook_is_what_its_type_says(event: str) -> None:
    """And nothing else; it is JSON."""
    source = _source_of(event)
    data = body(_about(source, event), source)
    read = EVENTS[event].model_validate_json(json.dumps(data))
    assert read.model_dump(mode="json", exclude_none=True) == data
    assert set(data) <= set(EVENTS[event].model_fields)


@pytest.mark.parametrize("event", sorted(EVENTS))
def test_the_body_of_a_webhook_has_no_arguments_and_no_prose(event: str) -> None:
    source = _source_of(event)
    message = _said(source, event)
    assert message.data == body(_about(source, event), source)
    assert SECRET not in json.dumps(message.data)
    assert PROSE not in json.dumps(message.data)


@pytest.mark.parametrize("event", sorted({*ASKING, UNREACHABLE}))
def test_a_webhook_says_what_a_response_has_to_name(event: str) -> None:
    source = asked()
    data = body(_about(source, event), source)
    assert (data["approval_id"], data["version"], data["digest"]) == (
        source.id,
        source.version,
        source.digest,
    )


def test_that_nobody_was_reached_can_be_told_after_the_end_as_well() -> None:
    """It was rejected because of it: the body is still of its type."""
    source = decided(asked())
    read = EVENTS[UNREACHABLE].model_validate(_said(source, UNREACHABLE).data)
    assert read.model_dump()["status"] == "APPROVED"


def test_an_action_that_was_closed_by_its_approval_is_still_told_of_by_type() -> None:
    source = _source_of(ACTION_RESOLVED)
    data = body(_about(source, ACTION_RESOLVED), source)
    assert (data["action_id"], data["status"]) == (source.id, "REJECTED")
    assert "type" not in data


@pytest.mark.parametrize("kind", sorted(EVENTS.keys() - {ALERT_RAISED}))
def test_a_body_that_would_not_be_its_type_is_refused(kind: str) -> None:
    """An action has no approval's body, and what has not ended no outcome's."""
    wrong = submitted() if kind.startswith("approval") else asked()
    with pytest.raises((ValueError, KeyError)):
        body(_about(wrong, kind), wrong)


def test_an_argument_cannot_pass_for_a_label_of_ours() -> None:
    """Whatever an agent calls its arguments, who asks and until when is said by us."""
    names = ("Agent", "answer  by", "DECIDED BY:", "\uff21ction", "Answer\u00a0by")
    shown = compose(
        planned(), asked(dict.fromkeys(names, "spoofed")), Reader(), "https://x.example/review/t"
    )
    ours = [label for label, value in shown.facts if value != "spoofed"]
    assert ours == ["Agent", "Action", "Answer by"]
    spoofed = [label for label, value in shown.facts if value == "spoofed"]
    assert spoofed == [f"{name} (argument)" for name in names]


# --- how it is answered -------------------------------------------------------------------------

CONSOLE = "https://gateway.example.test/console/requests/apr_1"


def _answered_by(*ways: str, kind: str = "email", url: str | None = URL) -> Message:
    source = asked(terms=TERMS.model_copy(update={"answer_by": ways}))
    return compose(_about(source, kind=kind), source, UTC_READER, url, CONSOLE)


@pytest.mark.parametrize(
    ("ways", "label", "leads_to", "words"),
    [
        (("console", "email"), "Review and answer", URL, ""),
        (("console", "api"), "Open in the console", CONSOLE, "in the console or over the API."),
        (("slack", "api"), "Look at it", URL, "in Slack or over the API."),
    ],
)
def test_a_mail_leads_to_where_it_may_be_answered(
    ways: tuple[str, ...], label: str, leads_to: str, words: str
) -> None:
    message = _answered_by(*ways)
    assert message.link is not None
    assert (message.link.label, message.link.url) == (label, leads_to)
    said = f"This request is answered {words}"
    assert message.footer.startswith(said) if words else "is answered" not in message.footer


@pytest.mark.parametrize(
    ("ways", "url", "decides", "label"),
    [
        (("console", "email", "slack"), None, True, None),
        (("console", "slack"), URL, True, "Open in the console"),
        (("email", "slack"), URL, True, "Review and answer"),
        (("console",), None, False, "Open in the console"),
        (("email",), URL, False, "Review and answer"),
        (("api",), None, False, None),
    ],
)
def test_a_message_in_slack_has_the_buttons_of_the_ways_that_there_are(
    ways: tuple[str, ...], url: str | None, decides: bool, label: str | None
) -> None:
    """To one person, who has a link, or in a channel."""
    message = _answered_by(*ways, kind="slack", url=url)
    assert message.answerable is not None
    assert message.answerable.is_decided_here == decides
    assert (message.link.label if message.link else None) == label
    assert ("This request is answered" in message.footer) != decides


def test_what_cannot_be_composed_leads_nowhere_else() -> None:
    source = asked(terms=TERMS.model_copy(update={"answer_by": ("console",)}))
    link = plain(_about(source), source, URL).link
    assert link is not None
    assert (link.label, link.url) == ("Look at it", URL)


def test_a_request_names_the_policies_that_want_it() -> None:
    """After their words, and with the version of all policies."""
    judged = {"policies": ("big-payments", "abroad"), "policies_version": "3f2a9c1d2e4b"}
    source = asked().model_copy(update={"reasons": ("Money leaves us.",), **judged})
    assert _said(source).reasons == (
        "Money leaves us.",
        "Policies big-payments, abroad; policies 3f2a9c1d2e4b",
    )
    assert _said(asked()).reasons == ()
