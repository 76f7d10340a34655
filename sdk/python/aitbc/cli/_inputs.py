"""What the user names: files, directories, patterns, addresses. From these to the files of a batch and their names."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import typer

_ADDRESSES = ("https://", "http://", "artifact:")
_PATTERN = frozenset("*?[")

SPOKEN = frozenset({
    ".aac", ".aif", ".aiff", ".amr", ".avi", ".flac", ".m4a", ".m4v", ".mka", ".mkv", ".mov", ".mp3", ".mp4", ".mpeg", ".mpg",
    ".oga", ".ogg", ".opus", ".wav", ".weba", ".webm", ".wma",
})  # fmt: skip
"""The ends of the names of files that may hold speech."""
MEDIA = SPOKEN | {".3gp", ".flv", ".gif", ".m2ts", ".mts", ".ogv", ".ts", ".vob", ".wmv"}
"""The ends of the names of audio and video files."""


@dataclass(frozen=True, slots=True)
class Input:
    """Something to work on: a file of this machine, or what only an `address` says.

    `below` is the path within the directory that the user named, which outputs keep.
    """

    label: str
    file: Path | None
    below: Path
    address: str = ""

    def file_in(self, field: str) -> dict[str, Path]:
        """The local file as the content of a job's field; nothing where there is none."""
        return {} if self.file is None else {field: self.file}

    def address_in(self, field: str) -> dict[str, str]:
        """The address as a job's field; nothing where it is a local file."""
        return {} if self.file is not None else {field: self.address}

    def beside(self, suffix: str, directory: Path | None) -> Path:
        """Where an output goes: into `directory`, else where the file is, under its name with another suffix."""
        name = self.below.with_suffix(suffix)
        if directory is not None:
            return directory / name
        return self.file.with_suffix(suffix) if self.file is not None else Path(name.name)


def find_inputs(
    named: Sequence[str],
    suffixes: Iterable[str] | None,
    *,
    recursive: bool,
    is_output: Callable[[Path], bool] = lambda _: False,
) -> list[Input]:
    """The inputs that the arguments name, each once, in order.

    Of a directory those files whose names end with one of `suffixes` (all for None), without hidden ones and without those that this
    command wrote (`is_output`). Raises `BadParameter` for an argument that names nothing.
    """
    wanted = None if suffixes is None else frozenset(suffixes)
    found: dict[str, Input] = {}
    for argument in named:
        for one in _found(argument, wanted, recursive=recursive, is_output=is_output):
            found.setdefault(str(one.file.resolve()) if one.file is not None else one.address, one)
    return list(found.values())


def _found(
    argument: str, suffixes: frozenset[str] | None, *, recursive: bool, is_output: Callable[[Path], bool]
) -> Iterator[Input]:
    if argument.startswith(_ADDRESSES):
        name = PurePosixPath(argument.partition("?")[0].rstrip("/")).name.replace(":", "-") or "input"
        yield Input(argument, None, Path(name), argument)
        return
    path = Path(argument)
    if path.is_dir():
        files = [file for file in _within(path, suffixes, recursive=recursive) if not is_output(file)]
        if not files:
            kinds = "" if suffixes is None else f" that ends with {', '.join(sorted(suffixes))}"
            more = "" if recursive else "; -r looks into the directories within it too"
            raise typer.BadParameter(f"{argument} holds no file{kinds}{more}.")
        yield from (Input(str(file), file, file.relative_to(path)) for file in files)
    elif path.exists():
        yield Input(argument, path, Path(path.name))
    elif _PATTERN & set(argument):
        files = [Path(name) for name in sorted(glob.glob(argument, recursive=True))]  # noqa: PTH207 - a pattern may be absolute, or begin with ..
        files = [file for file in files if file.is_file() and not is_output(file)]
        if not files:
            raise typer.BadParameter(f"No file matches {argument!r}.")
        yield from (Input(str(file), file, Path(file.name)) for file in files)
    else:
        raise typer.BadParameter(f"There is no file or directory {argument!r}.")


def _within(directory: Path, suffixes: frozenset[str] | None, *, recursive: bool) -> list[Path]:
    inside = directory.rglob("*") if recursive else directory.iterdir()
    return sorted(
        path
        for path in inside
        if (suffixes is None or path.suffix.lower() in suffixes)
        and not any(part.startswith(".") for part in path.relative_to(directory).parts)
        and path.is_file()
    )


def check_distinct(outputs: Iterable[tuple[str, Path]]) -> None:
    """Raise `BadParameter` where two inputs would be written to the same file, or one over itself."""
    owners: dict[Path, str] = {}
    for label, path in outputs:
        place = path.resolve()
        if place == Path(label).resolve():
            raise typer.BadParameter(
                f"The output for {label} would be that file itself; choose another place with -o."
            )
        if (other := owners.setdefault(place, label)) != label:
            raise typer.BadParameter(
                f"{other} and {label} would both be written to {path}; give them in two commands, with -o for one."
            )
