"""Results of a run in the form of the protocol, with references to its output files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from runners.api import OutputFile
from runners.host.protocol import FileReference
from runners.plain_json import FILE_KEY, MAX_DEPTH, check_json


def replace_files(value: Any, replacement: Callable[[OutputFile], dict[str, Any]], depth: int = 0) -> Any:
    """Return a copy of results with each output file replaced; all other values must be plain JSON."""
    if depth > MAX_DEPTH:
        raise ValueError(f"Results are nested more than {MAX_DEPTH} levels deep.")
    match value:
        case OutputFile():
            return replacement(value)
        case Mapping():
            # Only the keys; the values follow, each with its own files.
            check_json(dict.fromkeys(value))
            return {key: replace_files(item, replacement, depth + 1) for key, item in value.items()}
        case list() | tuple():
            return [replace_files(item, replacement, depth + 1) for item in value]
        case _:
            check_json(value)
            return value


def seen_by_client(file: OutputFile) -> dict[str, Any]:
    """Return an output file in the form of `runners.api.File`, with the fields blank that only the miner knows."""
    described = {"media_type": file.media_type, "size": file.path.stat().st_size, "name": file.name}
    return {**file.extra, "artifact_id": "", "url": "", **described}


def mark(file: OutputFile, output: Path) -> dict[str, Any]:
    """Return the object that represents an output file in results on the wire."""
    return {FILE_KEY: reference(file, output).model_dump()}


def reference(file: OutputFile, output: Path) -> FileReference:
    """Return the wire form of an output file. Raises `ValueError` for links and files outside `output`.

    A runner may run a client's own code: a link in its output directory must not make the miner publish another file.
    """
    if file.path.is_symlink() or not file.path.is_file():
        raise ValueError("An output is not a regular file.")
    relative = file.path.resolve(strict=True).relative_to(output.resolve(strict=True))
    check_json(dict(file.extra))
    return FileReference(
        path=relative.as_posix(), media_type=file.media_type, name=file.name, extra=dict(file.extra)
    )


def units_number(units: Decimal) -> int | float:
    """Return metered units as the JSON number in the client's results."""
    return int(units) if units == units.to_integral_value() else float(units)
