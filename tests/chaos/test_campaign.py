"""A campaign of a minute with a seed that changes daily. `scripts/chaos` runs longer ones; see docs/explanation/reliability.md."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.needs("webhooks"),
    pytest.mark.needs("tus"),
]

TESTS = Path(__file__).parents[1]
SECONDS = 35
"""Duration of the faults; the start and the end with all checks take the rest of the minute."""


def test_no_fault_loses_data(tmp_path: Path) -> None:
    """Injects faults of all kinds into a coordinator and two miners. The output has the command that repeats them."""
    seed = f"{datetime.now(UTC):%Y%m%d}"
    command = [sys.executable, "-m", "campaign", "--seed", seed, "--kills", "500", "--folder", str(tmp_path)]
    done = subprocess.run(
        [*command, "--seconds", str(SECONDS)],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(TESTS), "LANG": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout)  # noqa: T201 - pytest shows it when the test fails
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Nothing was lost." in done.stdout
