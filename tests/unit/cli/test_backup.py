"""`aitbc-agent backup` and `restore`: consistent while the coordinator writes, and checked like `fsck` does."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.logged import complete, logged
from support.server import Served, serve

LIMIT_SECONDS = 180

SETTINGS: dict[str, Any] = {"open_enrolment": True, "log_checkpoint_seconds": 0.1}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Run a coordinator with a file, and with receipts in its log."""
    with serve(tmp_path_factory.mktemp("backup") / "data", **SETTINGS) as served:
        (data_of(served) / "agent.toml").write_text('[miner]\nname = "rig"\n')
        logged(served, complete(served, 2))
        store(served, b"a file")
        yield served


def data_of(served: Served) -> Path:
    return served.context.database.path.parents[1]


def store(served: Served, content: bytes) -> None:
    headers = {"Authorization": f"Bearer {served.client_key}"}
    answer = httpx.post(f"{served.url}/v1/artifacts", content=content, headers=headers, timeout=120)
    assert answer.is_success, answer.text


def test_a_backup_of_a_running_coordinator_is_restored_and_verified(
    run: Any, served: Served, tmp_path: Path
) -> None:
    """All data that cannot be created again is restored, including files of jobs, and is readable by its owner only."""
    done = run("backup", tmp_path / "backup", "--artifacts", "--data-dir", data_of(served), "--json")
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    assert summary["leaves"] >= 2
    assert summary["artifacts"] >= 1
    files = [path for path in (tmp_path / "backup").rglob("*") if path.is_file()]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)
    back = run("restore", tmp_path / "backup", "--data-dir", tmp_path / "new")
    assert back.code == 0, back.err
    assert "no problems" in back.out
    before, after = data_of(served), tmp_path / "new"
    for name in ("agent.toml", "coordinator/log.key", "coordinator/links.key"):
        assert (after / name).read_bytes() == (before / name).read_bytes()
    blobs = list((before / "coordinator/artifacts").glob("[0-9a-f][0-9a-f]/*"))
    for blob in blobs:
        assert (after / blob.relative_to(before)).read_bytes() == blob.read_bytes()
    assert run("fsck", "--data-dir", after).code == 0
    with serve(after, **SETTINGS) as again:  # the coordinator continues from the same state
        assert again.context.signer.vkey == served.context.signer.vkey
        logged(again, complete(again, 1))


def test_a_backup_is_consistent_while_jobs_are_being_completed(
    run: Any, served: Served, tmp_path: Path
) -> None:
    """Receipts, money and log are those of one moment: fsck finds no problem, however much is written meanwhile."""
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            complete(served, 1)

    worker = threading.Thread(target=work)
    worker.start()
    try:
        leaves: list[int] = []
        end = time.monotonic() + LIMIT_SECONDS
        while len(leaves) < 4 or leaves[0] == leaves[-1]:  # until a job has ended meanwhile
            assert time.monotonic() < end
            done = run("backup", tmp_path / str(len(leaves)), "--data-dir", data_of(served), "--json")
            assert done.code == 0, done.err
            leaves.append(json.loads(done.out)["leaves"])
    finally:
        ended.set()
        worker.join()
    assert leaves == sorted(leaves)


def test_a_damaged_backup_is_refused_with_the_name_of_the_file(
    run: Any, served: Served, tmp_path: Path
) -> None:
    """The check precedes the restoration."""
    run("backup", tmp_path / "backup", "--data-dir", data_of(served))
    with (tmp_path / "backup/coordinator/links.key").open("ab") as file:
        file.write(b"x")
    done = run("restore", tmp_path / "backup", "--data-dir", tmp_path / "new")
    assert done.code == 1
    assert "has changed since the backup. Use another backup." in done.err
    assert not (tmp_path / "new").exists()


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_one_changed_bit_in_a_file_of_a_job_is_detected(run: Any, served: Served, tmp_path: Path) -> None:
    """`restore` names the file and the remedy, and restores nothing."""
    assert run("backup", tmp_path / "backup", "--artifacts", "--data-dir", data_of(served)).code == 0
    blob = next((tmp_path / "backup/coordinator/artifacts").glob("[0-9a-f][0-9a-f]/*"))
    flip_a_bit(blob)
    done = run("restore", tmp_path / "backup", "--data-dir", tmp_path / "new")
    assert done.code == 1
    assert str(blob) in done.err.replace("\n", "")
    assert "Use another backup" in " ".join(done.err.split())
    assert not (tmp_path / "new").exists()
    blob.unlink()
    done = run("restore", tmp_path / "backup", "--data-dir", tmp_path / "new")
    assert done.code == 1
    assert "missing" in done.err
    assert not (tmp_path / "new").exists()


def test_a_damaged_file_of_a_job_is_left_out_of_a_backup(run: Any, served: Served, tmp_path: Path) -> None:
    """It is reported by name. The rest of the backup is valid and can be restored."""
    store(served, b"a file that the disk will damage")
    blob = max(
        (data_of(served) / "coordinator/artifacts").glob("[0-9a-f][0-9a-f]/*"),
        key=lambda it: it.stat().st_mtime,
    )
    flip_a_bit(blob)
    try:
        done = run("backup", tmp_path / "backup", "--artifacts", "--data-dir", data_of(served), "--json")
        assert done.code == 0, done.err
        assert json.loads(done.out)["lost"] == 1
        assert "is damaged" in done.err
        assert run("restore", tmp_path / "backup", "--data-dir", tmp_path / "new").code == 0
    finally:
        flip_a_bit(blob)


def test_an_inconsistent_database_is_not_backed_up(run: Any, served: Served, tmp_path: Path) -> None:
    """A backup with problems is deleted, since its owner would rely on it."""
    run("backup", tmp_path / "good", "--data-dir", data_of(served))
    run("restore", tmp_path / "good", "--data-dir", tmp_path / "data")
    with sqlite3.connect(tmp_path / "data/coordinator/coordinator.db") as connection:
        connection.execute("UPDATE log_tiles SET hashes = zeroblob(length(hashes))")
    connection.close()
    done = run("backup", tmp_path / "bad", "--data-dir", tmp_path / "data")
    assert done.code == 1
    assert "fsck" in done.err
    assert not (tmp_path / "bad").exists()
    assert not (tmp_path / "bad.partial").exists()


@pytest.mark.parametrize("command", ["backup", "restore"])
def test_existing_files_are_not_overwritten(run: Any, served: Served, tmp_path: Path, command: str) -> None:
    """Neither those of an older backup nor those of a data directory."""
    run("backup", tmp_path / "backup", "--data-dir", data_of(served))
    where = data_of(served) if command == "backup" else tmp_path / "used"
    if command == "restore":
        assert run("restore", tmp_path / "backup", "--data-dir", where).code == 0
    done = run(command, tmp_path / "backup", "--data-dir", where)
    assert done.code == 1
    assert "already exists" in done.err


def test_the_newest_backups_remain_and_nothing_else_is_deleted(
    run: Any, served: Served, tmp_path: Path
) -> None:
    """Older whole backups are deleted after a new one is complete, and what a killed one left a day later. Other directories stay."""
    older = [tmp_path / f"aitbc-2026-01-0{day}T030000Z" for day in (1, 2, 3)]
    others = [tmp_path / "aitbc-before-the-move", tmp_path / "aitbc-2020-01-01T000000Z"]
    for directory in (*older, others[0]):
        directory.mkdir()
        (directory / "backup.json").write_text("{}")
    others[1].mkdir()  # named like one, but without a manifest
    left, in_progress = (
        tmp_path / "aitbc-2026-01-04T030000Z.partial",
        tmp_path / "aitbc-2026-01-05T030000Z.partial",
    )
    left.mkdir()
    in_progress.mkdir()
    os.utime(left, (0, 0))
    done = run("backup", "--keep", "2", tmp_path, "--data-dir", data_of(served), "--json")
    assert done.code == 0, done.err
    summary = json.loads(done.out)
    assert summary["deleted"] == [str(path) for path in older[:2]]
    newest = Path(summary["directory"])
    assert sorted(tmp_path.iterdir()) == sorted([older[2], newest, in_progress, *others])
    assert run("restore", newest, "--data-dir", tmp_path / "new").code == 0


def test_a_failed_backup_deletes_no_older_one(run: Any, tmp_path: Path) -> None:
    old = tmp_path / "backups/aitbc-2026-01-01T030000Z"
    old.mkdir(parents=True)
    (old / "backup.json").write_text("{}")
    done = run("backup", "--keep", "1", old.parent, "--data-dir", tmp_path / "empty")
    assert done.code != 0
    assert list(old.parent.iterdir()) == [old]
