"""The children's program in tests: the real host, which finds the sample runners under every service id."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import runners.host.process
from miner_support.runner import BatchRunner, SampleRunner

runners.host.process.find = lambda service: BatchRunner if service == "batch" else SampleRunner
runners.host.process.main()
