"""One browser and one agent with real engines for each module, one window for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from support.agents import Agent, running
from support.dashboard import Dashboard, chromium, visit


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """A standalone agent: coordinator, miner and runners."""
    agent = Agent(tmp_path_factory.mktemp("dashboard") / "data", "start", "--port", "0")
    with running(agent):
        yield agent


@pytest.fixture
def dashboard(browser: Browser, agent: Agent) -> Iterator[Dashboard]:
    """A window signed in with all of the agent's keys. Console errors and requests to other hosts fail the test."""
    with visit(browser, agent) as dashboard:
        yield dashboard.sign_in()
        assert not dashboard.faults
