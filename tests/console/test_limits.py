"""Changing fields within limits: what one may type is said beside the field, as is a refusal."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from playwright.async_api import expect

from tests.console.conftest import Asking
from tests.console.test_request_page import path_of, view
from tests.console.visiting import Visits
from tests.rendering.looking import PHONE

pytestmark = pytest.mark.asyncio(loop_scope="session")

ASKED: dict[str, Any] = {
    "amount": "12500.00",
    "account": "Main account",
    "purpose": "Deposit",
    "payee": "Torhaus",
}


@pytest.mark.parametrize("scripts", [True, False])
async def test_a_limit_is_said_before_and_after(
    signed_in: Visits, submit: Asking, asking_http: httpx2.Client, scripts: bool
) -> None:
    """In words beside its field; what is refused is refused there, and what was typed stays."""
    signed_in.expect("status of 422")
    asked = submit(ASKED, action_type="payout")
    page = await signed_in("alex", PHONE, java_script_enabled=scripts)
    await page.goto(path_of(asked))
    await page.locator("#modify > summary").click()
    amount = page.get_by_label("amount decimal")
    said = "at least 1.00, at most 12,500.00 (what the agent asks for)"
    await expect(amount).to_have_accessible_description(said)
    await amount.fill("12500.000000000000000000001")
    await page.get_by_label("purpose string").fill("Deposit and first rent")
    await page.get_by_label("Comment").fill("as agreed")
    await page.get_by_role("button", name="Show the changes").click()
    await expect(amount).to_have_accessible_description(
        f"{said} 'amount' must be a number, at most 12,500.00 (what the agent asks for)"
    )
    await expect(amount).to_have_attribute("aria-invalid", "true")
    await expect(amount).to_be_focused()
    await expect(amount).to_have_value("12500.000000000000000000001")
    await expect(page.get_by_label("purpose string")).to_have_value("Deposit and first rent")
    await expect(page.get_by_label("Comment")).to_have_value("as agreed")
    assert await page.locator(".wrong").count() == 1
    await amount.fill("ten")
    await page.get_by_role("button", name="Show the changes").click()
    await expect(page.locator("#modify .wrong")).to_contain_text("write a plain number")
    await amount.fill("12000.00")
    await page.get_by_role("button", name="Show the changes").click()
    await page.get_by_role("button", name="Approve with these changes").click()
    await expect(page.locator(".ending")).to_contain_text("Approved with changes by Alex")
    outcome = view(asking_http, asked)["outcome"]
    assert outcome["modifications"] == {
        "amount": "12000.00",
        "purpose": "Deposit and first rent",
    }


async def test_of_few_values_one_is_chosen(
    signed_in: Visits, submit: Asking, asking_http: httpx2.Client
) -> None:
    """What stands there now is among them, even if it could not be chosen anew."""
    asked = submit({**ASKED, "account": "Petty cash"}, action_type="payout")
    page = await signed_in("alex")
    await page.goto(path_of(asked))
    await page.locator("#modify > summary").click()
    account = page.get_by_label("account string")
    await expect(account).to_have_accessible_description("one of Main account, Reserve")
    assert await account.locator("option").all_inner_texts() == [
        "Petty cash",
        "Main account",
        "Reserve",
    ]
    await expect(account).to_have_value("Petty cash")
    await account.select_option("Reserve")
    await page.get_by_role("button", name="Show the changes").click()
    await page.get_by_role("button", name="Approve with these changes").click()
    await expect(page.locator(".ending")).to_contain_text("Approved with changes by Alex")
    assert view(asking_http, asked)["outcome"]["modifications"] == {"account": "Reserve"}


async def test_a_length_is_counted_as_the_rules_count_it(
    signed_in: Visits, submit: Asking, asking_http: httpx2.Client
) -> None:
    """Forty characters go, whatever alphabet they are of; the browser holds back the next one."""
    asked = submit(ASKED, action_type="payout")
    page = await signed_in("alex")
    await page.goto(path_of(asked))
    await page.locator("#modify > summary").click()
    purpose = page.get_by_label("purpose string")
    await purpose.fill("🧾" * 41)
    assert not await purpose.evaluate("field => field.checkValidity()")
    await purpose.fill("🧾" * 40)
    await page.get_by_role("button", name="Show the changes").click()
    await page.get_by_role("button", name="Approve with these changes").click()
    await expect(page.locator(".ending")).to_contain_text("Approved with changes by Alex")
    assert view(asking_http, asked)["outcome"]["modifications"] == {"purpose": "🧾" * 40}


async def test_what_is_too_long_already_keeps_nobody_from_changing_another_field(
    signed_in: Visits, submit: Asking
) -> None:
    asked = submit({**ASKED, "purpose": "x" * 50}, action_type="payout")
    page = await signed_in("alex")
    await page.goto(path_of(asked))
    await page.locator("#modify > summary").click()
    await page.get_by_label("amount decimal").fill("12000.00")
    await page.get_by_role("button", name="Show the changes").click()
    await expect(page.get_by_role("heading", name="You approve this with changes")).to_be_visible()


async def test_why_it_is_asked_and_by_which_policies(signed_in: Visits, submit: Asking) -> None:
    """The policy's own words; its name and the version of all policies beside them, and in the
    history."""
    asked = submit(ASKED, action_type="payout")
    page = await signed_in("alex")
    await page.goto(path_of(asked))
    why = page.locator(".why")
    await expect(why.get_by_role("listitem")).to_have_text("More than 1,000.00 leaves us at once.")
    version = await why.locator("code").inner_text()
    assert len(version) == 12
    await expect(why).to_contain_text(f"Policy big-payouts; policies {version}")
    await page.locator("#timeline-title").click()
    words = f"asked; by policy big-payouts (policies {version})"
    await expect(page.locator(".timeline")).to_contain_text(words)
    await page.goto("/console/policies")
    await expect(page.locator("main")).to_contain_text(version)
