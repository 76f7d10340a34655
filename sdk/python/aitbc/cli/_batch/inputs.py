"""Resolves a command's arguments (files, directories, patterns, URLs) to the inputs of a batch and the names of their outputs."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import typer

_ADDRESSES = ("https://", "http://", "artifact:")
_ARTIFACT_ID = re.compile(r"sha256:[0-9a-f]{64}")
_PATTERN = frozenset("*?[")
_LONGEST_NAME = 200
"""Characters of a job's name."""

SPOKEN = frozenset({
    ".aac", ".aif", ".aiff", ".amr", ".avi", ".flac", ".m4a", ".m4v", ".mka", ".mkv", ".mov", ".mp3", ".mp4", ".mpeg", ".mpg",
    ".oga", ".ogg", ".opus", ".wav", ".weba", ".webm", ".wma",
})  # fmt: skip
"""Suffixes of files that may contain speech."""
MEDIA = SPOKEN | {".3gp", ".flv", ".gif", ".m2ts", ".mts", ".ogv", ".ts", ".vob", ".wmv"}
"""Suffixes of audio and video files."""


@dataclass(frozen=True, slots=True)
class BatchInput:
    """One input: a local file, or an `address` (a URL or an artifact).

    `below` is the path within the directory that the user named. Outputs keep it, and also its suffix if another input has the same
    name without its suffix (`whole_name`): a.mp3 and a.wav become a.mp3.srt and a.wav.srt.
    """

    label: str
    file: Path | None
    below: Path
    address: str = ""
    whole_name: bool = False

    @property
    def name(self) -> str:
        """The input's name, for the job's."""
        return self.below.name[:_LONGEST_NAME]

    def file_in(self, field: str) -> dict[str, Path]:
        """Return the local file as the content of a job's field, or nothing if there is none."""
        return {} if self.file is None else {field: self.file}

    def address_in(self, field: str) -> dict[str, str]:
        """Return the address as a job's field, or nothing for a local file."""
        return {} if self.file is not None else {field: self.address}

    def beside(self, suffix: str, directory: Path | None) -> Path:
        """Return the path of an output: the input's name with another suffix, in `directory` or else next to the input."""
        stem = self.below.name if self.whole_name else self.below.stem
        name = self.below.with_name(stem + suffix)
        if directory is not None:
            return directory / name
        return self.file.with_name(stem + suffix) if self.file is not None else Path(name.name)


def find_inputs(
    named: Sequence[str],
    suffixes: Iterable[str] | None,
    *,
    recursive: bool,
    is_output: Callable[[Path], bool] = lambda _: False,
) -> list[BatchInput]:
    """Return the inputs that the arguments name, each once, in order.

    In a directory, these are the files that have one of `suffixes` (None: all), except hidden files and files that this command
    wrote (`is_output`). Raises `BadParameter` for an argument that matches nothing.
    """
    allowed = None if suffixes is None else frozenset(suffixes)
    inputs: dict[str, BatchInput] = {}
    for argument in named:
        for item in _found(argument, allowed, recursive=recursive, is_output=is_output):
            # By the real path, since a file may be named directly and again through its directory.
            inputs.setdefault(str(item.file.resolve()) if item.file is not None else item.address, item)
    # Without their suffixes, a.mp3 and a.wav would write the same a.srt.
    stems = Counter(_stem(item) for item in inputs.values())
    return [replace(item, whole_name=stems[_stem(item)] > 1) for item in inputs.values()]


def _stem(item: BatchInput) -> Path:
    return (item.below if item.file is None else item.file.resolve()).with_suffix("")


def _found(
    argument: str, suffixes: frozenset[str] | None, *, recursive: bool, is_output: Callable[[Path], bool]
) -> list[BatchInput]:
    if _ARTIFACT_ID.fullmatch(argument):
        # As `aitbc artifacts put` prints it.
        argument = f"artifact:{argument}"
    if argument.startswith(_ADDRESSES):
        # Queries may be long or secret, and colons have a meaning on Windows.
        name = PurePosixPath(argument.partition("?")[0].rstrip("/")).name.replace(":", "-") or "input"
        return [BatchInput(argument, None, Path(name), argument)]
    path = Path(argument)
    if path.is_dir():
        files = _within(path, suffixes, recursive=recursive, is_output=is_output)
        return [BatchInput(str(file), file, file.relative_to(path)) for file in files]
    if path.exists():
        return [BatchInput(argument, path, Path(path.name))]
    # After the test for existence, since a file's name may contain these characters. Not all shells expand patterns.
    if _PATTERN & set(argument):
        return [BatchInput(str(file), file, Path(file.name)) for file in _matching(argument, is_output)]
    raise typer.BadParameter(f"There is no file or directory {argument!r}.")


def _matching(pattern: str, is_output: Callable[[Path], bool]) -> list[Path]:
    names = sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - a pattern may be absolute, or begin with ..
    files = [file for file in map(Path, names) if file.is_file() and not is_output(file)]
    if not files:
        raise typer.BadParameter(f"No file matches {pattern!r}.")
    return files


def _within(
    directory: Path, suffixes: frozenset[str] | None, *, recursive: bool, is_output: Callable[[Path], bool]
) -> list[Path]:
    inside = directory.rglob("*") if recursive else directory.iterdir()
    files = sorted(
        path for path in inside if _is_candidate(path, directory, suffixes) and not is_output(path)
    )
    if not files:
        kinds = "" if suffixes is None else f" that ends with {', '.join(sorted(suffixes))}"
        advice = "" if recursive else "; use -r to include its subdirectories"
        raise typer.BadParameter(f"{directory} has no file{kinds}{advice}.")
    return files


def _is_candidate(path: Path, directory: Path, suffixes: frozenset[str] | None) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(directory).parts)
    return not hidden and (suffixes is None or path.suffix.lower() in suffixes) and path.is_file()


def check_distinct(outputs: Iterable[tuple[str, Path]]) -> None:
    """Raise `BadParameter` if two inputs have the same output, or an input would be overwritten by its own output."""
    owners: dict[Path, str] = {}
    for label, path in outputs:
        target = path.resolve()
        if target == Path(label).resolve():
            raise typer.BadParameter(
                f"The output for {label} would overwrite it. Choose another path with -o."
            )
        if (owner := owners.setdefault(target, label)) != label:
            raise typer.BadParameter(
                f"{owner} and {label} would both be written to {path}. Use two commands, one of them with -o."
            )
