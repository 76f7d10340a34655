"""The coordinator's database over an update: its copy, and when that is restored."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from agent.cli.options import settings_from
from agent.coordinator.store.schema.upgrade import HEAD, prepare
from agent.settings import Settings
from agent.updates.database import back_up, require_way_back, restore_if_needed
from agent.updates.refusals import Refused, UpdateDelayed
from support.updates.releases import Mirror, small_agent

NEWER = "9999"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """An agent with a database of this version's schema."""
    settings = settings_from(tmp_path / "data")
    path = settings.data_dir / "coordinator/coordinator.db"
    path.parent.mkdir(parents=True)
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        prepare(connection)
    engine.dispose()
    (path.parent / "log.checkpoint").write_text("before")
    return settings


def migrate(settings: Settings, oldest: str = NEWER) -> None:
    """Migrate as a newer version, with which programs of the schema `oldest` still work."""
    with closing(sqlite3.connect(database(settings))) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("UPDATE alembic_version SET version_num = ?", (NEWER,))
        connection.execute(f"PRAGMA user_version = {int(oldest)}")
        connection.commit()
    (settings.data_dir / "coordinator/log.checkpoint").write_text("after")


def database(settings: Settings) -> Path:
    return settings.data_dir / "coordinator/coordinator.db"


def revision(path: Path) -> str:
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def test_what_this_version_cannot_use_is_replaced_by_the_copy(settings: Settings, tmp_path: Path) -> None:
    """With the log's checkpoint, which would contradict it; the newer database stays beside it. A second time changes nothing."""
    copy = tmp_path / "backups/copy"
    assert back_up(settings, copy, NEWER)
    migrate(settings)
    assert restore_if_needed(settings, copy, "9.0.0")
    assert revision(database(settings)) == HEAD
    assert revision(database(settings).with_name("coordinator.db.9.0.0")) == NEWER
    assert (settings.data_dir / "coordinator/log.checkpoint").read_text() == "before"
    assert database(settings).stat().st_mode & 0o777 == 0o600
    assert not restore_if_needed(settings, copy, "9.0.0")


def test_an_interrupted_restoration_is_completed(settings: Settings, tmp_path: Path) -> None:
    """The newer database is moved away already, and the copy not there yet."""
    copy = tmp_path / "backups/copy"
    back_up(settings, copy, NEWER)
    database(settings).unlink()
    assert restore_if_needed(settings, copy, "9.0.0")
    assert revision(database(settings)) == HEAD


def test_what_this_version_can_use_stays(settings: Settings, tmp_path: Path) -> None:
    """What was done since the copy is not given up without need."""
    copy = tmp_path / "backups/copy"
    assert back_up(settings, copy, NEWER)
    migrate(settings, HEAD)
    assert not restore_if_needed(settings, copy, "9.0.0")
    assert revision(database(settings)) == NEWER
    assert (settings.data_dir / "coordinator/log.checkpoint").read_text() == "after"


def test_no_copy_without_a_migration(settings: Settings, tmp_path: Path) -> None:
    assert not back_up(settings, tmp_path / "copy", HEAD)
    assert not (tmp_path / "copy").exists()
    assert not back_up(settings_from(tmp_path / "miner"), tmp_path / "copy", NEWER)


def test_a_version_without_a_way_back(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PostgreSQL there is no copy, and on a full disk none can be made."""
    release = Mirror(tmp_path / "mirror").add("9.0.0", small_agent("9.0.0"), schema=NEWER, reads_schema=NEWER)
    require_way_back(settings, release)
    monkeypatch.setenv("AITBC_DATABASE__URL", "postgresql://aitbc@localhost/aitbc")
    with pytest.raises(Refused, match="could not return"):
        require_way_back(settings_from(settings.data_dir), release)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: type("Usage", (), {"free": 10}))
    with pytest.raises(UpdateDelayed, match="Free some space"):
        require_way_back(settings, release)
