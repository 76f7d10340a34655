"""The sources that a release is built from: what git has, without anything that earlier builds left in the working tree."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

SECONDS = 300


@dataclass(frozen=True, slots=True)
class SourceTree:
    """A commit, or the working tree with its changes, as git names its content."""

    root: Path
    commit: str
    tree: str
    time: datetime

    @property
    def is_changed(self) -> bool:
        """Whether the working tree differs from its commit."""
        return _git(self.root, "rev-parse", f"{self.commit}^{{tree}}") != self.tree

    def extract(self, directory: Path) -> None:
        """Write the files into a new directory."""
        archive = subprocess.run(
            ["git", "archive", self.tree], cwd=self.root, capture_output=True, check=True, timeout=SECONDS
        ).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(directory)  # noqa: S202 - of this repository


def working_tree(root: Path) -> SourceTree:
    """Return the working tree, with files that are not added yet and without those that git ignores."""
    commit = _git(root, "rev-parse", "HEAD")
    seconds = int(_git(root, "show", "--no-patch", "--format=%ct", commit))
    with tempfile.TemporaryDirectory() as directory:
        index = Path(directory, "index")
        shutil.copy2(root / _git(root, "rev-parse", "--git-path", "index"), index)
        _git(root, "add", "--all", index=index)
        tree = _git(root, "write-tree", index=index)
    return SourceTree(root, commit, tree, datetime.fromtimestamp(seconds, UTC))


def _git(root: Path, *words: str, index: Path | None = None) -> str:
    variables = {} if index is None else {"GIT_INDEX_FILE": str(index)}
    done = subprocess.run(
        ["git", *words],
        cwd=root,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    if done.returncode != 0:
        raise SystemExit(f"git {' '.join(words)}: {done.stderr.strip()} A release is built from a clone.")
    return done.stdout.strip()
