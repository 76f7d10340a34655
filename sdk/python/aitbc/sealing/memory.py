"""What a client remembers of the jobs that it sealed: which miner must answer which request.

The coordinator names the miner and the request of every job too, but could name others, whose answer it has. So a client opens answers
with this memory, which is in a directory beside its key. docs/reference/sealed-jobs.md fixes the files, which both SDKs share.
"""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from aitbc._shape import JOB_ID, MINER_ID, exact, text
from aitbc.canonical import parse_json
from aitbc.errors import ConfigurationError, FormatError
from aitbc.sealing.private_files import create_private

DIRECTORY: Final = "sealed_jobs"
MAX_RECORDS: Final = 100_000
"""Files after which the oldest are deleted. A job has two."""
_PRUNED_AFTER: Final = 1000
"""New records after which the files are counted again."""
_REQUEST_ID: Final = re.compile(r"[0-9a-f]{32}")
_FIELDS: Final = ("miner_id", "reply_key", "request_id")


@dataclass(frozen=True, slots=True)
class SealedRequest:
    """A request that this client sealed: to which miner, its id, and the client's public key (base64), to which the answer is sealed."""

    miner_id: str
    request_id: str
    reply_key: str


class SealingMemory:
    """The requests that were sealed, by their own ids and by those of their jobs, in `directory`. Any number of processes use it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._added = 0

    def get(self, name: str) -> SealedRequest | None:
        """Return the request with this id, or that of the job with this id. Raises `ConfigurationError` if it cannot be read.

        An unreadable record must not be taken for a missing one, since the answer would then be believed as the coordinator returns it.
        """
        # A user who cannot enter the directory has never sealed a job with it.
        if not _is_id(name) or not os.path.isdir(self.directory):  # noqa: PTH112 - Path.is_dir raises PermissionError
            return None
        path = self._path(name)
        try:
            return _read(path.read_bytes())
        except FileNotFoundError:
            return None
        except FormatError as error:
            raise ConfigurationError(f"{path} is damaged: {error} Restore it from a backup.") from error
        except OSError as error:
            raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error

    def add(self, name: str, request: SealedRequest) -> SealedRequest:
        """Store a request under its own id or that of its job, unless something is stored there. Return what is. Blocking.

        Raises `FormatError` for a malformed id, `ConfigurationError` if the request cannot be stored.
        """
        if not _is_id(name):
            raise FormatError(f"{name!r} is not an id of a job.")
        try:
            create_private(self._path(name), json.dumps(asdict(request), sort_keys=True))
        except FileExistsError:
            # Never replaced: what a job's id was first given to is what its answer must match.
            return self.get(name) or request
        except OSError as error:
            raise ConfigurationError(
                f"{self.directory}, where this client remembers what it sealed, cannot be written: {error.strerror}."
            ) from error
        # At the first record too, since most programs seal only a few jobs and end.
        if self._added % _PRUNED_AFTER == 0:
            self._prune()
        self._added += 1
        return request

    def _path(self, name: str) -> Path:
        return self.directory / f"{name}.json"

    def _prune(self) -> None:
        # `scandir` and plain paths: with 100,000 records, `Path` objects would take seconds.
        with os.scandir(self.directory) as entries:
            paths = [entry.path for entry in entries]
        if len(paths) <= MAX_RECORDS:
            return
        ages: list[tuple[float, str]] = []
        for path in paths:
            with suppress(FileNotFoundError):  # another process deletes records too
                ages.append((os.stat(path).st_mtime, path))  # noqa: PTH116 - many
        for _, path in sorted(ages)[: len(ages) - MAX_RECORDS]:
            with suppress(FileNotFoundError):
                os.unlink(path)  # noqa: PTH108 - many


def _read(content: bytes) -> SealedRequest:
    fields = exact(parse_json(content), _FIELDS, "The record")
    return SealedRequest(
        text(fields["miner_id"], "The record's miner_id", MINER_ID),
        text(fields["request_id"], "The record's request_id", _REQUEST_ID),
        text(fields["reply_key"], "The record's reply_key"),
    )


def _is_id(name: str) -> bool:
    """Return whether a name is an id. The coordinator chooses those of jobs, and must not choose a path."""
    return bool(JOB_ID.fullmatch(name) or _REQUEST_ID.fullmatch(name))
