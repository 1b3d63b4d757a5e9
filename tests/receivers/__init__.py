"""Real servers that tests send to: mail, HTTP and a stand-in of Slack, on free ports, in threads.

with SmtpServer() as smtp:
    …                                       # send to 127.0.0.1, smtp.port
    mail = smtp.wait_for(lambda mail: "Approve" in mail.subject)

with HttpReceiver() as http:
    http.answer(503, headers={"Retry-After": "7"})   # the next request only
    …                                       # post to http.url("/hook")
    request = http.wait_for(lambda request: request.path == "/hook")
"""

from tests.receivers.certificates import CertificateAuthority
from tests.receivers.collected import Collected
from tests.receivers.http import (
    Answer,
    HttpReceiver,
    ReceivedRequest,
    closed_port,
    webhook_secret,
)
from tests.receivers.mail import ReceivedMail, SmtpServer
from tests.receivers.slack import OpenView, SlackApi, SlackMessage, Submitted

__all__ = [
    "Answer",
    "CertificateAuthority",
    "Collected",
    "HttpReceiver",
    "OpenView",
    "ReceivedMail",
    "ReceivedRequest",
    "SlackApi",
    "SlackMessage",
    "SmtpServer",
    "Submitted",
    "closed_port",
    "webhook_secret",
]
