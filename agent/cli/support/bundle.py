"""Makes the bundle: each part within a time limit and by itself, redacted, bounded in size, in one ZIP file.

A machine that needs help is broken. So nothing here may depend on anything else: a part that fails is a line in README.txt.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import time
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from agent.cli.options import plain
from agent.cli.support import agent, machine, readme, records
from agent.cli.support.known_secrets import known_secrets
from agent.cli.support.redaction import Redactor
from agent.cli.support.workplace import Content, Part, Workplace
from agent.deadline import call_within

PARTS: Final[Sequence[Part]] = (
    Part("settings.txt", "all settings with their origins, without secrets", agent.settings, versions=True),
    Part("doctor.json", "what `aitbc-agent doctor` finds, with remedies", agent.doctor),
    Part("state.json", "what the running agent says about itself", agent.state),
    Part(
        "coordinator.json", "health and numbers of the coordinator, if this agent runs one", agent.coordinator
    ),
    Part("failures.json", "the latest failed runs with their reasons", records.failures),
    Part("databases.json", "whether the databases are sound, their schema and size", records.databases),
    Part("stored.json", "self-test, notices, pauses, benchmark", records.stored),
    Part(
        "versions.json", "versions, packages, engines, way of installation", machine.versions, versions=True
    ),
    Part("machine.json", "memory, disks, limits, drivers, variables", machine.machine),
    Part("sandbox.json", "which isolation works, and which services are broken", agent.sandbox_facts),
    Part("processes.json", "the agent's processes and their limits", machine.processes),
    Part("files.txt", "the files of the data directory, without clients' files", machine.files),
    Part("metrics.txt", "the metrics of coordinator and miner", agent.metrics),
    Part("updates.json", "versions beside each other, and the state of an update", records.updates),
    Part("logs/journal.txt", "what services of this machine and the kernel wrote", records.journal),
)
_LOGS_NAME: Final = "logs/..."
_LONGEST_ERROR: Final = 500
_FALLBACKS: Final = (Path("/dev/shm"), Path("/tmp"), Path("/var/tmp"), Path("/run"))  # noqa: S108 - whichever disk has space
_MODE: Final = 0o600


@dataclass(slots=True)
class Bundle:
    """The files of a bundle as text, redacted, and why others are missing."""

    workplace: Workplace
    redactor: Redactor
    texts: dict[str, str] = field(default_factory=dict)
    contents: dict[str, Content] = field(default_factory=dict)
    """The same before it was redacted, from which README.txt is made."""
    missing: dict[str, str] = field(default_factory=dict)
    _size: int = 0

    def add(self, name: str, content: Content, *, addresses: bool = True) -> None:
        """Add a file, as far as there is space for it."""
        text = content if isinstance(content, str) else json.dumps(content, indent=1, default=plain)
        text = self.redactor.text(text, addresses=addresses)
        left = int(self.workplace.limits.max_size) - self._size
        if len(text) > left:
            self.missing[name] = (
                f"only its end: the bundle is full (support.max_size = {self.workplace.limits.max_size})"
            )
            text = records.tail(text, max(0, left)) if left > 0 else ""
        self._size += len(text)
        # A name may have a secret too.
        self.texts[self.redactor.text(name)] = text
        self.contents[name] = content

    def packed(self) -> bytes:
        """Return the ZIP file, with README.txt first."""
        buffer = io.BytesIO()
        moment = time.gmtime()[:6]
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in {"README.txt": self.readme, **self.texts}.items():
                information = zipfile.ZipInfo(f"aitbc-agent-support/{name}", moment)
                information.compress_type = zipfile.ZIP_DEFLATED
                information.external_attr = _MODE << 16
                archive.writestr(information, text.encode("utf-8", "replace"))
        return buffer.getvalue()

    @property
    def readme(self) -> str:
        """What is wrong, what is here, and what is not."""
        meanings = {part.name: part.meaning for part in PARTS}
        text = readme.text(
            readme.diagnostics(self.contents, self.workplace),
            readme.newest_errors(self.contents),
            {name: meanings.get(name, "the end of a log file") for name in self.texts},
            self.missing,
        )
        return self.redactor.text(text)


def collect(workplace: Workplace) -> Bundle:
    """Collect all parts. Raises nothing."""
    settings = workplace.settings if workplace.reading is not None else None
    secrets = known_secrets(workplace.data_dir, settings, workplace.config)
    home: Path | None = None
    with suppress(RuntimeError):
        home = Path.home()
    bundle = Bundle(workplace, Redactor(secrets, home))
    asyncio.run(_collect(bundle))
    return bundle


async def _collect(bundle: Bundle) -> None:
    ends_at = time.monotonic() + bundle.workplace.limits.max_seconds
    outcomes = await asyncio.gather(*(_collected(part, bundle.workplace, ends_at) for part in PARTS))
    for part, outcome in zip(PARTS, outcomes, strict=True):
        if isinstance(outcome, BaseException):
            bundle.missing[part.name] = _reason(outcome, bundle.workplace)
        else:
            bundle.add(part.name, outcome, addresses=not part.versions)
    # The logs come last: they are what may be cut.
    try:
        logs = list(records.log_files(bundle.workplace))
    except OSError as error:
        bundle.missing[_LOGS_NAME] = _reason(error, bundle.workplace)
        return
    for name, path, of_engine in logs:
        read = partial(records.log_text, path, int(bundle.workplace.limits.max_log), of_engine=of_engine)
        try:
            left = max(1.0, ends_at - time.monotonic())
            bundle.add(name, await call_within(left, read, name="support-log"))
        except Exception as error:  # noqa: BLE001 - the other files are useful nevertheless
            bundle.missing[name] = _reason(error, bundle.workplace)


async def _collected(part: Part, workplace: Workplace, ends_at: float) -> Content | BaseException:
    try:
        left = max(1.0, ends_at - time.monotonic())
        return await call_within(left, lambda: part.collect(workplace), name=f"support-{part.name}")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - as above
        return error


def _reason(error: BaseException, workplace: Workplace) -> str:
    if isinstance(error, TimeoutError):
        return f"it took longer than {workplace.limits.max_seconds:g} s (support.max_seconds)"
    return f"{type(error).__name__}: {error}"[:_LONGEST_ERROR]


def save(content: bytes, path: Path, *, chosen: bool) -> Path:
    """Write the file, readable by its owner only. Unless the path was `chosen`, a full disk is avoided. Raises `OSError`."""
    candidates = [path] if chosen else [path, *(directory / path.name for directory in _FALLBACKS)]
    for number, candidate in enumerate(candidates, 1):
        try:
            handle = os.open(candidate, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE)
            try:
                with os.fdopen(handle, "wb") as file:
                    os.fchmod(file.fileno(), _MODE)
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError:
                candidate.unlink(missing_ok=True)
                raise
        except OSError:
            if number == len(candidates):
                raise
        else:
            return candidate
    raise FileNotFoundError(path)
