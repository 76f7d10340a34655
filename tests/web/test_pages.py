"""What holds for all pages of the dashboard: who gets in, how heavy they are, that everybody can use them."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, expect

from support.agents import Agent
from support.dashboard import DESKTOP, PHONE, Dashboard, Scheme, login_path, visit

pytestmark = pytest.mark.acceptance

PAGES = (
    "/", "/jobs", "/new", "/new/whisper_transcription", "/new/image_generation", "/new/ai_inference",
    "/chat", "/wallet", "/market", "/verify", "/nowhere",
)  # fmt: skip
DIST = Path(__file__).parents[2] / "agent/coordinator/web/dist"
MOST_SCRIPT = 250_000
"""Bytes of all scripts together, as they are on the disk."""
FIRST_PAINT_MS = 1000


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_every_page(browser: Browser, agent: Agent, scheme: Scheme) -> None:
    """axe-core finds nothing serious, at a desk and on a phone; nothing is wider than the phone."""
    for size in (DESKTOP, PHONE):
        with visit(browser, agent, size=size, scheme=scheme) as dashboard:
            dashboard.open("/")
            assert dashboard.findings() == [], "the page to sign in"
            dashboard.sign_in()
            for path in PAGES:
                page = dashboard.open(path)
                assert dashboard.findings() == [], path
                width = page.evaluate("document.documentElement.scrollWidth")
                assert width <= size[0], f"{path} is {width} pixels wide"
            assert not dashboard.faults


def test_the_scripts_are_small_and_the_first_page_is_there_at_once(dashboard: Dashboard) -> None:
    """Under 250 kB of script in all, and the first paint within a second."""
    scripts = {path.name: path.stat().st_size for path in DIST.rglob("*.js")}
    assert scripts
    assert sum(scripts.values()) < MOST_SCRIPT, scripts
    page = dashboard.open("/")
    painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    assert painted < FIRST_PAINT_MS


def test_a_link_signs_in_once(browser: Browser, agent: Agent) -> None:
    """Its keys are this window's; a second use is refused; signing out makes the keys useless."""
    link = agent.url + login_path(agent)
    with visit(browser, agent) as dashboard:
        page = dashboard.page
        page.goto(link)
        expect(page.get_by_role("heading", name="Overview")).to_be_visible()
        # It is neither in the address any more nor in the history.
        assert "login" not in page.url
        key = page.evaluate("JSON.parse(localStorage.getItem('aitbc.keys'))[0].key")
        bearer = {"Authorization": f"Bearer {key}"}
        assert httpx.get(f"{agent.url}/v1/key", headers=bearer).status_code == 200
        page.get_by_role("button", name="Sign out").first.click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert httpx.get(f"{agent.url}/v1/key", headers=bearer).status_code == 401
        assert not dashboard.faults
    with visit(browser, agent) as dashboard:
        dashboard.page.goto(link)
        expect(dashboard.page.locator(".toast")).to_contain_text("aitbc-agent login")


def test_a_key_signs_in(browser: Browser, agent: Agent) -> None:
    """A wrong one is refused with what to look at; with a client's key alone there is only the client's part."""
    with visit(browser, agent) as dashboard:
        page = dashboard.open("/wallet")
        field = page.get_by_label("API key")
        field.fill("aitbc_client_wrong")
        field.press("Enter")
        expect(page.get_by_text("This key is not known here.")).to_be_visible()
        field.fill(agent.file["client_key"])
        field.press("Enter")
        # The page that was asked for, not another one.
        expect(page.get_by_role("heading", name="Wallet")).to_be_visible()
        pages = page.get_by_role("navigation", name="Pages")
        expect(pages.get_by_role("link", name="Jobs")).to_be_visible()
        expect(pages.get_by_role("link", name="Accounts")).to_have_count(0)


def test_it_is_used_with_the_keyboard(browser: Browser, agent: Agent) -> None:
    """The first stop leads past the navigation; the menu of phones opens, closes with Escape, and gives the focus back."""
    with visit(browser, agent, size=PHONE) as dashboard:
        page = dashboard.sign_in().open("/jobs")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()
        menu = page.get_by_role("button", name="Menu")
        menu.focus()
        page.keyboard.press("Enter")
        drawer = page.get_by_role("dialog", name="Menu")
        expect(drawer.get_by_role("link", name="Marketplace")).to_be_visible()
        page.keyboard.press("Escape")
        expect(drawer).to_be_hidden()
        expect(menu).to_be_focused()


def test_the_theme_is_kept(browser: Browser, agent: Agent) -> None:
    """The switch goes from the system's colours to light to dark, and the choice outlives the page."""
    with visit(browser, agent, scheme="light") as dashboard:
        page = dashboard.sign_in().open("/")
        colours = [page.evaluate("getComputedStyle(document.body).backgroundColor")]
        for _ in range(2):
            page.get_by_role("button", name="Colours").first.click()
            colours.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page = dashboard.open("/")
        colours.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert colours[0] == colours[1] != colours[2] == colours[3]
