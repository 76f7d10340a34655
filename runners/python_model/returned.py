"""What a model returned, and the files that it wrote. Both are untrusted."""

from __future__ import annotations

import json
import mimetypes
import os
from pathlib import Path
from typing import Any

from runners.api import Fail, FailureCode, OutputFile
from runners.plain_json import check_json, has_more_values

MAX_RESULT = 8 * 2**20
"""Bytes of JSON that `predict` may return."""

MAX_VALUES = 200_000
"""Values in what `predict` may return: every number, text, list and object counts. Each costs the coordinator time whenever the results
are read."""

MAX_FILES = 100
"""Limit of the files that a run returns."""

MAX_NAME = 1000
"""Characters of the path of a returned file, below the model's directory."""


def returned(path: Path) -> dict[str, Any]:
    """Return the value of `predict` as the results of the job. The file is untrusted."""
    if path.is_symlink() or not path.is_file():
        raise Fail("The model ended without returning from predict.", code=FailureCode.MODEL_FAILED)
    if path.stat().st_size > MAX_RESULT:
        raise Fail(
            "predict returned more than 8 MiB; write large data to files.", code=FailureCode.RESULT_TOO_LARGE
        )
    try:
        value = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
        if has_more_values(value, MAX_VALUES):
            raise Fail(
                f"predict returned more than {MAX_VALUES} values; write large data to files.",
                code=FailureCode.RESULT_TOO_LARGE,
            )
        check_json(value)
    except RecursionError:
        raise Fail(
            "predict returned an unusable value: it is nested too deeply.", code=FailureCode.MODEL_FAILED
        ) from None
    except ValueError as error:
        raise Fail(f"predict returned an unusable value: {error}.", code=FailureCode.MODEL_FAILED) from None
    results = dict(value) if isinstance(value, dict) else {"value": value}
    if "files" in results:
        raise Fail(
            "predict returned the key 'files', which is reserved for the files that it writes.",
            code=FailureCode.MODEL_FAILED,
        )
    return results


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it holds {name}, which JSON does not have")


def written(directory: Path, max_size: int) -> list[OutputFile]:
    """Return the regular files that the model left in its current directory, by name; links are not followed."""
    files: list[OutputFile] = []
    total = 0
    try:
        for path in _regular_files(directory):
            name = path.relative_to(directory).as_posix()
            _check_name(name)
            if len(files) == MAX_FILES:
                raise Fail(f"The model wrote more than {MAX_FILES} files.", code=FailureCode.LIMIT_EXCEEDED)
            with path.open("rb") as file:  # an unreadable file is the model's fault and must be detected now
                total += os.fstat(file.fileno()).st_size
            if total > max_size:
                raise Fail(
                    f"The model's files have more than {max_size:,} bytes in total.",
                    code=FailureCode.LIMIT_EXCEEDED,
                )
            media_type, _ = mimetypes.guess_type(name)
            files.append(OutputFile(path, media_type or "application/octet-stream", name))
    except OSError as error:
        raise Fail(
            f"A file that the model wrote cannot be read: {error.strerror}.", code=FailureCode.MODEL_FAILED
        ) from None
    return files


def _check_name(name: str) -> None:
    try:
        check_json(name)
    except ValueError:
        raise Fail(
            "The model wrote a file whose name is not valid Unicode.", code=FailureCode.MODEL_FAILED
        ) from None
    if len(name) > MAX_NAME:
        raise Fail(
            f"The model wrote a file whose path has more than {MAX_NAME} characters.",
            code=FailureCode.LIMIT_EXCEEDED,
        )


def _regular_files(directory: Path) -> list[Path]:
    files: list[Path] = []
    pending: list[Path] = [directory]
    while pending:
        for path in sorted(pending.pop().iterdir()):
            # A link could name a file of this machine, which would then be published.
            if path.is_symlink():
                continue
            if path.is_dir():
                pending.append(path)
            elif path.is_file():
                files.append(path)
    return sorted(files)
