"""Two minutes of a campaign: another one every day. `scripts/chaos` runs longer ones; see docs/explanation/reliability.md."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]

TESTS = Path(__file__).parents[1]
SECONDS = 75
"""Of faults; the start and the end, with all its checks, take the rest of two minutes."""


def test_nothing_is_lost_whatever_dies(tmp_path: Path) -> None:
    """Faults of all kinds against a coordinator and two miners. The output has the line that repeats it."""
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
