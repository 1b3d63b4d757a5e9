"""What agents write is shown, and does nothing: the corpus of the mails in every field at once."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import urlencode
from uuid import uuid4

import httpx2
import pytest

from safeguards.types import AlertSeverity
from tests.console.conftest import Rated
from tests.console.visiting import Visits
from tests.rendering.looking import DESKTOP, NARROWEST, Opened
from tests.rendering.mails import HOSTILE_TEXTS

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Page

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

OUR_ELEMENTS = {
    *("html", "head", "meta", "title", "link", "script", "body", "header", "nav", "main", "footer"),
    *("article", "section", "p", "h1", "h2", "h3", "h4", "div", "span", "a", "b", "strong", "em"),
    *("ul", "ol", "li", "dl", "dt", "dd", "table", "caption", "thead", "tbody", "tr", "th", "td"),
    *("form", "fieldset", "legend", "label", "input", "textarea", "select", "option", "button"),
    *("details", "summary", "dialog", "time", "bdi", "code", "kbd", "pre", "del", "ins", "br"),
    *("wbr", "svg", "path", "rect", "line", "circle", "g", "text", "hr", "small"),
}


def name_of(text: str) -> str:
    """As much of a text as may be an identifier, and one that no other test has."""
    printable = "".join(c for c in text if c.isprintable())[:180].strip()
    return f"{printable or 'nothing'}-{uuid4().hex[:8]}"


@pytest.fixture(scope="module")
def hostile(asking_http: httpx2.Client) -> dict[str, str]:
    """The ids of approvals, by the names of texts: each stands in every field that an agent can
    fill."""

    def asked(text: str) -> str:
        short = text[:490]
        body = {
            "agent_id": name_of(text),
            "title": short,
            "description": text[:19_000],
            "on_behalf_of": name_of(text),
            # Sooner than what other tests leave behind, and so on the first page of the list.
            "timeout_seconds": 3000,
            "metadata": {
                "action_type": "newsletter",
                "amount": short,
                "currency": short[:40],
                "beneficiary": short,
                "recipients": 3,
                "evidence": [f"https://evil.example/{short}", short],
                short: short,
                "nested": {short: [short, {short: text[:60_000]}]},
            },
        }
        answer = asking_http.post("/request-approval", json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    return {name: asked(text) for name, text in HOSTILE_TEXTS.items()}


@pytest.mark.parametrize("name", HOSTILE_TEXTS)
async def test_a_hostile_request_is_shown_and_does_nothing(
    signed_in: Visits, hostile: dict[str, str], rated: Rated, pictures: Path, name: str
) -> None:
    """On no page of its own is it an element, a link or a script; it is not wider than the page,
    and our own words stand where they would stand beside any other text."""
    await rated(hostile[name], AlertSeverity.INFO)
    addresses = {
        "request": f"/console/requests/{hostile[name]}",
        "bulk": f"/console/bulk?id={hostile[name]}",
    }
    for where, address in addresses.items():
        assert await _wrong_at(signed_in, address, pictures / f"hostile-{name}-{where}") == []


async def test_lists_of_hostile_requests_do_nothing(
    signed_in: Visits, hostile: dict[str, str], pictures: Path
) -> None:
    """Where all of them stand below each other, too."""
    everything = urlencode([("id", one) for one in hostile.values()])
    addresses = {
        "inbox": "/console?view=waiting",
        "bulk": f"/console/bulk?{everything}",
        "audit": "/console/audit",
        "agents": "/console/agents",
    }
    page = await signed_in("alex")
    await page.goto(addresses["inbox"])
    assert set(hostile.values()) <= set(await page.locator("[data-row]").evaluate_all(_IDS))
    for where, address in addresses.items():
        assert await _wrong_at(signed_in, address, pictures / f"hostile-{where}") == [], where


_IDS = "rows => rows.map(({id}) => id)"


async def _wrong_at(signed_in: Visits, address: str, picture: Path) -> list[str]:
    """What is wrong with a page on the narrowest phone and on a wide screen."""
    page = await signed_in("alex", NARROWEST)
    page.on("dialog", lambda dialog: pytest.fail(f"a dialog: {dialog.message}"))
    answer = await page.goto(address)
    assert answer is not None
    assert answer.status == 200
    await _unfold(page)
    found: list[str] = []
    for width, height in (NARROWEST, DESKTOP):
        await page.set_viewport_size({"width": width, "height": height})
        if "PICTURES_DIRECTORY" in os.environ:
            await page.screenshot(path=f"{picture}-{width}.png")
        found += [f"{width} px: {what}" for what in await wrong(page)]
    await page.close()
    return found


async def _unfold(page: Page) -> None:
    await page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")


async def wrong(page: Page) -> list[str]:
    """What a page does that hostile text must not make it do."""
    found: list[str] = await page.evaluate(_WRONG)
    seen = Opened(page)
    unknown = await seen.element_names() - OUR_ELEMENTS
    found += [f"an element {name}" for name in sorted(unknown)]
    own = ("/", "#", "?")
    found += [f"a link to {link[:80]}" for link in await seen.links() if not link.startswith(own)]
    found += [f"a link to {link[:80]}" for link in await seen.links() if link.startswith("//")]
    if await page.title() == "owned":
        found.append("a title of its own")
    if overflow := await seen.overflow():
        found.append(f"{overflow} px too wide")
    return found


# Our words follow an isolated piece of the agent's on the same line: they must stand right of it.
_WRONG = """() => {
  const wrong = [];
  const turned = [...document.querySelectorAll('body *')].filter((e) => !e.matches('[dir=auto]'));
  for (const element of turned) {
    if (getComputedStyle(element).direction !== 'ltr' && !element.closest('bdi, [dir=auto]')) {
      wrong.push(`reads from the right: ${element.outerHTML.slice(0, 80)}`);
    }
  }
  for (const piece of document.querySelectorAll('bdi')) {
    const next = piece.nextSibling;
    if (!next || next.nodeType !== Node.TEXT_NODE || !next.textContent.trim()) continue;
    const range = document.createRange();
    range.selectNodeContents(next);
    const after = range.getClientRects()[0];
    const before = [...piece.getClientRects()].pop();
    if (!after || !before) continue;
    const sameLine = Math.abs(after.bottom - before.bottom) < 4;
    if (sameLine && after.left < before.right - 1) {
      wrong.push(`our words are displaced: ${next.textContent.trim().slice(0, 40)}`);
    }
  }
  return wrong;
}"""
