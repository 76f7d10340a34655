"""Where a miner's jobs run, if that is not this machine."""

from __future__ import annotations

import asyncio
from importlib.metadata import EntryPoint
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agent.core.errors import ConfigurationError
from agent.miner import build
from agent.miner.settings import MinerSettings
from runners.extras import extra_command

RAY = cast("Any", SimpleNamespace(miner=MinerSettings(executor="ray")))


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([], f"Install it: {extra_command('ray')}."),
        (
            [EntryPoint("ray", "nowhere.to_be:Found", build.EXECUTORS)],
            "cannot be loaded (No module named 'nowhere')",
        ),
    ],
)
def test_an_executor_that_is_not_installed_or_broken_is_named(
    points: list[EntryPoint], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "entry_points", lambda **_: points)
    with pytest.raises(ConfigurationError) as refused:
        asyncio.run(build._open_backend(RAY))
    assert message in str(refused.value)
