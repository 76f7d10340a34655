"""The program of child processes in tests: the real host, with the scripted runners for every service id."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import runners.host.process
from miner_support.runner import BatchRunner, ScriptedRunner

runners.host.process.find = lambda service: BatchRunner if service == "batch" else ScriptedRunner
runners.host.process.main()
