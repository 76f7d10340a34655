"""The page of a job that waits: it names each reason, who can change it and how, as the coordinator explains it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from aitbc.reasons import ReasonCode
from support.agents import Agent
from support.clients.scripted_miner import ScriptedMiner
from support.dashboard import LIMIT_MS, Dashboard, visit
from support.server import Served, serve
from support.waiting import STAGES, Stage

pytestmark = [pytest.mark.ship, pytest.mark.acceptance, pytest.mark.needs("waits")]

WHO = {
    "client": "You",
    "owner": "The machine's owner",
    "operator": "The operator of the network",
    "time": "Nobody needs to act",
}

expect.set_options(timeout=LIMIT_MS)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("reasons"), open_enrolment=True) as served:
        yield served


@pytest.fixture
def dashboard(browser: Browser, served: Served) -> Iterator[Dashboard]:
    """A window of the client whose jobs wait."""
    admin, own = ({"X-API-Key": key} for key in (served.admin_key, served.client_key))
    account = httpx.get(f"{served.url}/v1/key", headers=own).json()["account_id"]
    link = httpx.post(f"{served.url}/v1/admin/logins", headers=admin, json={"account_id": account}).json()
    with visit(browser, cast("Agent", served)) as dashboard:
        yield dashboard.sign_in(link["path"])
        assert not dashboard.faults


WORDS = {
    "with pricing.max_cost": "with a maximum cost",
    "pricing.max_cost": "the maximum cost",
    "max_cost": "maximum cost",
    "without miner_id": "without naming a miner",
    "resources.cpu": "the number of CPU cores",
    "resources.memory": "the memory",
    "resources.gpu": "the number of GPUs",
}
"""What the page writes for the API's names of fields: the words of its forms."""


def in_form_words(message: str) -> str:
    for name, words in WORDS.items():
        message = message.replace(name, words)
    return message.replace("`", "")  # what they enclose is shown as code


def go(page: Page, path: str) -> None:
    """Follow a link within the dashboard, which does not load the page again."""
    page.evaluate(
        """path => { const link = Object.assign(document.createElement("a"), {href: path});
        document.body.append(link); link.click(); link.remove(); }""",
        f"/dashboard{path}",
    )


def test_the_page_names_every_reason_for_waiting(dashboard: Dashboard, served: Served) -> None:
    """Each job's page shows the coordinator's own words, and whose turn it is. The last stage slows the account."""
    page = dashboard.open("/")
    order = sorted(STAGES, key=lambda code: code is ReasonCode.ACCOUNT_LIMIT)
    assert len(order) >= 15
    for code in order:
        stage = Stage(served, served.client_key, ScriptedMiner(served.url))
        job_id = STAGES[code][0](stage)
        found: dict[str, Any] = stage.explain(job_id)
        reason = next(reason for reason in found["reasons"] if reason["code"] == code)
        go(page, f"/jobs/{job_id}")
        page.get_by_role("tab", name="Details").click()
        expect(page.get_by_text(job_id)).to_be_visible()
        if code is ReasonCode.FILES_MISSING:  # the page itself says which
            expect(page.locator(".notice")).to_contain_text("Not uploaded yet: model.source")
            continue
        notice = page.locator(".notice", has=page.locator(f"[data-code={code}]"))
        line = notice.locator(f"[data-code={code}]")
        expect(notice).to_contain_text(in_form_words(found["summary"]))
        expect(notice).to_contain_text(in_form_words(reason["message"]))
        expect(line).to_contain_text(in_form_words(f"{WHO[reason['who']]}: {reason['action']}"))
        assert not any(name in notice.inner_text() for name in ("max_cost", "miner_id", "resources."))
    assert dashboard.problems() == []
    go(page, "/")
    page.get_by_role("button", name="Skip").click()  # the first steps
    expect(page.get_by_text("Few of your jobs run at a time")).to_be_visible()
    assert dashboard.problems() == []
    go(page, "/wallet")
    expect(page.locator(".notice")).to_contain_text("Too many of them failed through their own errors")
    expect(page.get_by_role("main")).to_contain_text("held until the job ends")
