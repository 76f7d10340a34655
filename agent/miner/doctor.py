"""Looks for what keeps this machine from working, and says what to do about it."""

from __future__ import annotations

import asyncio
import errno
import json
import shutil
import socket
import sqlite3
import stat
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Final, Literal

import httpx
import psutil

from agent.configuration import load_catalogue
from agent.core.errors import ConfigurationError
from agent.deadline import call_within
from agent.miner import hardware
from agent.miner.capabilities import Machine, tools
from agent.miner.gpus import Gpus
from agent.miner.models import ModelStore
from agent.settings import Settings
from runners._sandbox import unavailable as sandbox_fault

_CHECK_SECONDS: Final = 5.0
_PROBE_SECONDS: Final = 4.5
_REQUEST_SECONDS: Final = 4.0

_MIN_DISK: Final = 2**30
_GOOD_DISK: Final = 10 * 2**30
_GOOD_MEMORY: Final = 4 * 2**30

_NOTICED_SKEW: Final = 5.0
_HARMFUL_SKEW: Final = 30.0
"""Half a lease: with clocks that far apart, a miner misjudges when its leases end."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check. `remedy` says what to do, and is None exactly when `status` is "ok"."""

    check: str
    status: Literal["ok", "warning", "fault"]
    message: str
    remedy: str | None = None


async def examine(settings: Settings) -> list[Finding]:
    """Run all checks at once, each within a time limit; about five seconds at most. Raises nothing."""
    blocking: dict[str, Callable[[Settings], list[Finding]]] = {
        "python": _check_python,
        "data_directory": _check_data_directory,
        "secrets": _check_secrets,
        "disk": _check_disk,
        "hardware": _check_hardware,
        "sqlite": _check_sqlite,
        "programs": _check_programs,
        "sandbox": _check_sandbox,
        "models": _check_models,
        "agent": _check_agent,
    }
    checks = [
        _guard(name, call_within(_CHECK_SECONDS, partial(check, settings), name=f"doctor-{name}"))
        for name, check in blocking.items()
    ]
    checks += [
        _guard("gpu", _check_gpu()),
        _guard("services", _check_services(settings)),
        _guard("coordinator", _check_coordinator(settings)),
    ]
    return [finding for findings in await asyncio.gather(*checks) for finding in findings]


async def _guard(name: str, check: Awaitable[list[Finding]]) -> list[Finding]:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            return await check
    except TimeoutError:
        return [
            _warning(
                name, f"This check did not end within {_CHECK_SECONDS:g} s.", "Try again on a calmer machine."
            )
        ]
    except ConfigurationError as error:
        return [_fault(name, str(error), "Correct the file.")]
    except Exception as error:  # noqa: BLE001 - the other checks' findings are worth having all the same
        message = f"This check failed ({type(error).__name__}: {error})."
        return [_fault(name, message, "Please report this with the output of `aitbc-agent doctor --json`.")]


def _ok(check: str, message: str) -> Finding:
    return Finding(check, "ok", message)


def _warning(check: str, message: str, remedy: str) -> Finding:
    return Finding(check, "warning", message, remedy)


def _fault(check: str, message: str, remedy: str) -> Finding:
    return Finding(check, "fault", message, remedy)


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def _check_python(settings: Settings) -> list[Finding]:  # noqa: ARG001 - all checks have one signature
    version = ".".join(str(part) for part in sys.version_info[:3])
    return [_ok("python", f"Python {version} at {sys.executable}.")]


def _check_data_directory(settings: Settings) -> list[Finding]:
    directory = settings.data_dir
    existing = directory
    while not existing.exists():
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        message = f"{existing} cannot be written ({error.strerror})."
        return [_fault("data_directory", message, "Give it to this user, or choose another with --data-dir.")]
    if existing != directory:
        return [_ok("data_directory", f"{directory} does not exist yet; the first start makes it.")]
    mode = stat.S_IMODE(directory.stat().st_mode)
    if mode & 0o077:
        message = f"Other users may look into {directory} (mode {mode:04o})."
        return [_warning("data_directory", message, f"Run: chmod 700 {directory}")]
    return [_ok("data_directory", f"{directory} can be written.")]


def _check_secrets(settings: Settings) -> list[Finding]:
    directory = settings.data_dir
    found = [*directory.glob("*.key"), *directory.glob("*/*.key"), *directory.glob("*/api_key.json")]
    found += [settings.agent_file] if settings.agent_file.exists() else []
    open_files = [path for path in found if stat.S_IMODE(path.stat().st_mode) & 0o077]
    if open_files:
        names = " ".join(str(path) for path in open_files)
        return [_fault("secrets", f"Other users may read these secrets: {names}.", f"Run: chmod 600 {names}")]
    return [_ok("secrets", f"{len(found)} files with keys, readable by their owner only.")]


def _check_disk(settings: Settings) -> list[Finding]:
    findings = []
    for name, directory in (("data", settings.data_dir), ("models", settings.models_dir)):
        free = hardware.disk_free(directory)
        message = f"{_gib(free)} are free for {name} in {directory}."
        remedy = f"Make room, or move the directory (settings data_dir, models_dir); {_gib(_GOOD_DISK)} are a good start."
        if free < _MIN_DISK:
            findings.append(_fault(f"disk_{name}", message, remedy))
        elif free < _GOOD_DISK:
            findings.append(_warning(f"disk_{name}", message, remedy))
        else:
            findings.append(_ok(f"disk_{name}", message))
    return findings


def _check_hardware(settings: Settings) -> list[Finding]:  # noqa: ARG001 - all checks have one signature
    memory = hardware.memory_total()
    message = (
        f"{hardware.cpu_name()}, {hardware.cpu_cores()} processors on {hardware.physical_cores()} cores, "
        f"{_gib(memory)} of memory for this process."
    )
    if memory < _GOOD_MEMORY:
        remedy = "Offer small models only, or raise the memory limit of the container or service."
        return [_warning("hardware", message, remedy)]
    return [_ok("hardware", message)]


def _check_sqlite(settings: Settings) -> list[Finding]:  # noqa: ARG001 - all checks have one signature
    version = sqlite3.sqlite_version
    if not has_wal_reset_fault(sqlite3.sqlite_version_info):
        return [_ok("sqlite", f"SQLite {version}.")]
    message = (
        f"SQLite {version} can damage a database when several connections checkpoint at once. "
        "The agent never lets them, so this concerns only other programs."
    )
    remedy = (
        "Open the agent's databases with other programs only while it is stopped, or update SQLite to 3.51.3."
    )
    return [_warning("sqlite", message, remedy)]


def has_wal_reset_fault(version: tuple[int, ...]) -> bool:
    """Whether this SQLite has the fault in resetting the write-ahead log that 3.51.3, 3.50.7 and 3.44.6 repaired."""
    repaired = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    return not repaired


def _check_programs(settings: Settings) -> list[Finding]:
    findings = []
    for name in ("ffmpeg", "ffprobe"):
        wanted = getattr(settings.runners, name)
        path = shutil.which(wanted)
        if path is None:
            remedy = f"Install FFmpeg (Debian: apt-get install ffmpeg), or set runners.{name} to the program's path."
            findings.append(_warning(name, f"{wanted} was not found.", remedy))
        else:
            findings.append(_ok(name, path))
    return findings


def _check_sandbox(settings: Settings) -> list[Finding]:
    if settings.runners.sandbox == "off":
        message = "The sandbox is switched off: programs that read strangers' files see this user's files."
        return [
            _warning(
                "sandbox", message, "Set runners.sandbox to required, unless the whole agent is isolated."
            )
        ]
    reason = sandbox_fault(tools(settings))
    if reason is not None:
        return [_fault("sandbox", "Programs cannot be isolated.", reason)]
    return [_ok("sandbox", "Programs that read strangers' files are isolated with bubblewrap.")]


def _check_models(settings: Settings) -> list[Finding]:
    store = ModelStore(settings.models_dir, load_catalogue(settings.data_dir))
    services = {entry.service for entry in store.catalogue.values()}
    names = [name for service in sorted(services) for name in store.on_disk(service)]
    if names:
        return [_ok("models", f"In {settings.models_dir}: {', '.join(names)}.")]
    message = f"There are no models in {settings.models_dir}."
    if settings.runners.model_download:
        return [_ok("models", f"{message} They are downloaded when a job needs them.")]
    remedy = "Fetch some with 'aitbc-agent models pull NAME', or set runners.model_download to true."
    return [_warning("models", message, remedy)]


async def _check_services(settings: Settings) -> list[Finding]:
    gpus = Gpus()
    try:
        models = ModelStore(settings.models_dir, load_catalogue(settings.data_dir))
        machine = Machine(settings, gpus, models, probe_seconds=_PROBE_SECONDS)
        found = await machine.probe()
    finally:
        gpus.close()
    findings = []
    for service in found.services:
        message = " ".join((f"{service} is offered.", *found.hints[service]))
        findings.append(_ok(service, message))
    for service, reasons in found.unavailable.items():
        findings.append(_warning(service, f"{service} is not offered.", " ".join(reasons)))
    if not found.services:
        message = "This machine offers no service at all, so it cannot earn."
        findings.append(_fault("services", message, "Repair at least one of the services above."))
    return findings


async def _check_gpu() -> list[Finding]:
    gpus = Gpus()
    try:
        found = await gpus.refresh()
    finally:
        gpus.close()
    cards = [f"{gpu.name} ({_gib(gpu.memory_total)}, driver {gpu.driver})" for gpu in found]
    message = ", ".join(cards) + "." if cards else "No GPU can be used; jobs run on the CPU, slower."
    return [_ok("gpu", message) if gpus.reason is None else _warning("gpu", message, gpus.reason)]


def _check_agent(settings: Settings) -> list[Finding]:
    running = running_agent(settings)
    if running is not None:
        return [
            _ok(
                "agent", f"An agent runs in this data directory (process {running['pid']}, {running['url']})."
            )
        ]
    host, port = settings.coordinator.host, settings.coordinator.port
    if settings.miner.coordinator is not None or port == 0:
        return [_ok("agent", "No agent runs in this data directory.")]
    try:
        _try_to_listen(host, port)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        why = "another program listens there" if taken else str(error.strerror or error)
        remedy = "Stop that program, or" if taken else "Correct coordinator.host, or"
        message = f"The coordinator cannot listen on {host} port {port}: {why}."
        return [_fault("agent", message, f"{remedy} choose another port with --port (0 takes a free one).")]
    return [_ok("agent", f"No agent runs in this data directory, and port {port} is free.")]


def running_agent(settings: Settings) -> dict[str, Any] | None:
    """What `agent.json` says, if the agent that wrote it still runs."""
    try:
        content = json.loads(settings.agent_file.read_bytes())
        written = settings.agent_file.stat().st_mtime
        # A process that began after the file was written has only the same number as the agent had.
        alive = psutil.Process(int(content["pid"])).create_time() <= written + 1
        return {**content, "url": str(content["url"])} if alive else None
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None


def _try_to_listen(host: str, port: int) -> None:
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1)


async def _check_coordinator(settings: Settings) -> list[Finding]:
    running = await asyncio.to_thread(running_agent, settings)
    url = settings.miner.coordinator or (running or {}).get("url")
    if url is None:
        return [_ok("coordinator", "None is set: the agent brings its own when it starts.")]
    try:
        async with httpx.AsyncClient(timeout=_REQUEST_SECONDS) as client:
            sent = time.time()
            response = await client.get(f"{url.rstrip('/')}/v1/health")
            received = time.time()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        message = f"{url} does not answer ({type(error).__name__}: {error})."
        return [
            _fault(
                "coordinator",
                message,
                "Check miner.coordinator and this machine's network; else wait for it.",
            )
        ]
    if response.status_code != httpx.codes.OK:
        message = f"{url} answers {response.status_code} instead of its health."
        return [
            _fault("coordinator", message, "Check that miner.coordinator is the address of a coordinator.")
        ]
    findings = [_ok("coordinator", f"{url} answers in {1000 * (received - sent):.0f} ms.")]
    date = response.headers.get("date")
    return findings if date is None else [*findings, _clock_finding(date, (sent + received) / 2)]


def _clock_finding(date: str, now: float) -> Finding:
    try:
        skew = now - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return _warning("clock", "The coordinator sends no readable time.", "Tell its operator.")
    # The header has whole seconds, so half a second is added to meet its middle.
    skew -= 0.5
    message = (
        f"This machine's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the coordinator's."
    )
    remedy = (
        "Synchronise the clock (timedatectl set-ntp true); if it is right, tell the coordinator's operator."
    )
    if abs(skew) > _HARMFUL_SKEW:
        return _fault("clock", message, remedy)
    if abs(skew) > _NOTICED_SKEW:
        return _warning("clock", message, remedy)
    return _ok("clock", "This machine's clock agrees with the coordinator's.")
