"""Signing in through a real OpenID provider, as a person does it in a browser."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_asyncio

from deploy.valkey import free_port
from tests.console.doors import Door, open_door
from tests.console.judging import small_targets, violations
from tests.console.openid_provider import CLIENT_ID, CLIENT_SECRET, PASSWORD
from tests.deploy.running import Running
from tests.rendering.looking import DESKTOP, NARROWEST, Opened

if TYPE_CHECKING:
    from playwright.async_api import Browser, Page

pytestmark = pytest.mark.asyncio(loop_scope="session")

BUTTON = "Sign in with the club"


@pytest.fixture(scope="module")
def provider_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, provider_port: int) -> Iterator[Door]:
    """A gateway that knows the provider, which runs beside it."""
    folder = tmp_path_factory.mktemp("oidc")
    with open_door(
        folder,
        SAFEGUARDS_OIDC_ISSUER=f"http://127.0.0.1:{provider_port}/o",
        SAFEGUARDS_OIDC_CLIENT_ID=CLIENT_ID,
        SAFEGUARDS_OIDC_CLIENT_SECRET=CLIENT_SECRET,
        SAFEGUARDS_OIDC_NAME="the club",
    ) as door:
        back = f"{door.url}/sign-in/oidc/callback"
        argv = ["-m", "tests.console.openid_provider", str(provider_port), str(folder), back]
        with Running(argv) as running:
            running.position("the provider is there")
            yield door


@pytest_asyncio.fixture(loop_scope="session")
async def page(browser: Browser, door: Door) -> AsyncIterator[Page]:
    """A window of somebody who has signed in nowhere."""
    context = await browser.new_context(base_url=door.url)
    context.set_default_timeout(15_000)
    yield await context.new_page()
    await context.close()


async def at_the_provider(page: Page, who: str, start: str = "/sign-in") -> None:
    """Go to the provider and log in there, up to its question."""
    await page.goto(start)
    await page.get_by_role("link", name=BUTTON).click()
    await page.get_by_label("Username").fill(who)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Log in").click()
    await page.wait_for_url("**/o/authorize/**")


async def come_back(page: Page, who: str, start: str = "/sign-in") -> None:
    """Go to the provider, and let it tell who one is."""
    await at_the_provider(page, who, start)
    await page.locator("input[name=allow]").click()


async def test_the_page_with_its_button_is_for_everybody(page: Page) -> None:
    """axe-core finds nothing, nothing scrolls sideways, and a finger hits what is pressed."""
    await page.goto("/sign-in")
    assert await page.get_by_role("link", name=BUTTON).is_visible()
    for scheme in ("light", "dark"):
        # Without motion: a colour that is on its way from one scheme to the other is none of them.
        await page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        for width, height in (DESKTOP, NARROWEST):
            await page.set_viewport_size({"width": width, "height": height})
            assert await violations(page, colours_only=scheme == "dark") == []
            assert await Opened(page).overflow() <= 0
    assert await small_targets(page) == []


async def test_who_has_a_verified_address_of_a_reviewer_is_let_in(page: Page, door: Door) -> None:
    """The provider writes the address in capitals; and they go where they wanted to."""
    await come_back(page, "alex", "/console/account?changed=keys")
    await page.wait_for_url("**/console/account?changed=keys")
    shown = await page.locator(".lines li").first.inner_text()
    assert "Signed in with the club" in shown
    names = {cookie.get("name") for cookie in await page.context.cookies(door.url)}
    assert "__Host-safeguards" in names
    assert "__Host-safeguards-oidc" not in names, "what was remembered for the trip is gone"


async def test_signing_out_everywhere_ends_these_sessions_too(page: Page, door: Door) -> None:
    await come_back(page, "sam", "/console/account")
    await page.wait_for_url("**/console/account")
    with door.signed_in("sam") as elsewhere:
        csrf = {"csrf": elsewhere.csrf()}
        assert elsewhere.post("/sign-out/everywhere", data=csrf).status_code == 303
    await page.reload()
    assert "/sign-in" in page.url


@pytest.mark.parametrize(
    ("who", "words"),
    [
        ("kim", "It has not verified that kim@example.com is your address."),
        ("mallory", "Nobody with the address mallory@elsewhere.example is a reviewer here."),
    ],
)
async def test_anybody_else_is_told_why_not(page: Page, who: str, words: str) -> None:
    await come_back(page, who)
    await page.wait_for_url("**/sign-in/oidc/callback**")
    told = page.get_by_role("alert")
    assert await told.inner_text() == f"You could not sign in with the club. {words}"
    await page.goto("/console/account")
    assert "/sign-in" in page.url


async def test_who_does_not_want_to_tell_is_not_let_in(page: Page) -> None:
    await at_the_provider(page, "alex")
    await page.locator("input[type=submit]:not([name=allow])").click()
    await page.wait_for_url("**/sign-in/oidc/callback**")
    assert "You did not let it tell us who you are." in await page.get_by_role("alert").inner_text()


async def test_a_state_that_was_not_given_here_is_refused(page: Page) -> None:
    """An attacker's own way back, followed by somebody in the middle of theirs."""
    await at_the_provider(page, "alex")
    await page.goto("/sign-in/oidc/callback?code=theirs&state=theirs")
    assert "It was not begun in this window." in await page.get_by_role("alert").inner_text()
    await page.goto("/console/account")
    assert "/sign-in" in page.url


async def test_a_way_back_works_only_in_the_browser_that_left_and_only_once(
    page: Page, browser: Browser, door: Door
) -> None:
    """Whoever is made to open somebody else's way back is not signed in as them."""
    ways: list[str] = []
    page.on("request", lambda r: ways.append(r.url) if "/callback?" in r.url else None)
    await come_back(page, "alex", "/console/account")
    await page.wait_for_url("**/console/account")
    (way,) = ways
    stranger = await (await browser.new_context()).new_page()
    for visitor in (stranger, page):
        await visitor.goto(way)
        told = await visitor.get_by_role("alert").inner_text()
        assert "It was not begun in this browser" in told
    await stranger.context.close()


async def test_what_is_asked_of_the_provider(door: Door) -> None:
    """PKCE by S256 (RFC 7636), state and nonce, each fresh; only the name and the address."""
    with door.browser() as client:
        gone = [client.get("/sign-in/oidc") for _ in range(2)]
    asked = [parse_qs(urlsplit(g.headers["location"]).query) for g in gone]
    for query in asked:
        assert query["code_challenge_method"] == ["S256"]
        assert query["response_type"] == ["code"]
        assert query["scope"] == ["openid email"]
        assert query["redirect_uri"] == [f"{door.url}/sign-in/oidc/callback"]
    for name in ("state", "nonce", "code_challenge"):
        assert asked[0][name] != asked[1][name]
    cookie = gone[0].headers["set-cookie"]
    for part in ("__Host-safeguards-oidc=", "HttpOnly", "Secure", "SameSite=lax", "Path=/"):
        assert part in cookie


async def test_a_forged_memory_of_the_trip_is_refused(door: Door) -> None:
    with door.browser() as client:
        client.get("/sign-in/oidc")
        sealed = client.held["__Host-safeguards-oidc"]
        headers = {"Cookie": f"__Host-safeguards-oidc=x{sealed}"}
        answer = client.get("/sign-in/oidc/callback?code=a&state=b", headers=headers)
    assert answer.status_code == 403
    assert "It was not begun in this browser" in answer.text


async def test_a_public_client_needs_no_secret(
    tmp_path_factory: pytest.TempPathFactory, door: Door, provider_port: int
) -> None:
    """Its proof is PKCE alone; what it is sent back with is refused only for the code."""
    folder = tmp_path_factory.mktemp("public")
    with (
        open_door(
            folder,
            SAFEGUARDS_OIDC_ISSUER=f"http://127.0.0.1:{provider_port}/o",
            SAFEGUARDS_OIDC_CLIENT_ID="public",
        ) as public,
        public.browser() as client,
    ):
        gone = client.get("/sign-in/oidc")
        query = parse_qs(urlsplit(gone.headers["location"]).query)
        assert query["client_id"] == ["public"]
        state = query["state"][0]
        answer = client.get(f"/sign-in/oidc/callback?code=wrong&state={state}")
        assert answer.status_code == 403
        assert "your organisation. It refused." in answer.text


@pytest.mark.parametrize("issuer", ["unreachable", "/other"])
async def test_a_provider_that_is_away_or_another_is_said_in_words(
    tmp_path_factory: pytest.TempPathFactory, door: Door, provider_port: int, issuer: str
) -> None:
    """The page stays, and signing in by password goes on."""
    port = free_port() if issuer == "unreachable" else provider_port
    # Discovery is answered under this path as well; what it names is another issuer.
    url = f"http://127.0.0.1:{port}/o" + ("/" if issuer == "/other" else "")
    folder = tmp_path_factory.mktemp("away")
    with (
        open_door(folder, SAFEGUARDS_OIDC_ISSUER=url, SAFEGUARDS_OIDC_CLIENT_ID=CLIENT_ID) as away,
        away.browser() as client,
    ):
        answer = client.get("/sign-in/oidc")
        assert answer.status_code == 502
        assert "It cannot be reached just now." in answer.text
        with away.signed_in("sam") as sam:
            assert sam.get("/console/account").status_code == 200
