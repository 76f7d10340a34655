"""The tests of this folder run coordinators on PostgreSQL."""

from __future__ import annotations

import pytest

from support.servers.coordinator import on_postgresql

__all__ = ["on_postgresql"]


@pytest.fixture(autouse=True)
def _on_postgres(on_postgresql: None) -> None:
    """Every test of the folder does so."""
