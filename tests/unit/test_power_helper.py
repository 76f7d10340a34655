"""The program that sets power limits as root: real processes and a real socket, with NVML as a stand-in."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.power_helper import helper as helper_module
from nvml_shim.shim import GPU_IS_LOST, TWO_CARDS, NvmlShim, build

FIRST, SECOND = (card.uuid for card in TWO_CARDS)
OWN = 450_000
LIMIT_SECONDS = 300


class Rig:
    """Two cards whose limits are 150 to 450 W, and the helper beside them."""

    def __init__(self, tmp_path: Path, shim: NvmlShim) -> None:
        self.directory = tmp_path
        self.shim = shim
        self.socket = tmp_path / "socket"

    def limit(self, index: int) -> int:
        """Return a card's limit in milliwatts."""
        changed = Path(f"{self.shim.file}.power_limit.{index}")
        return int(changed.read_text() or 0) if changed.exists() else OWN

    @contextmanager
    def running(self, user: str = pwd.getpwuid(os.geteuid()).pw_name) -> Iterator[subprocess.Popen[str]]:
        """Run the helper as systemd does, with a Python that sees nothing of this project."""
        self.socket.unlink(missing_ok=True)
        command = [
            "/usr/bin/python3",
            "-I",
            helper_module.__file__,
            "--user",
            user,
            "--socket",
            str(self.socket),
        ]
        with subprocess.Popen(
            command, env=dict(self.shim.environment), stderr=subprocess.PIPE, text=True
        ) as helper:
            until(lambda: self.socket.exists() or helper.poll() is not None)
            try:
                yield helper
            finally:
                helper.terminate()

    @contextmanager
    def connected(self) -> Iterator[Callable[[str], str]]:
        """Yield a function that sends a request and returns the answer."""
        with socket.socket(socket.AF_UNIX) as connection, connection.makefile("r") as answers:
            connection.settimeout(LIMIT_SECONDS)
            until(lambda: _connects(connection, self.socket))

            def ask(request: str) -> str:
                connection.sendall(f"{request}\n".encode())
                return answers.readline().strip()

            yield ask


def _connects(connection: socket.socket, path: Path) -> bool:
    try:
        connection.connect(str(path))
    except ConnectionRefusedError:  # between bind and listen
        return False
    return True


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def rig(tmp_path: Path, library: Path) -> Rig:
    return Rig(tmp_path, NvmlShim(library, tmp_path / "cards"))


def test_limits_last_as_long_as_the_connection(rig: Rig) -> None:
    """Also if the agent is killed, since the kernel then ends the connection. The next one begins with the cards' own limits."""
    with rig.running():
        with rig.connected() as ask:
            assert ask(f"range {FIRST}") == "ok 150 450 450"
            assert ask(f"limit {FIRST} 250.5") == "ok 250.5"
            assert ask(f"limit {SECOND} 200") == "ok 200"
            assert ask(f"limit {FIRST} 300") == "ok 300"
            assert (rig.limit(0), rig.limit(1)) == (300_000, 200_000)
            assert ask(f"restore {SECOND}") == "ok 450"
            assert (rig.limit(0), rig.limit(1)) == (300_000, OWN)
        until(lambda: rig.limit(0) == OWN)
        with rig.connected() as ask:
            assert ask(f"range {FIRST}") == "ok 150 450 450"


@pytest.mark.parametrize(
    ("request_line", "words"),
    [
        (f"limit {FIRST} 149.9", "from 150 to 450 W"),
        (f"limit {FIRST} 450.1", "from 150 to 450 W"),
        (f"limit {FIRST} 1e3", "a request is"),
        (f"limit {FIRST} -5", "a request is"),
        (f"limit {FIRST} 200 200", "a request is"),
        ("limit 0 200", "a request is"),
        ("limit GPU-99999999-aaaa-4aaa-8aaa-000000000001 200", "finds no GPU-9999"),
        (f"reset {FIRST}", "a request is"),
        ("x" * 1000, "a request is"),
    ],
)
def test_other_requests_are_refused_and_change_nothing(rig: Rig, request_line: str, words: str) -> None:
    with rig.running(), rig.connected() as ask:
        answer = ask(request_line)
        assert answer.startswith("error ")
        assert words in answer
    assert (rig.limit(0), rig.limit(1)) == (OWN, OWN)


def test_a_helper_that_ends_or_is_killed_restores_what_it_has_set(rig: Rig) -> None:
    """By SIGTERM at once; after a kill, the next one does it at its start, before anybody connects."""
    with rig.running() as helper, rig.connected() as ask:
        assert ask(f"limit {FIRST} 200") == "ok 200"
        helper.terminate()
        assert helper.wait(LIMIT_SECONDS) == 0
        assert rig.limit(0) == OWN
    with rig.running() as helper, rig.connected() as ask:
        assert ask(f"limit {FIRST} 200") == "ok 200"
        helper.send_signal(signal.SIGKILL)
        helper.wait(LIMIT_SECONDS)
        assert rig.limit(0) == 200_000
    with rig.running():
        until(lambda: rig.limit(0) == OWN)


def test_a_lost_card_keeps_no_other_from_its_limit(rig: Rig) -> None:
    rig.shim.change(0, error=GPU_IS_LOST)
    with rig.running(), rig.connected() as ask:
        assert "error" in ask(f"limit {FIRST} 200")
        assert ask(f"limit {SECOND} 200") == "ok 200"


def test_a_driver_that_refuses_is_quoted(rig: Rig) -> None:
    rig.shim.privileged = False
    rig.shim.write()
    with rig.running(), rig.connected() as ask:
        assert ask(f"limit {FIRST} 200").startswith("error nvmlDeviceSetPowerManagementLimit")


@pytest.mark.skipif(os.geteuid() != 0, reason="another user connects, which needs root")
def test_only_the_agents_user_may_use_the_socket(rig: Rig) -> None:
    client = f"""
import contextlib, socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
with contextlib.suppress(BrokenPipeError):  # a refusal may come before the request
    connection.sendall(b"limit {FIRST} 200\\n")
print(connection.makefile().readline())
"""
    for parent in (rig.directory, *rig.directory.parents):
        if not parent.stat().st_mode & 0o001:
            parent.chmod(0o711)
    outcomes: dict[str, str] = {}
    with rig.running(user="nobody"):
        for user in ("nobody", "daemon"):
            command = [
                "setpriv",
                f"--reuid={user}",
                f"--regid={pwd.getpwnam(user).pw_gid}",  # the group of root may have no entry in the lists of the directories above
                "--clear-groups",
                "/usr/bin/python3",
                "-I",
                "-c",
                client,
                str(rig.socket),
            ]

            def answered(user: str = user, command: list[str] = command) -> bool:
                done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
                outcomes[user] = done.stdout or done.stderr
                return "ConnectionRefused" not in done.stderr  # between bind and listen

            until(answered)
    assert outcomes["nobody"].strip() == "ok 200"
    assert "only the agent's user" in outcomes["daemon"]
