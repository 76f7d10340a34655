"""Names of jobs whose clients gave none: from their input, so that people can distinguish jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from agent.coordinator.operations.jobs.addresses import artifact_of
from runners.api import ServiceDefinition

LENGTH: Final = 60
"""Characters of a name that begins a longer text."""
FILE_LENGTH: Final = 200
"""Characters of a name that is a file's: people look for files by their whole names."""


def derived(
    definition: ServiceDefinition,
    parameters: Mapping[str, Any],
    files: Mapping[str, Any],
    stored: Mapping[str, str],
) -> str:
    """Return a job's name: its service's title for the input, else the name of its first file, else the service's.

    `files` are the references of the file fields, `stored` the names of artifacts and uploaded files among them, by field.
    """
    names = {**file_names(files), **stored}
    title = None if definition.title is None else definition.title(parameters, names)
    if title is not None and (short := shortened(title)):
        return short
    first = next((names[field] for field in definition.file_fields() if names.get(field)), None)
    return first[:FILE_LENGTH] if first else definition.service_id.replace("_", "-")


def shortened(text: str) -> str:
    """Return the beginning of a text in whole words, on one line."""
    words = "".join(letter if letter.isprintable() else " " for letter in text[: 20 * LENGTH]).split()
    line = " ".join(words)
    if len(line) <= LENGTH:
        return line
    start = line[: LENGTH + 1].rpartition(" ")[0] or line[:LENGTH]
    return f"{start.rstrip(' ,;:.-')}…"


def file_names(files: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of files that are addresses, by field."""
    names = {}
    for field, reference in files.items():
        if isinstance(reference, str) and artifact_of(reference) is None:
            name = unquote(urlsplit(reference).path.rpartition("/")[2])
            if name and name.isprintable():
                names[field] = name
    return names
