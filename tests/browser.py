"""A browser for tests: one that is there, or else one that is installed now.

`python -m tests.browser` says which one it is. The fixture `browser` in `tests/conftest.py` is a
Playwright Browser, started once; tests that use it run on the session's event loop:

    pytestmark = pytest.mark.asyncio(loop_scope="session")

    async def test_the_page(browser: Browser) -> None:
        page = await browser.new_page()
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, async_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "microsoft-edge")
_INSTALL_SECONDS = 600


@dataclass(frozen=True)
class FoundBrowser:
    """Which browser is used, and how it came here."""

    executable: Path
    origin: str


@asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """A headless Chromium; it and all its pages are closed at the end."""
    async with async_playwright() as playwright:
        found = find_or_install(Path(playwright.chromium.executable_path))
        # Chromium's own sandbox refuses to run as root; what is opened here is our own.
        arguments = ["--no-sandbox"] if _is_root() else []
        browser = await playwright.chromium.launch(
            executable_path=found.executable, args=arguments, env=_environment()
        )
        try:
            yield browser
        finally:
            await browser.close()


def find_or_install(playwrights_own: Path) -> FoundBrowser:
    """Return the browser to use.

    Args:
        playwrights_own: where Playwright's own download is, if it was made.

    Raises:
        RuntimeError: if there is none and none can be installed; says what was tried.
    """
    if found := _found(playwrights_own):
        return found
    tried = []
    for command in _installing():
        done = subprocess.run(
            command, timeout=_INSTALL_SECONDS, check=False, capture_output=True, text=True
        )
        if done.returncode == 0 and (found := _found(playwrights_own)):
            return FoundBrowser(found.executable, f"installed by {' '.join(command)}")
        tried.append(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-300:]}")
    raise RuntimeError(
        "there is no browser for the tests: install chromium. Tried: " + "; ".join(tried)
    )


def _found(playwrights_own: Path) -> FoundBrowser | None:
    for name in _NAMES:
        if path := shutil.which(name):
            return FoundBrowser(Path(path), "found on the PATH")
    if playwrights_own.exists():
        return FoundBrowser(playwrights_own, "Playwright's own")
    return None


def _installing() -> list[list[str]]:
    """Return the commands that may install one, the best first."""
    own = [sys.executable, "-m", "playwright", "install", "chromium"]
    if not (_is_root() and shutil.which("apt-get")):
        return [own]
    quiet = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet"]
    packages = ["chromium", "fonts-noto-core", "fonts-noto-color-emoji"]
    return [
        ["sh", "-c", f"{' '.join(quiet)} update && {' '.join(quiet)} install --yes "
         f"--no-install-recommends {' '.join(packages)}"],
        [*own, "--with-deps"],
    ]  # fmt: skip


def _is_root() -> bool:
    return os.name == "posix" and os.geteuid() == 0


def _environment() -> dict[str, str | float | bool]:
    # A proxy of the surroundings would answer for hosts that the pages must not ask anyway.
    return {
        name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
    }


async def _say() -> None:
    async with async_playwright() as playwright:
        found = find_or_install(Path(playwright.chromium.executable_path))
    print(f"{found.executable} ({found.origin})")
    async with running_browser() as browser:
        print(f"Chromium {browser.version}")


if __name__ == "__main__":
    import asyncio

    asyncio.run(_say())
