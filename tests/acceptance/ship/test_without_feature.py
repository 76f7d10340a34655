"""Each optional feature can be removed, with one line of the list of features: the rest starts, passes its checks and its tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.features import OPTIONAL, all_installed

ROOT = Path(__file__).parents[3]

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not all_installed(), reason="a feature has been removed"),
]


@pytest.mark.parametrize("name", OPTIONAL)
def test_the_rest_works_without_a_feature(name: str) -> None:
    """`scripts/test --without NAME --all` also runs all other tests."""
    command = [sys.executable, "scripts/testing/without_feature.py", name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
