"""The doctor, called on a data directory, with what must hold for whatever it finds."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from agent.miner.doctor import examine
from agent.miner.doctor.diagnostics import KINDS, Finding
from agent.settings import Settings


def examined(data_dir: Path, **settings: Any) -> dict[str, Finding]:
    """What is found, by its id. All that is wrong is of a kind of the table, and says what to do."""
    chosen = {"coordinator": {"port": 0}, "models_dir": data_dir / "models", **settings}
    findings = asyncio.run(examine(Settings(data_dir=data_dir, **chosen)))
    for finding in findings:
        if finding.severity == "ok":
            assert (finding.id in KINDS, finding.remedy) == (False, None)
        else:
            assert finding.severity == KINDS[finding.id].severity
            assert finding.remedy
    return {finding.id: finding for finding in findings}
