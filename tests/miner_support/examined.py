"""Runs the doctor on a data directory, with checks that apply to every diagnostic."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from agent.diagnostics import Diagnostic
from agent.miner.doctor import examine
from agent.miner.doctor.diagnostics import KINDS
from agent.settings import Settings


def examined(data_dir: Path, **settings: Any) -> dict[str, Diagnostic]:
    """Return the diagnostics by id. Every problem is of a kind in the table, and has a remedy."""
    chosen = {"coordinator": {"port": 0}, "models_dir": data_dir / "models", **settings}
    diagnostics = asyncio.run(examine(Settings(data_dir=data_dir, **chosen)))
    for diagnostic in diagnostics:
        if diagnostic.severity == "ok":
            assert (diagnostic.id in KINDS, diagnostic.remedy) == (False, None)
        else:
            assert diagnostic.severity == KINDS[diagnostic.id].severity
            assert diagnostic.remedy
    return {diagnostic.id: diagnostic for diagnostic in diagnostics}
