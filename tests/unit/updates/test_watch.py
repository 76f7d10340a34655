"""When a waiting version may take over, and what a running agent reports and notifies."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cli.options import settings_from
from agent.settings import Settings
from agent.updates import watch as watch_module
from agent.updates.settings import UpdateSettings
from agent.updates.starting import versions_of
from agent.updates.states import UpdateState
from agent.updates.watch import RestartTime, UpdateWatch

DUE = UpdateState().prepare("9.0.0", "0.3.0").prepared().make_due()


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_at_night() -> None:
    """Jobs do not matter: they end before. The delay begins with the night, on each machine another one."""
    early = RestartTime(UpdateSettings(automatic="night"), 0.0)
    late = RestartTime(UpdateSettings(automatic="night"), 0.5)
    assert not early.is_now(at("2026-12-01T12:00"), jobs=0)
    assert not late.is_now(at("2026-12-01T12:00"), jobs=0)
    assert early.is_now(at("2026-12-02T02:00"), jobs=3)
    assert not late.is_now(at("2026-12-02T02:00"), jobs=0)
    assert not late.is_now(at("2026-12-02T02:29"), jobs=0)
    assert late.is_now(at("2026-12-02T02:30"), jobs=0)
    assert not early.is_now(at("2026-12-02T05:00"), jobs=0)


def test_when_idle() -> None:
    """Only after some time without a job, which the next job ends."""
    restart = RestartTime(UpdateSettings(automatic="idle", idle_minutes=10), 0.0)
    assert not restart.is_now(1000.0, jobs=1)
    assert not restart.is_now(1060.0, jobs=0)
    assert not restart.is_now(1659.0, jobs=0)
    assert restart.is_now(1660.0, jobs=0)
    assert not restart.is_now(1700.0, jobs=1)
    assert not restart.is_now(1760.0, jobs=0)


@given(share=st.floats(0, 1), minutes=st.floats(0, 600))
def test_the_delay_is_bounded(share: float, minutes: float) -> None:
    """An idle machine restarts after its share of the delay, never before."""
    restart = RestartTime(UpdateSettings(automatic="idle", idle_minutes=0, delay_minutes=minutes), share)
    delay = share * minutes * 60
    assert restart.is_now(1000.0, jobs=0) is (delay == 0)
    assert restart.is_now(1000.0 + delay + 0.001, jobs=0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_from(tmp_path)


def test_what_is_notified(settings: Settings) -> None:
    """Success, failure and rollback, each by a word for programs, as long as it is news."""
    versions, now = versions_of(settings), time.time()
    updated = DUE.begin(None).succeed().finish(now)
    returned = DUE.begin(None).fail("It crashed.").finish(now)
    refused = UpdateState().refuse("0.3.0", "The signature is wrong.", now)
    for state, kind, words in (
        (updated, "updated", "updated from 0.3.0 to 9.0.0"),
        (updated.roll_back("9.0.0").finish(now), "update_rolled_back", "rolled back from 9.0.0 to 0.3.0"),
        (returned, "update_failed", "and 0.3.0 has returned: It crashed."),
        (refused, "update_failed", "The signature is wrong."),
    ):
        versions.write(state)
        ((shown_kind, text),) = UpdateWatch(settings, settings.data_dir / "agent.toml").notices()
        assert shown_kind == kind
        assert words in text
    versions.write(DUE.begin(None).succeed().finish(now - 7200))
    assert list(UpdateWatch(settings, settings.data_dir / "agent.toml").notices()) == []


@pytest.mark.parametrize(
    ("state", "restarts"),
    [
        (DUE, True),
        (UpdateState().prepare("9.0.0", "0.3.0").prepared(), False),
        (UpdateState(previous="0.2.9").roll_back("9.0.0"), True),
    ],
)
def test_a_running_agent_restarts_when_a_version_is_due(
    state: UpdateState, restarts: bool, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops as by SIGTERM, and then starts again, unless its owner stops it meanwhile."""
    monkeypatch.setattr(watch_module, "POLL_SECONDS", 0.01)
    versions_of(settings).write(state)
    watch = UpdateWatch(settings, settings.data_dir / "agent.toml")

    async def work() -> None:
        stopped = asyncio.Event()
        async with watch.running(stopped.set):
            if restarts:
                await asyncio.wait_for(stopped.wait(), 60)
            else:
                await asyncio.sleep(0.1)

    asyncio.run(work())
    assert watch.restarting is restarts
    watch.stopping()
    assert not watch.restarting


def test_the_status_names_the_update(settings: Settings) -> None:
    versions_of(settings).write(DUE)
    status: dict[str, Any] = UpdateWatch(settings, settings.data_dir / "agent.toml").status()
    assert status["next"] == "9.0.0"
    assert "takes over as soon as the running jobs have ended" in status["line"]
