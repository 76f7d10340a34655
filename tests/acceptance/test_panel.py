"""The live panel of a complete agent with two simulated cards, in tmux, as its owner sees it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from support.agents import COMMAND
from support.machines.tmux import Tmux, terminal
from support.machines.two_cards import machine

pytestmark = [pytest.mark.ship, pytest.mark.acceptance]

IDLE = "Ready: there are no jobs for this machine at the moment."
STOPPING = "Waiting up to "


def position(lines: Sequence[str], text: str) -> int:
    """Return the number of the only line that begins with `text`."""
    matches = [number for number, line in enumerate(lines) if line.strip().startswith(text)]
    assert len(matches) == 1, (text, *lines)
    return matches[0]


def seen(lines: Sequence[str], text: str) -> bool:
    return any(line.startswith(text) for line in lines)


def drawn(tmux: Tmux, state: str, keys: str) -> list[str]:
    """Wait for a complete screen with this state, and with these keys on its last line."""
    return tmux.until(lambda lines: seen(lines, state) and lines[-1] == keys)


def test_the_panel_fits_both_sizes_reacts_to_its_keys_and_restores_the_terminal(tmp_path: Path) -> None:
    """From the start to the second Ctrl-C: two jobs run, the miner pauses and resumes, and the last job is handed back."""
    with machine(tmp_path, AITBC_MINER__DRAIN_SECONDS="100") as rig:
        before, after = tmp_path / "before", tmp_path / "after"
        agent = f"{COMMAND} start --no-ask --port 0 --data-dir {rig.agent.data_dir}"
        script = f"trap : INT; echo earlier output; stty -a > {before}; {agent}; echo ended with $?; stty -a > {after}; cat"
        with terminal(tmp_path, script, 80, 24, rig.agent.environment) as tmux:
            lines = drawn(tmux, IDLE, " q stop   p pause")
            assert len(lines) == 24
            assert lines[0].startswith("AITBC agent  http://127.0.0.1:")
            assert " up " in lines[0]
            assert len(lines[0]) == 80
            titles = [position(lines, f"─ {title} ─") for title in ("GPUs", "Jobs", "Last hour", "Log")]
            assert titles == sorted(titles)
            cards = [position(lines, f"GPU {number}") for number in (0, 1)]
            assert cards == [titles[0] + 1, titles[0] + 2]
            for card in cards:
                assert lines[card].split()[-8:] == ["0.5/24.0", "GiB", "41", "°C", "60/450", "W", "3", "%"]
            assert lines[titles[1] + 1] == " none"

            rig.agent.url = rig.agent.file["url"]
            jobs = [rig.submit("small", "one"), rig.submit("middle", "two")]
            running = lambda lines: sum(" 50 % " in line for line in lines) == 2  # noqa: E731
            tmux.until(lambda lines: seen(lines, "Working on 2 jobs.") and running(lines))
            tmux.press("p")
            drawn(tmux, "Paused by hand; 2 jobs still running", " q stop   p resume")

            tmux.resize(200, 50)
            lines = tmux.until(lambda lines: len(lines) == 50 and lines[49] == " q stop   p resume")
            for job in jobs:
                assert sum(job in line for line in lines[: position(lines, "─ Log ─")]) == 1
            assert rig.miner()["miner_id"] in lines[1]
            assert len(lines[0]) == 200
            tmux.press("p")
            tmux.until(lambda lines: seen(lines, "Working on 2 jobs."))

            tmux.press("C-c")
            assert any(" s for 2 jobs, " in line for line in drawn(tmux, STOPPING, " q stop now"))
            rig.open("one")
            tmux.until(lambda lines: any(" s for 1 job, " in line for line in lines))
            tmux.press("C-c")
            lines = tmux.until(lambda lines: seen(lines, "ended with 0"))
            assert lines[0] == "earlier output"
            assert not seen(lines, "AITBC agent")
            tmux.until(lambda _: after.exists() and after.read_text().count("\n") > 3)
            modes = [
                text.replace("rows 24; columns 80", "rows 50; columns 200")
                for text in (before.read_text(), after.read_text())
            ]
            assert modes[0] == modes[1]
            assert "The agent has stopped." in lines
