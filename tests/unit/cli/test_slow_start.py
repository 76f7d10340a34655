"""A coordinator that cannot join the others says why, instead of waiting for ever."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from agent.cli.commands.running import local_coordinator
from agent.coordinator.features.replicas.replicas import SLOTS
from agent.core.errors import ConfigurationError
from agent.settings import Settings
from support.servers import postgres

LOCKS = 1095783233

pytestmark = [pytest.mark.system, pytest.mark.anyio]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_a_replica_without_a_free_slot_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_coordinator, "START_SECONDS", 5.0)
    url = postgres.shared().new_database()
    settings = Settings(data_dir=tmp_path / "data", coordinator={"port": 0}, database={"url": url})
    with psycopg.connect(url, autocommit=True) as others:
        others.execute(
            "SELECT pg_advisory_lock(%s, slot) FROM generate_series(0, %s) AS slot", (LOCKS, SLOTS - 1)
        )
        with pytest.raises(ConfigurationError, match=r"within 5 s: 32 replicas are running.*database\.url"):
            async with local_coordinator.serving(settings):
                pass
