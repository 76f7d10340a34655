"""Leftovers of jobs in the miner's directory are removed, and never prevent a start."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import CapturingLogger

from agent.miner.data_dir import DataDirectory
from runners.sandbox import files


@pytest.fixture
def data_directory(tmp_path: Path) -> Iterator[DataDirectory]:
    made = DataDirectory(tmp_path / "miner")
    made.lock()
    yield made
    made.unlock()
    files.remove(tmp_path / "miner")  # pytest's own removal fails on a deep tree


def make_deep(directory: Path, depth: int) -> None:
    """Create nested directories, the last without permissions."""
    directory.mkdir()
    here = os.open(directory, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.fchmod(here, 0)
    os.close(here)


def test_attack_a_deep_tree_is_removed_at_the_start(data_directory: DataDirectory) -> None:
    make_deep(data_directory.jobs / "job_1", 1500)
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    data_directory.remove_leftovers(())
    assert list(data_directory.jobs.iterdir()) == []
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_directories_of_the_outbox_are_not_removed(data_directory: DataDirectory) -> None:
    for name in ("job_1", "job_2"):
        (data_directory.jobs / name / "output").mkdir(parents=True)
    data_directory.remove_leftovers((data_directory.jobs / "job_1",))
    assert [path.name for path in data_directory.jobs.iterdir()] == ["job_1"]


def test_links_are_removed_and_not_followed(data_directory: DataDirectory, tmp_path: Path) -> None:
    (tmp_path / "owners").mkdir()
    (tmp_path / "owners" / "file").write_text("mine")
    (data_directory.jobs / "job_1").mkdir()
    (data_directory.jobs / "job_1" / "link").symlink_to(tmp_path / "owners")
    (data_directory.jobs / "job_2").symlink_to(tmp_path / "owners")
    data_directory.remove_leftovers(())
    assert list(data_directory.jobs.iterdir()) == []
    assert (tmp_path / "owners" / "file").read_text() == "mine"


def test_a_directory_that_cannot_be_removed_is_logged_and_the_others_are_removed(
    data_directory: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("job_1", "job_2"):
        (data_directory.jobs / name / "work").mkdir(parents=True)
        for file in ("a", "stuck", "z"):
            (data_directory.jobs / name / "work" / file).write_text("x")
    unlink = os.unlink

    def refuse(path: str, *, dir_fd: int | None = None) -> None:
        if path == "stuck":
            raise PermissionError(1, "Operation not permitted")
        unlink(path, dir_fd=dir_fd)

    logger = CapturingLogger()
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        patch.setattr("agent.miner.data_dir._log", logger)
        data_directory.remove_leftovers(())
    reported = [call.kwargs["directory"] for call in logger.calls if call.args == ("directory_not_removed",)]
    assert sorted(reported) == ["job_1", "job_2"]
    left = [path.name for path in data_directory.jobs.rglob("*") if path.is_file()]
    assert left == ["stuck", "stuck"]


def test_a_tree_that_changes_meanwhile_is_removed_nevertheless(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for number in range(200):
        (tree / str(number) / "inner").mkdir(parents=True)
    others = threading.Thread(target=lambda: [files.remove(tree / str(number)) for number in range(200)])
    others.start()
    files.remove(tree)
    others.join()
    assert not tree.exists()
