"""`aitbc-agent uninstall` leaves nothing on disk but the data, and that by choice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.cli.systemd import systemctl
from agent.updates import installation
from support.agents import Agent, running

pytestmark = pytest.mark.system

KEYS = ("coordinator/keys.json", "coordinator/log.key", "miner/api_key.json", "miner/identity.key")
STANDARD = {".cache", ".local", ".local/share", ".local/state"}
CLIENTS = {".local/state/aitbc", ".local/state/aitbc/work", ".local/state/aitbc/work/batch"}
"""Directories of the user that other programs use too."""


def files(home: Path) -> set[str]:
    """Return all that is below a home directory."""
    return {str(path.relative_to(home)) for path in home.rglob("*")}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user with some files of their own, and none of the variables that name other directories."""
    home = tmp_path / "home"
    home.mkdir()
    (home / ".bashrc").write_text("alias l=ls\n")
    monkeypatch.setenv("HOME", str(home))
    # Services of the machine that runs the tests stay.
    monkeypatch.setattr(systemctl, "RUNNING", home / "no-systemd")
    for name in ("XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    return home


def fill(home: Path) -> None:
    """Write what models, engines, updates and the shell's completion leave behind."""
    for name in (
        ".cache/aitbc/models/tiny/model.bin",
        ".cache/aitbc/engines/vllm/lock",
        ".cache/aitbc/python-environments/x/bin/python",
        ".local/share/aitbc-agent/versions/9.9.9/version.json",
        ".local/share/aitbc-agent/versions/backups/0.3.0/coordinator.db",
        ".bash_completions/aitbc-agent.sh",
        ".local/state/aitbc/work/batch",
    ):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("x")
    (home / ".local/share/aitbc-agent/versions/current").symlink_to("9.9.9")
    with (home / ".bashrc").open("a") as profile:
        profile.write(f"source '{home}/.bash_completions/aitbc-agent.sh'\n")


def test_a_running_agent_is_removed_and_its_data_by_choice(home: Path, run: Any) -> None:
    """The file system before and after: first the data stays, then nothing does."""
    before = files(home)
    data_dir = home / ".local/share/aitbc-agent"
    agent = Agent(
        data_dir, "start", "--port", "0", HOME=str(home), AITBC_MODELS_DIR=str(home / ".cache/aitbc/models")
    )
    with running(agent):
        agent.log.rename(home.parent / "log")
        fill(home)
        assert f"remove   {data_dir} (data)" in run("uninstall", "--data", "delete").out
        refused = run("uninstall")
        assert (refused.code, "confirm with --yes" in refused.err) == (1, True)
        assert "(data)" not in refused.out
        assert all(str(data_dir / key) in refused.out for key in KEYS)
        done = run("uninstall", "--yes")
        assert (done.code, done.err) == (0, "")
        assert agent.process is not None
        assert agent.process.wait(60) == 0
    assert "The program itself is left. To remove it:\n  " in done.out
    assert f"stays    {data_dir}\n" in done.out
    data = {".local/share/aitbc-agent", *(f".local/share/aitbc-agent/{name}" for name in files(data_dir))}
    assert data > {f".local/share/aitbc-agent/{key}" for key in KEYS}
    # Databases from before a migration are data.
    saved = ("", "/backups", "/backups/0.3.0", "/backups/0.3.0/coordinator.db")
    assert {name for name in data if "versions" in name} == {
        f".local/share/aitbc-agent/versions{path}" for path in saved
    }
    assert files(home) == before | STANDARD | CLIENTS | data
    assert (home / ".bashrc").read_text() == "alias l=ls\n"
    done = run("uninstall", "--data", "delete", "--yes")
    assert (done.code, "money    unknown" in done.out) == (0, True)
    assert files(home) == before | STANDARD


def test_in_a_directory_that_the_owner_chose_only_the_agents_files_are_removed(
    home: Path, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = {name: tmp_path / name for name in ("models", "cache", "data", "engines", "versions")}
    for name in (
        "models/fetched/.fetched.json",
        "models/.digests.json",
        "models/mine/model.bin",
        "cache/compiled/triton/x",
        "cache/mine",
        "data/agent.lock",
        "data/miner/x",
        "data/mine",
        "engines/vllm/lock",
        "engines/mine/x",
        "versions/0.3.1/version.json",
        "versions/backups/0.3.0/x",
        "versions/mine/x",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    monkeypatch.setenv("AITBC_MODELS_DIR", str(chosen["models"]))
    monkeypatch.setenv("AITBC_CACHE_DIR", str(chosen["cache"]))
    monkeypatch.setenv("AITBC_DATA_DIR", str(chosen["data"]))
    monkeypatch.setenv("AITBC_ENGINES__DIRECTORY", str(chosen["engines"]))
    monkeypatch.setenv("AITBC_UPDATES__DIRECTORY", str(chosen["versions"]))
    assert run("uninstall", "--data", "delete", "--yes").code == 0
    left = {
        name for directory in chosen for name in (f"{directory}/{file}" for file in files(chosen[directory]))
    }
    assert left == {
        "models/mine",
        "models/mine/model.bin",
        "cache/mine",
        "data/mine",
        "engines/mine",
        "engines/mine/x",
        "versions/mine",
        "versions/mine/x",
    }
    assert files(home) == {".bashrc"}


@pytest.mark.parametrize(
    ("way", "words"),
    [
        (installation.InstallationWay.UV_TOOL, "uv tool uninstall aitbc-agent"),
        (installation.InstallationWay.DEB, "sudo apt purge aitbc-agent"),
    ],
)
def test_the_last_command_is_that_of_the_installation(
    way: installation.InstallationWay, words: str, home: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "_way", lambda *_: way)
    assert words in run("uninstall", "--yes").out
    assert files(home) == {".bashrc"}
