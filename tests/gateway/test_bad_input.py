"""Bad input over HTTP: each a clear 4xx problem that says what to do, and nothing is changed."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest

from safeguards.identifiers import new_id
from tests.gateway.conftest import Asking
from tests.stack import Key, Stack

JSON_TYPE = {"Content-Type": "application/json"}


def problem(
    response: httpx2.Response, status: int, code: str | None = None, *words: str
) -> dict[str, Any]:
    """Check that a response is a problem document (RFC 9457) of that status and type, whose
    detail has the words; return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"].startswith("application/problem+json")
    document: dict[str, Any] = response.json()
    assert document["status"] == status
    assert document["title"]
    assert document["type"].startswith("urn:safeguards:problem:")
    if code is not None:
        assert document["type"] == f"urn:safeguards:problem:{code}"
    assert document["detail"]
    for word in words:
        assert word in document["detail"], document["detail"]
    return document


def submission(**changes: Any) -> dict[str, Any]:
    given = {"agent_id": "trader", "action_type": "transaction", "context": {"amount": "1"}}
    return {**given, **changes}


def raw(agent: httpx2.Client, body: bytes | str, path: str = "/actions") -> httpx2.Response:
    """Post bytes as JSON."""
    content = body.encode() if isinstance(body, str) else body
    return agent.post(path, content=content, headers=JSON_TYPE)


def with_context(context: str) -> str:
    """Return a submission whose context is this very JSON."""
    return f'{{"agent_id": "trader", "action_type": "transaction", "context": {context}}}'


# --- what is submitted --------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown field": ({"priority": 1}, "priority"),
    "an unknown field with a hostile name": ({"<script>\u202e": 1}, "script"),
    "an agent that is a number": ({"agent_id": 5}, "agent_id"),
    "no agent": ({"agent_id": None}, "agent_id"),
    "an empty agent": ({"agent_id": ""}, "agent_id"),
    "an agent with a NUL": ({"agent_id": "tra\u0000der"}, "agent_id"),
    "an agent with a line break": ({"agent_id": "trader\nX"}, "agent_id"),
    "an agent that looks like another": ({"agent_id": "trader "}, "agent_id"),
    "an agent that changes direction": ({"agent_id": "tra\u202eder"}, "agent_id"),
    "a name that is too long": ({"agent_id": "x" * 201}, "agent_id"),
    "an action type that is a list": ({"action_type": ["x"]}, "action_type"),
    "a context that is a list": ({"context": [1]}, "context"),
    "a context that is text": ({"context": "{}"}, "context"),
    "no context": ({"context": None}, "context"),
    "a title that is too long": ({"title": "x" * 501}, "title"),
    "an empty title": ({"title": ""}, "title"),
    "a time-out of 0": ({"timeout_seconds": 0}, "timeout_seconds"),
    "a negative time-out": ({"timeout_seconds": -5}, "timeout_seconds"),
    "a time-out as text": ({"timeout_seconds": "60"}, "timeout_seconds"),
    "a time-out that is a boolean": ({"timeout_seconds": True}, "timeout_seconds"),
    "a fractional time-out": ({"timeout_seconds": 1.5}, "timeout_seconds"),
    "an endless time-out": ({"timeout_seconds": 10**12}, "timeout_seconds"),
    "a callback to a file": ({"callback_url": "file:///etc/passwd"}, "callback_url"),
    "a callback that is none": ({"callback_url": "here"}, "callback_url"),
    "an integer beyond 2^53": ({"context": {"n": 2**53}}, "/n"),
    "a deep integer beyond 2^53": ({"context": {"a": [{"n": -(2**60)}]}}, "/a/0/n"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_submission_is_refused_and_says_where(agent: httpx2.Client, name: str) -> None:
    """422, with the field in the detail."""
    body, where = WRONG[name]
    problem(agent.post("/actions", json=submission(**body)), 422, "invalid_request", where)


AMBIGUOUS: dict[str, tuple[bytes | str, str]] = {
    "NaN": (with_context('{"amount": NaN}'), "NaN"),
    "Infinity": (with_context('{"amount": Infinity}'), "Infinity"),
    "-Infinity": (with_context('{"amount": -Infinity}'), "Infinity"),
    "a repeated name": (with_context('{"amount": "1", "amount": "9999"}'), "amount"),
    "a repeated field": ('{"agent_id": "a", "agent_id": "b"}', "agent_id"),
    "no JSON": ("amount=5", ""),
    "nothing": ("", ""),
    "half of it": ('{"agent_id": "trader"', ""),
    "two documents": ("{} {}", ""),
    "a byte order mark": (b"\xef\xbb\xbf{}", ""),
    "UTF-16": (json.dumps(submission()).encode("utf-16"), ""),
    "invalid UTF-8": (b'{"agent_id": "\xff"}', ""),
    "a raw control character": ('{"agent_id": "a\x01b"}', ""),
    "a comment": ("{/* x */}", ""),
    "an endless integer": (with_context('{"n": ' + "9" * 5000 + "}"), ""),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_ambiguous_json_is_refused_and_says_why(agent: httpx2.Client, name: str) -> None:
    """400 or 422, and the detail names what was ambiguous."""
    body, word = AMBIGUOUS[name]
    response = raw(agent, body)
    assert response.status_code in (400, 422), response.text
    problem(response, response.status_code, None, word)


def test_a_number_that_overflows_is_refused(agent: httpx2.Client) -> None:
    """1e400 is no infinity."""
    problem(raw(agent, with_context('{"amount": 1e400}')), 422, None, "/amount")


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(submission(title="\ud800")),
        json.dumps(submission(context={"note": "\udfff"})),
        json.dumps(submission(context={"\ud800": 1})),
        json.dumps(submission(**{"\ud800": 1})),
        json.dumps(submission(agent_id="a\ud800")),
    ],
    ids=["title", "context", "a key of the context", "an unknown field", "agent"],
)
def test_a_lone_surrogate_is_refused(agent: httpx2.Client, body: str) -> None:
    """Escaped in JSON it is valid JSON, but no Unicode text."""
    response = raw(agent, body)
    assert response.status_code in (400, 422), response.text
    problem(response, response.status_code)


@pytest.mark.parametrize("path", ["/actions", "/request-approval"])
@pytest.mark.parametrize("body", ["[]", "null", "5", '"text"', "true"])
def test_a_body_that_is_no_object_is_refused(agent: httpx2.Client, path: str, body: str) -> None:
    problem(raw(agent, body, path), 422, "invalid_request")


def _nested(depth: int) -> str:
    return with_context('{"a":' * (depth - 1) + "{}" + "}" * (depth - 1))


def test_nesting_up_to_the_limit_is_taken(agent: httpx2.Client) -> None:
    """A context may nest 32 deep, as the limit says, but not 33."""
    assert raw(agent, _nested(32)).status_code == 202
    problem(raw(agent, _nested(33)), 422, None, "32")


@pytest.mark.parametrize("depth", [33, 1001, 30_000])
def test_deep_nesting_is_refused(agent: httpx2.Client, depth: int) -> None:
    """However deep: a problem that names the limit."""
    body = with_context('{"a":' + "[" * depth + "]" * depth + "}")
    problem(raw(agent, body), 422, None, "32")


@pytest.mark.parametrize("path", ["/actions", "/request-approval"])
def test_a_body_over_256_kib_is_refused(agent: httpx2.Client, path: str) -> None:
    """Said with its length or sent in chunks without one."""
    body = json.dumps(submission(context={"a": "x" * 262_144})).encode()
    problem(raw(agent, body, path), 413, None, "256 KiB")

    def chunks() -> Any:
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    response = agent.post(path, content=chunks(), headers=JSON_TYPE)
    problem(response, 413, None, "256 KiB")


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml", ""]
)
def test_another_content_type_is_refused(agent: httpx2.Client, content_type: str) -> None:
    """So that a form of another site cannot submit anything."""
    response = agent.post(
        "/actions", content=json.dumps(submission()), headers={"Content-Type": content_type}
    )
    assert response.status_code in (415, 422)
    problem(response, response.status_code)


def test_hostile_but_valid_text_is_taken_as_it_is(agent: httpx2.Client) -> None:
    """NUL, direction marks and markup in the context are content: they come back unchanged."""
    context = {"note": "\u0000\u202e<script>{{7*7}}\r\n", "\u202e\u0000": ["\u2028"]}
    response = agent.post("/actions", json=submission(context=context))
    assert response.status_code == 202
    assert agent.get(f"/actions/{response.json()['id']}").json()["context"] == context


# --- who asks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer x",
        "Basic YTpi",
        "Bearer sgk_" + "0" * 32 + "_" + "A" * 43,
        "Bearer sgk_" + "0" * 32 + "_" + "A" * 43 + "\x00",
        "Bearer " + "é" * 10,
        "Bearer " + "x" * 5000,
    ],
)
def test_a_missing_or_garbage_key_is_refused(stack: Stack, header: str | None) -> None:
    """401 with a challenge (RFC 6750)."""
    headers = {} if header is None else {b"Authorization": header.encode()}
    with httpx2.Client(base_url=stack.api) as http:
        try:
            response = http.get("/outcomes", headers=headers)
        except httpx2.LocalProtocolError:
            return
    if header is not None and "\x00" in header:
        assert response.status_code in (400, 401)
        return
    problem(response, 401)
    assert response.headers["www-authenticate"].startswith("Bearer")


def test_the_right_id_with_another_secret_is_refused(stack: Stack, one_agent: Key) -> None:
    wrong = one_agent.api_key[:-43] + "A" * 43
    with stack.http(Key(one_agent.key_id, wrong)) as http:
        problem(http.get("/outcomes"), 401, "api_key_invalid")


def test_a_revoked_key_opens_nothing(stack: Stack) -> None:
    """At once, for every endpoint."""
    key = stack.create_key("--agent", "trader")
    with stack.http(key) as http:
        assert http.get("/outcomes").status_code == 200
        stack.admin("keys", "revoke", key.key_id)
        for response in (
            http.get("/outcomes"),
            http.get("/approvals"),
            http.post("/actions", json=submission()),
        ):
            problem(response, 401, "api_key_invalid", "revoked")


def test_a_reviewer_is_no_agent(alex: httpx2.Client, ask: Asking) -> None:
    """A reviewer's key submits nothing, withdraws nothing, answers for no agent."""
    approval = ask()
    for response in (
        alex.post("/actions", json=submission()),
        alex.post("/request-approval", json={"title": "x", "agent_id": "trader"}),
        alex.get("/outcomes"),
        alex.get(f"/actions/{new_id('act')}"),
        alex.delete(f"/approvals/{approval['id']}"),
        alex.post(f"/approvals/{approval['id']}/answers", json={"answer": "x"}),
    ):
        problem(response, 403, "wrong_scope")


def test_an_agent_is_no_reviewer(stack: Stack, agent: httpx2.Client, ask: Asking) -> None:
    """An agent's key, even one for any agent, decides nothing."""
    approval = ask()
    shown = {"version": 1, "digest": approval["digest"]}
    for response in ("approve", "modify", "reject", "ask"):
        body = {**shown, "response": response, "comments": "x"}
        answer = agent.post(f"/approvals/{approval['id']}/responses", json=body)
        problem(answer, 403, "wrong_scope")
    assert len(_decisions(stack, approval["id"])) == 0


def test_a_key_speaks_only_for_its_agents(other: httpx2.Client) -> None:
    for response in (
        other.post("/actions", json=submission()),
        other.post("/request-approval", json={"title": "x", "agent_id": "trader"}),
        other.get("/approvals", params={"agent_id": "trader"}),
    ):
        problem(response, 403, "foreign_agent", "trader")


def test_a_foreign_agents_records_are_not_found(
    stack: Stack, agent: httpx2.Client, other: httpx2.Client, ask: Asking
) -> None:
    """As if they were not there: neither read, nor withdrawn, nor answered."""
    approval = ask()
    action = agent.post("/actions", json=submission(action_type="wipe")).json()
    unknown = other.get(f"/approvals/{new_id('apr')}").json()
    for response in (
        other.get(f"/approvals/{approval['id']}"),
        other.get(f"/approvals/{approval['id']}/history"),
        other.delete(f"/approvals/{approval['id']}"),
        other.post(f"/approvals/{approval['id']}/answers", json={"answer": "x"}),
        other.get(f"/actions/{action['id']}"),
        other.delete(f"/approvals/{action['id'].replace('act_', 'apr_')}"),
    ):
        assert problem(response, 404, "not_found")["title"] == unknown["title"]
    assert _events(stack, approval["id"]) - {"notified"} == {"opened"}
    assert agent.get(f"/actions/{action['id']}").json()["status"] == "PENDING"


def test_a_list_holds_only_ones_own(agent: httpx2.Client, other: httpx2.Client) -> None:
    """An agent's list of approvals holds no other agent's, however that one is named."""
    body = {"title": "x", "agent_id": "one-agent:status:PENDING"}
    assert agent.post("/request-approval", json=body).status_code == 202
    mine = other.post("/request-approval", json={"title": "x", "agent_id": "one-agent"}).json()
    for client in (agent, other):
        query: dict[str, str | int] = {"agent_id": "one-agent", "status": "PENDING", "limit": 200}
        page = client.get("/approvals", params=query).json()
        assert {approval["agent_id"] for approval in page["approvals"]} == {"one-agent"}
        assert mine["id"] in {approval["id"] for approval in page["approvals"]}


# --- ids and queries ----------------------------------------------------------------------------

IDS = ["x", "apr_1", "APR_" + "0" * 32, "act_x", "%00", "..%2f..", "apr_" + "0" * 32, "%ED%A0%80"]
UNKNOWN = [f"{kind}_01900000000070008000000000000000" for kind in ("apr", "dlv")]
"""Well formed, but of nothing."""


@pytest.mark.parametrize("record_id", [*IDS, *UNKNOWN, "x" * 3000])
def test_an_unknown_or_malformed_id_is_not_found(
    agent: httpx2.Client, alex: httpx2.Client, record_id: str
) -> None:
    """404 whatever is done with it."""
    body = {"response": "approve", "version": 1}
    for response in (
        agent.get(f"/approvals/{record_id}"),
        agent.get(f"/approvals/{record_id}/history"),
        agent.delete(f"/approvals/{record_id}"),
        agent.post(f"/approvals/{record_id}/answers", json={"answer": "x"}),
        alex.post(f"/approvals/{record_id}/responses", json=body),
        agent.get(f"/actions/{record_id}"),
    ):
        problem(response, 404)


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/approvals", {"cursor": "x"}),
        ("/approvals", {"cursor": new_id("act")}),
        ("/approvals", {"status": "pending"}),
        ("/approvals", {"status": "MAYBE"}),
        ("/approvals", {"limit": "0"}),
        ("/approvals", {"limit": "201"}),
        ("/approvals", {"limit": "many"}),
        ("/approvals", {"agent_id": "x" * 201}),
        ("/outcomes", {"after": "x"}),
        ("/outcomes", {"after": "-"}),
        ("/outcomes", {"after": "1-2-3"}),
        ("/outcomes", {"after": "-1-0"}),
        ("/outcomes", {"after": "1-" + "9" * 40}),
        ("/outcomes", {"after": "٣-٣"}),
        ("/outcomes", {"after": "x" * 61}),
        ("/outcomes", {"after": ""}),
        ("/outcomes", {"after": "0-0", "wait": "61"}),
        ("/outcomes", {"after": "0-0", "wait": "-1"}),
        ("/outcomes", {"after": "0-0", "wait": "nan"}),
        ("/outcomes", {"after": "0-0", "wait": "inf"}),
        ("/outcomes", {"after": "0-0", "wait": "soon"}),
    ],
)
def test_a_bad_query_is_refused(agent: httpx2.Client, path: str, query: dict[str, str]) -> None:
    """422 that names the parameter."""
    named = "wait" if "wait" in query else next(iter(query))
    problem(agent.get(path, params=query), 422, None, named)


@pytest.mark.parametrize("cursor", ["18446744073709551615-0", "9999999999999999999-0"])
def test_a_cursor_beyond_what_the_store_knows_is_no_error_of_ours(
    agent: httpx2.Client, cursor: str
) -> None:
    """It is refused or answered with a gap."""
    response = agent.get("/outcomes", params={"after": cursor})
    assert response.status_code in (200, 422)


@pytest.mark.parametrize(
    ("method", "path"),
    [("PUT", "/actions"), ("DELETE", "/actions"), ("PATCH", "/approvals"), ("GET", "/nowhere")],
)
def test_a_wrong_method_or_path_is_a_problem_too(
    agent: httpx2.Client, method: str, path: str
) -> None:
    response = agent.request(method, path)
    problem(response, 404 if path == "/nowhere" else 405)


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_bad_idempotency_key_is_refused(agent: httpx2.Client, key: str) -> None:
    response = agent.post("/actions", json=submission(), headers={"Idempotency-Key": key})
    problem(response, 422, None, "dempotency")


# --- responses ----------------------------------------------------------------------------------


def _decisions(stack: Stack, approval_id: str) -> list[str]:
    known = {"opened", "notified", "asked", "answered", "action_closed"}
    return [line["event"] for line in stack.history(approval_id) if line["event"] not in known]


def _events(stack: Stack, approval_id: str) -> set[str]:
    return {line["event"] for line in stack.history(approval_id)}


REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "another version": ({"version": 2}, 409, "stale_version"),
    "another digest": ({"digest": "0" * 64}, 409, "stale_version"),
    "a digest that is none": ({"digest": "x"}, 422, "invalid_request"),
    "no version": ({"version": None}, 422, "invalid_request"),
    "a version as text": ({"version": "1"}, 422, "invalid_request"),
    "version 0": ({"version": 0}, 422, "invalid_request"),
    "a fractional version": ({"version": 1.5}, 422, "invalid_request"),
    "another word": ({"response": "yes"}, 422, "invalid_request"),
    "a word in capitals": ({"response": "APPROVE"}, 422, "invalid_request"),
    "no response": ({"response": None}, 422, "invalid_request"),
    "an unknown field": ({"force": True}, 422, "invalid_request"),
    "comments that are a list": ({"comments": ["x"]}, 422, "invalid_request"),
    "comments that are too long": ({"comments": "x" * 4001}, 422, "invalid_request"),
    "approve with changes": (
        {"modifications": {"amount": "1.00"}},
        422,
        "unexpected_modifications",
    ),
    "a field that may not be edited": (
        {"response": "modify", "modifications": {"payee": "Me"}},
        422,
        "not_editable",
    ),
    "a field that does not exist": (
        {"response": "modify", "modifications": {"fee": "1.00"}},
        422,
        "not_editable",
    ),
    "the action type": (
        {"response": "modify", "modifications": {"action_type": "read_x"}},
        422,
        "not_editable",
    ),
    "a wrong type": (
        {"response": "modify", "modifications": {"amount": 5}},
        422,
        "wrong_type",
    ),
    "no change": (
        {"response": "modify", "modifications": {"amount": "2500.0"}},
        422,
        "nothing_changed",
    ),
    "modify without a change": ({"response": "modify"}, 422, "nothing_changed"),
    "modifications that are a list": (
        {"response": "modify", "modifications": [1]},
        422,
        "invalid_request",
    ),
    "modifications too deep": (
        {"response": "modify", "modifications": {"amount": json.loads("[" * 40 + "]" * 40)}},
        422,
        "invalid_request",
    ),
    "a question without words": ({"response": "ask"}, 422, "comments_required"),
}


@pytest.fixture(scope="module")
def standing(ask: Asking) -> dict[str, Any]:
    """An approval that every refused response leaves as it is."""
    return ask({"amount": "2500.00", "payee": "ACME", "action_type": "transaction"})


@pytest.mark.parametrize("name", REFUSED)
def test_a_response_that_does_not_fit_changes_nothing(
    stack: Stack, alex: httpx2.Client, standing: dict[str, Any], name: str
) -> None:
    """Each is refused with its reason; the approval stands as it stood."""
    changes, status, code = REFUSED[name]
    shown = {"response": "approve", "version": 1, "digest": standing["digest"]}
    url = f"/approvals/{standing['id']}"
    problem(alex.post(f"{url}/responses", json={**shown, **changes}), status, code)
    view = alex.get(url).json()
    assert (view["status"], view["version"], view["questions"]) == ("PENDING", 1, [])
    assert _events(stack, standing["id"]) <= {"opened", "notified"}


def test_a_closed_approval_takes_no_response_and_says_who_closed_it(
    stack: Stack, ask: Asking
) -> None:
    """The loser gets 409, is told who was first, and changes nothing."""
    approval_id = ask()["id"]
    assert stack.respond(approval_id, "alex", response="approve").status_code == 200
    for response in ("approve", "reject", "ask"):
        refused = stack.respond(approval_id, "sam", response=response, comments="late")
        document = problem(refused, 409, "already_decided", "alex")
        assert document["outcome"]["status"] == "APPROVED"
    assert _decisions(stack, approval_id) == ["approved"]


def test_who_is_not_in_the_group_may_not_answer(stack: Stack, ask: Asking) -> None:
    approval = ask()
    with stack.http(stack.reviewer_keys["lee"]) as http:
        body = {"response": "approve", "version": 1, "digest": approval["digest"]}
        answer = http.post(f"/approvals/{approval['id']}/responses", json=body)
        unknown = http.post(f"/approvals/{UNKNOWN[0]}/responses", json=body)
        said = problem(answer, 404, "not_found")["detail"]
        # As of one that is not there.
        assert said.replace(approval["id"], UNKNOWN[0]) == problem(unknown, 404)["detail"]
        problem(http.get(f"/approvals/{approval['id']}"), 404)
        assert http.get("/approvals").json()["approvals"] == []
    assert _decisions(stack, approval["id"]) == []


def test_whoever_asked_may_not_answer(stack: Stack, other: httpx2.Client, ask: Asking) -> None:
    """Neither the owner of the agent's key, nor the person the agent acts for, nor the agent."""
    owned = other.post("/request-approval", json={"title": "x", "agent_id": "one-agent"}).json()
    for approval, reviewer in (
        (owned, "sam"),
        (ask(on_behalf_of="alex"), "alex"),
        (ask(agent_id="alex"), "alex"),
    ):
        problem(stack.respond(approval["id"], reviewer, response="approve"), 403, "self_approval")
        assert _decisions(stack, approval["id"]) == []


def test_of_many_responses_at_once_one_decides(stack: Stack, ask: Asking) -> None:
    """Thirty at once by two reviewers, through the real gateway: one decision in the history, and
    nobody is told that both won."""
    approval = ask()
    shown = {"version": 1, "digest": approval["digest"]}

    def answer(number: int) -> tuple[str, httpx2.Response]:
        name, kind = (("alex", "approve"), ("sam", "reject"))[number % 2]
        with stack.http(stack.reviewer_keys[name]) as http:
            body = {**shown, "response": kind}
            return name, http.post(f"/approvals/{approval['id']}/responses", json=body)

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(answer, range(30)))
    won = {name for name, response in answers if response.status_code == 200}
    assert len(won) == 1
    for name, response in answers:
        if name not in won:
            problem(response, 409, "already_decided", *won)
    assert len(_decisions(stack, approval["id"])) == 1


def test_an_answer_without_a_question_is_refused(agent: httpx2.Client, ask: Asking) -> None:
    url = f"/approvals/{ask()['id']}/answers"
    problem(agent.post(url, json={"answer": "because"}), 409, "no_question")
    problem(agent.post(url, json={"answer": ""}), 422, "invalid_request", "answer")
    problem(agent.post(url, json={"answer": "x", "context": [1]}), 422, None, "context")


def test_withdrawing_twice_is_no_error_and_a_decision_is_not_withdrawn(
    stack: Stack, agent: httpx2.Client, ask: Asking
) -> None:
    withdrawn, decided = ask()["id"], ask()["id"]
    assert [agent.delete(f"/approvals/{withdrawn}").status_code for _ in range(2)] == [204, 204]
    assert stack.respond(decided, response="approve").status_code == 200
    problem(agent.delete(f"/approvals/{decided}"), 409, "already_decided", "alex")
    assert _decisions(stack, withdrawn) == ["cancelled"]


def test_modifications_that_make_it_too_large_are_refused(stack: Stack, ask: Asking) -> None:
    """What would be approved has to fit too."""
    approval_id = ask({"a": "x" * 150_000, "b": "short"})["id"]
    response = stack.respond(approval_id, response="modify", modifications={"b": "y" * 150_000})
    problem(response, 422)
    assert _decisions(stack, approval_id) == []
