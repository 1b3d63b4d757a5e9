"""What is wrong with a page, as a machine can tell: for assistive technology, fingers and keys."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from axe_playwright_python.base import AXE_SCRIPT

if TYPE_CHECKING:
    from playwright.async_api import Page

TARGET = 44
"""The least height of what is pressed, in CSS pixels."""

_RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
}


async def violations(page: Page, *, colours_only: bool = False) -> list[str]:
    """What axe-core finds: each rule with the element that breaks it.

    Args:
        colours_only: where only the colours differ from a page that has been judged.
    """
    only = {"runOnly": ["color-contrast"], "resultTypes": ["violations"]}
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE_SCRIPT)
    found: list[str] = await page.evaluate(_VIOLATIONS, only if colours_only else _RULES)
    return found


async def small_targets(page: Page) -> list[str]:
    """What is pressed and less than 44 px high, links in the midst of a sentence excepted
    (WCAG 2.2, 2.5.8)."""
    found: list[str] = await page.evaluate(_SMALL_TARGETS, TARGET)
    return found


async def watch_shifts(page: Page) -> None:
    """Begin to count how far things move by themselves, on every page that opens from now on."""
    await page.add_init_script(_WATCH_SHIFTS)


async def shifts(page: Page) -> list[str]:
    """What has moved since the page began to open, and how far (Layout Instability, section 3)."""
    found: list[str] = await page.evaluate(_SHIFTS)
    return found


@dataclass(frozen=True)
class Stop:
    """Where the focus was after a press of Tab.

    Attributes:
        name: the element, as people know it.
        left: its box, in CSS pixels from the top left corner of the page; so are the others.
        fixed: whether it stays where it is when the page scrolls.
        outlined: whether the focus can be seen on it.
        hidden: what covers it, or an empty text.
    """

    name: str
    left: float
    top: float
    right: float
    bottom: float
    fixed: bool
    outlined: bool
    hidden: str


async def tab_through(page: Page, limit: int = 150) -> list[Stop]:
    """Press Tab from the page's beginning to its end; return where the focus went."""
    await page.evaluate(_BEGIN)
    stops: list[Stop] = []
    for _ in range(limit):
        await page.keyboard.press("Tab")
        found: dict[str, Any] | None = await page.evaluate(_STOP)
        if found is None:
            break
        stops.append(Stop(**found))
    return stops


def out_of_order(stops: list[Stop]) -> list[str]:
    """Steps against the reading order: up, other than to a column further right."""
    return [
        f"{before.name} → {after.name}"
        for before, after in pairwise(stops)
        if not (before.fixed or after.fixed)
        and after.bottom <= before.top
        and after.left < before.right
    ]


# What it finds in order is as long as the page is, and stays there.
_VIOLATIONS = """(options) => axe.run(options).then(({violations}) => violations.flatMap(
  ({id, nodes}) => nodes.map(({target, html}) => `${id}: ${target.join(' ')} ${html.slice(0, 160)}`)
))"""

_SMALL_TARGETS = """(least) => {
  const inSentence = (element) => {
    if (getComputedStyle(element).display !== 'inline') return false;
    const words = (node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim().length > 1;
    let around = element.parentElement;
    while (around && getComputedStyle(around).display === 'inline') around = around.parentElement;
    const texts = document.createTreeWalker(around, NodeFilter.SHOW_TEXT);
    while (texts.nextNode()) {
      if (words(texts.currentNode) && !element.contains(texts.currentNode)) return true;
    }
    return false;
  };
  const height = (element) => {
    const boxes = [element, ...(element.labels || [])].map((e) => e.getBoundingClientRect());
    return Math.max(...boxes.map((box) => box.height));
  };
  const pressed = 'a[href], button, input:not([type=hidden]), select, textarea, summary, '
    + '[role=button], [role=tab]';
  return [...document.querySelectorAll(pressed)]
    .filter((e) => e.checkVisibility({visibilityProperty: true}) && !e.closest('.unseen'))
    .filter((e) => height(e) < least - 0.5 && !inSentence(e))
    .map((e) => `${e.outerHTML.slice(0, 120)} is ${Math.round(height(e))} px high`);
}"""

_WATCH_SHIFTS = """(() => {
  window.layoutShifts = [];
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      // What moves within half a second of a press is an answer to it.
      if (entry.hadRecentInput) continue;
      const moved = entry.sources.map((source) => source.node && (
        source.node.outerHTML || source.node.textContent).slice(0, 100));
      // Nobody sees a space go to the next line.
      if (moved.length && moved.every((html) => html !== null && !html.trim())) continue;
      window.layoutShifts.push({value: entry.value, moved});
    }
  }).observe({type: 'layout-shift', buffered: true});
})()"""

_SHIFTS = """() => new Promise((resolve) => {
  // Two frames later whatever has been laid out is reported.
  requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => {
    resolve(window.layoutShifts.map(({value, moved}) => `${value}: ${moved.join(' | ')}`));
  }, 50)));
})"""

# From the beginning, wherever a page has put the focus as it opened.
_BEGIN = """() => {
  document.body.tabIndex = -1;
  document.body.focus();
  document.body.removeAttribute('tabindex');
  scrollTo(0, 0);
}"""

_STOP = """() => {
  const element = document.activeElement;
  if (!element || element === document.body) return null;
  const box = element.getBoundingClientRect();
  const ringed = (style) => style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
  // A link that stands for all of its row has its outline around the row.
  const outlined = [getComputedStyle(element), getComputedStyle(element, '::after')].some(ringed);
  let fixed = false;
  for (let at = element; at; at = at.parentElement) {
    fixed ||= ['fixed', 'sticky'].includes(getComputedStyle(at).position);
  }
  const width = document.documentElement.clientWidth;
  const height = document.documentElement.clientHeight;
  const x = Math.min(Math.max((box.left + box.right) / 2, 0), width - 1);
  const y = Math.min(Math.max((box.top + Math.min(box.bottom, box.top + 44)) / 2, 0), height - 1);
  const front = document.elementFromPoint(x, y);
  const near = front && (element.contains(front) || front.contains(element)
    || [...(element.labels || [])].some((label) => label.contains(front)));
  const text = element.getAttribute('aria-label') || element.innerText || element.name || '';
  return {
    name: `${element.localName} ${text.trim().replace(/\\s+/g, ' ').slice(0, 40)}`,
    left: box.left + scrollX, right: box.right + scrollX,
    top: box.top + scrollY, bottom: box.bottom + scrollY,
    fixed, outlined,
    hidden: near ? '' : (front ? front.outerHTML.slice(0, 80) : 'out of the window'),
  };
}"""
