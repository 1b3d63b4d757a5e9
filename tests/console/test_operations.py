"""The operators' pages do what they say: replay really sends, a halt really denies, keys end."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx2
import pytest

from safeguards.identifiers import new_id
from safeguards_runtime.records import ApiKey, Change, Endpoint, endpoint
from safeguards_runtime.records.api_key import Role
from safeguards_runtime.records.endpoint import endpoint_id
from safeguards_runtime.store import Store
from tests.console.conftest import Asking
from tests.console.doors import Browser
from tests.deploy.running import eventually
from tests.stack import Stack

PAGES = ("agents", "halts", "deliveries", "channels", "policies", "queues", "audit", "insights")
pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def visit(console: Stack) -> Iterator[Callable[[str], Browser]]:
    """Sign somebody in: `olga = visit("olga")`."""
    opened: list[Browser] = []

    def visiting(who: str) -> Browser:
        client = Browser(console.url, {})
        opened.append(client)
        answer = client.post("/sign-in", data={"name": who, "password": console.passwords[who]})
        assert answer.status_code == 303, answer.text
        return client

    yield visiting
    for client in opened:
        client.close()


@pytest.fixture
def olga(visit: Callable[[str], Browser]) -> Browser:
    """An operator, who is no admin and no reviewer."""
    return visit("olga")


@pytest.fixture
async def store(console: Stack) -> Any:
    """The stack's own store."""
    opened = Store(console.setting("SAFEGUARDS_STORE_URL"))
    yield opened
    await opened.close()


def csrf(client: Browser, path: str = "/console/account") -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', client.get(path).text)
    assert found
    return found[1]


def post(client: Browser, path: str, **fields: Any) -> httpx2.Response:
    return client.post(path, data={"csrf": csrf(client), **fields})


def words(response: httpx2.Response) -> str:
    """What a page says, without its mark-up."""
    text = unescape(re.sub(r"<[^>]+>", " ", response.text))
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("name", PAGES)
def test_an_operator_may_look(olga: Browser, name: str) -> None:
    assert olga.get(f"/console/{name}").status_code == 200


@pytest.mark.parametrize("name", [*PAGES, "audit/export", "deliveries/replay-all"])
def test_a_reviewer_without_the_role_is_told_in_words(
    visit: Callable[[str], Browser], name: str
) -> None:
    answer = visit("sam").get(f"/console/{name}")
    assert answer.status_code == 403
    assert "operator" in words(answer)
    assert answer.headers["content-type"].startswith("text/html")


@pytest.mark.parametrize(
    "path",
    ["halts/begin", "halts/end", "channels/enable", "deliveries/replay"],
)
def test_nobody_changes_anything_without_the_role_or_a_form_of_ours(
    visit: Callable[[str], Browser], olga: Browser, path: str
) -> None:
    sam = visit("sam")
    fields = {"subject": "agent", "name": "x", "reason": "no", "endpoint_id": "x"}
    assert post(sam, f"/console/{path}", **fields).status_code == 403
    assert olga.post(f"/console/{path}", data=fields).status_code == 403
    foreign = {"Sec-Fetch-Site": "cross-site"}
    given = {"csrf": csrf(olga), **fields}
    assert olga.post(f"/console/{path}", data=given, headers=foreign).status_code == 403


@pytest.mark.parametrize("name", ["..", "a/b?c=d&e", "=cmd|'/c calc'!A1", "<script>x</script>"])
def test_an_agent_of_any_name_has_a_page(olga: Browser, ask: Asking, name: str) -> None:
    ask(agent_id=name)
    page = olga.get("/console/agents", params={"q": name}).text
    # Those who are halted stand above what was searched for.
    paths = map(unescape, re.findall(r'href="(/console/agents/one\?[^"]+)"', page))
    path = next(one for one in paths if parse_qs(urlsplit(one).query)["agent_id"] == [name])
    shown = olga.get(path)
    assert shown.status_code == 200
    assert name in words(shown) or name in unescape(shown.text)
    assert "<script>x" not in shown.text


async def test_only_an_admin_revokes_a_key_and_after_being_asked(
    console: Stack, visit: Callable[[str], Browser], olga: Browser, store: Store
) -> None:
    key = console.create_key("--agent", "leaver")
    path = f"/console/agents/keys/{key.key_id}/revoke"
    assert olga.get(path).status_code == 403
    assert post(olga, path).status_code == 403
    alex = visit("alex")
    assert "cannot be undone" in words(alex.get(path))
    with console.http(key) as http:
        assert http.get("/outcomes").status_code == 200
        assert post(alex, path).status_code == 303
        assert http.get("/outcomes").status_code == 401
    assert (await store.history(key.key_id))[-1].actor == "reviewer:alex"


def given_up(
    console: Stack, olga: Browser, asking_http: httpx2.Client, agent_id: str, count: int = 1
) -> list[str]:
    """Have so many mails given up; return these deliveries."""
    before = chosen(olga)
    for number in range(1, count + 1):
        console.smtp.answer("RCPT", "550 no such mailbox")
        body: dict[str, Any] = {"agent_id": agent_id, "title": f"Errand {number}"}
        body["metadata"] = {"action_type": "errand", "number": number}
        assert asking_http.post("/request-approval", json=body).status_code == 202

        def is_dead(expected: int = len(before) + number) -> bool:
            return len(chosen(olga)) == expected

        eventually(is_dead, "the mail is given up")
    return [one for one in chosen(olga) if one not in before]


def chosen(client: Browser) -> list[str]:
    page = client.get("/console/deliveries?status=DEAD&channel=email").text
    return re.findall(r'name="delivery_id" value="(dlv_[0-9a-f]+)"', page)


def test_replay_really_sends(
    console: Stack, olga: Browser, asking_http: httpx2.Client, agent_id: str
) -> None:
    """One that was given up, chosen on the page, arrives; and the page says so."""
    (dead,) = given_up(console, olga, asking_http, agent_id)
    assert "550" in words(olga.get("/console/deliveries"))
    answer = post(olga, "/console/deliveries/replay", delivery_id=dead)
    assert answer.status_code == 303
    console.smtp.wait_for(lambda mail: agent_id in mail.text, 20)
    results = answer.headers["location"]
    eventually(lambda: "All have come to an end" in words(olga.get(results)), "it is sent")
    assert re.search(r"1 sent again.*Sent", words(olga.get(results)))
    lines = exported(olga, record=dead)
    assert ("replayed", "reviewer:olga") in [(line["event"], line["actor"]) for line in lines]
    again = post(olga, "/console/deliveries/replay", delivery_id=dead)
    assert "not given up any more" in words(olga.get(again.headers["location"]))


def test_all_of_a_channel_are_replayed_after_being_asked(
    console: Stack, olga: Browser, asking_http: httpx2.Client, agent_id: str
) -> None:
    given_up(console, olga, asking_http, agent_id, 2)
    asked = words(olga.get("/console/deliveries/replay-all?channel=email"))
    assert re.search(r"Send \d+ messages again\?", asked)
    answer = post(olga, "/console/deliveries/replay-all", channel="email")
    assert answer.status_code == 303
    console.smtp.wait_for(lambda mail: agent_id in mail.text, 20)
    eventually(lambda: chosen(olga) == [], "none is left")


async def test_a_channel_that_is_down_is_enabled(olga: Browser, store: Store) -> None:
    def rule(record: Endpoint | None, now: datetime) -> Change | None:
        return endpoint.failed(record, "webhook", now, "410 Gone", is_gone=True)

    await store.apply(endpoint_id("webhook"), Endpoint, rule)
    shown = words(olga.get("/console/channels"))
    assert "Disabled" in shown
    assert "410 Gone" in shown
    answer = post(olga, "/console/channels/enable", endpoint_id=endpoint_id("webhook"))
    assert answer.status_code == 303
    assert "Disabled" not in words(olga.get("/console/channels"))
    assert (await store.history(endpoint_id("webhook")))[-1].actor == "reviewer:olga"


def test_a_refused_file_is_told_of(console: Stack, olga: Browser) -> None:
    path = console.folder / "channels.yaml"
    before = path.read_text()
    path.write_text("version: 1\nchannels: {mail: {kind: carrier-pigeon}}\n")
    try:
        eventually(
            lambda: "carrier-pigeon" in words(olga.get("/console/channels")), "it is refused"
        )
        assert "what was in force before stays" in words(olga.get("/console/channels"))
    finally:
        path.write_text(before)
    eventually(
        lambda: "is refused" not in words(olga.get("/console/channels")), "it is in force again"
    )


def test_policies_say_who_is_asked(olga: Browser) -> None:
    shown = words(olga.get("/console/policies"))
    for expected in ("wire_out", "Kim", "4 h", "Ask people", "If no policy fits", "version"):
        assert expected in shown


def test_the_terms_say_what_may_be_changed_and_how_it_is_answered(olga: Browser) -> None:
    shown = words(olga.get("/console/policies"))
    for expected in (
        "amount at least 1.00, at most what the agent asks for",
        "account one of Main account, Reserve",
        "purpose at most 40 characters",
        "Answered in the console or over the API By a mail's link not at all",
        "Answered in the console, by the link in a mail, in Slack or over the API",
    ):
        assert expected in shown


def test_the_audit_names_the_policies_that_asked(olga: Browser, submit: Asking) -> None:
    """And their version, as the page of policies does."""
    asked = submit({"amount": "5.00"}, action_type="payout")
    shown = words(olga.get(f"/console/audit?record={asked['id']}"))
    version = re.search(r'policies \["big-payouts"\] policies_version ([0-9a-f]{12})', shown)
    assert version
    assert f"policies {version[1]}" in words(olga.get("/console/policies"))


def test_queues_are_counted(olga: Browser, ask: Asking) -> None:
    ask()
    shown = words(olga.get("/console/queues"))
    assert "safeguards.notify.email 0" in shown
    assert "does not answer" not in shown
    assert "Open Flower" in shown
    tracker = re.search(r"approval-tracker (\d+) ([\d,]+)", shown)
    assert tracker
    assert int(tracker[2].replace(",", "")) >= 1


def exported(client: Browser, **filters: str) -> list[dict[str, Any]]:
    answer = client.get("/console/audit/export", params={"format": "jsonl", **filters})
    assert answer.status_code == 200
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_an_export_of_many_streams_and_is_whole(olga: Browser, store: Store) -> None:
    """More than a thousand records of hostile names, in CSV and in JSON lines, come back as they
    were written; in CSV no cell begins a formula."""
    mark = f"=HYPERLINK(1)&{uuid4().hex}"
    keys = []
    for number in range(1200):
        now = await store.now()
        key = ApiKey(
            id=new_id("key"), name=f"{mark}\n{number}", role=Role.AGENT, secret_hash="0" * 64,
            agent_ids=("nobody",), created_at=now, revoked_at=now,
        )  # fmt: skip
        keys.append(Change(None, key, "created", f"={mark}", now, {"name": key.name}))
    for start in range(0, len(keys), 100):
        assert all(await store.commit([[key] for key in keys[start : start + 100]]))
    lines = exported(olga, actor=f"={mark}", kind="key")
    assert [line["record_id"] for line in lines] == [change.after.id for change in keys]
    assert [line["detail"]["name"] for line in lines] == [f"{mark}\n{n}" for n in range(1200)]
    assert {line["chain"] for line in lines} == {"unbroken"}
    query = {"format": "csv", "actor": f"={mark}"}
    with olga.stream("GET", "/console/audit/export", params=query) as answer:
        assert "content-length" not in answer.headers
        assert "attachment" in answer.headers["content-disposition"]
        text = "".join(answer.iter_text())
    rows = list(csv.DictReader(text.splitlines(keepends=True)))
    assert [row["record_id"] for row in rows] == [change.after.id for change in keys]
    assert {row["actor"] for row in rows} == {f"'={mark}"}
    assert [json.loads(row["detail"])["name"] for row in rows] == [
        f"{mark}\n{n}" for n in range(1200)
    ]


async def test_a_line_that_was_changed_shows(olga: Browser, ask: Asking, store: Store) -> None:
    approval_id = ask()["id"]
    path = f"/console/audit?record={approval_id}"
    assert "Unbroken" in words(olga.get(path))
    line = (await store.history(approval_id))[0]
    forged = line.model_copy(update={"actor": "reviewer:sam"})
    await store.redis.hset(f"sg:{approval_id}", "h1", forged.model_dump_json())
    assert "Broken at line 1" in words(olga.get(path))
    assert {line["chain"] for line in exported(olga, record=approval_id)} == {"broken at 1"}
    await store.redis.hset(f"sg:{approval_id}", "h1", line.model_dump_json())


def test_the_audit_is_filtered(olga: Browser, ask: Asking, agent_id: str) -> None:
    approval_id = ask()["id"]
    lines = exported(olga, agent=agent_id, kind="apr")
    assert {line["record_id"] for line in lines} == {approval_id}
    assert lines[0]["event"] == "opened"
    shown = words(olga.get("/console/audit", params={"agent": agent_id, "kind": "apr"}))
    assert "opened" in shown
    assert exported(olga, agent=agent_id, to="2001-01-01") == []
    assert exported(olga, agent=agent_id, **{"from": "2100-01-01"}) == []
    assert "No line fits" in words(olga.get(f"/console/audit?agent={agent_id}&to=2001-01-01"))


@pytest.mark.parametrize("query", ["from=yesterday", "to=9999-12-31", "kind=xyz", "record=apr_1"])
def test_a_filter_that_is_none_is_said_so(olga: Browser, query: str) -> None:
    answer = olga.get(f"/console/audit?{query}")
    assert answer.status_code == 422
    assert re.search(r"is no (day|kind|identifier)", words(answer))


def test_insights_count_what_people_decided(console: Stack, olga: Browser, ask: Asking) -> None:
    before = _total(olga)
    for response in ("approve", "reject"):
        assert console.respond(ask()["id"], "sam", response=response).status_code == 200
    assert _total(olga) == before + 2
    for days in ("7", "30", "90"):
        shown = olga.get(f"/console/insights?days={days}")
        assert 'role="img"' in shown.text
        assert " style=" not in shown.text
        assert "As a table" in words(shown)


def _total(client: Browser) -> int:
    found = re.search(r"<dd>([\d,]+)</dd></div>", client.get("/console/insights?days=7").text)
    return int(found[1].replace(",", "")) if found else 0
