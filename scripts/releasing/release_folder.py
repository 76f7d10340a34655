"""The folder of a release: its list of digests, its package index, and the check that a user makes."""

from __future__ import annotations

import hashlib
import html
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename

from agent.updates.manifest import (
    DISTRIBUTION,
    Manifest,
    ReleaseError,
    ReleaseFile,
    open_manifest,
    read_release_wheel,
)

SUMS: Final = "SHA256SUMS"
MANIFEST: Final = "manifest.json"
INDEX: Final = "simple"
_PAGE: Final = """<!DOCTYPE html>
<html><head><meta charset="utf-8"><meta name="pypi:repository-version" content="1.0"><title>{title}</title></head><body>
{lines}
</body></html>
"""


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def described(folder: Path) -> tuple[ReleaseFile, ...]:
    """Return the files of a folder, sorted by name."""
    return tuple(
        ReleaseFile(name=path.name, sha256=sha256(path), size=path.stat().st_size)
        for path in sorted(folder.iterdir())
        if path.is_file()
    )


def write_sums(folder: Path) -> None:
    """Write the digests of all files in the form of `sha256sum`."""
    lines = [f"{file.sha256}  {file.name}\n" for file in described(folder) if file.name != SUMS]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def write_index(folder: Path) -> None:
    """Write a package index (PEP 503) of all Python distributions in a folder and the folders in it, for any static HTTP server."""
    projects: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if (project := _project(path.name)) is not None:
            projects[project].append(path)
    index = folder / INDEX
    index.mkdir(exist_ok=True)
    _write_page(index / "index.html", "Packages", {f"{project}/": project for project in sorted(projects)})
    for project, files in projects.items():
        (index / project).mkdir(exist_ok=True)
        links = {
            f"../../{path.relative_to(folder).as_posix()}#sha256={sha256(path)}": path.name for path in files
        }
        _write_page(index / project / "index.html", project, links)


def check(folder: Path, keys: Mapping[str, bytes]) -> Manifest:
    """Return the manifest of a release after checking everything in its folder.

    Raises `ReleaseError` for a signature or a file that is wrong, missing or additional.
    """
    envelope = (folder / MANIFEST).read_bytes()
    manifest = open_manifest(envelope, keys)
    (wheel,) = folder.glob(f"{DISTRIBUTION.replace('-', '_')}-*.whl")
    if read_release_wheel(wheel) != envelope:
        raise ReleaseError(
            f"{wheel.name} has another manifest than {MANIFEST}. Get the release's files again."
        )
    for file in manifest.files:
        manifest.check_file(folder / file.name)
    lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    listed = {file.name: file.sha256 for file in described(folder) if file.name != SUMS}
    if sums != listed:
        names = ", ".join(sorted(name for name, _ in set(sums.items()) ^ set(listed.items())))
        raise ReleaseError(f"{SUMS} differs from the files: {names}. Get the release's files again.")
    if unsigned := listed.keys() - {file.name for file in manifest.files} - {MANIFEST, wheel.name}:
        raise ReleaseError(
            f"Not in the signed manifest: {', '.join(sorted(unsigned))}. Do not use these files."
        )
    return manifest


def _project(name: str) -> str | None:
    """Return the project of a distribution's file name; None for other files."""
    if name.endswith(".whl"):
        return canonicalize_name(parse_wheel_filename(name)[0])
    if name.endswith(".tar.gz"):
        return canonicalize_name(parse_sdist_filename(name)[0])
    return None


def _write_page(file: Path, title: str, links: Mapping[str, str]) -> None:
    lines = "\n".join(
        f'<a href="{html.escape(target)}">{html.escape(text)}</a><br>' for target, text in links.items()
    )
    file.write_text(_PAGE.format(title=title, lines=lines), encoding="utf-8")
