"""The resources of an agent that a client's program must not reach: a home directory, keys, sockets, a terminal, memory."""

from __future__ import annotations

import ctypes
import fcntl
import os
import pty
import signal
import socket
import subprocess
import termios
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.escapes.model.attempts import call
from support.escapes.model.left_overs import DIRECTORIES, KEY, NAME

GREETING = "hello from outside"
HIGHEST_SMALL_NUMBER = 300
"""Process ids up to this one are used inside a namespace, where they belong to other processes than outside."""

SECONDS = 60

CATCH_UP = signal.SIGTERM
"""Handled after the others: pending signals are handled in the order of their numbers."""

_SESSION_KEYRING = -3
_JOIN_SESSION, _SET_PERMISSIONS = 1, 5
_ALL_OF_THE_USERS = 0x3F3F0000


def leave_small_numbers() -> None:
    """Continue in a process whose id no process in a namespace has; a container's ids start at 1."""
    if os.getpid() > HIGHEST_SMALL_NUMBER:
        return
    child = 0
    while child <= HIGHEST_SMALL_NUMBER:
        if (child := os.fork()) == 0:
            os._exit(0)
        os.waitpid(child, 0)
    if child := os.fork():
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os.setsid()


@dataclass(frozen=True, slots=True)
class Victim:
    """A process of the agent that records received signals in a file."""

    pid: int
    notes: Path

    def signals(self) -> list[int]:
        """Return the numbers of the received signals, without those that `catch_up` sends."""
        return [number for number in self.notes.read_bytes() if number != CATCH_UP]

    def catch_up(self) -> None:
        """Wait until the process has recorded all sent signals. If it was stopped, SIGSTOP is recorded, and it continues."""
        if Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] in "Tt":
            with self.notes.open("ab") as notes:
                notes.write(bytes([signal.SIGSTOP]))
            os.kill(self.pid, signal.SIGCONT)
        size = self.notes.read_bytes().count(CATCH_UP)
        os.kill(self.pid, CATCH_UP)
        end = time.monotonic() + SECONDS
        while self.notes.read_bytes().count(CATCH_UP) == size:
            if time.monotonic() > end:
                raise TimeoutError("the agent's process does not respond")
            time.sleep(0.005)

    def changed(self) -> list[str]:
        """Return the names of the attributes of the process that have changed."""
        now = {
            "priority": os.getpriority(os.PRIO_PROCESS, self.pid) != os.getpriority(os.PRIO_PROCESS, 0),
            "scheduling": os.sched_getscheduler(self.pid) != os.sched_getscheduler(0),
            "processors": os.sched_getaffinity(self.pid) != os.sched_getaffinity(0),
        }
        return [name for name, changed in now.items() if changed]

    def end(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def start_victim(notes: Path) -> Victim:
    """Fork the process. Call this before any thread is started."""
    notes.touch()
    pid = os.fork()
    if pid:
        return Victim(pid, notes)

    written = os.open(
        notes, os.O_WRONLY | os.O_APPEND
    )  # opened now, since the limit of open files is attacked too

    def note(number: int, _: Any) -> None:
        os.write(written, bytes([number]))

    for number in (signal.SIGUSR1, signal.SIGUSR2, CATCH_UP):
        signal.signal(number, note)
    while True:
        signal.pause()


def plant(base: Path, secret: str, victim: Victim, keys: dict[str, Any]) -> dict[str, Any]:
    """Create the resources in `base`. Returns the facts that an attacker may know, including the result of `plant_key`."""
    home, data = base / "home", base / "data"
    for directory in (home, data):
        directory.mkdir(mode=0o700)
    for path in (home / "private.txt", data / "identity.key", data / "agent.json", data / "database"):
        path.write_text(f"the secret is {secret}\n")
        path.chmod(0o600)
    descriptor = os.open(data / "identity.key", os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    public = base / "public.sock"
    abstract = f"aitbc-{os.getpid()}"
    return {
        **_serve(data / "control.sock", public, abstract),
        "agent": os.getpid(),
        "abstract": abstract,
        "base": str(base),
        "card": "/dev/nvidia0",
        "data": str(data),
        "disk": _disk()[0],
        "disk_path": _disk()[1],
        "greeting": GREETING,
        "home": str(home),
        "public_socket": str(public),
        "secret": secret,
        "secret_address": _memory(secret),
        "secret_fd": descriptor,
        "secret_handle": _handle(data / "identity.key"),
        "segment": _segment(secret),
        "terminal": _terminal(),
        "victim": victim.pid,
        **keys,
    }


_references: list[Any] = []
"""Objects that must live as long as this process."""


def _memory(secret: str) -> int:
    buffer = ctypes.create_string_buffer(secret.encode())
    _references.append(buffer)
    return ctypes.addressof(buffer)


def _segment(secret: str) -> int:
    segment = call("shmget", 0, 4096, 0o1600)
    address = call("shmat", segment, 0, 0)
    ctypes.memmove(address, secret.encode(), len(secret))
    return segment


def remove_segment(segment: int) -> None:
    call("shmctl", segment, 0, 0)


def _handle(path: Path) -> str:
    """Return the file's handle in hexadecimal, or nothing if the file system has no handles."""
    buffer = ctypes.create_string_buffer((128).to_bytes(4, "little"), 136)
    mount = ctypes.c_int()
    try:
        call("name_to_handle_at", -100, str(path).encode(), buffer, ctypes.byref(mount), 0)
    except OSError:
        return bytes(16).hex()
    return buffer.raw.hex()


def _terminal() -> str:
    """Open a controlling terminal for this session, like the one in which an owner starts an agent."""
    controller, terminal = pty.openpty()
    _references.extend((controller, terminal))
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    return os.ttyname(terminal)


def plant_key(secret: str) -> dict[str, Any]:
    """Give this session a keyring with a key, or a nonexistent key where keyrings are not allowed.

    Processes that are started later inherit it.
    """
    name = f"aitbc:{os.getpid()}"
    number = 1
    if join_keyring():
        with suppress(OSError):  # a container's filter may allow only one of the two
            number = call("add_key", b"user", name.encode(), secret.encode(), len(secret), _SESSION_KEYRING)
    return {"key": name, "key_number": number}


def join_keyring() -> bool:
    """Make the agent's own keyring the session's. Returns whether this is possible here."""
    try:
        keyring = call("keyctl", _JOIN_SESSION, f"aitbc:{os.getpid()}".encode())
        call("keyctl", _SET_PERMISSIONS, keyring, _ALL_OF_THE_USERS)  # required to join it again
    except OSError:
        return False
    return True


def _disk() -> tuple[tuple[int, int], str]:
    """Return the numbers and the device file of a disk of this machine, readable by this user if possible."""
    known = [Path("/dev", path.name) for path in sorted(Path("/sys/block").glob("*"))]
    disks = [path for path in known if path.is_block_device()]
    for path in sorted(disks, key=lambda path: not os.access(path, os.R_OK)):
        try:
            path.open("rb").close()
        except OSError:
            continue
        return _numbers(path), str(path)
    return (_numbers(disks[0]), str(disks[0])) if disks else ((7, 0), "/dev/loop0")


def _numbers(path: Path) -> tuple[int, int]:
    device = path.stat().st_rdev
    return os.major(device), os.minor(device)


def _serve(control: Path, public: Path, abstract: str) -> dict[str, Any]:
    """Greet clients that connect or send data, in threads, and repeatedly try to connect to one free port."""
    streams = [socket.create_server(("127.0.0.1", 0))]
    for address in (str(control), str(public), f"\0{abstract}"):
        streams.append(socket.socket(socket.AF_UNIX))
        streams[-1].bind(address)
        streams[-1].listen()
    control.chmod(0o600)
    public.chmod(0o777)
    datagrams = [
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
    ]
    datagrams[0].bind(("127.0.0.1", 0))
    datagrams[1].bind(f"\0{abstract}-datagram")
    # Bound, so that the system assigns the port to no other program, which would be taken for the model's.
    free = socket.socket()
    free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    free.bind(("127.0.0.1", 0))
    for stream in streams:
        _in_background(lambda stream=stream: _greet(stream))
    for datagram in datagrams:
        _in_background(lambda datagram=datagram: _answer(datagram))
    _in_background(lambda: _knock(free))
    return {
        "tcp_port": streams[0].getsockname()[1],
        "udp_port": datagrams[0].getsockname()[1],
        "open_port": free.getsockname()[1],
    }


def _in_background(action: Callable[[], None]) -> None:
    threading.Thread(target=action, daemon=True).start()


def _greet(server: socket.socket) -> None:
    while True:
        connection, _ = server.accept()
        with connection:
            connection.sendall(GREETING.encode())


def _answer(server: socket.socket) -> None:
    while True:
        _, sender = server.recvfrom(100)
        try:
            server.sendto(GREETING.encode(), sender)
        except OSError:
            continue


def _knock(free: socket.socket) -> None:
    while True:
        try:
            with socket.create_connection(free.getsockname(), 1) as connection:
                connection.sendall(GREETING.encode())
        except OSError:
            time.sleep(0.05)  # no server listens there yet


def remove_litter() -> None:
    """Delete the remains of the model without a sandbox, as far as this user may."""
    for directory in DIRECTORIES:
        with suppress(OSError):
            Path(directory, NAME).unlink()
    for kind in ("M", "S", "Q"):
        subprocess.run(["ipcrm", f"-{kind}", str(KEY)], capture_output=True, timeout=120, check=False)
