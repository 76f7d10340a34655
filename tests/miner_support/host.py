"""The children's program in tests: the real host, which finds the trial runners under every service id."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import runners.host.process
from miner_support.runner import BatchRunner, TrialRunner

runners.host.process.find = lambda service: BatchRunner if service == "batch" else TrialRunner
runners.host.process.main()
