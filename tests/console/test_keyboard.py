"""Keys: they move and open, and none of them decides. Pressed in a real browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.console.conftest import Asking
from tests.console.visiting import Visits
from tests.stack import Stack

if TYPE_CHECKING:
    from playwright.async_api import Page, Request

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

FOCUSED = "document.activeElement"


@pytest.fixture
def three(ask: Asking) -> list[str]:
    """The ids of three requests of this test's agent, in the order in which they are listed."""
    return [ask(title=f"Buy chairs {n}", timeout_seconds=600 * n)["id"] for n in (1, 2, 3)]


@pytest.fixture
def path(agent_id: str) -> str:
    """The inbox with this test's own requests."""
    return f"/console?agent={agent_id}"


async def focused_row(page: Page) -> str | None:
    found: str | None = await page.evaluate(f"{FOCUSED}.closest('[data-row]')?.id ?? null")
    return found


async def focused_id(page: Page) -> str:
    return str(await page.evaluate(f"{FOCUSED}.id"))


def posts(page: Page) -> list[str]:
    """The addresses to which the page posts from now on, but for telling that it is looked at."""
    found: list[str] = []

    def requested(request: Request) -> None:
        if request.method == "POST" and not request.url.endswith("/views"):
            found.append(request.url)

    page.on("request", requested)
    return found


def status(stack: Stack, approval_id: str) -> Any:
    with stack.http() as http:
        return http.get(f"/approvals/{approval_id}").json()["status"]


def events(stack: Stack, approval_id: str) -> list[str]:
    return [line["event"] for line in stack.history(approval_id)]


async def test_j_and_k_move_and_enter_opens(signed_in: Visits, three: list[str], path: str) -> None:
    """From row to row and not beyond; where one is can be seen; Enter opens it."""
    page = await signed_in("alex")
    await page.goto(path)
    await page.keyboard.press("j")
    assert await focused_row(page) == three[0]
    ring = "e => [getComputedStyle(e), getComputedStyle(e, '::after')].map((s) => s.outlineStyle)"
    link = page.locator(f"#{three[0]} a[data-request]")
    assert "solid" in await link.evaluate(ring)
    await page.keyboard.press("k")
    assert await focused_row(page) == three[0]
    for expected in (three[1], three[2], three[2]):
        await page.keyboard.press("j")
        assert await focused_row(page) == expected
    await page.keyboard.press("k")
    await page.keyboard.press("Enter")
    await page.wait_for_url(f"**/console/requests/{three[1]}")


@pytest.mark.parametrize(
    ("key", "hash_", "selector"),
    [("a", "#approve", "#approve"), ("m", "#modify", "#modify"), ("x", "#reject", "#reject")],
)
async def test_a_key_opens_the_selected_request_at_the_decision(
    console: Stack,
    signed_in: Visits,
    three: list[str],
    path: str,
    key: str,
    hash_: str,
    selector: str,
) -> None:
    """From the inbox: the page of the request with the decision open and focused; nothing sent."""
    page = await signed_in("alex")
    sent = posts(page)
    await page.goto(path)
    await page.keyboard.press(key)
    await page.locator("#announcements", has_text="Press j").wait_for(state="attached")
    await page.keyboard.press("j")
    await page.keyboard.press("j")
    await page.keyboard.press(key)
    await page.wait_for_url(f"**/console/requests/{three[1]}{hash_}")
    await page.locator(f"{selector}:focus, {selector} :focus").wait_for()
    assert sent == []
    assert status(console, three[1]) == "PENDING"


async def test_keys_open_the_decisions_of_a_request(
    console: Stack, signed_in: Visits, three: list[str]
) -> None:
    """On its page: `a` focuses the button, `m` and `x` unfold a form and focus its first field,
    Escape folds it again and keeps what was typed. None of them sends anything."""
    page = await signed_in("alex")
    sent = posts(page)
    await page.goto(f"/console/requests/{three[0]}")
    await page.keyboard.press("a")
    assert await focused_id(page) == "approve"
    await page.keyboard.press("m")
    assert await page.locator("#modify").get_attribute("open") is not None
    assert await page.evaluate(f"{FOCUSED}.closest('#modify') && {FOCUSED}.localName") == "input"
    typed = await page.evaluate(f"{FOCUSED}.id")
    await page.keyboard.press("ControlOrMeta+a")
    await page.keyboard.type("1jamx?/c")
    await page.keyboard.press("Escape")
    assert await page.locator("#modify").get_attribute("open") is None
    assert await page.evaluate(f"{FOCUSED}.localName") == "summary"
    assert await page.locator(f"#{typed}").input_value() == "1jamx?/c"
    await page.keyboard.press("x")
    assert await page.locator("#reject").get_attribute("open") is not None
    assert await page.evaluate(f"{FOCUSED}.closest('#reject') && {FOCUSED}.localName") == "input"
    assert sent == []
    assert status(console, three[0]) == "PENDING"


async def test_c_takes_in_hand(
    console: Stack, signed_in: Visits, three: list[str], path: str
) -> None:
    """The one key that sends something, and once however long it is held: on the page of a
    request, and in the inbox, where it is announced and one stays."""
    page = await signed_in("alex")
    await page.goto(f"/console/requests/{three[0]}")
    async with page.expect_navigation():
        await page.keyboard.press("c")
    assert events(console, three[0]).count("claimed") == 1
    await page.goto(path)
    await page.keyboard.press("j")
    await page.keyboard.press("j")
    await page.keyboard.down("c")
    await page.keyboard.down("c")
    await page.keyboard.up("c")
    await page.locator("#announcements", has_text="You have it in hand").wait_for(state="attached")
    assert events(console, three[1]).count("claimed") == 1
    assert await focused_row(page) == three[1]


async def test_the_help_opens_and_gives_the_focus_back(
    signed_in: Visits, three: list[str], path: str
) -> None:
    """? opens a dialog that keeps the focus, in which no key does anything; Escape closes it, and
    the focus is where it was. So does the button below every page."""
    page = await signed_in("alex")
    await page.goto(path)
    await page.keyboard.press("j")
    await page.keyboard.press("?")
    help_ = page.locator("#keys-help")
    assert await help_.is_visible()
    inside = f"{FOCUSED}.closest('#keys-help') !== null || {FOCUSED} === document.body"
    for _ in range(6):
        assert await page.evaluate(inside)
        await page.keyboard.press("Tab")
    await page.keyboard.press("j")
    assert await page.evaluate(inside)
    await page.keyboard.press("Escape")
    assert not await help_.is_visible()
    assert await focused_row(page) == three[0]
    button = page.get_by_role("button", name="Keys")
    await button.click()
    await help_.get_by_role("button", name="Close").click()
    assert not await help_.is_visible()
    assert await button.evaluate(f"e => {FOCUSED} === e")


async def test_typing_is_typing(signed_in: Visits, three: list[str], path: str) -> None:
    """/ goes to the search; there, and with Ctrl, Alt or Meta, keys are what they always are."""
    page = await signed_in("alex")
    await page.goto(path)
    await page.keyboard.press("/")
    assert await focused_id(page) == "search"
    await page.keyboard.type("jkamxc?/")
    assert await page.locator("#search").input_value() == "jkamxc?/"
    assert not await page.locator("#keys-help").is_visible()
    await page.goto(path)
    for combination in ("Control+j", "Alt+j", "Meta+j", "Control+x", "Alt+c"):
        await page.keyboard.press(combination)
        assert await focused_row(page) is None


async def test_single_keys_can_be_turned_off(
    console: Stack, signed_in: Visits, ask: Asking, path: str
) -> None:
    """In the account, for people who speak to their computer (WCAG 2.2, 2.1.4). The list of keys
    is still found, and says so."""
    approval = ask(action_type="errand", title="Fetch the mail")
    page = await signed_in("robin")
    await page.goto("/console/account")
    await page.get_by_label("do something by themselves").uncheck()
    await page.get_by_role("button", name="Save").click()
    try:
        await page.get_by_text("Single keys are off.").wait_for()
        sent = posts(page)
        await page.goto(path)
        assert await page.locator(f"#{approval['id']}").is_visible()
        for key in ("j", "k", "/", "?", "a", "c"):
            await page.keyboard.press(key)
            assert await page.evaluate(f"{FOCUSED} === document.body")
        await page.goto(f"/console/requests/{approval['id']}")
        for key in ("a", "m", "x", "c", "?"):
            await page.keyboard.press(key)
            assert await page.evaluate(f"{FOCUSED} === document.body")
        assert sent == []
        await page.get_by_role("button", name="Keys").click()
        assert "turned off" in await page.locator("#keys-help").inner_text()
    finally:
        await page.goto("/console/account")
        await page.get_by_label("do something by themselves").check()
        await page.get_by_role("button", name="Save").click()
    await page.goto(path)
    await page.keyboard.press("j")
    assert await focused_row(page) == approval["id"]


async def test_a_decision_by_keys_alone(
    console: Stack, signed_in: Visits, three: list[str], path: str
) -> None:
    """j, a, and then Enter on the button that has the focus: that is a person's answer."""
    page = await signed_in("alex")
    await page.goto(path)
    await page.keyboard.press("j")
    await page.keyboard.press("a")
    await page.wait_for_url(f"**/console/requests/{three[0]}#approve")
    await page.locator("#approve:focus").wait_for()
    await page.keyboard.press("Enter")
    await page.locator(".ending", has_text="Alex").wait_for()
    assert status(console, three[0]) == "APPROVED"
