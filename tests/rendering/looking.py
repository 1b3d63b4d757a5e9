"""Opening a mail's HTML in a browser, and what can be measured of it there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from playwright.async_api import Browser, Page, Request

Scheme = Literal["light", "dark"]

PHONE = (360, 740)
DESKTOP = (1280, 900)
NARROWEST = (320, 640)


@dataclass
class Opened:
    """A page, with what it complained of and asked the network for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    async def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        return int(await self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        ))  # fmt: skip

    async def bottom(self, selector: str) -> float:
        """How far from the top of the page the first such element ends, in pixels."""
        box = await self.page.locator(selector).first.bounding_box()
        assert box is not None, f"{selector} is not visible"
        return box["y"] + box["height"]

    async def links(self) -> list[str]:
        """The addresses of all links, as written."""
        found = await self.page.evaluate(
            "[...document.querySelectorAll('[href]')].map(a => a.getAttribute('href'))"
        )
        return [str(href) for href in found]

    async def element_names(self) -> set[str]:
        """The names of all elements."""
        found = await self.page.evaluate(
            "[...document.querySelectorAll('*')].map(e => e.localName)"
        )
        return {str(name) for name in found}

    async def contrasts(self) -> dict[str, float]:
        """The contrast of each piece of text with what is behind it (WCAG 2.2, 1.4.3)."""
        found: dict[str, float] = await self.page.evaluate(_CONTRASTS)
        return found

    async def escaping(self) -> list[str]:
        """The beginnings of texts that are drawn beyond the card."""
        found: list[str] = await self.page.evaluate(_ESCAPING)
        return found


@asynccontextmanager
async def opened(
    browser: Browser, page_file: Path, size: tuple[int, int], scheme: Scheme = "light"
) -> AsyncIterator[Opened]:
    """The file in a window of `size`, without a network."""
    width, height = size
    context = await browser.new_context(
        viewport={"width": width, "height": height},
        device_scale_factor=2 if width < 500 else 1,
        color_scheme=scheme,
        offline=True,
    )
    try:
        page = await context.new_page()
        seen = Opened(page)

        def requested(request: Request) -> None:
            if request.url != page_file.as_uri():
                seen.requests.append(request.url)

        page.on("request", requested)
        page.on("console", lambda message: seen.complaints.append(message.text))
        page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        await page.goto(page_file.as_uri())
        yield seen
    finally:
        await context.close()


_CONTRASTS = """() => {
  const channels = (colour) => {
    const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number);
    return {rgb: [r, g, b], a};
  };
  const luminance = ({rgb}) => {
    const [r, g, b] = rgb.map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = channels(getComputedStyle(at).backgroundColor);
      if (colour.a > 0) return colour;
    }
    return {rgb: [255, 255, 255], a: 1};
  };
  const found = {};
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const text = texts.currentNode.textContent.trim();
    if (!text) continue;
    const element = texts.currentNode.parentElement;
    const pair = [luminance(channels(getComputedStyle(element).color)), luminance(behind(element))];
    found[text.slice(0, 40)] = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
  }
  return found;
}"""

_ESCAPING = """() => {
  const card = document.querySelector('.sg-card').getBoundingClientRect();
  const escaping = [];
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const range = document.createRange();
    range.selectNodeContents(texts.currentNode);
    for (const box of range.getClientRects()) {
      if (box.width && (box.left < card.left - 1 || box.right > card.right + 1)) {
        escaping.push(texts.currentNode.textContent.slice(0, 40));
        break;
      }
    }
  }
  return escaping;
}"""
