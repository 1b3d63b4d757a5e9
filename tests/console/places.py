"""Every page of the console in every state."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from tests.console.scene import Scene

if TYPE_CHECKING:
    from playwright.async_api import Page

Step = Callable[["Page"], Awaitable[None]]


@dataclass(frozen=True)
class Place:
    """A page in some state.

    Attributes:
        path: under the gateway's address.
        who: has signed in; None for a stranger.
        status: of the answer.
        step: what is done on the page to bring it into this state.
        refuses: whether the gateway refuses that step.
    """

    path: str
    who: str | None = "alex"
    status: int = 200
    step: Step | None = None
    refuses: bool = False


async def _fail_to_sign_in(page: Page) -> None:
    await page.get_by_label("Name or mail address").fill("alex")
    await page.get_by_label("Password", exact=True).fill("a wrong password")
    await page.get_by_role("button", name="Sign in", exact=True).click()
    await page.get_by_role("alert").wait_for()


async def _see_the_keys(page: Page) -> None:
    await page.keyboard.press("?")
    await page.locator("#keys-help[open]").wait_for()


async def _see_the_changes(page: Page) -> None:
    await page.locator("#modify").get_by_label("amount").fill("1990.00")
    await page.locator("#comments-modify").fill("Without the armrests.")
    await page.get_by_role("button", name="Show the changes").click()
    await page.get_by_role("heading", name="You approve this with changes").wait_for()


async def _type_no_amount(page: Page) -> None:
    await page.locator("#modify").get_by_label("amount").fill("a lot")
    await page.get_by_role("button", name="Show the changes").click()
    await page.locator("main [role=alert]").wait_for()


async def _type_too_much(page: Page) -> None:
    await page.locator("#modify").get_by_label("amount").fill("12500.01")
    await page.get_by_role("button", name="Show the changes").click()
    await page.locator("#modify .wrong").wait_for()


async def _open_the_grant(page: Page) -> None:
    await page.get_by_text("And the next like this…").click()


async def _approve_two(page: Page) -> None:
    boxes = page.locator("[data-row]").get_by_role("checkbox")
    await boxes.nth(0).check()
    await boxes.nth(1).check()
    await page.get_by_role("button", name="Approve 2…").click()
    await page.get_by_role("button", name="Approve 2", exact=True).click()
    await page.get_by_role("heading", name="2 approved").wait_for()


async def _revoke(page: Page) -> None:
    await page.locator("#revoke summary").click()


async def _halt_without_a_reason(page: Page) -> None:
    form = page.locator("form").filter(has=page.get_by_role("button", name="Halt this type"))
    await form.get_by_label("Type, such as").fill("book_*")
    await form.get_by_label("Why?").fill("  ")
    await form.get_by_role("button").click()
    await page.locator("main [role=alert]").wait_for()


async def _halt_a_type(page: Page) -> None:
    form = page.locator("form").filter(has=page.get_by_role("button", name="Halt this type"))
    await form.get_by_label("Type, such as").fill("book_*")
    await form.get_by_label("Why?").fill("They book the same room twice.")
    await form.get_by_role("button").click()
    await page.get_by_role("button", name="Halt them").wait_for()


async def _fail_to_change_the_password(page: Page) -> None:
    await page.get_by_label("Current password").fill("nora opens the door")
    await page.get_by_label("New password", exact=True).fill("a long and good one")
    await page.get_by_label("New password, again").fill("another one altogether")
    await page.get_by_role("button", name="Change the password").click()
    await page.locator("main [role=alert]").wait_for()


def places_of(scene: Scene) -> dict[str, Place]:
    """Return all pages that there are, by a name for each."""
    waiting = f"/console/requests/{scene.requests['waiting']}"
    return {
        **_doors(),
        **_lists(scene),
        **{
            f"request-{state}": Place(f"/console/requests/{scene.requests[_key(state)]}")
            for state in _STATES
        },
        "request-modify": Place(f"{waiting}#modify"),
        "request-reject": Place(f"{waiting}#reject"),
        "request-modify-refused": Place(f"{waiting}#modify", step=_type_no_amount, refuses=True),
        "request-changes": Place(f"{waiting}#modify", step=_see_the_changes),
        "request-limits-broken": Place(
            f"/console/requests/{scene.requests['limited']}#modify",
            step=_type_too_much,
            refuses=True,
        ),
        "request-grant": Place(f"/console/requests/{scene.requests['high']}", step=_open_the_grant),
        "request-of-others": Place(waiting, who="robin", status=404),
        "no-such-request": Place(f"/console/requests/{_UNKNOWN}", status=404),
        "no-such-page": Place("/console/nowhere", status=404),
        "not-allowed": Place("/console/agents", who="sam", status=403),
        "mail": Place(scene.links["mail"], who=None),
        "mail-elsewhere": Place(scene.links["mail_elsewhere"], who=None),
        "mail-used": Place(scene.links["mail_used"], who=None),
        "mail-digest": Place(scene.links["digest"], who=None),
        "mail-no-such-link": Place("/review/v4.nothing.here", who=None, status=404),
        **_grants(scene),
        **_operations(scene),
    }


def _key(state: str) -> str:
    return state.replace("-", "_")


def _doors() -> dict[str, Place]:
    return {
        "sign-in": Place("/sign-in", who=None),
        "sign-in-refused": Place("/sign-in", who=None, step=_fail_to_sign_in, refuses=True),
        "account": Place("/console/account"),
        "account-refused": Place(
            "/console/account", who="nora", step=_fail_to_change_the_password, refuses=True
        ),
    }


def _lists(scene: Scene) -> dict[str, Place]:
    alike = [("id", scene.requests[f"low_{number}"]) for number in range(8, 12)]
    others = [("id", scene.requests[name]) for name in ("waiting", "high", "withdrawn")]
    return {
        "inbox": Place("/console"),
        "inbox-empty": Place("/console", who="vera"),
        "inbox-found": Place("/console?q=chairs"),
        "inbox-nothing-found": Place("/console?q=nowhere-to-be-found"),
        "keys": Place("/console", step=_see_the_keys),
        "bulk": Place(f"/console/bulk?{urlencode(alike)}"),
        "bulk-not-alike": Place(f"/console/bulk?{urlencode([*alike, *others])}"),
        "bulk-nothing": Place("/console/bulk"),
        "bulk-results": Place("/console?agent=newsletter-agent", step=_approve_two),
    }


def _grants(scene: Scene) -> dict[str, Place]:
    return {
        "grants": Place("/console/grants"),
        "grants-none": Place("/console/grants", who="vera"),
        "grant": Place(scene.grants["in_force"]),
        "grant-revoke": Place(scene.grants["in_force"], step=_revoke),
        "grant-used-up": Place(scene.grants["used_up"]),
        "grant-revoked": Place(scene.grants["revoked"]),
        "no-such-grant": Place("/console/grants/nothing", status=404),
    }


def _operations(scene: Scene) -> dict[str, Place]:
    agent = "/console/agents/one?agent_id="
    refused = Place("/console/halts", step=_halt_without_a_reason, refuses=True)
    return {
        **{name: Place(f"/console/{name}") for name in _OPERATIONS},
        "agents-none": Place("/console/agents?q=nobody-of-this-name"),
        "agent": Place(f"{agent}booking-agent"),
        "agent-halted": Place(f"{agent}trading-agent"),
        "halts-refused": refused,
        "halts-of-types": Place("/console/halts", step=_halt_a_type),
        "key-revoke": Place(f"/console/agents/keys/{scene.key_id}/revoke"),
        "deliveries-sent": Place("/console/deliveries?status=SENT"),
        "deliveries-replay-all": Place("/console/deliveries/replay-all"),
        "deliveries-replayed": Place("/console/deliveries/replayed"),
        "audit-of-one": Place(f"/console/audit?record={scene.requests['voted']}"),
        "audit-nothing": Place("/console/audit?to=2001-01-01"),
        "audit-refused": Place("/console/audit?from=yesterday", status=422),
    }


_UNKNOWN = "apr_01900000-0000-7000-8000-000000000000"

_STATES = (
    *("waiting", "high", "critical", "large", "approved", "rejected", "modified", "voted"),
    *("changed", "asked", "paused", "explained", "amended", "withdrawn", "timed-out"),
    *("handed-over", "permitted-in-force", "limited", "elsewhere"),
)

_OPERATIONS = (
    "agents",
    "halts",
    "deliveries",
    "channels",
    "policies",
    "queues",
    "audit",
    "insights",
)

NAMES = (
    *("sign-in", "sign-in-refused", "account", "account-refused"),
    *("inbox", "inbox-empty", "inbox-found", "inbox-nothing-found", "keys"),
    *("bulk", "bulk-not-alike", "bulk-nothing", "bulk-results"),
    *(f"request-{state}" for state in _STATES),
    *("request-modify", "request-reject", "request-modify-refused", "request-changes"),
    *("request-limits-broken", "request-grant", "request-of-others"),
    *("no-such-request", "no-such-page", "not-allowed"),
    *("mail", "mail-elsewhere", "mail-used", "mail-digest", "mail-no-such-link"),
    *("grants", "grants-none", "grant", "grant-revoke", "grant-used-up", "grant-revoked"),
    "no-such-grant",
    *_OPERATIONS,
    *("agents-none", "agent", "agent-halted", "halts-refused", "halts-of-types", "key-revoke"),
    *("deliveries-sent", "deliveries-replay-all", "deliveries-replayed"),
    *("audit-of-one", "audit-nothing", "audit-refused"),
)
"""The names of all places, known before anything has been asked."""
