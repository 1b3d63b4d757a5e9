"""The floor's Celery application: tasks as people write them, with nothing of ours in them."""

from __future__ import annotations

import os
import smtplib
from email.message import EmailMessage
from typing import Any

import requests
from celery import Celery

BROKER_URL = "FLOOR_BROKER_URL"
WEBHOOK_URL = "FLOOR_WEBHOOK_URL"
SMTP_PORT = "FLOOR_SMTP_PORT"

NOTHING = "floor.nothing"
ANSWER = "floor.answer"
POST = "floor.post"
MAIL = "floor.mail"

BODY = {
    "type": "approval.requested",
    "timestamp": "2026-11-22T11:50:23.558252Z",
    "data": {
        "approval_id": "apr_01a20317d6467c07a0c33bd89d0d9472",
        "agent_id": "bench",
        "action_type": "transaction",
        "title": "A large transaction",
        "version": 1,
        "digest": "109bea1871689d9eb5d98e918b940bab794467f32c8ad6a8eab6c1d9373b9e95",
        "expires_at": "2026-11-22T12:50:23.558252+00:00",
    },
}
"""A webhook of the size of ours."""

SLACK_BODY = {
    "text": "Approval needed: A large transaction",
    "blocks": [
        {"type": "header", "text": {"type": "plain_text", "text": "Approval needed"}},
        *(
            {"type": "section", "text": {"type": "plain_text", "text": f"A line of it. {n}" * 8}}
            for n in range(6)
        ),
    ],
}
"""A message to Slack of the size of ours."""

TEXT = "{subject}\n\nReview and answer:\n{link}\n\n" + "A line of what the agent wants.\n" * 9
HTML = "<h1>{subject}</h1>\n<a href='{link}'>Review</a>\n" + "<p>A line of the mail.</p>\n" * 210
"""A mail of the size of ours: half a kilobyte of text and six of HTML."""

_broker_url = os.environ.get(BROKER_URL, "memory://")
_webhook_url = os.environ.get(WEBHOOK_URL, "")
_smtp_port = int(os.environ.get(SMTP_PORT, "0"))

app = Celery("floor", broker=_broker_url, backend=_broker_url.replace("memory", "cache+memory"))
app.conf.broker_connection_retry_on_startup = True


@app.task(name=NOTHING, acks_late=True, ignore_result=True)
def nothing() -> None:
    """Do nothing."""


@app.task(name=ANSWER)
def answer(action: dict[str, Any]) -> str:
    """Give a verdict."""
    return "allow"


@app.task(name=POST, ignore_result=True)
def post(body: dict[str, Any]) -> None:
    """Post one webhook."""
    requests.post(_webhook_url, json=body, timeout=15).raise_for_status()


@app.task(name=MAIL, ignore_result=True)
def mail(to: str, subject: str, link: str) -> None:
    """Send one mail, over a connection of its own."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "sg@example.com", to, subject
    message.set_content(TEXT.format(subject=subject, link=link))
    message.add_alternative(HTML.format(subject=subject, link=link), subtype="html")
    # With a name, since looking up this machine's own can take seconds.
    with smtplib.SMTP("127.0.0.1", _smtp_port, "localhost", timeout=15) as smtp:
        smtp.send_message(message)
