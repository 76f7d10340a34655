"""The launcher finds VERSIONS as the settings do, and costs next to nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.cli.options import settings_from
from agent.updates.launcher import directory, redirect
from agent.updates.starting import versions_of


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        ([], {}),
        ([], {"XDG_DATA_HOME": "/somewhere"}),
        ([], {"AITBC_DATA_DIR": "/data"}),
        (["--data-dir", "/chosen"], {"AITBC_DATA_DIR": "/data"}),
        ([], {"AITBC_UPDATES__DIRECTORY": "~/versions", "AITBC_DATA_DIR": "/data"}),
    ],
)
def test_the_same_directory_as_the_settings(
    arguments: list[str], variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without reading them."""
    for name in ("XDG_DATA_HOME", "AITBC_DATA_DIR", "AITBC_UPDATES__DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    settings = settings_from(Path(arguments[1]) if arguments else None)
    assert directory(["aitbc-agent", "start", *arguments], {"HOME": str(tmp_path), **variables}) == str(
        versions_of(settings).path
    )


def test_both_forms_of_the_option() -> None:
    assert directory(["aitbc-agent", "status", "--data-dir=/a"], {}) == "/a/versions"
    assert directory(["aitbc-agent", "status", "--data-dir", "/a"], {}) == "/a/versions"


def test_it_imports_nothing_that_takes_time() -> None:
    """Every command passes by."""
    code = "import sys; before = set(sys.modules); import agent.updates.launcher; print(set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True
    )
    imported = {name for name in eval(done.stdout) if not name.startswith("agent")}  # noqa: S307 - our own output
    assert imported <= {"__future__"}


def test_it_returns_where_there_is_no_update(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In less than a millisecond, at its best of many times."""
    monkeypatch.setattr(sys, "argv", ["aitbc-agent", "status", "--data-dir", str(tmp_path)])
    durations = []
    for _ in range(200):
        began = time.perf_counter()
        redirect("0.3.0")
        durations.append(time.perf_counter() - began)
    assert min(durations) < 0.001


@pytest.mark.parametrize("owner", [os.geteuid(), 12345])
def test_a_version_of_another_user_is_not_executed(
    owner: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Root runs commands on the data of a service, whose user could have put any program there."""
    versions = tmp_path / "versions"
    environment = versions / "9.0.0"
    environment.mkdir(parents=True)
    (versions / "current").symlink_to("9.0.0")
    (environment / "aitbc-base").write_text(sys.prefix)
    (environment / "aitbc-base-version").write_text("0.3.0")
    executed: list[str] = []
    monkeypatch.setattr(sys, "argv", ["aitbc-agent", "status", "--data-dir", str(tmp_path)])
    monkeypatch.setattr(os, "execv", lambda program, _arguments: executed.append(program))
    monkeypatch.setattr(os, "geteuid", lambda: owner)
    redirect("0.3.0")
    assert executed == ([] if owner == 12345 else [str(environment / "bin/aitbc-agent")])
