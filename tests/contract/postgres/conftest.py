"""The tests of this folder run coordinators on PostgreSQL."""

from __future__ import annotations

import pytest

from support.servers.databases import ENGINE


@pytest.fixture(autouse=True)
def _on_postgres(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give every coordinator of the test a database of the tests' PostgreSQL server."""
    monkeypatch.setenv(ENGINE, "postgresql")
