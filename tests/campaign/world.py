"""All that a campaign works on: a coordinator, miners, disks, clocks, networks, clients, and a receiver of webhooks."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final, Self

import psutil

from campaign import checks
from campaign.clients import Clients
from campaign.network import Network
from campaign.processes import PAUSE_SECONDS, AgentProcess, CampaignError, adopt_orphans, strays
from campaign.program import CLOCK
from support.media import make_video
from support.receiver import Receiver

LEASE_SECONDS: Final = 2.0
PROGRESS_SECONDS: Final = 90.0
"""How long after a fault the next jobs may take to end. A miner that rests after three faults of its machine rests for 60 s."""
GRACE_SECONDS: Final = 10.0
"""How long children may outlive a parent that was killed."""
DISK_SIZE: Final = 8 * 2**30
"""Bytes that a small disk may hold; a miner wants 2 GiB free. Memory is used only for what is on it."""
LEFT: Final = 64 * 2**10
"""Bytes that are free on a disk that is full."""
CLIENTS: Final = 3
MOST_OPEN: Final = 6

ROOT: Final = Path(__file__).parents[2]
COMMON: Final = {
    "PATH": os.environ["PATH"],
    "PYTHONPATH": f"{ROOT}:{ROOT / 'sdk' / 'python'}",
    "HOME": "/nonexistent",
    "LANG": "C.UTF-8",
    "AITBC_LOG__FORMAT": "json",
}
COORDINATOR: Final = {
    "AITBC_COORDINATOR__DASHBOARD": "false",
    "AITBC_COORDINATOR__OPEN_ENROLMENT": "true",
    "AITBC_COORDINATOR__LEASE_SECONDS": str(LEASE_SECONDS),
    "AITBC_COORDINATOR__HEARTBEAT_SECONDS": "0.4",
    "AITBC_COORDINATOR__POLL_SECONDS": "2",
    "AITBC_COORDINATOR__LOCAL_CREDIT": "1000000",
    "AITBC_COORDINATOR__MAX_UPLOADS_PER_ACCOUNT": "100000",
    "AITBC_COORDINATOR__WEBHOOKS__ALLOW_HTTP": "true",
    "AITBC_COORDINATOR__WEBHOOKS__ALLOW_PRIVATE": "true",
    "AITBC_COORDINATOR__WEBHOOKS__TIMEOUT_SECONDS": "2",
    "AITBC_COORDINATOR__WEBHOOKS__RETRY_DELAYS": json.dumps([0.5] * 200),
}


class Clock:
    """The time of day of one agent, in all its lives: how many seconds it is ahead of the true time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(8))

    def set(self, seconds: float) -> None:
        """Let it jump."""
        with self.path.open("r+b") as file:
            file.write(struct.pack("d", seconds))


class World:
    """See the module. Use it as a context; `folder` is empty at first."""

    def __init__(self, folder: Path, seed: int, *, miners: int, mounts: bool) -> None:
        self.folder = folder
        self.seed = seed
        self.clocks: dict[str, Clock] = {}
        self.mounts: dict[str, Path] = {}
        self._number_of_miners = miners
        self._mounts = mounts
        self._counts: dict[str, int] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        adopt_orphans()
        try:
            self._build()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _build(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        self.for_clients, self.for_miners = Network(port), Network(port)
        for network in (self.for_clients, self.for_miners):
            self._stack.callback(network.close)
        receiver = self._stack.enter_context(Receiver(secure=False).running())
        self.coordinator = self._process("coordinator", ["coordinator", "--port", str(port)], COORDINATOR)
        self.miners = [
            self._process(
                f"miner-{number}",
                ["start", "--coordinator", self.for_miners.url],
                {"AITBC_MINER__SLOTS": "2", "AITBC_MINER__NAME": f"miner-{number}"},
            )
            for number in range(1, self._number_of_miners + 1)
        ]
        self.coordinator.start()
        for miner in self.miners:
            miner.start()
        self.clients = Clients(
            self.for_clients.url,
            self.coordinator.file["client_key"],
            make_video(self.folder / "tiny.mp4", seconds=0.2, size="64x64", rate=10),
            seed=self.seed,
            count=CLIENTS,
            open_jobs=self.open_jobs,
            most_open=MOST_OPEN,
            webhook_url=f"http://127.0.0.1:{receiver.port}/hook",
        )

    @property
    def agents(self) -> list[AgentProcess]:
        return [self.coordinator, *self.miners]

    def _process(self, name: str, arguments: list[str], settings: dict[str, str]) -> AgentProcess:
        data_dir = self.folder / name
        data_dir.mkdir()
        if self._mounts:
            self.mounts[name] = self._stack.enter_context(_mounted(data_dir))
        self.clocks[name] = Clock(self.folder / f"{name}.clock")
        environment = {**COMMON, **settings, CLOCK: str(self.clocks[name].path)}
        process = AgentProcess(data_dir, arguments, environment)
        self._stack.callback(process.close)
        return process

    def counts(self) -> dict[str, int]:
        """Jobs by state; as they were last known while the database cannot be read."""
        with suppress(sqlite3.Error):
            self._counts = checks.counts(self.coordinator.data_dir)
        return self._counts

    def ended(self) -> int:
        """How many jobs have ended."""
        counts = self.counts()
        return sum(counts.get(state, 0) for state in checks.FINAL)

    def open_jobs(self) -> int:
        """How many have not."""
        return sum(self.counts().values()) - self.ended()

    def wait_ended(self, more: int, seconds: float = PROGRESS_SECONDS) -> None:
        """Until `more` jobs have ended from now on. Raises `CampaignError` when that takes too long, or an agent has died."""
        before = self.ended()

        def have_ended() -> bool:
            for agent in self.agents:
                if agent.has_ended():
                    raise CampaignError(f"{agent.name} has ended by itself: {agent.last_words()}")
            return self.ended() >= before + more

        wait_for(have_ended, seconds, f"{more} more jobs to end")

    def check(self) -> list[str]:
        """What is wrong now."""
        found = checks.examine_database(self.coordinator.data_dir, tuple(self.clients.accepted))
        known = {process.pid for process in self.agents} | {process.starter_pid for process in self.agents}
        end = time.monotonic() + GRACE_SECONDS
        while (left := strays(known)) and time.monotonic() < end:
            time.sleep(PAUSE_SECONDS)
        found += [f"a process that outlived its parent: {_description(stray)}" for stray in left]
        for stray in left:
            stray.kill()
        found += [f"a client was refused: {text}" for text in self.clients.refused]
        return found

    def keep(self) -> None:
        """Copy the data to where it stays when the disks are gone."""
        for name, mount in self.mounts.items():
            shutil.copytree(mount, self.folder / f"{name}.kept", ignore=shutil.ignore_patterns("*.sock"))


def _description(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return f"{process.pid} {process.status()} for {time.time() - process.create_time():.0f} s: {process.cmdline()}"
    return f"{process.pid}, which has ended meanwhile"


def wait_for(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Wait for a condition. Raises `CampaignError` with `what` in it."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise CampaignError(f"Waited {seconds:g} s in vain for {what}.")
        time.sleep(PAUSE_SECONDS * 3)


@contextmanager
def _mounted(directory: Path) -> Iterator[Path]:
    """A small disk of its own at `directory`."""
    _mount(directory, "mode=700", DISK_SIZE)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


def _mount(directory: Path, option: str, size: int) -> None:
    options = f"{option},size={size}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "campaign", directory], check=True)


def can_mount() -> bool:
    """Whether this user may have small disks."""
    tried = subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True)
    return os.geteuid() == 0 and tried.returncode == 0


@contextmanager
def full(directory: Path) -> Iterator[None]:
    """Make a small disk as small as what is on it, for a while."""
    status = os.statvfs(directory)
    used = (status.f_blocks - status.f_bfree) * status.f_frsize
    _mount(directory, "remount", used + LEFT)
    try:
        yield
    finally:
        _mount(directory, "remount", DISK_SIZE)
