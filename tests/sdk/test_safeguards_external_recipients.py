"""The safeguard for external recipients."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safeguards.types import AlertSeverity
from tests.sdk.judging import judged, titles

OWN = {"own_domains": ["example.com", "@bücher.example"]}


@pytest.mark.parametrize(
    "recipient",
    [
        "alice@example.com",
        "ALICE@EXAMPLE.COM",
        "Alice <alice@mail.example.com>",
        "alice\uff20example.com",
        "git@example.com:alice/x.git",
        {"alice@example.com": "Alice", "@odata.type": "#attendee", "type": "required.person"},
        "alice@example.com, bob@example.com; <carol@example.com>",
        "mailto:alice@example.com?subject=Hi",
        "alice@bücher.example",
        ["alice@example.com"],
        "Alice",
        "@bob",
        "#general",
        "first.last",
        "GB29 NWBK 6016 1331 9268 19",
        "",
        None,
    ],
)
def test_ones_own_people_and_handles_are_inside(recipient: Any) -> None:
    """What names no domain is not outside."""
    assert judged("external_recipients", "send", {"to": recipient}, OWN) == []


@pytest.mark.parametrize(
    "recipient",
    [
        "mallory@elsewhere.net",
        "alice@example.com, mallory@elsewhere.net",
        "alice@example.com;mallory@elsewhere.net",
        "alice@example.com mallory@elsewhere.net",
        "alice@example.com|mallory@elsewhere.net",
        '"alice@example.com" <mallory@elsewhere.net>',
        "alice@example.com <mallory@elsewhere.net>",
        "mailto:alice@example.com?bcc=mallory@elsewhere.net",
        ["alice@example.com", {"email": ["mallory@elsewhere.net"]}],
        "mallory@[203.0.113.7]",
        "@mallory@elsewhere.net",
        "mallory@\uff45lsewhere.net",
        "mallory\u200b@elsewhere.net",
        "mallory\uff20elsewhere.net",
        "mallory\uff20elsewhere\u3002net",
        "alice@example.com\uff0cmallory@elsewhere.net",
        "alice@elsewhere.net\uff1fcc=bob@example.com",
        "git@elsewhere.net:mallory/x.git",
        {"mallory@elsewhere.net": "x"},
        [{"mallory\uff20elsewhere.net": ["alice@example.com"]}],
        {"@mallory@elsewhere.net": {}},
    ],
)
def test_one_address_outside_is_enough(recipient: Any) -> None:
    """However it is written, and whoever else is written to."""
    (alert,) = judged("external_recipients", "send", {"to": recipient}, OWN)
    assert (alert.title, alert.severity) == ("Recipient outside", AlertSeverity.WARNING)
    assert "mallory" not in str(alert)


@pytest.mark.parametrize(
    "recipient",
    [
        "alice@example.com@elsewhere.net",
        "mallory@elsewhere.net@example.com",
        "mallory%elsewhere.net@example.com",
        "elsewhere.net!mallory@example.com",
        "https://example.com@elsewhere.net@example.com/",
        "https://elsewhere.net\\@example.com/",
        "https://elsewhere.net\uff0f.example.com/",
        "https://example.com\uff0f@elsewhere.net/",
    ],
)
def test_an_address_that_can_be_read_in_two_ways_is_outside(recipient: str) -> None:
    """Whichever way the program reads it that sends."""
    assert titles("external_recipients", "send", {"to": recipient}, OWN) == ["Recipient outside"]


@pytest.mark.parametrize(
    "domain",
    [
        "example.com.elsewhere.net",
        "my-example.com",
        "example-com.net",
        "ex\u0430mple.com",
        "xn--exmple-4nf.com",
        "examp1e.com",
        "exarnple.com",
        "example\u200b.com",
    ],
)
def test_a_domain_that_is_written_like_ones_own_is_an_error(domain: str) -> None:
    """And is shown so that the difference is seen."""
    (alert,) = judged("external_recipients", "send", {"to": f"alice@{domain}"}, OWN)
    assert (alert.title, alert.severity) == ("Domain like your own", AlertSeverity.ERROR)
    assert alert.description.startswith(alert.metadata["domains"][0])
    if not domain.isascii():
        assert "xn--" in alert.description or "U+200B" in alert.description


@pytest.mark.parametrize(
    "url",
    [
        "https://elsewhere.net/x",
        "HTTPS://ELSEWHERE.NET",
        "https://example.com@elsewhere.net/",
        "https://example.com.elsewhere.net/",
        "//elsewhere.net/x",
        "\\\\elsewhere.net\\share",
        "https:/elsewhere.net",
        "www.elsewhere.net",
        "elsewhere.net/path",
        "203.0.113.7:8080/x",
        "https://[2001:db8::1]/",
        "https://2130706433/",
        "ftp://elsewhere.net/x",
        "https:elsewhere.net/x",
        "HTTP:203.0.113.7",
        "wss:[2001:db8::1]/x",
        "\uff48ttps\uff1a\uff0f\uff0felsewhere.net",
        "h\u200bttps://elsewhere.net",
        "elsewhere\u3002net",
        "elsewhere\uff0enet/x",
    ],
)
@pytest.mark.parametrize("field", ["url", "webhookUrl", "callback_endpoint"])
def test_a_host_outside_is_found(url: str, field: str) -> None:
    """With a scheme or without."""
    alerts = judged("external_recipients", "post_webpage", {field: url, "content": "x"}, OWN)
    assert len(alerts) == 1
    assert alerts[0].metadata["places"] == [f"/{field}"]


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/x",
        "https://docs.example.com:8443/x?user=alice@elsewhere.net",
        "www.example.com",
        "example.com",
        "/docs/a.b/c",
        "#section",
        "data:image/png;base64,iVBORw0KGgo",
        "https:example.com/x",
        "https: ",
        "example\u3002com",
        "\u8a73\u3057\u304f\u306f\u3053\u3061\u3089\u3002",
    ],
)
def test_a_host_of_ones_own_is_inside(url: str) -> None:
    """And so is a path, and what is carried in the URL itself."""
    assert judged("external_recipients", "post_webpage", {"url": url}, OWN) == []


def test_data_carried_in_a_url_is_an_error() -> None:
    """An address that is looked up can take a secret with it."""
    url = "https://elsewhere.net/pixel.png?d=" + "aGVsbG8" * 40
    found = judged("external_recipients", "get_webpage", {"url": url}, OWN)
    assert [alert.title for alert in found] == ["Recipient outside", "Data in a URL"]
    inside = {"url": url.replace("elsewhere.net", "example.com")}
    assert judged("external_recipients", "get_webpage", inside, OWN) == []
    context = {"to": f"Why? {url}"}
    assert "Data in a URL" in titles("external_recipients", "send", context, OWN)


@pytest.mark.parametrize(
    "field",
    [
        "to",
        "cc",
        "Bcc",
        "recipients",
        "userEmail",
        "share_with",
        "forward-to",
        "attendees",
        "receiver",
        "addressee",
        "mailto",
        "href",
        "server",
        "remote",
    ],
)
def test_recipients_are_known_by_the_name_of_the_argument(field: str) -> None:
    """In any spelling, with all that is inside of it."""
    context = {"message": {field: {"people": [{"x": "mallory@elsewhere.net"}]}}}
    assert titles("external_recipients", "send", context, OWN) == ["Recipient outside"]


@pytest.mark.parametrize(
    ("field", "value"),
    [("remote", "origin"), ("href", "index.html"), ("server", "web-01"), ("remote_path", "a.txt")],
)
def test_what_is_on_ones_own_machine_is_no_host(field: str, value: str) -> None:
    assert judged("external_recipients", "push", {field: value}, OWN) == []


@pytest.mark.parametrize("field", ["from", "sender_email", "body", "subject", "note"])
def test_who_sends_and_what_is_said_is_no_recipient(field: str) -> None:
    """An address in a text goes nowhere."""
    context = {field: "ask mallory@elsewhere.net"}
    assert judged("external_recipients", "send", context, OWN) == []


@pytest.mark.parametrize(
    "text",
    [
        "Look at www.elsewhere.net!",
        "see:https://elsewhere.net/x?y=1 and so on",
        "![](https://elsewhere.net/pixel.png)",
        "HTTP://example.com@elsewhere.net",
    ],
)
def test_links_in_other_texts_are_found_if_asked_for(text: str) -> None:
    """A message may lead people astray."""
    linked = {**OWN, "links": True}
    (alert,) = judged("external_recipients", "send", {"to": "Alice", "body": text}, linked)
    assert alert.description == "A link goes to " + alert.metadata["domains"][0] + ", at /body."
    assert judged("external_recipients", "send", {"to": "Alice", "body": text}, OWN) == []
    inside = "see https://example.com/x, www.example.com. Or ask mallory@elsewhere.net"
    assert judged("external_recipients", "send", {"body": inside}, linked) == []


def test_without_domains_of_ones_own_every_address_is_outside() -> None:
    """And fields can be chosen."""
    assert titles("external_recipients", "send", {"to": "alice@example.com"})
    config = {"fields": ["Notify Address"]}
    assert titles("external_recipients", "send", {"to": "alice@example.com"}, config) == []
    assert titles("external_recipients", "send", {"notifyAddress": "a@example.com"}, config)


@given(st.text(alphabet='aex@.:/\\?#%!<>", \u0430\u200bmplco', max_size=40))
def test_no_way_of_writing_takes_an_address_out_of_ones_own_domain(text: str) -> None:
    """Whatever ends in another domain is outside."""
    recipient = f"{text}@elsewhere.net"
    assert judged("external_recipients", "send", {"to": recipient}, OWN)
