"""Whether somebody uses this machine, asked of real services: a message bus, an X server, terminals and programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from jeepney import MessageType, new_error, new_method_return
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection
from Xlib import X, Xatom
from Xlib.display import Display
from Xlib.ext import xtest

from agent import desktop_bus
from agent.configuring.reading import load_settings
from agent.miner.doctor._machine import owner
from agent.miner.pausing.machine_watch import MachineReading
from agent.miner.pausing.presence import Presence, ProcessorTimes
from agent.miner.settings import PauseSettings

CONFIGURATION = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>session</type><listen>unix:path={}</listen><auth>EXTERNAL</auth><policy context="default">
<allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>"""


class Services:
    """Services on a bus of their own, which answer with `values`."""

    def __init__(self) -> None:
        self.values: dict[str, tuple[str, Any]] = {}
        self._connection = open_dbus_connection(bus="SESSION")
        for name in (
            "org.freedesktop.login1",
            "org.freedesktop.systemd1",
            "org.freedesktop.NetworkManager",
            "org.gnome.Mutter.IdleMonitor",
        ):
            self._connection.send_and_get_reply(message_bus.RequestName(name))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                call = self._connection.receive()
                if call.header.message_type is not MessageType.method_call:
                    continue
                name = "GetIdletime" if not call.body else call.body[1]
                if name not in self.values:
                    self._connection.send(new_error(call, "org.freedesktop.DBus.Error.UnknownProperty"))
                    continue
                signature, value = self.values[name]
                body = (value,) if name == "GetIdletime" else ((signature, value),)
                self._connection.send(
                    new_method_return(call, signature if name == "GetIdletime" else "v", body)
                )


@pytest.fixture
def bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Services]:
    if shutil.which("dbus-daemon") is None:
        pytest.skip("dbus-daemon is missing: apt-get install dbus")
    socket, configuration = tmp_path / "bus", tmp_path / "bus.conf"
    configuration.write_text(CONFIGURATION.format(socket))
    command = ["dbus-daemon", f"--config-file={configuration}", "--nofork", "--print-address"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline()
        for name in ("DBUS_SESSION_BUS_ADDRESS", "DBUS_SYSTEM_BUS_ADDRESS"):
            monkeypatch.setenv(name, f"unix:path={socket}")
        monkeypatch.delenv("DISPLAY", raising=False)
        yield Services()
        daemon.terminate()


def idle(presence: Presence | None = None) -> float | None:
    reading = (presence or Presence(terminals=())).read(PauseSettings(idle_minutes=3))
    return reading.idle_seconds


def test_gnome_counts_before_logind_which_counts_where_there_is_no_desktop_to_ask(bus: Services) -> None:
    assert idle() is None
    bus.values["IdleHint"] = "b", False
    assert idle() == 0
    bus.values |= {"IdleHint": ("b", True), "IdleSinceHint": ("t", int((time.time() - 90) * 1e6))}
    assert idle() == pytest.approx(90, abs=60)
    bus.values["GetIdletime"] = "t", 7_000
    assert idle() == 7


def test_a_connection_is_metered_if_networkmanager_knows_or_guesses_it(bus: Services) -> None:
    answers = []
    for value in (0, 1, 2, 3, 4):
        bus.values["Metered"] = "u", value
        answers.append(desktop_bus.metered())
    assert answers == [False, True, False, True, False]


def test_without_any_bus_nothing_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DBUS_SESSION_BUS_ADDRESS", "DBUS_SYSTEM_BUS_ADDRESS"):
        monkeypatch.setenv(name, f"unix:path={tmp_path / 'nothing'}")
    monkeypatch.delenv("DISPLAY", raising=False)
    assert (idle(), desktop_bus.metered()) == (None, False)


def test_what_is_typed_on_a_terminal_counts(tmp_path: Path, bus: Services) -> None:
    bus.values |= {"GetIdletime": ("t", 900_000)}
    (tmp_path / "0").touch()
    os.utime(tmp_path / "0", (time.time() - 40, time.time()))
    presence = Presence(terminals=(f"{tmp_path}/[0-9]*",))
    assert idle(presence) == pytest.approx(40, abs=30)


def test_a_program_is_recognised_by_its_name(tmp_path: Path) -> None:
    program = tmp_path / "a-game-with-a-long-name"
    shutil.copy("/bin/sleep", program)
    rules, presence = PauseSettings(programs=("OBS", "A-Game-With-A-Long-Name.exe")), Presence()
    assert presence.read(rules).program is None
    with _elsewhere(program, "300") as pid:
        assert presence.read(rules).program == "A-Game-With-A-Long-Name.exe"
    assert pid


def test_the_load_of_others_counts_and_that_of_the_agent_does_not() -> None:
    before = ProcessorTimes(total=1000, busy=500, own=400)
    assert ProcessorTimes(total=1200, busy=620, own=460).others_since(before) == 30
    assert ProcessorTimes(total=1200, busy=620, own=520).others_since(before) == 0
    rules, presence = PauseSettings(other_load=25), Presence()
    assert presence.read(rules).load is None
    time.sleep(0.1)
    load = presence.read(rules).load
    assert load is not None


@contextmanager
def _elsewhere(*command: str | Path) -> Iterator[int]:
    """Run a program that is no child of this process, as an owner's programs are not."""
    shell = ["sh", "-c", 'setsid "$@" >/dev/null 2>&1 & echo $!', "sh", *map(str, command)]
    pid = int(subprocess.run(shell, check=True, capture_output=True, text=True).stdout)
    process = psutil.Process(pid)
    try:
        while process.ppid() == os.getpid() or process.name() in {"sh", "setsid"}:
            time.sleep(0.05)
        yield pid
    finally:
        process.kill()


@pytest.fixture
def screen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    if shutil.which("Xvfb") is None:
        pytest.skip("Xvfb is missing: apt-get install xvfb")
    reading, writing = os.pipe()
    command = ["Xvfb", "-displayfd", str(writing), "-nolisten", "tcp", "-noreset"]
    with subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL) as server:
        os.close(writing)
        with os.fdopen(reading) as number:
            monkeypatch.setenv("DISPLAY", f":{number.readline().strip()}")
        monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
        display = Display()
        yield display
        display.close()
        server.terminate()


def read_screen() -> MachineReading:
    return Presence(terminals=()).read(PauseSettings(idle_minutes=3, full_screen=True))


def test_x11_knows_keyboard_and_mouse_and_a_window_that_fills_the_screen(screen: Any) -> None:
    """No window manager runs here: the test sets the properties that each one sets."""
    deadline = time.monotonic() + 60
    while (read_screen().idle_seconds or 0) < 1.5:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    before = time.monotonic()
    xtest.fake_input(screen, X.MotionNotify, x=20, y=20)
    screen.sync()
    # The server has received it, and processes it a moment later.
    while ((reading := read_screen()).idle_seconds or 0) > time.monotonic() - before:
        assert time.monotonic() < deadline
    assert reading.idle_seconds is not None
    assert not reading.full_screen
    root = screen.screen().root
    window = root.create_window(0, 0, 100, 100, 0, X.CopyFromParent)
    state, full = screen.intern_atom("_NET_WM_STATE"), screen.intern_atom("_NET_WM_STATE_FULLSCREEN")
    window.change_property(state, Xatom.ATOM, 32, [full])
    root.change_property(screen.intern_atom("_NET_ACTIVE_WINDOW"), Xatom.WINDOW, 32, [window.id])
    screen.sync()
    assert read_screen().full_screen
    window.change_property(state, Xatom.ATOM, 32, [])
    screen.sync()
    assert not read_screen().full_screen


def test_a_service_that_began_before_the_desktop_asks_its_manager_where_that_is(
    bus: Services, screen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = os.environ["DISPLAY"]
    monkeypatch.delenv("DISPLAY")
    assert read_screen().idle_seconds is None
    bus.values["Environment"] = "as", ["LANG=C", f"DISPLAY={number}"]
    assert read_screen().idle_seconds is not None
    # What GNOME knows counts under Wayland, and X11 does not.
    bus.values |= {
        "Environment": ("as", [f"DISPLAY={number}", "WAYLAND_DISPLAY=wayland-0"]),
        "GetIdletime": ("t", 86_400_000),
    }
    assert read_screen().idle_seconds == 86_400


def test_the_doctor_says_whether_the_use_of_the_machine_is_known(bus: Services, tmp_path: Path) -> None:
    settings = load_settings(flags={"data_dir": tmp_path, "miner": {"pause": {"idle_minutes": 3}}})
    (unknown,) = owner(settings, Presence(terminals=()))
    assert (unknown.id, unknown.severity) == ("owner_unknown", "warning")
    bus.values["GetIdletime"] = "t", 120_000
    (passed,) = owner(settings, Presence(terminals=()))
    assert (passed.severity, passed.message) == ("ok", "Keyboard, mouse or a terminal were used 2 min ago.")
    assert owner(load_settings(flags={"data_dir": tmp_path})) == []
