"""`aitbc-agent` without a running agent."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from socket import create_server
from typing import Any

import click
import pytest
import typer

from agent import __version__
from agent.cli import agent_file
from agent.cli.application import app
from agent.coordinator.app import build_context
from agent.core.errors import ConfigurationError
from agent.settings import Settings
from aitbc.cli._arguments.lazy_group import LazyGroup
from support.agents import COMMAND


def commands(command: click.Command, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command with its path."""
    yield path, command
    if isinstance(command, LazyGroup):
        below = {name: command.load(name) for name in command.listed}
    else:
        below = getattr(command, "commands", {})
    for name, found in below.items():
        yield from commands(found, *path, name)


COMMANDS = dict(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_has_help_for_itself_and_its_options(run: Any, words: tuple[str, ...]) -> None:
    command = COMMANDS[words]
    done = run(*words, "--help")
    assert (done.code, done.err) == (0, "")
    assert str(command.help).splitlines()[0] in done.out
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{' '.join(words)}: {parameter.name} has no help"
    assert run(*words, "-h").out == done.out


def test_the_version(run: Any) -> None:
    assert run("--version").out == f"aitbc-agent {__version__}\n"


def test_an_unknown_command_is_a_usage_error(run: Any) -> None:
    done = run("strat")
    assert (done.code, done.out) == (2, "")
    assert "strat" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ("status",), ("stop",), ("enroll",), ("enroll", "list"), ("enroll", "revoke", "enrolment_1"), ("keys", "list"), ("keys", "create", "name"), ("keys", "revoke", "key_1"),
        ("status", "--json"),
    ],
)  # fmt: skip
def test_commands_that_need_an_agent_explain_how_to_start_one(
    run: Any, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Also if the data directory was used before."""
    for directory in (tmp_path / "never", tmp_path / "once"):
        if directory.name == "once":
            with agent_file.exclusive(Settings(data_dir=directory)):
                pass
            (directory / "agent.json").write_text('{"url": "http://127.0.0.1:9", "pid": 1}')
        done = run(*words, "--data-dir", directory)
        assert (done.code, done.out) == (1, "")
        assert done.err.startswith(f"aitbc-agent: No agent is running with the data directory {directory}.")
        assert "aitbc-agent start" in done.err
        assert "Traceback" not in done.err


def test_a_starting_agent_is_not_mistaken_for_a_killed_one(run: Any, tmp_path: Path) -> None:
    """A killed agent leaves its file, whose process id may belong to another program now."""
    settings = Settings(data_dir=tmp_path)
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    left = agent_file.AgentFile("http://127.0.0.1:9", stranger.pid, None, "", None, None, "key")
    agent_file.write(settings, left)
    with agent_file.exclusive(settings):
        for command in ("stop", "status"):
            done = run(command, "--data-dir", tmp_path)
            assert done.code == 1
            assert "is still starting" in done.err
    assert stranger.poll() is None
    stranger.communicate()


def test_a_data_directory_has_one_agent(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    with agent_file.exclusive(settings):
        refused = pytest.raises(
            ConfigurationError, match=r"Another agent is running.*aitbc-agent stop.*--data-dir"
        )
        with refused, agent_file.exclusive(settings):
            pass
        assert agent_file.is_running(settings)
    assert not agent_file.is_running(settings)
    assert settings.data_dir.stat().st_mode & 0o077 == 0


def test_an_invalid_configuration_fails_every_command(run: Any, tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text("[coordinator]\nprot = 1\n")
    for words in (("config", "show"), ("status",), ("start",), ("coordinator",), ("enroll",)):
        done = run(*words, "--data-dir", tmp_path)
        assert (done.code, done.out) == (1, "")
        message = "coordinator.prot: there is no such setting. Did you mean coordinator.port?"
        assert done.err == f"aitbc-agent: {message} ({tmp_path / 'agent.toml'}, line 2)\n"


def test_receipts_are_verified_with_the_own_logs_key_or_a_given_one(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "receipt.json"
    file.write_text("{}")
    done = run("receipts", "verify", file, "--data-dir", tmp_path)
    assert done.code == 1
    assert "--log-key" in done.err


# A coordinator that cannot start exits -----------------------------------------------------------------------


def start(data_dir: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `aitbc-agent coordinator` and expect it to exit."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AITBC_")}
    command = [str(COMMAND), "coordinator", "--data-dir", str(data_dir), "--port", "0", *options]
    return subprocess.run(
        command, env={**inherited, **environment}, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.system
def test_a_port_in_use_is_reported(tmp_path: Path) -> None:
    with create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = start(tmp_path / "data", "--port", port)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"Cannot listen on 127.0.0.1 port {port}" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data" / "agent.json").exists()


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"k" * 32, 0o644, "can be read by others. Run: chmod 600"),
        (b"k" * 31, 0o600, "is not a key of 32 bytes. Restore it from your backup"),
    ],
)
def test_a_readable_or_damaged_log_key_is_refused(
    tmp_path: Path, content: bytes, mode: int, words: str
) -> None:
    key = tmp_path / "data" / "coordinator" / "log.key"
    key.parent.mkdir(parents=True)
    key.write_bytes(content)
    key.chmod(mode)
    with pytest.raises(ConfigurationError, match=re.escape(f"{key} {words}")):
        build_context(Settings(data_dir=tmp_path / "data"))
    assert key.read_bytes() == content


@pytest.mark.system
def test_an_origin_that_is_invalid_in_a_key_is_refused(tmp_path: Path) -> None:
    done = start(tmp_path / "data", AITBC_COORDINATOR__ORIGIN="my log+1")
    assert done.returncode == 1
    assert "coordinator.origin: use a name without spaces and without +" in done.stderr


def test_the_help_groups_the_commands(run: Any) -> None:
    panels = re.split(r"─ (\w[\w ]*\w) ─", run("--help").out)
    commands = {
        title: re.findall(r"^│ (\w+) ", text, re.MULTILINE)
        for title, text in zip(panels[1::2], panels[2::2], strict=True)
    }
    assert {"start", "join", "update", "uninstall"} <= set(commands["Run the agent"])
    assert {"doctor", "logs", "earnings"} <= set(commands["Look at it"])
    assert {"pause", "stop", "models"} <= set(commands["Control it"])
    assert {"enroll", "accounts"} <= set(commands["Operate a coordinator"])
