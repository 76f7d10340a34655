"""The live panel of `aitbc-agent start` on a terminal: the screen, the keys, and the log lines that would disturb it.

A terminal may stop taking output at any moment (a stalled connection, a paused session). Nothing of the agent waits for
it: drawing has a thread of its own, which is left behind if it hangs.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import termios
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import structlog
from rich.console import Console, ConsoleDimensions, Group
from rich.live import Live

from agent.cli.terminal.panel import View, draw
from agent.miner.tasks import Background

if TYPE_CHECKING:
    from agent.miner.daemon import Daemon

REFRESH_SECONDS: Final = 1.0
SAID_SECONDS: Final = 600.0
"""How long what was said is shown: a link that logs in is good no longer."""
KEY_SECONDS: Final = 0.25
"""How often whoever waits for keys looks whether the panel has ended."""
_END_SECONDS: Final = 2.0
_MAX_LOG: Final = 200
SHOWN_AFTER_A_FAULT: Final = 20
"""How many of the last log lines are written to standard error when the agent ended because something went wrong."""
_MAX_LINE: Final = 2000
_LOCAL_FLAGS: Final = 3
_CONTROL_CHARACTERS: Final = 6

_log = structlog.get_logger(__name__)


def wanted(*, plain: bool) -> bool:
    """Whether there is a terminal that can show it, in front of and behind the agent."""
    return (
        not plain
        and sys.stdin.isatty()
        and sys.stdout.isatty()
        and os.environ.get("TERM", "") not in {"", "dumb"}
    )


class LogPane:
    """A stream for log lines: keeps the newest for the panel, and writes to standard error while there is none."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=_MAX_LOG)
        self.shown = False

    def write(self, text: str) -> int:
        """Take whole lines; from any thread."""
        if self.shown:
            self.lines.extend(line[:_MAX_LINE] for line in text.splitlines() if line)
        else:
            sys.stderr.write(text)
        return len(text)

    def flush(self) -> None:
        """Have written what was written past the panel."""
        if not self.shown:
            sys.stderr.flush()


class LivePanel:
    """`shown` around the life of a miner that works for the coordinator at `url`. `on_stop` is called by a key."""

    def __init__(self, url: str, daemon: Daemon, log: LogPane, *, on_stop: Callable[[], None]) -> None:
        self._url = url
        self._daemon = daemon
        self._log = log
        self._on_stop = on_stop
        self._said: tuple[str, ...] = ()
        self._said_until = 0.0
        self._view: View | None = None
        self._draw = threading.Event()
        self._ended = threading.Event()
        self._wake = asyncio.Event()

    def say(self, line: str) -> None:
        """Show a line at the top for a while; the newest two stay."""
        self._said = (*self._said, line)[-2:]
        self._said_until = time.monotonic() + SAID_SECONDS
        self.refresh()

    def refresh(self) -> None:
        """Draw soon, e.g. because something was asked for or the window's size has changed."""
        self._wake.set()

    @asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """Have the terminal, and give it back as it was however the block ends."""
        lost: tuple[str, ...] = ()
        loop = asyncio.get_running_loop()
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
        threads = [
            threading.Thread(target=self._keep_drawing, name="panel", daemon=True),
            threading.Thread(
                target=self._keep_reading, args=(descriptor, loop), name="panel-keys", daemon=True
            ),
        ]
        keeping = Background()
        keeping.spawn(self._keep_current(), "panel")
        try:
            _take_keys(descriptor)
            self._log.shown = True
            loop.add_signal_handler(signal.SIGWINCH, self.refresh)
            for thread in threads:
                thread.start()
            yield
        except BaseException:
            lost = tuple(self._log.lines)[-SHOWN_AFTER_A_FAULT:]
            raise
        finally:
            loop.remove_signal_handler(signal.SIGWINCH)
            await keeping.close()
            self._ended.set()
            self._draw.set()
            for thread in threads:
                if thread.ident is not None:
                    await asyncio.to_thread(thread.join, _END_SECONDS)
            self._log.shown = False
            with suppress(termios.error):  # the terminal is gone
                termios.tcsetattr(descriptor, termios.TCSANOW, before)
            for line in lost:
                self._log.write(f"{line}\n")

    async def _keep_current(self) -> None:
        """Give the drawing thread a new view each second, until cancelled."""
        while True:
            self._wake.clear()
            status = self._daemon.status() if self._daemon.prepared else None
            said = self._said if time.monotonic() < self._said_until else ()
            self._view = View(self._url, status, tuple(self._log.lines), time.time(), said, _keys(status))
            self._draw.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_SECONDS):
                    await self._wake.wait()

    def _keep_drawing(self) -> None:
        try:
            self._draw_views()
        except OSError:  # the terminal is gone
            _log.info("panel_ended")
        finally:
            self._log.shown = False

    def _draw_views(self) -> None:
        console = Console(highlight=False)
        with Live(
            console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        ) as live:
            while not self._ended.is_set():
                self._draw.wait()
                self._draw.clear()
                if (view := self._view) is not None:
                    # Not the console's own: exported LINES and COLUMNS say how large the terminal once was.
                    width, height = os.get_terminal_size(sys.stdout.fileno())
                    console.size = ConsoleDimensions(width, height)
                    live.update(Group(*draw(view, width, height)), refresh=True)

    def _keep_reading(self, descriptor: int, loop: asyncio.AbstractEventLoop) -> None:
        # Not by the event loop: it would make the terminal's descriptor non-blocking, for other programs on it as well.
        with suppress(OSError, RuntimeError):  # the terminal, or the loop, is gone
            while not self._ended.is_set():
                if select.select([descriptor], [], [], KEY_SECONDS)[0]:
                    if not (keys := os.read(descriptor, 64)):
                        return
                    loop.call_soon_threadsafe(self._pressed, keys.decode(errors="replace").lower())

    def _pressed(self, keys: str) -> None:
        if "q" in keys:
            self._on_stop()
        elif keys.count("p") % 2:
            self._daemon.toggle_pause()
        self.refresh()


def _take_keys(descriptor: int) -> None:
    """Keys one by one and unseen. Ctrl-C stays a signal; what would stop the output or the agent itself is switched off."""
    attributes = termios.tcgetattr(descriptor)
    attributes[0] &= ~termios.IXON
    attributes[_LOCAL_FLAGS] &= ~(termios.ICANON | termios.ECHO)
    attributes[_CONTROL_CHARACTERS][termios.VSUSP] = b"\0"
    termios.tcsetattr(descriptor, termios.TCSANOW, attributes)


def _keys(status: Mapping[str, Any] | None) -> str:
    if status is None:
        return "q stop"
    if status["stopping"]:
        return "q stop at once"
    pause = status["pauses"]["miner"]
    return f"q stop   p {'resume' if pause is not None and pause['resumable'] else 'pause'}"
