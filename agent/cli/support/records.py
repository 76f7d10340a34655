"""The parts of a bundle that were written down earlier: databases, failed runs, logs, and what the agent stores about itself."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, Final

from agent.cli.support.workplace import Content, Workplace
from agent.cli.systemd import systemctl
from agent.cli.systemd.systemctl import SystemdUnavailable
from agent.cli.terminal import log_file
from agent.core.values.quantities import format_time
from agent.updates.starting import versions_of

UNITS: Final = ("aitbc-agent.service", "aitbc-coordinator.service", "aitbc-power.service")
CHECK_SECONDS: Final = 20.0
"""Time for the check of a database: a large one takes longer, and is then said to be unchecked."""
_DATABASES: Final = ("coordinator/coordinator.db", "miner/outbox.db", "miner/energy.db")
_STEPS: Final = 20_000
"""Instructions of SQLite between two looks at the clock."""
_LOG_DIRECTORIES: Final = (Path("/var/log/aitbc-agent"), Path("/var/log/aitbc-coordinator"))
_STORED: Final = (
    "miner/selftest.json", "miner/notices.json", "miner/pauses.json", "miner/benchmark.json", "miner/footprints.json", "miner/calibrations.toml",
)  # fmt: skip
_MAX_MESSAGE: Final = 300
_QUOTED: Final = re.compile(
    r"(['\"`])(?:(?!\1)[^\n]){3,}\1|[\u201c\u00ab\u2018][^\n\u201d\u00bb\u2019]{3,}[\u201d\u00bb\u2019]"
)
# What an engine says about itself. All else may be a prompt, a result or the output of a client's program.
_ABOUT_ENGINES: Final = re.compile(
    r"error|warn|fail|fatal|abort|assert|exception|traceback|critical|panic|kill|signal|segfault|core dump|terminat|refus|denied|not found|no such|missing"
    r"|cannot|can't|unable|invalid|unsupported|deprecat|time.?out|out of memory|\boom\b|memory|alloc|cuda|cudnn|cublas|nccl|nvml|vulkan|\brocm\b|driver|device|\bgpu\b|vram"
    r"|version|\bload|\binit|^\s*File \"|^\s*at 0x|\.so\b|\berrno\b|[0-9.]+ [EW] ",
    re.IGNORECASE,
)
_LONGEST_LINE: Final = 500


def stored(workplace: Workplace) -> Content:
    """Return the latest self-test, the notices, the pauses, the benchmark and what models need, as they are stored."""
    return {name: _stored(workplace.data_dir / name) for name in _STORED}


def _stored(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        return f"not there ({error.strerror})"
    try:
        return json.loads(text)
    except ValueError:
        return text


def updates(workplace: Workplace) -> Content:
    """Return which versions are installed beside each other, and how far an update is."""
    directory = versions_of(workplace.settings).path
    if not directory.is_dir():
        return "No update has installed a version on this machine."
    current = directory / "current"
    return {
        "directory": str(directory),
        "versions": sorted(path.name for path in directory.iterdir() if path.is_dir()),
        "current": str(current.readlink()) if current.is_symlink() else None,
        **{name: _stored(directory / name) for name in ("update.json", "report.json")},
    }


# Databases ----------------------------------------------------------------------------------------------------------


def databases(workplace: Workplace) -> Content:
    """Return the state of each database: whether it is sound, its schema, and how many rows it has of what."""
    return {name: _database(workplace.data_dir / name) for name in _DATABASES}


def _database(path: Path) -> Mapping[str, Any]:
    if not path.exists():
        return {"state": "does not exist"}
    log = path.with_name(f"{path.name}-wal")
    facts: dict[str, Any] = {
        "size": path.stat().st_size,
        "write-ahead log": log.stat().st_size if log.exists() else None,
    }
    try:
        with closing(_read_only(path)) as connection:
            facts["state"] = _soundness(connection)
            with suppress(sqlite3.Error):
                facts["schema"] = [
                    row[0] for row in connection.execute("SELECT version_num FROM alembic_version")
                ]
            with suppress(sqlite3.Error):
                counted = connection.execute(
                    "SELECT service, state, SUM(count) FROM job_counts GROUP BY 1, 2"
                )
                facts["jobs"] = {f"{service} {state}": count for service, state, count in counted}
            with suppress(sqlite3.Error):
                facts["unsent results"] = connection.execute("SELECT COUNT(*) FROM entries").fetchone()[0]
    except sqlite3.Error as error:
        facts["state"] = f"DAMAGED or unreadable ({error})"
    return facts


def _read_only(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)
    ends_at = time.monotonic() + CHECK_SECONDS
    connection.set_progress_handler(lambda: int(time.monotonic() > ends_at), _STEPS)
    return connection


def _soundness(connection: sqlite3.Connection) -> str:
    try:
        answers = [str(row[0]) for row in connection.execute("PRAGMA quick_check(20)")]
    except sqlite3.OperationalError as error:
        if "interrupted" in str(error):
            return f"not checked to the end within {CHECK_SECONDS:g} s"
        raise
    return "sound" if answers == ["ok"] else f"DAMAGED ({'; '.join(answers)})"


def failures(workplace: Workplace) -> Content:
    """Return the latest failed runs with their reasons: those that the coordinator's database has, and those of this miner."""
    limit = workplace.limits.failures
    of_coordinator = _rows(
        workplace.data_dir / "coordinator/coordinator.db",
        "SELECT runs.ended_at, runs.job_id, runs.fence, runs.miner_id, jobs.service, runs.outcome, runs.failure_code, runs.failure_message,"
        " runs.ended_at - runs.assigned_at AS seconds FROM runs JOIN jobs USING (job_id) WHERE runs.outcome != 'completed'"
        " ORDER BY runs.ended_at DESC LIMIT ?",
        limit,
    )
    of_miner = _rows(
        workplace.data_dir / "miner/energy.db",
        "SELECT ended_at, job_id, fence, service, device, outcome, seconds FROM jobs WHERE outcome != 'completed' ORDER BY ended_at DESC LIMIT ?",
        limit,
    )
    return {"at the coordinator": of_coordinator, "on this miner": of_miner}


def _rows(path: Path, query: str, *arguments: int) -> list[Any] | str:
    if not path.exists():
        return "There is no database."
    try:
        with closing(_read_only(path)) as connection:
            connection.row_factory = sqlite3.Row
            return [_failure(dict(row)) for row in connection.execute(query, arguments)]
    except sqlite3.Error as error:
        return f"The database cannot be read: {error}"


def _failure(row: dict[str, Any]) -> Mapping[str, Any]:
    row["ended_at"] = format_time(row["ended_at"])
    message = row.get("failure_message")
    if row["outcome"] == "failed":
        # What is wrong with a client's input often quotes it.
        row["failure_message"] = "(left out: it is about a client's input)"
    elif message:
        row["failure_message"] = unquoted(message.partition("\n")[0])[:_MAX_MESSAGE]
    return row


def unquoted(text: str) -> str:
    """Return the text without what is in quotation marks, which may be a client's words or file."""
    return _QUOTED.sub(r"\1...\1", text)


# Logs ---------------------------------------------------------------------------------------------------------------


def journal(workplace: Workplace) -> Content:
    """Return the newest lines that the services of this machine wrote, and those of the kernel about cards and memory."""
    texts = []
    for user in (False, True):
        try:
            manager = systemctl.find(user=user)
        except SystemdUnavailable as error:
            texts.append(str(error))
            continue
        owner = " of this user" if user else ""
        texts += [f"==== {unit}{owner}\n{_unit(manager, unit, workplace)}" for unit in UNITS]
        if not user:
            texts.append(f"==== kernel\n{_kernel(manager)}")
    return "\n\n".join(texts)


def _unit(manager: systemctl.Systemd, unit: str, workplace: Workplace) -> str:
    properties = manager.properties(
        unit, "LoadState", "ActiveState", "SubState", "Result", "ExecMainStatus", "NRestarts", "StatusText", "FragmentPath", "UnitFileState",
    )  # fmt: skip
    if properties.get("LoadState") != "loaded":
        return "is not installed"
    lines = [f"{name}={value}" for name, value in properties.items()]
    option = "--user-unit" if manager.user else "--unit"
    text = manager.journal_text(option, unit, "--lines=20000")
    return "\n".join([*lines, "", tail(text, int(workplace.limits.max_log))])


def _kernel(manager: systemctl.Systemd) -> str:
    words = "nvrm|xid|nvidia|oom|out of memory|killed process|i/o error|ext4-fs error|btrfs|no space|apparmor.*bwrap|thermal"
    return manager.journal_text("--dmesg", f"--grep={words}", "--case-sensitive=no", "--lines=300")


def tail(text: str, size: int) -> str:
    """Return the end of a text, from the beginning of a line."""
    if len(text) <= size:
        return text
    _, _, end = text[-size:].partition("\n")
    return f"[the first {len(text) - len(end)} characters are left out]\n{end}"


def log_files(workplace: Workplace) -> Iterator[tuple[str, Path, bool]]:
    """Yield the name in the bundle of each log file, its path, and whether an engine wrote it."""
    engines = workplace.data_dir / "miner" / "logs"
    for path in sorted(engines.glob("*.log*")):
        yield f"logs/engines/{path.name}", path, True
    for directory in (workplace.data_dir / log_file.DIRECTORY, workplace.data_dir, *_LOG_DIRECTORIES):
        with suppress(OSError):
            for path in sorted(directory.glob("*.log*")):
                yield f"logs/{path.name}", path, False


def log_text(path: Path, size: int, *, of_engine: bool) -> str:
    """Return the end of a log file. Of an engine's, only what is about the engine itself. Raises `OSError`."""
    with path.open("rb") as file:
        length = file.seek(0, 2)
        file.seek(max(0, length - size))
        text = file.read(size).decode("utf-8", "replace")
    text = tail(text, size - 1) if length > size else text
    return about_engine(text) if of_engine else text


def about_engine(text: str) -> str:
    """Return the lines in which an engine speaks of itself, without what they quote. For others, their number."""
    lines: list[str] = []
    left_out = 0
    for line in text.splitlines():
        if not _ABOUT_ENGINES.search(line):
            left_out += 1
            continue
        if left_out:
            lines.append(f"[{left_out} lines left out, which may be clients' data]")
            left_out = 0
        # The path in a traceback is in quotes, and says where it happened.
        lines.append((line if line.lstrip().startswith("File ") else unquoted(line))[:_LONGEST_LINE])
    if left_out:
        lines.append(f"[{left_out} lines left out, which may be clients' data]")
    return "\n".join(lines)
