"""Finds the output files in a job's results, in the order in which a statement lists them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_ARTIFACT_ID = re.compile(r"sha256:[0-9a-f]{64}")
_SCALARS = (str, int, float, type(None))


@dataclass(frozen=True, slots=True)
class OutputFile:
    """An output file of a job. `artifact_id` is `sha256:<hex>`, and `size` is in bytes."""

    artifact_id: str
    name: str
    media_type: str
    size: int

    @property
    def sha256(self) -> str:
        """The content's SHA-256 in lower-case hex."""
        return self.artifact_id.removeprefix("sha256:")


def output_files(results: Any) -> tuple[OutputFile, ...]:
    """Return the output files in `results`, in the order of its canonical JSON.

    An output file is an object with at least `artifact_id` (`sha256:<hex>`), `url`, `media_type`, `size` and `name`. The canonical
    order survives databases and languages that do not preserve the order of keys.
    """
    return tuple(_walk(results))


def _walk(value: Any) -> Iterator[OutputFile]:
    if isinstance(value, Mapping):
        # What is inside of a file's description is not another file.
        if (file := _output_file(value)) is not None:
            yield file
            return
        nested = [key for key, item in value.items() if not isinstance(item, _SCALARS)]
        # JCS sorts by UTF-16 code units, as JavaScript compares strings.
        for key in sorted(nested, key=lambda key: str(key).encode("utf-16-be", "surrogatepass")):
            yield from _walk(value[key])
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _walk(item)


def _output_file(value: Mapping[str, Any]) -> OutputFile | None:
    artifact_id, name, media_type = value.get("artifact_id"), value.get("name"), value.get("media_type")
    size, url = value.get("size"), value.get("url")
    if not isinstance(artifact_id, str) or _ARTIFACT_ID.fullmatch(artifact_id) is None:
        return None
    if not isinstance(name, str) or not isinstance(media_type, str) or not isinstance(url, str):
        return None
    # In Python, True is an integer.
    if not isinstance(size, int) or isinstance(size, bool):
        return None
    return OutputFile(artifact_id, name, media_type, size)
