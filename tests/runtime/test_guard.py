"""What is no message of ours is set aside where an operator sees it, and the worker goes on."""

from __future__ import annotations

import base64
import gzip
import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from safeguards.contracts import ActionSubmission
from safeguards.identifiers import new_id
from safeguards.publication import Publication, sign_publication
from safeguards_runtime.guard import MAX_IDS, MAX_MESSAGE_BYTES, defect
from safeguards_runtime.store.encoding import index_key, record_key
from safeguards_runtime.topology import QUEUE_OF, Queue, Task
from tests.deploy.running import eventually
from tests.stack import Key, Stack

EMBED = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
QUEUE = Queue.APPROVALS.value


def envelope(
    ids: Any = None, *, task: str = Task.ADVANCE, queue: str = QUEUE, body: bytes | None = None
) -> dict[str, Any]:
    """Return a message as Kombu puts it on the broker: Celery's protocol 2, body in base64."""
    if body is None:
        body = json.dumps([[[new_id("apr")] if ids is None else ids], {}, EMBED]).encode()
    task_id = str(uuid.uuid4())
    return {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": {
            "lang": "py",
            "task": task,
            "id": task_id,
            "root_id": task_id,
            "parent_id": None,
            "group": None,
            "argsrepr": "-",
            "kwargsrepr": "{}",
            "origin": "test",
            "retries": 0,
            "timelimit": [None, None],
            "eta": None,
            "expires": None,
        },
        "properties": {
            "correlation_id": task_id,
            "reply_to": "",
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid.uuid4()),
        },
    }


def _with(section: str, **changes: Any) -> bytes:
    message = envelope()
    message[section].update(changes)
    return json.dumps(message).encode()


def _top(**changes: Any) -> bytes:
    return json.dumps({**envelope(), **changes}).encode()


def _without(section: str | None, name: str) -> bytes:
    message = envelope()
    del (message if section is None else message[section])[name]
    return json.dumps(message).encode()


def _body(body: Any) -> bytes:
    return json.dumps(envelope(body=json.dumps(body).encode())).encode()


def _ids(*ids: Any) -> bytes:
    return json.dumps(envelope(list(ids))).encode()


APPROVAL = new_id("apr")

MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "garbage": b"\xff\xfe\x00garbage\x1b[2J",
    "text": b"hello",
    "a list": b"[1, 2]",
    "null": b"null",
    "a number": b"5",
    "an empty object": b"{}",
    "headers that are a list": _top(headers=[1]),
    "headers that are null": _top(headers=None),
    "properties that are text": _top(properties="x"),
    "no body": _without(None, "body"),
    "no task": _without("headers", "task"),
    "no id": _without("headers", "id"),
    "no delivery tag": _without("properties", "delivery_tag"),
    "a body that is no base64": _top(body="{not base64}"),
    "a body that is null": _top(body=None),
    "a body in plain text": _with("properties", body_encoding="utf-8"),
    "a compressed body": _with("headers", compression="application/x-gzip"),
    "a pickle": _top(**{"content-type": "application/x-python-serialize"}),
    "gzip": json.dumps(envelope(body=gzip.compress(b"[[[]], {}, {}]"))).encode(),
    "a body in UTF-16": json.dumps(
        envelope(body=json.dumps([[[APPROVAL]], {}, EMBED]).encode("utf-16"))
    ).encode(),
    "too large": json.dumps(envelope([APPROVAL] * 30_000)).encode(),
    "the task of another queue": json.dumps(envelope(task=Task.EVALUATE)).encode(),
    "an unknown task": json.dumps(envelope(task="os.system")).encode(),
    "a task that is a list": json.dumps(envelope(task=["x"])).encode(),  # type: ignore[arg-type]
    "the routing key of another queue": json.dumps(envelope(queue=Queue.ACTIONS)).encode(),
    "keyword arguments": _body([[[APPROVAL]], {"ids": [APPROVAL]}, EMBED]),
    "callbacks": _body([[[APPROVAL]], {}, {**EMBED, "callbacks": [{"task": "x"}]}]),
    "a chain": _body([[[APPROVAL]], {}, {**EMBED, "chain": [{"task": "x"}]}]),
    "a chord": _body([[[APPROVAL]], {}, {**EMBED, "chord": {"task": "x"}}]),
    "an embed that is null": _body([[[APPROVAL]], {}, None]),
    "two arguments": _body([[[APPROVAL], [APPROVAL]], {}, EMBED]),
    "no argument": _body([[], {}, EMBED]),
    "an argument that is text": _body([[APPROVAL], {}, EMBED]),
    "protocol 1": _body({"task": Task.ADVANCE, "args": [[APPROVAL]], "id": "x"}),
    "no ids": _ids(),
    "too many ids": _ids(*[APPROVAL] * (MAX_IDS + 1)),
    "an id that is a number": _ids(5),
    "an id that is null": _ids(None),
    "an id of another shape": _ids("apr_1"),
    "an id of an unknown kind": _ids("xyz_" + APPROVAL[4:]),
    "an id with a line break": _ids(APPROVAL + "\n"),
    "an id in capitals": _ids(APPROVAL.upper()),
    "a publication for the tracker": _ids("a.b.c"),
    "one wrong id among good ones": _ids(APPROVAL, APPROVAL, "x"),
    "deep nesting": b"[" * 200_000,
    "a deeply nested body": json.dumps(
        envelope(body=b'[[["' + APPROVAL.encode() + b'"]],{},' + b"[" * 100_000)
    ).encode(),
    "a huge number": b"9" * 10_000,
    # What Celery's consumer stumbles over, and takes the worker with it.
    "a time limit that is a number": _with("headers", timelimit=5),
    "time limits that are text": _with("headers", timelimit=["a", "b"]),
    "an ETA that is none": _with("headers", eta="garbage"),
    "an ETA that is a number": _with("headers", eta=5),
    "an ETA, which the transport cannot keep": _with("headers", eta="2099-01-01T00:00:00+00:00"),
    "an expiry that is none": _with("headers", expires="garbage"),
    "an expiry, at which a hint would be lost": _with("headers", expires="2001-01-01T00:00:00"),
    "stamps that are a number": _with("headers", stamped_headers=5),
    "a shadow that is an object": _with("headers", shadow={"a": 1}),
    "an unknown encoding": _top(**{"content-encoding": "bogus"}),
    "an encoding that is a number": _top(**{"content-encoding": 5}),
}


def test_our_own_messages_pass() -> None:
    """A hint for each task, with one id and with as many as there may be; a publication."""
    for task, queue in QUEUE_OF.items():
        for count in (1, MAX_IDS):
            message = envelope([new_id("apr")] * count, task=task, queue=queue)
            assert defect(json.dumps(message).encode(), queue) is None
    published = envelope(["ey.J.x"], task=Task.EVALUATE, queue=Queue.ACTIONS)
    assert defect(json.dumps(published).encode(), Queue.ACTIONS) is None


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_message_of_ours_has_a_defect(name: str) -> None:
    """Each has a reason, in few words."""
    reason = defect(MALFORMED[name], QUEUE)
    assert reason
    assert len(reason) <= 500


def test_the_size_is_looked_at_first() -> None:
    """What is too large is not even parsed."""
    assert "exceed" in str(defect(b"[" * (MAX_MESSAGE_BYTES + 1), QUEUE))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.binary(max_size=300))
def test_no_bytes_make_the_guard_raise(item: bytes) -> None:
    assert defect(item, QUEUE)


@given(
    st.sampled_from(["body", "content-type", "content-encoding", "headers", "properties"]),
    st.sampled_from([None, "task", "id", "delivery_info", "delivery_tag", "timelimit"]),
    JSON,
)
def test_no_json_makes_the_guard_raise(section: str, name: str | None, value: Any) -> None:
    """Any JSON in any place of a message: a reason or None, never an error."""
    message = envelope()
    if name is not None and isinstance(message[section], dict):
        message[section][name] = value
    else:
        message[section] = value
    defect(json.dumps(message).encode(), QUEUE)


@given(JSON)
def test_no_body_makes_the_guard_raise(body: Any) -> None:
    assert defect(json.dumps(envelope(body=json.dumps(body).encode())).encode(), QUEUE)


# --- on the real broker -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def broker(stack: Stack) -> Iterator[redis.Redis]:
    """The broker of the running stack."""
    client = redis.Redis.from_url(stack.setting("SAFEGUARDS_BROKER_URL"))
    yield client
    client.close()


def _held(stack: Stack) -> list[dict[str, Any]]:
    """Return what is set aside, read from the store (a command for each look would be slow)."""
    with redis.Redis.from_url(stack.setting("SAFEGUARDS_STORE_URL")) as store:
        ids = [i.decode() for i in store.zrange(index_key("set_aside:HELD"), 0, -1)]
        bodies = [store.hget(record_key(record_id), "b") for record_id in ids]
    return [{"message_id": i, **json.loads(body)} for i, body in zip(ids, bodies, strict=True)]


def _wait_for_held(stack: Stack, known: set[str], count: int) -> list[dict[str, Any]]:
    """Return what was set aside since, as soon as there are `count`."""
    found: list[dict[str, Any]] = []

    def are_there() -> bool:
        found[:] = [row for row in _held(stack) if row["message_id"] not in known]
        return len(found) >= count

    eventually(are_there, f"{count} messages are set aside")
    assert len(found) == count
    return found


def _known(stack: Stack) -> set[str]:
    return {row["message_id"] for row in _held(stack)}


def _goes_on(stack: Stack) -> None:
    """Check that an action still goes all the way through evaluator and tracker."""
    agent = stack.client()
    action = agent.submit("trader", "transaction", {"amount": "5000.00"})
    eventually(
        lambda: stack.respond(action.id.replace("act_", "apr_"), response="approve").is_success,
        "the approval is opened and answered",
    )
    assert agent.wait(action, 10).status == "APPROVED"


def test_every_malformed_message_is_set_aside_and_the_workers_go_on(
    stack: Stack, broker: redis.Redis
) -> None:
    """All of them on the tracker's queue, and garbage on every other queue: each is seen by an
    operator with its queue and its reason, no worker is started anew, and actions still go all
    the way."""
    items = {name: item for name, item in MALFORMED.items() if defect(item, QUEUE)}
    services = ("safeguard-evaluator", "approval-tracker", "notifier")
    processes = {name: stack.process_id(name) for name in services}
    known = _known(stack)
    others = [queue for queue in Queue if queue != QUEUE]
    for item in items.values():
        broker.lpush(QUEUE, item)
    for queue in others:
        broker.lpush(queue.value, b"garbage for " + queue.encode())
    held = _wait_for_held(stack, known, len(items) + len(others))
    listed = json.loads(stack.admin("messages", "list", "--json"))
    assert {row["message_id"] for row in held} <= {row["message_id"] for row in listed}
    assert {row["queue"] for row in held} == set(Queue)
    assert all(row["reason"] for row in held)
    assert sorted(row["size_bytes"] for row in held if row["queue"] == QUEUE) == sorted(
        map(len, items.values())
    )
    _goes_on(stack)
    assert {name: stack.process_id(name) for name in services} == processes


@pytest.mark.parametrize(
    ("queue", "item"),
    [
        (Queue.APPROVALS, b"\xff\xfe garbage"),
        (Queue.ACTIONS, b'{"not": "ours"}'),
        (Queue.ACTIONS, b"[1, 2]"),
        (Queue.ACTIONS, b"\xff\xfe garbage"),
    ],
)
def test_a_message_is_shown_and_replayed_as_it_came(
    stack: Stack, broker: redis.Redis, queue: Queue, item: bytes
) -> None:
    """Replaying puts the very bytes back on the queue; they are still no message of ours, so they
    are set aside anew, the same as before."""
    known = _known(stack)
    broker.lpush(queue.value, item)
    (row,) = _wait_for_held(stack, known, 1)
    known.add(row["message_id"])
    shown = stack.admin("messages", "show", row["message_id"])
    assert shown.rstrip("\n") == item.decode("utf-8", "backslashreplace")
    stack.admin("messages", "replay", row["message_id"])
    (again,) = _wait_for_held(stack, known, 1)
    assert (again["queue"], again["size_bytes"]) == (queue.value, len(item))
    assert row["message_id"] not in _known(stack)


def test_what_is_shown_does_not_steer_the_terminal(stack: Stack, broker: redis.Redis) -> None:
    """Control characters of a hostile message are written out."""
    known = _known(stack)
    broker.lpush(QUEUE, "\x1b[2J\x07 \u202e hostile".encode())
    (row,) = _wait_for_held(stack, known, 1)
    shown = stack.admin("messages", "show", row["message_id"])
    assert "hostile" in shown
    assert not set(shown) & {"\x1b", "\x07", "\u202e"}


def test_a_message_that_was_discarded_is_not_replayed(stack: Stack, broker: redis.Redis) -> None:
    """It is no longer among those held, and stays on record as discarded."""
    known = _known(stack)
    broker.lpush(QUEUE, b"unwanted")
    (row,) = _wait_for_held(stack, known, 1)
    stack.admin("messages", "discard", row["message_id"])
    assert row["message_id"] not in _known(stack)
    discarded = json.loads(stack.admin("messages", "list", "--status", "DISCARDED", "--json"))
    assert row["message_id"] in {message["message_id"] for message in discarded}
    with pytest.raises(AssertionError, match="discarded already"):
        stack.admin("messages", "replay", row["message_id"])


# --- publications -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def publisher(stack: Stack) -> Key:
    """A key that signs, for one agent."""
    return stack.create_key("--agent", "publisher", "--signing")


def _publication(
    action_id: str | None = None, *, age: timedelta = timedelta(), **action: Any
) -> Publication:
    given = {"agent_id": "publisher", "action_type": "read_x", "context": {"n": 1}, **action}
    return Publication(
        id=action_id or new_id("act"),
        published_at=datetime.now(UTC) - age,
        action=ActionSubmission(**given),
    )


def _publish(broker: redis.Redis, *publications: str) -> None:
    message = envelope(list(publications), task=Task.EVALUATE, queue=Queue.ACTIONS)
    broker.lpush(Queue.ACTIONS.value, json.dumps(message).encode())


def _reason(stack: Stack, broker: redis.Redis, publication: str) -> str:
    """Return why a publication was set aside."""
    known = _known(stack)
    _publish(broker, publication)
    (row,) = _wait_for_held(stack, known, 1)
    assert row["queue"] == Queue.ACTIONS
    return str(row["reason"])


def _signing(key: Key) -> dict[str, Any]:
    assert key.signing_key is not None
    return key.signing_key


def _status(stack: Stack, action_id: str) -> int:
    with stack.http() as http:
        return http.get(f"/actions/{action_id}").status_code


def test_a_signed_publication_is_taken_in_once(
    stack: Stack, broker: redis.Redis, publisher: Key
) -> None:
    """Sent twice, also in one message: one action with one outcome."""
    published = _publication()
    compact = sign_publication(published, _signing(publisher))
    _publish(broker, compact, compact)
    _publish(broker, compact)
    with stack.http() as http:
        eventually(lambda: http.get(f"/actions/{published.id}").is_success, "it is known")
        view = http.get(f"/actions/{published.id}", params={"wait": 10}).json()
    assert (view["status"], view["agent_id"]) == ("APPROVED", "publisher")


def test_an_unsigned_publication_is_set_aside(stack: Stack, broker: redis.Redis) -> None:
    """Neither junk of that shape nor `alg: none` makes an action."""
    assert "no JWS" in _reason(stack, broker, "not.a.jws")
    published = _publication()
    header = {"alg": "none", "typ": "safeguards-action+jws", "kid": new_id("key")}
    parts = (json.dumps(header).encode(), published.model_dump_json().encode())
    unsigned = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    assert "Ed25519" in _reason(stack, broker, f"{unsigned}.")
    assert _status(stack, published.id) == 404


def test_a_publication_signed_with_another_key_is_set_aside(
    stack: Stack, broker: redis.Redis, publisher: Key
) -> None:
    """It names the agent's key, but the signature is somebody else's; or its content was changed
    after it was signed."""
    other = stack.create_key("--agent", "*", "--signing")
    published = _publication()
    forged = sign_publication(published, {**_signing(other), "kid": publisher.key_id})
    assert "signature" in _reason(stack, broker, forged)
    head, _, signature = sign_publication(published, _signing(publisher)).split(".")
    changed = published.model_dump(mode="json", exclude_defaults=True)
    changed["action"]["context"] = {"n": 2}
    body = base64.urlsafe_b64encode(json.dumps(changed).encode()).rstrip(b"=").decode()
    assert "signature" in _reason(stack, broker, f"{head}.{body}.{signature}")
    assert _status(stack, published.id) == 404


def test_a_publication_for_a_foreign_agent_is_set_aside(
    stack: Stack, broker: redis.Redis, publisher: Key
) -> None:
    published = _publication(agent_id="trader")
    reason = _reason(stack, broker, sign_publication(published, _signing(publisher)))
    assert "'trader'" in reason
    assert _status(stack, published.id) == 404


def test_a_publication_with_a_revoked_key_is_set_aside(stack: Stack, broker: redis.Redis) -> None:
    revoked = stack.create_key("--agent", "publisher", "--signing")
    stack.admin("keys", "revoke", revoked.key_id)
    published = _publication()
    assert "revoked" in _reason(stack, broker, sign_publication(published, _signing(revoked)))
    assert _status(stack, published.id) == 404


@pytest.mark.parametrize("age", [timedelta(hours=25), timedelta(minutes=-30)])
def test_a_publication_from_another_time_is_set_aside(
    stack: Stack, broker: redis.Redis, publisher: Key, age: timedelta
) -> None:
    """An old one that turns up again, or one from the future, is not taken in."""
    published = _publication(age=age)
    reason = _reason(stack, broker, sign_publication(published, _signing(publisher)))
    assert "published at" in reason
    assert _status(stack, published.id) == 404


def test_a_publication_under_a_used_id_is_set_aside(
    stack: Stack, broker: redis.Redis, publisher: Key
) -> None:
    """The action that stands under the id is not changed."""
    first = _publication()
    _publish(broker, sign_publication(first, _signing(publisher)))
    eventually(lambda: _status(stack, first.id) == 200, "the first is known")
    second = _publication(first.id, context={"n": 99})
    reason = _reason(stack, broker, sign_publication(second, _signing(publisher)))
    assert "identifiers are used once" in reason
    with stack.http() as http:
        assert http.get(f"/actions/{first.id}").json()["context"] == {"n": 1}


def test_a_publication_that_is_refused_again_is_held_again(
    stack: Stack, broker: redis.Redis
) -> None:
    """It is kept once, however often it comes; and an operator sees it until it is taken in."""
    known = _known(stack)
    for _ in range(3):
        _publish(broker, "is.no.publication")
    (row,) = _wait_for_held(stack, known, 1)
    stack.admin("messages", "replay", row["message_id"])
    eventually(lambda: row["message_id"] in _known(stack), "it is held again")
    stack.admin("messages", "discard", row["message_id"])


def test_a_good_publication_beside_a_bad_one_is_taken_in(
    stack: Stack, broker: redis.Redis, publisher: Key
) -> None:
    good = _publication()
    known = _known(stack)
    _publish(broker, "a.b.c", sign_publication(good, _signing(publisher)))
    _wait_for_held(stack, known, 1)
    eventually(lambda: _status(stack, good.id) == 200, "the good one is known")


def test_an_approval_of_one_thing_is_no_approval_of_another(
    stack: Stack, broker: redis.Redis, publisher: Key
) -> None:
    """An agent asks for something harmless, then publishes an action under the approval's twin id:
    the person's yes to the one must not become the outcome of the other."""
    with stack.http(publisher) as http:
        harmless = {"agent_id": "publisher", "title": "Read the weather", "metadata": {"n": 1}}
        approval_id = http.post("/request-approval", json=harmless).json()["id"]
        assert stack.respond(approval_id, response="approve").status_code == 200
        harmful = _publication(
            approval_id.replace("apr_", "act_"),
            action_type="transaction",
            context={"amount": "1000000.00"},
        )
        known = _known(stack)
        _publish(broker, sign_publication(harmful, _signing(publisher)))
        eventually(
            lambda: _status(stack, harmful.id) == 200 or bool(_known(stack) - known),
            "the publication is taken in or set aside",
        )
        answer = http.get(f"/actions/{harmful.id}", params={"wait": 1}).json()
    assert (answer.get("outcome") or {}).get("status") != "APPROVED"
    assert answer.get("status") != "APPROVED"
