"""Blender as the module `bpy`, in an environment of its own: the tests of rendering pass with it too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGE = "bpy==4.5.15"


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The Python of an environment with the module."""
    directory = tmp_path_factory.mktemp("bpy") / "environment"
    commands = [
        [sys.executable, "-m", "venv", directory],
        [
            directory / "bin" / "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-cache-dir",
            PACKAGE,
        ],
    ]
    for command in commands:
        subprocess.run(command, check=True, timeout=900)
    return directory / "bin" / "python"


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason=f"{PACKAGE} is for Python 3.11")
def test_rendering_with_the_module_passes_the_tests_of_rendering(python):
    """Among them: a picture equals that of the same module outside the sandbox, pixel for pixel, and no attack succeeds."""
    outer = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "tests/unit/runners/blender",
        ],
        cwd=ROOT,
        env={**outer, "AITBC_TEST_BLENDER": str(python)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout
