"""Runners of the project and of third parties are found through entry points."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runners.registry import find, installed


@pytest.fixture
def with_packages(tmp_path):
    """Evaluate an expression with these packages installed, each of which offers the same third-party runner class."""

    def evaluate(expression, **modules):
        for package, module in modules.items():
            information = tmp_path / f"{package}-1.0.dist-info"
            information.mkdir()
            (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
            (information / "entry_points.txt").write_text(
                f"[aitbc.runners]\n{package} = {module}:ScriptedRunner\n"
            )
            shutil.copy(Path(__file__).with_name("scripted_runner.py"), tmp_path / f"{module}.py")
        code = f"from runners.registry import find, installed\nprint({expression})"
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        return subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False
        )

    return evaluate


def test_the_runners_are_installed_under_their_service_ids():
    assert {"ai_inference", "video_transcoding", "whisper_transcription"} <= set(installed())
    for service_id, runner in installed().items():
        assert runner.definition.service_id == service_id
        assert find(service_id) is runner


def test_a_third_partys_runner_is_found_under_any_entry_point_name(with_packages):
    found = with_packages("find('scripted').version", elsewhere="elsewhere_runner")
    assert found.stdout == "9.9\n"


def test_two_packages_for_one_service_are_an_error_that_names_both(with_packages):
    found = with_packages("installed()", first="first_runner", second="second_runner")
    assert "DuplicateRunner" in found.stderr
    assert "first_runner" in found.stderr
    assert "second_runner" in found.stderr


def test_a_broken_package_does_not_hide_the_others(with_packages, tmp_path):
    """It is omitted, and the reason names it."""
    code = "(sorted(installed()), __import__('runners.registry').registry.broken())"
    information = tmp_path / "broken-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[aitbc.runners]\nbroken = no_such_module:Runner\n")
    found = with_packages(code)
    assert "video_transcoding" in found.stdout
    assert "no_such_module:Runner" in found.stdout


def test_an_unknown_service_is_an_error():
    with pytest.raises(LookupError, match="no_such_service"):
        find("no_such_service")
