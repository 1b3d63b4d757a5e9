"""The page behind a mail's link: a GET never decides, and what is shown is what is answered."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from html.parser import HTMLParser
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.gateway.conftest import Asking
from tests.receivers import ReceivedMail
from tests.stack import Stack

HOSTILE = (
    "<script>alert(1)</script> \"'><img src=x onerror=alert(1)> {{7*7}} "
    "\u202eevil\u2066 \u200b<!-- --></title></textarea>"
)
SAME_SITE = {"Sec-Fetch-Site": "same-origin"}
PLAIN_TAGS = {"bdi", "dd", "details", "div", "dl", "dt", "li", "p", "span", "strong", "summary"}
RAW = ("\u202e", "\u2066", "\u200b")


_CHOICES = ("radio", "checkbox")


class Page(HTMLParser):
    """A page as a browser reads it: its words, and what each of its forms would send.

    Attributes:
        words: the text that is shown, the controls' values included.
        forms: for each response, what its button sends with the form as it is.
    """

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        # As a browser does while reading (HTML, sections 13.2.3.5 and 13.2.5).
        self.html = html
        self.words = ""
        self.tags: list[str] = []
        self.forms: dict[str, dict[str, str]] = {}
        self._form: dict[str, str] | None = None
        self._textarea: str | None = None
        self._select = ""
        self._is_selected = False
        self.feed(html.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        named = {name: value or "" for name, value in attrs}
        name = named.get("name", "")
        if tag == "form":
            self._form = {}
        if self._form is None:
            return
        if tag == "input" and ("checked" in named or named.get("type") not in _CHOICES):
            # A one-line control drops line breaks.
            self._form[name] = re.sub(r"[\r\n]", "", named.get("value", ""))
            self.words += named.get("value", "") + "\n"
            if name == "response":
                self.forms[named["value"]] = self._form
        elif tag == "textarea":
            self._textarea = name
            self._form[name] = ""
        elif tag == "select":
            self._select = name
        elif tag == "option":
            self._is_selected = "selected" in named
        elif tag == "button" and name:
            self.forms[named["value"]] = {**self._form, name: named["value"]}

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea" and self._form is not None and self._textarea is not None:
            # The line break right after the tag is not part of the value; line breaks are sent
            # as CR LF.
            value = self._form[self._textarea].removeprefix("\n")
            self._form[self._textarea] = value.replace("\n", "\r\n")
            self._textarea = None
        if tag == "form":
            self._form = None
        if tag == "option":
            self._is_selected = False

    def handle_data(self, data: str) -> None:
        self.words += data
        if self._is_selected and self._form is not None:
            self._form[self._select] = data
        if self._textarea is not None and self._form is not None:
            self._form[self._textarea] += data


@pytest.fixture(scope="module")
def browser(stack: Stack) -> Iterator[httpx2.Client]:
    """A client without an API key, as a person's browser."""
    with httpx2.Client(base_url=stack.url, follow_redirects=True) as client:
        yield client


Mailed = Callable[..., tuple[str, str]]


@pytest.fixture(scope="module")
def mailed(stack: Stack, ask: Asking) -> Mailed:
    """Ask people; return the approval's id and the path of a reviewer's link, from the mail."""

    def asking(
        context: dict[str, Any] | None = None, *, to: str = "alex", **body: Any
    ) -> tuple[str, str]:
        mark = uuid4().hex
        approval = ask(
            context, **{"title": f"Pay {mark}", **body, "description": _said(body, mark)}
        )
        return approval["id"], _link(stack, mark, to)

    return asking


@pytest.fixture(scope="module")
def undecided(mailed: Mailed) -> tuple[str, str]:
    """An approval that every refused post leaves open, and Alex's link to it."""
    return mailed({"amount": "2500.00", "payee": "ACME", "lines": [1]})


def _said(body: dict[str, Any], mark: str) -> str:
    return f"{body.get('description', 'for books')} {mark}"


@cache
def _text(mail: ReceivedMail) -> str:
    """Return a mail's text, parsed once: every arrival makes whoever waits look at all mails."""
    return mail.text


def _link(stack: Stack, mark: str, to: str) -> str:
    """Return the path of the link that was mailed to a reviewer."""
    address = f"{to}@example.com"
    mail = stack.smtp.wait_for(
        lambda mail: mail.recipients == (address,) and mark in _text(mail), 20
    )
    return _path_in(mail)


def _path_in(mail: ReceivedMail) -> str:
    found = re.search(r"https?://[^\s/]+(/review/\S+)", mail.text)
    assert found
    return found[1]


def view(stack: Stack, approval_id: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {stack.agent_key.api_key}"}
    # Plain HTTP: reading the certificates anew for each look would take most of the time.
    answer = httpx2.get(f"{stack.api}/approvals/{approval_id}", headers=headers, verify=False)
    approval: dict[str, Any] = answer.json()
    return approval


def post(
    browser: httpx2.Client, link: str, form: dict[str, str], **changes: str
) -> httpx2.Response:
    return browser.post(link, data={**form, **changes}, headers=SAME_SITE)


def modify(
    browser: httpx2.Client, link: str, form: dict[str, str], **changes: str
) -> httpx2.Response:
    """Send changes, then what the page sends that shows them."""
    shown = post(browser, link, form, **changes)
    if shown.status_code != 200:
        return shown
    return post(browser, link, Page(shown.text).forms["modify"])


# --- reading ------------------------------------------------------------------------------------


def test_a_get_never_decides(stack: Stack, browser: httpx2.Client, mailed: Mailed) -> None:
    """Scanners and previews follow links, with GET and HEAD, with any query, ten times over."""
    approval_id, link = mailed()
    query = {"response": "approve", "version": "1"}
    for _ in range(10):
        assert browser.get(link).status_code == 200
    assert browser.get(link, params=query).status_code == 200
    assert browser.head(link).status_code in (200, 405)
    assert browser.request("OPTIONS", link).status_code in (200, 204, 405)
    assert view(stack, approval_id)["status"] == "PENDING"
    assert {line["event"] for line in stack.history(approval_id)} <= {"opened", "notified"}


def test_the_page_shows_what_is_asked(browser: httpx2.Client, mailed: Mailed) -> None:
    """Title, agent, every argument, the agent's words, the deadline and what silence means."""
    _, link = mailed(
        {"amount": "2500.00", "payee": "ACME", "lines": [{"sku": "B-7"}], "action_type": "payment"},
        title="Pay the books",
        description="as agreed",
    )
    words = Page(browser.get(link).text).words
    for shown in ("Pay the books", "trader", "payment", "2500.00", "ACME", "B-7", "as agreed"):
        assert shown in words
    assert "it is rejected" in words


def test_the_page_is_private_and_runs_nothing(browser: httpx2.Client, mailed: Mailed) -> None:
    """No scripts, no frames, no other site's form, no cache, no referrer; also on an error."""
    _, link = mailed()
    for response in (browser.get(link), browser.get("/review/x.y"), post(browser, link, {})):
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "form-action 'self'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["referrer-policy"] == "same-origin"
        assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("where", ["title", "description", "value", "key", "nested"])
def test_hostile_text_is_only_text(browser: httpx2.Client, mailed: Mailed, where: str) -> None:
    """It becomes no tag and closes none; what changes direction or shows nothing is written out.
    Fields that may not be edited, so that all of it is shown as text."""
    plain = Page(browser.get(mailed()[1]).text)
    context: dict[str, Any] = {"action_type": "payment"}
    body: dict[str, Any] = {}
    match where:
        case "value":
            context["payee"] = HOSTILE
        case "key":
            context[HOSTILE] = "x"
        case "nested":
            context["lines"] = [{HOSTILE: HOSTILE}]
        case _:
            body[where] = HOSTILE
    _, link = mailed(context, **body)
    page = Page(browser.get(link).text)
    assert set(page.tags) - set(plain.tags) <= PLAIN_TAGS
    assert page.tags.count("script") == plain.tags.count("script")
    assert "alert(1)" in page.words
    assert not any(character in page.html for character in RAW)


def test_hostile_text_in_an_editable_field_is_written_out_too(
    browser: httpx2.Client, mailed: Mailed
) -> None:
    """A value in a form control is shown to a person as well."""
    _, link = mailed({"note": "pay \u202eecneics"})
    page = Page(browser.get(link).text)
    assert not any(character in page.words for character in RAW)


@pytest.mark.parametrize("given", ["wipe", "payment ", 5])
def test_every_argument_that_would_run_is_shown(
    browser: httpx2.Client, stack: Stack, mailed: Mailed, agent: httpx2.Client, given: Any
) -> None:
    """An argument by the name of `action_type` runs like any other, so it is shown, if it is not
    the very action type that is shown already."""
    mark = uuid4().hex
    action = {
        "agent_id": "trader",
        "action_type": "payment",
        "context": {"amount": "5000.00", "action_type": given},
        "description": mark,
    }
    assert agent.post("/actions", json=action).status_code == 202
    html = browser.get(_link(stack, mark, "alex")).text
    facts = re.findall(
        r'<dt><bdi>action_type</bdi>[^\n]*</dt>\s*<dd><span class="value[^"]*">(.*?)</span>', html
    )
    assert facts == [str(given)]


# --- whose link ---------------------------------------------------------------------------------


def test_only_the_whole_link_opens(stack: Stack, browser: httpx2.Client, mailed: Mailed) -> None:
    """Cut short, changed in one place, or with another delivery's id: 404, and nothing is said of
    what it may have led to; and nothing is decided by it."""
    approval_id, link = mailed()
    _, other = mailed()
    delivery, _, secret = link.removeprefix("/review/").partition(".")
    _, _, other_secret = other.removeprefix("/review/").partition(".")
    form = Page(browser.get(link).text).forms["approve"]
    changed = secret[:-2] + ("AA" if secret[-2:] != "AA" else "BB")
    for token in (
        delivery,
        f"{delivery}.",
        f"{delivery}.{secret[:-1]}",
        f"{delivery}.{changed}",
        f"{delivery}.{secret}x",
        f"{delivery}.{other_secret}",
        f".{secret}",
        "x",
        approval_id,
        "%00",
    ):
        for response in (
            browser.get(f"/review/{token}"),
            post(browser, f"/review/{token}", form),
        ):
            assert response.status_code == 404, token
            assert "2500.00" not in response.text
    assert view(stack, approval_id)["status"] == "PENDING"


def test_each_reviewer_answers_as_themselves(
    stack: Stack, browser: httpx2.Client, mailed: Mailed
) -> None:
    """The link says who answers; nothing in the form does."""
    approval_id, link = mailed(to="sam")
    page = Page(browser.get(link).text)
    assert "For Sam" in page.words
    form = page.forms["approve"]
    post(browser, link, form, reviewer="alex", reviewer_id="alex", decided_by="alex")
    assert view(stack, approval_id)["outcome"]["decided_by"] == "sam"


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none", "x"])
def test_a_post_from_another_site_is_refused(
    stack: Stack, browser: httpx2.Client, undecided: tuple[str, str], site: str
) -> None:
    """403; a browser says where a post comes from (Fetch Metadata)."""
    approval_id, link = undecided
    form = Page(browser.get(link).text).forms["approve"]
    response = browser.post(link, data=form, headers={"Sec-Fetch-Site": site})
    assert response.status_code == 403
    assert view(stack, approval_id)["status"] == "PENDING"


# --- answering ----------------------------------------------------------------------------------


def test_approve(stack: Stack, browser: httpx2.Client, mailed: Mailed) -> None:
    """One button. The page then says who decided, and has no form any more."""
    approval_id, link = mailed()
    response = post(browser, link, Page(browser.get(link).text).forms["approve"])
    assert (response.status_code, response.request.method) == (200, "GET")
    page = Page(response.text)
    assert ("Approved" in page.words, "Alex" in page.words, page.forms) == (True, True, {})
    outcome = view(stack, approval_id)["outcome"]
    assert (outcome["status"], outcome["decided_by"]) == ("APPROVED", "alex")
    assert [
        line["detail"]["via"] for line in stack.history(approval_id)[-3:] if "via" in line["detail"]
    ] == ["email"]


def test_reject(stack: Stack, browser: httpx2.Client, mailed: Mailed) -> None:
    approval_id, link = mailed()
    form = Page(browser.get(link).text).forms["reject"]
    page = Page(post(browser, link, form, comments="too\r\nmuch").text)
    assert "Rejected" in page.words
    assert view(stack, approval_id)["outcome"]["comments"] == "too\nmuch"


def test_modify(stack: Stack, browser: httpx2.Client, mailed: Mailed) -> None:
    """Only the fields that were changed are modified, each in its own type."""
    context = {
        "amount": "2500.00",
        "payee": "ACME",
        "count": 3,
        "rate": 0.5,
        "urgent": False,
        "lines": [{"sku": "B-7", "n": 1}],
        "none": None,
    }
    approval_id, link = mailed(context)
    form = Page(browser.get(link).text).forms["modify"]
    changes = {"amount": " 10.50 ", "count": "4", "urgent": "true", "lines": "[]"}
    typed = {f"field:{name}": text for name, text in changes.items()}
    page = Page(modify(browser, link, form, **typed).text)
    assert "Approved with changes" in page.words
    assert view(stack, approval_id)["outcome"]["modifications"] == {
        "amount": "10.50",
        "count": 4,
        "urgent": True,
        "lines": [],
    }


def test_ask(stack: Stack, browser: httpx2.Client, mailed: Mailed) -> None:
    """The question is shown, the approval stays open, and it can still be answered."""
    approval_id, link = mailed()
    form = Page(browser.get(link).text).forms["ask"]
    page = Page(post(browser, link, form, comments="what for?").text)
    assert ("what for?" in page.words, "No answer yet" in page.words) == (True, True)
    assert view(stack, approval_id)["status"] == "PENDING"
    post(browser, link, page.forms["approve"])
    assert view(stack, approval_id)["status"] == "APPROVED"


@pytest.mark.parametrize(
    "text",
    [
        "\nbegins with a line break",
        "two\r\nlines",
        "a lone\rreturn",
        "  spaces  ",
        '"quotes" & <b>',
        "a\ttab",
        "nothing \u0000 there",
        "x" * 200,
        "",
    ],
)
def test_what_the_reviewer_did_not_touch_is_not_modified(
    stack: Stack, browser: httpx2.Client, mailed: Mailed, text: str
) -> None:
    """A browser's form gives back some text in another form than it got it: that is no change."""
    approval_id, link = mailed({"amount": "2500.00", "note": text})
    form = Page(browser.get(link).text).forms["modify"]
    modify(browser, link, form, **{"field:amount": "1.00"})
    assert view(stack, approval_id)["outcome"]["modifications"] == {"amount": "1.00"}


def test_the_form_as_it_is_changes_nothing(
    stack: Stack, browser: httpx2.Client, mailed: Mailed
) -> None:
    """Approve with changes, without a change, is refused with words that say what to do."""
    approval_id, link = mailed()
    response = post(browser, link, Page(browser.get(link).text).forms["modify"])
    assert response.status_code == 422
    assert "approve it instead" in Page(response.text).words
    assert view(stack, approval_id)["status"] == "PENDING"


@pytest.mark.parametrize(
    ("button", "typed"),
    [
        ("modify", {"field:amount": "ten", "comments": "my words"}),
        ("modify", {"field:lines": "[not json", "comments": "my words"}),
        ("modify", {"field:lines": '{"a": 1}', "comments": "my words"}),
        ("ask", {"comments": "my words " + "x" * 4000}),
        ("reject", {"comments": "my words " + "x" * 4000}),
    ],
)
def test_what_was_typed_survives_an_error(
    stack: Stack,
    browser: httpx2.Client,
    undecided: tuple[str, str],
    button: str,
    typed: dict[str, str],
) -> None:
    """422, the error in words, and every control still holds what the person typed."""
    approval_id, link = undecided
    form = Page(browser.get(link).text).forms[button]
    response = post(browser, link, form, **typed)
    assert response.status_code == 422
    assert 'role="alert"' in response.text
    again = Page(response.text).forms[button]
    assert {name: again[name] for name in typed} == typed
    assert view(stack, approval_id)["status"] == "PENDING"


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"response": "approve"},
        {"response": "yes", "version": "1"},
        {"response": "approve", "version": "x"},
        {"response": "approve", "version": "1", "digest": "x"},
        {"response": "approve", "version": "0"},
        {"response": "approve", "version": "99999999999999999999"},
        {"response": "modify", "version": "1", "field:fee": "1.00"},
        {"response": "modify", "version": "1", "field:": "1.00"},
        {"response": "ask", "version": "1", "comments": " "},
    ],
)
def test_a_form_that_is_not_ours_decides_nothing(
    stack: Stack, browser: httpx2.Client, undecided: tuple[str, str], form: dict[str, str]
) -> None:
    """A 4xx page that shows the request anew, in words that a person understands."""
    approval_id, link = undecided
    response = post(browser, link, form)
    assert response.status_code in (409, 422)
    words = Page(response.text).words
    assert "2500.00" in words
    assert "valid ResponseKind" not in words
    assert "invalid literal" not in words
    assert view(stack, approval_id)["status"] == "PENDING"


@pytest.mark.parametrize("body", [b"\xff\xfe", b"--x", b"response=approve&version=1&comments=%FF"])
@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_post_that_is_no_form_decides_nothing(
    stack: Stack, browser: httpx2.Client, mailed: Mailed, kind: str, body: bytes
) -> None:
    """Junk is a 4xx; nothing of it is an error of ours."""
    approval_id, link = mailed()
    content_type = f"{kind}; boundary=x" if "multipart" in kind else kind
    response = browser.post(link, content=body, headers={**SAME_SITE, "Content-Type": content_type})
    if body.startswith(b"response") and "urlencoded" in kind:
        assert response.status_code < 500
        return
    assert 400 <= response.status_code < 500
    assert view(stack, approval_id)["status"] == "PENDING"


def test_a_form_without_a_digest_does_not_decide(
    stack: Stack, browser: httpx2.Client, mailed: Mailed
) -> None:
    """The page's form names what was shown; one that does not was not made by the page."""
    approval_id, link = mailed()
    response = post(browser, link, {"response": "approve", "version": "1"})
    assert response.status_code in (409, 422)
    assert view(stack, approval_id)["status"] == "PENDING"


def test_a_link_is_bound_to_the_version_that_its_mail_showed(
    stack: Stack, browser: httpx2.Client, mailed: Mailed, agent: httpx2.Client
) -> None:
    """409: the agent has said something since. The page shows it and keeps what was typed, but
    only the newer mail's link decides."""
    approval_id, link = mailed()
    old = Page(browser.get(link).text)
    post(browser, link, old.forms["ask"], comments="less?")
    answer = {"answer": "yes, less"}
    assert agent.post(f"/approvals/{approval_id}/answers", json=answer).status_code == 200
    for button, typed in (("approve", {}), ("reject", {"comments": "my words"})):
        response = post(browser, link, old.forms[button], **typed)
        assert response.status_code == 409
    for page in (Page(response.text), Page(browser.get(link).text)):
        assert "yes, less" in page.words
        assert page.forms == {}
    assert "my words" in response.text
    newer = stack.smtp.wait_for(
        lambda mail: "yes, less" in _text(mail) and mail.recipients == ("alex@example.com",), 20
    )
    newer_link = _path_in(newer)
    assert newer_link != link
    # A form of the older page does not decide under the newer link either.
    assert post(browser, newer_link, old.forms["approve"]).status_code == 422
    post(browser, newer_link, Page(browser.get(newer_link).text).forms["approve"])
    assert view(stack, approval_id)["status"] == "APPROVED"


def test_an_answer_after_the_outcome_shows_who_decided(
    stack: Stack, browser: httpx2.Client, mailed: Mailed
) -> None:
    """Somebody was faster: 409, and the page says who it was and what they said."""
    approval_id, link = mailed()
    form = Page(browser.get(link).text).forms["approve"]
    assert stack.respond(approval_id, "sam", response="reject", comments="no").status_code == 200
    response = post(browser, link, form)
    assert response.status_code == 409
    page = Page(response.text)
    assert ("Rejected" in page.words, "Sam" in page.words, "no" in page.words) == (True,) * 3
    assert page.forms == {}
    assert view(stack, approval_id)["outcome"]["decided_by"] == "sam"


def test_the_same_answer_twice_is_one(stack: Stack, browser: httpx2.Client, mailed: Mailed) -> None:
    """A double click, or the button pressed again on a slow line: no error, one decision."""
    approval_id, link = mailed()
    form = Page(browser.get(link).text).forms["approve"]
    for _ in range(2):
        assert post(browser, link, form).status_code == 200
    events = [line["event"] for line in stack.history(approval_id)]
    assert events.count("approved") == 1


def test_a_withdrawn_request_is_shown_as_withdrawn(
    browser: httpx2.Client, mailed: Mailed, agent: httpx2.Client
) -> None:
    approval_id, link = mailed()
    assert agent.delete(f"/approvals/{approval_id}").status_code == 204
    page = Page(browser.get(link).text)
    assert ("Withdrawn" in page.words, page.forms) == (True, {})
