"""Prepares an update as the agent does: `prepare.py DATA_DIR`. Its environment's own extensions and extras are no part of it."""

from __future__ import annotations

import sys
from pathlib import Path

from agent.cli.options import reading_from
from agent.updates import installing
from agent.updates.preparing import Preparation

data_dir = Path(sys.argv[1])
sys.argv = ["aitbc-agent", "update", "--data-dir", str(data_dir)]
installing._packages = lambda release: installing._Packages(
    [f"{name}=={release.version}" for name in ("aitbc-agent", "aitbc")], [], []
)
reading = reading_from(data_dir)
sys.stdout.write(f"{Preparation(reading.settings, reading.file).prepare(None)}\n")
