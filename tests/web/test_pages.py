"""All pages of the dashboard: sign-in, script size and accessibility."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from support.agents import Agent
from support.dashboard import CLIENT_PAGES, DESKTOP, MACHINE_PAGES, PHONE, Dashboard, login_path, visit
from support.features import all_installed

pytestmark = [pytest.mark.system, pytest.mark.acceptance]

DIST = Path(__file__).parents[2] / "agent/coordinator/web/dist"
MOST_SCRIPT = 225_000
"""Bytes, uncompressed, of the scripts that a page loads until it is complete. The API reference is another page."""
LOADED_SCRIPT = """performance.getEntriesByType("resource").filter(({ name }) => name.endsWith(".js"))
    .reduce((sum, { decodedBodySize }) => sum + decodedBodySize, 0)"""
OTHER_ROLES = {
    "client": ("owner", "operator", "miner", "inspection"),
    "owner": ("operator", "inspection"),
    "operator": ("nothing",),
}
"""The scripts, by the beginning of their names, that a role does not load. Owners and operators may be clients too."""
FIRST_PAINT_MS = 1000
BACKGROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture(scope="module")
def job_page(agent: Agent) -> str:
    """The page of a completed job, with labels and everything else that a job has."""
    source = {"inline": "def predict(input):\n    print('a line')\n    return 1\n"}
    body = {
        "type": "ai_inference",
        "labels": {"project": "pages"},
        "model": {"entrypoint": "model.py", "source": source},
    }
    with agent.client() as client:
        job = client.jobs.create(body)
        client.jobs.wait(job["job_id"], timeout=300)
    return f"/jobs/{job['job_id']}"


@pytest.mark.skipif(not all_installed(), reason="the pages are those of all features")
def test_every_page_opens_with_little_script(dashboard: Dashboard, agent: Agent, job_page: str) -> None:
    """Less than 225 kB each."""
    for path in (*CLIENT_PAGES, job_page, *MACHINE_PAGES, f"/network/miners/{agent.file['miner_id']}"):
        page = dashboard.open(path)
        assert not dashboard.faults, path
        assert 0 < page.evaluate(LOADED_SCRIPT) < MOST_SCRIPT, path


@pytest.mark.ship
def test_every_page_is_accessible(browser: Browser, agent: Agent, job_page: str) -> None:
    """axe-core finds no serious problem on a desktop and a phone, in both schemes, and no page is wider than the screen."""
    with visit(browser, agent) as dashboard:
        dashboard.open("/")
        check_forms(dashboard, "sign-in page")
        dashboard.sign_in()
        for path in (*CLIENT_PAGES, job_page):
            dashboard.open(path)
            check_forms(dashboard, path)
        assert not dashboard.faults


def check_forms(dashboard: Dashboard, path: str) -> None:
    """Check the open page on both screens, with all rules, and in the dark scheme, which differs only in colours."""
    page = dashboard.page
    page.emulate_media(color_scheme="light")
    for size in (DESKTOP, PHONE):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        assert dashboard.problems() == [], path
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= size[0], f"{path} is {width} pixels wide"
    light = page.evaluate(BACKGROUND)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(BACKGROUND) != light
    assert dashboard.problems("color-contrast") == [], f"{path}, dark"


def test_a_role_loads_no_scripts_of_others_and_the_first_page_paints_fast(dashboard: Dashboard) -> None:
    """Within a second."""
    scripts = list((DIST / "assets").rglob("*.js"))
    for others in OTHER_ROLES.values():
        texts = [path.read_text() for path in scripts if not path.name.startswith(others)]
        assert 0 < len(texts) <= len(scripts)
        assert not [other for other in others if any(f'from"./{other}-' in text for text in texts)]
    assert any(first_paint(dashboard) < FIRST_PAINT_MS for _ in range(5)), (
        "even without other tests beside it"
    )


def first_paint(dashboard: Dashboard) -> float:
    """Open the first page, and return its milliseconds until the first paint."""
    painted: float = dashboard.open("/").evaluate(
        "performance.getEntriesByName('first-contentful-paint')[0].startTime"
    )
    return painted


def test_a_login_link_works_once(browser: Browser, agent: Agent) -> None:
    """Scripts cannot read the session; a second use of the link fails; signing out ends the session at once."""
    link = agent.url + login_path(agent)
    with visit(browser, agent) as dashboard:
        page = dashboard.page
        page.goto(link)
        expect(page.get_by_role("heading", name="Home")).to_be_visible()
        # The token is removed from the address and the history.
        assert "login" not in page.url
        assert page.evaluate("document.cookie") == ""
        assert "aitbc_" not in page.evaluate("JSON.stringify({...localStorage, ...sessionStorage})")
        (cookie,) = page.context.cookies()
        assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
        stolen = {"Cookie": f"{cookie['name']}={cookie['value']}", "X-Session-Role": "client"}
        assert httpx.get(f"{agent.url}/v1/key", headers=stolen).status_code == 200
        page.reload()
        expect(page.get_by_role("heading", name="Home")).to_be_visible()
        page.get_by_role("button", name="Sign out").first.click()
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
        assert page.context.cookies() == []
        assert httpx.get(f"{agent.url}/v1/key", headers=stolen).status_code == 401
        assert not dashboard.faults
    with visit(browser, agent) as dashboard:
        dashboard.page.goto(link)
        expect(dashboard.page.locator(".toast code")).to_have_text("aitbc-agent login")
        expect(dashboard.page.locator(".toast")).not_to_contain_text("`")


def test_shows_that_a_page_is_loading(dashboard: Dashboard) -> None:
    """While its script loads, there are placeholders: for the first page, and for a later one instead of the page before."""
    page, held = dashboard.page, list[Route]()
    page.route(re.compile(r"/assets/(client|operator)-"), lambda route: held.append(route))  # noqa: PLW0108 - it needs a function
    placeholder = page.locator("main [aria-busy=true]")

    def arrives(heading: str) -> None:
        expect(placeholder.first).to_be_visible()
        expect(page.get_by_role("heading", level=1)).to_have_count(0)
        for route in held:
            route.continue_()
        held.clear()
        expect(page.get_by_role("heading", level=1)).to_have_text(heading)
        expect(placeholder).to_have_count(0)

    with page.expect_request("**/assets/client*.js"):
        page.goto(f"{dashboard.agent.url}/dashboard/", wait_until="commit")
    arrives("Home")
    with page.expect_request("**/assets/operator*.js"):
        page.get_by_role("navigation", name="Areas").get_by_role("link", name="Network").click()
    arrives("Network")


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_no_figure_is_clipped(browser: Browser, agent: Agent, size: tuple[int, int]) -> None:
    """Not even the balance of a new account, a long amount."""
    with visit(browser, agent, size=size) as dashboard:
        dashboard.sign_in()
        change(dashboard.page, "**/v1/wallet", lambda wallet: wallet.update(balance="1000"))
        page = dashboard.open("/")
        page.get_by_role("button", name="Skip these steps").click()
        expect(page.locator(".figure", has_text="Balance")).to_contain_text("1,000 credits")
        clipped = "[...document.querySelectorAll('.figure')].filter(one => one.scrollWidth > one.clientWidth)"
        assert page.evaluate(f"{clipped}.map(one => one.textContent)") == []
        assert not dashboard.faults


def test_says_why_no_miner_offers_a_service(dashboard: Dashboard) -> None:
    """If other services have miners, and what the owner of a machine can do."""

    def without_images(registry: Any) -> None:
        (service,) = (one for one in registry["services"] if one["service_id"] == "image_generation")
        service.update(miners_online=0, price=None)

    reason = "The package torch is missing. Run `aitbc-agent engines install diffusers`."
    page = dashboard.page
    change(page, "**/v1/registry/services", without_images)
    change(
        page,
        "**/v1/miners?*",
        lambda machines: machines["miners"][0].update(unavailable={"image_generation": [reason]}),
    )
    dashboard.open("/new")
    tile = page.locator('a.tile[href$="/new/image_generation"]')
    expect(tile).to_contain_text("No machine offers this now; jobs wait until one does.")
    expect(tile).to_contain_text("Your machine: The package torch is missing.")
    expect(tile.locator("code")).to_have_text("aitbc-agent engines install diffusers")
    assert dashboard.problems() == []


def change(page: Page, path: str, edit: Callable[[Any], None]) -> None:
    """Edit the JSON with which the coordinator answers these requests."""

    def answer(route: Route) -> None:
        response = route.fetch()
        body = response.json()
        edit(body)
        route.fulfill(response=response, json=body)

    page.route(path, answer)


def test_signs_out_another_browser(browser: Browser, agent: Agent) -> None:
    """The other browser must then sign in again."""
    with visit(browser, agent) as here, visit(browser, agent) as there:
        there.sign_in()
        page = here.sign_in().open("/keys")
        table = page.get_by_role("table", name="Browsers")
        expect(table.get_by_text("This browser", exact=True)).to_have_count(1)
        table.get_by_role("button", name="Sign out this browser").last.click()
        expect(page.locator(".toast")).to_contain_text("signed out")
        there.page.goto(f"{agent.url}/dashboard/wallet")
        expect(there.page.get_by_role("heading", name="Sign in")).to_be_visible()
        expect(table.get_by_text("This browser", exact=True)).to_have_count(1)


def test_a_page_of_another_origin_cannot_use_the_session(browser: Browser, agent: Agent) -> None:
    """The browser sends the cookie with requests of a page on another port of the same machine, which are refused."""
    with visit(browser, agent) as dashboard, foreign_page() as address:
        page = dashboard.sign_in().page
        page.goto(address)
        outcome = page.evaluate(
            """async (url) => {
              const headers = {"X-Session-Role": "client", "Content-Type": "text/plain"};
              const tried = [{}, {headers}, {headers, method: "POST", body: "theirs"}];
              const read = tried.map((init) =>
                fetch(`${url}/v1/session`, {...init, credentials: "include"}).then((answer) => answer.text(), () => "refused"));
              const socket = new Promise((resolve) => {
                const opened = new WebSocket(`${url.replace("http", "ws")}/ws?role=client`);
                opened.onmessage = ({data}) => resolve(JSON.parse(data).error?.code ?? data);
                opened.onerror = () => resolve("refused");
              });
              const blind = await fetch(`${url}/v1/artifacts`, {
                method: "POST", mode: "no-cors", credentials: "include", body: "theirs"}).then((answer) => answer.type);
              return [...(await Promise.all(read)), await socket, blind];
            }""",
            agent.url,
        )
        assert outcome == ["refused", "refused", "refused", "refused", "opaque"]
    key = {"X-API-Key": agent.file["client_key"]}
    theirs = f"sha256:{hashlib.sha256(b'theirs').hexdigest()}"
    assert httpx.get(f"{agent.url}/v1/artifacts/{theirs}", headers=key).status_code == 404


@contextmanager
def foreign_page() -> Iterator[str]:
    """Serve an empty page of another origin on this machine."""

    class Empty(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep the terminal clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Empty) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/"
        finally:
            server.shutdown()
            thread.join()


def test_a_key_signs_in(browser: Browser, agent: Agent) -> None:
    """A wrong key is refused with a hint; a client key alone shows only the pages for clients."""
    with visit(browser, agent) as dashboard:
        page = dashboard.open("/wallet")
        field = page.get_by_label("API key")
        field.fill("aitbc_client_wrong")
        field.press("Enter")
        expect(page.get_by_text("This key is not valid here.")).to_be_visible()
        field.fill(agent.file["client_key"])
        field.press("Enter")
        # The requested page opens after the sign-in.
        expect(page.get_by_role("heading", name="Wallet")).to_be_visible()
        pages = page.get_by_role("navigation", name="Pages")
        expect(pages.get_by_role("link", name="Jobs")).to_be_visible()
        expect(page.get_by_role("navigation", name="Areas")).to_have_count(0)


def test_works_with_the_keyboard(browser: Browser, agent: Agent) -> None:
    """The first link skips the navigation; the phone menu opens, closes with Escape, and returns the focus."""
    with visit(browser, agent, size=PHONE) as dashboard:
        page = dashboard.sign_in().open("/jobs")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
        page.keyboard.press("Enter")
        expect(page.locator("main")).to_be_focused()
        menu = page.get_by_role("button", name="Menu")
        menu.focus()
        page.keyboard.press("Enter")
        drawer = page.get_by_role("dialog", name="Menu")
        expect(drawer.get_by_role("link", name="Prices")).to_be_visible()
        page.keyboard.press("Escape")
        expect(drawer).to_be_hidden()
        expect(menu).to_be_focused()


def test_the_command_menu_opens_pages_finds_jobs_and_acts(
    browser: Browser, agent: Agent, job_page: str
) -> None:
    """With the keyboard alone: letters open pages outside of fields; the menu finds a job by its name, and copies its id."""
    with visit(browser, agent) as dashboard:
        page = dashboard.sign_in().open("/wallet")
        keys = page.keyboard
        keys.press("g")
        keys.press("j")
        expect(page.get_by_role("heading", level=1)).to_have_text("Jobs")
        keys.press("?")
        shortcuts = page.get_by_role("dialog", name="Keyboard shortcuts")
        expect(shortcuts).to_contain_text("New job")
        keys.press("Escape")
        expect(shortcuts).to_be_hidden()  # until then, keys are the dialog's
        keys.press("Control+k")
        menu = page.get_by_role("dialog", name="Search and commands")
        field = menu.get_by_role("combobox")
        expect(field).to_be_focused()
        # A letter in a field is a letter.
        field.press_sequentially("n")
        expect(field).to_have_value("n")
        assert dashboard.problems() == []
        field.fill(job_page.rpartition("/")[2])
        job = menu.get_by_role("option").first
        expect(job).to_have_attribute("aria-selected", "true")
        expect(job).to_contain_text("Job, completed")
        field.press("Enter")
        page.wait_for_url(f"**{job_page}")
        keys.press("Control+k")
        field.fill("copy this")
        field.press("Enter")
        expect(menu).to_have_count(0)
        expect(page.locator(".toast")).to_contain_text("job's id")
        page.get_by_role("link", name="Machine", exact=True).click()
        expect(
            page.get_by_role("navigation", name="Pages").get_by_role("link", name="Earnings")
        ).to_be_visible()
        keys.press("n")
        page.wait_for_url("**/new")
        assert not dashboard.faults


def test_forms_menus_tabs_and_lists_work_with_keyboard_and_phone(browser: Browser, agent: Agent) -> None:
    """On the page of the style guide, which needs no key and has one of each."""
    with visit(browser, agent, size=PHONE) as dashboard:
        page = dashboard.open("/style")
        keys = page.keyboard
        opener = page.get_by_role("button", name="New key")
        opener.focus()
        keys.press("Enter")
        dialog = page.get_by_role("dialog", name="New key")
        expect(dialog.get_by_label("Name")).to_be_focused()
        keys.press("Enter")
        expect(dialog.get_by_role("alert")).to_contain_text("A key needs a name.")
        keys.press("Escape")
        expect(opener).to_be_focused()
        page.get_by_role("button", name="More").focus()
        keys.press("Enter")
        items = page.get_by_role("menuitem")
        expect(items.get_by_text("Run again")).to_be_focused()
        keys.press("ArrowDown")
        expect(items.get_by_text("Delete")).to_be_focused()
        assert dashboard.problems() == []
        keys.press("Escape")
        expect(items).to_have_count(0)
        page.get_by_role("tab", name="Result").focus()
        keys.press("ArrowRight")
        expect(page.get_by_role("tab", name="Log")).to_have_attribute("aria-selected", "true")
        assert page.url.endswith("#log")
        # A row on a phone: the name and the state in the first line, all else in the second.
        cells = page.get_by_role("row", name="Weekly meeting").get_by_role("cell")
        name, service, status, cost, _ = cells.evaluate_all(
            "cells => cells.map((cell) => cell.getBoundingClientRect())"
        )
        assert status["top"] < name["bottom"] <= service["top"]
        assert cost["top"] < service["bottom"]
        assert status["right"] > name["right"]
        assert dashboard.problems() == []
        assert not dashboard.faults


@pytest.mark.ship
def test_remembers_the_theme(browser: Browser, agent: Agent) -> None:
    """The button switches from the system's colours to light to dark, and the choice survives a reload."""
    with visit(browser, agent, scheme="light") as dashboard:
        page = dashboard.sign_in().open("/")
        colours = [page.evaluate(BACKGROUND)]
        for _ in range(2):
            page.get_by_role("button", name="Colours").first.click()
            colours.append(page.evaluate(BACKGROUND))
        page = dashboard.open("/")
        colours.append(page.evaluate(BACKGROUND))
        assert colours[0] == colours[1] != colours[2] == colours[3]
