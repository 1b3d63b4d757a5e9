"""The page of a request, as a person meets it: what it shows, and what an answer does."""

from __future__ import annotations

import re
from typing import Any

import httpx2
import pytest
from playwright.async_api import Page, expect

from tests.console.conftest import Asking
from tests.console.visiting import Visits
from tests.deploy.running import eventually
from tests.rendering.looking import DESKTOP, NARROWEST, PHONE
from tests.rendering.mails import HOSTILE_TEXTS
from tests.stack import Stack

pytestmark = pytest.mark.asyncio(loop_scope="session")

RAW = ("\u202e", "\u2066", "\u2067", "\u200b", "\u00ad", "\ufeff")


def path_of(approval: dict[str, Any]) -> str:
    return f"/console/requests/{approval['id']}"


def view(asking_http: httpx2.Client, approval: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = asking_http.get(f"/approvals/{approval['id']}").json()
    return found


async def overflow(page: Page) -> int:
    root = "document.documentElement"
    return int(await page.evaluate(f"{root}.scrollWidth - {root}.clientWidth"))


# --- what it shows ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [NARROWEST, PHONE, DESKTOP])
async def test_all_that_one_decides_by_is_in_sight(
    signed_in: Visits, submit: Asking, agent_id: str, size: tuple[int, int]
) -> None:
    """Without scrolling: the sentence, the risk, why, who asks for whom, and Approve in reach."""
    asked = submit({"amount": "4200.00", "currency": "EUR"}, on_behalf_of="dana@example.com")
    page = await signed_in("alex", size)
    await page.goto(path_of(asked))
    heading = page.get_by_role("heading", level=1)
    await expect(heading).to_have_text("Book travel for €4,200.00")
    await expect(heading).to_be_in_viewport()
    for words in ("High risk", agent_id, "dana@example.com"):
        await expect(page.get_by_text(words).first).to_be_in_viewport()
    approve = page.get_by_role("button", name="Approve", exact=True)
    await expect(approve).to_be_in_viewport(ratio=1)
    await expect(page.locator(".why")).to_contain_text("exceeds the limit of 1000")
    await expect(page.locator(".why")).to_contain_text("Policy expenses")
    await expect(page.locator(".deadline")).to_contain_text(re.compile(r"CES?T \(in 3 hours\)"))
    await expect(page.locator(".deadline")).to_contain_text("it is rejected")
    assert await overflow(page) == 0


async def test_the_arguments_are_exact(signed_in: Visits, ask: Asking) -> None:
    """Typed, in order, and as they are: what is long is folded, what is nested ten deep is read."""
    deep: Any = "the bottom"
    for name in "jihgfedcba":
        deep = {name: deep}
    asked = ask({"amount": "2500.00", "count": 3, "deep": deep, "text": "long words " * 500})
    page = await signed_in("alex", NARROWEST)
    await page.goto(path_of(asked))
    shown = page.locator(".arguments > dt")
    names = [" ".join(text.split()) for text in await shown.all_inner_texts()]
    assert names[2:6] == [
        "amount decimal",
        "count integer",
        "deep object of 1 field",
        "text string",
    ]
    await expect(page.get_by_text("the bottom")).to_be_visible()
    assert await overflow(page) == 0
    folded = page.locator("details.long")
    await expect(folded.locator(".whole")).to_be_hidden()
    await folded.locator("summary").click()
    await expect(folded.locator(".whole")).to_contain_text("long words long words")


async def test_a_text_of_a_quarter_of_a_megabyte_is_not_sent_whole(
    signed_in: Visits, ask: Asking, console: Stack, asking_http: httpx2.Client, agent_id: str
) -> None:
    """The most that an action may hold: the page carries the beginning, and a link to all of it as
    plain text. What is more than that is refused at the door."""
    text = "<script>alert(1)</script> \u202e" * 8_000
    asked = ask({"text": text})
    page = await signed_in("alex")
    response = await page.goto(path_of(asked))
    assert response
    assert len(await response.body()) < 100_000
    link = page.get_by_role("link", name="All of it as plain text")
    answer = await page.request.get(str(await link.get_attribute("href")))
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await answer.text()).count("⟨U+202E⟩") == 8_000
    body = {"agent_id": agent_id, "title": "x", "metadata": {"text": "x" * 1_000_000}}
    assert asking_http.post("/request-approval", json=body).status_code == 413


async def test_two_hundred_keys_are_all_there(signed_in: Visits, ask: Asking) -> None:
    asked = ask({f"key_{number}": f"value {number}" for number in range(200)})
    page = await signed_in("alex", PHONE)
    await page.goto(path_of(asked))
    await expect(page.get_by_text("value 199", exact=True)).to_have_count(1)
    assert await overflow(page) == 0


@pytest.mark.parametrize("name", [name for name in HOSTILE_TEXTS if name != "huge"])
async def test_hostile_text_is_only_text(signed_in: Visits, ask: Asking, name: str) -> None:
    """In every field of an action: no element, no request, no hidden character, no sideways
    scrolling. (The console and the network are watched by the visit.)"""
    text = HOSTILE_TEXTS[name].replace("\x00", "")[:3_000]
    asked = ask(
        {"amount": text, text: "x", "payee": text, "nested": [{text: text}], "url": text},
        title=text[:200],
        description=text,
        on_behalf_of=visible_name(text),
    )
    page = await signed_in("alex", NARROWEST)
    await page.goto(path_of(asked))
    content = await page.content()
    assert not any(character in content for character in RAW)
    assert await page.locator("img, iframe, base, main style, main script").count() == 0
    hrefs = await page.eval_on_selector_all(
        "a[href]", "all => all.map(a => a.getAttribute('href'))"
    )
    assert all(href.startswith(("/", "#")) for href in hrefs), hrefs
    assert await page.title() != "owned"
    assert await overflow(page) == 0


def visible_name(text: str) -> str:
    return "".join(c for c in text if c.isprintable())[:100] or "somebody"


async def test_addresses_are_text_with_their_host(signed_in: Visits, ask: Asking) -> None:
    asked = ask({"amount": "1.00"}, description="see https://bank.example@evil.example/pay")
    page = await signed_in()
    await page.goto(path_of(asked))
    row = page.locator(".addresses li")
    await expect(row.locator(".host")).to_have_text("evil.example")
    await expect(row).to_contain_text("look closely")
    assert await row.locator("a").count() == 0


async def test_look_alikes_are_pointed_out(signed_in: Visits, ask: Asking) -> None:
    asked = ask({"amount": "1.00", "payee": "pаypal"})  # noqa: RUF001
    page = await signed_in()
    await page.goto(path_of(asked))
    await expect(page.locator(".head")).to_contain_text("mixes alphabets that look alike")


async def test_the_past_of_the_agent(
    signed_in: Visits, ask: Asking, console: Stack, asking_http: httpx2.Client
) -> None:
    """How its requests ended, and the likes of this one, each with its sentence and who."""
    for amount, answer in (("10.00", "approve"), ("20.00", "reject")):
        done = ask({"amount": amount})
        assert console.respond(done["id"], "sam", response=answer).status_code == 200
    asked = ask({"amount": "30.00"})
    page = await signed_in()
    await page.goto(path_of(asked))
    figures = await page.locator(".figures dd").all_inner_texts()
    assert figures == ["3", "1", "0", "1", "0", "0", "1"]
    likes = page.locator(".likes li")
    await expect(likes.nth(0)).to_contain_text("Make a purchase of 20.00")
    await expect(likes.nth(0)).to_contain_text("Rejected by Sam")
    await likes.nth(1).get_by_role("link").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Make a purchase of 10.00")


async def test_the_timeline_tells_of_messages_and_views(signed_in: Visits, ask: Asking) -> None:
    """A view counts once a person does something on the page."""
    asked = ask()
    sam = await signed_in("sam")
    await sam.goto(path_of(asked))
    alex = await signed_in("alex")
    await alex.goto(path_of(asked))
    await alex.get_by_text("Everything that has happened").click()
    await expect(alex.locator(".timeline")).not_to_contain_text("Sam has seen it")
    async with sam.expect_response(re.compile("/views$")) as answer:
        await sam.mouse.move(200, 200)
    assert (await answer.value).status == 204

    async def seen() -> str:
        await alex.reload()
        if not await alex.locator(".timeline").is_visible():
            await alex.get_by_text("Everything that has happened").click()
        return await alex.locator(".timeline").inner_text()

    words = await seen()
    assert "Sam has seen it" in words
    for _ in range(20):
        if "by mail to Alex: sent" in words:
            break
        words = await seen()
    assert "The request by mail to Alex: sent" in words


async def test_others_may_not_look(signed_in: Visits, ask: Asking) -> None:
    """Who is in none of the groups is told no more than of what never was; an operator may read,
    and not answer."""
    signed_in.expect("status of 404")
    asked = ask()
    robin = await signed_in("robin")
    for path in (
        path_of(asked),
        "/console/requests/apr_x",
        f"{path_of(asked)}/arguments?at=/amount",
    ):
        response = await robin.goto(path)
        assert response
        assert response.status == 404
        assert "2500" not in await robin.content()
    olga = await signed_in("olga")
    await olga.goto(path_of(asked))
    await expect(olga.get_by_text("only members of these groups may answer")).to_be_visible()
    assert await olga.get_by_role("button", name="Approve").count() == 0


async def test_who_asks_may_look_and_not_answer(signed_in: Visits, ask: Asking) -> None:
    asked = ask(on_behalf_of="sam")
    page = await signed_in("sam")
    await page.goto(path_of(asked))
    await expect(page.get_by_text("You cannot answer this")).to_be_visible()
    assert await page.locator("#approve, #reject").count() == 0


def settled(asking_http: httpx2.Client, approval: dict[str, Any], status: str) -> dict[str, Any]:
    """Return the approval once it has this status."""
    eventually(lambda: view(asking_http, approval)["status"] == status, f"it is {status}")
    return view(asking_http, approval)
