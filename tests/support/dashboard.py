"""The dashboard in a real Chromium, signed in by a one-time link, with a record of console errors and foreign requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from support.agents import Agent

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
AXE = Path(__file__).parents[2] / "node_modules/axe-core/axe.min.js"
LIMIT_MS = 120_000
DESKTOP = (1440, 900)
PHONE = (390, 844)

CLIENT_PAGES = (
    "/", "/jobs", "/new", "/new/whisper_transcription", "/new/image_generation", "/new/ai_inference",
    "/chat", "/wallet", "/market", "/verify", "/nowhere",
)  # fmt: skip
MACHINE_PAGES = (
    "/keys", "/machine", "/machine/models", "/machine/earnings", "/machine/offers", "/network", "/network/jobs", "/network/miners",
    "/network/accounts", "/network/keys", "/network/trail", "/network/offers", "/network/log",
)  # fmt: skip
"""Pages of owners and operators."""

Scheme = Literal["light", "dark"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the installed browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield browser
        browser.close()


ROLES = ("account_id", "miner_id", "admin")


def login_path(agent: Agent, *, miner_id: str | None = None, only: Sequence[str] = ROLES) -> str:
    """Return the path of a one-time link with all of the agent's roles, like that of `aitbc-agent login`.

    With a miner's id, the link is its owner's; `only` restricts the link to some of `ROLES`.
    """
    keys = agent.file
    own = httpx.get(f"{agent.url}/v1/key", headers={"X-API-Key": keys["client_key"]}, timeout=300)
    roles = {"account_id": own.json()["account_id"], "miner_id": miner_id or keys["miner_id"], "admin": True}
    answer = httpx.post(
        f"{agent.url}/v1/admin/logins",
        headers={"X-API-Key": keys["admin_key"]},
        json={role: roles[role] for role in only},
        timeout=300,
    )
    answer.raise_for_status()
    path: str = answer.json()["path"]
    return path


@dataclass
class Dashboard:
    """One page of a browser. `faults` collects console errors and requests to other hosts."""

    agent: Agent
    page: Page
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(LIMIT_MS)
        self.page.on("console", self._record_message)
        self.page.on("pageerror", lambda error: self.faults.append(f"uncaught: {error}"))
        self.page.on("request", self._record_request)

    def sign_in(self, path: str = "", key: str = "") -> Dashboard:
        """Begin a session with a key, or with a one-time link: by default one of all roles. No page is opened."""
        proof = {"key": key} if key else {"token": (path or login_path(self.agent)).rpartition("=")[2]}
        answer = self.page.request.post(f"{self.agent.url}/v1/session", data=proof)
        assert answer.ok, answer.text()
        return self

    def open(self, path: str) -> Page:
        """Open a page of the dashboard, and wait until it has its heading and has loaded."""
        self.page.goto(f"{self.agent.url}/dashboard{path}")
        self.settled()
        return self.page

    def settled(self) -> None:
        """Wait until the page has its heading and no skeletons."""
        self.page.locator("h1").first.wait_for()
        self.page.locator("[aria-busy=true]").first.wait_for(state="detached")

    def problems(self, *rules: str) -> list[str]:
        """Return axe-core's serious and critical violations on the page: of these rules, or of all."""
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(AXE.read_text())
        options = {"resultTypes": ["violations"], **({"runOnly": rules} if rules else {})}
        found: dict[str, Any] = self.page.evaluate("options => axe.run(document, options)", options)
        return [
            f"{rule['id']} ({rule['impact']}): {node['html'][:200]} {node['failureSummary']}"
            for rule in found["violations"]
            if rule["impact"] in ("serious", "critical")
            for node in rule["nodes"]
        ]

    def _record_message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"{message.type}: {message.text}")

    def _record_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.netloc != urlsplit(self.agent.url).netloc:
            self.faults.append(f"request to another host: {request.url}")


@contextmanager
def visit(
    browser: Browser, agent: Agent, *, size: tuple[int, int] = DESKTOP, scheme: Scheme = "light"
) -> Iterator[Dashboard]:
    """Open a window with empty storage."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, reduced_motion="reduce"
    )
    try:
        yield Dashboard(agent, context.new_page())
    finally:
        context.close()
