"""Payouts in the dashboard: a batch from its computation to its arrival, and its proof on the owner's page. Audits too."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import cast

import httpx
import pytest
from playwright.sync_api import Browser, expect

from support.agents import Agent
from support.clients.scripted_miner import ScriptedMiner
from support.dashboard import LIMIT_MS, PHONE, Dashboard, chromium, visit
from support.payouts.stage import SETTINGS, rich_miner, set_address
from support.server import Served, serve

pytestmark = [pytest.mark.ship, pytest.mark.acceptance]

expect.set_options(timeout=LIMIT_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("payouts")
    with serve(folder, payouts={**SETTINGS, "adapters": ["file"]}, open_enrolment=True) as served:
        yield served


@pytest.fixture(scope="module")
def miners(served: Served) -> list[ScriptedMiner]:
    """One miner with an address, and one without."""
    with httpx.Client(base_url=served.url, headers={"X-API-Key": served.client_key}) as client:
        return [rich_miner(served, client, "DE02500105170000000000"), rich_miner(served, client)]


@pytest.fixture
def dashboard(browser: Browser, served: Served, miners: list[ScriptedMiner]) -> Iterator[Dashboard]:
    """A window of an administrator who owns the first miner."""
    roles = {"miner_id": miners[0].miner_id, "admin": True}
    keys = {"X-API-Key": served.admin_key}
    link = httpx.post(f"{served.url}/v1/admin/logins", headers=keys, json=roles).json()
    with visit(browser, cast("Agent", served)) as dashboard:
        yield dashboard.sign_in(link["path"])
        assert not dashboard.faults


def test_pays_miners_and_proves_it(dashboard: Dashboard, served: Served, miners: list[ScriptedMiner]) -> None:
    """Computed first, then created, approved, sent, confirmed by hand; the owner verifies the proof in the browser."""
    page = dashboard.open("/network/payouts")
    expect(page.get_by_text("No batches yet")).to_be_visible()
    expect(page.get_by_text("Nothing waits for your approval.")).to_be_visible()
    page.get_by_role("button", name="New batch").click()
    assert dashboard.problems() == []
    page.get_by_label("Rate").fill("0")
    expect(page.get_by_text("Enter a number above 0, such as 0.9137.")).to_be_visible()
    expect(page.get_by_role("button", name="Preview")).to_be_disabled()
    page.get_by_label("Pay with").select_option("file EUR")
    page.get_by_label("Rate").fill("0.9")
    page.get_by_role("button", name="Preview").click()
    expect(page.get_by_text("Nothing has changed yet")).to_be_visible()
    page.get_by_text("1 miner not paid").click()
    expect(page.get_by_role("table", name="Miners that are not paid")).to_contain_text("no address")
    assert dashboard.problems() == []
    page.get_by_role("button", name="Create this batch").click()
    page.wait_for_url(re.compile(r"/network/payouts/batch_"))
    batch = page.url
    page = dashboard.open("/network/payouts")
    expect(page.get_by_text("A batch waits for your approval: 1 payment")).to_be_visible()
    page.goto(batch)
    expect(page.get_by_text("Nothing is sent until you approve this payment.")).to_be_visible()
    page.get_by_role("button", name="Approve").click()
    page.get_by_role("dialog").get_by_role("button", name="Approve and send").click()
    page.get_by_role("button", name="Actions for the payment").click()
    expect(page.get_by_role("menuitem", name="Mark as failed")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Confirm 1 payment").click()
    assert dashboard.problems() == []
    page.get_by_role("dialog").get_by_role("button", name="All were paid").click()
    expect(page.get_by_text("All confirmed").first).to_be_visible()
    expect(page.get_by_role("heading", name="Manifest")).to_be_visible()
    page = dashboard.open("/machine/payouts")
    expect(page.get_by_role("table", name="Payments")).to_contain_text("0.09 EUR")
    page.get_by_role("button", name="Verify the payment").click()
    expect(page.locator(".verdict")).to_contain_text("This payment is in the log.")
    assert dashboard.problems() == []


def test_an_owner_sees_a_change_of_the_address_before_it_takes_effect(
    dashboard: Dashboard, served: Served, miners: list[ScriptedMiner]
) -> None:
    """With how to undo it; the dashboard cannot change an address, since only the machine's identity key can sign it."""
    set_address(served, miners[0], "DE89370400440532013000").raise_for_status()
    page = dashboard.open("/machine/payouts")
    notice = page.locator(".notice", has_text="The address changes")
    expect(notice).to_contain_text("DE89370400440532013000")
    expect(notice).to_contain_text("set the old address again")
    expect(page.get_by_text("a key for this dashboard cannot change it")).to_be_visible()
    page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
    assert dashboard.problems() == []
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]


@pytest.mark.needs("audits")
def test_pages_of_audits_say_why_they_are_empty(dashboard: Dashboard, miners: list[ScriptedMiner]) -> None:
    """Until another miner has checked a result."""
    page = dashboard.open("/network/audits")
    expect(page.get_by_text("No audits yet")).to_be_visible()
    page.get_by_role("button", name="Add a known answer").click()
    assert dashboard.problems() == []
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Failed").click()
    page.wait_for_url(re.compile("verdict=fail"))
    expect(page.get_by_text("No matching audits")).to_be_visible()
    page = dashboard.open("/machine/audits")
    expect(page.get_by_text("No audit of this machine has been decided")).to_be_visible()
    page = dashboard.open("/machine")
    expect(page.get_by_text("No audit of its results has been decided yet.")).to_be_visible()
