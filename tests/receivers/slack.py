"""A stand-in of Slack: its Web API on a real socket, and people who click and submit.

with SlackApi() as slack:
    …                                    # a channel with slack.config() posts
    message = slack.wait_for_message(lambda message: "Pay" in message.words)
    slack.gateway_url = "http://127.0.0.1:8000/api/v1/slack/interactions"
    slack.click(message, "approve", user="U0ALEX")
"""

from __future__ import annotations

import itertools
import json
import secrets
import threading
import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2
from slack_sdk.signature import SignatureVerifier

from tests.receivers import block_kit
from tests.receivers.collected import Collected
from tests.receivers.http import Answer, HttpReceiver

TRIGGER_SECONDS = 3

_COMMON = {"channel", "text", "blocks", "attachments", "as_user", "link_names", "parse"}
_COMMON |= {"metadata", "markdown_text"}
_POSTED = _COMMON | {"thread_ts", "icon_emoji", "icon_url", "username"}
_ARGUMENTS = {
    "auth.test": set(),
    "chat.postMessage": _POSTED | {"mrkdwn", "reply_broadcast", "unfurl_links", "unfurl_media"},
    "chat.update": _COMMON | {"ts", "file_ids", "reply_broadcast"},
    "chat.postEphemeral": _POSTED | {"user"},
    "views.open": {"trigger_id", "view", "interactivity_pointer"},
}


@dataclass
class SlackMessage:
    """A message as Slack keeps it.

    Attributes:
        arguments: of the call that posted it.
        updates: how often it was changed.
    """

    channel: str
    ts: str
    text: str
    blocks: list[dict[str, Any]]
    arguments: dict[str, Any]
    updates: int = 0

    @property
    def words(self) -> str:
        """All that it shows."""
        return block_kit.words(self.blocks)

    @property
    def buttons(self) -> list[str]:
        """The action ids of what can be pressed, in order."""
        return [element["action_id"] for _, element in block_kit.elements(self.blocks)]


@dataclass(frozen=True)
class Ephemeral:
    """Words that one user alone was shown."""

    channel: str
    user: str
    text: str
    words: str


@dataclass(frozen=True)
class OpenView:
    """A modal that was opened."""

    id: str
    user: str
    view: dict[str, Any]

    @property
    def words(self) -> str:
        """All that it shows, without what stands in its inputs."""
        return block_kit.words(self.view)

    def inputs(self) -> dict[str, dict[str, Any]]:
        """Return its inputs by their block ids."""
        return {b["block_id"]: b for b in self.view["blocks"] if b["type"] == "input"}


@dataclass(frozen=True)
class Submitted:
    """What the gateway answered to a form.

    Attributes:
        errors: by block id.
        view: the one that took its place, or None.
        is_closed: whether it was closed.
    """

    status: int
    seconds: float
    errors: dict[str, str] = field(default_factory=dict)
    view: OpenView | None = None
    is_closed: bool = False


class SlackApi(HttpReceiver):
    """Slack's Web API for one app in one workspace; strict, as Slack is."""

    def __init__(self) -> None:
        super().__init__()
        self.token = f"xoxb-1111-2222-{secrets.token_hex(12)}"
        self.signing_secret = secrets.token_hex(16)
        self.team_id = "T0WORKSPACE"
        self.app_id = "A0SAFEGUARDS"
        self.gateway_url = ""
        self.channels = {"C0APPROVALS": "approvals", "C0OTHER": "other"}
        self.archived: set[str] = set()
        self.strangers: set[str] = set()
        """Channels that the bot is not in."""
        self.messages: dict[tuple[str, str], SlackMessage] = {}
        self.posted = Collected[SlackMessage]()
        self.ephemerals = Collected[Ephemeral]()
        self.views = Collected[OpenView]()
        self.refused: list[tuple[str, str]] = []
        """The calls that were refused: method and error."""
        self._triggers: dict[str, tuple[str, float]] = {}
        self._spent: set[str] = set()
        self._ids = itertools.count(1)
        self._changed = threading.Condition()

    @property
    def api_url(self) -> str:
        """What a channel is given as `api_url`."""
        return self.url("/api/")

    def config(self, **changes: Any) -> dict[str, Any]:
        """Return the configuration of a channel for it."""
        given = {
            "bot_token": self.token,
            "signing_secret": self.signing_secret,
            "api_url": self.api_url,
            "channel": "#approvals",
        }
        merged = {**given, **changes}
        return {name: value for name, value in merged.items() if value is not None}

    def refuse(self, error: str, **more: Any) -> None:
        """Answer one more call with an error of Slack's."""
        self.answer(
            headers={"Content-Type": "application/json"},
            body=json.dumps({"ok": False, "error": error, **more}).encode(),
        )

    def message(self, reference: str) -> SlackMessage:
        """Return the message under a reference `<channel>:<ts>`."""
        channel, ts = reference.split(":")
        return self.messages[channel, ts]

    def wait_for_message(
        self, predicate: Callable[[SlackMessage], bool] = lambda _: True, timeout: float = 10
    ) -> SlackMessage:
        """Return the first message that satisfies `predicate`, as it was posted or has become."""
        with self._changed:
            found: list[SlackMessage] = []

            def is_there() -> bool:
                found[:] = [m for m in self.messages.values() if predicate(m)]
                return bool(found)

            if not self._changed.wait_for(is_there, timeout):
                raise AssertionError(f"no such message in {timeout} s: {self.messages!r}")
            return found[0]

    # What people do.

    def click(
        self, message: SlackMessage, action_id: str, user: str, *, nth: int = 0, **changes: Any
    ) -> httpx2.Response:
        """Press a button of a message; return the gateway's answer."""
        return self.post_signed(self.click_payload(message, action_id, user, nth=nth, **changes))

    def click_payload(
        self, message: SlackMessage, action_id: str, user: str, *, nth: int = 0, **changes: Any
    ) -> dict[str, Any]:
        """Return what Slack sends when a button is pressed, with a fresh trigger."""
        held = [
            (block, element)
            for block, element in block_kit.elements(message.blocks)
            if element["action_id"] == action_id
        ]
        block, button = held[nth]
        action = {
            "action_id": action_id,
            "block_id": block["block_id"],
            "text": button["text"],
            "type": "button",
            "action_ts": f"{time.time():.6f}",
        }
        action |= {name: button[name] for name in ("value", "style", "url") if name in button}
        payload = {
            "type": "block_actions",
            **self._who(user),
            "container": {
                "type": "message",
                "message_ts": message.ts,
                "channel_id": message.channel,
                "is_ephemeral": False,
            },
            "trigger_id": self.trigger(user),
            "channel": {"id": message.channel, "name": self.channels.get(message.channel, "dm")},
            "message": {
                "type": "message",
                "ts": message.ts,
                "text": message.text,
                "blocks": message.blocks,
            },
            "state": {"values": {}},
            "response_url": "https://hooks.slack.com/actions/T0/1/x",
            "actions": [action],
        }
        return {**payload, **changes}

    def submit(
        self, opened: OpenView, values: dict[str, str] | None = None, user: str | None = None
    ) -> Submitted:
        """Fill in a modal and submit it.

        Args:
            opened: the modal.
            values: what is typed or chosen, by block id; the others stay as they are shown.
            user: who; whoever opened it unless given.
        """
        state = self.state(opened, values or {})
        view = {
            **opened.view,
            "id": opened.id,
            "team_id": self.team_id,
            "state": {"values": state},
            "hash": f"{time.time():.6f}.x",
            "root_view_id": opened.id,
            "previous_view_id": None,
            "app_id": self.app_id,
            "bot_id": "B0SAFEGUARDS",
        }
        user = user or opened.user
        payload = {
            "type": "view_submission",
            **self._who(user),
            "trigger_id": self.trigger(user),
            "view": view,
            "response_urls": [],
            "is_enterprise_install": False,
            "enterprise": None,
        }
        began = time.monotonic()
        answer = self.post_signed(payload)
        seconds = time.monotonic() - began
        return self._submitted(opened, answer, seconds)

    def _submitted(self, opened: OpenView, answer: httpx2.Response, seconds: float) -> Submitted:
        if answer.status_code != 200 or not answer.content:
            is_closed = answer.status_code == 200
            return Submitted(answer.status_code, seconds, is_closed=is_closed)
        body = answer.json()
        if body["response_action"] == "errors":
            assert body["errors"], "errors: none given"
            assert set(body["errors"]) <= set(opened.inputs()), body
            return Submitted(200, seconds, body["errors"])
        assert body["response_action"] == "update", body
        assert block_kit.view_problems(body["view"]) == []
        shown = OpenView(opened.id, opened.user, body["view"])
        return Submitted(200, seconds, view=shown)

    @staticmethod
    def state(opened: OpenView, values: dict[str, str]) -> dict[str, Any]:
        """Return a form's state as Slack sends it; a client of Slack holds to its limits."""
        inputs = opened.inputs()
        assert set(values) <= set(inputs), f"no such inputs: {set(values) - set(inputs)}"
        state = {}
        for block_id, block in inputs.items():
            element = block["element"]
            kind, action_id = element["type"], element["action_id"]
            held: dict[str, Any] = {"type": kind}
            if kind == "plain_text_input":
                text = values.get(block_id, element.get("initial_value", ""))
                assert len(text) <= element.get("max_length", 3000)
                held["value"] = text or None
                is_empty = not text
            else:
                options = {option["value"]: option for option in element["options"]}
                chosen = values.get(block_id, element.get("initial_option", {}).get("value", ""))
                held["selected_option"] = options[chosen] if chosen else None
                is_empty = not chosen
            assert block.get("optional") or not is_empty, f"{block_id} is needed"
            state[block_id] = {action_id: held}
        return state

    def trigger(self, user: str) -> str:
        """Return a trigger that opens one view within three seconds."""
        trigger_id = f"{next(self._ids)}.{self.team_id}.{secrets.token_hex(8)}"
        self._triggers[trigger_id] = (user, time.monotonic())
        return trigger_id

    def expire_triggers(self) -> None:
        """Let the three seconds of all triggers be over."""
        self._triggers = {name: (user, -10.0) for name, (user, _) in self._triggers.items()}

    def post_signed(self, payload: dict[str, Any]) -> httpx2.Response:
        """Post an interaction as Slack does: form-encoded and signed."""
        body = urllib.parse.urlencode({"payload": json.dumps(payload)}).encode()
        return self.post(body, self.signature(body))

    def post(self, body: bytes, headers: dict[str, str]) -> httpx2.Response:
        """Post bytes to the gateway."""
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        with httpx2.Client(timeout=10, verify=False) as client:
            return client.post(self.gateway_url, content=body, headers={**form, **headers})

    def signature(
        self, body: bytes, *, at: float | None = None, secret: str | None = None
    ) -> dict[str, str]:
        """Return the headers with which Slack signs a body (scheme v0)."""
        timestamp = str(int(time.time() if at is None else at))
        verifier = SignatureVerifier(secret or self.signing_secret)
        signed = verifier.generate_signature(timestamp=timestamp, body=body)
        assert signed is not None
        return {"X-Slack-Request-Timestamp": timestamp, "X-Slack-Signature": signed}

    def _who(self, user: str) -> dict[str, Any]:
        return {
            "user": {"id": user, "username": "x", "name": "x", "team_id": self.team_id},
            "api_app_id": self.app_id,
            "token": "verification-token",
            "team": {"id": self.team_id, "domain": "workspace"},
        }

    # The Web API.

    def _answer_to(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Answer:
        if self._answers:
            return self._next_answer()
        called = path.removeprefix("/api/")
        if method != "POST" or called not in _ARGUMENTS:
            return _json(self._no(called, "unknown_method"))
        if not headers.get("authorization"):
            return _json(self._no(called, "not_authed"))
        if headers["authorization"] != f"Bearer {self.token}":
            return _json(self._no(called, "invalid_auth"))
        arguments = _arguments(headers.get("content-type", ""), body)
        if arguments is None:
            return _json(self._no(called, "invalid_json"))
        unknown = set(arguments) - _ARGUMENTS[called]
        if unknown or any(value is None for value in arguments.values()):
            return _json(self._no(called, "invalid_arguments", messages=sorted(unknown)))
        handlers = {
            "auth.test": self._auth_test,
            "chat.postMessage": self._post_message,
            "chat.update": self._update,
            "chat.postEphemeral": self._post_ephemeral,
            "views.open": self._open,
        }
        with self._changed:
            done = handlers[called](arguments)
            self._changed.notify_all()
        return _json(done)

    def _no(self, method: str, error: str, **more: Any) -> dict[str, Any]:
        self.refused.append((method, f"{error} {more}".removesuffix(" {}")))
        return {"ok": False, "error": error, **more}

    def _auth_test(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"ok": True, "team_id": self.team_id, "user_id": "U0BOT", "bot_id": "B0SAFEGUARDS"}

    def _place(self, channel: Any) -> tuple[str, str]:
        """Return a channel's id, and why nothing can be posted there, or an empty string."""
        name = str(channel)
        if name.startswith("U"):
            return f"D{name[1:]}", ""
        known = {f"#{title}": place for place, title in self.channels.items()}
        place = known.get(name, name)
        if place not in self.channels and not place.startswith("D"):
            return place, "channel_not_found"
        if place in self.archived:
            return place, "is_archived"
        return place, "not_in_channel" if place in self.strangers else ""

    def _content(self, method: str, arguments: dict[str, Any]) -> dict[str, Any] | None:
        """Return the refusal of a message's text and blocks, or None."""
        if not arguments.get("text") and not arguments.get("blocks"):
            return self._no(method, "no_text")
        if len(arguments.get("text", "")) > 40_000:
            return self._no(method, "msg_too_long")
        blocks = arguments.get("blocks")
        if blocks is None:
            return None
        found = block_kit.problems(blocks)
        if found:
            return self._no(method, "invalid_blocks", errors=found)
        if len(json.dumps(blocks, ensure_ascii=False)) > block_kit.MESSAGE_CHARACTERS:
            return self._no(method, "msg_blocks_too_long")
        return None

    def _post_message(self, arguments: dict[str, Any]) -> dict[str, Any]:
        place, error = self._place(arguments.get("channel"))
        if error:
            return self._no("chat.postMessage", error)
        refusal = self._content("chat.postMessage", arguments)
        if refusal is not None:
            return refusal
        thread = arguments.get("thread_ts")
        if thread is not None and (place, thread) not in self.messages:
            return self._no("chat.postMessage", "thread_not_found")
        ts = f"{int(time.time())}.{next(self._ids):06d}"
        blocks = self._kept(arguments.get("blocks", []))
        message = SlackMessage(place, ts, arguments.get("text", ""), blocks, arguments)
        self.messages[place, ts] = message
        self.posted.add(message)
        return {"ok": True, "channel": place, "ts": ts, "message": {"ts": ts, "blocks": blocks}}

    def _update(self, arguments: dict[str, Any]) -> dict[str, Any]:
        place, ts = str(arguments.get("channel")), str(arguments.get("ts"))
        if place not in self.channels and not place.startswith("D"):
            return self._no("chat.update", "channel_not_found")
        message = self.messages.get((place, ts))
        if message is None:
            return self._no("chat.update", "message_not_found")
        refusal = self._content("chat.update", arguments)
        if refusal is not None:
            return refusal
        message.text = arguments.get("text", "")
        message.blocks = self._kept(arguments.get("blocks", message.blocks))
        message.updates += 1
        return {"ok": True, "channel": place, "ts": ts, "text": message.text}

    def _post_ephemeral(self, arguments: dict[str, Any]) -> dict[str, Any]:
        place, error = self._place(arguments.get("channel"))
        refusal = self._no("chat.postEphemeral", error) if error else None
        refusal = refusal or self._content("chat.postEphemeral", arguments)
        if refusal is not None:
            return refusal
        words = block_kit.words(arguments.get("blocks", []))
        user, text = str(arguments.get("user")), arguments.get("text", "")
        self.ephemerals.add(Ephemeral(place, user, text, words))
        return {"ok": True, "message_ts": f"{int(time.time())}.{next(self._ids):06d}"}

    def _open(self, arguments: dict[str, Any]) -> dict[str, Any]:
        trigger_id = arguments.get("trigger_id")
        if trigger_id in self._spent:
            return self._no("views.open", "exchanged_trigger_id")
        user, made_at = self._triggers.get(str(trigger_id), ("", 0.0))
        if not user:
            return self._no("views.open", "invalid_trigger_id")
        if time.monotonic() - made_at > TRIGGER_SECONDS:
            return self._no("views.open", "expired_trigger_id")
        found = block_kit.view_problems(arguments.get("view"))
        if "view_too_large" in found:
            return self._no("views.open", "view_too_large")
        if found:
            messages = {"messages": found}
            return self._no("views.open", "invalid_arguments", response_metadata=messages)
        self._spent.add(str(trigger_id))
        opened = OpenView(f"V{next(self._ids):08d}", user, arguments["view"])
        self.views.add(opened)
        return {"ok": True, "view": {**opened.view, "id": opened.id}}

    def _kept(self, blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return blocks as Slack keeps them: each with an id."""
        return [{"block_id": f"b{next(self._ids)}", **block} for block in blocks]


def _arguments(content_type: str, body: bytes) -> dict[str, Any] | None:
    """Return the arguments of a call, or None if they cannot be read."""
    kind = content_type.partition(";")[0].strip()
    try:
        if kind == "application/json":
            given = json.loads(body.decode("utf-8"))
            return given if isinstance(given, dict) else None
        if kind == "application/x-www-form-urlencoded":
            form = dict(urllib.parse.parse_qsl(body.decode("utf-8"), keep_blank_values=True))
            return {
                name: json.loads(value) if name in ("blocks", "view") else value
                for name, value in form.items()
            }
    except ValueError:
        return None
    return None


def _json(data: dict[str, Any]) -> Answer:
    headers = {"Content-Type": "application/json; charset=utf-8"}
    return Answer(200, headers, json.dumps(data).encode())
