"""The first minutes of a client on a new machine, with nothing but the home page."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from support.dashboard import Dashboard

pytestmark = pytest.mark.system

JOB_MS = 300_000


def test_an_example_leads_to_a_verified_receipt(dashboard: Dashboard) -> None:
    """One click runs a job with a file of the dashboard; once its receipt is verified, the steps make way for what happened."""
    page = dashboard.open("/")
    steps = page.locator(".step")
    expect(steps).to_have_count(3)
    expect(steps.first).to_contain_text("A machine is ready")
    assert dashboard.problems() == []
    example = page.locator(".examples li").filter(has_text="Make a film smaller")
    example.get_by_role("button", name="Try it").click()
    page.wait_for_url(re.compile(r"/jobs/job_"))
    expect(page.get_by_role("heading", name="Receipt")).to_be_visible(timeout=JOB_MS)

    page = dashboard.open("/")
    expect(steps.nth(1)).to_contain_text("Your first job is done")
    page.get_by_role("link", name="Verify the receipt").click()
    expect(page.locator(".stamp")).to_have_text("Verified")
    assert dashboard.problems() == []

    page = dashboard.open("/")
    expect(page.locator(".figure").filter(has_text="Spent in 7 days")).to_contain_text("for 1 job")
    expect(page.get_by_role("link", name="film.mp4")).to_be_visible()
    expect(steps).to_have_count(0)
    assert dashboard.problems() == []
