"""Runs the live panel of `aitbc-agent start` on a terminal: the screen, the keys and the log lines.

A terminal can block output at any time (a stalled connection, a paused session). The agent never waits for it: drawing has a thread
of its own, which is abandoned if it hangs.
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
from rich.console import ConsoleDimensions, Group
from rich.live import Live

from agent.cli.terminal.panel import PanelView, draw
from agent.miner.tasks import Background
from aitbc.cli._controls import unguarded
from aitbc.cli._terminal.output import SafeConsole

if TYPE_CHECKING:
    from agent.miner.daemon import Daemon

REFRESH_SECONDS: Final = 1.0
ANNOUNCEMENT_SECONDS: Final = 600.0
"""How long announcements are shown: a login link is valid no longer."""
KEY_SECONDS: Final = 0.25
"""How often the thread that reads keys checks whether the panel has ended."""
_END_SECONDS: Final = 2.0
_MAX_LOG: Final = 200
SHOWN_AFTER_A_FAULT: Final = 20
"""Number of log lines written to standard error after the agent has ended with an error."""
_MAX_LINE: Final = 2000
_LOCAL_FLAGS: Final = 3
_CONTROL_CHARACTERS: Final = 6

_log = structlog.get_logger(__name__)


def can_show(*, plain: bool) -> bool:
    """Return whether standard input and output are a terminal that can show the panel."""
    return (
        not plain
        and sys.stdin.isatty()
        and sys.stdout.isatty()
        and os.environ.get("TERM", "") not in {"", "dumb"}
    )


def terminal_size(descriptor: int) -> ConsoleDimensions:
    """Return the size of a terminal, 80 by 24 for one that does not know its own (serial consoles, some containers).

    rich's own size would follow the exported LINES and COLUMNS, which are outdated after a resize.
    """
    columns, lines = os.get_terminal_size(descriptor)
    return ConsoleDimensions(columns or 80, lines or 24)


class LogPane:
    """A stream for log lines: retains the newest for the panel, and writes to standard error when no panel is shown."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=_MAX_LOG)
        self.shown = False

    def write(self, text: str) -> int:
        """Write whole lines; from any thread."""
        if self.shown:
            for line in filter(None, text.splitlines()):
                self._add(line[:_MAX_LINE])
        else:
            # Past the guard that replaces control characters: the log has already escaped them, and colours are its own.
            unguarded(sys.stderr).write(text)
        return len(text)

    def _add(self, line: str) -> None:
        # While a coordinator is away, each try fails in the same words.
        if not (self.lines and _without_time(self.lines[-1]) == _without_time(line)):
            self.lines.append(line)

    def flush(self) -> None:
        """Flush standard error when no panel is shown."""
        if not self.shown:
            sys.stderr.flush()


class LivePanel:
    """The panel of a miner that works for the coordinator at `url`. Use `shown` around the miner's life.

    The stop key calls `on_stop`.
    """

    def __init__(self, url: str, daemon: Daemon, log: LogPane, *, on_stop: Callable[[], None]) -> None:
        self._url = url
        self._daemon = daemon
        self._log = log
        self._on_stop = on_stop
        self._announcements: tuple[str, ...] = ()
        self._announced_until = 0.0
        self._view: PanelView | None = None
        self._draw = threading.Event()
        self._ended = threading.Event()
        self._wake = asyncio.Event()

    def announce(self, line: str) -> None:
        """Show a line at the top for a limited time; of several lines, only the newest two."""
        self._announcements = (*self._announcements, line)[-2:]
        self._announced_until = time.monotonic() + ANNOUNCEMENT_SECONDS
        self.refresh()

    def refresh(self) -> None:
        """Redraw soon, for example after a key press or a change of the window's size."""
        self._wake.set()

    @asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """Take over the terminal, and restore it however the block ends."""
        lost: tuple[str, ...] = ()
        loop = asyncio.get_running_loop()
        descriptor = sys.stdin.fileno()
        # Before anything is changed, since this is what the owner's shell expects afterwards.
        old_attributes = termios.tcgetattr(descriptor)
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
            # The panel's screen vanishes with it, and with it the lines that say why the agent has ended.
            lost = tuple(self._log.lines)[-SHOWN_AFTER_A_FAULT:]
            raise
        finally:
            loop.remove_signal_handler(signal.SIGWINCH)
            await keeping.close()
            self._ended.set()
            self._draw.set()
            for thread in threads:
                if thread.ident is not None:
                    # With a limit: a terminal that hangs must not keep the agent from ending.
                    await asyncio.to_thread(thread.join, _END_SECONDS)
            self._log.shown = False
            with suppress(termios.error):  # the terminal is closed
                # After the threads have ended, or the last picture would be drawn over the shell's prompt.
                termios.tcsetattr(descriptor, termios.TCSANOW, old_attributes)
            for line in lost:
                self._log.write(f"{line}\n")

    async def _keep_current(self) -> None:
        """Pass the drawing thread a new view each second, until cancelled."""
        while True:
            self._wake.clear()
            # Read in the event loop, which owns the state. The drawing thread gets a finished view.
            status = self._daemon.status() if self._daemon.prepared else None
            announcements = self._announcements if time.monotonic() < self._announced_until else ()
            log = tuple(self._log.lines)
            self._view = PanelView(self._url, status, log, time.time(), announcements, _keys(status))
            self._draw.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_SECONDS):
                    await self._wake.wait()

    def _keep_drawing(self) -> None:
        try:
            self._draw_views()
        except OSError:  # the terminal is closed
            _log.info("panel_ended")
        finally:
            self._log.shown = False

    def _draw_views(self) -> None:
        console = SafeConsole()
        with Live(
            console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        ) as live:
            while not self._ended.is_set():
                self._draw.wait()
                self._draw.clear()
                if (view := self._view) is not None:
                    console.size = size = terminal_size(sys.stdout.fileno())
                    live.update(Group(*draw(view, size.width, size.height)), refresh=True)

    def _keep_reading(self, descriptor: int, loop: asyncio.AbstractEventLoop) -> None:
        # The event loop would make the terminal's descriptor non-blocking, for other programs on it as well.
        # The terminal or the loop is closed.
        with suppress(OSError, RuntimeError):
            while not self._ended.is_set():
                if select.select([descriptor], [], [], KEY_SECONDS)[0]:
                    if not (keys := os.read(descriptor, 64)):
                        return
                    loop.call_soon_threadsafe(self._pressed, keys.decode(errors="replace").lower())

    def _pressed(self, keys: str) -> None:
        if "q" in keys:
            self._on_stop()
        # Keys that were pressed together arrive together. Two presses of p leave everything as it was.
        elif keys.count("p") % 2:
            self._daemon.toggle_pause()
        self.refresh()


def _without_time(line: str) -> str:
    return line.partition("  ")[2] or line


def _take_keys(descriptor: int) -> None:
    """Read keys one by one, without echo. Ctrl-C remains a signal; keys that suspend the output or the agent are disabled."""
    attributes = termios.tcgetattr(descriptor)
    attributes[0] &= ~termios.IXON
    attributes[_LOCAL_FLAGS] &= ~(termios.ICANON | termios.ECHO)
    # A suspended agent would keep its leases and do nothing.
    attributes[_CONTROL_CHARACTERS][termios.VSUSP] = b"\0"
    termios.tcsetattr(descriptor, termios.TCSANOW, attributes)


def _keys(status: Mapping[str, Any] | None) -> str:
    if status is None:
        return "q stop"
    if status["stopping"]:
        return "q stop now"
    pause = status["pauses"]["miner"]
    return f"q stop   p {'resume' if pause is not None and pause['resumable'] else 'pause'}"
