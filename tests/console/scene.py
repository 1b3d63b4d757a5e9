"""What agents have asked and people have answered, so that there is something in every state.

What is asked for is as agents ask, so that pictures of the pages can be judged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx2

from tests.console.doors import Browser
from tests.deploy.running import eventually
from tests.stack import Stack

MANY = 16
"""How many requests come thick, so that some of them are told of by a digest."""

CHAIRS: dict[str, Any] = {
    "title": "Buy 12 office chairs from ACME",
    "agent_id": "procurement-agent",
    "description": (
        "The Berlin office grows by twelve people on 1 December.\nI compared three offers: "
        "https://offers.example/chairs/3 is the cheapest that delivers in time."
    ),
    "metadata": {
        "action_type": "purchase",
        "amount": "2500.00",
        "currency": "EUR",
        "beneficiary": "ACME Möbel GmbH",
        "iban": "DE89 3704 0044 0532 0130 00",
        "due_on": "2026-12-01",
        "evidence": ["https://offers.example/chairs/3", "https://offers.example/chairs/1"],
    },
}
TRAVEL: dict[str, Any] = {
    "title": "Book the flights to the fair in Lisbon",
    "agent_id": "travel-agent",
    "action_type": "book_travel",
    "on_behalf_of": "Petra Lang",
    "description": "Four people, economy class, one bag each.",
    "context": {
        "amount": "4200.00",
        "currency": "EUR",
        "beneficiary": "TAP Air Portugal",
        "travellers": [
            {"name": "Petra Lang", "seat": "12A"},
            {"name": "Jan Schmidt", "seat": "12B"},
        ],
        "refundable": False,
    },
}
ARCHIVE: dict[str, Any] = {
    "title": "Erase the archive of 2016",
    "agent_id": "records-keeper",
    "action_type": "erase_archive",
    "description": "The ten years of retention have ended.",
    "context": {"path": "/archive/2016", "documents": 184_203, "reversible": False},
}
LARGE: dict[str, Any] = {
    "title": "Roll out release 4.2",
    "agent_id": "release-bot",
    "metadata": {
        "action_type": "deploy",
        "command": "kubectl apply -f release.yaml\nkubectl rollout status deploy/api\n" * 30,
        "settings": {f"setting_{number}": f"value {number}" for number in range(120)},
        "nested": {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": "deep"}}}}}}}},
        **{f"flag_{number}": number % 2 == 0 for number in range(80)},
    },
}


HOTEL: dict[str, Any] = {
    "title": "Book the hotel for the fair in Lisbon",
    "agent_id": "booking-agent",
    "action_type": "book_hotel",
    "on_behalf_of": "Petra Lang",
    "context": {
        "amount": "1800.00",
        "currency": "EUR",
        "beneficiary": "Hotel Tejo",
        "city": "Lisbon",
        "nights": 4,
        "breakfast": True,
    },
}
PAYOUT: dict[str, Any] = {
    "title": "Pay the deposit for the new office",
    "agent_id": "payments-agent",
    "action_type": "payout",
    "description": "The landlord wants it by Friday.",
    "context": {
        "amount": "12500.00",
        "currency": "EUR",
        "account": "Main account",
        "purpose": "Deposit, Torstraße 12",
        "beneficiary": "Torhaus Verwaltung GmbH",
    },
}


class Scene:
    """What agents have asked, by the state in which it is.

    Attributes:
        requests: the ids of approvals, by name.
        links: the paths of links in mails, by name.
        grants: the paths of grants, by what has become of them.
        key_id: of an API key that holds.
    """

    def __init__(self, stack: Stack, http: httpx2.Client) -> None:
        self._stack = stack
        self._http = http
        self.requests: dict[str, str] = {}
        self.links: dict[str, str] = {}
        self.grants: dict[str, str] = {}
        self.key_id = ""

    def ask(self, name: str, submission: dict[str, Any], **changes: Any) -> str:
        """Ask directly; `changes` to the arguments. Returns the approval's id."""
        body = {**submission, "metadata": {**submission["metadata"], **changes}}
        answer = self._http.post("/request-approval", json=body)
        assert answer.status_code == 202, answer.text
        self.requests[name] = str(answer.json()["id"])
        return self.requests[name]

    def submit(self, name: str, submission: dict[str, Any]) -> str:
        """Submit an action that is judged. Returns the id of the approval that is opened."""
        answer = self._http.post("/actions", json=submission)
        assert answer.status_code == 202, answer.text
        found: list[str] = []

        def is_open() -> bool:
            action = self._http.get(f"/actions/{answer.json()['id']}").json()
            opened = action.get("approval_id")
            if opened and self._http.get(f"/approvals/{opened}").status_code == 200:
                found.append(str(opened))
            return bool(found)

        eventually(is_open, f"people are asked about {name}")
        self.requests[name] = found[0]
        return found[0]

    def respond(self, name: str, reviewer: str, **body: Any) -> None:
        """Answer as a reviewer."""
        answer = self._stack.respond(self.requests[name], reviewer, **body)
        assert answer.status_code == 200, answer.text

    def answer(self, name: str, **body: Any) -> None:
        """Answer a reviewer's question as the agent."""
        answer = self._http.post(f"/approvals/{self.requests[name]}/answers", json=body)
        assert answer.status_code < 300, answer.text

    def play(self) -> None:
        """Ask and answer, until there is a request in each state."""
        with self._signed_in() as alex:
            self._give_up(alex)
            self._ask()
            self._answer()
            self._hand_over(alex)
            self._permit(alex)
            self._halt(alex)
        self.key_id = self._stack.create_key("--agent", "release-bot").key_id
        # At once: however slow the machine is, they come too thick for a mail each.
        with ThreadPoolExecutor(8) as at_once:
            list(at_once.map(self._ask_low, range(MANY)))
        self._wait()

    def _ask_low(self, number: int) -> None:
        letter = {"action_type": "newsletter", "recipients": 240 + number, "subject": "News"}
        agent = {"agent_id": "newsletter-agent", "title": f"Send the newsletter no. {number}"}
        self.ask(f"low_{number}", {**agent, "metadata": letter})

    def _ask(self) -> None:
        self.ask("waiting", CHAIRS)
        self.submit("high", TRAVEL)
        self.submit("critical", ARCHIVE)
        self.ask("large", LARGE)
        self.submit("limited", PAYOUT)
        release = {"agent_id": "judging-agent", "title": "Name the winner of the tender"}
        self.ask("elsewhere", {**release, "metadata": {"action_type": "verdict", "winner": "ACME"}})

    def _answer(self) -> None:
        for state, answer in (
            ("approved", {"response": "approve", "comments": "As agreed with Jan."}),
            ("rejected", {"response": "reject", "comments": "We have chairs in the cellar."}),
            ("modified", {"response": "modify", "modifications": {"amount": "1900.00"}}),
        ):
            self.ask(state, CHAIRS, amount=f"{len(state)}50.00")
            self.respond(state, "sam", **answer)
        self.ask("voted", CHAIRS, action_type="wire_out", amount="12000.00")
        self.respond("voted", "sam", response="approve", comments="Checked the invoice.")
        self.ask("changed", CHAIRS, action_type="contract", amount="9000.00")
        self.respond("changed", "sam", response="modify", modifications={"amount": "8500.00"})
        self.ask("asked", CHAIRS, amount="2600.00")
        self.respond("asked", "sam", response="ask", comments="Why twelve, and not ten?")
        self.ask("paused", CHAIRS, amount="2650.00")
        question = {"response": "ask", "comments": "Who sits on the twelfth?", "pause": True}
        self.respond("paused", "sam", **question)
        self.ask("explained", CHAIRS, amount="2700.00")
        self.respond("explained", "sam", response="ask", comments="Is there a discount?")
        self.answer("explained", answer="Five per cent from twelve on.")
        self.ask("amended", CHAIRS, amount="2750.00")
        self.respond("amended", "sam", response="ask", comments="Would ten do?")
        fewer = {**CHAIRS["metadata"], "amount": "2290.00", "note": "Ten chairs, two stools"}
        self.answer("amended", answer="With two stools, yes.", context=fewer)
        self.ask("withdrawn", CHAIRS, amount="2800.00")
        gone = self._http.delete(f"/approvals/{self.requests['withdrawn']}")
        assert gone.status_code < 300, gone.text
        self.ask("timed_out", {**CHAIRS, "timeout_seconds": 1}, amount="2900.00")
        desks = {**CHAIRS, "title": "Buy three desks", "agent_id": "desk-agent"}
        self.ask("answered_by_mail", desks, amount="1100.00")
        # Nobody would be sent a mail about what has been answered.
        self.links["mail_used"] = self._mailed("Buy three desks")
        self.respond("answered_by_mail", "sam", response="approve")

    @contextmanager
    def _signed_in(self) -> Iterator[Browser]:
        with Browser(self._stack.url, {}) as client:
            form = {"name": "alex", "password": self._stack.passwords["alex"]}
            answer = client.post("/sign-in", data=form)
            assert answer.status_code == 303, answer.text
            yield client

    def _press(self, client: Browser, page: str, path: str, **form: Any) -> str:
        """Send a form of a page; return where it leads to."""
        shown = client.get(page).text
        hidden = dict(re.findall(r'name="(csrf|seal)" value="([^"]+)"', shown))
        answer = client.post(path, data={**hidden, **form})
        assert answer.status_code == 303, answer.text
        return answer.headers["location"]

    def _give_up(self, alex: Browser) -> None:
        """Have two mails given up, and one of them sent again."""
        dead = "/console/deliveries?status=DEAD&channel=email"
        given_up: list[str] = []
        for number in (1, 2):
            self._stack.smtp.answer("RCPT", "550 no such mailbox")
            errand = {"title": f"Fetch parcel {number}", "agent_id": "errand-agent"}
            self.ask(f"errand_{number}", {**errand, "metadata": {"action_type": "errand"}})

            def is_dead(expected: int = number) -> bool:
                shown = alex.get(dead).text
                given_up[:] = re.findall(r'name="delivery_id" value="([^"]+)"', shown)
                return len(given_up) == expected

            eventually(is_dead, "a mail is given up")
        self._press(alex, dead, "/console/deliveries/replay", delivery_id=given_up[0])

    def _hand_over(self, alex: Browser) -> None:
        self.ask("handed_over", CHAIRS, amount="2950.00")
        page = f"/console/requests/{self.requests['handed_over']}"
        note = "You know the landlord. Does the lift take them?"
        self._press(alex, page, f"{page}/hand-over", to="kim", note=note)

    def _permit(self, alex: Browser) -> None:
        """Give a grant with uses left, one with none, and one that is taken back."""
        for state, action_type, uses, prices in (
            ("in_force", "book_hotel", 20, ("1650.00", "1799.99")),
            ("used_up", "book_train", 1, ("89.00",)),
            ("revoked", "book_taxi", 5, ()),
        ):
            wanted = {**HOTEL, "action_type": action_type}
            approval_id = self.submit(f"permitted_{state}", wanted)
            page = f"/console/requests/{approval_id}"
            form = {"response": "approve", "grant_lasts": "8 hours", "grant_uses": uses}
            self._press(alex, page, page, **form)
            self.grants[state] = f"/console/grants/grt_{approval_id.removeprefix('apr_')}"
            for price in prices:
                self._use({**wanted, "context": {**HOTEL["context"], "amount": price}})
        self._press(alex, self.grants["revoked"], f"{self.grants['revoked']}/revoke")

    def _use(self, submission: dict[str, Any]) -> None:
        """Have a grant let an action through."""
        action = self._http.post("/actions", json=submission).json()
        ended = self._http.get(f"/actions/{action['id']}?wait=20").json()
        assert ended["outcome"]["decided_by"].startswith("grant:"), ended

    def _halt(self, alex: Browser) -> None:
        trade = {"title": "Buy 40 shares", "agent_id": "trading-agent"}
        self.ask("of_halted_agent", {**trade, "metadata": {"action_type": "purchase"}})
        reason = "It asked for the same shares four times. Ask Jan before it goes on."
        form = {"subject": "agent", "name": "trading-agent", "reason": reason}
        self._press(alex, "/console/halts", "/console/halts/begin", **form)
        reason = (
            "The bank calls: somebody sends money to strangers. Nobody wires until it is clear."
        )
        form = {"subject": "type", "name": "bank_wire_*", "reason": reason, "is_sure": "true"}
        self._press(alex, "/console/halts", "/console/halts/begin", **form)

    def _wait(self) -> None:
        self.links["mail"] = self._mailed("Buy 12 office chairs")
        self.links["mail_elsewhere"] = self._mailed("Name the winner")
        self.links["digest"] = self._digest()
        timed_out = f"/approvals/{self.requests['timed_out']}"
        eventually(
            lambda: self._http.get(timed_out).json()["status"] == "TIMED_OUT", "the time is over"
        )

    def _mailed(self, words: str) -> str:
        mail = self._stack.smtp.wait_for(
            lambda mail: mail.recipients == ("alex@example.com",) and words in mail.subject, 30
        )
        return _paths(mail.text)[0]

    def _digest(self) -> str:
        mail = self._stack.smtp.wait_for(
            lambda mail: (
                mail.recipients == ("alex@example.com",)
                and re.match(r"\d+ requests", mail.subject) is not None
                and "newsletter" in mail.text
            ),
            60,
        )
        return min(_paths(mail.text), key=len)


def _paths(text: str) -> list[str]:
    return re.findall(r"https?://[^\s/]+(/review/\S+)", text)
