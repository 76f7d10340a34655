"""The first start on a terminal asks what only the owner knows: once, and never without a terminal."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.cli.commands.running.first_run import ask_owner
from agent.cli.options import reading_from
from agent.sections import section_of
from agent.updates import installation
from agent.updates.settings import UpdateSettings
from support.agents import COMMAND, Agent, environment_of_programs, running

pytestmark = pytest.mark.system

LIMIT_SECONDS = 120.0


@pytest.fixture(scope="module")
def coordinator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """A coordinator to join, on whose port no other can listen."""
    agent = Agent(tmp_path_factory.mktemp("coordinator") / "data", "coordinator", "--port", "0")
    with running(agent):
        yield agent


class Terminal:
    """A terminal with `aitbc-agent start`."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process = process
        self.text = ""
        self._descriptor = descriptor

    def until(self, words: str) -> None:
        """Read until these words appear, and forget the text up to them."""
        end = time.monotonic() + LIMIT_SECONDS
        while words not in self.text:
            self._read(end)
        self.text = self.text.partition(words)[2]

    def answer(self, text: str) -> None:
        """Wait for the next prompt, and type a line."""
        self.until("] > ")
        os.write(self._descriptor, f"{text}\n".encode())

    def rest(self) -> str:
        """Return the rest of the output once the command has ended."""
        end = time.monotonic() + LIMIT_SECONDS
        while self.process.poll() is None or select.select([self._descriptor], [], [], 0.2)[0]:
            try:
                self._read(end)
            except OSError:  # the other side is closed
                break
        self.process.wait(LIMIT_SECONDS)
        return self.text

    def _read(self, end: float) -> None:
        assert time.monotonic() < end, self.text
        if select.select([self._descriptor], [], [], 1)[0]:
            self.text += os.read(self._descriptor, 65_536).decode(errors="replace")


@contextmanager
def started(data_dir: Path, *options: str) -> Iterator[Terminal]:
    """Run the command on a new terminal while the block runs."""
    descriptor, other_end = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "start", "--data-dir", data_dir, *options],
        stdin=other_end,
        stdout=other_end,
        stderr=other_end,
        env={**environment_of_programs(), "TERM": "dumb"},
        start_new_session=True,
    )
    os.close(other_end)
    try:
        yield Terminal(process, descriptor)
    finally:
        process.kill()
        process.wait(LIMIT_SECONDS)
        os.close(descriptor)


def settings(data_dir: Path) -> dict[str, object]:
    return tomllib.loads((data_dir / "agent.toml").read_text())


def test_the_first_start_asks_and_the_second_does_not(coordinator: Agent, tmp_path: Path) -> None:
    """What cannot be is asked again with the reason. The answers are in the settings file."""
    port = ("--port", str(coordinator.port))
    with started(tmp_path, *port) as terminal:
        terminal.until("The first start on this machine")
        terminal.answer("AITBC1ABC")
        terminal.until("mistyped or incomplete")
        terminal.answer("")
        terminal.until("kilowatt-hour")
        terminal.answer("cheap")
        terminal.until("a number such as 0.30")
        terminal.answer("5000")
        terminal.until("miner.energy.price")
        terminal.answer("0,30 eur")
        assert "Cannot listen" in terminal.rest()
    assert settings(tmp_path) == {"miner": {"energy": {"price": 0.3, "currency": "EUR"}}}
    with started(tmp_path, *port) as terminal:
        rest = terminal.rest()
    assert "Cannot listen" in rest
    assert "first start" not in rest


def test_an_interrupted_start_asks_again_and_default_answers_write_nothing(
    coordinator: Agent, tmp_path: Path
) -> None:
    with started(tmp_path, "--port", str(coordinator.port)) as terminal:
        terminal.answer("")
        terminal.answer("\x04")
        terminal.process.wait(LIMIT_SECONDS)
    with started(tmp_path, "--port", str(coordinator.port)) as terminal:
        terminal.answer("")
        terminal.answer("")
        assert "Cannot listen" in terminal.rest()
    assert not (tmp_path / "agent.toml").exists()


def test_an_installation_that_can_update_itself_asks_whether_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless the settings say so. There are no more than three questions."""
    monkeypatch.setattr(installation, "_way", lambda *_: installation.InstallationWay.UV_TOOL)
    monkeypatch.setattr("sys.stdin", AtTerminal("\n0.3\nnightly\nNight\n"))
    monkeypatch.setattr("sys.stdout", AtTerminal())
    reading = ask_owner(reading_from(tmp_path))
    assert section_of(reading.settings, UpdateSettings).automatic == "night"
    assert settings(tmp_path) == {"miner": {"energy": {"price": 0.3}}, "updates": {"automatic": "night"}}
    assert sys.stdout.getvalue().count("[off] > ") == 2  # type: ignore[attr-defined] # see above
    monkeypatch.setattr("sys.stdout", AtTerminal())
    monkeypatch.setattr("sys.stdin", AtTerminal("\n"))
    ask_owner(reading_from(tmp_path))
    assert sys.stdout.getvalue().count("] > ") == 1  # type: ignore[attr-defined] # only the coordinator is unknown


class AtTerminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.ship
def test_a_code_as_the_answer_joins(coordinator: Agent, tmp_path: Path) -> None:
    code = re.search(r"AITBC1\w+", coordinator.cli("enroll").stderr)
    assert code is not None
    with started(tmp_path / "data") as terminal:
        terminal.answer(code[0])
        terminal.answer("0.25")
        terminal.until(f"is ready at {coordinator.url}")
        terminal.process.send_signal(signal.SIGTERM)
        terminal.rest()
    miner = settings(tmp_path / "data")["miner"]
    assert isinstance(miner, dict)
    assert miner["coordinator"] == coordinator.url
    assert miner["energy"] == {"price": 0.25}
