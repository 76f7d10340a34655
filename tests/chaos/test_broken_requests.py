"""Some 100 generated broken requests with a seed that changes daily. `scripts/chaos broken` sends 10,000; see docs/explanation/reliability.md."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800), pytest.mark.needs("openai")]

TESTS = Path(__file__).parents[1]
COUNT = 100


def test_no_broken_request_is_the_machines_fault(tmp_path: Path) -> None:
    """Of any service, through a real agent with real engines. The output names the requests that are."""
    seed = f"{datetime.now(UTC):%Y%m%d}"
    command = [sys.executable, "-m", "campaign.broken", "--seed", seed, "--count", str(COUNT)]
    done = subprocess.run(
        [*command, "--folder", str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout)  # noqa: T201 - pytest shows it when the test fails
    assert done.returncode == 0, done.stderr[-2000:]
    assert "The agent stood them all." in done.stdout
