"""A real terminal of a given size, which a test can read and type into."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

POLL_SECONDS = 0.1


class Tmux:
    """One window of a tmux server of its own."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def __call__(self, *words: str) -> str:
        """Run a command of tmux."""
        command = ["tmux", "-S", str(self._socket), "-f", "/dev/null", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout

    def screen(self) -> list[str]:
        """Return the visible lines without trailing spaces."""
        return self("capture-pane", "-p", "-t", "test").split("\n")[:-1]

    def press(self, *keys: str) -> None:
        self("send-keys", "-t", "test", *keys)

    def resize(self, width: int, height: int) -> None:
        self("resize-window", "-t", "test", "-x", str(width), "-y", str(height))

    def until(self, condition: Callable[[list[str]], object], limit: float = 120) -> list[str]:
        """Wait until the condition holds, and return the visible lines."""
        end = time.monotonic() + limit
        while not condition(lines := self.screen()):
            assert time.monotonic() < end, "\n".join(
                [f"{len(lines)} lines, but the condition does not hold:", *lines]
            )
            time.sleep(POLL_SECONDS)
        return lines


@contextmanager
def terminal(
    directory: Path, script: str, width: int, height: int, environment: Mapping[str, str]
) -> Iterator[Tmux]:
    """Run a shell script in a terminal while the block runs."""
    tmux = Tmux(directory / "tmux")
    settings = [f"{name}={value}" for name, value in environment.items()]
    command = shlex.join(
        ["env", "-u", "AITBC_BASE_URL", "-u", "AITBC_API_KEY", *settings, "sh", "-c", script]
    )
    tmux("new-session", "-d", "-s", "test", "-x", str(width), "-y", str(height), command)
    try:
        yield tmux
    finally:
        with suppress(subprocess.CalledProcessError):  # it has ended with its last program
            tmux("kill-server")
