"""Collects the output files of a run: checks that they are regular files, and names them by their content.

A run may have executed untrusted code. A link in its output directory must not make this miner publish a file of its
owner, and an object in its results must not pass as a file that the run did not create.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from agent.miner.runs.outbox import Artifact
from aitbc.outputs import output_files
from runners.api import Fail, FailureCode, Retry
from runners.host.protocol import (
    Done,
    FileReference,
    ProtocolError,
    file_references,
    plain_units,
    replace_files,
)

_MAX_NAME: Final = 200
"""Characters of a name or media type that the coordinator accepts."""


@dataclass(frozen=True, slots=True)
class Collected:
    """A run's results as the client receives them, and the files that must be stored before them."""

    results: dict[str, Any]
    artifacts: tuple[Artifact, ...]
    units: Decimal


def has_files(done: Done) -> bool:
    """Whether the results name any output file."""
    try:
        return next(file_references(done.results), None) is not None
    except ProtocolError:
        return True  # `collect` raises the error


def collect(done: Done, output: Path) -> Collected:
    """Hash the files below `output` that `done` names, and put their addresses into its results.

    Blocking: reads every file, and returns when all are on disk. Raises `Fail` if the results contain a forged file,
    `Retry` if a file is missing or not a regular one, `OSError`.
    """
    try:
        references = list(file_references(done.results))
        artifacts = {reference.path: hash_output(reference, output) for reference in references}
        results = replace_files(
            done.results, lambda reference: _describe(reference, artifacts[reference.path])
        )
    except ProtocolError as error:
        raise Retry(
            f"The runner named an invalid output: {error}", code=FailureCode.RUNNER_CRASHED
        ) from error
    results["units"] = _number(done.units)
    files = output_files(results)
    if len(files) != len(references) or {file.artifact_id for file in files} != {
        artifact.artifact_id for artifact in artifacts.values()
    }:
        raise Fail(
            "The results contain an object that looks like an output file but is not one. Rename its fields "
            "(artifact_id, url, media_type, size, name).",
            code=FailureCode.RESULT_INVALID,
        )
    if artifacts:
        _sync_directory(output)
    stored = tuple(
        Artifact(
            file.artifact_id, _path_of(file.artifact_id, artifacts), file.name, file.media_type, file.size
        )
        for file in files
    )
    return Collected(results, stored, Decimal(str(results["units"])))


def hash_output(reference: FileReference, output: Path) -> Artifact:
    """Hash one output file. Blocking: returns when it is on disk. Raises `ProtocolError`, `OSError`."""
    path = reference.below(output)
    # `resolve` follows links, so a path that it does not change contains none.
    if path.resolve(strict=True) != output.resolve(strict=True) / reference.path:
        raise ProtocolError("an output is reached through a link")
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ProtocolError("an output is not a regular file")
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(descriptor)  # files that the outbox names must survive a crash
    name, media_type = reference.name[:_MAX_NAME], reference.media_type[:_MAX_NAME]
    return Artifact(f"sha256:{digest}", path, name, media_type, status.st_size)


def _describe(reference: FileReference, artifact: Artifact) -> Mapping[str, Any]:
    return {
        "artifact_id": artifact.artifact_id,
        "url": f"/v1/artifacts/{artifact.artifact_id}",
        "media_type": reference.media_type[:_MAX_NAME],
        "size": artifact.size,
        "name": reference.name[:_MAX_NAME],
    }


def _path_of(artifact_id: str, artifacts: Mapping[str, Artifact]) -> Path:
    return next(artifact.path for artifact in artifacts.values() if artifact.artifact_id == artifact_id)


def _number(units: Decimal) -> int | float:
    text = plain_units(units)
    return float(text) if "." in text else int(text)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
