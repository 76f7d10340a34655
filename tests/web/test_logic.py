"""What the dashboard computes without a page: forms from schemas, prices, words for numbers and times."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
LIMIT_SECONDS = 60


def test_the_dashboards_own_tests_pass() -> None:
    """They run in Node, with vitest."""
    done = subprocess.run(
        [ROOT / "node_modules/.bin/vitest", "run", "--reporter=default", "--no-color"],
        cwd=ROOT / "agent/coordinator/web",
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-2000:]}"
