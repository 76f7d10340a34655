"""The environment of a campaign: a coordinator, miners, disks, clocks, networks, clients, and a webhook receiver."""

from __future__ import annotations

import json
import os
import shutil
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
from support.inputs.media import make_video
from support.servers.ports import reserved_port
from support.servers.receiver import Receiver

LEASE_SECONDS: Final = 2.0
PROGRESS_SECONDS: Final = 90.0
"""Time limit for the next jobs to end after a fault. After three machine faults, a miner cools down for 60 s."""
GRACE_SECONDS: Final = 10.0
"""How long children may outlive a killed parent."""
DISK_SIZE: Final = 8 * 2**30
"""Capacity of a small disk in bytes; a miner requires 2 GiB of free space. Only its content uses memory."""
LEFT: Final = 64 * 2**10
"""Free bytes on a full disk."""
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
    """The clock of one agent across restarts: its offset from the true time in seconds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(8))

    def set(self, seconds: float) -> None:
        """Set the offset."""
        with self.path.open("r+b") as file:
            file.write(struct.pack("d", seconds))


class World:
    """The environment, as a context manager. `folder` must be empty."""

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
        port = self._stack.enter_context(reserved_port())
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
        """Return the number of jobs by state; the last known values while the database cannot be read."""
        with suppress(sqlite3.Error):
            self._counts = checks.counts(self.coordinator.data_dir)
        return self._counts

    def ended(self) -> int:
        """Return the number of finished jobs."""
        counts = self.counts()
        return sum(counts.get(state, 0) for state in checks.FINAL)

    def open_jobs(self) -> int:
        """Return the number of unfinished jobs."""
        return sum(self.counts().values()) - self.ended()

    def wait_ended(self, more: int, seconds: float = PROGRESS_SECONDS) -> None:
        """Wait until `more` jobs have ended. Raises `CampaignError` after the time limit, or if an agent has ended."""
        before = self.ended()

        def have_ended() -> bool:
            for agent in self.agents:
                if agent.has_ended():
                    raise CampaignError(f"{agent.name} has ended unexpectedly: {agent.last_words()}")
            return self.ended() >= before + more

        wait_for(have_ended, seconds, f"{more} more jobs to end")

    def check(self) -> list[str]:
        """Return the current violations."""
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

    def save(self) -> None:
        """Copy the data to a directory that outlives the disks."""
        for name, mount in self.mounts.items():
            shutil.copytree(mount, self.folder / f"{name}.saved", ignore=shutil.ignore_patterns("*.sock"))


def _description(process: psutil.Process) -> str:
    with suppress(psutil.Error):
        return f"{process.pid} {process.status()} for {time.time() - process.create_time():.0f} s: {process.cmdline()}"
    return f"{process.pid}, which has ended in the meantime"


def wait_for(condition: Callable[[], bool], seconds: float, description: str) -> None:
    """Wait for a condition. Raises `CampaignError`, whose message has the `description`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise CampaignError(f"Timed out after {seconds:g} s waiting for {description}.")
        time.sleep(PAUSE_SECONDS * 3)


@contextmanager
def _mounted(directory: Path) -> Iterator[Path]:
    """Mount a small disk at `directory`."""
    _mount(directory, "mode=700", DISK_SIZE)
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


def _mount(directory: Path, option: str, size: int) -> None:
    options = f"{option},size={size}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "campaign", directory], check=True)


def can_mount() -> bool:
    """Return whether this user may mount small disks."""
    tried = subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True)
    return os.geteuid() == 0 and tried.returncode == 0


ATTEMPTS: Final = 20


@contextmanager
def full(directory: Path) -> Iterator[None]:
    """Shrink a small disk to its content while the block runs."""
    for attempt in range(ATTEMPTS):
        status = os.statvfs(directory)
        used = (status.f_blocks - status.f_bfree) * status.f_frsize
        try:
            _mount(directory, "remount", used + LEFT)
            break
        except subprocess.CalledProcessError:  # the agent has written more in between
            if attempt == ATTEMPTS - 1:
                raise
    try:
        yield
    finally:
        _mount(directory, "remount", DISK_SIZE)
