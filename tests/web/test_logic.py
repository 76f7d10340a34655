"""The dashboard's own unit tests: forms from schemas, estimates, formatting of numbers and times."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 180


def test_the_dashboards_unit_tests_pass() -> None:
    """Run them in Node with vitest."""
    done = subprocess.run(
        [ROOT / "node_modules/.bin/vitest", "run", "--reporter=default", "--no-color"],
        cwd=ROOT / "agent/coordinator/web",
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
