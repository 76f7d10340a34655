"""Finds out whether somebody uses this machine: from the desktop, the login manager, terminals, programs and the battery.

Each source knows only a part. GNOME knows keyboard and mouse, also under Wayland; X11 under X11 only. Both can be asked only by a process of
the desktop's user. Logind answers everybody, but repeats what the desktop reports, mostly after some minutes, and some desktops never
report anything. Terminals are known everywhere.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import structlog

from agent import desktop_bus
from agent.miner.pausing.machine_watch import MachineReading
from agent.miner.settings import PauseSettings

SUPPLIES: Final = Path("/sys/class/power_supply")
TERMINALS: Final = ("/dev/pts/[0-9]*", "/dev/tty[0-9]*")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ProcessorTimes:
    """Seconds of all processors together: that have passed, in which they worked, and in which they worked for this agent."""

    total: float
    busy: float
    own: float

    def others_since(self, former: ProcessorTimes) -> float | None:
        """Return the percentage in which they have worked for other programs since an earlier reading; None without any time between."""
        passed = self.total - former.total
        if passed <= 0:
            return None
        busy = self.busy - former.busy - max(0.0, self.own - former.own)
        return min(100.0, max(0.0, 100 * busy / passed))


class Presence:
    """Reads what rules need. `supplies` is the kernel's directory of batteries and chargers, `terminals` are patterns of paths."""

    def __init__(self, supplies: Path = SUPPLIES, terminals: Sequence[str] = TERMINALS) -> None:
        self._supplies = supplies
        self._terminals = terminals
        self._former: ProcessorTimes | None = None
        self._warned = False

    def read(self, rules: PauseSettings) -> MachineReading:
        """Return how the machine is used. Blocking; services that do not answer take some seconds."""
        wants_desktop = rules.full_screen or rules.idle_minutes is not None
        x_idle, full_screen = _x11() if wants_desktop else (None, False)
        idle = None if rules.idle_minutes is None else self._idle_seconds(x_idle)
        if rules.idle_minutes is not None and idle is None and not self._warned:
            self._warned = True
            _log.warning("owner_unknown", reason="neither a desktop nor logind nor a terminal can be asked")
        return MachineReading(
            idle_seconds=idle,
            full_screen=full_screen,
            program=_running(rules.programs) if rules.programs else None,
            load=None if rules.other_load is None else self._load(),
            on_battery=rules.on_battery and on_battery(self._supplies),
        )

    def _idle_seconds(self, x_idle: float | None) -> float | None:
        desktop = x_idle if x_idle is not None else desktop_bus.gnome_idle_seconds()
        # Logind repeats the desktop's answer late, so it counts only if the desktop itself cannot be asked.
        if desktop is None and (since := desktop_bus.login_idle_since()) is not None:
            desktop = max(0.0, time.time() - since)
        ages = [desktop, *(time.time() - used_at for used_at in self._used_at())]
        return min((max(0.0, age) for age in ages if age is not None), default=None)

    def _used_at(self) -> Iterator[float]:
        # The kernel notes when something was typed there, in steps of eight seconds.
        for pattern in self._terminals:
            for path in Path("/").glob(pattern.removeprefix("/")):
                try:
                    yield path.stat().st_atime
                except OSError:
                    continue

    def _load(self) -> float | None:
        """Return how much of the processors other programs have used since the last call, in percent; None the first time."""
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        # Guests are counted as users too.
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        former, self._former = (
            self._former,
            ProcessorTimes(total, total - idle, sum(_processor_seconds(process) for process in _own())),
        )
        return None if former is None else self._former.others_since(former)


def on_battery(supplies: Path) -> bool:
    """Return whether a battery or UPS powers the machine. Those of mice and headphones do not."""
    of_machine = [path for path in supplies.glob("*") if _text(path / "scope") != "Device"]
    batteries = [path for path in of_machine if _text(path / "type") in {"Battery", "UPS"}]
    is_discharging = any(_text(battery / "status") == "Discharging" for battery in batteries)
    is_plugged_in = any(
        _text(path / "online") not in {"", "0"} for path in of_machine if path not in batteries
    )
    return is_discharging and not is_plugged_in


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _own() -> list[psutil.Process]:
    process = psutil.Process()
    return [process, *process.children(recursive=True)]


def _processor_seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    # With those of children that have ended, or their end would look like another program's work.
    return float(times.user + times.system + times.children_user + times.children_system)


def _running(names: Sequence[str]) -> str | None:
    """Return the first of these programs that runs, without regard to case and `.exe`."""
    own = {process.pid for process in _own()}
    running = {
        _plain(process.info["name"] or "")
        for process in psutil.process_iter(["pid", "name"])
        if process.info["pid"] not in own
    }
    return next((name for name in names if _plain(name) in running), None)


def _plain(name: str) -> str:
    # The kernel's names end after 15 characters.
    return name.lower().removesuffix(".exe")[:15]


def _x11() -> tuple[float | None, bool]:
    """Return for how many seconds keyboard and mouse have not been used, None if X11 does not know, and whether a window fills the screen."""
    variables = desktop_bus.desktop_environment()
    if "DISPLAY" not in variables:
        return None, False
    # The library reads the file of its cookie's name from nowhere else.
    if "XAUTHORITY" in variables:
        os.environ["XAUTHORITY"] = variables["XAUTHORITY"]
    from Xlib.display import Display  # noqa: PLC0415 - only where there is a desktop

    try:
        display = Display(variables["DISPLAY"])
        try:
            # Under Wayland, X11 sees only what is typed into windows of X11.
            idle = None if "WAYLAND_DISPLAY" in variables else _x11_idle(display)
            return idle, _x11_full_screen(display)
        finally:
            display.close()
    except Exception as error:  # noqa: BLE001 - no answer of a desktop may end the miner
        _log.debug("x11_silent", error=f"{type(error).__name__}: {error}")
        return None, False


def _x11_idle(display: Any) -> float | None:
    if not display.has_extension("MIT-SCREEN-SAVER"):
        return None
    return float(display.screen().root.screensaver_query_info().idle) / 1000


def _x11_full_screen(display: Any) -> bool:
    root = display.screen().root
    active = root.get_full_property(display.intern_atom("_NET_ACTIVE_WINDOW"), 0)
    if active is None or not active.value or not active.value[0]:
        return False
    window = display.create_resource_object("window", active.value[0])
    states = window.get_full_property(display.intern_atom("_NET_WM_STATE"), 0)
    return states is not None and display.intern_atom("_NET_WM_STATE_FULLSCREEN") in states.value
