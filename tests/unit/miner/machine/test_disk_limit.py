"""All that the agent stores stays within one limit."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import pytest

from agent.configuring.reading import load_settings
from agent.miner.machine.disk_limit import DiskLimit
from agent.miner.models.disk_use import disk_use
from agent.miner.models.downloads import limits
from agent.miner.models.locks import ModelDirectory
from agent.settings import Settings

MIB = 2**20


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return limited(tmp_path, "6200Ki")


def limited(tmp_path: Path, limit: str) -> Settings:
    folders = {name: tmp_path / name for name in ("data_dir", "models_dir", "cache_dir")}
    miner = {"max_disk": limit, "models_pinned": ["pinned"]}
    return load_settings(flags={**folders, "miner": miner})


def write(path: Path, size: int, used_at: float | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))
    if used_at is not None:
        os.utime(path, (used_at, used_at))


def model(settings: Settings, name: str, used_at: float, *, fetched: bool = True) -> None:
    write(settings.models_dir / name / "weights", MIB)
    if fetched:
        (settings.models_dir / name / ".fetched.json").write_text("{}")
    write(settings.models_dir / ".use" / name, 0, used_at)


def environment(settings: Settings, name: str, used_at: float) -> None:
    store = settings.cache_dir / "python-environments"
    write(store / name / "packages/module.py", MIB)
    (store / name / "complete").write_text(str(MIB))
    os.utime(store / name / "complete", (used_at, used_at))


def test_files_with_several_names_and_directories_in_others_count_once(tmp_path: Path) -> None:
    write(tmp_path / "outer/file", MIB)
    write(tmp_path / "outer/inner/file", 2 * MIB)
    (tmp_path / "outer/inner/again").hardlink_to(tmp_path / "outer/inner/file")
    use = disk_use({"outer": tmp_path / "outer", "inner": tmp_path / "outer/inner"})
    assert use == {"outer": pytest.approx(MIB, abs=8192), "inner": pytest.approx(2 * MIB, abs=8192)}


def test_caches_go_first_then_the_least_recently_used_models_and_environments(settings: Settings) -> None:
    """Not what its owner has copied or pinned, nor what is in use."""
    for name, used_at in (("old", 1000), ("used", 1500), ("new", 5000), ("pinned", 100)):
        model(settings, name, used_at)
    model(settings, "copied", 50, fetched=False)
    environment(settings, "a", 3000)
    write(settings.cache_dir / "python-environments/fetched/package", MIB)
    write(settings.data_dir / "miner/outbox.db", 2 * MIB)
    disk_limit = DiskLimit(settings)
    with (settings.models_dir / ".use/used").open("ab") as in_use:
        fcntl.flock(in_use, fcntl.LOCK_SH)
        assert disk_limit.enforce() == ["packages of Python models", "model old", "environment a"]
        assert disk_limit.enforce() == []
    assert sorted(path.name for path in settings.models_dir.iterdir() if path.name[0] != ".") == [
        "copied", "new", "pinned", "used",
    ]  # fmt: skip
    use = disk_limit.status()["use"]
    assert (use["models"], sum(use.values())) == (
        pytest.approx(4 * MIB, abs=99_999),
        pytest.approx(6 * MIB, abs=99_999),
    )


def test_a_model_is_fetched_only_into_what_the_other_files_leave(tmp_path: Path) -> None:
    settings = limited(tmp_path, "10Mi")
    write(settings.data_dir / "miner/outbox.db", 4 * MIB)
    environment(settings, "a", 3000)
    assert limits(settings).models_quota() == pytest.approx(5 * MIB, abs=99_999)
    assert json.dumps(ModelDirectory(settings.models_dir).stored()) == "[]"
